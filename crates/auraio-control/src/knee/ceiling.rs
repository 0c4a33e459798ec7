//! The ceiling: what the last cut allows for the time being.

use super::SECOND;

/// After a cut the limit may grow to this part of what was too much...
const OF_TOO_MUCH: f64 = 0.92;
/// ...and to so many times as much with each second: after 10 s to twice as much.
const GROWTH: f64 = 1.08;

/// The largest limit that the last cut allows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ceiling {
    limit: f64,
    raised: u64,
}

impl Ceiling {
    /// No cut is remembered.
    pub(super) const fn none() -> Self {
        Self { limit: f64::INFINITY, raised: 0 }
    }

    /// The ceiling after a cut at `now`, when `in_use` operations in flight were too many.
    pub(super) fn after_cut(in_use: u32, found: u32, now: u64) -> Self {
        Self { limit: (OF_TOO_MUCH * f64::from(in_use)).max(f64::from(found) + 1.0), raised: now }
    }

    /// The largest limit that is allowed now.
    pub(super) const fn limit(self) -> f64 {
        self.limit
    }

    /// What the cut taught is forgotten little by little.
    pub(super) fn raise(&mut self, now: u64) {
        if now.saturating_sub(self.raised) > SECOND {
            self.limit *= GROWTH;
            self.raised = now;
        }
    }

    /// Allows at least this limit.
    pub(super) fn raise_to(&mut self, limit: f64) {
        self.limit = self.limit.max(limit);
    }
}
