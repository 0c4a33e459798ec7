//! The future of a block: it waits when the pool is at its ceiling and nothing is free.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use super::{Block, Pool, Request, cache, waiters::Waiter};
use crate::{Error, Result};

/// A future that gives a block as soon as the pool has one, made by [`Pool::acquire_async`].
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
    pub(super) request: Request,
    pub(super) waiter: Option<Arc<Waiter<Request, Result<Block>>>>,
}

impl Future for Acquire {
    type Output = Result<Block>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<Block>> {
        let pool = self.pool.inner;
        let waiter = match &self.waiter {
            Some(waiter) => waiter,
            None => match self.pool.acquire_aligned(self.request.size, self.request.alignment) {
                Err(Error::PoolExhausted { .. }) => {
                    let waiter = pool.waiters.join(self.request);
                    // From now on released blocks go to the waiters. Blocks in the caches of threads are fetched at once.
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
            .field("request", &self.request)
            .field("waits", &self.waiter.is_some())
            .finish_non_exhaustive()
    }
}
