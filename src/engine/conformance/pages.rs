//! Clauses of `Log` about reading, in both directions.

use std::sync::Arc;

use super::support::{TestEngine, append, read_all, room};
use crate::engine::{Engine, Page};

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
        assert_eq!((page.through, page.head), (last, head), "{why}");
    }
    for after in [0, seqs[3], head] {
        let none = engine.read(&room("a"), after, 0).await.unwrap();
        assert_eq!((none.records.len(), none.through, none.head), (0, after, head), "an empty page does not advance");
    }
    let empty = engine.read(&room("none"), 0, 10).await.unwrap();
    assert_eq!(empty, Page { records: vec![], through: 0, floor: 0, head: 0 });
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
