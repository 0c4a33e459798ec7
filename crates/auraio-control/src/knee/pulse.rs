//! Pulses: for a millisecond more is allowed, to see whether throughput follows at once.
//!
//! One pulse tells little; but they cost next to nothing (some ms in each quarter of a second), and their mean over
//! seconds notices a device that could do more again, which latency cannot show.

use super::{
    Knee, MILLISECOND, State, as_limit,
    climb::{Climb, DOUBLE, GAIN, HALF_STEP},
    hold::WINDOW,
    paired::spread,
    segment::{Length, Measured},
};
use crate::{
    decision::{Decision, Phase, Reason},
    law::Shared,
};

/// A pulse: two turns of what is in flight.
const LENGTH: Length = Length { completions: 48, turns: 2, time: MILLISECOND, time_if_few: MILLISECOND };
/// How much more is allowed: enough that a device below its knee answers by 10 % or more.
const STEP: f64 = 1.5;
/// A pulse of less than 10 % more could show nothing.
const STEP_MIN: f64 = 1.1;
/// From pulse to pulse: at least this, in nanoseconds...
const INTERVAL: u64 = 250 * MILLISECOND;
/// ...and 60 pulses, so that they take less than 2 % of the time.
const INTERVAL_PULSES: u64 = 60;
/// After one that looked good the next comes soon.
const INTERVAL_SOON: u64 = 40 * MILLISECOND;
/// What a pulse and the window before it differ by without reason: they are not interleaved, as a test's sides are.
const DRIFT: f64 = 0.01;
/// The memory of the mean: weights of older pulses fall by 8 % with each, which is the last 12 or so.
const DECAY: f64 = 0.92;
/// A single pulse decides with a gain of 10 % that is 2.3 standard deviations from nothing (1 % by chance).
const SINGLE_GAIN: f64 = 0.10;
const SINGLE_Z: f64 = 2.3;
/// The mean decides from this weight on, which is three pulses.
const WEIGHT_TO_DECIDE: f64 = 2.7;
/// The mean is taken for what more depth would still gain from this weight on, which is seven pulses.
const WEIGHT_SETTLED: f64 = 5.0;
/// A gain of 28 % asks for doubling, a smaller one for care.
const GAIN_TO_DOUBLE: f64 = 0.25;

/// What the pulses since the last change of the limit have shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pulses {
    next: u64,
    mean: f64,
    weight: f64,
}

impl Pulses {
    pub(super) const fn new() -> Self {
        Self { next: 0, mean: 0.0, weight: 0.0 }
    }

    pub(super) fn begin(&mut self, now: u64) {
        *self = Self { next: now + INTERVAL, ..Self::new() };
    }

    /// What more depth gains, if enough pulses have been seen.
    pub(super) fn settled_gain(&self) -> Option<f64> {
        (self.weight >= WEIGHT_SETTLED).then_some(self.mean)
    }
}

impl Knee {
    /// Pulses if that is due. Tells whether.
    pub(super) fn pulse(&mut self, window: &Measured, shared: &Shared) -> bool {
        if self.now < self.pulses.next {
            return false;
        }
        let factor = STEP.min(self.headroom(window.p99, shared));
        let found = f64::from(self.found);
        let more = as_limit((found * factor).ceil().min(self.most(shared)).min(self.offered()));
        if f64::from(more) <= STEP_MIN * found {
            self.pulses.next = self.now + INTERVAL;
            return false;
        }
        self.state = State::Pulse;
        self.begin(more, LENGTH);
        true
    }

    /// A pulse is over.
    pub(super) fn pulsed(&mut self, pulse: Measured, shared: &mut Shared) {
        self.state = State::Hold;
        self.pulses.next = self.now + INTERVAL.max(pulse.duration.saturating_mul(INTERVAL_PULSES));
        let Some(window) = self.watch.window.filter(|_| !shared.sentry.is_stall(pulse.gap)) else {
            self.begin(self.found, WINDOW);
            return;
        };
        let gain = (pulse.throughput / window.throughput).ln();
        let spread = spread(&pulse, &window, DRIFT);
        self.pulses.weight = self.pulses.weight * DECAY + 1.0;
        self.pulses.mean += (gain - self.pulses.mean) / self.pulses.weight;
        let error = spread / self.pulses.weight.sqrt();
        let wanted = GAIN.ln_1p();
        if gain > wanted + spread {
            self.pulses.next = self.now + INTERVAL_SOON;
        }
        let together = self.pulses.weight >= WEIGHT_TO_DECIDE && self.pulses.mean - error > wanted;
        self.begin(self.found, WINDOW);
        if together || gain > SINGLE_GAIN.max(SINGLE_Z * spread) {
            let (gain_told, error) = if together { (self.pulses.mean, error) } else { (gain, spread) };
            let decision = self.decision(Reason::LargerIsFaster, Phase::Climb, self.found, &pulse);
            shared.journal.record(Decision { gain: gain_told, threshold: wanted, error, ..decision });
            let factor = if gain > GAIN_TO_DOUBLE { DOUBLE } else { HALF_STEP };
            self.pulses = Pulses { mean: 0.0, weight: 0.0, ..self.pulses };
            let below = as_limit(f64::from(self.found) / 1.25);
            self.climb(Climb { factor, below }, None, shared);
        }
    }
}
