//! What holding expects of the device.

use super::segment::Measured;

/// What is expected stays within these, whatever was measured.
const LEAST: f64 = 1e-9;
const MOST: f64 = 1e18;

/// The throughput that the limit found is expected to give.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected {
    /// Work per second; 0 while nothing is known.
    pub(super) throughput: f64,
    /// The work of an operation when that was measured.
    pub(super) work: f64,
    /// The throughput as a part of that at the plateau, as far as is known: (0, 1].
    pub(super) level: f64,
}

impl Expected {
    pub(super) const fn nothing() -> Self {
        Self { throughput: 0.0, work: 1.0, level: 1.0 }
    }

    /// What was measured is to be expected.
    pub(super) fn set(&mut self, measured: &Measured) {
        self.throughput = measured.throughput;
        self.work = measured.work;
    }

    /// The throughput is expected to be e^`gain` times what it was.
    pub(super) fn multiply(&mut self, gain: f64) {
        if self.throughput > 0.0 {
            self.throughput = (self.throughput * gain.exp()).clamp(LEAST, MOST);
        }
    }

    /// The limit is another one, whose throughput is e^`gain` times that at the one before.
    pub(super) fn lower_level(&mut self, gain: f64) {
        self.level = (self.level * gain.exp()).min(1.0);
    }

    /// A larger limit would give e^`gain` times the throughput; a loss counts as nothing.
    pub(super) fn level_below(&mut self, gain: f64) {
        self.level = (-gain.max(0.0)).exp();
    }
}
