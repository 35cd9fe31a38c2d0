//! The sizes of the heavy tests: small by default; `scripts/test --help` names the long variants.

/// How often the server is killed.
pub fn kills() -> usize {
    size("RIALTO_TEST_KILLS", 5)
}

/// Messages that pass a reader that has stopped.
pub fn slow_reader() -> usize {
    size("RIALTO_TEST_SLOW_READER", 200_000)
}

/// Clients that resume at once.
pub fn storm() -> usize {
    size("RIALTO_TEST_STORM", 2_000)
}

/// Rooms with ten members each.
pub fn rooms() -> usize {
    size("RIALTO_TEST_ROOMS", 1_000)
}

fn size(name: &str, default: usize) -> usize {
    let Ok(given) = std::env::var(name) else { return default };
    given.parse().unwrap_or_else(|_| panic!("{name} must be a number, and is {given:?}"))
}
