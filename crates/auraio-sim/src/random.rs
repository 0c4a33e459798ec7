//! Random numbers that are the same everywhere: xoshiro256++ (Blackman and Vigna 2018), seeded by SplitMix64.

/// The golden ratio times 2^64: SplitMix64's step.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
/// Added to each seed, so that the seed 0 does not begin with a state of 0.
const OFFSET: u64 = 0x1234_5678_9ABC_DEF1;

/// A stream of random numbers.
///
/// ```
/// use auraio_sim::random::Random;
///
/// let (mut one, mut other) = (Random::new(7), Random::new(7));
/// assert_eq!(one.unit(), other.unit());
/// ```
#[derive(Clone, Debug)]
pub struct Random {
    state: [u64; 4],
    /// Normal numbers come in pairs; this is the other one.
    spare: Option<f64>,
}

impl Random {
    /// The stream of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut state = seed.wrapping_mul(GOLDEN).wrapping_add(OFFSET);
        let mut split_mix = || {
            state = state.wrapping_add(GOLDEN);
            let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            mixed ^ (mixed >> 31)
        };
        Self { state: [split_mix(), split_mix(), split_mix(), split_mix()], spare: None }
    }

    /// Any 64 bits.
    pub fn bits(&mut self) -> u64 {
        let [a, b, c, d] = &mut self.state;
        let result = a.wrapping_add(*d).rotate_left(23).wrapping_add(*a);
        let shifted = *b << 17;
        *c ^= *a;
        *d ^= *b;
        *b ^= *c;
        *a ^= *d;
        *c ^= shifted;
        *d = d.rotate_left(45);
        result
    }

    /// Uniform in [0, 1).
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform among 0 to `end` - 1; 0 if `end` is 0.
    pub fn below(&mut self, end: usize) -> usize {
        (self.unit() * end as f64) as usize
    }

    /// Uniform in [low, high).
    pub fn range(&mut self, (low, high): (f64, f64)) -> f64 {
        low + (high - low) * self.unit()
    }

    /// Exponential with mean 1: the gaps between independent arrivals.
    pub fn exponential(&mut self) -> f64 {
        -(1.0 - self.unit()).ln()
    }

    /// Normal with mean 0 and standard deviation 1 (Marsaglia's polar method).
    pub fn normal(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        loop {
            let (x, y) = (2.0 * self.unit() - 1.0, 2.0 * self.unit() - 1.0);
            let square = x * x + y * y;
            if square > 0.0 && square < 1.0 {
                let scale = (-2.0 * square.ln() / square).sqrt();
                self.spare = Some(y * scale);
                return x * scale;
            }
        }
    }

    /// A log-normal number.
    pub fn log_normal(&mut self, law: LogNormal) -> f64 {
        if law.deviation == 0.0 { 1.0 } else { (self.normal() * law.deviation + law.mean).exp() }
    }
}

/// Log-normal numbers with mean 1: service times that many small influences lengthen or shorten in proportion.
#[derive(Clone, Copy, Debug)]
pub struct LogNormal {
    /// The standard deviation of the logarithm.
    mean: f64,
    deviation: f64,
}

impl LogNormal {
    /// Numbers with this coefficient of variation.
    #[must_use]
    pub fn new(variation: f64) -> Self {
        let variance = (1.0 + variation * variation).ln();
        Self { mean: -0.5 * variance, deviation: variance.sqrt() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_moments_are_those_asked_for() {
        let mut random = Random::new(1);
        let samples: Vec<f64> = (0..100_000).map(|_| random.log_normal(LogNormal::new(0.4))).collect();
        let mean = samples.iter().sum::<f64>() / samples.len() as f64;
        let variance = samples.iter().map(|sample| (sample - mean).powi(2)).sum::<f64>() / samples.len() as f64;
        assert!((mean - 1.0).abs() < 0.01, "{mean}");
        assert!((variance.sqrt() - 0.4).abs() < 0.01, "{variance}");
        let exponential = (0..100_000).map(|_| random.exponential()).sum::<f64>() / 100_000.0;
        assert!((exponential - 1.0).abs() < 0.02, "{exponential}");
    }
}
