//! Futures for operations, for any executor.

use std::{
    fmt,
    future::Future,
    marker::PhantomData,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use crate::{
    Engine,
    engine::{Shared, Turns},
    op::{Done, Operation},
    ring::{Sink, Ticket},
};

/// An operation that was queued. A poll alone does not hand it over: everything that is queued on a ring is handed over
/// together, when the submit batch is full or when the thread has nothing else to poll.
///
/// Dropping it does not undo the operation. Its buffer stays with the engine until the kernel is done with it, and is freed
/// then. Only an operation that could wait for ever (on a pipe, or an open) is cancelled.
///
/// # Panics
/// If it is polled again after it was ready.
///
/// ```
/// use auraio::op;
///
/// # let engine = auraio::Engine::builder().build()?;
/// let (one, two) = (engine.submit(op::Nop), engine.submit(op::Nop)); // queued
/// engine.block_on(async {
///     one.await?; // hands both over
///     two.await
/// })?;
/// # Ok::<(), auraio::Error>(())
/// ```
#[must_use = "the operation is under way, but nobody looks at its result"]
pub struct OpFuture<O: Operation> {
    engine: Arc<Shared>,
    state: Stage,
    operation: PhantomData<fn() -> O>,
}

enum Stage {
    UnderWay { ticket: Ticket, turns: Turns },
    Early(Done),
    Fetched,
}

impl Engine {
    /// Queues an operation on the ring of this core or thread.
    ///
    /// ```
    /// use auraio::{Engine, op};
    ///
    /// let engine = Engine::builder().build()?;
    /// let (one, two) = (engine.submit(op::Nop), engine.submit(op::Stat::path("Cargo.toml")));
    /// assert!(engine.block_on(two)?.is_file());
    /// engine.block_on(one)?;
    /// # Ok::<(), auraio::Error>(())
    /// ```
    pub fn submit<O: Operation>(&self, operation: O) -> OpFuture<O> {
        let ring = match self.shared.ring_here() {
            Ok(ring) => ring,
            Err(error) => {
                let done = Done::early(operation.prepare(), Err(Box::new(error)));
                return OpFuture::early(self.shared(), done);
            }
        };
        match self.shared.submit(&ring, operation, Sink::Future, true) {
            Ok(key) => OpFuture::under_way(self.shared(), Ticket { ring, key }),
            Err(done) => OpFuture::early(self.shared(), done),
        }
    }
}

impl<O: Operation> OpFuture<O> {
    pub(crate) fn under_way(engine: Arc<Shared>, ticket: Ticket) -> Self {
        Self { engine, state: Stage::UnderWay { ticket, turns: Turns::default() }, operation: PhantomData }
    }

    pub(crate) fn early(engine: Arc<Shared>, done: Done) -> Self {
        Self { engine, state: Stage::Early(done), operation: PhantomData }
    }

    /// Asks that the operation end early. It completes in any case: with [`Error::Cancelled`](crate::Error::Cancelled) if
    /// the request came in time, and as usual if not. Await the future to know which, and to get the buffer back.
    ///
    /// ```
    /// let engine = auraio::Engine::builder().build()?;
    /// let nop = engine.submit(auraio::op::Nop);
    /// nop.cancel();
    /// let outcome = engine.block_on(nop);
    /// assert!(matches!(outcome, Ok(()) | Err(auraio::Error::Cancelled)));
    /// # Ok::<(), auraio::Error>(())
    /// ```
    pub fn cancel(&self) {
        if let Stage::UnderWay { ticket, .. } = &self.state {
            ticket.ring.cancel(ticket.key);
        }
    }
}

impl<O: Operation> Future for OpFuture<O> {
    type Output = O::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        // The state stays as it is until there is a result: a waker that panics when it is cloned must not lose the operation.
        if let Stage::UnderWay { ticket, turns } = &mut this.state {
            let Some(done) = this.engine.poll(ticket, turns, context) else { return Poll::Pending };
            this.state = Stage::Fetched;
            return Poll::Ready(O::finish(done));
        }
        match std::mem::replace(&mut this.state, Stage::Fetched) {
            Stage::Early(done) => Poll::Ready(O::finish(done)),
            Stage::UnderWay { .. } | Stage::Fetched => unreachable!("a future is not polled again after it was ready"),
        }
    }
}

// A future may move: the memory that the kernel uses lies in the slot.
impl<O: Operation> Unpin for OpFuture<O> {}

impl<O: Operation> Drop for OpFuture<O> {
    fn drop(&mut self) {
        match std::mem::replace(&mut self.state, Stage::Fetched) {
            Stage::UnderWay { ticket, .. } => {
                ticket.ring.abandon(ticket.key);
                self.engine.ensure_driven();
            }
            Stage::Early(_) | Stage::Fetched => {}
        }
    }
}

impl<O: Operation> fmt::Debug for OpFuture<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpFuture").finish_non_exhaustive()
    }
}
