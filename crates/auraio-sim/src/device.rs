//! What serves operations: a station whose rate depends on its load, or a gate that lets through so many a second.

use std::{collections::VecDeque, sync::Arc};

use crate::random::{LogNormal, Random};

/// The deepest that a station's tables go.
pub const DEPTH_MAX: usize = 4096;

/// The size of an operation. A station has a curve of throughput for each size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// 4 KiB at random.
    Small,
    /// 1 MiB in sequence.
    Large,
}

impl Size {
    /// The size in bytes.
    #[must_use]
    pub const fn bytes(self) -> u32 {
        match self {
            Self::Small => 4 << 10,
            Self::Large => 1 << 20,
        }
    }
}

/// A device.
#[derive(Clone, Debug)]
pub enum Device {
    /// A disk.
    Station(Station),
    /// A rented volume.
    Gate(Gate),
}

/// A disk as it looks from outside: one server, which is the faster the more operations it has to choose from. It serves
/// operations one after another, partly out of order. How long each takes follows from the rate at the present depth.
#[derive(Clone, Debug)]
pub struct Station {
    /// Operations per second at each depth, for small and for large ones.
    pub rates: [Arc<[f64]>; 2],
    /// At each depth, the part of operations that are picked at random and not in turn.
    pub disorder: Arc<[f64]>,
    /// The work of an operation that is alone.
    pub work_alone: LogNormal,
    /// The work of an operation among others.
    pub work: LogNormal,
    /// Standard deviation of the logarithm of the rate's slow noise (an Ornstein-Uhlenbeck process, 200 ms).
    pub noise: f64,
    /// A factor on the rate. If it is below 1, a neighbour takes the rest.
    pub scale: f64,
    /// The most operations per second.
    pub cap: f64,
    /// Whether it collects garbage and serves nothing.
    pub paused: bool,
    noise_state: f64,
    noise_factor: f64,
    queue: VecDeque<u32>,
    serving: Option<Serving>,
    /// The time for which `serving.left` is right.
    since: u64,
    /// The version of the finish that was foretold last; earlier ones are void.
    version: u64,
}

#[derive(Clone, Copy, Debug)]
struct Serving {
    request: u32,
    size: Size,
    /// The work that is left. An operation has 1 on average.
    left: f64,
}

/// The correlation time of the slow noise, in milliseconds.
const NOISE_MEMORY_MS: f64 = 200.0;
/// How often the noise of a device is drawn anew, in milliseconds.
pub const NOISE_STEP_MS: u64 = 5;

impl Station {
    /// A station without load. `variations` are the coefficients of variation of the work of an operation alone and of one among
    /// others.
    #[must_use]
    pub fn new(rates: [Arc<[f64]>; 2], disorder: Arc<[f64]>, variations: (f64, f64), noise: f64) -> Self {
        Self {
            rates,
            disorder,
            work_alone: LogNormal::new(variations.0),
            work: LogNormal::new(variations.1),
            noise,
            scale: 1.0,
            cap: f64::INFINITY,
            paused: false,
            noise_state: 0.0,
            noise_factor: 1.0,
            queue: VecDeque::new(),
            serving: None,
            since: 0,
            version: 0,
        }
    }

    /// Operations per nanosecond at the present depth.
    fn rate(&self, size: Size) -> f64 {
        if self.paused {
            return 0.0;
        }
        let depth = (self.queue.len() + usize::from(self.serving.is_some())).min(DEPTH_MAX);
        (self.rates[size as usize][depth] * self.scale).min(self.cap) * self.noise_factor / 1e9
    }

    /// Works until `now`. The caller calls it before anything changes.
    pub fn advance(&mut self, now: u64) {
        if let Some(serving) = self.serving {
            let done = self.rate(serving.size) * (now - self.since) as f64;
            self.serving = Some(Serving { left: (serving.left - done).max(0.0), ..serving });
        }
        self.since = now;
    }

    /// Takes in an operation.
    pub fn push(&mut self, request: u32) {
        self.queue.push_back(request);
    }

    /// Begins to serve the next operation if it serves none. `size_of` answers an operation's size.
    pub fn pick(&mut self, now: u64, random: &mut Random, size_of: impl Fn(u32) -> Size) {
        if self.serving.is_some() || self.queue.is_empty() {
            return;
        }
        let waiting = self.queue.len();
        let disorder = self.disorder[waiting.min(DEPTH_MAX)];
        let place = if disorder > 0.0 && waiting > 1 && random.unit() < disorder { random.below(waiting) } else { 0 };
        if let Some(request) = self.queue.remove(place) {
            let left = random.log_normal(if waiting <= 1 { self.work_alone } else { self.work });
            self.serving = Some(Serving { request, size: size_of(request), left });
            self.since = now;
        }
    }

    /// Answers when it will have served the present operation if nothing changes, and the version to give to
    /// [`Self::finish`]. Finishes that were foretold before are void.
    pub fn foretell(&mut self, now: u64) -> Option<(u64, u64)> {
        self.version += 1;
        let serving = self.serving?;
        let rate = self.rate(serving.size);
        (rate > 0.0).then(|| (now + (serving.left / rate).ceil().max(1.0) as u64, self.version))
    }

    /// Ends the present operation, if `version` is valid.
    pub fn finish(&mut self, now: u64, version: u64) -> Option<u32> {
        if version != self.version {
            return None;
        }
        self.since = now;
        self.serving.take().map(|serving| serving.request)
    }

    /// Moves the slow noise on by one step.
    pub fn drift(&mut self, random: &mut Random) {
        let memory = (-(NOISE_STEP_MS as f64) / NOISE_MEMORY_MS).exp();
        self.noise_state = self.noise_state * memory + (1.0 - memory * memory).sqrt() * random.normal();
        self.noise_factor = (self.noise * self.noise_state - 0.5 * self.noise * self.noise).exp();
    }
}

/// A token bucket: `rate` operations a second, after up to `burst` at once.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    rate: f64,
    burst: f64,
    /// When all operations so far would have passed at the rate, without a burst (the virtual scheduling of ATM's GCRA).
    due: f64,
}

impl Bucket {
    fn pass(&mut self, at: f64) -> f64 {
        let step = 1e9 / self.rate;
        let passed = at.max(self.due - (self.burst - 1.0) * step);
        self.due = self.due.max(passed) + step;
        passed
    }
}

/// A rented volume: two token buckets in a row, then a latency that does not depend on the load.
#[derive(Clone, Debug)]
pub struct Gate {
    rented: Bucket,
    machine: Bucket,
    /// Mean latency behind the buckets, in nanoseconds.
    pub latency: f64,
    variation: LogNormal,
}

/// How often an operation of a rented volume takes longer, and by how much on average, in nanoseconds.
const STRAGGLERS: f64 = 0.002;
const STRAGGLE: f64 = 3e6;

impl Gate {
    /// A volume without load. Each bucket is (operations a second, burst). The latency is in microseconds.
    #[must_use]
    pub fn new(rented: (f64, f64), machine: (f64, f64), latency_us: f64, variation: f64) -> Self {
        let bucket = |(rate, burst): (f64, f64)| Bucket { rate, burst, due: f64::MIN };
        Self {
            rented: bucket(rented),
            machine: bucket(machine),
            latency: latency_us * 1e3,
            variation: LogNormal::new(variation),
        }
    }

    /// Changes the rate: another one was rented, or burst credits ran out.
    pub fn set_rate(&mut self, rate: f64) {
        self.rented.rate = rate;
    }

    /// Answers when an operation that is submitted now will be done.
    pub fn done_at(&mut self, now: u64, random: &mut Random) -> u64 {
        let passed = self.machine.pass(self.rented.pass(now as f64));
        let mut latency = self.latency * random.log_normal(self.variation);
        if random.unit() < STRAGGLERS {
            latency += STRAGGLE * random.exponential();
        }
        (passed + latency) as u64
    }
}
