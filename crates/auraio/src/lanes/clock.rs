//! The clock whose time the control loops are given.

/// Nanoseconds of the monotonic clock.
#[cfg(unix)]
pub(crate) fn now() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    time.tv_sec.cast_unsigned().wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec.cast_unsigned())
}

/// Nanoseconds since the first call, plus one, so that 0 lies before every moment.
#[cfg(not(unix))]
pub(crate) fn now() -> u64 {
    use std::{sync::LazyLock, time::Instant};

    static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(ORIGIN.elapsed().as_nanos()).unwrap_or(u64::MAX - 1) + 1
}
