//! The entries that wait for another process: for the next bytes of a pipe, or for the reader of a FIFO. One thread watches
//! them all.
//!
//! They lie here, and not on a thread each, because such a wait may never end and the crew has few threads. When an entry
//! can go on, the watcher gives it back to the crew. When an entry was cancelled, the watcher drops it at its next turn.

use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::work::Work;
use crate::sys::{Bell, Watch, errno, poll_watches};

/// The pause between the tries of a call for which no descriptor tells when it can go on, such as the open of a FIFO.
const RETRY: Duration = Duration::from_millis(5);

/// The waiting entries of one crew, and the thread that watches them. Costs nothing until the first one.
#[derive(Default)]
pub(super) struct Park {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    watcher: Option<(JoinHandle<()>, Arc<Inbox>)>,
    closing: bool,
}

struct Inbox {
    arrived: Mutex<Arrived>,
    bell: Bell,
}

#[derive(Default)]
struct Arrived {
    parked: Vec<Parked>,
    closing: bool,
}

struct Parked {
    work: Work,
    until: Until,
}

/// What an entry waits for.
pub(super) enum Until {
    /// Until the descriptor is ready.
    Ready(Watch),
    /// Until this moment, because no descriptor tells when the entry can go on.
    Due(Instant),
}

impl Until {
    /// A wait of a few milliseconds.
    pub(super) fn soon() -> Self {
        Self::after(RETRY)
    }

    pub(super) fn after(pause: Duration) -> Self {
        Self::Due(Instant::now() + pause)
    }
}

impl Park {
    /// Takes the work in until it can go on. If the watcher cannot be had, the work fails with the reason for that. If the
    /// crew closes, the work is dropped, which cancels it.
    pub(super) fn add(&self, work: Work, until: Until) {
        let mut state = self.state();
        if state.closing {
            drop(state);
            return;
        }
        let inbox = match &state.watcher {
            Some((_, inbox)) => Arc::clone(inbox),
            None => match start() {
                Ok((handle, inbox)) => {
                    state.watcher = Some((handle, Arc::clone(&inbox)));
                    inbox
                }
                Err(error) => {
                    drop(state);
                    return work.fail(error.raw_os_error().unwrap_or(errno::EAGAIN));
                }
            },
        };
        // The lock is held since the check above, so that `close` comes either before the check or after this line.
        inbox.arrived().parked.push(Parked { work, until });
        drop(state);
        inbox.bell.ring();
    }

    /// Makes the watcher drop the entries that were cancelled.
    pub(super) fn sweep(&self) {
        if let Some((_, inbox)) = &self.state().watcher {
            inbox.bell.ring();
        }
    }

    /// Cancels all entries that wait, and ends the watcher.
    pub(super) fn close(&self) {
        let watcher = {
            let mut state = self.state();
            state.closing = true;
            state.watcher.take()
        };
        if let Some((handle, inbox)) = watcher {
            inbox.arrived().closing = true;
            inbox.bell.ring();
            if handle.thread().id() != thread::current().id() {
                let _ = handle.join();
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        crate::lock(&self.state)
    }
}

impl Inbox {
    fn arrived(&self) -> MutexGuard<'_, Arrived> {
        crate::lock(&self.arrived)
    }
}

fn start() -> std::io::Result<(JoinHandle<()>, Arc<Inbox>)> {
    let inbox = Arc::new(Inbox { arrived: Mutex::default(), bell: Bell::new()? });
    let theirs = Arc::clone(&inbox);
    let handle = thread::Builder::new().name("auraio-poll".to_owned()).spawn(move || watch(&theirs))?;
    Ok((handle, inbox))
}

/// What the watcher's thread does. The entries that are left at the end are dropped, which cancels them.
fn watch(inbox: &Inbox) {
    let mut parked: Vec<Parked> = Vec::new();
    let mut watches: Vec<Watch> = Vec::new();
    loop {
        inbox.bell.quiet();
        {
            let mut arrived = inbox.arrived();
            parked.append(&mut arrived.parked);
            if arrived.closing {
                return;
            }
        }
        // Dropping a cancelled entry also cancels the entries that are linked behind it.
        parked.retain(|one| !one.work.is_cancelled());

        watches.clear();
        watches.extend(inbox.bell.descriptor().map(Watch::readable));
        let bells = watches.len();
        watches.extend(parked.iter().filter_map(Parked::watch));
        let timeout =
            parked.iter().filter_map(Parked::due).min().map(|due| due.saturating_duration_since(Instant::now()));
        if poll_watches(&mut watches, timeout).is_err() {
            // Most likely the system is out of memory. It is not known what is ready, so try again after a pause.
            thread::sleep(RETRY);
            watches.clear();
        }

        let now = Instant::now();
        let mut polled = watches.iter().skip(bells);
        for one in mem::take(&mut parked) {
            let is_over = match one.until {
                Until::Ready(_) => polled.next().is_some_and(Watch::is_ready),
                Until::Due(due) => due <= now,
            };
            if is_over {
                one.work.hand_over();
            } else {
                parked.push(one);
            }
        }
    }
}

impl Parked {
    const fn watch(&self) -> Option<Watch> {
        if let Until::Ready(watch) = self.until { Some(watch) } else { None }
    }

    const fn due(&self) -> Option<Instant> {
        if let Until::Due(due) = self.until { Some(due) } else { None }
    }
}
