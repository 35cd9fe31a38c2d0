//! The loads detect each fault of a faulty server.

mod support;

use support::{Bare, load};

const BURST: &[&str] = &["burst", "--subscribers", "5", "--messages", "2000"];
const FANOUT: &[&str] = &["fanout", "--subscribers", "5", "--rate", "2000", "--seconds", "0.2"];

/// Asserts that both loads fail against a server with this fault, and that they name it.
#[track_caller]
fn is_detected(fault: &str, expected: &str) {
    for verb in [BURST, FANOUT] {
        let (passed, output) = load(&Bare::start(Some(fault)), verb);
        assert!(!passed && output.contains(expected), "{fault}, {verb:?}: {output}");
    }
}

#[test]
fn a_server_without_a_fault_passes() {
    for verb in [BURST, FANOUT, &["idle", "--connections", "5", "--warm-up", "1", "--streams", "2"]] {
        let (passed, output) = load(&Bare::start(None), verb);
        assert!(passed, "{verb:?}: {output}");
    }
}

#[test]
fn a_dropped_message_is_detected() {
    // Missing for each of five subscribers and of the room's publishers, of which a burst has eight.
    let (passed, output) = load(&Bare::start(Some("drop")), BURST);
    assert!(!passed && output.contains("13 missing"), "{output}");
    let (passed, output) = load(&Bare::start(Some("drop")), FANOUT);
    assert!(!passed && output.contains("6 missing"), "{output}");
}

#[test]
fn a_duplicate_message_is_detected() {
    is_detected("double", "delivered twice");
}

#[test]
fn swapped_messages_are_detected() {
    is_detected("reorder", "out of order");
}

#[test]
fn a_misrouted_message_is_detected() {
    is_detected("misroute", "that were not published");
}

#[test]
fn a_server_that_ends_early_is_detected() {
    is_detected("die", "streams ended early");
}

#[test]
fn a_server_that_delivers_nothing_is_detected() {
    is_detected("mute", "missing");
}

#[test]
fn a_load_for_only_the_hub_rejects_other_systems() {
    for verb in ["reconnect", "churn"] {
        let (passed, output) = load(&Bare::start(None), &[verb]);
        assert!(!passed && output.contains("only against the hub"), "{verb}: {output}");
    }
}
