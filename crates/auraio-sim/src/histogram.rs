//! Counts of latencies: 32 linear buckets in each power of two, from 256 ns up.

const UNIT_BITS: u32 = 8;
const SUB_BITS: u32 = 5;
const SUB: usize = 1 << SUB_BITS;
const BUCKETS: usize = 30 * SUB;

/// Counts of latencies in nanoseconds; a quantile is right within 3 %.
///
/// ```
/// use auraio_sim::histogram::Histogram;
///
/// let mut histogram = Histogram::default();
/// (1..=1_000).for_each(|latency| histogram.record(latency * 1_000));
/// assert!((histogram.quantile(0.99) / 990_000.0 - 1.0).abs() < 0.03);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Histogram {
    /// It grows up to the largest bucket in use.
    counts: Vec<u32>,
    count: u64,
}

impl Histogram {
    /// Counts a latency.
    pub fn record(&mut self, latency: u64) {
        let bucket = bucket_of(latency);
        if bucket >= self.counts.len() {
            self.counts.resize(bucket + 1, 0);
        }
        self.counts[bucket] += 1;
        self.count += 1;
    }

    /// How many latencies were counted.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// Adds the counts of another histogram.
    pub fn merge(&mut self, other: &Self) {
        if other.counts.len() > self.counts.len() {
            self.counts.resize(other.counts.len(), 0);
        }
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        self.count += other.count;
    }

    /// The latency, in nanoseconds, that the part `quantile` (0 to 1) of them does not exceed; 0 if none was counted.
    #[must_use]
    pub fn quantile(&self, quantile: f64) -> f64 {
        let rank = ((self.count as f64 * quantile).ceil() as u64).max(1);
        let mut seen = 0;
        for (bucket, &count) in self.counts.iter().enumerate() {
            seen += u64::from(count);
            if seen >= rank {
                return middle_of(bucket);
            }
        }
        0.0
    }
}

fn bucket_of(latency: u64) -> usize {
    let units = latency >> UNIT_BITS;
    if units < SUB as u64 {
        return units as usize;
    }
    let shift = units.ilog2() - SUB_BITS;
    (((shift as usize + 1) << SUB_BITS) + ((units >> shift) as usize & (SUB - 1))).min(BUCKETS - 1)
}

fn middle_of(bucket: usize) -> f64 {
    let octave = (bucket >> SUB_BITS) as i32;
    let within = (bucket & (SUB - 1)) as f64 + 0.5;
    let units = if octave == 0 { within } else { (within + SUB as f64) * 2f64.powi(octave - 1) };
    units * f64::from(1 << UNIT_BITS)
}
