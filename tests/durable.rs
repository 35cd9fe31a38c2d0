//! D2: acknowledged means durable, whatever happens to the process.
