//! Climbing: slow start. The limit doubles for as long as a paired test shows that throughput follows.

use super::{
    FLOOR, Knee, State, TOLERANCE, as_limit,
    paired::{self, Verdict},
    segment::Measured,
};
use crate::{
    decision::{Phase, Reason},
    law::Shared,
};

/// The factor of a step, as in TCP's slow start: 256 is reached in six tests.
pub(super) const DOUBLE: f64 = 2.0;
/// On a slow device, whose tests take seconds: the gain of a large step is soon told from none.
pub(super) const QUADRUPLE: f64 = 4.0;
/// And of a careful one, where the knee is thought to be near: half a doubling.
pub(super) const HALF_STEP: f64 = 1.42;
/// A step that is worth it gains 4 %...
pub(super) const GAIN: f64 = 0.04;
/// ...for 1.4 times the depth, and less in proportion for less, on a logarithmic scale.
const GAIN_STEP: f64 = 1.4;
/// On a slow device a step of that size may ask for twice as much: a disk with a queue gains 30 % for four times the depth.
const GAIN_STEPS_SLOW: f64 = 2.0;
/// Steps of less than 5 % are not tested: no device's throughput could show it.
const STEP_MIN: f64 = 1.05;
/// Where the load has nothing more to offer, and the p99 is below this part of the guard, the limit is what is offered: no
/// harm is done. Above it, a smaller one may be as fast: chance can lead a climb as far as the load goes, and where nothing
/// waits any more nothing could be compared again.
const WORTH_A_SEARCH: f64 = 0.2;
/// A gain this large (35 %) shows that what a cut taught of the device holds no more.
pub(super) const GAIN_UNCAPS: f64 = 0.3;
/// If operations waited for less than these parts of both segments' time, the load cannot show anything.
const UNSATURATED_A: f64 = 0.5;
const UNSATURATED_B: f64 = 0.25;

/// A climb: its factor, and the last limit that was clearly slower (0 if there is none).
#[derive(Clone, Copy, Debug)]
pub(super) struct Climb {
    pub(super) factor: f64,
    pub(super) below: u32,
}

impl Knee {
    /// The next step of a climb from the limit found so far, `known` being a measurement there.
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

    /// There is no step left.
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

    /// A pair of a climb's test is complete.
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
            self.ceiling = f64::INFINITY;
        }
        self.expect_times(verdict.gain);
        self.level = 1.0;
        self.tell_verdict(Reason::LargerIsFaster, Phase::Climb, from, &verdict, shared);
        self.climb(Climb { below: from, ..climb }, Some(verdict.at_b), shared);
    }

    /// The larger limit was not faster enough. If it was a little, the knee is between, else at or below what was found.
    fn reached(&mut self, climb: Climb, target: u32, verdict: Verdict, shared: &mut Shared) {
        let from = self.found;
        if self.slow {
            // A bisection takes longer than the device stays the same: tests with the nearest limits do the rest.
            self.level = (-verdict.cautious_gain().max(0.0)).exp().max(1.0 - TOLERANCE);
            self.hold(shared);
            self.tell_verdict(Reason::Plateau, Phase::Hold, from, &verdict, shared);
            return;
        }
        let (low, high) = if verdict.gain > TOLERANCE && f64::from(target) > super::search::CLOSE * f64::from(from) {
            self.level = 1.0;
            (from, target)
        } else {
            self.level = (-verdict.cautious_gain().max(0.0)).exp().max(1.0 - TOLERANCE);
            (climb.below, from)
        };
        self.found = high;
        self.tell_verdict(Reason::Plateau, Phase::Search, from, &verdict, shared);
        self.search(low, high, None, shared);
    }
}
