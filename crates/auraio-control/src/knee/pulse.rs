//! Pulses: for about a millisecond more operations may be in flight, to see whether throughput grows at once.
//!
//! One pulse tells little. But pulses cost next to nothing, some milliseconds in a quarter of a second. Their mean over
//! seconds shows that a device could do more again, which latency cannot show.

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

/// The length of a pulse: two turns.
const LENGTH: Length = Length { completions: 48, turns: 2, time: MILLISECOND, time_if_few: MILLISECOND };
/// The limit of a pulse is so many times the limit found. Below the knee, throughput then grows by 10 % or more.
const STEP: f64 = 1.5;
/// A pulse that allows less than 10 % more is not made: it could show nothing.
const STEP_MIN: f64 = 1.1;
/// The least time between two pulses, in nanoseconds...
const INTERVAL: u64 = 250 * MILLISECOND;
/// ...and in lengths of a pulse, so that pulses take less than 2 % of the time.
const INTERVAL_PULSES: u64 = 60;
/// After a pulse in which throughput grew, the next one comes after this time.
const INTERVAL_SOON: u64 = 40 * MILLISECOND;
/// The standard deviation by which a pulse and the window before it differ by chance. They are not interleaved as the sides of
/// a test are.
const DRIFT: f64 = 0.01;
/// The weight of a pulse in the mean is multiplied by this with each later pulse, so about the last 12 count.
const DECAY: f64 = 0.92;
/// A single pulse decides if it gains 10 % and 2.3 standard deviations, which happens by chance once in a hundred pulses.
const SINGLE_GAIN: f64 = 0.10;
const SINGLE_Z: f64 = 2.3;
/// The mean decides if it has this weight: three pulses.
const WEIGHT_TO_DECIDE: f64 = 2.7;
/// With this weight (seven pulses) the mean counts as the gain that a larger limit would bring.
const WEIGHT_SETTLED: f64 = 5.0;
/// With a gain of 28 % the climb doubles; with a smaller one it takes careful steps.
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

    /// The gain of a larger limit, if there were enough pulses.
    pub(super) fn settled_gain(&self) -> Option<f64> {
        (self.weight >= WEIGHT_SETTLED).then_some(self.mean)
    }
}

impl Knee {
    /// Begins a pulse if one is due. Answers whether it did.
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

    /// Goes on after a pulse.
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
