//! Numbers from JavaScript. They are doubles; a number that does not fit is refused, and none is rounded, cut or
//! wrapped.

use auraio::Timestamp;

/// The largest number up to which a double has every whole number: `Number.MAX_SAFE_INTEGER`.
const SAFE_MAX: u64 = (1 << 53) - 1;

/// A whole number from 0 to [`SAFE_MAX`].
#[expect(clippy::float_cmp, reason = "a number is whole if it comes back unchanged")]
#[inline]
pub(crate) fn whole(number: f64) -> Option<u64> {
    // `as` cuts what is behind the point, and gives 0 for NaN and for negative numbers: these do not come back
    // unchanged.
    let whole = number as u64;
    (whole as f64 == number && whole <= SAFE_MAX).then_some(whole)
}

/// A whole number that fits 32 bits.
#[inline]
pub(crate) fn whole32(number: f64) -> Option<u32> {
    whole(number).and_then(|number| u32::try_from(number).ok())
}

/// A number of bytes in memory.
pub(crate) fn size(number: f64) -> Option<usize> {
    whole(number).and_then(|number| usize::try_from(number).ok())
}

/// 0 or 1.
pub(crate) fn flag(number: f64) -> Option<bool> {
    match whole(number)? {
        0 => Some(false),
        1 => Some(true),
        2.. => None,
    }
}

/// Where in a file an operation begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Position {
    /// At the file's own position.
    Own,
    At(u64),
}

impl Position {
    /// -1 is the file's own position.
    #[inline]
    pub(crate) fn of(number: f64) -> Option<Self> {
        if number == -1.0 { Some(Self::Own) } else { whole(number).map(Self::At) }
    }
}

/// The user or the group that a file is given to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// Stays as it is.
    Same,
    Id(u32),
}

impl Owner {
    /// -1 leaves the owner as it is, and so does 4,294,967,295, which is -1 for the kernel.
    pub(crate) fn of(number: f64) -> Option<Self> {
        if number == -1.0 {
            return Some(Self::Same);
        }
        whole32(number).map(|id| if id == u32::MAX { Self::Same } else { Self::Id(id) })
    }

    /// As the core takes it.
    pub(crate) const fn id(self) -> Option<u32> {
        match self {
            Self::Same => None,
            Self::Id(id) => Some(id),
        }
    }
}

/// A time in seconds since 1970, before 1970 if negative. It is rounded to microseconds: a double has no more of
/// today's times.
pub(crate) fn timestamp(seconds: f64) -> Option<Timestamp> {
    let floor = seconds.floor();
    // False for NaN too.
    if floor.abs() <= SAFE_MAX as f64 {
        let nanos = ((seconds - floor) * 1e6).round() * 1e3;
        // If it was rounded up to a whole second, it is one second more: nanoseconds are below 1,000,000,000.
        let carry = nanos >= 1e9;
        Some(Timestamp { seconds: floor as i64 + i64::from(carry), nanos: if carry { 0 } else { nanos as u32 } })
    } else {
        None
    }
}
