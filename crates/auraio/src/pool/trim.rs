//! Gives back to the system what nobody uses: when it is asked for, and by itself for what stays free for some seconds.
//!
//! The trimmer is a thread that begins when a release leaves more than a few slabs free, looks every five seconds, and ends
//! when there is nothing left that it could give back. Two looks in a row must find a slab free, and unused in between. An
//! idle process has no such thread, and no process waits for it at its end.

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

/// Between two looks.
pub(super) const PERIOD: Duration = Duration::from_secs(5);

/// Free slabs that stay mapped, for the next who needs one: mapping takes about 60 us for each.
const KEPT: u32 = 4;

/// It looks through lists and makes system calls.
const STACK_BYTES: usize = 128 * 1024;

/// Of one pool.
#[derive(Debug)]
pub(super) struct Trimmer {
    pace: Pace,
    /// Whether there is a thread. Changed under the lock of `tasks`.
    runs: AtomicBool,
    tasks: Mutex<Tasks>,
    /// Signalled for a task.
    task: Condvar,
}

/// What the thread is to do before its next look.
#[derive(Debug, Default)]
struct Tasks {
    ask_holders: bool,
}

/// When the trimmer looks.
#[derive(Debug)]
pub(super) enum Pace {
    /// After so long, again and again.
    Period(Duration),
    /// When a test says so; and it tells whether it goes on.
    #[cfg(test)]
    Told(Mutex<std::sync::mpsc::Receiver<()>>, std::sync::mpsc::Sender<bool>),
    /// Without a thread: a test looks itself.
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

    /// Sees to it that there is a thread, if there is something for it to do.
    pub(super) fn wake(&self, pool: &'static Inner) {
        // Against the fence in `run`.
        fence(SeqCst);
        if !self.runs.load(Relaxed) && pool.idle_slabs() > KEPT {
            self.start(pool, &mut lock(&self.tasks));
        }
    }

    /// Has the holders of what retires asked to let go, on the trimmer's thread: whoever calls this may have a lock that a
    /// holder needs.
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
        // Where no thread can be had, the next release tries again.
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
            let more = pool.look();
            let tasks = lock(&self.tasks);
            let mut more = more || tasks.ask_holders;
            if !more {
                self.runs.store(false, Relaxed);
                // Against the fence in `wake`: one of the two sees what the other did.
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

    /// Waits for a task, or until it is time to look.
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
                // A test that ended wants no more looks.
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

    /// Gives back what was free at the last look already and has not been used since. True if there may be more to give back
    /// at the next.
    pub(super) fn look(&'static self) -> bool {
        // What idle threads keep holds whole slabs back.
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

    /// Slabs that no block is in, a moment ago.
    fn idle_slabs(&self) -> u32 {
        let free = self.arena().map_or(0, |arena| arena.counts().free);
        free + self.shards.iter().map(super::shard::Shard::idle).sum::<u32>()
    }
}
