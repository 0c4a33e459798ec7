//! The end of an engine's work: waiting until nothing is in flight, and refusing what is new.

use std::{
    fmt,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use crate::{Engine, engine::Shared, lock};

/// How long whoever reaps may sleep while somebody waits for the engine to be idle. The last completion may be reaped by
/// another thread, on its own ring, and then nothing wakes the one that looks.
pub(crate) const LOOK: Duration = Duration::from_millis(2);

/// Those who wait for an engine to be idle.
#[derive(Default)]
pub(crate) struct Waiters {
    wakers: Mutex<Vec<(u64, Waker)>>,
    /// As many, readable without the lock: whoever reaps looks at it each time.
    count: AtomicUsize,
    numbers: AtomicU64,
}

impl Waiters {
    #[inline]
    pub(crate) fn any(&self) -> bool {
        self.count.load(Ordering::SeqCst) > 0
    }

    /// Remembers whom to wake, in place of whom it was before.
    fn set(&self, number: u64, waker: Waker) {
        let mut wakers = lock(&self.wakers);
        let before = match wakers.iter_mut().find(|(its, _)| *its == number) {
            Some((_, its)) => Some(std::mem::replace(its, waker)),
            None => {
                wakers.push((number, waker));
                None
            }
        };
        self.count.store(wakers.len(), Ordering::SeqCst);
        drop(wakers);
        // A waker's end is code of the caller's, which may come back here.
        drop(before);
    }

    fn forget(&self, number: u64) {
        let mut wakers = lock(&self.wakers);
        let gone = wakers.iter().position(|(its, _)| *its == number).map(|at| wakers.swap_remove(at));
        self.count.store(wakers.len(), Ordering::SeqCst);
        drop(wakers);
        drop(gone);
    }

    /// Wakes all. Each looks again, and waits again if it has to.
    pub(crate) fn wake(&self) {
        let mut wakers = lock(&self.wakers);
        let all = std::mem::take(&mut *wakers);
        self.count.store(0, Ordering::SeqCst);
        drop(wakers);
        for (_, waker) in all {
            // A waker that panics keeps neither the others from being woken nor the rings from being reaped.
            let _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
        }
    }
}

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
        let number = engine.waiters().numbers.fetch_add(1, Ordering::Relaxed);
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
