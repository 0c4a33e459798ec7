//! One run: rings with their loads, a controller that they share, a device.
//!
//! A run is a sequence of events in the order of time. All random numbers come from the seed, in three streams: one for
//! operations, one for the device's slow noise, and one for stalls and pauses. The latter two do not depend on what a
//! controller does. So all controllers and all fixed depths meet the same device.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    mem,
};

use auraio_control::{Controller, Member, Sample, Settings, Shares};

use crate::{
    MILLISECOND,
    device::{Device, NOISE_STEP_MS, Size},
    nanoseconds,
    random::Random,
    record::Record,
    scenario::{Change, Load, Scenario},
};

/// How often the limit is noted.
const TICK: u64 = 10 * MILLISECOND;
/// The least time between two pauses of the host: a microsecond.
const PAUSE_GAP_MIN: u64 = 1_000;

/// An event. Events of the same time happen in the order in which they were foreseen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// The station has served its operation, if the version is valid.
    Served(u64),
    /// The gate's operation is done.
    Passed(u32),
    Tick,
    Drift,
    /// An arrival at a ring, if the ring's load is still that one.
    Arrival(usize, u32),
    /// A worker of a ring has thought.
    Thought(usize),
    /// A change of the scenario.
    Change(usize),
    StallBegins,
    StallEnds,
    PauseBegins,
    PauseEnds,
}

#[derive(Clone, Copy, Debug)]
struct Request {
    ring: usize,
    size: Size,
    submitted: u64,
    arrived: u64,
    in_flight_then: u32,
}

#[derive(Clone, Debug)]
struct Ring {
    load: Load,
    size: Size,
    in_flight: u32,
    /// The arrival times of operations that wait.
    waiting: VecDeque<u64>,
    /// How many workers of a closed load there are now.
    workers: usize,
    /// The number of the open load, which tells its arrivals from those of the one before.
    generation: u32,
}

/// Pauses of the host, or stalls of the device: gap and length as ranges in nanoseconds.
#[derive(Clone, Copy, Debug)]
struct Breaks {
    gap: (f64, f64),
    length: (f64, f64),
}

/// What will happen, in the order of time.
#[derive(Default)]
struct Agenda {
    now: u64,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    foreseen: u64,
}

impl Agenda {
    fn foresee(&mut self, at: u64, event: Event) {
        self.foreseen += 1;
        self.events.push(Reverse((at, self.foreseen, event)));
    }

    /// The next event, unless it comes after `end`. It is the present from now on.
    fn next(&mut self, end: u64) -> Option<Event> {
        let Reverse((at, _, event)) = self.events.pop()?;
        if at > end {
            return None;
        }
        self.now = at;
        Some(event)
    }
}

/// The streams of random numbers. Those for noise and breaks do not depend on what a controller does.
struct Streams {
    operations: Random,
    noise: Random,
    breaks: Random,
}

/// Operations by number; numbers are used again.
#[derive(Default)]
struct Requests {
    all: Vec<Request>,
    free: Vec<u32>,
}

impl Requests {
    fn add(&mut self, request: Request) -> u32 {
        if let Some(id) = self.free.pop() {
            self.all[id as usize] = request;
            return id;
        }
        self.all.push(request);
        self.all.len() as u32 - 1
    }

    fn remove(&mut self, id: u32) -> Request {
        self.free.push(id);
        self.all[id as usize]
    }
}

/// The host, which may be away.
#[derive(Default)]
struct Host {
    pauses: Option<Breaks>,
    /// Since when the host is away, if it is.
    away_since: Option<u64>,
    /// Operations that completed meanwhile.
    unreaped: Vec<u32>,
}

/// A run under way.
pub struct Simulation {
    agenda: Agenda,
    end: u64,
    random: Streams,
    device: Device,
    rings: Vec<Ring>,
    /// The shares of the limit, and each ring's member in them.
    shares: Shares,
    members: Vec<Member>,
    /// Rings to which something has happened, and which have a turn next.
    turns: VecDeque<usize>,
    in_flight: u32,
    waiting: u32,
    requests: Requests,
    changes: Vec<Change>,
    stalls: Option<Breaks>,
    host: Host,
    controller: Controller,
    record: Record,
}

impl Simulation {
    /// A run of a scenario with a seed under a controller of these settings.
    #[must_use]
    pub fn new(scenario: &Scenario, settings: Settings, seed: u64) -> Self {
        let ring = |load: &Load| Ring {
            load: *load,
            size: Size::Small,
            in_flight: 0,
            waiting: VecDeque::new(),
            workers: 0,
            generation: 0,
        };
        let mut simulation = Self {
            agenda: Agenda::default(),
            end: nanoseconds(scenario.end()),
            random: Streams {
                operations: Random::new(seed),
                noise: Random::new(seed ^ 0x00AB_CDEF),
                breaks: Random::new(seed ^ 0x0055_AA55),
            },
            device: scenario.device.clone(),
            rings: scenario.rings.iter().map(ring).collect(),
            shares: Shares::new(1),
            members: vec![],
            turns: VecDeque::new(),
            in_flight: 0,
            waiting: 0,
            requests: Requests::default(),
            changes: scenario.changes.iter().map(|(_, change)| *change).collect(),
            stalls: None,
            host: Host::default(),
            controller: Controller::new(settings),
            record: Record::new(scenario),
        };
        simulation.members = simulation.rings.iter().map(|_| simulation.shares.join(u32::MAX)).collect();
        (0..simulation.rings.len()).for_each(|ring| simulation.begin_load(ring));
        for (index, (at, _)) in scenario.changes.iter().enumerate() {
            simulation.agenda.foresee(nanoseconds(*at), Event::Change(index));
        }
        simulation.agenda.foresee(TICK, Event::Tick);
        simulation.agenda.foresee(NOISE_STEP_MS * MILLISECOND, Event::Drift);
        simulation
    }

    /// Runs it to its end.
    #[must_use]
    pub fn run(mut self) -> Record {
        self.refill();
        while let Some(event) = self.agenda.next(self.end) {
            self.happen(event);
        }
        self.take_decisions();
        self.record.cuts = self.controller.cuts();
        self.record.is_infeasible = self.controller.is_infeasible();
        self.record
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Served(version) => self.served(version),
            Event::Passed(request) => self.done(request),
            Event::Tick => self.tick(),
            Event::Drift => self.drift(),
            Event::Arrival(ring, generation) => self.arrive(ring, generation),
            Event::Thought(ring) => {
                self.wait(ring);
                self.refill();
            }
            Event::Change(index) => {
                self.advance();
                self.change(self.changes[index]);
                self.refill();
            }
            Event::StallBegins => self.stall(),
            Event::StallEnds => self.set_paused(false),
            Event::PauseBegins => self.pause(),
            Event::PauseEnds => self.resume(),
        }
    }

    /// Lets the station work until now.
    fn advance(&mut self) {
        if let Device::Station(station) = &mut self.device {
            station.advance(self.agenda.now);
        }
    }

    /// Lets the station go on, and foresees when it is done.
    fn go_on(&mut self) {
        let Device::Station(station) = &mut self.device else { return };
        let requests = &self.requests.all;
        station.pick(self.agenda.now, &mut self.random.operations, |request| requests[request as usize].size);
        if let Some((at, version)) = station.foretell(self.agenda.now) {
            self.agenda.foresee(at, Event::Served(version));
        }
    }

    fn served(&mut self, version: u64) {
        let Device::Station(station) = &mut self.device else { return };
        if let Some(request) = station.finish(self.agenda.now, version) {
            self.done(request);
        }
    }

    /// An operation is done. It is reaped if the host is not away.
    fn done(&mut self, request: u32) {
        if self.host.away_since.is_some() {
            self.host.unreaped.push(request);
            self.go_on();
        } else {
            self.reap(request, 0);
            self.refill();
        }
    }

    fn reap(&mut self, id: u32, unseen: u64) {
        let request = self.requests.remove(id);
        self.in_flight -= 1;
        self.rings[request.ring].in_flight -= 1;
        self.turns.push_back(request.ring);
        self.record.completed(
            self.agenda.now,
            request.ring,
            self.agenda.now - request.submitted,
            self.agenda.now - request.arrived,
        );
        self.controller.on_completion(&Sample {
            now: self.agenda.now,
            submitted: request.submitted,
            in_flight: self.in_flight,
            waiting: self.waiting,
            unseen,
            in_flight_then: request.in_flight_then,
            work: 1.0 + request.size.bytes() as f32 / 65_536.0,
        });
        if let Load::Closed { workers, think_us } = self.rings[request.ring].load {
            if self.rings[request.ring].workers > workers {
                self.rings[request.ring].workers -= 1;
            } else if think_us > 0.0 {
                let thinks = self.random.operations.exponential() * think_us * 1e3;
                self.agenda.foresee(self.agenda.now + thinks as u64, Event::Thought(request.ring));
            } else {
                self.wait(request.ring);
            }
        }
    }

    fn wait(&mut self, ring: usize) {
        self.rings[ring].waiting.push_back(self.agenda.now);
        self.waiting += 1;
        self.turns.push_back(ring);
    }

    /// Submits what the limit allows, and lets the device go on. A ring acts only when something happens to it. It knows of
    /// the other rings only what [`Shares`] tells it.
    fn refill(&mut self) {
        self.advance();
        self.shares.set_limit(self.controller.limit());
        while self.host.away_since.is_none()
            && let Some(ring) = self.turns.pop_front()
        {
            self.turn(ring);
        }
        self.go_on();
    }

    /// A ring reports, and submits up to its share.
    fn turn(&mut self, ring: usize) {
        let waiting = self.rings[ring].waiting.len() as u32;
        let member = self.members[ring];
        self.shares.report(member, self.rings[ring].in_flight, waiting, self.agenda.now);
        let share = self.shares.share(member);
        self.controller.set_least(self.shares.busy(), self.agenda.now);
        while self.rings[ring].in_flight < share {
            let Some(arrived) = self.rings[ring].waiting.pop_front() else { break };
            self.waiting -= 1;
            self.submit(ring, arrived);
        }
    }

    fn submit(&mut self, ring: usize, arrived: u64) {
        self.in_flight += 1;
        self.rings[ring].in_flight += 1;
        let size = self.rings[ring].size;
        let request = Request { ring, size, submitted: self.agenda.now, arrived, in_flight_then: self.in_flight };
        let id = self.requests.add(request);
        match &mut self.device {
            Device::Station(station) => station.push(id),
            Device::Gate(gate) => {
                let at = gate.done_at(self.agenda.now, &mut self.random.operations);
                self.agenda.foresee(at, Event::Passed(id));
            }
        }
    }

    fn tick(&mut self) {
        self.record.limit(self.agenda.now, self.controller.limit());
        self.take_decisions();
        self.agenda.foresee(self.agenda.now + TICK, Event::Tick);
        self.refill();
    }

    fn take_decisions(&mut self) {
        self.record.decisions.extend(std::iter::from_fn(|| self.controller.next_decision()));
    }

    fn drift(&mut self) {
        self.advance();
        if let Device::Station(station) = &mut self.device {
            station.drift(&mut self.random.noise);
        }
        self.go_on();
        self.agenda.foresee(self.agenda.now + NOISE_STEP_MS * MILLISECOND, Event::Drift);
    }

    fn arrive(&mut self, ring: usize, generation: u32) {
        let Load::Open { rate, queue } = self.rings[ring].load else { return };
        if self.rings[ring].generation != generation {
            return;
        }
        if self.rings[ring].waiting.len() < queue {
            self.wait(ring);
        }
        self.foresee_arrival(ring, rate);
        self.refill();
    }

    fn foresee_arrival(&mut self, ring: usize, rate: f64) {
        let gap = self.random.operations.exponential() / rate * 1e9;
        self.agenda.foresee(self.agenda.now + gap as u64, Event::Arrival(ring, self.rings[ring].generation));
    }

    /// Begins a ring's load: workers come or go, or the first arrival is foreseen.
    fn begin_load(&mut self, ring: usize) {
        match self.rings[ring].load {
            Load::Closed { workers, .. } => {
                while self.rings[ring].workers > workers && self.rings[ring].waiting.pop_front().is_some() {
                    self.waiting -= 1;
                    self.rings[ring].workers -= 1;
                }
                while self.rings[ring].workers < workers {
                    self.rings[ring].workers += 1;
                    self.wait(ring);
                }
            }
            Load::Open { rate, .. } => {
                self.rings[ring].generation += 1;
                self.rings[ring].workers = 0;
                self.foresee_arrival(ring, rate);
            }
        }
    }

    fn change(&mut self, change: Change) {
        match (change, &mut self.device) {
            (Change::Scale(scale), Device::Station(station)) => station.scale = scale,
            (Change::Scale(scale), Device::Gate(gate)) => gate.latency /= scale,
            (Change::Cap(cap), Device::Station(station)) => station.cap = cap,
            (Change::Rate(rate), Device::Gate(gate)) => gate.set_rate(rate),
            (Change::Cap(_), Device::Gate(_)) | (Change::Rate(_), Device::Station(_)) => {}
            (Change::Size(size), _) => self.rings.iter_mut().for_each(|ring| ring.size = size),
            (Change::Load(load), _) => (0..self.rings.len()).for_each(|ring| self.set_load(ring, load)),
            (Change::RingLoad(ring, load), _) => self.set_load(ring, load),
            (Change::RingOff(ring), _) => {
                self.set_load(ring, Load::Closed { workers: 0, think_us: 0.0 });
            }
            (Change::Stalls { every_s: (least, most), ms }, _) => {
                self.stalls = Some(Breaks { gap: (least * 1e9, most * 1e9), length: (ms.0 * 1e6, ms.1 * 1e6) });
                let first = self.random.breaks.range((1e8, most * 1e9));
                self.agenda.foresee(self.agenda.now + first as u64, Event::StallBegins);
            }
            (Change::HostPauses { every_ms, ms }, _) => {
                let gap = (every_ms.0 * 1e6, every_ms.1 * 1e6);
                self.host.pauses = Some(Breaks { gap, length: (ms.0 * 1e6, ms.1 * 1e6) });
                self.agenda.foresee(self.agenda.now + MILLISECOND, Event::PauseBegins);
            }
        }
    }

    fn set_load(&mut self, ring: usize, load: Load) {
        self.rings[ring].load = load;
        self.begin_load(ring);
    }

    /// The device stalls. The end of the stall and the next stall are foreseen.
    fn stall(&mut self) {
        let Some(stalls) = self.stalls else { return };
        self.set_paused(true);
        let until = self.agenda.now + self.random.breaks.range(stalls.length) as u64;
        self.agenda.foresee(until, Event::StallEnds);
        let next = until + self.random.breaks.range(stalls.gap) as u64;
        self.agenda.foresee(next, Event::StallBegins);
    }

    fn set_paused(&mut self, paused: bool) {
        self.advance();
        if let Device::Station(station) = &mut self.device {
            station.paused = paused;
        }
        self.go_on();
    }

    /// The host goes away.
    fn pause(&mut self) {
        let Some(pauses) = self.host.pauses else { return };
        self.host.away_since = Some(self.agenda.now);
        let length = self.random.breaks.range(pauses.length);
        self.agenda.foresee(self.agenda.now + length as u64, Event::PauseEnds);
    }

    /// The host is back, and reaps the operations that completed meanwhile. Each may have lain completed all the time.
    fn resume(&mut self) {
        let (Some(since), Some(pauses)) = (self.host.away_since.take(), self.host.pauses) else { return };
        self.advance();
        for request in mem::take(&mut self.host.unreaped) {
            self.reap(request, self.agenda.now - since);
        }
        self.refill();
        let gap = self.random.breaks.range(pauses.gap) as u64;
        self.agenda.foresee(self.agenda.now + gap.max(PAUSE_GAP_MIN), Event::PauseBegins);
    }
}
