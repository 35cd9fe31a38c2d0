//! Clauses of `Log` about reading, in both directions.

use std::{num::NonZeroU64, sync::Arc, time::Duration};

use super::support::{TestEngine, append, read_all, room, until};
use crate::engine::{Engine, Page, Retention, RetentionLimits};

pub(crate) async fn pages_are_cut_by_count_and_by_bytes(store: impl TestEngine) {
    let (engine, _feeds) = store.open().await;
    let long = "x".repeat(1500);
    let mut seqs = Vec::new();
    for text in ["1", "2", "3", &long, &long, &long, &"y".repeat(9000)] {
        seqs.push(append(&*engine, "a", text).await);
    }
    let page = |after, max| {
        let engine = Arc::clone(&engine);
        async move {
            let page = engine.read(&room("a"), after, max).await.unwrap();
            (page.records.iter().map(|record| record.seq).collect::<Vec<_>>(), page.head)
        }
    };
    let head = seqs[6];
    assert_eq!(page(0, 2).await, (seqs[..2].to_vec(), head));
    assert_eq!(page(seqs[0], 2).await, (seqs[1..3].to_vec(), head));
    assert_eq!(page(seqs[2], 100).await, (seqs[3..5].to_vec(), head), "two records of 1,500 bytes fit into 4 KiB");
    assert_eq!(page(seqs[5], 100).await, (seqs[6..].to_vec(), head), "a record larger than a page is a page");
    for beyond in [head, head + 1, u64::MAX] {
        assert_eq!(page(beyond, 100).await, (vec![], head));
    }
    assert_eq!(engine.read(&room("none"), 0, 10).await.unwrap().records, []);
}

/// Appends records of which about three fill a page; returns their numbers.
async fn mixed(engine: &dyn Engine) -> Vec<u64> {
    let mut seqs = Vec::new();
    for length in [1, 1, 1500, 1500, 1500, 1, 9000, 1, 2000, 2000, 2000] {
        seqs.push(append(engine, "a", &"x".repeat(length)).await);
        append(engine, "b", "between").await;
    }
    seqs
}

fn seqs_of(page: &Page) -> Vec<u64> {
    page.records.iter().map(|record| record.seq).collect()
}

pub(crate) async fn a_page_reports_how_far_it_reaches(store: impl TestEngine) {
    let (engine, _feeds) = store.open().await;
    let seqs = mixed(&*engine).await;
    let head = seqs[10];
    for (after, max, last, why) in [
        (0, 2, seqs[1], "cut by count"),
        (0, 100, seqs[3], "cut by bytes"),
        (0, 4, seqs[3], "cut by count where bytes would have"),
        (seqs[5], 1, seqs[6], "larger than a page"),
        (seqs[9], 1, head, "full, and at the head"),
        (seqs[9], 100, head, "ended at the head"),
        (head, 100, head, "nothing left"),
    ] {
        let page = engine.read(&room("a"), after, max).await.unwrap();
        assert_eq!(page.records.last().map_or(head, |record| record.seq), last, "{why}");
        let next = seqs.iter().copied().find(|seq| *seq > last).unwrap_or(head + 1);
        assert!((last..next).contains(&page.through), "{why}: through {} of {last}..{next}", page.through);
        assert_eq!(page.head, head, "{why}");
    }
    for after in [0, seqs[3], head] {
        let none = engine.read(&room("a"), after, 0).await.unwrap();
        assert_eq!((none.records.len(), none.through, none.head), (0, after, head), "an empty page does not advance");
    }
    let empty = engine.read(&room("none"), 0, 10).await.unwrap();
    assert_eq!(empty, Page { records: vec![], through: 0, reached_floor: true, floor: 0, head: 0 });
}

pub(crate) async fn reading_on_from_where_a_page_ends_yields_every_record_once(store: impl TestEngine) {
    let (engine, _feeds) = store.open().await;
    let seqs = mixed(&*engine).await;
    for max in 1..=seqs.len() + 1 {
        for start in 0..=seqs.len() {
            let (mut read, mut through) = (Vec::new(), if start == 0 { 0 } else { seqs[start - 1] });
            loop {
                let page = engine.read(&room("a"), through, max).await.unwrap();
                assert!(page.records.len() <= max && page.through <= page.head);
                assert!(page.through > through || page.through == page.head, "progress from {through}");
                read.extend(seqs_of(&page));
                through = page.through;
                if through == page.head {
                    break;
                }
            }
            assert_eq!(read, seqs[start..], "{max} at a time");
        }
    }
}

pub(crate) async fn pages_backward_are_cut_by_count_and_by_bytes(store: impl TestEngine) {
    let (engine, _feeds) = store.open().await;
    let seqs = mixed(&*engine).await;
    let head = seqs[10];
    for (before, max, expected, why) in [
        (u64::MAX, 2, &seqs[9..], "cut by count, from the head"),
        (head, 1, &seqs[9..10], "records below `before`, not at it"),
        (seqs[5], 100, &seqs[3..5], "cut by bytes: the last records are returned"),
        (seqs[7], 100, &seqs[6..7], "a record larger than a page is a page"),
        (seqs[2], 100, &seqs[..2], "ended at the first"),
        (seqs[0], 100, &[], "nothing below"),
        (0, 100, &[], "nothing below 0"),
        (head, 0, &[], "max is 0"),
    ] {
        let page = engine.read_before(&room("a"), before, max).await.unwrap();
        assert_eq!((seqs_of(&page).as_slice(), page.head), (expected, head), "{why}");
        assert!(page.through < before.max(1) && page.through <= head, "{why}");
        assert!(page.through >= page.records.last().map_or(0, |record| record.seq), "{why}");
    }
    assert_eq!(engine.read_before(&room("none"), 10, 10).await.unwrap().records, []);
}

pub(crate) async fn reading_back_yields_every_record_once(store: impl TestEngine) {
    let (engine, _feeds) = store.open().await;
    mixed(&*engine).await;
    let all = read_all(&*engine, "a").await;
    for max in 1..=all.len() + 1 {
        let (mut read, mut before) = (Vec::new(), u64::MAX);
        loop {
            let mut page = engine.read_before(&room("a"), before, max).await.unwrap();
            assert!(page.records.len() <= max);
            let Some(first) = page.records.first() else { break };
            before = first.seq;
            page.records.append(&mut read);
            read = page.records;
        }
        assert_eq!(read, all, "{max} at a time");
    }
}

pub(crate) async fn a_page_reports_whether_it_reached_the_floor(store: impl TestEngine) {
    let limits = RetentionLimits { messages: NonZeroU64::new(5), age: None };
    let retention = Retention { limits, interval: Duration::from_millis(1), ..Retention::default() };
    let (engine, _feeds) = store.open_keeping(retention).await;
    let mut seqs = Vec::new();
    for n in 0..12 {
        seqs.push(append(&*engine, "a", &n.to_string()).await);
    }
    let floor = seqs[6];
    until(async || engine.position(&room("a")).await.unwrap().floor == floor).await;
    for (after, reached) in [(0, true), (floor - 1, true), (floor, true), (seqs[7], false), (seqs[11], false)] {
        let page = engine.read(&room("a"), after, 2).await.unwrap();
        assert_eq!((page.reached_floor, page.floor), (reached, floor), "after {after}");
    }
    for (before, max, reached) in [
        (u64::MAX, 4, false),
        (u64::MAX, 5, true),
        (u64::MAX, 6, true),
        (seqs[8], 1, true),
        (seqs[9], 1, false),
        (seqs[7], 1, true),
        (seqs[7], 0, true),
        (seqs[8], 0, false),
        (floor, 5, true),
        (0, 5, true),
    ] {
        let page = engine.read_before(&room("a"), before, max).await.unwrap();
        assert_eq!((page.reached_floor, page.floor), (reached, floor), "{max} before {before}");
    }
    assert!(engine.read_before(&room("none"), u64::MAX, 5).await.unwrap().reached_floor);
}
