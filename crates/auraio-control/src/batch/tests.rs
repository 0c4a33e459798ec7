//! Each rule of the inner loop, and input that no ring should give.

use super::*;

const MS: u64 = 1_000_000;

/// Turns of a thread, each 1 ms long: so much of it busy, with so many completions; calls of 2 µs + 1 µs an entry.
struct Thread {
    batch: SubmitBatch,
    now: u64,
}

impl Thread {
    fn new() -> Self {
        Self { batch: SubmitBatch::new(BatchPolicy::default()), now: 0 }
    }

    fn turns(mut self, count: u32, busy_ns: u64, completions: u32) -> Self {
        for turn in 0..count {
            let sqes = 1 + turn % 8;
            self.batch.on_enter(sqes, 2_000 + 1_000 * u64::from(sqes));
            self.batch.on_latency(500_000);
            self.now += MS;
            self.batch.on_sleep(MS - busy_ns);
            self.batch.on_turn(self.now, completions, busy_ns);
        }
        self
    }
}

/// With time to spare: 40 % busy, 8 µs for each of 50 operations a millisecond.
fn idle() -> SubmitBatch {
    Thread::new().turns(500, 400_000, 50).batch
}

/// Without: 1 µs for each of 1000.
fn saturated() -> SubmitBatch {
    Thread::new().turns(500, MS, 1000).batch
}

#[test]
fn the_parts_of_a_calls_cost_are_told_apart() {
    let batch = idle();
    assert!((batch.enter_cost_ns() - 2_000.0).abs() < 1.0, "{batch:?}");
    assert!((batch.entry_cost_ns() - 1_000.0).abs() < 1.0, "{batch:?}");
    assert!((batch.operation_cost_ns() - 8_000.0).abs() < 1.0, "{batch:?}");
    assert!((batch.sqe_per_enter() - 4.5).abs() < 0.1, "{batch:?}");
}

#[test]
fn batches_of_one_size_leave_the_cost_of_an_entry_as_it_was() {
    let mut thread = Thread::new().turns(500, 400_000, 50);
    for _ in 0..5_000 {
        thread.batch.on_enter(4, 7_000);
    }
    thread.batch.refresh(thread.now + 20 * MS);
    assert!((thread.batch.entry_cost_ns() - 1_000.0).abs() < 50.0, "{:?}", thread.batch);
    assert!((thread.batch.enter_cost_ns() - 3_000.0).abs() < 200.0, "{:?}", thread.batch);
}

#[test]
fn a_thread_with_time_to_spare_has_a_small_batch() {
    // Calls of 2 µs in 8 % of the 8 µs of each operation: 3.1 operations.
    let batch = idle();
    assert!((batch.utilisation() - 0.4).abs() < 0.01);
    assert_eq!(batch.batch(), 4, "{batch:?}");
}

#[test]
fn a_saturated_thread_has_a_large_batch() {
    // 2 µs in 2 % of 1 µs would be 100 entries.
    let batch = saturated();
    assert!((batch.utilisation() - 1.0).abs() < 0.01);
    assert_eq!(batch.batch(), 64);
}

#[test]
fn the_batch_grows_with_utilisation_and_with_nothing_else_here() {
    let batches: Vec<u32> = [500, 900, 920, 940, 960, 980, 1000]
        .map(|per_mille: u64| Thread::new().turns(500, per_mille * 1000, (per_mille / 4) as u32).batch.batch())
        .to_vec();
    assert!(batches.is_sorted(), "{batches:?}");
    assert!(batches[0] <= 8 && batches[6] >= 20, "{batches:?}");
}

#[test]
fn a_batch_is_at_most_half_of_what_may_be_in_flight() {
    let mut batch = saturated();
    for (limit, most) in [(0, 1), (1, 1), (3, 1), (16, 8), (1000, 64), (u32::MAX, 64)] {
        batch.set_limit(limit);
        assert_eq!(batch.batch(), most, "limit {limit}");
    }
}

#[test]
fn with_time_to_spare_it_is_at_most_an_eighth() {
    let mut batch = idle();
    for (limit, most) in [(1, 1), (8, 1), (16, 2), (32, 4), (1000, 4)] {
        batch.set_limit(limit);
        assert_eq!(batch.batch(), most, "limit {limit}");
    }
}

#[test]
fn a_full_batch_is_handed_over_and_a_smaller_one_waits() {
    let batch = saturated();
    assert!(!batch.should_flush(0, 63, 0, 100));
    assert!(batch.should_flush(0, 64, 0, 100));
    assert!(!batch.needs_time(), "a saturated thread is not made to ask the clock");
}

/// Between idle and saturated: a batch of some entries, and time still counts.
fn eager() -> (SubmitBatch, u64) {
    let thread = Thread::new().turns(500, 910_000, 910);
    assert!(thread.batch.batch() > 4 && thread.batch.needs_time(), "{:?}", thread.batch);
    (thread.batch, thread.now)
}

#[test]
fn an_entry_waits_no_longer_than_a_tenth_of_the_devices_latency() {
    let (mut batch, now) = eager();
    batch.on_reap(now);
    // Latency 500 µs, and enough in the kernel.
    assert!(!batch.should_flush(now + 49_000, 1, now, 1000));
    assert!(batch.should_flush(now + 51_000, 1, now, 1000));
}

#[test]
fn a_device_that_runs_dry_gets_what_there_is() {
    let (mut batch, now) = eager();
    batch.on_reap(now);
    assert!(batch.should_flush(now, 1, now, 0));
    // 910 completions a millisecond: of 10 in the kernel, 9 are done after 9.9 µs.
    assert!(!batch.should_flush(now + 9_000, 1, now, 10));
    assert!(batch.should_flush(now + 11_000, 1, now, 10));
}

#[test]
fn nothing_queued_is_nothing_to_hand_over() {
    let (batch, now) = eager();
    assert!(!batch.should_flush(now + 1_000 * MS, 0, 0, 0));
}

#[test]
fn a_saturated_thread_waits_for_the_batch_whatever_the_device_does() {
    assert!(!saturated().should_flush(u64::MAX, 1, 0, 0));
}

#[test]
fn a_fixed_batch_is_what_was_said_and_nothing_makes_it_earlier() {
    let (mut batch, now) = eager();
    batch.set(BatchPolicy::Fixed(1_000));
    batch.set_limit(2);
    assert_eq!(batch.batch(), 1_000);
    assert!(!batch.should_flush(now + 1_000 * MS, 999, 0, 0));
    assert!(batch.should_flush(now, 1_000, now, 50));
    batch.set(BatchPolicy::Tuned { max: 3 });
    batch.set_limit(64);
    assert_eq!(batch.batch(), 3);
}

#[test]
fn a_pause_of_the_thread_is_nobodys_cost() {
    let mut thread = Thread::new().turns(500, 400_000, 50);
    let before = thread.batch.clone();
    thread.batch.on_enter(1, 40 * MS);
    thread.now += 40 * MS;
    thread.batch.on_turn(thread.now, 1, 40 * MS);
    assert!(thread.batch.operation_cost_ns() < 1.6 * before.operation_cost_ns());
    assert!(thread.batch.enter_cost_ns() < 1.25 * before.enter_cost_ns());
}

#[test]
fn a_cost_that_rises_a_thousandfold_is_learnt_all_the_same() {
    let mut thread = Thread::new().turns(500, 400_000, 50);
    for _ in 0..2_000 {
        thread.now += 10 * MS;
        thread.batch.on_enter(1, 2 * MS);
        thread.batch.on_enter(2, 4 * MS);
        thread.batch.on_turn(thread.now, 1, 8 * MS);
    }
    assert!((thread.batch.operation_cost_ns() / 8e6 - 1.0).abs() < 0.01);
    assert!((thread.batch.entry_cost_ns() / 2e6 - 1.0).abs() < 0.1, "{:?}", thread.batch);
}

#[test]
fn a_long_sleep_counts_as_long_as_it_was() {
    let mut batch = saturated();
    batch.on_sleep(10_000 * MS);
    batch.refresh(500 * MS + 10_000 * MS);
    assert!(batch.utilisation() < 0.01);
    assert!(batch.batch() < 64);
}

#[test]
fn a_clock_that_stands_still_changes_nothing() {
    let mut batch = SubmitBatch::new(BatchPolicy::default());
    let before = batch.batch();
    for _ in 0..10_000 {
        batch.on_enter(1, 0);
        batch.on_latency(0);
        batch.on_sleep(0);
        batch.on_turn(7, 1, 0);
    }
    assert_eq!(batch.batch(), before);
    assert!(!batch.should_flush(7, 0, 7, 5));
}

#[test]
fn a_clock_that_jumps_back_starts_a_new_window() {
    let mut thread = Thread::new().turns(500, 400_000, 50);
    thread.now = 3;
    let thread = thread.turns(500, 400_000, 50);
    assert!((thread.batch.utilisation() - 0.4).abs() < 0.01);
    assert!(!thread.batch.should_flush(thread.now, 0, 0, 5));
}

#[test]
fn any_numbers_at_all_leave_a_batch_within_its_bounds() {
    let seed = std::env::var("AURAIO_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0x5EED_u64);
    println!("AURAIO_SEED={seed}");
    let mut state = seed | 1;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        // Small, middling and the largest numbers alike.
        match state % 5 {
            0 => 0,
            1 => u64::MAX,
            2 => u64::from(u32::MAX),
            _ => state >> (state % 64),
        }
    };
    let mut batch = SubmitBatch::new(BatchPolicy::default());
    for _ in 0..100_000 {
        match random() % 7 {
            0 => batch.on_enter(random() as u32, random()),
            1 => batch.on_turn(random(), random() as u32, random()),
            2 => batch.on_sleep(random()),
            3 => batch.on_latency(random()),
            4 => batch.set_limit(random() as u32),
            5 => batch.refresh(random()),
            _ => batch.on_reap(random()),
        }
        let _ = batch.should_flush(random(), random() as u32, random(), random() as u32);
        let most = (batch.limit / 2).clamp(1, 64);
        assert!((1..=most).contains(&batch.batch()), "{batch:?}");
        assert!((0.0..=1.0).contains(&batch.utilisation()), "{batch:?}");
        for cost in [batch.enter_cost_ns(), batch.entry_cost_ns(), batch.operation_cost_ns(), batch.sqe_per_enter()] {
            assert!(cost.is_finite() && cost >= 0.0, "{batch:?}");
        }
    }
}
