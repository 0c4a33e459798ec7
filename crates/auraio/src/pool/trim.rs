//! Gives unused memory back to the system: when the program asks for it, and by itself when slabs stay free for some seconds.
//!
//! The trimmer is a thread. It begins when a release leaves more than a few slabs free, runs every five seconds, and ends
//! when there is nothing left to give back. It gives a slab back only if the slab was free at two runs in a row and was not
//! used in between. It refuses to unmap a slab that a ring holds; it asks the ring to let go. An idle process has no such
//! thread, and no process waits for it when it ends.

use std::{
    sync::{
        Condvar, Mutex, PoisonError,
        atomic::{
            AtomicBool,
            Ordering::{Relaxed, SeqCst},
            fence,
        },
    },
    thread,
    time::Duration,
};

use super::{Inner, SLAB_BYTES, cache};
use crate::lock;

/// The time between two runs.
pub(super) const PERIOD: Duration = Duration::from_secs(5);

/// How many free slabs stay mapped for the next acquisitions: mapping takes about 60 us for each.
const KEPT: u32 = 4;

/// The stack of the trimmer's thread, which only goes through lists and makes system calls.
const STACK_BYTES: usize = 128 * 1024;

/// The trimmer of one pool.
#[derive(Debug)]
pub(super) struct Trimmer {
    pace: Pace,
    /// Whether there is a thread. Changed under the lock of `tasks`.
    runs: AtomicBool,
    tasks: Mutex<Tasks>,
    /// Signalled when there is a task.
    task: Condvar,
}

/// What the thread has to do before its next run.
#[derive(Debug, Default)]
struct Tasks {
    ask_holders: bool,
}

/// When the trimmer runs.
#[derive(Debug)]
pub(super) enum Pace {
    /// Again and again, after this time.
    Period(Duration),
    /// Whenever a test sends a message. The trimmer answers whether it goes on.
    #[cfg(test)]
    Told(Mutex<std::sync::mpsc::Receiver<()>>, std::sync::mpsc::Sender<bool>),
    /// Never, and without a thread: a test calls `trim_unused` itself.
    #[cfg(test)]
    Never,
}

impl Trimmer {
    /// Whether there is a thread.
    #[cfg(test)]
    pub(super) fn runs(&self) -> bool {
        let _tasks = lock(&self.tasks);
        self.runs.load(Relaxed)
    }

    pub(super) fn new(pace: Pace) -> Self {
        Self { pace, runs: AtomicBool::new(false), tasks: Mutex::default(), task: Condvar::new() }
    }

    /// Starts the thread if there is something for it to do and it does not run.
    pub(super) fn wake(&self, pool: &'static Inner) {
        // Pairs with the fence in `run`.
        fence(SeqCst);
        if !self.runs.load(Relaxed) && pool.idle_slabs() > KEPT {
            self.start(pool, &mut lock(&self.tasks));
        }
    }

    /// Makes the trimmer's thread ask the holders of retiring slabs to let go. The caller must not ask them itself: it may
    /// have a lock that a holder needs.
    pub(super) fn ask_holders(&self, pool: &'static Inner) {
        let mut tasks = lock(&self.tasks);
        tasks.ask_holders = true;
        self.start(pool, &mut tasks);
        self.task.notify_one();
    }

    fn start(&self, pool: &'static Inner, _: &mut Tasks) {
        #[cfg(test)]
        if matches!(self.pace, Pace::Never) {
            return;
        }
        if self.runs.load(Relaxed) {
            return;
        }
        let thread = thread::Builder::new().name("auraio-trim".into()).stack_size(STACK_BYTES);
        // If the system has no thread for it, the next release tries again.
        let started = thread.spawn(move || pool.trimmer.run(pool)).is_ok();
        self.runs.store(started, Relaxed);
    }

    fn run(&self, pool: &'static Inner) {
        loop {
            if self.wait().ask_holders {
                pool.ask_holders();
                pool.serve_waiters();
                continue;
            }
            let more = pool.trim_unused();
            let tasks = lock(&self.tasks);
            let mut more = more || tasks.ask_holders;
            if !more {
                self.runs.store(false, Relaxed);
                // Pairs with the fence in `wake`. Either this thread sees the slab that a release has just freed, or that
                // release sees that no thread runs, and starts one.
                fence(SeqCst);
                more = pool.idle_slabs() > KEPT;
                self.runs.store(more, Relaxed);
            }
            drop(tasks);
            #[cfg(test)]
            if let Pace::Told(_, tells) = &self.pace {
                let _ = tells.send(more);
            }
            if !more {
                return;
            }
        }
    }

    /// Waits for a task, or until it is time to run.
    fn wait(&self) -> Tasks {
        let mut tasks = lock(&self.tasks);
        match &self.pace {
            Pace::Period(period) => {
                let waited = self.task.wait_timeout_while(tasks, *period, |tasks| !tasks.ask_holders);
                tasks = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
            #[cfg(test)]
            Pace::Told(ticks, _) if !tasks.ask_holders => {
                drop(tasks);
                // The test has ended, and wants no more runs.
                if lock(ticks).recv().is_err() {
                    thread::park();
                }
                tasks = lock(&self.tasks);
            }
            #[cfg(test)]
            Pace::Told(..) | Pace::Never => {}
        }
        std::mem::take(&mut *tasks)
    }
}

impl Inner {
    pub(super) fn trim(&'static self) -> u64 {
        cache::close_all(self);
        let Some(arena) = self.arena() else { return 0 };
        let retired = {
            let _growing = lock(&self.growth);
            self.collect_idle(false);
            arena.retire(u32::MAX, false)
        };
        let mut gone = retired.unmapped;
        if retired.held > 0 {
            self.ask_holders();
            gone += retired.held.saturating_sub(arena.counts().retiring);
        }
        self.serve_waiters();
        u64::from(gone) * SLAB_BYTES as u64
    }

    /// Gives back the slabs that were free at the last run already and have not been used since. True if the next run may
    /// find more to give back.
    pub(super) fn trim_unused(&'static self) -> bool {
        // A block in the cache of an idle thread would keep its slab from being free as a whole.
        cache::close_all(self);
        let Some(arena) = self.arena() else { return false };
        let retired = {
            let _growing = lock(&self.growth);
            let spare = self.idle_slabs().saturating_sub(KEPT);
            self.collect_idle(true);
            let retired = arena.retire(spare, true);
            arena.mark_seen();
            self.shards.iter().for_each(super::shard::Shard::mark_seen);
            retired
        };
        if retired.held > 0 {
            self.ask_holders();
        }
        self.serve_waiters();
        self.idle_slabs() > KEPT
    }

    /// How many slabs were free as a whole a moment ago.
    fn idle_slabs(&self) -> u32 {
        let free = self.arena().map_or(0, |arena| arena.counts().free);
        free + self.shards.iter().map(super::shard::Shard::idle).sum::<u32>()
    }
}
