//! A histogram of the latencies of one segment. It takes a few thousand samples, is asked once for a quantile, and is then
//! cleared.
//!
//! Each power of two is divided into 32 buckets of equal width, as in HdrHistogram, so a value is known within 3 %. Clearing
//! and asking touch only the buckets between the smallest and the largest in use.

/// The width of the finest bucket, as a power of two of nanoseconds: 256 ns.
const UNIT_BITS: u32 = 8;
/// Buckets inside a power of two: 32, so a quantile is right within 1/32.
const SUB_BITS: u32 = 5;
const SUB: usize = 1 << SUB_BITS;
/// How many powers of two there are: up to 256 ns x 2^34 = 73 min. A longer latency counts as that.
const OCTAVES: usize = 30;
const BUCKETS: usize = OCTAVES * SUB;

/// Counts of latencies in nanoseconds.
#[derive(Clone, Debug)]
pub(crate) struct Histogram {
    counts: Box<[u32; BUCKETS]>,
    count: u64,
    /// The smallest and the largest bucket in use. None is in use if `first > last`.
    first: usize,
    last: usize,
}

impl Histogram {
    pub(crate) fn new() -> Self {
        Self { counts: Box::new([0; BUCKETS]), count: 0, first: BUCKETS, last: 0 }
    }

    /// Counts a latency.
    #[inline]
    pub(crate) fn record(&mut self, latency: u64) {
        let bucket = bucket_of(latency);
        self.counts[bucket] = self.counts[bucket].saturating_add(1);
        self.count += 1;
        self.first = self.first.min(bucket);
        self.last = self.last.max(bucket);
    }

    pub(crate) const fn count(&self) -> u64 {
        self.count
    }

    /// Makes it empty.
    pub(crate) fn clear(&mut self) {
        if self.count > 0 {
            self.counts[self.first..=self.last].fill(0);
            (self.count, self.first, self.last) = (0, BUCKETS, 0);
        }
    }

    /// The latency, in nanoseconds, that the part `quantile` (0 to 1) of the samples does not exceed; 0 if there are no
    /// samples. It is counted from the largest down, so a p99 looks at a hundredth of the samples.
    pub(crate) fn quantile(&self, quantile: f64) -> f64 {
        if self.count == 0 {
            return 0.0;
        }
        let rank = ((self.count as f64 * quantile).ceil() as u64).clamp(1, self.count);
        let mut above = self.count - rank;
        for bucket in (self.first..=self.last).rev() {
            let here = u64::from(self.counts[bucket]);
            if here > above {
                return middle_of(bucket);
            }
            above -= here;
        }
        middle_of(self.first)
    }
}

fn bucket_of(latency: u64) -> usize {
    let units = latency >> UNIT_BITS;
    if units < SUB as u64 {
        return units as usize;
    }
    let exponent = units.ilog2();
    let octave = (exponent - SUB_BITS + 1) as usize;
    let sub = (units >> (exponent - SUB_BITS)) as usize & (SUB - 1);
    (octave * SUB + sub).min(BUCKETS - 1)
}

fn middle_of(bucket: usize) -> f64 {
    let unit = (1u64 << UNIT_BITS) as f64;
    if bucket < SUB {
        return (bucket as f64 + 0.5) * unit;
    }
    let octave = (bucket / SUB) as i32;
    ((bucket % SUB + SUB) as f64 + 0.5) * 2f64.powi(octave - 1) * unit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_right_within_a_bucket() {
        let mut histogram = Histogram::new();
        for latency in 1..=100_000_u64 {
            histogram.record(latency * 1_000);
        }
        for quantile in [0.01, 0.5, 0.99, 1.0] {
            let (found, exact) = (histogram.quantile(quantile), quantile * 1e8);
            assert!((found / exact - 1.0).abs() < 1.0 / 32.0, "{quantile}: {found} for {exact}");
        }
    }

    #[test]
    fn one_in_a_hundred_is_above_the_p99() {
        let mut histogram = Histogram::new();
        (0..99).for_each(|_| histogram.record(100_000));
        histogram.record(5_000_000);
        assert!(histogram.quantile(0.99) < 110_000.0);
        histogram.record(5_000_000);
        assert!(histogram.quantile(0.99) > 4_800_000.0);
    }

    #[test]
    fn a_cleared_histogram_is_empty() {
        let mut histogram = Histogram::new();
        assert_eq!(histogram.quantile(0.99), 0.0);
        [0, 1, 300, u64::MAX].into_iter().for_each(|latency| histogram.record(latency));
        histogram.clear();
        assert_eq!((histogram.count(), histogram.quantile(1.0)), (0, 0.0));
        assert!(histogram.counts.iter().all(|&count| count == 0));
    }
}
