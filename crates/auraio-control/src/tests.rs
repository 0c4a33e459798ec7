//! The controller against a simple disk, and against samples that no disk would give.

use std::{collections::VecDeque, time::Duration};

use super::{Bounds, Controller, Decision, Guard, Phase, Policy, Reason, Sample, Settings};

const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1_000_000_000;
const HOUR: u64 = 3_600 * SECOND;

/// A small generator (xorshift64*), so that a seed gives the same run anywhere.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn bits(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.bits() % end
    }

    fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// A disk that does up to 16 operations at once, each in 200 us; more only wait. Its knee is at 16 and 80,000 a second.
struct Disk {
    controller: Controller,
    random: Random,
    now: u64,
    /// What is added to the time that samples bear, and whether every second one is reported late.
    shift: i64,
    disorder: u64,
    /// Operations at once at most, and how long one takes in nanoseconds.
    at_once: u64,
    service: u64,
    in_flight: VecDeque<(u64, u32)>,
    workers: u32,
    work: f32,
    decisions: Vec<Decision>,
}

impl Disk {
    fn new(settings: Settings) -> Self {
        Self {
            controller: Controller::new(settings),
            random: Random::new(7),
            now: HOUR,
            shift: 0,
            disorder: 0,
            at_once: 16,
            service: 200_000,
            in_flight: VecDeque::new(),
            workers: 256,
            work: 1.0625,
            decisions: vec![],
        }
    }

    fn refill(&mut self) {
        while (self.in_flight.len() as u32) < self.controller.limit().min(self.workers) {
            self.in_flight.push_back((self.now, self.in_flight.len() as u32 + 1));
        }
    }

    /// The time from one completion to the next: exponential about its mean would be a disk at its worst; this varies by half.
    fn gap(&mut self) -> u64 {
        let at_once = self.at_once.min(self.in_flight.len() as u64).max(1);
        ((self.service / at_once) as f64 * (0.25 + 1.5 * self.random.unit())) as u64
    }

    /// Completes the oldest operation after `gap`, unseen for so long.
    fn complete(&mut self, gap: u64, unseen: u64) {
        self.refill();
        self.now += gap;
        let (submitted, in_flight_then) = self.in_flight.pop_front().expect("the limit is at least 1");
        let in_flight = self.in_flight.len() as u32;
        let late = if self.random.below(2) == 0 { self.disorder } else { 0 };
        let given = |time: u64| time.saturating_add_signed(self.shift) - late;
        self.controller.on_completion(&Sample {
            now: given(self.now),
            submitted: given(submitted),
            in_flight,
            waiting: self.workers - in_flight - 1,
            unseen,
            in_flight_then,
            work: self.work,
        });
        let Bounds { min, max } = self.controller.settings().bounds;
        assert!((min..=max).contains(&self.controller.limit()));
        self.decisions.extend(std::iter::from_fn(|| self.controller.next_decision()));
    }

    fn run(&mut self, time: u64) {
        let end = self.now + time;
        while self.now < end {
            self.refill();
            let gap = self.gap();
            self.complete(gap, 0);
        }
    }

    fn set(&mut self, settings: Settings) {
        self.controller.set(settings, self.now.saturating_add_signed(self.shift));
    }

    /// The limit that it found: during a test another one is in force.
    fn found(&self) -> u32 {
        self.decisions.last().expect("it has decided something").to
    }

    fn assert_at_the_knee(&self) {
        assert!((12..=20).contains(&self.found()), "{} is not near 16", self.found());
    }

    fn told(&self, reason: Reason) -> usize {
        self.decisions.iter().filter(|decision| decision.reason == reason).count()
    }
}

fn knee() -> Settings {
    Settings { bounds: Bounds { min: 1, max: 256 }, ..Settings::default() }
}

#[test]
fn the_knee_of_a_simple_disk_is_found_within_a_second() {
    let mut disk = Disk::new(knee());
    disk.run(SECOND);
    disk.assert_at_the_knee();
    assert_eq!(disk.controller.cuts(), 0);
    disk.run(20 * SECOND);
    disk.assert_at_the_knee();
}

#[test]
fn a_disk_that_changes_is_searched_anew() {
    let mut disk = Disk::new(knee());
    disk.run(SECOND);
    disk.at_once = 64;
    disk.run(2 * SECOND);
    assert!((48..=80).contains(&disk.found()), "{}", disk.found());
    disk.at_once = 4;
    disk.run(2 * SECOND);
    assert!((3..=6).contains(&disk.found()), "{}", disk.found());
}

#[test]
fn a_fixed_limit_is_fixed() {
    let mut disk = Disk::new(Settings { policy: Policy::Fixed(100), ..knee() });
    disk.service = 100 * MILLISECOND;
    disk.run(10 * SECOND);
    assert_eq!((disk.controller.limit(), disk.controller.phase(), disk.controller.cuts()), (100, Phase::Fixed, 0));
}

#[test]
fn aimd_ends_at_the_largest_limit_while_nothing_is_late() {
    let mut disk = Disk::new(Settings { policy: Policy::Aimd, ..knee() });
    disk.run(SECOND);
    let after_a_second = disk.controller.limit();
    assert!((90..=110).contains(&after_a_second), "{after_a_second}");
    disk.run(3 * SECOND);
    assert_eq!((disk.controller.limit(), disk.controller.cuts()), (256, 0));
}

#[test]
fn aimd_does_not_grow_when_the_limit_is_not_in_use() {
    let mut disk = Disk::new(Settings { policy: Policy::Aimd, ..knee() });
    disk.workers = 6;
    disk.run(3 * SECOND);
    assert_eq!(disk.controller.limit(), 8);
}

#[test]
fn both_laws_cut_when_the_guard_is_passed() {
    for policy in [Policy::Aimd, Policy::Knee] {
        let mut disk = Disk::new(Settings { policy, ..knee() });
        disk.run(4 * SECOND);
        let before = disk.controller.limit();
        disk.service = 40 * MILLISECOND;
        disk.run(2 * SECOND);
        assert!(disk.controller.cuts() > 0, "{policy:?}");
        assert!(disk.controller.limit() <= before / 2, "{policy:?}: {} of {before}", disk.controller.limit());
    }
}

#[test]
fn a_lone_reader_needs_no_more_than_one() {
    let mut disk = Disk::new(knee());
    disk.workers = 1;
    disk.run(5 * SECOND);
    assert_eq!((disk.controller.limit(), disk.decisions.len()), (1, 0));
}

#[test]
fn a_clock_that_stands_still_moves_nothing() {
    for policy in [Policy::Knee, Policy::Aimd] {
        let mut disk = Disk::new(Settings { policy, ..knee() });
        (0..100_000).for_each(|_| disk.complete(0, 0));
        assert!(disk.controller.limit() <= 8, "{policy:?}: {}", disk.controller.limit());
    }
}

#[test]
fn a_clock_that_leaps_by_hours_is_survived() {
    let mut disk = Disk::new(knee());
    disk.run(SECOND);
    for leap in [2 * HOUR, 0, 5 * HOUR, HOUR] {
        disk.shift = leap as i64 - HOUR as i64 / 2;
        disk.run(3 * SECOND);
        disk.assert_at_the_knee();
    }
    assert_eq!(disk.controller.cuts(), 0);
}

#[test]
fn samples_of_several_rings_may_be_out_of_order() {
    let mut disk = Disk::new(knee());
    disk.disorder = 100_000;
    disk.run(3 * SECOND);
    disk.assert_at_the_knee();
}

#[test]
fn a_device_that_stops_for_30_s_is_no_reason_to_cut() {
    for policy in [Policy::Knee, Policy::Aimd] {
        let mut disk = Disk::new(Settings { policy, ..knee() });
        disk.run(2 * SECOND);
        let before = disk.controller.limit();
        disk.complete(30 * SECOND, 0);
        disk.run(100 * MILLISECOND);
        assert_eq!(disk.controller.cuts(), 0, "{policy:?}");
        assert!(disk.controller.limit() + 1 >= before / 2, "{policy:?}");
    }
}

#[test]
fn a_host_that_is_away_is_no_reason_to_cut() {
    for policy in [Policy::Knee, Policy::Aimd] {
        let mut disk = Disk::new(Settings { policy, ..knee() });
        disk.run(SECOND);
        for _ in 0..50 {
            disk.run(20 * MILLISECOND);
            disk.refill();
            let unreaped = disk.in_flight.len();
            disk.complete(30 * MILLISECOND, 30 * MILLISECOND);
            (1..unreaped).for_each(|_| disk.complete(0, 30 * MILLISECOND));
        }
        assert_eq!(disk.controller.cuts(), 0, "{policy:?}");
    }
}

#[test]
fn one_huge_operation_among_small_ones_decides_nothing() {
    let mut disk = Disk::new(knee());
    disk.run(2 * SECOND);
    let before = disk.found();
    for _ in 0..20 {
        disk.work = 1.0 + 16_384.0;
        disk.complete(200_000, 0);
        disk.work = 1.0625;
        disk.run(500 * MILLISECOND);
    }
    assert_eq!((disk.told(Reason::Mix), disk.told(Reason::Drop), disk.told(Reason::Rise)), (0, 0, 0));
    assert_eq!(disk.controller.cuts(), 0);
    disk.assert_at_the_knee();
    assert!(disk.found().abs_diff(before) <= 4);
}

#[test]
fn other_sizes_begin_a_new_climb() {
    let mut disk = Disk::new(knee());
    disk.work = 17.0;
    disk.service = MILLISECOND;
    disk.at_once = 2;
    disk.run(5 * SECOND);
    assert!(disk.found() <= 6, "{}", disk.found());
    (disk.work, disk.service, disk.at_once) = (1.0625, 200_000, 16);
    disk.run(SECOND);
    disk.assert_at_the_knee();
}

#[test]
fn an_infeasible_guard_is_told_and_not_chased() {
    for policy in [Policy::Knee, Policy::Aimd] {
        let settings = Settings { policy, guard: Guard::At(Duration::from_micros(20)), ..knee() };
        let mut disk = Disk::new(settings);
        disk.run(5 * SECOND);
        assert!(disk.controller.is_infeasible(), "{policy:?}");
        assert_eq!(disk.controller.limit(), 1, "{policy:?}");
        assert!(disk.controller.cuts() <= 8, "{policy:?}: {} cuts", disk.controller.cuts());
        assert_eq!(disk.told(Reason::Infeasible), 1, "{policy:?}");
        disk.set(Settings { guard: Guard::Auto, ..settings });
        disk.run(3 * SECOND);
        assert!(!disk.controller.is_infeasible(), "{policy:?}");
        assert!(disk.controller.limit() >= 12, "{policy:?}: {}", disk.controller.limit());
    }
}

#[test]
fn the_automatic_guard_follows_a_slow_disk() {
    let mut disk = Disk::new(knee());
    assert_eq!(disk.controller.guard_ns(), 10 * MILLISECOND);
    disk.service = 13 * MILLISECOND;
    disk.run(30 * SECOND);
    let guard = disk.controller.guard_ns();
    assert!((200 * MILLISECOND..320 * MILLISECOND).contains(&guard), "{guard}");
    assert!(!disk.controller.is_infeasible());
}

#[test]
fn settings_change_under_load() {
    let mut disk = Disk::new(knee());
    disk.run(2 * SECOND);
    disk.set(Settings { bounds: Bounds { min: 1, max: 6 }, ..knee() });
    assert!(disk.controller.limit() <= 6);
    disk.run(SECOND);
    assert_eq!(disk.found(), 6);
    disk.set(Settings { policy: Policy::Aimd, bounds: Bounds { min: 10, max: 200 }, ..knee() });
    assert_eq!(disk.controller.limit(), 10);
    disk.run(SECOND);
    assert!(disk.controller.limit() > 90);
    disk.set(Settings { policy: Policy::Fixed(64), ..knee() });
    assert_eq!(disk.controller.limit(), 64);
    disk.run(SECOND);
    disk.set(knee());
    assert_eq!((disk.controller.limit(), disk.controller.phase()), (64, Phase::Hold));
    disk.run(3 * SECOND);
    disk.assert_at_the_knee();
    assert_eq!(disk.told(Reason::Set), 4);
}

#[test]
fn settings_that_cannot_be_obeyed_are_refused() {
    let refused = [
        Settings { guard: Guard::At(Duration::ZERO), ..knee() },
        Settings { bounds: Bounds { min: 0, max: 8 }, ..knee() },
        Settings { bounds: Bounds { min: 9, max: 8 }, ..knee() },
        Settings { policy: Policy::Fixed(0), ..knee() },
        Settings { policy: Policy::Fixed(65_537), ..knee() },
    ];
    for settings in refused {
        assert!(matches!(settings.check(), Err(crate::InvalidSettings(_))), "{settings:?}");
    }
    assert_eq!(knee().check(), Ok(()));
}

/// A number with as many bits as chance will have, so that tiny, usual and huge ones all come.
fn any(random: &mut Random) -> u64 {
    let shift = random.below(64) as u32;
    random.bits() >> shift
}

fn any_settings(random: &mut Random) -> Settings {
    let policy = match random.below(4) {
        0 => Policy::Fixed(any(random) as u32),
        1 => Policy::Aimd,
        _ => Policy::Knee,
    };
    let guard = if random.below(2) == 0 {
        Guard::Auto
    } else {
        Guard::At(Duration::new(any(random), random.below(1_000) as u32))
    };
    Settings { policy, guard, bounds: Bounds { min: any(random) as u32, max: any(random) as u32 } }
}

fn any_sample(random: &mut Random, now: u64) -> Sample {
    let any_work = [1.0, 17.0, 16_385.0, 0.0, -5.0, f32::NAN, f32::INFINITY, f32::MAX, f32::MIN_POSITIVE];
    Sample {
        now,
        submitted: if random.below(8) == 0 { any(random) } else { now.saturating_sub(any(random) >> 34) },
        in_flight: if random.below(8) == 0 { u32::MAX } else { any(random) as u32 >> 20 },
        waiting: if random.below(8) == 0 { any(random) as u32 } else { 64 },
        unseen: if random.below(4) == 0 { any(random) } else { 0 },
        in_flight_then: if random.below(4) == 0 { 1 } else { any(random) as u32 },
        work: any_work[random.below(any_work.len() as u64) as usize],
    }
}

/// Whatever it is told, the limit is within the bounds, and what it tells are numbers.
fn storm(seed: u64, steps: u32) {
    let mut random = Random::new(seed);
    let mut controller = Controller::new(any_settings(&mut random));
    let mut now = any(&mut random);
    for step in 0..steps {
        now = match random.below(1_000) {
            0 => any(&mut random),
            1 => now.saturating_add(HOUR),
            2..=99 => now.saturating_sub(any(&mut random) >> 40),
            _ => now.saturating_add(any(&mut random) >> 44),
        };
        if random.below(3_000) == 0 {
            controller.set(any_settings(&mut random), now);
        }
        controller.on_completion(&any_sample(&mut random, now));
        let bounds = controller.settings().bounds.sound();
        let limit = controller.limit();
        assert!((bounds.min..=bounds.max).contains(&limit), "seed {seed}, step {step}: {limit} is not in {bounds:?}");
        assert!(controller.guard_ns() > 0, "seed {seed}, step {step}");
        if let Some(decision) = controller.next_decision() {
            let numbers = [decision.throughput, decision.gain, decision.threshold, decision.error];
            assert!(numbers.iter().all(|number| number.is_finite()), "seed {seed}, step {step}: {decision:?}");
            assert!(bounds.min <= decision.to && decision.to <= bounds.max, "seed {seed}, step {step}: {decision:?}");
        }
    }
}

#[test]
fn whatever_it_is_told_the_limit_is_within_the_bounds() {
    use std::hash::{BuildHasher, Hasher};
    let fresh = std::collections::hash_map::RandomState::new().build_hasher().finish();
    for seed in (1..=20).chain([fresh]) {
        println!("seed {seed}");
        storm(seed, 30_000);
    }
}
