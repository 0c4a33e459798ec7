//! Holding: the limit stays, and every window of throughput is held against what is expected.
//!
//! Two windows in a row that are far off tell that the device has changed. What changes less is found by tests with a
//! smaller and a larger limit, which become rarer as they find nothing.

use super::{
    FLOOR, Knee, MILLISECOND, SECOND, State, as_limit,
    climb::{Climb, DOUBLE, GAIN, GAIN_UNCAPS, HALF_STEP},
    paired::{self, Verdict},
    search::{FIRST_STEP_MIN, HALVE},
    segment::{Length, Measured},
};
use crate::{
    decision::{Decision, Phase, Reason},
    law::Shared,
};

/// A window: long enough that its p99 means something.
pub(super) const WINDOW: Length =
    Length { completions: 64, turns: 2, time: 20 * MILLISECOND, time_if_few: 20 * MILLISECOND };
/// Throughput this far off (15 %) is a change of the device, not its noise (4 % and slow)...
const OFF: f64 = 0.15;
/// ...unless few completions make it uncertain: three standard errors at a coefficient of variation of 0.5.
const OFF_ERRORS: f64 = 1.5;
/// And on a device that is never quiet it takes so many standard deviations from window to window, which are followed with
/// this weight. One step counts no more than a factor of 1.6, so that a true change is not taken for unrest at once.
const UNREST_TIMES: f64 = 3.0;
const UNREST_WEIGHT: f64 = 0.1;
const UNREST_STEP_MAX: f64 = 0.47;
/// Windows in a row that must agree: a moment's trouble is not a change.
const STREAK: i32 = 2;
/// What is expected follows what is seen with this weight, so that slow drift is no change either.
const FOLLOW: f64 = 0.15;
/// Operations that are worth twice as much or half as much as they were are another load: what is known of the limit, and
/// what a cut taught, was of the old one.
const OTHER_MIX: f64 = 2.0;
/// A limit that was never tried out is tried when operations wait for this part of the time.
const SATURATED: f64 = 0.6;
/// For a test of a larger limit they must wait for this part.
const SATURATED_UP: f64 = 0.5;
/// If the p99 is below this part of the guard, what a cut taught is too strict, and twice the limit is allowed.
const EASY: f64 = 0.4;

/// The first test of a larger and of a smaller limit after a climb or search, and the one after a test that said yes.
const UP_FIRST: u64 = 150 * MILLISECOND;
const DOWN_FIRST: u64 = 300 * MILLISECOND;
const AFTER_YES: u64 = 500 * MILLISECOND;
/// The rarest tests.
const INTERVAL_MAX: u64 = 10 * SECOND;
/// A smaller limit is this much smaller; the steps are as fine as the search's end.
const DOWN_STEP: f64 = 1.25;
/// A larger limit is tested if it is larger by at least this.
const UP_STEP_MIN: f64 = 1.1;
/// An up test's gain (13 %) after which it is worth climbing on, and the one (10 %, less its standard error) after which it is
/// worth doubling.
const CLIMB_ON: f64 = 0.12;
const CLIMB_ON_DOUBLING: f64 = 0.10;

/// When holding tests what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Watch {
    /// Windows in a row that were above (positive) or below (negative) what is expected.
    streak: i32,
    /// How much a window differs from the one before it: the mean of ln(ratio)^2 / 2.
    unrest: f64,
    /// The latest window.
    pub(super) window: Option<Measured>,
    next_down: u64,
    next_up: u64,
    down_interval: u64,
    up_interval: u64,
}

impl Watch {
    pub(super) const fn new() -> Self {
        Self {
            streak: 0,
            unrest: 0.0,
            window: None,
            next_down: 0,
            next_up: 0,
            down_interval: AFTER_YES,
            up_interval: UP_FIRST,
        }
    }
}

impl Knee {
    /// Stays at the limit found.
    pub(super) fn hold(&mut self, shared: &Shared) {
        if matches!(self.state, State::Climb(_) | State::Search(_)) {
            self.watch.up_interval = UP_FIRST;
            self.watch.down_interval = DOWN_FIRST;
        }
        self.state = State::Hold;
        self.test = None;
        self.found = shared.bounds.clamp(self.found);
        self.tried = true;
        self.watch.streak = 0;
        self.watch.window = None;
        self.watch.next_down = self.now + self.watch.down_interval;
        self.watch.next_up = self.now + self.watch.up_interval;
        self.pulses.begin(self.now);
        self.begin(self.found, WINDOW);
    }

    /// A window is over.
    pub(super) fn held(&mut self, window: Measured, shared: &mut Shared) {
        if shared.sentry.is_stall(window.gap) {
            self.begin(self.found, WINDOW);
            return;
        }
        if self.expected == 0.0 {
            self.expect(&window);
        }
        if self.found == shared.bounds.min {
            shared.sentry.reconsider(window.p99);
        }
        if !self.tried && window.saturation > SATURATED {
            self.climb_anew(Reason::Saturated, &window, shared);
            return;
        }
        let mix = window.work / self.expected_work;
        let off = (window.throughput / self.expected).ln();
        if mix > OTHER_MIX {
            self.search_anew(Reason::Mix, off - mix.ln(), &window, shared);
            return;
        }
        if mix * OTHER_MIX < 1.0 {
            self.ceiling = f64::INFINITY;
            self.climb_anew(Reason::Mix, &window, shared);
            return;
        }
        self.compare_with_expected(off, &window);
        self.watch.window = Some(window);
        if window.p99 < EASY * shared.sentry.guard() as f64 {
            self.ceiling = self.ceiling.max(2.0 * f64::from(self.found));
        }
        if self.watch.streak <= -STREAK {
            self.search_anew(Reason::Drop, off, &window, shared);
        } else if self.watch.streak >= STREAK {
            self.ceiling = f64::INFINITY;
            self.climb_anew(Reason::Rise, &window, shared);
        } else if !(self.test_smaller(&window, shared)
            || self.test_larger(&window, shared)
            || self.pulse(&window, shared))
        {
            self.begin(self.found, WINDOW);
        }
    }

    fn compare_with_expected(&mut self, off: f64, window: &Measured) {
        if let Some(before) = &self.watch.window {
            let step = (window.throughput / before.throughput).ln().clamp(-UNREST_STEP_MAX, UNREST_STEP_MAX);
            self.watch.unrest += UNREST_WEIGHT * (step * step / 2.0 - self.watch.unrest);
        }
        let far = OFF.max(OFF_ERRORS / (window.samples as f64).sqrt()).max(UNREST_TIMES * self.watch.unrest.sqrt());
        if off < -far {
            self.watch.streak = self.watch.streak.min(0) - 1;
        } else if off > far {
            self.watch.streak = self.watch.streak.max(0) + 1;
        } else {
            self.watch.streak = 0;
            self.expect_times(FOLLOW * off);
            self.expected_work += FOLLOW * (window.work - self.expected_work);
        }
    }

    /// The load or the device gives reason to begin again from here.
    fn climb_anew(&mut self, reason: Reason, window: &Measured, shared: &mut Shared) {
        let gain = (window.throughput / self.expected).ln();
        self.tried = true;
        self.expect(window);
        let decision = Decision { gain, ..self.decision(reason, Phase::Climb, self.found, window) };
        shared.journal.record(decision);
        self.climb(Climb { factor: DOUBLE, below: 0 }, Some(*window), shared);
    }

    /// The device serves fewer (e^`off` of what it did). Whether it wants less in flight is searched, first about in
    /// proportion.
    fn search_anew(&mut self, reason: Reason, off: f64, window: &Measured, shared: &mut Shared) {
        self.first_step = off.exp().clamp(FIRST_STEP_MIN, HALVE);
        self.expect(window);
        self.watch.down_interval = AFTER_YES;
        let decision = Decision { gain: off, ..self.decision(reason, Phase::Search, self.found, window) };
        shared.journal.record(decision);
        self.level = 1.0;
        self.search(0, self.found, None, shared);
    }

    /// Tests a smaller limit if that is due. Tells whether.
    fn test_smaller(&mut self, window: &Measured, shared: &Shared) -> bool {
        if self.now < self.watch.next_down || self.found <= shared.bounds.min || window.p99 <= FLOOR {
            return false;
        }
        let smaller = as_limit((f64::from(self.found) / DOWN_STEP).round()).min(self.found - 1).max(shared.bounds.min);
        if let Some(gain) = self.pulses.settled_gain() {
            self.level = (-gain.max(0.0)).exp();
        }
        self.test(State::TestDown, (self.found, smaller), self.tolerated().min(0.0), paired::DOWN, None);
        true
    }

    /// Tests a larger limit if that is due. Tells whether.
    fn test_larger(&mut self, window: &Measured, shared: &Shared) -> bool {
        if self.now < self.watch.next_up || window.saturation <= SATURATED_UP {
            return false;
        }
        let factor = HALF_STEP.min(self.headroom(window.p99, shared));
        let found = f64::from(self.found);
        let larger = as_limit((found * factor).round().min(self.most(shared)).min(self.offered()));
        if f64::from(larger) < UP_STEP_MIN * found {
            self.watch.next_up = self.now + self.watch.up_interval;
            return false;
        }
        self.test(State::TestUp, (self.found, larger), GAIN.ln_1p(), paired::UP, None);
        true
    }

    /// A pair of a test with a smaller limit is complete.
    pub(super) fn down_compared(&mut self, smaller: u32, verdict: Verdict, shared: &mut Shared) {
        match verdict.answer {
            Some(true) => {
                let from = std::mem::replace(&mut self.found, smaller);
                self.level = (self.level * verdict.cautious_gain().exp()).min(1.0);
                self.expect_times(verdict.gain);
                self.watch.down_interval = AFTER_YES;
                self.hold(shared);
                self.watch.next_down = self.now;
                self.tell_verdict(Reason::SmallerIsAsFast, Phase::Hold, from, &verdict, shared);
            }
            Some(false) => {
                self.watch.down_interval = (self.watch.down_interval * 3 / 2).min(INTERVAL_MAX);
                self.hold(shared);
            }
            None => self.next_pair(),
        }
    }

    /// A pair of a test with a larger limit is complete.
    pub(super) fn up_compared(&mut self, larger: u32, verdict: Verdict, shared: &mut Shared) {
        match verdict.answer {
            Some(true) => {
                let from = self.found;
                self.expect_times(verdict.gain);
                if verdict.gain > GAIN_UNCAPS {
                    self.ceiling = f64::INFINITY;
                }
                self.found = larger;
                self.level = 1.0;
                if self.slow && verdict.gain <= CLIMB_ON {
                    self.hold(shared);
                    self.tell_verdict(Reason::LargerIsFaster, Phase::Hold, from, &verdict, shared);
                } else if verdict.gain > CLIMB_ON {
                    self.tell_verdict(Reason::LargerIsFaster, Phase::Climb, from, &verdict, shared);
                    let factor = if verdict.gain - verdict.error > CLIMB_ON_DOUBLING { DOUBLE } else { HALF_STEP };
                    self.climb(Climb { factor, below: from }, Some(verdict.at_b), shared);
                } else {
                    self.tell_verdict(Reason::LargerIsFaster, Phase::Search, from, &verdict, shared);
                    self.search(from, larger, None, shared);
                }
            }
            Some(false) => {
                self.level = (-verdict.cautious_gain().max(0.0)).exp();
                self.watch.up_interval = (self.watch.up_interval * 2).min(INTERVAL_MAX);
                self.hold(shared);
            }
            None => self.next_pair(),
        }
    }
}
