//! The future of a block, for when there is none.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use super::{Block, Pool, Wish, cache, waiters::Waiter};
use crate::{Error, Result};

/// A block that is waited for, made by [`Pool::acquire_async`].
///
/// ```
/// let pool = auraio::Pool::global();
/// let block = pollster::block_on(pool.acquire_async(4096, 4096))?;
/// assert_eq!(block.len(), 4096);
/// # Ok::<(), auraio::Error>(())
/// ```
#[must_use = "futures do nothing unless polled"]
pub struct Acquire {
    pub(super) pool: Pool,
    pub(super) wish: Wish,
    pub(super) waiter: Option<Arc<Waiter<Wish, Result<Block>>>>,
}

impl Future for Acquire {
    type Output = Result<Block>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<Block>> {
        let pool = self.pool.inner;
        let waiter = match &self.waiter {
            Some(waiter) => waiter,
            None => match self.pool.acquire_aligned(self.wish.size, self.wish.alignment) {
                Err(Error::PoolExhausted { .. }) => {
                    let waiter = pool.waiters.join(self.wish);
                    // From now on blocks that are released come to those who wait; those in the caches do at once.
                    cache::close_all(pool);
                    pool.serve_waiters();
                    self.waiter.insert(waiter)
                }
                outcome => return Poll::Ready(outcome),
            },
        };
        let outcome = waiter.poll(context.waker());
        if outcome.is_ready() {
            self.waiter = None;
        }
        outcome
    }
}

impl Drop for Acquire {
    fn drop(&mut self) {
        if self.waiter.take().is_some_and(|waiter| self.pool.inner.waiters.leave(&waiter)) {
            self.pool.inner.serve_waiters();
        }
    }
}

impl fmt::Debug for Acquire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acquire")
            .field("wish", &self.wish)
            .field("waits", &self.waiter.is_some())
            .finish_non_exhaustive()
    }
}
