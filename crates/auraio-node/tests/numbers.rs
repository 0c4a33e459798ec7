//! Numbers from JavaScript are taken as they are, or refused.

#[path = "../src/numbers.rs"]
mod numbers;

use numbers::{Owner, Position, flag, size, timestamp, whole, whole32};

/// Numbers that are no whole number which a double can tell from its neighbours.
const STRANGE: [f64; 10] =
    [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.5, 1e-9, 9_007_199_254_740_992.0, 1e19, 1e300, -1e19, -1.5];

#[test]
fn what_is_not_a_whole_number_is_refused() {
    for number in STRANGE {
        assert_eq!((whole(number), whole32(number), size(number), flag(number)), (None, None, None, None), "{number}");
        assert_eq!((Position::of(number), Owner::of(number)), (None, None), "{number}");
    }
    assert_eq!((whole(-1.0), whole32(-1.0), size(-1.0), flag(-1.0)), (None, None, None, None));
    assert_eq!((Position::of(-2.0), Owner::of(-2.0)), (None, None));
}

#[test]
fn whole_numbers_are_taken_up_to_the_largest_that_fits() {
    assert_eq!(whole(-0.0), Some(0));
    assert_eq!(whole(9_007_199_254_740_991.0), Some((1 << 53) - 1));
    assert_eq!(whole32(4_294_967_295.0), Some(u32::MAX));
    assert_eq!(whole32(4_294_967_296.0), None);
    assert_eq!((flag(0.0), flag(1.0), flag(2.0)), (Some(false), Some(true), None));
}

#[test]
fn minus_one_is_the_own_position_and_the_owner_that_stays() {
    assert_eq!(Position::of(-1.0), Some(Position::Own));
    assert_eq!(Position::of(4096.0), Some(Position::At(4096)));
    for same in [-1.0, 4_294_967_295.0] {
        assert_eq!(Owner::of(same).unwrap().id(), None);
    }
    assert_eq!(Owner::of(0.0).unwrap().id(), Some(0));
    assert_eq!(Owner::of(4_294_967_294.0).unwrap().id(), Some(4_294_967_294));
}

#[test]
fn a_time_is_rounded_to_microseconds_and_refused_if_it_is_none() {
    let parts = |seconds| timestamp(seconds).map(|time| (time.seconds, time.nanos));
    assert_eq!(parts(-5.5), Some((-6, 500_000_000)));
    assert_eq!(parts(1_600_000_000.123), Some((1_600_000_000, 123_000_000)));
    assert_eq!(parts(0.999_999_9), Some((1, 0)));
    for none in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300, -1e300] {
        assert_eq!(parts(none), None);
    }
}
