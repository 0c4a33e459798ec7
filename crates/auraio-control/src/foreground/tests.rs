//! The rule by itself; on a device it is tried in the simulator.

use super::*;

const MS: u64 = 1_000_000;

/// High operations of one latency, one each millisecond.
fn steady(foreground: &mut Foreground, from_ms: u64, count: u64, latency_ns: u64, alone: bool) -> u64 {
    for now in (from_ms..from_ms + count).map(|ms| ms * MS) {
        foreground.on_high(now, now.saturating_sub(latency_ns), alone);
    }
    (from_ms + count) * MS
}

#[test]
fn low_operations_have_all_places_while_nothing_high_is_about() {
    let mut foreground = Foreground::default();
    assert_eq!(foreground.low_places(u64::MAX, 7), 7);
    steady(&mut foreground, 1, 1_000, 100_000, true);
    let now = steady(&mut foreground, 1_001, 200, 900_000, false);
    assert_eq!(foreground.low_places(now, 50), 38);
    assert_eq!(foreground.low_places(now + 2 * QUIET_NS, 50), 50);
    // It comes back to what it had found.
    foreground.on_high(now + 3 * QUIET_NS, now + 3 * QUIET_NS - 100_000, false);
    assert_eq!(foreground.low_places(now + 3 * QUIET_NS, 50), 38);
}

#[test]
fn the_places_come_back_while_high_operations_keep_their_goal() {
    let mut foreground = Foreground::default();
    steady(&mut foreground, 1, 1_000, 100_000, true);
    let now = steady(&mut foreground, 1_001, 200, 900_000, false);
    assert_eq!(foreground.low_places(now, 50), 38);
    let now = steady(&mut foreground, 1_201, 11 * u64::from(CALM), 150_000, false);
    assert_eq!(foreground.low_places(now, 50), 49, "and one for what is high");
}

#[test]
fn one_late_operation_in_two_hundred_moves_nothing() {
    let mut foreground = Foreground::default();
    let mut now = steady(&mut foreground, 1, 1_000, 100_000, true);
    for _ in 0..50 {
        let ms = now / MS;
        steady(&mut foreground, ms, 199, 150_000, false);
        now = steady(&mut foreground, ms + 199, 1, 900_000, false);
    }
    assert_eq!(foreground.low_places(now, 50), 49);
}

#[test]
fn without_knowing_what_is_fast_nothing_is_cut() {
    let mut foreground = Foreground::default();
    let now = steady(&mut foreground, 1, 1_000, 900_000, false);
    assert_eq!(foreground.low_places(now, 50), 49);
    foreground.set_no_load(100_000);
    let now = steady(&mut foreground, 1_001, 1_000, 900_000, false);
    assert_eq!(foreground.low_places(now, 50), 38);
}

#[test]
fn what_is_taken_alone_is_followed() {
    let mut foreground = Foreground::default();
    for (from, latency) in [(1_u64, 100_000_u64), (20_001, 400_000), (40_001, 50_000)] {
        steady(&mut foreground, from, 20_000, latency, true);
        let goal = foreground.goal_ns().unwrap() as f64;
        assert!((goal / (2 * latency) as f64 - 1.0).abs() < 0.1, "{latency}: {goal}");
    }
}

#[test]
fn there_is_always_a_place_and_never_more_than_the_limit() {
    // xorshift64 (Marsaglia 2003); numbers of any size.
    let mut state = 0x0DD_u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state >> (state % 64)
    };
    let mut foreground = Foreground::new(0.0);
    for _ in 0..100_000 {
        let (now, submitted) = (random(), random());
        foreground.on_high(now, submitted, random() % 2 == 0);
        foreground.set_no_load(submitted);
        for limit in [0, 1, 2, 3, 1_000, u32::MAX] {
            let places = foreground.low_places(now, limit);
            assert!(places <= limit && places >= limit.min(1), "{foreground:?}");
        }
    }
}
