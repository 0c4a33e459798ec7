//! Decides where one call is performed.
//!
//! The table of operations (`op/table.rs`) says which way calls of a kind go. Where that depends on the call's size and
//! file, this file decides. The costs were measured on kernel 6.18 with ext4, xfs, btrfs and tmpfs, in microseconds an
//! operation at depth 1 and at 32 a flush; docs/decisions/0003-routes.md has all of them and their source.
//!
//! Calls that the kernel always hands to one of its own workers (`io-wq`) go to the ring all the same, because the kernel
//! knows best which of them block. Only two operations are cheaper when the submitting thread performs them at once, and can
//! never wait for a device or a server: a stat of an open local file, and the close of a local file that was not written to.

use super::table::Way;
use crate::sys::{Call, FileFacts};

/// Where an operation is performed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// By a plain system call, on the submitting thread.
    Inline,
    /// On the ring, attempted inside the submission.
    Ring,
    /// On the ring, by a worker of the kernel from the start, because the attempt would hold the submitting thread.
    RingAsync,
    /// On the engine's crew of threads: the kernel has no opcode for it, or would do something else than asked.
    Threads,
}

/// A buffered read of this size or more would hold the submitting thread for 100 us or more (109 us into fresh memory,
/// 98 us from a disk).
pub(crate) const BUFFERED_READ_ASYNC_BYTES: u64 = 256 << 10;

/// The same into memory of the pool, whose pages are there: 35 us for 1 MiB from the page cache, 144 us for 4 MiB.
pub(crate) const POOL_READ_ASYNC_BYTES: u64 = (1 << 20) + 1;

/// The same for `O_DIRECT`, whose submission only pins pages: 46 us for 1 MiB, 177 us for 4 MiB.
pub(crate) const DIRECT_ASYNC_BYTES: u64 = 2 << 20;

/// The same on memory of the pool, whose pages are pinned if it is registered: 13 us for 1 MiB, 37 us for 8 MiB.
pub(crate) const DIRECT_POOL_ASYNC_BYTES: u64 = 8 << 20;

/// What a byte read into memory of the pool counts against the budget of a flush, as a part of one that is not: the pages
/// need not be found and cleared first (35 us for 1 MiB against 413).
pub(crate) const POOL_BUDGET_SHARE: u64 = 4;

/// Bytes of buffered reads that one flush attempts inline: 55 us as 64 reads of 4 KiB from the page cache, and about
/// 100 us in the worst case measured (unfaulted memory). What exceeds it goes to the kernel's workers.
pub(crate) const FLUSH_BUDGET_BYTES: u64 = 256 << 10;

/// Operations that one flush attempts inline: 112 us as 128 cached reads of 4 KiB.
pub(crate) const FLUSH_BUDGET_OPERATIONS: u32 = 128;

/// How many buffered reads of [`BUFFERED_READ_ASYNC_BYTES`] or more one ring lets the kernel's workers do at once: half of
/// the cores. From the page cache each is a copy that keeps a core busy, and workers on every core leave none to the
/// program: with four of them on two cores a dns.lookup took 2.0 and a pbkdf2 2.9 times as long as idle
/// (benches/event-loop.mjs). From a disk the kernel reads ahead within each.
pub(crate) fn heavy_max(cores: usize) -> u32 {
    u32::try_from(cores / 2).unwrap_or(u32::MAX).max(1)
}

/// Where one call is performed. `bytes` is the most that the call moves. `file` is what is known of the open file that the
/// call works on, if it works on one. `pooled` says whether the memory is the pool's.
#[inline(always)]
pub(crate) fn route(call: &Call, bytes: u64, file: Option<&FileFacts>, pooled: bool) -> Route {
    let fuse = file.is_some_and(|facts| facts.fuse);
    match call.facts().way {
        // The kernel makes a direct transfer again, by itself and without a pause, when a FUSE server answers EAGAIN to it: 60,000
        // times a second, on 6.18 with `FUSE_ASYNC_DIO`, also with IOSQE_ASYNC. The server decides which files are direct,
        // and does not tell. The threads pause between the tries.
        Way::BySize if fuse => Route::Threads,
        Way::Ring => Route::Ring,
        Way::Threads => Route::Threads,
        // A stat, us: syscall 0.43, ring 8.4 at depth 1, 2.3 at 32 a flush: the ring always needs a worker for it.
        Way::InlineIfLocal if file.is_some_and(|facts| facts.local) => Route::Inline,
        Way::InlineIfLocal => Route::Ring,
        // A transfer, us: 0.85 inline, 0.83 / 0.56 on the ring; with a worker 1.76, so only what would hold the thread gets one.
        // A buffered write of ext4 goes to a worker by itself (7.0 us at depth 1, 3.55 at 32); xfs and btrfs finish it
        // inline, copying: past the same size as a read it would hold the thread.
        Way::BySize => {
            let direct = file.is_some_and(|facts| facts.direct);
            let limit = match (direct, pooled) {
                (false, false) => BUFFERED_READ_ASYNC_BYTES,
                (false, true) => POOL_READ_ASYNC_BYTES,
                (true, false) => DIRECT_ASYNC_BYTES,
                (true, true) => DIRECT_POOL_ASYNC_BYTES,
            };
            if bytes >= limit { Route::RingAsync } else { Route::Ring }
        }
    }
}

/// Whether the kernel always hands this call to a worker, which it may fail to have (`pids.max`, `RLIMIT_NPROC`).
#[inline(always)]
pub(crate) const fn needs_worker(call: &Call) -> bool {
    call.facts().needs_worker
}

/// Bytes of a buffered read that count against the budget of a flush.
#[inline(always)]
pub(crate) fn inline_read_bytes(call: &Call, bytes: u64, file: Option<&FileFacts>, pooled: bool) -> u64 {
    if !call.is_read() || file.is_some_and(|facts| facts.direct) {
        return 0;
    }
    if pooled { bytes / POOL_BUDGET_SHARE } else { bytes }
}
