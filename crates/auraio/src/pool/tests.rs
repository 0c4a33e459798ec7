//! The pool as a whole. Its parts have their tests at their feet; `tests/pool_models.rs` runs those that threads share
//! through every order of their steps.

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

/// A pool that trims when it is told to.
fn pool(bytes_max: usize) -> Pool {
    Pool::builder().bytes_max(bytes_max as u64).build_with(Pace::Never).unwrap()
}

/// Runs something on a thread of its own, which has ended when this returns.
fn elsewhere<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| scope.spawn(work).join().unwrap())
}

/// Runs something on several threads at once, which have ended when this returns. (The end of a scope waits for the work of
/// threads, not for what they do when they end.)
fn together(threads: usize, work: impl Fn(usize) + Sync) {
    thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = (0..threads).map(|number| scope.spawn(move || work(number))).collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

/// Checks that every mapped byte is accounted for, and that so many are in use.
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

/// Stands in for a thread that sleeps with blocks in its cache, until it is dropped.
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
