//! One reader that somebody waits for, beside a bulk job that takes whatever the disk gives.
//!
//! The bulk job runs alone for two seconds, beside the reader for three, and alone again. Both go through `auraio-control`'s own
//! outer loop, its order of classes and its rule for the foreground. Some runs leave one or more of these out, to show what
//! each is worth.

use auraio_control::{Classes, Controller, Foreground, Policy, Priority, RingPlaces, Sample, Settings};

use crate::{
    MILLISECOND, SECOND, catalogue,
    device::{Device, NOISE_STEP_MS, Size, Station},
    histogram::Histogram,
    random::Random,
    scenario::Parameters,
};

/// How operations are let in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Order {
    /// One queue, and a fixed number of operations in flight.
    Depth(u32),
    /// One queue, and the outer loop.
    OneQueue,
    /// High first; low operations may have all places.
    HighFirst,
    /// High first, and the rule for the foreground with this floor.
    Floor(f64),
}

impl Order {
    /// Its name in the table.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::Depth(depth) => format!("no classes, depth {depth}"),
            Self::OneQueue => "no classes, tuned".to_owned(),
            Self::HighFirst => "high first".to_owned(),
            Self::Floor(floor) => format!("high first, floor {floor}"),
        }
    }
}

/// When the reader comes, from when it is measured, when it goes, from when the bulk job is measured again, and the end.
const COMES: u64 = 2 * SECOND;
const MEASURED: u64 = 2500 * MILLISECOND;
const GOES: u64 = 5 * SECOND;
const AGAIN: u64 = 5500 * MILLISECOND;
const END: u64 = 7 * SECOND;

/// From when the bulk job is measured alone: the outer loop has found its limit by then.
const SETTLED: u64 = SECOND;

/// The result of a run.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// Operations of the bulk job per second while it is alone.
    pub alone: f64,
    /// The same beside the reader.
    pub beside: f64,
    /// The same when it is alone again.
    pub after: f64,
    /// The reader's median time from asking for an operation to having it, in microseconds.
    pub p50_us: f64,
    /// The p99 of that time, in microseconds.
    pub p99_us: f64,
    /// The limit in force when the reader came.
    pub limit_before: u32,
    /// The limit in force when the reader went.
    pub limit: u32,
}

/// A caller, which asks for its next operation when it has the last one, and that operation.
#[derive(Clone, Copy)]
struct Request {
    class: Priority,
    asked: u64,
    submitted: u64,
    in_flight_then: u32,
    /// Whether no other operation was in flight when it was submitted.
    alone: bool,
}

struct Run {
    order: Order,
    random: Random,
    station: Station,
    /// The station's next completion, and its version.
    done: Option<(u64, u64)>,
    now: u64,
    requests: Vec<Request>,
    /// Requests that wait, by class and in order of arrival; and how many are in flight, by class.
    waiting: [Vec<u32>; 3],
    in_flight: [u32; 3],
    controller: Controller,
    classes: Classes,
    foreground: Foreground,
    no_load: f64,
}

impl Run {
    fn new(order: Order, bulk: u32, seed: u64) -> Option<Self> {
        let Device::Station(station) = catalogue::nvme(&Parameters::default()) else { return None };
        let policy = if let Order::Depth(depth) = order { Policy::Fixed(depth) } else { Policy::Knee };
        let floor = if let Order::Floor(floor) = order { floor } else { 1.0 };
        Some(Self {
            order,
            random: Random::new(seed),
            station,
            done: None,
            now: 0,
            requests: Vec::new(),
            waiting: [const { Vec::new() }; 3],
            in_flight: [0; 3],
            controller: Controller::new(Settings { policy, ..Settings::default() }),
            classes: Classes::new(),
            foreground: Foreground::new(floor),
            no_load: 0.0,
        })
        .map(|mut run| {
            (0..bulk).for_each(|_| run.join(Priority::Low));
            run
        })
    }

    fn join(&mut self, class: Priority) {
        self.requests.push(Request { class, asked: self.now, submitted: 0, in_flight_then: 0, alone: false });
        self.wait(self.requests.len() as u32 - 1);
    }

    fn wait(&mut self, request: u32) {
        let Request { class, .. } = self.requests[request as usize];
        let queue = match self.order {
            Order::Depth(_) | Order::OneQueue => Priority::Low,
            Order::HighFirst | Order::Floor(_) => class,
        };
        self.waiting[queue.index()].push(request);
    }

    /// How many low operations may start now.
    fn low_places(&self) -> u32 {
        let share = self.controller.limit();
        let mut ring = [RingPlaces { share, last_high: None, low: share }];
        if let Order::Floor(_) = self.order {
            self.foreground.divide(self.now, &mut ring);
        }
        ring[0].low.saturating_sub(self.in_flight[Priority::Low.index()])
    }

    /// Starts what may start.
    fn start(&mut self) {
        self.station.advance(self.now);
        while self.in_flight.iter().sum::<u32>() < self.controller.limit() {
            let mut counts = [0, 1, 2].map(|class| self.waiting[class].len() as u32);
            counts[Priority::Low.index()] = counts[Priority::Low.index()].min(self.low_places());
            let Some(queue) = self.classes.pick(counts) else { break };
            self.classes.charge(queue, 1.0);
            let id = self.waiting[queue.index()].remove(0);
            let others = self.in_flight.iter().sum::<u32>();
            let request = &mut self.requests[id as usize];
            (request.submitted, request.in_flight_then, request.alone) = (self.now, others + 1, others == 0);
            self.in_flight[request.class.index()] += 1;
            self.station.push(id);
        }
        self.station.pick(self.now, &mut self.random, |_| Size::Small);
        self.done = self.station.foretell(self.now);
    }

    fn complete(&mut self, id: u32) -> Request {
        let request = self.requests[id as usize];
        self.in_flight[request.class.index()] -= 1;
        let latency = (self.now - request.submitted) as f64;
        if request.in_flight_then == 1 {
            self.no_load = if self.no_load == 0.0 { latency } else { self.no_load + (latency - self.no_load) / 64.0 };
            self.foreground.set_no_load(self.no_load as u64);
        }
        if request.class == Priority::High {
            self.foreground.on_high(self.now, request.submitted, request.alone);
        }
        // Low operations that are held back for high ones do not wait behind the limit.
        let held =
            matches!(self.order, Order::Floor(_)) && self.foreground.holds_back(self.now, self.controller.limit());
        let lows = if held { 0 } else { self.waiting[Priority::Low.index()].len() as u32 };
        self.controller.on_completion(&Sample {
            now: self.now,
            submitted: request.submitted,
            in_flight: self.in_flight.iter().sum(),
            waiting: lows + self.waiting[Priority::High.index()].len() as u32,
            unseen: 0,
            in_flight_then: request.in_flight_then,
            work: 1.0 + 4096.0 / 65536.0,
        });
        request
    }

    fn until(&mut self, end: u64, reader: bool) -> (u64, Histogram) {
        let (mut lows, mut latencies) = (0, Histogram::default());
        let mut noise_at = self.now + NOISE_STEP_MS * MILLISECOND;
        self.start();
        while let Some((at, version)) = self.done.filter(|(at, _)| *at < end) {
            if at >= noise_at {
                self.now = noise_at;
                self.station.advance(self.now);
                self.station.drift(&mut self.random);
                self.done = self.station.foretell(self.now);
                noise_at += NOISE_STEP_MS * MILLISECOND;
                continue;
            }
            self.now = at;
            self.station.advance(at);
            let Some(id) = self.station.finish(at, version) else { break };
            let request = self.complete(id);
            match request.class {
                Priority::High => latencies.record(self.now - request.asked),
                _ => lows += 1,
            }
            if reader || request.class != Priority::High {
                self.requests[id as usize].asked = self.now;
                self.wait(id);
            }
            self.start();
        }
        (lows, latencies)
    }
}

/// Runs it once. The answer is `None` if the catalogue's NVMe disk is not a station.
///
/// ```
/// use auraio_sim::foreground::{Order, run};
///
/// let outcome = run(Order::Floor(0.75), 64, 11).unwrap();
/// assert!(outcome.beside > 0.8 * outcome.alone);
/// ```
#[must_use]
pub fn run(order: Order, bulk: u32, seed: u64) -> Option<Outcome> {
    let mut run = Run::new(order, bulk, seed)?;
    let per_second = |count: u64, from: u64, to: u64| count as f64 * 1e9 / (to - from) as f64;
    let _ = run.until(SETTLED, false);
    let (alone, _) = run.until(COMES, false);
    let limit_before = run.controller.limit();
    run.join(Priority::High);
    let _ = run.until(MEASURED, true);
    let (beside, latencies) = run.until(GOES, true);
    let limit = run.controller.limit();
    let _ = run.until(AGAIN, false);
    let (after, _) = run.until(END, false);
    Some(Outcome {
        alone: per_second(alone, SETTLED, COMES),
        beside: per_second(beside, MEASURED, GOES),
        after: per_second(after, AGAIN, END),
        p50_us: latencies.quantile(0.5) / 1e3,
        p99_us: latencies.quantile(0.99) / 1e3,
        limit_before,
        limit,
    })
}

/// The table of all orders, with a bulk job of 256 callers.
#[must_use]
pub fn table(seed: u64) -> String {
    let Some(idle) = run(Order::HighFirst, 0, seed) else { return String::new() };
    let mut text = format!(
        "{:<24} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>6}\n{:<24} {:>8} {:>8} {:>8} {:>8.0} {:>8.0} {:>8.1}\n",
        "order",
        "alone/s",
        "beside %",
        "after %",
        "p50 us",
        "p99 us",
        "x idle",
        "limit",
        "idle",
        "-",
        "-",
        "-",
        idle.p50_us,
        idle.p99_us,
        1.0
    );
    let floors = [0.75, 0.5, 0.3, 0.2, 0.1, 0.0].map(Order::Floor);
    for order in [Order::Depth(256), Order::OneQueue, Order::HighFirst].into_iter().chain(floors) {
        let Some(outcome) = run(order, 256, seed) else { continue };
        text += &format!(
            "{:<24} {:>8.0} {:>8.1} {:>8.1} {:>8.0} {:>8.0} {:>8.1} {:>6}\n",
            order.name(),
            outcome.alone,
            100.0 * outcome.beside / outcome.alone,
            100.0 * outcome.after / outcome.alone,
            outcome.p50_us,
            outcome.p99_us,
            outcome.p99_us / idle.p99_us,
            outcome.limit
        );
    }
    text
}
