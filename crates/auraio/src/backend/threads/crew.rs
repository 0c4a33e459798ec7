//! Threads that perform calls that would block. They belong to the engine; libuv's threads are never used.
//!
//! A thread is started when there is a job that no idle thread can take, up to a maximum. A thread ends when it has been
//! idle for five seconds. If no thread can be started (a container may limit the number of processes), the crew gives the
//! job back, and the caller performs it: slowly, but nothing is stuck. Jobs start in the order in which they came.

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

/// The stack of a thread. System calls need little, and so do the crew's other jobs, such as reading the topology.
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
    /// The number of threads that were ever started. It gives the next one its name.
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
        // The thread is started under the lock, which keeps the counts simple. That happens a few times in a process.
        if wanted && !state.closing && state.threads < self.threads_max {
            self.start(&mut state);
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

    /// Performs jobs until the crew closes or the thread has been idle for too long.
    fn work(&self) {
        let mut state = self.state();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                drop(state);
                // A job that panics must not end the thread or the process. The entries that it held are completed by the
                // drop of its `Work` (`work.rs`).
                let _ = catch_unwind(AssertUnwindSafe(job));
                state = self.state();
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
