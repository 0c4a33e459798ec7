//! The end of an engine's work: waiting until nothing is in flight, and refusing what is new.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use crate::{Engine, engine::Shared};

/// Ready when nothing of the engine's is in flight. See [`Engine::drain`] and [`Engine::shutdown`].
///
/// ```
/// let engine = auraio::Engine::builder().build()?;
/// engine.block_on(async { engine.drain().await });
/// # Ok::<(), auraio::Error>(())
/// ```
#[must_use = "it waits only when it is awaited"]
pub struct Drain {
    engine: Arc<Shared>,
    number: u64,
}

impl Engine {
    /// Waits until nothing is in flight: every operation that was queued, by futures, chains and ports of any thread, has
    /// completed, also those whose futures were dropped. Operations that begin meanwhile are waited for as well.
    ///
    /// Nothing is cancelled, so it waits as long as the slowest operation does: for ever, if that is the read of a pipe that
    /// nobody writes to. The thread of a [`Port`](crate::Port) has to go on polling it meanwhile.
    ///
    /// ```
    /// use auraio::{Engine, OpenOptions};
    ///
    /// # let scratch = tempfile::NamedTempFile::new().unwrap();
    /// let engine = Engine::builder().build()?;
    /// engine.block_on(async {
    ///     let file = engine.open(scratch.path(), OpenOptions::new().write(true)).await?;
    ///     drop(file.write_at("nobody waits for this", 0));
    ///     engine.drain().await;
    ///     assert_eq!(file.metadata().await?.len(), 21);
    ///     file.close().await
    /// })?;
    /// # Ok::<(), auraio::Error>(())
    /// ```
    pub fn drain(&self) -> Drain {
        let engine = self.shared();
        let number = engine.waiters().number();
        Drain { engine, number }
    }

    /// Ends the engine's work, for all its clones. From the call on, new operations answer
    /// [`Error::EngineClosed`](crate::Error::EngineClosed), less closes, since what is open has to be given back; and what
    /// could wait for ever (an open, whatever is on a pipe, socket or terminal) is cancelled. The answer is ready when
    /// nothing is in flight any more, as with [`Engine::drain`].
    ///
    /// Without it, whoever drops the last handle of an engine waits for what is still in flight, up to ten seconds. After it
    /// there is nothing to wait for, so an executor's thread is not held up.
    ///
    /// ```
    /// use auraio::{Engine, Error, op};
    ///
    /// let engine = Engine::builder().build()?;
    /// engine.block_on(async {
    ///     let nop = engine.submit(op::Nop);
    ///     engine.shutdown().await;
    ///     nop.await?; // it was under way already
    ///     assert_eq!(engine.submit(op::Nop).await, Err(Error::EngineClosed));
    ///     Ok::<_, Error>(())
    /// })?;
    /// # Ok::<(), auraio::Error>(())
    /// ```
    pub fn shutdown(&self) -> Drain {
        let drain = self.drain();
        drain.engine.close();
        for ring in drain.engine.rings() {
            ring.cancel_endless();
        }
        drain
    }
}

impl Future for Drain {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        // First the waker, then the look: an end between the two is not missed.
        self.engine.waiters().set(self.number, context.waker().clone());
        self.engine.hand_over_and_reap();
        if self.engine.is_idle() {
            self.engine.waiters().forget(self.number);
            return Poll::Ready(());
        }
        self.engine.ensure_watched();
        Poll::Pending
    }
}

impl Drop for Drain {
    fn drop(&mut self) {
        self.engine.waiters().forget(self.number);
    }
}

impl fmt::Debug for Drain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drain").finish_non_exhaustive()
    }
}
