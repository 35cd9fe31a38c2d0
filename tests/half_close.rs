//! D8: what a stream still owes after its half-close.
