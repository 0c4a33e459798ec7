//! Scenarios: a device, its load, and what changes when.

use std::time::Duration;

use crate::{
    catalogue::{HARD_DISK_ALONE, cloud, hard_disk, hard_disk_flat, nvme, page_cache, sata},
    device::{Device, Size},
};

/// What can be varied in every scenario.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Parameters {
    /// Factor on throughput (`--x`).
    pub throughput: f64,
    /// Factor on the latency of rented volumes (`--lat`).
    pub latency: f64,
    /// Standard deviation of the devices' slow noise (`--ou`).
    pub noise: f64,
    /// Factor on the depth of the knee (`--knee`).
    pub knee: f64,
    /// Seconds by which changes come later (`--t`).
    pub shift: f64,
    /// The largest limit (`--max`).
    pub max: u32,
    /// Workers of a flood (`--workers`).
    pub workers: usize,
}

impl Default for Parameters {
    fn default() -> Self {
        Self { throughput: 1.0, latency: 1.0, noise: 0.04, knee: 1.0, shift: 0.0, max: 256, workers: 256 }
    }
}

/// The load of a ring: who asks for operations.
#[derive(Clone, Copy, Debug)]
pub enum Load {
    /// Workers, each of which asks for its next operation when it has the last one.
    Closed {
        /// How many workers there are.
        workers: usize,
        /// For how long each thinks after an operation, in microseconds on average.
        think_us: f64,
    },
    /// Independent arrivals.
    Open {
        /// Arrivals per second.
        rate: f64,
        /// How many may wait; others are turned away.
        queue: usize,
    },
}

impl Load {
    const fn workers(workers: usize) -> Self {
        Self::Closed { workers, think_us: 0.0 }
    }
}

/// What can change in a run. Ranges are uniform.
#[derive(Clone, Copy, Debug)]
pub enum Change {
    /// The device does this part of what it did.
    Scale(f64),
    /// The device does at most this many a second.
    Cap(f64),
    /// Operations are of this size.
    Size(Size),
    /// All rings have this load.
    Load(Load),
    /// One ring has this load.
    RingLoad(usize, Load),
    /// One ring's load goes away.
    RingOff(usize),
    /// The device stalls: from stall to stall in seconds, and for how long in milliseconds.
    Stalls {
        /// Seconds from the end of one to the next.
        every_s: (f64, f64),
        /// Milliseconds.
        ms: (f64, f64),
    },
    /// The host is busy with something else and neither reaps nor submits.
    HostPauses {
        /// Milliseconds from the end of one to the next.
        every_ms: (f64, f64),
        /// Milliseconds.
        ms: (f64, f64),
    },
    /// A rented volume has this rate.
    Rate(f64),
}

/// A part of a run that is judged for itself. Times are in seconds.
#[derive(Clone, Copy, Debug)]
pub struct Phase {
    /// Its name.
    pub name: &'static str,
    /// Its beginning.
    pub from: f64,
    /// Its end.
    pub to: f64,
    /// The length of its beginning, in which only the time to convergence is judged.
    pub settle: f64,
}

/// A scenario.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// The guard that is set; `None` for the automatic one.
    pub guard: Option<Duration>,
    /// The guard that fixed depths are judged by, in nanoseconds.
    pub guard_ns: f64,
    /// The length of the bins in milliseconds.
    pub bin_ms: u64,
    /// How long a stretch must be good to be called converged, in milliseconds.
    pub converged_ms: u64,
    /// The phases that are judged.
    pub phases: Vec<Phase>,
    /// The device, without load.
    pub device: Device,
    /// The loads of the rings at the beginning.
    pub rings: Vec<Load>,
    /// What changes, and when, in seconds.
    pub changes: Vec<(f64, Change)>,
    /// The largest limit.
    pub max: u32,
}

/// The names of all scenarios, in the table's order.
pub const NAMES: &[&str] = &[
    "a_nvme", "a_w16", "b_sata", "c_hdd", "c_flat", "c_strict", "d1_cloud", "d2_burst", "e1_slow", "e2_cap", "f_phase",
    "g_gc", "h_cache", "j_app", "j_open", "o_over", "n_js200", "n_js30", "g05_nvme", "g2_slow", "i2", "i4", "i8",
    "i16", "i_join",
];

/// What a scenario is about, in a few words.
#[must_use]
pub fn about(name: &str) -> &'static str {
    match name {
        "a_nvme" => "NVMe, a flood of 256 workers",
        "a_w16" => "NVMe, 16 workers",
        "b_sata" => "SATA SSD",
        "c_hdd" => "hard disk, automatic guard",
        "c_flat" => "hard disk without a queue of its own, automatic guard",
        "c_strict" => "hard disk, a guard of 10.1 ms that it cannot meet",
        "d1_cloud" => "rented volume of 3,000 a second",
        "d2_burst" => "rented volume: 15,000 a second, drained to 3,000, refilled",
        "e1_slow" => "NVMe, a neighbour takes 70 % of everything for a while",
        "e2_cap" => "NVMe, capped to 30 % for a while",
        "f_phase" => "NVMe, 4 KiB, then 1 MiB, then 4 KiB",
        "g_gc" => "NVMe that stalls 5 to 20 ms each second",
        "h_cache" => "page cache, 64 workers",
        "j_app" => "NVMe, 8 workers that think, then a flood",
        "j_open" => "NVMe, arrivals of 30,000, 60,000 and 75,000 a second",
        "o_over" => "NVMe, 1.3 times as many arrivals as it can serve",
        "n_js200" => "NVMe, the host pauses 15 to 40 ms, five times a second",
        "n_js30" => "NVMe, the host is busy 11 to 16 ms of every 30",
        "g05_nvme" => "NVMe, a guard of 0.5 ms",
        "g2_slow" => "NVMe, a guard of 2 ms, with e1's neighbour",
        "i_join" => "NVMe, a second ring joins and leaves",
        _ => "NVMe, so many rings with one controller",
    }
}

/// A phase from `from` to `to` of which the first second is for settling.
const fn phase(name: &'static str, from: f64, to: f64) -> Phase {
    Phase { name, from, to, settle: 1.0 }
}

impl Scenario {
    /// The scenario of a name, if there is one.
    ///
    /// ```
    /// use auraio_sim::scenario::{Parameters, Scenario};
    ///
    /// assert!(Scenario::named("a_nvme", &Parameters::default()).is_some());
    /// assert!(Scenario::named("z_tape", &Parameters::default()).is_none());
    /// ```
    #[must_use]
    pub fn named(name: &str, parameters: &Parameters) -> Option<Self> {
        let name = NAMES.iter().find(|known| **known == name)?;
        let mut scenario = Self::nvme_flood(name, parameters);
        match *name {
            "a_nvme" => scenario.phases = vec![phase("steady", 0.0, 8.0)],
            "a_w16" => {
                scenario.phases = vec![phase("16wk", 0.0, 5.0)];
                scenario.rings = vec![Load::workers(16)];
            }
            "b_sata" => {
                scenario.phases = vec![phase("steady", 0.0, 8.0)];
                scenario.device = sata(parameters);
            }
            "c_hdd" | "c_flat" | "c_strict" => scenario.on_hard_disk(parameters),
            "d1_cloud" | "d2_burst" => scenario.on_cloud(parameters),
            "g_gc" => {
                scenario.phases = vec![phase("gc", 0.0, 10.0)];
                scenario.changes = vec![(0.0, Change::Stalls { every_s: (0.7, 1.3), ms: (5.0, 20.0) })];
            }
            "h_cache" => {
                scenario.phases = vec![Phase { name: "hit", from: 0.0, to: 2.0, settle: 0.5 }];
                scenario.device = page_cache(parameters);
                scenario.rings = vec![Load::workers(64)];
            }
            "i2" | "i4" | "i8" | "i16" | "i_join" => scenario.with_rings(parameters),
            "j_open" | "o_over" => scenario.with_arrivals(parameters),
            "n_js200" | "n_js30" => {
                scenario.phases = vec![phase("host", 0.0, 6.0)];
                let pauses = if *name == "n_js200" {
                    Change::HostPauses { every_ms: (100.0, 300.0), ms: (15.0, 40.0) }
                } else {
                    Change::HostPauses { every_ms: (10.0, 20.0), ms: (11.0, 16.0) }
                };
                scenario.changes = vec![(0.0, pauses)];
            }
            "g05_nvme" => {
                scenario.phases = vec![phase("g0.5ms", 0.0, 8.0)];
                scenario.set_guard(Duration::from_micros(500));
            }
            _ => scenario.in_turns(parameters),
        }
        Some(scenario)
    }

    /// The NVMe disk with a flood, and nothing to judge yet.
    fn nvme_flood(name: &'static str, parameters: &Parameters) -> Self {
        Self {
            name,
            guard: None,
            guard_ns: 10e6,
            bin_ms: 50,
            converged_ms: 250,
            phases: vec![],
            device: nvme(parameters),
            rings: vec![Load::workers(parameters.workers)],
            changes: vec![],
            max: parameters.max,
        }
    }

    fn set_guard(&mut self, guard: Duration) {
        self.guard = Some(guard);
        self.guard_ns = guard.as_nanos() as f64;
    }

    fn on_hard_disk(&mut self, parameters: &Parameters) {
        (self.bin_ms, self.converged_ms) = (1_000, 4_000);
        self.device = if self.name == "c_flat" { hard_disk_flat(parameters) } else { hard_disk(parameters) };
        self.rings = vec![Load::workers(parameters.workers.min(128))];
        if self.name == "c_strict" {
            self.phases = vec![Phase { name: "strict", from: 0.0, to: 30.0, settle: 5.0 }];
            self.set_guard(Duration::from_micros(10_100));
        } else {
            self.phases = vec![Phase { name: "steady", from: 0.0, to: 60.0, settle: 5.0 }];
            self.guard_ns = 20.0 * 1e9 / HARD_DISK_ALONE / parameters.throughput;
        }
    }

    fn on_cloud(&mut self, parameters: &Parameters) {
        (self.bin_ms, self.converged_ms) = (100, 300);
        if self.name == "d1_cloud" {
            self.phases = vec![phase("capped", 0.0, 8.0)];
            self.device = cloud(3_000.0, 1.0, parameters);
            return;
        }
        let (drained, refilled) = (3.0 + parameters.shift, 7.0 + parameters.shift);
        self.phases = vec![
            phase("burst", 0.0, drained),
            phase("drained", drained, refilled),
            phase("refill", refilled, refilled + 3.0),
        ];
        self.device = cloud(15_000.0, parameters.throughput, parameters);
        self.changes = vec![
            (drained, Change::Rate(3_000.0 * parameters.throughput)),
            (refilled, Change::Rate(15_000.0 * parameters.throughput)),
        ];
    }

    fn with_rings(&mut self, parameters: &Parameters) {
        let flood = Load::workers(parameters.workers);
        let nobody = Load::workers(0);
        if self.name == "i_join" {
            self.phases = vec![phase("alone", 0.0, 4.0), phase("joined", 4.0, 9.0), phase("alone2", 9.0, 12.0)];
            self.rings = vec![flood, nobody];
            self.changes = vec![(4.0, Change::RingLoad(1, flood)), (9.0, Change::RingOff(1))];
            return;
        }
        let rings = self.name[1..].parse().unwrap_or(2);
        self.phases = vec![Phase { name: "shared", from: 0.0, to: 8.0, settle: 2.0 }];
        self.rings = vec![Load::workers(parameters.workers / rings.min(4)); rings];
    }

    fn with_arrivals(&mut self, parameters: &Parameters) {
        let open = |rate, queue| Load::Open { rate: rate * parameters.throughput, queue };
        if self.name == "o_over" {
            self.phases = vec![phase("1.3x", 0.0, 6.0)];
            self.rings = vec![open(107e3, 2_000)];
            return;
        }
        self.phases = vec![phase("p30k", 0.0, 4.0), phase("p60k", 4.0, 8.0), phase("p75k", 8.0, 12.0)];
        self.rings = vec![open(30e3, 20_000)];
        self.changes = vec![(4.0, Change::Load(open(60e3, 20_000))), (8.0, Change::Load(open(75e3, 20_000)))];
    }

    /// Scenarios in which something changes at 4 s, and in most of them changes back at 8 s.
    fn in_turns(&mut self, parameters: &Parameters) {
        let (there, back) = (4.0 + parameters.shift, 8.0 + parameters.shift);
        let three = |a, b, c| vec![phase(a, 0.0, there), phase(b, there, back), phase(c, back, back + 4.0)];
        self.phases = three("before", "noisy", "after");
        match self.name {
            "e2_cap" => {
                let cap = 0.3 * 82_400.0 * parameters.throughput;
                self.changes = vec![(there, Change::Cap(cap)), (back, Change::Cap(f64::INFINITY))];
            }
            "f_phase" => {
                self.phases = three("4k", "1M", "4k2");
                self.changes = vec![(there, Change::Size(Size::Large)), (back, Change::Size(Size::Small))];
            }
            "j_app" => {
                self.phases = vec![phase("idle8", 0.0, there), phase("flood", there, back)];
                self.rings = vec![Load::Closed { workers: 8, think_us: 200.0 }];
                self.changes = vec![(there, Change::Load(Load::workers(parameters.workers)))];
            }
            _ => {
                if self.name == "g2_slow" {
                    self.set_guard(Duration::from_millis(2));
                }
                self.changes = vec![(there, Change::Scale(0.3)), (back, Change::Scale(1.0))];
            }
        }
    }

    /// When it ends, in seconds.
    #[must_use]
    pub fn end(&self) -> f64 {
        self.phases.iter().map(|phase| phase.to).fold(0.0, f64::max)
    }
}
