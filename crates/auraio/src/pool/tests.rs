//! Tests of the pool as a whole. Each part has its own tests at the end of its file. `tests/pool_models.rs` runs the parts
//! that threads share in every order of their steps.

mod blocks;
mod holders;
mod limits;
mod nodes;
mod random;
mod slabs;
mod trimming;
mod waiting;

use std::thread;

use super::{trim::Pace, *};

const MIB: usize = 1 << 20;

/// A pool that trims only when a test calls for it.
fn pool(bytes_max: usize) -> Pool {
    Pool::builder().bytes_max(bytes_max as u64).build_with(Pace::Never).unwrap()
}

/// Runs `work` on a thread of its own. The thread has ended when this returns.
fn elsewhere<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| scope.spawn(work).join().unwrap())
}

/// Runs `work` on several threads at once. The threads have ended when this returns. (The end of a `thread::scope` would wait
/// for their work only, and not for the destructors of their thread-local values.)
fn together(threads: usize, work: impl Fn(usize) + Sync) {
    thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = (0..threads).map(|number| scope.spawn(move || work(number))).collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

/// Checks that the statistics count every mapped byte, and that this many bytes are in use.
fn adds_up(pool: &Pool, in_use: usize) -> PoolStats {
    let stats = pool.stats();
    assert_eq!(stats.bytes_in_use, in_use as u64, "{stats:?}");
    let all = stats.bytes_in_use + stats.bytes_cached_threads + stats.bytes_cached_shards;
    assert_eq!(stats.bytes_mapped, all, "{stats:?}");
    stats
}

fn slab_of(pool: &Pool, block: &Block) -> u32 {
    pool.slab_of(block.as_ptr().addr()).unwrap()
}

/// A thread that sleeps with blocks in its cache, until this value is dropped.
struct Sleeper {
    wakes: Option<std::sync::mpsc::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Sleeper {
    /// Runs `first`, and sleeps when it is done.
    fn after(first: impl FnOnce() + Send + 'static) -> Self {
        let (wakes, waits) = std::sync::mpsc::channel::<()>();
        let (done, is_done) = std::sync::mpsc::channel::<()>();
        let thread = thread::spawn(move || {
            first();
            done.send(()).unwrap();
            // Ends when the sender is dropped.
            let _ = waits.recv();
        });
        is_done.recv().unwrap();
        Self { wakes: Some(wakes), thread: Some(thread) }
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        drop(self.wakes.take());
        self.thread.take().map(thread::JoinHandle::join).unwrap().unwrap();
    }
}
