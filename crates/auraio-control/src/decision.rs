//! The record of what a loop decided, and why.

use std::collections::VecDeque;

/// What an outer loop is doing.
///
/// ```
/// use auraio_control::{Controller, Phase, Settings};
///
/// assert_eq!(Controller::new(Settings::default()).phase(), Phase::Base);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Phase {
    /// The limit is fixed.
    Fixed,
    /// It measures how long a lone operation takes.
    Base,
    /// It raises the limit for as long as throughput grows with it.
    Climb,
    /// It looks for the smallest limit that is as fast as the one it has.
    Search,
    /// It stays where it is, and watches.
    Hold,
    /// It compares the limit with a smaller one.
    TestDown,
    /// It compares the limit with a larger one.
    TestUp,
    /// It allows more in flight for a moment, to see whether throughput grows.
    Pulse,
    /// The guard has just cut.
    Recover,
    /// It raises the limit step by step.
    Increase,
}

impl Phase {
    /// Its name in lower case, as statistics and events give it.
    ///
    /// ```
    /// assert_eq!(auraio_control::Phase::TestDown.name(), "test down");
    /// ```
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fixed => "fixed",
            Self::Base => "base",
            Self::Climb => "climb",
            Self::Search => "search",
            Self::Hold => "hold",
            Self::TestDown => "test down",
            Self::TestUp => "test up",
            Self::Pulse => "pulse",
            Self::Recover => "recover",
            Self::Increase => "increase",
        }
    }
}

/// Why a decision was taken.
///
/// ```
/// assert_eq!(auraio_control::Reason::Guard.name(), "guard");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// The p99 is above the guard.
    Guard,
    /// Even the smallest limit's p99 is above the guard: the limit stays there.
    Infeasible,
    /// The latency of a lone operation is known: the climb begins.
    Started,
    /// The larger limit was faster.
    LargerIsFaster,
    /// The larger limit was not faster enough: the plateau is reached.
    Plateau,
    /// The smaller limit was as fast.
    SmallerIsAsFast,
    /// The search is over.
    Found,
    /// A larger limit would have a p99 above the guard.
    Headroom,
    /// The load has no more operations than the limit allows.
    Demand,
    /// The limit is the largest allowed.
    Bound,
    /// Operations wait again, and the limit was set by a load that was too small to test it.
    Saturated,
    /// The device has become slower.
    Drop,
    /// The device has become faster.
    Rise,
    /// Operations have become much larger or much smaller.
    Mix,
    /// The limit was in use and the p99 was below the guard, so the limit grows by one.
    Step,
    /// New settings.
    Set,
}

impl Reason {
    /// Its name in lower case, as events give it.
    ///
    /// ```
    /// assert_eq!(auraio_control::Reason::SmallerIsAsFast.name(), "smaller is as fast");
    /// ```
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Guard => "guard",
            Self::Infeasible => "infeasible",
            Self::Started => "started",
            Self::LargerIsFaster => "larger is faster",
            Self::Plateau => "plateau",
            Self::SmallerIsAsFast => "smaller is as fast",
            Self::Found => "found",
            Self::Headroom => "headroom",
            Self::Demand => "demand",
            Self::Bound => "bound",
            Self::Saturated => "saturated",
            Self::Drop => "drop",
            Self::Rise => "rise",
            Self::Mix => "mix",
            Self::Step => "step",
            Self::Set => "set",
        }
    }
}

/// One decision of a loop, with the numbers that led to it. Numbers that played no part are 0. The limits that a test tries
/// are no decisions; the outcome of the test is one.
///
/// ```
/// use auraio_control::{Controller, Policy, Reason, Settings};
///
/// let mut controller = Controller::new(Settings::default());
/// controller.set(Settings { policy: Policy::Fixed(16), ..Settings::default() }, 0);
/// let decision = controller.next_decision().unwrap();
/// assert_eq!((decision.reason, decision.from, decision.to), (Reason::Set, 1, 16));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Decision {
    /// When, in nanoseconds of the samples' origin.
    pub at: u64,
    /// What the loop does from now on.
    pub phase: Phase,
    /// Why.
    pub reason: Reason,
    /// The limit before.
    pub from: u32,
    /// The limit that it found. While the loop tests other limits, the limit in force differs from it.
    pub to: u32,
    /// Work per second: see [`Sample::work`](super::Sample::work).
    pub throughput: f64,
    /// The p99 of completion latency in nanoseconds.
    pub p99: u64,
    /// The mean of completion latency in nanoseconds.
    pub mean: u64,
    /// The natural logarithm of the throughput divided by the one that it was compared with: at the other limit, or before.
    pub gain: f64,
    /// The gain that was needed.
    pub threshold: f64,
    /// The standard error of the gain.
    pub error: f64,
    /// How many completions the decision rests on.
    pub samples: u64,
}

impl Decision {
    /// A decision without numbers. The journal sets its time.
    pub(crate) const fn new(reason: Reason, phase: Phase, from: u32, to: u32) -> Self {
        Self {
            at: 0,
            phase,
            reason,
            from,
            to,
            throughput: 0.0,
            p99: 0,
            mean: 0,
            gain: 0.0,
            threshold: 0.0,
            error: 0.0,
            samples: 0,
        }
    }
}

/// How many decisions are kept for a reader that is late. A busy loop takes some ten in its first second, and then one in
/// several seconds.
const KEPT_MAX: usize = 64;

/// The decisions that nobody has taken yet.
#[derive(Clone, Debug)]
pub(crate) struct Journal {
    decisions: VecDeque<Decision>,
    dropped: u64,
    /// The time that the next decision bears.
    pub(crate) at: u64,
}

impl Journal {
    pub(crate) fn new() -> Self {
        Self { decisions: VecDeque::with_capacity(KEPT_MAX), dropped: 0, at: 0 }
    }

    /// Keeps a decision; drops the oldest if too many are kept.
    pub(crate) fn record(&mut self, decision: Decision) {
        if self.decisions.len() == KEPT_MAX {
            self.decisions.pop_front();
            self.dropped = self.dropped.saturating_add(1);
        }
        self.decisions.push_back(Decision { at: self.at, ..decision });
    }

    pub(crate) fn next(&mut self) -> Option<Decision> {
        self.decisions.pop_front()
    }

    pub(crate) const fn dropped(&self) -> u64 {
        self.dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_decision_is_dropped_and_counted() {
        let mut journal = Journal::new();
        for limit in 0..KEPT_MAX as u32 + 2 {
            journal.record(Decision::new(Reason::Step, Phase::Increase, limit, limit + 1));
        }
        assert_eq!(journal.dropped(), 2);
        assert_eq!(journal.next().map(|decision| decision.from), Some(2));
        let left = std::iter::from_fn(|| journal.next()).count();
        assert_eq!(left, KEPT_MAX - 1);
    }
}
