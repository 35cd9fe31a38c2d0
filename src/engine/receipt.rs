//! The outcome of an append.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::sync::oneshot;

use super::{
    error::Error,
    record::{Draft, Record},
};
use crate::types::Time;

/// A future that resolves with the outcome of one accepted draft.
#[derive(Debug)]
pub struct Receipt(oneshot::Receiver<Result<Appended, Refused>>);

/// Resolves a [`Receipt`]. Dropping it resolves the receipt with [`Error::Stopped`].
pub type ReceiptSender = oneshot::Sender<Result<Appended, Refused>>;

impl Receipt {
    /// Creates a receipt and the sender that resolves it.
    #[must_use]
    pub fn channel() -> (ReceiptSender, Receipt) {
        let (sender, outcome) = oneshot::channel();
        (sender, Receipt(outcome))
    }
}

impl Future for Receipt {
    type Output = Result<Appended, Refused>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // An engine that disappeared without an answer has stopped: whether the draft became durable is unknown.
        let outcome = ready!(Pin::new(&mut self.0).poll(cx));
        Poll::Ready(outcome.unwrap_or_else(|_| Err(Refused::new(None, Error::Stopped))))
    }
}

/// The outcome of a draft that was not refused.
#[derive(Debug)]
pub enum Appended {
    /// The draft is now a durable record.
    Accepted {
        /// The record's number in its room.
        seq: u64,
        /// When the number was assigned.
        time: Time,
    },
    /// A record with the same key is already in the log: this one.
    Duplicate(Box<Record>),
}

/// A draft that was not appended, and the reason.
#[derive(Debug)]
pub struct Refused {
    /// The draft, which is not in the log. `None` if it is unknown whether it is.
    pub draft: Option<Box<Draft>>,
    /// The reason.
    pub error: Error,
}

impl Refused {
    /// Returns a draft to its sender; see [`Refused::draft`] for `None`.
    #[must_use]
    pub fn new(draft: Option<Draft>, error: Error) -> Self {
        Self { draft: draft.map(Box::new), error }
    }
}
