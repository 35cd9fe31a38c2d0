//! Reports the panic of a thread or task to those who wait for it.

use std::thread;

use tokio::sync::watch;

/// Held by a thread or task while it runs: if it is dropped by a panic, it reports its name.
#[derive(Debug)]
pub(super) struct Alarm {
    name: &'static str,
    panicked: watch::Sender<Option<&'static str>>,
}

impl Alarm {
    /// An alarm, and the receiver of its report and of those of the alarms made from it. The receiver closes when all of them are dropped.
    pub(super) fn new(name: &'static str) -> (Self, watch::Receiver<Option<&'static str>>) {
        let (panicked, report) = watch::channel(None);
        (Self { name, panicked }, report)
    }

    /// Another alarm that reports to the same receiver.
    pub(super) fn named(&self, name: &'static str) -> Self {
        Self { name, panicked: self.panicked.clone() }
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if thread::panicking() {
            self.panicked.send_if_modified(|first| first.is_none() && first.replace(self.name).is_none());
        }
    }
}
