//! Threads that perform calls that would block. They belong to the engine; libuv's threads are never used.
//!
//! They come when there is work that no idle thread can take, up to a maximum, and go when idle for five seconds. Where no
//! thread can be had (a container's limit on processes), the job is handed back, so that the caller can do it itself:
//! slow, but never stuck. Jobs start in the order in which they came.
//!
//! One device that does not answer must not hold up the others. So threads that one job has held for long do not count
//! against the maximum: while jobs wait and no thread is idle, a thread of its own (the foreman) looks for such threads
//! every 100 ms, and starts as many others.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

#[cfg(unix)]
use super::park::Park;

/// Something to be done on another thread.
pub(super) type Job = Box<dyn FnOnce() + Send>;

/// How long a thread waits for more work before it ends.
const IDLE: Duration = Duration::from_secs(5);

/// How often the foreman looks. A thread counts as held when its job was there at two looks before.
const LOOK: Duration = Duration::from_millis(100);

/// Threads that there may be in place of held ones. Each takes some 20 KiB of memory: the pages of its stack that a system
/// call touches, and the kernel's part.
const STAND_INS_MAX: usize = 512;

/// System calls need little; jobs of others (a topology to read) get by with it too.
const STACK_BYTES: usize = 512 * 1024;

/// Threads for blocking work. Until the first job it takes a few hundred bytes and no thread.
///
/// Dropping it waits until the queued jobs are done and the threads have ended. If one of its own threads drops it, that
/// thread waits for nobody.
pub(crate) struct Crew {
    shared: Arc<Shared>,
}

/// The part that the threads share, so that a [`Crew`] can be dropped while they run.
pub(super) struct Shared {
    state: Mutex<State>,
    /// Signalled for each job, and once when the crew closes.
    work: Condvar,
    /// Signalled when a job waits for the first time, and when the crew closes.
    waits: Condvar,
    threads_max: usize,
    idle: Duration,
    #[cfg(unix)]
    pub(super) park: Park,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    /// The number of threads, idle ones included.
    threads: usize,
    idle: usize,
    /// How often the foreman has looked.
    looks: u64,
    /// How often it had when the threads that are busy began their jobs.
    busy_since: Vec<u64>,
    /// There is a foreman.
    has_foreman: bool,
    /// For the names of the threads.
    started: u64,
    handles: Vec<JoinHandle<()>>,
    closing: bool,
    /// For tests: the system has no more threads.
    #[cfg(test)]
    refuses: bool,
}

impl Crew {
    /// `threads_max` is at least 1; 0 counts as that.
    pub(crate) fn new(threads_max: usize) -> Self {
        Self::with_idle(threads_max, IDLE)
    }

    fn with_idle(threads_max: usize, idle: Duration) -> Self {
        let shared = Shared {
            state: Mutex::default(),
            work: Condvar::new(),
            waits: Condvar::new(),
            threads_max: threads_max.max(1),
            idle,
            #[cfg(unix)]
            park: Park::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        #[cfg(unix)]
        self.shared.park.close();
        let handles = {
            let mut state = self.shared.state();
            state.closing = true;
            std::mem::take(&mut state.handles)
        };
        self.shared.work.notify_all();
        self.shared.waits.notify_all();
        let me = thread::current().id();
        if handles.iter().any(|handle| handle.thread().id() == me) {
            return;
        }
        for handle in handles {
            // A job's panic is caught where it runs, so this error tells nothing new.
            let _ = handle.join();
        }
    }
}

impl Shared {
    /// Queues the job. Starts a thread for it if none is idle and the maximum allows one more.
    ///
    /// # Errors
    /// Gives the job back if there is no thread and none can be started.
    pub(super) fn run(self: &Arc<Self>, job: Job) -> Result<(), Job> {
        let mut state = self.state();
        state.jobs.push_back(job);
        let wanted = state.jobs.len() > state.idle;
        // Starting under the lock keeps the counts simple; it happens a few times in a process, not once a job.
        if wanted && !state.closing {
            if state.threads < self.threads_max {
                self.start(&mut state);
            } else if !state.has_foreman {
                self.start_foreman(&mut state);
            } else if state.jobs.len() == 1 {
                self.waits.notify_one();
            }
        }
        if state.threads == 0
            && let Some(job) = state.jobs.pop_back()
        {
            return Err(job);
        }
        drop(state);
        self.work.notify_one();
        Ok(())
    }

    /// Starts a thread. If the system has none, nothing changes.
    fn start(self: &Arc<Self>, state: &mut State) {
        #[cfg(test)]
        if state.refuses {
            return;
        }
        let shared = Arc::clone(self);
        let builder = thread::Builder::new().name(format!("auraio-{}", state.started)).stack_size(STACK_BYTES);
        if let Ok(handle) = builder.spawn(move || shared.work()) {
            state.handles.retain(|handle| !handle.is_finished());
            state.handles.push(handle);
            state.started += 1;
            state.threads += 1;
        }
    }

    fn start_foreman(self: &Arc<Self>, state: &mut State) {
        #[cfg(test)]
        if state.refuses {
            return;
        }
        let shared = Arc::clone(self);
        let builder = thread::Builder::new().name("auraio-foreman".to_owned()).stack_size(STACK_BYTES);
        if let Ok(handle) = builder.spawn(move || shared.oversee()) {
            state.handles.push(handle);
            state.has_foreman = true;
        }
    }

    /// The foreman's life: it lasts as long as jobs wait, and a little longer.
    fn oversee(self: &Arc<Self>) {
        let mut state = self.state();
        while !state.closing {
            let waits = !state.jobs.is_empty();
            let pause = if waits { LOOK } else { self.idle };
            let (woken, wait) = self.waits.wait_timeout(state, pause).unwrap_or_else(PoisonError::into_inner);
            state = woken;
            if state.closing || !waits && wait.timed_out() && state.jobs.is_empty() {
                break;
            }
            if !wait.timed_out() {
                // The first job of a line waits from now on.
                continue;
            }
            state.looks += 1;
            let held = state.busy_since.iter().filter(|&&since| since + 2 <= state.looks).count();
            let threads_max = self.threads_max + held.min(STAND_INS_MAX);
            while state.threads < threads_max && state.jobs.len() > state.idle {
                let before = state.threads;
                self.start(&mut state);
                if state.threads == before {
                    break;
                }
                self.work.notify_one();
            }
        }
        state.has_foreman = false;
    }

    /// A thread's life.
    fn work(&self) {
        let mut state = self.state();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                let since = state.looks;
                state.busy_since.push(since);
                drop(state);
                // A job that panics must not end the thread or the process. The entries that it held are completed by the
                // drop of its `Work` (`work.rs`).
                let _ = catch_unwind(AssertUnwindSafe(job));
                state = self.state();
                // Which of those that began at the same look ends makes no difference.
                if let Some(at) = state.busy_since.iter().position(|&its| its == since) {
                    state.busy_since.swap_remove(at);
                }
                continue;
            }
            if state.closing {
                break;
            }
            state.idle += 1;
            let (woken, wait) = self.work.wait_timeout(state, self.idle).unwrap_or_else(PoisonError::into_inner);
            state = woken;
            state.idle -= 1;
            if wait.timed_out() && state.jobs.is_empty() {
                break;
            }
        }
        // The lock has been held since the queue was found empty, so a job that comes now counts one thread less.
        state.threads -= 1;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        crate::lock(&self.state)
    }
}

#[cfg(test)]
impl Crew {
    fn run(&self, job: Job) -> Result<(), Job> {
        self.shared.run(job)
    }

    /// The number of threads that run now.
    fn threads(&self) -> usize {
        self.shared.state().threads
    }

    /// From now on no thread can be started.
    pub(super) fn refuse_threads(&self) {
        self.shared.state().refuses = true;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Barrier, mpsc};

    use super::*;

    fn run(crew: &Crew, job: impl FnOnce() + Send + 'static) {
        assert!(crew.run(Box::new(job)).is_ok());
    }

    #[test]
    fn no_thread_runs_before_the_first_job() {
        assert_eq!(Crew::new(4).threads(), 0);
    }

    #[test]
    fn jobs_of_one_thread_start_in_order() {
        let crew = Crew::new(1);
        let (sender, receiver) = mpsc::channel();
        for number in 0..1000 {
            let sender = sender.clone();
            run(&crew, move || sender.send(number).unwrap());
        }
        drop(sender);
        assert!(receiver.iter().eq(0..1000));
        assert_eq!(crew.threads(), 1);
    }

    #[test]
    fn the_crew_grows_while_its_threads_are_busy_and_not_past_its_maximum() {
        let crew = Crew::new(3);
        let meeting = Arc::new(Barrier::new(4));
        for _ in 0..3 {
            let meeting = Arc::clone(&meeting);
            run(&crew, move || {
                meeting.wait();
            });
        }
        run(&crew, || {});
        assert_eq!(crew.threads(), 3);
        // This wait ends only if the three jobs run at the same time.
        meeting.wait();
    }

    #[test]
    fn an_idle_thread_takes_the_next_job_and_ends_when_none_comes() {
        let crew = Crew::with_idle(8, Duration::from_millis(1));
        for round in 1..=2 {
            let (sender, receiver) = mpsc::channel();
            run(&crew, move || sender.send(thread::current().name().map(str::to_owned)).unwrap());
            assert!(receiver.recv().unwrap().unwrap().starts_with("auraio-"));
            let handles = std::mem::take(&mut crew.shared.state().handles);
            for handle in handles {
                handle.join().unwrap();
            }
            assert_eq!(crew.threads(), 0, "round {round}");
        }
    }

    #[test]
    fn threads_that_are_held_do_not_keep_others_from_their_jobs() {
        let crew = Crew::new(2);
        let meeting = Arc::new(Barrier::new(6));
        let held = Arc::clone(&meeting);
        for _ in 0..5 {
            let held = Arc::clone(&held);
            run(&crew, move || {
                held.wait();
            });
        }
        // Ends only if all five run at the same time.
        meeting.wait();
        let (sender, receiver) = mpsc::channel();
        run(&crew, move || sender.send(1).unwrap());
        assert_eq!(receiver.recv(), Ok(1));
    }

    #[test]
    fn a_job_that_panics_costs_nothing_else() {
        let crew = Crew::new(1);
        let (sender, receiver) = mpsc::channel();
        run(&crew, || std::panic::resume_unwind(Box::new("on purpose")));
        run(&crew, move || sender.send(1).unwrap());
        assert_eq!(receiver.recv(), Ok(1));
        assert_eq!(crew.threads(), 1);
    }

    #[test]
    fn a_job_comes_back_where_no_thread_can_be_had() {
        let crew = Crew::new(2);
        crew.refuse_threads();
        let (sender, receiver) = mpsc::channel();
        let job = crew.run(Box::new(move || sender.send(1).unwrap())).unwrap_err();
        job();
        assert_eq!(receiver.recv(), Ok(1));
    }

    #[test]
    fn a_dropped_crew_finishes_what_was_queued() {
        let crew = Crew::new(1);
        let (sender, receiver) = mpsc::channel();
        for number in 0..100 {
            let sender = sender.clone();
            run(&crew, move || sender.send(number).unwrap());
        }
        drop(crew);
        assert_eq!(receiver.try_iter().count(), 100);
    }

    #[test]
    fn the_last_owner_may_be_a_job() {
        let crew = Arc::new(Crew::new(1));
        let (sender, receiver) = mpsc::channel();
        let (go, wait) = mpsc::channel::<()>();
        let owner = Arc::clone(&crew);
        run(&crew, move || {
            wait.recv().unwrap();
            drop(owner);
            sender.send(()).unwrap();
        });
        drop(crew);
        go.send(()).unwrap();
        receiver.recv().unwrap();
    }
}
