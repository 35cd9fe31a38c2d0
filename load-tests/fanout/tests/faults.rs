//! A load finds what a server does wrong: it is shown servers that do one thing wrong each.

mod support;

use support::{Bare, load};

const BURST: &[&str] = &["burst", "--subscribers", "5", "--messages", "2000"];
const FANOUT: &[&str] = &["fanout", "--subscribers", "5", "--rate", "2000", "--seconds", "0.2"];

/// Both loads fail against a server with this fault, and name it so.
#[track_caller]
fn is_found(fault: &str, named: &str) {
    for verb in [BURST, FANOUT] {
        let (passed, said) = load(&Bare::start(Some(fault)), verb);
        assert!(!passed && said.contains(named), "{fault}, {verb:?}: {said}");
    }
}

#[test]
fn a_server_without_a_fault_passes() {
    for verb in [BURST, FANOUT, &["idle", "--connections", "5", "--warm-up", "1", "--streams", "2"]] {
        let (passed, said) = load(&Bare::start(None), verb);
        assert!(passed, "{verb:?}: {said}");
    }
}

#[test]
fn a_message_that_is_left_out_is_found() {
    // To each of five subscribers and to the publishers of the room, of which a burst has eight.
    let (passed, said) = load(&Bare::start(Some("drop")), BURST);
    assert!(!passed && said.contains("13 missing"), "{said}");
    let (passed, said) = load(&Bare::start(Some("drop")), FANOUT);
    assert!(!passed && said.contains("6 missing"), "{said}");
}

#[test]
fn a_message_that_comes_twice_is_found() {
    is_found("double", "delivered twice");
}

#[test]
fn messages_that_are_swapped_are_found() {
    is_found("reorder", "out of order");
}

#[test]
fn a_message_of_another_room_is_found() {
    is_found("misroute", "that nobody published");
}

#[test]
fn a_server_that_ends_in_the_middle_is_found() {
    is_found("die", "streams ended early");
}

#[test]
fn a_server_that_delivers_nothing_is_found() {
    is_found("mute", "missing");
}

#[test]
fn a_load_that_only_the_hub_can_bear_says_so() {
    for verb in ["reconnect", "churn"] {
        let (passed, said) = load(&Bare::start(None), &[verb]);
        assert!(!passed && said.contains("only the hub"), "{verb}: {said}");
    }
}
