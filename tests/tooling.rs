//! Health, reflection and the command line.
