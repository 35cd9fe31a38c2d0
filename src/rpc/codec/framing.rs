//! The position of a request among its messages, and the budget for messages of which only a part has arrived.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The position of a request among its length-prefixed messages. tonic accepts a request that ends after a prefix as complete.
#[derive(Debug, Default)]
pub(super) struct Framing {
    prefix: [u8; PREFIX],
    prefix_len: usize,
    missing: usize,
    /// Number of messages that have arrived completely.
    complete: u64,
}

/// Size of a prefix: a flag and the length, in network byte order.
const PREFIX: usize = 5;

impl Framing {
    /// Moves past received data.
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
                    self.complete += 1;
                }
            }
        }
    }

    /// Number of bytes that have arrived of an incomplete message. 0 between two messages.
    fn begun(&self) -> usize {
        let [_, length @ ..] = self.prefix;
        if self.prefix_len == PREFIX { u32::from_be_bytes(length) as usize - self.missing } else { 0 }
    }

    /// Whether a message has begun and is not complete.
    pub(super) fn is_inside(&self) -> bool {
        self.prefix_len > 0
    }
}

/// Number of bytes of an incomplete message that are not counted. Most messages are smaller.
const UNCOUNTED: usize = 8 * 1024;

/// The budget of all requests for incomplete messages, which the decoder buffers for as long as the client does not send the rest. A clone is
/// the share of one request.
#[derive(Debug)]
pub(crate) struct Unfinished {
    bytes: Arc<Semaphore>,
    /// Bytes of the budget.
    limit: usize,
    /// What is reserved for the current message, which comes after this number of complete ones.
    held: Option<(u64, OwnedSemaphorePermit)>,
}

impl Clone for Unfinished {
    fn clone(&self) -> Self {
        Self { bytes: Arc::clone(&self.bytes), limit: self.limit, held: None }
    }
}

/// The budget is used up.
#[derive(Debug)]
pub(super) struct Full {
    /// Bytes, of all requests.
    pub(super) limit: usize,
}

impl Unfinished {
    /// A budget of `limit` bytes.
    pub(crate) fn new(limit: usize) -> Self {
        Self { bytes: Arc::new(Semaphore::new(limit.min(Semaphore::MAX_PERMITS))), limit, held: None }
    }

    /// Reserves what has arrived of the current message, if that is much, and releases what was reserved for previous ones.
    pub(super) fn reserve(&mut self, framing: &Framing) -> Result<(), Full> {
        let begun = framing.begun();
        if begun <= UNCOUNTED {
            self.held = None;
            return Ok(());
        }
        if self.held.as_ref().is_some_and(|(complete, _)| *complete != framing.complete) {
            self.held = None;
        }
        let has = self.held.as_ref().map_or(0, |(_, permit)| permit.num_permits());
        let more = u32::try_from(begun.saturating_sub(has)).unwrap_or(u32::MAX);
        let full = Full { limit: self.limit };
        let permit = Arc::clone(&self.bytes).try_acquire_many_owned(more).map_err(|_| full)?;
        match &mut self.held {
            Some((_, held)) => held.merge(permit),
            held @ None => *held = Some((framing.complete, permit)),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_message_counts_until_it_is_complete() {
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
            of_one.reserve(&one).unwrap();
            assert_eq!(all.bytes.available_permits(), left);
        }
        two.advance(&[0; 50_001]);
        assert!(of_two.reserve(&two).is_err());
        // The first is complete and another has begun: only what has arrived of that one counts.
        one.advance(&[&[0; 150_000][..], &[0], &50_000_u32.to_be_bytes(), &[0; 10_000]].concat());
        of_one.reserve(&one).unwrap();
        assert_eq!(all.bytes.available_permits(), 90_000);
        of_two.reserve(&two).unwrap();
        drop((of_one, of_two));
        assert_eq!(all.bytes.available_permits(), 100_000);
    }

    #[test]
    fn framing_finds_the_ends_of_messages_in_chunks_of_any_size() {
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
