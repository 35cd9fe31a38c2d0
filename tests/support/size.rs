//! How large the heavy tests are: short by default, so that everyone runs them; `scripts/test --help` names the long ones.

/// Times that the server is killed.
pub fn kills() -> usize {
    size("RIALTO_TEST_KILLS", 5)
}

/// Messages that go past a reader that has stopped.
pub fn slow_reader() -> usize {
    size("RIALTO_TEST_SLOW_READER", 200_000)
}

/// Clients that come back at once.
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
