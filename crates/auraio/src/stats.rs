//! What an engine tells of itself. The numbers are declared where they are counted: `ring/stats.rs`, `lanes/stats.rs` and
//! `pool/stats.rs`.

use crate::{BackendKind, LaneStats, PoolStats, ring::RingStats};

/// What an engine has done so far. The numbers are read while operations go on, so they may be of slightly different
/// moments.
///
/// ```
/// # let engine = auraio::Engine::builder().build()?;
/// engine.block_on(engine.submit(auraio::op::Nop))?;
/// let stats = engine.stats();
/// assert_eq!((stats.backend, stats.rings.len()), (engine.backend(), 1));
/// # Ok::<(), auraio::Error>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Stats {
    /// The backend, which performs the operations.
    pub backend: BackendKind,
    /// One entry for each ring that was made.
    pub rings: Vec<RingStats>,
    /// One entry for each lane of the process, which is a device in one mode: its in-flight limit, and what led to it.
    pub lanes: Vec<LaneStats>,
    /// The pool that the engine takes blocks from.
    pub pool: PoolStats,
}
