//! The platform: raw calls, the errno numbers, wake-ups. Apart from the rings, only this part of the core calls the operating
//! system, and it is one of the few that may use `unsafe`.
//!
//! [`perform`] makes a [`Call`] on the calling thread; `try_perform` does the same on a thread that must not wait for another
//! process. On every platform and in every backend, a result is zero or more, or a negated errno.

mod alignment;
#[expect(unsafe_code, reason = "a call holds addresses, and may change threads with them")]
mod call;
mod copy;
pub(crate) mod errno;
mod event;
mod facts;
mod iovec;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(all(unix, not(target_os = "linux")))]
mod macos;
pub(crate) mod memory;
mod metadata;
mod path;
mod shortcuts;
#[cfg(unix)]
mod stream;
mod twin;
#[cfg(unix)]
mod unix;
#[cfg(windows)]
pub(crate) mod windows;

pub use alignment::DirectAlignment;
pub(crate) use call::*;
#[allow(unused_imports, reason = "not every platform has messages that name an error")]
pub(crate) use errno::errno_name;
pub(crate) use event::{Bell, poll_readable};
#[cfg(unix)]
pub(crate) use event::{Watch, poll_watches};
pub(crate) use facts::{FileFacts, file_facts};
pub(crate) use iovec::*;
#[cfg(target_os = "linux")]
pub(crate) use linux::{RawStat, STATX_MASK, descriptors_max, locked_memory_max, raw_stat_zeroed, statx_flags};
#[cfg(all(unix, not(target_os = "linux")))]
pub(crate) use macos::{RawStat, raw_stat_zeroed};
pub use metadata::{Metadata, Timestamp};
pub(crate) use path::*;
pub(crate) use shortcuts::*;
#[cfg(unix)]
pub(crate) use stream::{Progress, Tried, try_perform};
pub(crate) use twin::BufferedTwin;
#[cfg(unix)]
pub(crate) use unix::perform;
#[cfg(windows)]
pub(crate) use windows::{Progress, RawStat, Tried, perform, raw_stat_zeroed, try_perform};

/// An open file as the system calls name it.
#[cfg(unix)]
pub(crate) type Descriptor = i32;
/// An open file as the system calls name it: a `HANDLE`, held as a number so that it may change threads.
#[cfg(windows)]
pub(crate) type Descriptor = isize;

/// The most bytes that may be locked; without a limit, because memory is registered with the kernel on Linux only.
#[cfg(not(target_os = "linux"))]
pub(crate) const fn locked_memory_max() -> Option<usize> {
    None
}

/// No file at all. On Windows it is `INVALID_HANDLE_VALUE`.
pub(crate) const NO_DESCRIPTOR: Descriptor = -1;
