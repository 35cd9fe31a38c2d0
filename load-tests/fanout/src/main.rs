//! Measures a chat hub.
fn main() {}
