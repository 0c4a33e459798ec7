//! Searching: bisection for the smallest limit whose throughput is within the tolerance of the plateau's.

use super::{
    FLOOR, Knee, State, TOLERANCE, as_limit,
    paired::{self, Verdict},
};
use crate::{
    decision::{Phase, Reason},
    law::Shared,
};

/// The search ends when the two sides are within this factor. One more step would save 9 % of the depth, and change throughput
/// by less than a test can tell.
pub(super) const CLOSE: f64 = 1.19;
/// While no smaller limit is known to be too small, a step down may lose so many tolerances at once. Finer steps check it.
const COARSE_TOLERANCE: f64 = 1.8;
/// The first step down, unless throughput has dropped.
pub(super) const HALVE: f64 = 0.5;
/// After a drop of throughput the first step is in proportion to it, but no further than this.
pub(super) const FIRST_STEP_MIN: f64 = 0.15;

/// A search between a limit known to be too small (0 if none is) and one known to be large enough.
#[derive(Clone, Copy, Debug)]
pub(super) struct Search {
    pub(super) low: u32,
    pub(super) high: u32,
    /// The p99 measured at `high`.
    pub(super) p99: Option<f64>,
}

impl Knee {
    /// Takes the next step of a search. `expected.level` tells how far the throughput at `high` is below the plateau.
    pub(super) fn search(&mut self, low: u32, high: u32, p99: Option<f64>, shared: &mut Shared) {
        let from = std::mem::replace(&mut self.found, high);
        let search = Search { low, high, p99 };
        self.state = State::Search(search);
        let close = low > 0 && f64::from(high) <= CLOSE * f64::from(low);
        let harmless = p99.is_some_and(|p99| p99 < FLOOR);
        if high <= shared.bounds.min || high - low <= 1 || close || harmless {
            self.hold(shared);
            self.tell(Reason::Found, from, shared);
            return;
        }
        let (middle, threshold, rule) = if low == 0 {
            let first = std::mem::replace(&mut self.first_step, HALVE);
            let middle = as_limit(f64::from(high) * first).clamp(shared.bounds.min, high - 1);
            (middle, (1.0 - COARSE_TOLERANCE * TOLERANCE).ln(), paired::COARSE)
        } else {
            let middle = as_limit((f64::from(low) * f64::from(high)).sqrt().round()).clamp(low + 1, high - 1);
            (middle, self.tolerated(), paired::FINE)
        };
        self.test(State::Search(search), (high, middle), threshold, rule, None);
    }

    /// Goes on after a pair of a search's test.
    pub(super) fn search_compared(&mut self, search: Search, middle: u32, verdict: Verdict, shared: &mut Shared) {
        match verdict.answer {
            Some(true) => {
                self.expected.multiply(verdict.gain);
                self.expected.lower_level(verdict.cautious_gain());
                self.found = middle;
                self.tell_verdict(Reason::SmallerIsAsFast, Phase::Search, search.high, &verdict, shared);
                self.search(search.low, middle, Some(verdict.at_b.p99), shared);
            }
            Some(false) => self.search(middle, search.high, search.p99, shared),
            None => self.next_pair(),
        }
    }
}
