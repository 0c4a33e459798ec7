//! The pool as a whole. Its parts have their tests at their feet; `tests/pool_models.rs` runs those that threads share
//! through every order of their steps.

mod blocks;
mod random;

use std::thread;

use super::{trim::Pace, *};

/// A pool that trims when it is told to.
fn pool(bytes_max: u64) -> Pool {
    Pool::builder().bytes_max(bytes_max).build_with(Pace::Never).unwrap()
}

/// Runs something on a thread of its own, which has ended when this returns.
fn elsewhere<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| scope.spawn(work).join().unwrap())
}

/// Checks that every mapped byte is accounted for, and that so many are in use.
fn adds_up(pool: &Pool, in_use: usize) -> PoolStats {
    let stats = pool.stats();
    assert_eq!(stats.bytes_in_use, in_use as u64, "{stats:?}");
    let all = stats.bytes_in_use + stats.bytes_cached_threads + stats.bytes_cached_shards;
    assert_eq!(stats.bytes_mapped, all, "{stats:?}");
    stats
}
