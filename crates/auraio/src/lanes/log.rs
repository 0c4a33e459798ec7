//! The decisions of all outer loops of the process, kept for listeners.

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
    /// The decision's number. All decisions of the process are numbered, from 1.
    pub number: u64,
    /// The lane whose loop decided.
    pub lane: LaneId,
    /// The decision, and the numbers that led to it.
    pub decision: Decision,
}

/// The most decisions that are kept for listeners who have not asked yet. A busy process makes so many in some minutes.
const KEPT_MAX: usize = 1024;

static DECIDED: Mutex<VecDeque<LaneDecision>> = Mutex::new(VecDeque::new());
static COUNT: AtomicU64 = AtomicU64::new(0);

/// The number of decisions so far. It costs one load, because some callers ask often.
#[inline]
pub(crate) fn decisions_so_far() -> u64 {
    COUNT.load(Ordering::Acquire)
}

/// The decisions with a number above `number`, oldest first, as far as they are still kept.
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
