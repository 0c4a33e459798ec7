//! Climbing: the limit doubles for as long as a paired test shows that throughput grows, as in TCP's slow start.

use super::{
    FLOOR, Knee, State, TOLERANCE, as_limit,
    ceiling::Ceiling,
    paired::{self, Verdict},
    segment::Measured,
};
use crate::{
    decision::{Phase, Reason},
    law::Shared,
};

/// The factor of a step. With 2, a limit of 256 is reached in six tests.
pub(super) const DOUBLE: f64 = 2.0;
/// The factor of a step on a slow device, whose tests take seconds. The larger the step, the sooner its gain is known.
pub(super) const QUADRUPLE: f64 = 4.0;
/// The factor of a careful step, when the knee is thought to be near: half a doubling.
pub(super) const HALF_STEP: f64 = 1.42;
/// A step by [`GAIN_STEP`] or more has to gain 4 %...
pub(super) const GAIN: f64 = 0.04;
/// ...and a smaller step less, in proportion on a logarithmic scale.
const GAIN_STEP: f64 = 1.4;
/// On a slow device a large step has to gain up to twice as much. A hard disk with a queue gains 30 % with four times the depth.
const GAIN_STEPS_SLOW: f64 = 2.0;
/// Steps of less than 5 % are not tested: their gain is too small to be seen.
const STEP_MIN: f64 = 1.05;
/// If the load has no more operations and the p99 is below this part of the guard, the limit is set to what the load has: it
/// does no harm. If the p99 is above that, a search follows, because chance may have led the climb too far. Later, with no
/// operation waiting, no test could show it.
const WORTH_A_SEARCH: f64 = 0.2;
/// A gain this large (35 %) shows that the device has changed since the last cut, so the ceiling no longer holds.
pub(super) const GAIN_UNCAPS: f64 = 0.3;
/// If operations waited for less than these parts of the time of both segments, the load is too small for the test.
const UNSATURATED_A: f64 = 0.5;
const UNSATURATED_B: f64 = 0.25;

/// A climb: its factor, and the last limit that was clearly slower (0 if there is none).
#[derive(Clone, Copy, Debug)]
pub(super) struct Climb {
    pub(super) factor: f64,
    pub(super) below: u32,
}

impl Knee {
    /// Takes the next step of a climb from the limit found so far. `known` is a measurement at that limit.
    pub(super) fn climb(&mut self, climb: Climb, known: Option<Measured>, shared: &mut Shared) {
        self.state = State::Climb(climb);
        let p99 = match known {
            Some(at) if self.slow => at.cautious_p99_slow(self.found),
            Some(at) => at.cautious_p99(),
            None => self.latest.p99,
        };
        let factor_max = if self.slow { QUADRUPLE } else { DOUBLE };
        let factor = climb.factor.min(factor_max).min(self.headroom(p99, shared));
        let offered = self.offered().max(4.0);
        let most = self.most(shared).min(offered);
        let found = f64::from(self.found);
        let least = if factor > STEP_MIN { found + 1.0 } else { 0.0 };
        let target = as_limit((found * factor).floor().max(least).min(most));
        if target <= self.found || f64::from(target) < STEP_MIN * found {
            let is_demand = factor > STEP_MIN && self.offered() < self.most(shared) && offered <= self.offered() + 0.5;
            if is_demand && p99 > WORTH_A_SEARCH * shared.sentry.guard() as f64 {
                self.tell_phase(Reason::Demand, Phase::Search, self.found, shared);
                self.search(climb.below, self.found, None, shared);
                return;
            }
            self.end_climb(climb, factor, is_demand, shared);
            return;
        }
        let step = (f64::from(target) / found).ln() / GAIN_STEP.ln();
        let steps_max = if self.slow { GAIN_STEPS_SLOW } else { 1.0 };
        let threshold = GAIN.ln_1p() * step.min(steps_max);
        self.test(State::Climb(climb), (self.found, target), threshold, paired::CLIMB, known);
    }

    /// Ends a climb that has no step left.
    fn end_climb(&mut self, climb: Climb, factor: f64, is_demand: bool, shared: &mut Shared) {
        let from = self.found;
        if is_demand {
            self.found = as_limit(self.demand + 1.5).min(shared.bounds.max).max(self.found);
            self.hold(shared);
            self.tried = false;
            self.tell(Reason::Demand, from, shared);
        } else if self.found >= shared.bounds.max {
            self.tell_phase(Reason::Bound, Phase::Search, from, shared);
            self.search(climb.below, self.found, None, shared);
        } else {
            self.hold(shared);
            self.tell(if factor > STEP_MIN { Reason::Bound } else { Reason::Headroom }, from, shared);
        }
    }

    /// Goes on after a pair of a climb's test.
    pub(super) fn climb_compared(&mut self, climb: Climb, target: u32, verdict: Verdict, shared: &mut Shared) {
        if verdict.at_b.saturation < UNSATURATED_B && verdict.at_a.saturation < UNSATURATED_A {
            self.starved(shared);
        } else if verdict.at_b.p99 < FLOOR || verdict.answer == Some(true) {
            self.climbed(climb, target, verdict, shared);
        } else if verdict.answer == Some(false) {
            self.reached(climb, target, verdict, shared);
        } else {
            self.next_pair();
        }
    }

    fn climbed(&mut self, climb: Climb, target: u32, verdict: Verdict, shared: &mut Shared) {
        let from = std::mem::replace(&mut self.found, target);
        if verdict.gain > GAIN_UNCAPS {
            self.ceiling = Ceiling::none();
        }
        self.expected.multiply(verdict.gain);
        self.expected.level = 1.0;
        self.tell_verdict(Reason::LargerIsFaster, Phase::Climb, from, &verdict, shared);
        self.climb(Climb { below: from, ..climb }, Some(verdict.at_b), shared);
    }

    /// Ends a climb whose larger limit gained too little. If it gained a little, the knee is between the two limits; else it is
    /// at the smaller one or below.
    fn reached(&mut self, climb: Climb, target: u32, verdict: Verdict, shared: &mut Shared) {
        let from = self.found;
        if self.slow {
            // A bisection would take minutes. Tests of the nearest limits do the rest.
            self.expected.level_below(verdict.cautious_gain());
            self.expected.level = self.expected.level.max(1.0 - TOLERANCE);
            self.hold(shared);
            self.tell_verdict(Reason::Plateau, Phase::Hold, from, &verdict, shared);
            return;
        }
        let (low, high) = if verdict.gain > TOLERANCE && f64::from(target) > super::search::CLOSE * f64::from(from) {
            self.expected.level = 1.0;
            (from, target)
        } else {
            self.expected.level_below(verdict.cautious_gain());
            self.expected.level = self.expected.level.max(1.0 - TOLERANCE);
            (climb.below, from)
        };
        self.found = high;
        self.tell_verdict(Reason::Plateau, Phase::Search, from, &verdict, shared);
        self.search(low, high, None, shared);
    }
}
