//! Random programs on the simulated kernel, against a model of the files.
//!
//! A seed decides what a program does, and what the simulated kernel does to it. A program reads and writes a few files in
//! every way, up to 64 operations at once in disjoint ranges, through a port and through futures, and cancels or drops some
//! of them. Whatever the seed, five things must hold: every operation completes once, with its own buffer; no buffer is let
//! go of before its completion; no more is in flight than allowed; what is read is what was written; and all of it comes to
//! an end within a number of steps.
//!
//! A failure prints its seed. `AURAIO_SIM_SEED=7` runs that seed alone, and `AURAIO_SIM_SEEDS=100000` runs so many. Closes that
//! fail and operations that never end have programs of their own (`simulation/closes.rs`, `simulation/endless.rs`).
//!
//! The last tests break each promise on purpose, to show that the rig finds out.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test panics where something is not as it should be")]
#![allow(unsafe_code, reason = "buffers of the tests' own")]

#[path = "simulation/asked.rs"]
mod asked;
#[path = "simulation/buffers.rs"]
mod buffers;
#[path = "simulation/closes.rs"]
mod closes;
#[path = "simulation/completions.rs"]
mod completions;
#[path = "simulation/endless.rs"]
mod endless;
#[path = "simulation/rng.rs"]
mod rng;
#[path = "simulation/sabotage.rs"]
mod sabotage;
#[path = "simulation/world.rs"]
mod world;

use std::{
    fs,
    mem::ManuallyDrop,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering},
};

use auraio::{SimCounts, SimOptions};

use self::{buffers::Memory, rng::Rng, sabotage::Sabotage, world::World};

/// Programs that a plain `cargo test` runs.
const SEEDS: u64 = 1000;

/// Operations of one program.
const OPERATIONS: u64 = 400;

const FILES: usize = 3;
const FILE_BYTES: usize = 64 << 10;
const IN_FLIGHT_MAX: usize = 64;

/// Steps after the last operation within which all must have completed: far more than any delay adds up to.
const STEPS_MAX: u32 = 100_000;

/// More than is ever in flight here, shared among more rings than there ever are.
const UNBOUNDED: u32 = 65_536;

/// Keeps the thread on one core, so that it stays on one ring and a seed means the same each time.
fn pin() {
    // SAFETY: plain bits; the kernel reads no further than their size.
    unsafe {
        let cpu = usize::try_from(libc::sched_getcpu()).unwrap();
        let mut one: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut one);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const one);
    }
}

/// Only one program runs at a time, because the rings of another would share the lanes of this one's files.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A directory in memory, if there is one.
fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in(if fs::exists("/dev/shm").unwrap() { "/dev/shm" } else { "/tmp" }).unwrap()
}

/// What the simulated kernel does to the program of a seed.
fn options_of(seed: u64) -> SimOptions {
    let mut rng = Rng(seed ^ 0x5eed);
    let mut options = SimOptions::new(seed);
    options.submission_entries = [32, 64, 256][rng.below(3) as usize];
    match rng.below(6) {
        0 => options.failure = 0.03,
        1 => {
            options.reorder = 1.0;
            options.delay = 1.0;
            options.delay_steps_max = 40;
        }
        2 => {
            options.eagain = 0.3;
            options.eintr = 0.3;
        }
        3 => options.refuse_for_good_after = Some(rng.below(200)),
        4 => {
            options.ecanceled = 0.2;
            options.cq_overflow = 0.5;
            options.partial_submit = 0.7;
            options.refuse_submit = 0.5;
        }
        _ => options.short_io = 0.5,
    }
    options
}

/// Runs the program of a seed; answers what was observed, and what the kernel did.
fn run(seed: u64, options: &SimOptions, sabotage: Sabotage) -> (u64, SimCounts) {
    let _alone = alone();
    pin();
    let dir = directory();
    // A simulated kernel that has panicked completes nothing any more, so what is left of a failed program is leaked
    // rather than waited for.
    let mut world = ManuallyDrop::new(World::new(seed, options, sabotage, dir.path()));
    // Inside block_on no thread of the engine's own takes part, which would make the history depend on the scheduler.
    let outside = world.engine.clone();
    outside.block_on(async {
        while world.next < OPERATIONS {
            world.step();
        }
        world.settle();
        world.finish();
    });
    let history = world.history;
    drop(outside);
    drop(ManuallyDrop::into_inner(world));
    let counts = options.injected();
    assert_eq!(counts.dropped_in_flight, 0, "seed {seed}: something was in flight when its ring went");
    (history, counts)
}

#[test]
fn whatever_the_seed_every_promise_is_kept() {
    let number = |name| std::env::var(name).ok().and_then(|value: String| value.parse::<u64>().ok());
    let seeds = match number("AURAIO_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("AURAIO_SIM_SEEDS").unwrap_or(SEEDS),
    };
    let whole = seeds.end - seeds.start >= 100;
    let mut sum = SimCounts::default();
    for seed in seeds {
        let caught = std::panic::catch_unwind(|| run(seed, &options_of(seed), Sabotage::None).1);
        let Ok(counts) = caught else { panic!("seed {seed} fails; run it alone with AURAIO_SIM_SEED={seed}") };
        sum.short_io += counts.short_io;
        sum.eagain += counts.eagain;
        sum.eintr += counts.eintr;
        sum.ecanceled += counts.ecanceled;
        sum.failures += counts.failures;
        sum.partial_submits += counts.partial_submits;
        sum.refused_submits += counts.refused_submits;
        sum.cancelled += counts.cancelled;
        sum.cancels_late += counts.cancels_late;
        sum.overflowed += counts.overflowed;
        sum.reordered += counts.reordered;
    }
    println!("{sum:?}");
    if whole {
        let faults = [sum.short_io, sum.eagain, sum.eintr, sum.ecanceled, sum.failures, sum.partial_submits];
        let others = [sum.refused_submits, sum.cancelled, sum.cancels_late, sum.overflowed, sum.reordered];
        assert!(faults.iter().chain(&others).all(|count| *count > 0), "a fault never happened: {sum:?}");
    }
}

#[test]
fn a_seed_gives_the_same_history_each_time() {
    for seed in [1, 2, 3, 4, 6, 8] {
        let mut options = SimOptions::new(seed);
        // What goes to the helper's real threads comes back when they are done, which no seed decides.
        (options.ecanceled, options.eagain, options.eintr) = (0.0, 0.0, 0.0);
        let first = run(seed, &options, Sabotage::None);
        let mut again = SimOptions::new(seed);
        (again.ecanceled, again.eagain, again.eintr) = (0.0, 0.0, 0.0);
        assert_eq!(first, run(seed, &again, Sabotage::None), "seed {seed}");
    }
}

/// A kernel that leaves everything in flight for a while.
fn slow(seed: u64) -> SimOptions {
    let mut options = SimOptions::calm(seed);
    options.delay = 1.0;
    options.delay_steps_max = 50;
    options
}

#[test]
#[should_panic(expected = "its target was written to by somebody else")]
fn the_rig_finds_memory_of_a_read_that_somebody_else_writes_to() {
    run(1, &slow(1), Sabotage::TouchTarget);
}

#[test]
#[should_panic(expected = "its source was written to by somebody else")]
fn the_rig_finds_memory_of_a_write_that_changes() {
    run(1, &slow(1), Sabotage::TouchSource);
}

#[test]
#[should_panic(expected = "its target was written to by somebody else")]
fn the_rig_finds_a_buffer_that_is_freed_in_flight() {
    run(2, &slow(2), Sabotage::FreeEarly);
}

#[test]
#[should_panic(expected = "seed 3")]
fn the_rig_finds_a_file_that_is_not_what_was_written() {
    run(3, &slow(3), Sabotage::CorruptFile);
}

#[test]
#[should_panic(expected = "seed 4")]
fn the_rig_finds_a_completion_that_gets_lost() {
    run(4, &slow(4), Sabotage::LoseCompletion);
}

#[test]
#[should_panic(expected = "but it is not under way")]
fn the_rig_finds_a_completion_that_comes_twice() {
    run(5, &slow(5), Sabotage::RepeatCompletion);
}

#[test]
fn the_rig_counts_a_buffer_that_goes_before_it_may() {
    let memory = Memory::default();
    drop(memory.buffer(&[1; 8], &Arc::default()));
    assert_eq!(memory.early.load(Ordering::SeqCst), 1);
}
