//! Futures that make progress without being polled.

use std::future::Future;

use futures_util::{FutureExt, future::BoxFuture};
use tokio_util::task::AbortOnDropHandle;

/// Drives `work` in a task of its own. Dropping the returned future aborts it. `failed` gives the outcome if the task panics, or the
/// runtime shuts down.
///
/// Use it for everything that a response body waits for and that others need too: a permit of a semaphore, a read connection, a page that
/// several streams wait for. The body of a client that does not read is not polled, and a future that it owns would hold what it was
/// given until the stream is reset.
pub fn spawned<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
    failed: impl FnOnce() -> T + Send + 'static,
) -> BoxFuture<'static, T> {
    let task = AbortOnDropHandle::new(tokio::spawn(work));
    async move { task.await.unwrap_or_else(|_| failed()) }.boxed()
}

/// The same for work that is mostly ready at once: only work that must wait costs a task.
pub(super) fn ready_or_spawned<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
    failed: impl FnOnce() -> T + Send + 'static,
) -> BoxFuture<'static, T> {
    let mut work = work.boxed();
    match work.as_mut().now_or_never() {
        Some(outcome) => std::future::ready(outcome).boxed(),
        None => spawned(work, failed),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::Semaphore;

    use super::*;

    /// Takes the only permit and gives it back.
    async fn borrow(permits: Arc<Semaphore>) -> bool {
        permits.acquire().await.is_ok()
    }

    #[tokio::test]
    async fn work_that_nobody_polls_gives_its_permit_back_and_work_that_is_dropped_ends() {
        let permits = Arc::new(Semaphore::new(0));
        let unpolled = spawned(borrow(Arc::clone(&permits)), || false);
        let mut polled_once = ready_or_spawned(borrow(Arc::clone(&permits)), || false);
        assert!(polled_once.as_mut().now_or_never().is_none());
        let dropped = spawned(std::future::pending::<bool>(), || false);
        permits.add_permits(1);
        // Behind the others, since the semaphore is fair.
        assert!(borrow(Arc::clone(&permits)).await);
        assert!(unpolled.await && polled_once.await);
        drop(dropped);
    }

    #[tokio::test]
    async fn a_panic_is_an_outcome() {
        assert!(spawned(async { panic!("as a test") }, || true).await);
    }
}
