//! What the loops of the process decided, for whoever listens.

use std::{
    collections::VecDeque,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use super::LaneId;
use crate::{control::Decision, lock};

/// One decision of one lane's loop.
///
/// ```
/// # let engine = auraio::Engine::builder().build()?;
/// for decided in engine.decisions(0) {
///     println!("{}: {} -> {}, {}", decided.number, decided.decision.from, decided.decision.to, decided.decision.reason.name());
/// }
/// # Ok::<(), auraio::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct LaneDecision {
    /// Decisions of the process are numbered from 1.
    pub number: u64,
    /// Whose loop it was.
    pub lane: LaneId,
    /// What was decided, and the numbers that led to it.
    pub decision: Decision,
}

/// Decisions that are kept for those who have not asked yet: some minutes of a busy process.
const KEPT_MAX: usize = 1024;

static DECIDED: Mutex<VecDeque<LaneDecision>> = Mutex::new(VecDeque::new());
static COUNT: AtomicU64 = AtomicU64::new(0);

/// How many there were: one load, for those who look often.
#[inline]
pub(crate) fn decisions_so_far() -> u64 {
    COUNT.load(Ordering::Acquire)
}

/// Those with a number above `number`, oldest first, as far as they are kept.
pub(crate) fn decisions_after(number: u64) -> Vec<LaneDecision> {
    if decisions_so_far() <= number {
        return Vec::new();
    }
    lock(&DECIDED).iter().filter(|decided| decided.number > number).copied().collect()
}

pub(super) fn note(lane: LaneId, decision: Decision) {
    let mut decided = lock(&DECIDED);
    if decided.len() == KEPT_MAX {
        decided.pop_front();
    }
    let number = COUNT.load(Ordering::Relaxed) + 1;
    decided.push_back(LaneDecision { number, lane, decision });
    COUNT.store(number, Ordering::Release);
}
