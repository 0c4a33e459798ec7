//! Holding: the limit stays, and the throughput of every window is compared with the expected one.
//!
//! If two windows in a row are far off, the device has changed. Smaller changes are found by tests of a smaller and a larger
//! limit. The tests become rarer while they find nothing.

use super::{
    FLOOR, Knee, MILLISECOND, SECOND, State, as_limit,
    ceiling::Ceiling,
    climb::{Climb, DOUBLE, GAIN, GAIN_UNCAPS, HALF_STEP},
    paired::{self, Verdict},
    search::{FIRST_STEP_MIN, HALVE},
    segment::{Length, Measured},
};
use crate::{
    decision::{Decision, Phase, Reason},
    law::Shared,
};

/// The length of a window: long enough for a p99.
pub(super) const WINDOW: Length =
    Length { completions: 64, turns: 2, time: 20 * MILLISECOND, time_if_few: 20 * MILLISECOND };
/// A window is far off if its throughput differs by 15 %, which is more than a disk's noise (4 %)...
const OFF: f64 = 0.15;
/// ...and by three standard errors of the count of completions, at a coefficient of variation of 0.5...
const OFF_ERRORS: f64 = 1.5;
/// ...and by so many standard deviations between windows, for devices that are never quiet. The variance between windows is
/// followed with this weight. One step counts as a factor of at most 1.6, so that a true change does not count as unrest at
/// once.
const UNREST_TIMES: f64 = 3.0;
const UNREST_WEIGHT: f64 = 0.1;
const UNREST_STEP_MAX: f64 = 0.47;
/// So many windows in a row have to be far off: one alone may be chance.
const STREAK: i32 = 2;
/// The expected throughput follows the measured one with this weight, so that slow drift does not count as a change.
const FOLLOW: f64 = 0.15;
/// If the work of an operation becomes twice or half of what it was, the load is another one. What is known of the limit and
/// of the ceiling no longer holds then.
const OTHER_MIX: f64 = 2.0;
/// A limit that was not found by tests is tested when operations wait for this part of the time.
const SATURATED: f64 = 0.6;
/// For a test of a larger limit operations must wait for this part of the time.
const SATURATED_UP: f64 = 0.5;
/// If the p99 is below this part of the guard, the ceiling is raised to twice the limit.
const EASY: f64 = 0.4;

/// The time to the first test of a larger and of a smaller limit after a climb or a search, and to the next test after one that
/// lowered the limit.
const UP_FIRST: u64 = 150 * MILLISECOND;
const DOWN_FIRST: u64 = 300 * MILLISECOND;
const AFTER_YES: u64 = 500 * MILLISECOND;
/// The longest time between two tests.
const INTERVAL_MAX: u64 = 10 * SECOND;
/// The smaller limit that is tested is smaller by this factor, about as fine as the last steps of a search.
const DOWN_STEP: f64 = 1.25;
/// A larger limit is tested only if it is larger by this factor.
const UP_STEP_MIN: f64 = 1.1;
/// If a larger limit gains 13 % or more, a climb follows. If it gains 10 % more than its standard error, the climb doubles.
const CLIMB_ON: f64 = 0.12;
const CLIMB_ON_DOUBLING: f64 = 0.10;

/// What holding has seen, and when it tests next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Watch {
    /// Windows in a row that were above (positive) or below (negative) what is expected.
    streak: i32,
    /// The mean of ln(ratio)^2 / 2, where the ratio is that of a window's throughput to that of the one before.
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
    /// Begins to hold the limit found.
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

    /// Goes on after a window.
    pub(super) fn held(&mut self, window: Measured, shared: &mut Shared) {
        if shared.sentry.is_stall(window.gap) {
            self.begin(self.found, WINDOW);
            return;
        }
        if self.expected.throughput == 0.0 {
            self.expected.set(&window);
        }
        if self.found == shared.bounds.min {
            shared.sentry.reconsider(window.p99);
        }
        if !self.tried && window.saturation > SATURATED {
            self.climb_anew(Reason::Saturated, &window, shared);
            return;
        }
        let mix = window.work / self.expected.work;
        let off = (window.throughput / self.expected.throughput).ln();
        if mix > OTHER_MIX {
            self.search_anew(Reason::Mix, off - mix.ln(), &window, shared);
            return;
        }
        if mix * OTHER_MIX < 1.0 {
            self.ceiling = Ceiling::none();
            self.climb_anew(Reason::Mix, &window, shared);
            return;
        }
        self.compare_with_expected(off, &window);
        self.watch.window = Some(window);
        if window.p99 < EASY * shared.sentry.guard() as f64 {
            self.ceiling.raise_to(2.0 * f64::from(self.found));
        }
        if self.watch.streak <= -STREAK {
            self.search_anew(Reason::Drop, off, &window, shared);
        } else if self.watch.streak >= STREAK {
            self.ceiling = Ceiling::none();
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
            self.expected.multiply(FOLLOW * off);
            self.expected.work += FOLLOW * (window.work - self.expected.work);
        }
    }

    /// Climbs again from the present limit, because the load or the device has changed.
    fn climb_anew(&mut self, reason: Reason, window: &Measured, shared: &mut Shared) {
        let gain = (window.throughput / self.expected.throughput).ln();
        self.tried = true;
        self.expected.set(window);
        let decision = Decision { gain, ..self.decision(reason, Phase::Climb, self.found, window) };
        shared.journal.record(decision);
        self.climb(Climb { factor: DOUBLE, below: 0 }, Some(*window), shared);
    }

    /// Searches for a smaller limit, because throughput has become e^`off` of what it was. The first step is in proportion.
    fn search_anew(&mut self, reason: Reason, off: f64, window: &Measured, shared: &mut Shared) {
        self.first_step = off.exp().clamp(FIRST_STEP_MIN, HALVE);
        self.expected.set(window);
        self.watch.down_interval = AFTER_YES;
        let decision = Decision { gain: off, ..self.decision(reason, Phase::Search, self.found, window) };
        shared.journal.record(decision);
        self.expected.level = 1.0;
        self.search(0, self.found, None, shared);
    }

    /// Begins a test of a smaller limit if that is due. Answers whether it did.
    fn test_smaller(&mut self, window: &Measured, shared: &Shared) -> bool {
        if self.now < self.watch.next_down || self.found <= shared.bounds.min || window.p99 <= FLOOR {
            return false;
        }
        let smaller = as_limit((f64::from(self.found) / DOWN_STEP).round()).min(self.found - 1).max(shared.bounds.min);
        if let Some(gain) = self.pulses.settled_gain() {
            self.expected.level_below(gain);
        }
        self.test(State::TestDown, (self.found, smaller), self.tolerated().min(0.0), paired::DOWN, None);
        true
    }

    /// Begins a test of a larger limit if that is due. Answers whether it did.
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

    /// Goes on after a pair of a test of a smaller limit.
    pub(super) fn down_compared(&mut self, smaller: u32, verdict: Verdict, shared: &mut Shared) {
        match verdict.answer {
            Some(true) => {
                let from = std::mem::replace(&mut self.found, smaller);
                self.expected.lower_level(verdict.cautious_gain());
                self.expected.multiply(verdict.gain);
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

    /// Goes on after a pair of a test of a larger limit.
    pub(super) fn up_compared(&mut self, larger: u32, verdict: Verdict, shared: &mut Shared) {
        match verdict.answer {
            Some(true) => {
                let from = self.found;
                self.expected.multiply(verdict.gain);
                if verdict.gain > GAIN_UNCAPS {
                    self.ceiling = Ceiling::none();
                }
                self.found = larger;
                self.expected.level = 1.0;
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
                self.expected.level_below(verdict.cautious_gain());
                self.watch.up_interval = (self.watch.up_interval * 2).min(INTERVAL_MAX);
                self.hold(shared);
            }
            None => self.next_pair(),
        }
    }
}
