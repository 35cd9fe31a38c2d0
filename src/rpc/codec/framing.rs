//! Where a request stands among its messages, and what the server keeps of those that have not come whole.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Where a request stands among its length-prefixed messages: tonic takes a request that ends right behind a prefix for complete.
#[derive(Debug, Default)]
pub(super) struct Framing {
    prefix: [u8; PREFIX],
    prefix_len: usize,
    missing: usize,
    /// Messages that have come whole.
    whole: u64,
}

/// A flag and the length, in network order.
const PREFIX: usize = 5;

impl Framing {
    pub(super) fn advance(&mut self, mut data: &[u8]) {
        while !data.is_empty() {
            if self.prefix_len < PREFIX {
                let taken = data.len().min(PREFIX - self.prefix_len);
                let (head, rest) = data.split_at(taken);
                self.prefix.iter_mut().skip(self.prefix_len).zip(head).for_each(|(to, from)| *to = *from);
                self.prefix_len += taken;
                data = rest;
                if self.prefix_len == PREFIX {
                    let [_, length @ ..] = self.prefix;
                    self.missing = u32::from_be_bytes(length) as usize;
                }
            }
            if self.prefix_len == PREFIX {
                let taken = data.len().min(self.missing);
                data = data.split_at(taken).1;
                self.missing -= taken;
                if self.missing == 0 {
                    self.prefix_len = 0;
                    self.whole += 1;
                }
            }
        }
    }

    /// Bytes that have come of a message that has come only in part.
    fn begun(&self) -> usize {
        let [_, length @ ..] = self.prefix;
        if self.prefix_len == PREFIX { u32::from_be_bytes(length) as usize - self.missing } else { 0 }
    }

    pub(super) fn is_inside(&self) -> bool {
        self.prefix_len > 0
    }
}

/// Up to this, a message may come in pieces without being counted: most are smaller.
const SMALL: usize = 8 * 1024;

/// What all requests together may have sent of messages without sending the rest: the decoder keeps it until then, for as long as the client
/// likes. A clone is the share of one request.
#[derive(Debug)]
pub(crate) struct Unfinished {
    bytes: Arc<Semaphore>,
    limit: usize,
    /// For the message behind so many whole ones.
    held: Option<(u64, OwnedSemaphorePermit)>,
}

impl Clone for Unfinished {
    fn clone(&self) -> Self {
        Self { bytes: Arc::clone(&self.bytes), limit: self.limit, held: None }
    }
}

/// There is no place for a message that has not come whole.
#[derive(Debug)]
pub(super) struct Full {
    /// Bytes, of all requests.
    pub(super) limit: usize,
}

impl Unfinished {
    pub(crate) fn new(limit: usize) -> Self {
        Self { bytes: Arc::new(Semaphore::new(limit.min(Semaphore::MAX_PERMITS))), limit, held: None }
    }

    /// Counts what has come of a message that is not whole, if it is much, and nothing of those before.
    pub(super) fn wait_for(&mut self, framing: &Framing) -> Result<(), Full> {
        let begun = framing.begun();
        if begun <= SMALL {
            self.held = None;
            return Ok(());
        }
        if self.held.as_ref().is_some_and(|(whole, _)| *whole != framing.whole) {
            self.held = None;
        }
        let has = self.held.as_ref().map_or(0, |(_, permit)| permit.num_permits());
        let more = u32::try_from(begun.saturating_sub(has)).unwrap_or(u32::MAX);
        let full = Full { limit: self.limit };
        let permit = Arc::clone(&self.bytes).try_acquire_many_owned(more).map_err(|_| full)?;
        match &mut self.held {
            Some((_, held)) => held.merge(permit),
            held @ None => *held = Some((framing.whole, permit)),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_come_of_a_large_message_counts_until_it_is_whole() {
        let all = Unfinished::new(100_000);
        let begin = |length: u32| {
            let mut framing = Framing::default();
            framing.advance(&[&[0][..], &length.to_be_bytes()].concat());
            (framing, all.clone())
        };
        let (mut one, mut of_one) = begin(200_000);
        let (mut two, mut of_two) = begin(60_000);
        for (sent, left) in [(8 * 1024, 100_000), (1, 100_000 - 8 * 1024 - 1), (41_807, 50_000)] {
            one.advance(&vec![0; sent]);
            of_one.wait_for(&one).unwrap();
            assert_eq!(all.bytes.available_permits(), left);
        }
        two.advance(&[0; 50_001]);
        assert!(of_two.wait_for(&two).is_err());
        // The first is whole, and another has begun with it: of that one counts only what has come.
        one.advance(&[&[0; 150_000][..], &[0], &50_000_u32.to_be_bytes(), &[0; 10_000]].concat());
        of_one.wait_for(&one).unwrap();
        assert_eq!(all.bytes.available_permits(), 90_000);
        of_two.wait_for(&two).unwrap();
        drop((of_one, of_two));
        assert_eq!(all.bytes.available_permits(), 100_000);
    }

    #[test]
    fn framing_knows_where_messages_end_however_they_are_cut() {
        let two_messages = [0, 0, 0, 0, 3, 7, 7, 7, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 9, 9];
        let whole = [8, 13];
        for step in 1..=two_messages.len() {
            let mut framing = Framing::default();
            let mut read = 0;
            for part in two_messages.chunks(step) {
                framing.advance(part);
                read += part.len();
                assert_eq!(framing.is_inside(), !whole.contains(&read), "after {read} bytes in steps of {step}");
            }
        }
    }
}
