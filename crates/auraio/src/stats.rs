//! What an engine tells of itself. The numbers are declared where they are counted: `ring/stats.rs`, `lanes/stats.rs` and
//! `pool/stats.rs`.

use crate::{BackendKind, LaneStats, PoolStats, ring::RingStats};

/// What an engine has done so far. Every number is read without stopping anything, so they may be of slightly different
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
    /// What performs the operations.
    pub backend: BackendKind,
    /// One for each ring that was made.
    pub rings: Vec<RingStats>,
    /// One for each device and mode that the process has used: what its in-flight limit is, and why.
    pub lanes: Vec<LaneStats>,
    /// The memory that the engine takes blocks from.
    pub pool: PoolStats,
}
