//! The promises of lanes: all rings together have no more in flight than the limit; no operation is lost or performed twice when
//! settings change; classes are served in order; an operation that waits can be cancelled at once.
//!
//! Lanes, and the wishes that set them, belong to the process. So one test runs at a time.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic, and says what it skips")]

use std::{
    collections::HashSet,
    fs,
    path::PathBuf,
    sync::{Barrier, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use auraio::{
    BackendChoice, Builder, Completion, Engine, File, HistogramKind, LaneMode, LaneStats, OpenOptions, Operation, Port,
    Routing, SimOptions,
    control::{Guard, Policy, Priority},
    op,
};
use tempfile::TempDir;

const BLOCK: usize = 4096;
const BLOCKS: usize = 64;

fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Every backend that is available here.
fn backends() -> Vec<(&'static str, Builder)> {
    let mut calm = SimOptions::calm(11);
    calm.short_io = 0.0;
    let all = [("uring", BackendChoice::Uring), ("threads", BackendChoice::Threads), ("sim", BackendChoice::Sim(calm))];
    let built = all.map(|(name, choice)| (name, Engine::builder().backend(choice).routing(Routing::Thread)));
    let there = |(name, builder): &(&str, Builder)| match builder.clone().build() {
        Ok(_) => true,
        Err(reason) => {
            println!("skipped on {name}: {reason}");
            false
        }
    };
    built.into_iter().filter(there).collect()
}

/// A file of which each block begins with its own number.
fn data() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir_in(".").unwrap();
    let path = dir.path().join("data");
    let mut bytes = vec![0; BLOCK * BLOCKS];
    for (number, block) in bytes.chunks_mut(BLOCK).enumerate() {
        block[0] = number as u8;
    }
    fs::write(&path, bytes).unwrap();
    fs::File::open(&path).unwrap().sync_all().unwrap();
    (dir, path)
}

/// The file, opened for direct I/O, if its file system can do that.
fn direct(engine: &Engine, path: &PathBuf) -> Option<File> {
    match engine.block_on(engine.open(path, OpenOptions::new().read(true).write(true).direct(true))) {
        Ok(file) => Some(file),
        Err(reason) => {
            println!("skipped: the file system has no O_DIRECT: {reason}");
            None
        }
    }
}

fn lane(engine: &Engine, file: &File) -> LaneStats {
    let id = file.lane().unwrap();
    engine.stats().lanes.into_iter().find(|lane| lane.id == id).unwrap()
}

fn read(engine: &Engine, file: &File, number: usize) -> op::Read<auraio::Block> {
    op::Read::at(file, engine.acquire(BLOCK).unwrap(), (number * BLOCK) as u64)
}

fn check(completion: Completion) -> u64 {
    let token = completion.token();
    let (read, block) = completion.into_output::<op::Read<auraio::Block>>();
    assert_eq!(read.unwrap(), BLOCK);
    assert_eq!(block[0], token as u8, "the bytes of another block");
    token
}

fn drain(port: &mut Port) -> Vec<u64> {
    let mut completions = Vec::new();
    while port.outstanding() > 0 {
        port.wait(&mut completions, None);
    }
    completions.into_iter().map(check).collect()
}

#[test]
fn no_more_than_the_limit_is_in_flight_and_the_rest_waits_in_order() {
    let _turn = turn();
    for (name, builder) in backends() {
        let (_dir, path) = data();
        let engine = builder.policy(Policy::Fixed(3)).build().unwrap();
        let Some(file) = direct(&engine, &path) else { continue };
        let mut port = engine.port().unwrap();
        for number in 0..BLOCKS {
            port.submit(read(&engine, &file, number), number as u64);
        }
        port.flush();
        let now = lane(&engine, &file);
        assert_eq!((now.policy, now.in_flight_limit, now.mode), ("fixed", 3, LaneMode::Direct), "{name}");
        assert_eq!((now.in_flight, now.queued), (3, BLOCKS as u32 - 3), "{name}");
        let mut order = drain(&mut port);
        let count = order.len();
        order.sort_unstable();
        order.dedup();
        assert_eq!((count, order.len()), (BLOCKS, BLOCKS), "{name}: each once");
        let after = lane(&engine, &file);
        assert_eq!((after.in_flight, after.queued), (0, 0), "{name}");
    }
}

#[test]
fn the_rings_of_several_threads_share_one_limit() {
    let _turn = turn();
    for (name, builder) in backends() {
        let (_dir, path) = data();
        let engine = builder.policy(Policy::Fixed(8)).build().unwrap();
        let Some(file) = direct(&engine, &path) else { continue };
        let (most, together) = (Mutex::new(0), Barrier::new(4));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut port = engine.port().unwrap();
                    for _ in 0..20 {
                        for number in 0..BLOCKS {
                            port.submit(read(&engine, &file, number), number as u64);
                        }
                        port.flush();
                        // A completed operation counts until it is reaped, so the count does not change between these two.
                        if together.wait().is_leader() {
                            let now = lane(&engine, &file).in_flight;
                            let mut most = most.lock().unwrap();
                            *most = now.max(*most);
                        }
                        together.wait();
                        assert_eq!(drain(&mut port).len(), BLOCKS);
                    }
                });
            }
        });
        // Each ring may always have one in flight, also while places under the limit go from one ring to another.
        let most = most.into_inner().unwrap();
        assert!((1..=8 + 4).contains(&most), "{name}: {most} in flight");
    }
}

#[test]
fn a_waiting_operation_is_cancelled_at_once_and_one_in_flight_completes() {
    let _turn = turn();
    for (name, builder) in backends() {
        let (_dir, path) = data();
        let engine = builder.policy(Policy::Fixed(1)).build().unwrap();
        let Some(file) = direct(&engine, &path) else { continue };
        let mut port = engine.port().unwrap();
        let tickets: Vec<_> =
            (0..BLOCKS).map(|number| port.submit(read(&engine, &file, number), number as u64)).collect();
        port.flush();
        let before = lane(&engine, &file).completed;
        for ticket in &tickets[1..] {
            port.cancel(*ticket);
        }
        let (mut completions, mut cancelled) = (Vec::new(), 0);
        while port.outstanding() > 0 {
            port.wait(&mut completions, None);
        }
        for completion in completions {
            let (outcome, _) = completion.into_output::<op::Read<auraio::Block>>();
            match outcome {
                Ok(read) => assert_eq!(read, BLOCK),
                Err(error) => {
                    assert_eq!(error, auraio::Error::Cancelled, "{name}");
                    cancelled += 1;
                }
            }
        }
        // The first was in flight. It may have completed while the second was cancelled, so the second may have been started.
        assert!(cancelled >= BLOCKS - 2, "{name}: {cancelled}");
        assert!(lane(&engine, &file).completed <= before + 2, "{name}");
    }
}

#[test]
fn waiting_operations_of_high_priority_go_first_and_those_of_low_last() {
    let _turn = turn();
    // The threads complete operations in no fixed order, and the simulated kernel in any order.
    for (name, builder) in backends().into_iter().filter(|(name, _)| *name == "uring") {
        let (_dir, path) = data();
        let engine = builder.policy(Policy::Fixed(1)).build().unwrap();
        let Some(file) = direct(&engine, &path) else { continue };
        let mut port = engine.port().unwrap();
        port.submit(read(&engine, &file, 0), 0);
        for number in 1..11 {
            port.submit(read(&engine, &file, number).with_priority(Priority::Low), number as u64);
        }
        for number in 11..16 {
            port.submit(read(&engine, &file, number).with_priority(Priority::High), number as u64);
        }
        assert_eq!(drain(&mut port)[..6], [0, 11, 12, 13, 14, 15], "{name}");
        let [high, normal, low] = lane(&engine, &file).by_class;
        assert!(high.completed >= 5 && normal.completed >= 1 && low.completed >= 10, "{name}");
    }
}

#[test]
fn operations_have_the_class_of_their_file() {
    let _turn = turn();
    for (name, builder) in backends() {
        let (_dir, path) = data();
        let engine = builder.priority(Priority::Low).build().unwrap();
        let Some(file) = direct(&engine, &path) else { continue };
        let before = lane(&engine, &file).by_class;
        let (one, _) = engine.block_on(file.read_at(engine.acquire(BLOCK).unwrap(), 0));
        file.set_priority(Priority::High);
        let (other, _) = engine.block_on(file.read_at(engine.acquire(BLOCK).unwrap(), 0));
        assert_eq!((one.unwrap(), other.unwrap()), (BLOCK, BLOCK));
        let after = lane(&engine, &file).by_class;
        let more = [0, 1, 2].map(|class: usize| after[class].completed - before[class].completed);
        assert_eq!(more, [1, 0, 1], "{name}");
    }
}

#[test]
fn a_read_from_the_page_cache_needs_no_place_on_a_lane() {
    let _turn = turn();
    let (_dir, path) = data();
    fs::read(&path).unwrap();
    let Ok(engine) =
        Engine::builder().backend(BackendChoice::Uring).routing(Routing::Thread).policy(Policy::Fixed(1)).build()
    else {
        println!("skipped: io_uring is not available here");
        return;
    };
    let file = engine.block_on(engine.open(&path, OpenOptions::new().read(true))).unwrap();
    let mut port = engine.port().unwrap();
    let before = lane(&engine, &file);
    for number in 0..BLOCKS {
        port.submit(read(&engine, &file, number), number as u64);
    }
    port.flush();
    let waiting = lane(&engine, &file).queued;
    assert_eq!(waiting, 0, "reads that the page cache has wait for a place");
    assert_eq!(drain(&mut port).len(), BLOCKS);
    // The ring reports the last few operations together with the next.
    let more = engine.block_on(file.read_at(engine.acquire(BLOCK).unwrap(), 0)).0.unwrap();
    assert_eq!(more, BLOCK);
    let after = lane(&engine, &file);
    assert!(after.completed - before.completed <= 2, "{after:?}");
}

#[test]
fn every_operation_is_performed_once_while_settings_change_under_load() {
    let _turn = turn();
    for (name, builder) in backends() {
        let (_dir, path) = data();
        let engine = builder.build().unwrap();
        let Some(file) = direct(&engine, &path) else { continue };
        let mut port = engine.port().unwrap();
        let mut seen = HashSet::new();
        let mut completions = Vec::new();
        let policies = [Policy::Knee, Policy::Fixed(1), Policy::Aimd, Policy::Fixed(40), Policy::Knee];
        for round in 0..50_u64 {
            for number in 0..BLOCKS as u64 {
                port.submit(read(&engine, &file, number as usize), round << 32 | number);
            }
            port.flush();
            engine.set_policy(policies[round as usize % policies.len()]).unwrap();
            let (min, max) = [(1, 64), (3, 3), (2, 900)][round as usize % 3];
            engine.set_in_flight(min, max).unwrap();
            let guard = [Guard::Auto, Guard::At(Duration::from_nanos(1)), Guard::At(Duration::from_secs(9))];
            engine.set_guard(guard[round as usize % 3]).unwrap();
            let now = lane(&engine, &file);
            assert!((min..=max).contains(&now.in_flight_limit), "{name}: {now:?}");
            port.poll(&mut completions);
            for completion in completions.drain(..) {
                let token = completion.token();
                let (read, block) = completion.into_output::<op::Read<auraio::Block>>();
                assert_eq!((read.unwrap(), block[0]), (BLOCK, token as u8), "{name}");
                assert!(seen.insert(token), "{name}: {token:x} twice");
            }
        }
        while port.outstanding() > 0 {
            port.wait(&mut completions, None);
        }
        assert!(completions.drain(..).all(|completion| seen.insert(completion.token())), "{name}: one twice");
        assert_eq!(seen.len(), 50 * BLOCKS, "{name}");
    }
}

#[test]
fn a_guard_that_no_device_can_keep_is_reported_and_does_not_hang() {
    let _turn = turn();
    for (name, builder) in backends() {
        let (_dir, path) = data();
        let engine = builder.guard_p99(Duration::from_nanos(1)).build().unwrap();
        let Some(file) = direct(&engine, &path) else { continue };
        let mut port = engine.port().unwrap();
        for round in 0..40 {
            for number in 0..BLOCKS {
                port.submit(read(&engine, &file, number), number as u64);
            }
            assert_eq!(drain(&mut port).len(), BLOCKS, "{name}, round {round}");
        }
        assert!(lane(&engine, &file).in_flight_limit >= 1, "{name}");
    }
}

#[test]
fn the_strictest_guard_is_in_force_as_long_as_its_engine_or_file_is_open() {
    let _turn = turn();
    let (_dir, path) = data();
    let engine = Engine::builder().guard_p99(Duration::from_millis(20)).build().unwrap();
    let file = engine.block_on(engine.open(&path, OpenOptions::new().read(true))).unwrap();
    let guard = || lane(&engine, &file).guard_p99_ms;
    let other = engine.block_on(engine.open(&path, OpenOptions::new().read(true))).unwrap();
    other.set_guard(Some(Duration::from_millis(3))).unwrap();
    assert!((guard() - 3.0).abs() < 1e-9);
    engine.set_guard(Guard::At(Duration::from_millis(2))).unwrap();
    assert!((guard() - 2.0).abs() < 1e-9);
    engine.set_guard(Guard::At(Duration::from_millis(30))).unwrap();
    assert!((guard() - 3.0).abs() < 1e-9);
    other.set_guard(None).unwrap();
    assert!((guard() - 30.0).abs() < 1e-9);
    other.set_guard(Some(Duration::from_millis(5))).unwrap();
    engine.block_on(other.close()).unwrap();
    assert!((guard() - 30.0).abs() < 1e-9, "a closed file has no wishes");
}

#[test]
fn decisions_and_histograms_of_a_lane_can_be_read() {
    let _turn = turn();
    for (name, builder) in backends() {
        let (_dir, path) = data();
        let engine = builder.build().unwrap();
        let Some(file) = direct(&engine, &path) else { continue };
        let before = engine.decisions_so_far();
        engine.set_policy(Policy::Fixed(7)).unwrap();
        let decided = engine.decisions(before);
        let mine = decided.iter().find(|decided| Some(decided.lane) == file.lane()).expect(name);
        assert_eq!(mine.decision.to, 7, "{name}");
        let count = |kind| engine.histogram(file.lane().unwrap(), kind).unwrap().len();
        let counts = [count(HistogramKind::Completion), count(HistogramKind::Total)];
        let (read, _) = engine.block_on(file.read_at(engine.acquire(BLOCK).unwrap(), 0));
        assert_eq!(read.unwrap(), BLOCK);
        assert_eq!(
            [count(HistogramKind::Completion), count(HistogramKind::Total)],
            counts.map(|count| count + 1),
            "{name}"
        );
    }
}

#[test]
fn under_a_limit_that_binds_every_fault_of_the_kernel_reaches_one_operation_once() {
    let _turn = turn();
    for seed in 1..=24 {
        println!("seed {seed}");
        let (_dir, path) = data();
        let limit = 1 + seed as u32 % 5;
        let engine = Engine::builder()
            .backend(BackendChoice::Sim(SimOptions::new(seed)))
            .routing(if seed % 2 == 0 { Routing::Core } else { Routing::Thread })
            .policy(Policy::Fixed(limit))
            .build()
            .unwrap();
        let buffered = engine.block_on(engine.open(&path, OpenOptions::new().read(true))).unwrap();
        let mut port = engine.port().unwrap();
        let (mut seen, mut completions) = (HashSet::new(), Vec::new());
        for round in 0..8_u64 {
            let mut tickets = Vec::new();
            for number in 0..BLOCKS as u64 {
                let class = Priority::ALL[(number % 3) as usize];
                let read = op::Read::at(&buffered, vec![0; BLOCK], number * BLOCK as u64).with_priority(class);
                tickets.push(port.submit(read, round << 32 | number));
            }
            port.flush();
            for ticket in tickets.iter().step_by(5) {
                port.cancel(*ticket);
            }
            port.poll(&mut completions);
            while port.outstanding() > BLOCKS {
                port.wait(&mut completions, None);
            }
        }
        while port.outstanding() > 0 {
            port.wait(&mut completions, None);
        }
        for completion in completions {
            let token = completion.token();
            assert!(seen.insert(token), "seed {seed}: {token:x} twice");
            let (outcome, bytes) = completion.into_output::<op::Read<Vec<u8>>>();
            match outcome {
                Ok(read) => assert!(read > 0 && bytes[0] == token as u8, "seed {seed}: the bytes of another block"),
                Err(error) => assert_ne!(error.errno(), 0, "seed {seed}"),
            }
        }
        assert_eq!(seen.len(), 8 * BLOCKS, "seed {seed}");
        let after = lane(&engine, &buffered);
        assert_eq!((after.in_flight, after.queued), (0, 0), "seed {seed}: {after:?}");
    }
}

#[test]
fn a_read_that_is_cancelled_before_its_attempt_leaves_no_state_in_its_slot() {
    let _turn = turn();
    let (dir, path) = data();
    let depth = 8;
    let builder = Engine::builder().backend(BackendChoice::Uring).routing(Routing::Thread).queue_depth(depth as u32);
    let Ok(engine) = builder.policy(Policy::Fixed(1)).build() else {
        println!("skipped: io_uring is not available here");
        return;
    };
    let file = engine.block_on(engine.open(&path, OpenOptions::new().read(true))).unwrap();
    let log_path = dir.path().join("log");
    let options = OpenOptions::new().append(true).create(true);
    let log = engine.block_on(engine.open(&log_path, options)).unwrap();
    let mut port = engine.port().unwrap();
    let mut completions = Vec::new();
    for round in 1..=20_usize {
        // More than the ring has room for, so that the last of them wait for the ring and not on the lane.
        let tickets: Vec<_> =
            (0..depth + 4).map(|number| port.submit(read(&engine, &file, number), number as u64)).collect();
        for ticket in &tickets[depth..] {
            port.cancel(*ticket);
        }
        for number in 0..6 {
            port.submit(op::Write::at(&log, vec![7; 3 * BLOCK], 0), 100 + number);
        }
        while port.outstanding() > 0 {
            port.wait(&mut completions, None);
        }
        assert_eq!(completions.len(), depth + 4 + 6);
        completions.clear();
        let length = fs::metadata(&log_path).unwrap().len();
        assert_eq!(length, (round * 6 * 3 * BLOCK) as u64, "each write once, whatever its slot held before");
    }
    let after = lane(&engine, &file);
    assert_eq!((after.in_flight, after.queued), (0, 0));
}
