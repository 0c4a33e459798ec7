//! The inner loop under test, on a thread with an event loop that queues entries and decides when to call the kernel.
//!
//! In each turn the thread wakes up, takes the completions that have come, and runs the callers' code for each, which asks
//! for the next operation at once. At the end of the turn the queued entries go to the kernel. A rule says when they go
//! earlier. All of this takes time. The thread's time is modelled by a few constants ([`Host`]). The device is a
//! [`Station`] whose completions may come in groups ([`Grouping`]), as with interrupt coalescing.
//!
//! The rule under test and those of fixed size are `auraio-control`'s own [`SubmitBatch`]. The yardstick is the best fixed
//! size.

use std::{collections::VecDeque, sync::Arc};

use auraio_control::{BatchPolicy, SubmitBatch};

use crate::{
    MILLISECOND, catalogue,
    curve::Curve,
    device::{DEPTH_MAX, Device, Size, Station},
    histogram::Histogram,
    random::{LogNormal, Random},
    scenario::Parameters,
};

/// The costs of a thread, in microseconds.
#[derive(Clone, Copy, Debug)]
pub struct Host {
    /// The callers' code for each operation.
    pub code: f64,
    /// A call of the kernel, without its entries.
    pub enter: f64,
    /// Each entry in a call.
    pub entry: f64,
    /// Taking one completion.
    pub reap: f64,
    /// A turn of the event loop.
    pub turn: f64,
    /// The time from a completion until the thread is awake.
    pub wake: f64,
}

/// The costs in most cases; `code` and `enter` differ between cases.
const HOST: Host = Host { code: 5.0, enter: 2.5, entry: 1.5, reap: 0.5, turn: 8.0, wake: 6.0 };

/// Coefficients of variation of the three costs that vary.
const CODE_VARIATION: f64 = 0.3;
const ENTER_VARIATION: f64 = 0.1;
const ENTRY_VARIATION: f64 = 0.05;

/// How completions are grouped. They are seen when `count` of them have come, when `time` has passed since the first of them, or
/// when the device has nothing more to do.
#[derive(Clone, Copy, Debug)]
pub struct Grouping {
    /// How many.
    pub count: usize,
    /// How long, in nanoseconds.
    pub time: u64,
}

const ONE_BY_ONE: Grouping = Grouping { count: 1, time: 0 };

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// Its name in the table.
    pub name: &'static str,
    /// Makes the device.
    pub device: fn() -> Station,
    /// The costs of the thread.
    pub host: Host,
    /// How completions are grouped.
    pub grouping: Grouping,
    /// How many callers there are. Each asks for its next operation when it has the last one.
    pub depth: u32,
}

/// The cases: a thread with time to spare and one without, devices whose completions come singly and in groups.
pub const CASES: [Case; 8] = [
    Case { name: "NVMe, code 5 us", device: nvme, host: HOST, grouping: ONE_BY_ONE, depth: 64 },
    Case { name: "NVMe, code 9 us", device: nvme, host: Host { code: 9.0, ..HOST }, grouping: ONE_BY_ONE, depth: 64 },
    Case { name: "NVMe, code 12 us", device: nvme, host: Host { code: 12.0, ..HOST }, grouping: ONE_BY_ONE, depth: 64 },
    Case {
        name: "grouped 64, code 7 us",
        device: nvme,
        host: Host { code: 7.0, ..HOST },
        grouping: Grouping { count: 64, time: 400_000 },
        depth: 64,
    },
    Case {
        name: "grouped 64, code 4 us",
        device: nvme,
        host: Host { code: 4.0, ..HOST },
        grouping: Grouping { count: 64, time: 400_000 },
        depth: 64,
    },
    Case {
        name: "grouped 32, depth 16",
        device: nvme,
        host: HOST,
        grouping: Grouping { count: 32, time: 100_000 },
        depth: 16,
    },
    Case {
        name: "fast, code 1 us",
        device: fast,
        host: Host { code: 1.0, enter: 4.0, ..HOST },
        grouping: ONE_BY_ONE,
        depth: 64,
    },
    Case { name: "fast, code 5 us", device: fast, host: HOST, grouping: ONE_BY_ONE, depth: 64 },
];

/// The NVMe disk of the catalogue, without noise.
fn nvme() -> Station {
    match catalogue::nvme(&Parameters { noise: 0.0, ..Parameters::default() }) {
        Device::Station(station) => station,
        Device::Gate(_) => fast(),
    }
}

/// A device so fast that no thread can keep it busy.
fn fast() -> Station {
    let table = |points: &[(f64, f64)]| -> Arc<[f64]> { Curve::new(points).table(DEPTH_MAX).into() };
    let rates = table(&[(1.0, 60e3), (8.0, 300e3), (32.0, 600e3), (256.0, 700e3)]);
    Station::new([rates.clone(), rates], table(&[(1.0, 0.1), (256.0, 0.3)]), (0.075, 0.40), 0.0)
}

/// When the kernel is called before the turn ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// It never is.
    TurnEnd,
    /// When so many entries are queued.
    Fixed(u32),
    /// When a threshold is reached, which moves so that a call has 8 to 12 entries.
    Ratio,
    /// When `auraio-control`'s inner loop says so.
    Tuned,
}

impl Rule {
    /// All rules that the table compares.
    pub const ALL: [Self; 8] = [
        Self::TurnEnd,
        Self::Fixed(1),
        Self::Fixed(2),
        Self::Fixed(4),
        Self::Fixed(8),
        Self::Fixed(16),
        Self::Ratio,
        Self::Tuned,
    ];

    /// Its name in the table.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::TurnEnd => "end".to_owned(),
            Self::Fixed(batch) => format!("b={batch}"),
            Self::Ratio => "ratio 8".to_owned(),
            Self::Tuned => "tuned".to_owned(),
        }
    }
}

/// The result of a run, without its first fifth.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// Operations per second.
    pub throughput: f64,
    /// The median time from asking for an operation to having it, in microseconds.
    pub p50_us: f64,
    /// The p99 of that time, in microseconds.
    pub p99_us: f64,
    /// The part of the time that the thread was awake.
    pub utilisation: f64,
    /// Entries in a call.
    pub sqe_per_enter: f64,
    /// The submit batch at the end.
    pub batch: u32,
}

/// The threshold of [`Rule::Ratio`], which moves every 10 ms.
#[derive(Clone, Copy, Debug)]
struct Ratio {
    threshold: u32,
    calls: u64,
    entries: u64,
    next: u64,
}

impl Ratio {
    fn refresh(&mut self, now: u64) {
        if now < self.next {
            return;
        }
        let ratio = self.entries as f64 / self.calls.max(1) as f64;
        if self.calls > 0 && ratio < 8.0 {
            self.threshold = (self.threshold + 1).min(64);
        } else if ratio > 12.0 {
            self.threshold = (self.threshold - 1).max(2);
        }
        *self = Self { calls: 0, entries: 0, next: now + 10 * MILLISECOND, ..*self };
    }
}

/// The device, and its completions that can be seen.
struct Disk {
    station: Station,
    grouping: Grouping,
    /// When the station will have served its present operation, and the version of that finish.
    done: Option<(u64, u64)>,
    /// Operations that are complete and not seen yet.
    group: Vec<u32>,
    group_since: u64,
    seen: VecDeque<u32>,
    under_way: u32,
}

impl Disk {
    fn submit(&mut self, now: u64, entries: &mut Vec<u32>, random: &mut Random) {
        self.station.advance(now);
        self.under_way += entries.len() as u32;
        entries.drain(..).for_each(|request| self.station.push(request));
        self.station.pick(now, random, |_| Size::Small);
        self.done = self.station.foretell(now);
    }

    /// When the next event happens: a completion, or the end of a group's time.
    fn next(&self) -> Option<u64> {
        let deadline = (!self.group.is_empty()).then(|| self.group_since + self.grouping.time);
        self.done.map(|(at, _)| at).into_iter().chain(deadline).min()
    }

    fn step(&mut self, now: u64, random: &mut Random) {
        if let Some((at, version)) = self.done.filter(|(at, _)| *at <= now)
            && let Some(request) = self.station.finish(at, version)
        {
            if self.group.is_empty() {
                self.group_since = at;
            }
            self.group.push(request);
            self.under_way -= 1;
            self.station.pick(at, random, |_| Size::Small);
            self.done = self.station.foretell(at);
        }
        let full = self.group.len() >= self.grouping.count || now >= self.group_since + self.grouping.time;
        if full || self.under_way == 0 {
            self.seen.extend(self.group.drain(..));
        }
    }

    fn advance(&mut self, now: u64, random: &mut Random) {
        while let Some(next) = self.next().filter(|next| *next <= now) {
            self.step(next, random);
        }
    }

    /// When the next completions can be seen.
    fn wait(&mut self, now: u64, random: &mut Random) -> u64 {
        let mut at = now;
        while self.seen.is_empty() {
            let Some(next) = self.next() else { break };
            at = next.max(at);
            self.step(at, random);
        }
        at
    }
}

/// One thread with its ring.
struct Thread {
    host: Host,
    random: Random,
    disk: Disk,
    now: u64,
    queued: Vec<u32>,
    oldest: u64,
    in_kernel: u32,
    /// When each request was asked for and submitted.
    asked: Vec<u64>,
    submitted: Vec<u64>,
    batch: SubmitBatch,
    ratio: Option<Ratio>,
    counts: Counts,
}

#[derive(Clone, Default)]
struct Counts {
    latencies: Histogram,
    slept: u64,
    calls: u64,
    entries: u64,
}

impl Thread {
    fn new(case: &Case, rule: Rule, seed: u64) -> Self {
        let policy = match rule {
            Rule::TurnEnd | Rule::Ratio => BatchPolicy::Fixed(u32::MAX),
            Rule::Fixed(batch) => BatchPolicy::Fixed(batch),
            Rule::Tuned => BatchPolicy::default(),
        };
        let mut batch = SubmitBatch::new(policy);
        batch.set_limit(case.depth);
        Self {
            host: case.host,
            random: Random::new(seed),
            disk: Disk {
                station: (case.device)(),
                grouping: case.grouping,
                done: None,
                group: Vec::new(),
                group_since: 0,
                seen: VecDeque::new(),
                under_way: 0,
            },
            now: 0,
            queued: Vec::new(),
            oldest: 0,
            in_kernel: 0,
            asked: vec![0; case.depth as usize],
            submitted: vec![0; case.depth as usize],
            batch,
            ratio: (rule == Rule::Ratio).then_some(Ratio { threshold: 2, calls: 0, entries: 0, next: 0 }),
            counts: Counts::default(),
        }
    }

    fn spend(&mut self, microseconds: f64, variation: f64) {
        self.now += (microseconds * 1e3 * self.random.log_normal(LogNormal::new(variation))) as u64;
    }

    /// A caller asks for an operation.
    fn ask(&mut self, request: u32) {
        self.asked[request as usize] = self.now;
        if self.queued.is_empty() {
            self.oldest = self.now;
        }
        self.queued.push(request);
        let queued = self.queued.len() as u32;
        let full = self.ratio.is_some_and(|ratio| queued >= ratio.threshold);
        if full || self.batch.should_flush(self.now, queued, self.oldest, self.in_kernel) {
            self.flush();
        }
    }

    fn flush(&mut self) {
        let entries = self.queued.len() as u32;
        if entries == 0 {
            return;
        }
        let began = self.now;
        self.spend(self.host.enter, ENTER_VARIATION);
        self.spend(self.host.entry * f64::from(entries), ENTRY_VARIATION);
        self.batch.on_enter(entries, self.now - began);
        self.counts.calls += 1;
        self.counts.entries += u64::from(entries);
        if let Some(ratio) = &mut self.ratio {
            ratio.calls += 1;
            ratio.entries += u64::from(entries);
        }
        self.queued.iter().for_each(|&request| self.submitted[request as usize] = self.now);
        self.in_kernel += entries;
        self.disk.advance(self.now, &mut self.random);
        self.disk.submit(self.now, &mut self.queued, &mut self.random);
    }

    /// One turn of the event loop.
    fn turn(&mut self) {
        self.disk.advance(self.now, &mut self.random);
        if self.disk.seen.is_empty() {
            let asleep_from = self.now;
            self.now = self.disk.wait(self.now, &mut self.random);
            self.spend(self.host.wake, 0.0);
            self.counts.slept += self.now - asleep_from;
            self.batch.on_sleep(self.now - asleep_from);
        }
        let awake_from = self.now;
        self.spend(self.host.turn, 0.0);
        self.disk.advance(self.now, &mut self.random);
        self.batch.on_reap(self.now);
        let complete: Vec<u32> = self.disk.seen.drain(..).collect();
        let count = complete.len() as u32;
        self.in_kernel -= count;
        for request in complete {
            self.spend(self.host.reap, 0.0);
            self.counts.latencies.record(self.now - self.asked[request as usize]);
            self.batch.on_latency(self.now - self.submitted[request as usize]);
            self.spend(self.host.code, CODE_VARIATION);
            self.ask(request);
        }
        self.flush();
        self.batch.on_turn(self.now, count, self.now - awake_from);
        if let Some(ratio) = &mut self.ratio {
            ratio.refresh(self.now);
        }
    }

    fn run_until(&mut self, end: u64) {
        while self.now < end {
            self.turn();
        }
    }
}

/// Runs a case for `duration` of simulated time, in nanoseconds.
///
/// ```
/// use auraio_sim::inner::{CASES, Rule, run};
///
/// let outcome = run(&CASES[0], Rule::Tuned, 1, 50_000_000);
/// assert!(outcome.throughput > 50_000.0);
/// ```
#[must_use]
pub fn run(case: &Case, rule: Rule, seed: u64, duration: u64) -> Outcome {
    let mut thread = Thread::new(case, rule, seed);
    (0..case.depth).for_each(|request| thread.ask(request));
    thread.flush();
    thread.run_until(duration / 5);
    let from = thread.now;
    thread.counts = Counts::default();
    thread.run_until(duration);
    let (counts, elapsed) = (&thread.counts, (thread.now - from) as f64);
    Outcome {
        throughput: counts.latencies.count() as f64 * 1e9 / elapsed,
        p50_us: counts.latencies.quantile(0.5) / 1e3,
        p99_us: counts.latencies.quantile(0.99) / 1e3,
        utilisation: 1.0 - counts.slept as f64 / elapsed,
        sqe_per_enter: counts.entries as f64 / counts.calls.max(1) as f64,
        batch: thread.ratio.map_or(thread.batch.batch(), |ratio| ratio.threshold),
    }
}

/// The heading of [`rows`].
#[must_use]
pub fn heading() -> String {
    format!(
        "{:<22} {:<8} {:>9} {:>8} {:>8} {:>6} {:>9} {:>6}",
        "case", "rule", "per s", "p50 us", "p99 us", "CPU %", "SQE/enter", "batch"
    )
}

/// A line for every rule in one case.
#[must_use]
pub fn rows(case: &Case, seed: u64, duration: u64) -> String {
    let row = |rule: Rule| {
        let outcome = run(case, rule, seed, duration);
        let batch = if rule == Rule::TurnEnd { "-".to_owned() } else { outcome.batch.to_string() };
        format!(
            "{:<22} {:<8} {:>9.0} {:>8.0} {:>8.0} {:>6.1} {:>9.1} {:>6}\n",
            case.name,
            rule.name(),
            outcome.throughput,
            outcome.p50_us,
            outcome.p99_us,
            100.0 * outcome.utilisation,
            outcome.sqe_per_enter,
            batch
        )
    };
    Rule::ALL.map(row).concat()
}
