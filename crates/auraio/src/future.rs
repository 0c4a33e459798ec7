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
    engine::Shared,
    op::{Done, Operation},
    ring::Ticket,
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
    state: State,
    operation: PhantomData<fn() -> O>,
}

enum State {
    /// `asked` says that the future has woken its own task. The next poll then hands over what is queued.
    UnderWay {
        ticket: Ticket,
        asked: bool,
    },
    Early(Done),
    Fetched,
}

impl<O: Operation> OpFuture<O> {
    pub(crate) fn under_way(engine: Arc<Shared>, ticket: Ticket) -> Self {
        Self { engine, state: State::UnderWay { ticket, asked: false }, operation: PhantomData }
    }

    pub(crate) fn early(engine: Arc<Shared>, done: Done) -> Self {
        Self { engine, state: State::Early(done), operation: PhantomData }
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
        if let State::UnderWay { ticket, .. } = &self.state {
            ticket.ring.cancel(ticket.key);
        }
    }
}

impl<O: Operation> Future for OpFuture<O> {
    type Output = O::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let done = match std::mem::replace(&mut self.state, State::Fetched) {
            State::Early(done) => done,
            State::UnderWay { ticket, mut asked } => match self.engine.poll(&ticket, &mut asked, context) {
                Some(done) => done,
                None => {
                    self.state = State::UnderWay { ticket, asked };
                    return Poll::Pending;
                }
            },
            State::Fetched => unreachable!("a future is not polled again after it was ready"),
        };
        Poll::Ready(O::finish(done))
    }
}

// A future may move: the memory that the kernel uses lies in the slot.
impl<O: Operation> Unpin for OpFuture<O> {}

impl<O: Operation> Drop for OpFuture<O> {
    fn drop(&mut self) {
        match std::mem::replace(&mut self.state, State::Fetched) {
            State::UnderWay { ticket, .. } => {
                ticket.ring.abandon(ticket.key);
                self.engine.ensure_driven();
            }
            State::Early(_) | State::Fetched => {}
        }
    }
}

impl<O: Operation> fmt::Debug for OpFuture<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpFuture").finish_non_exhaustive()
    }
}
