//! The double loop of [auraio](https://docs.rs/auraio), which tunes disk I/O while it runs.
//!
//! The outer loop decides how many operations may be in flight on one device, and divides that limit among rings and
//! priorities. The inner loop decides how many of a ring's operations go to the kernel in one call.
//!
//! A [`Controller`] is told of every completion ([`Sample`]) and answers with an in-flight limit. All rings of a process
//! that use one device report to one controller and share its limit ([`Shares`]). If each ring searched on its own, each
//! would take the load of the others for a slower device, and all of them would climb up to the guard.
//!
//! The crate is arithmetic. It reads no clock: time comes with the samples, in nanoseconds from any origin. It does no I/O
//! and takes no lock, and a controller allocates nothing after it was made. So a test replays hours of a disk in a second.
//! A sample costs about 200 instructions. A quantile is computed only at the end of a segment of measurement, at most some
//! hundred times a second.
//!
//! Too little evidence moves nothing. There is too little while the load does not reach the limit, while completions may
//! have lain unseen because the host was busy, and while the device completes nothing at all.
//!
//! The modules: `controller` makes samples sound and hands them to a law. `law` says what a law owes; `fixed`, `aimd` and
//! `knee` are the laws. `timeline` makes time go forward only, `guard` watches the p99, `quantile` is the histogram that
//! laws measure with, and `decision` is the record of what they decided. `share` divides a limit among rings. `classes` and
//! `foreground` order priorities. `batch` is the inner loop. In the repository, docs/decisions/0020-double-loop.md and
//! 0021-shares-classes-batches.md have the reasons and the figures.

mod aimd;
mod batch;
mod classes;
mod controller;
mod decision;
mod fixed;
mod foreground;
mod guard;
mod knee;
mod law;
mod priority;
mod quantile;
mod settings;
mod share;
mod timeline;

#[cfg(test)]
mod tests;

pub use batch::{BatchPolicy, SubmitBatch};
pub use classes::Classes;
pub use controller::Controller;
pub use decision::{Decision, Phase, Reason};
pub use foreground::{Foreground, RingPlaces};
pub use priority::Priority;
pub use settings::{Bounds, Guard, InvalidSettings, Policy, Settings};
pub use share::{Member, Shares};

/// What a controller is told of one completed operation.
///
/// Times are nanoseconds from one origin, which may be any. No value makes the controller fail.
///
/// ```
/// use auraio_control::{Controller, Sample, Settings};
///
/// let mut controller = Controller::new(Settings::default());
/// controller.on_completion(&Sample {
///     now: 1_080_000,
///     submitted: 1_000_000,
///     in_flight: 0,
///     waiting: 31,
///     unseen: 0,
///     in_flight_then: 1,
///     work: 1.0 + 4_096.0 / 65_536.0,
/// });
/// assert_eq!(controller.limit(), 1);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// When it was reaped.
    pub now: u64,
    /// When the system call was made that handed it to the kernel.
    pub submitted: u64,
    /// Operations still in flight on the device, without this one.
    pub in_flight: u32,
    /// Operations that wait behind the limit.
    pub waiting: u32,
    /// For how long it may have lain completed before the host looked. That is the time since the completion queue was
    /// last seen empty, or since the operation was submitted if that was later. It is 0 if the host slept, and this
    /// completion woke it.
    pub unseen: u64,
    /// Operations in flight when it was submitted, with this one.
    pub in_flight_then: u32,
    /// How much work it was for the device: 1 + bytes / 64 KiB. An operation that is more than eight times as much work as
    /// usual counts as eight usual ones.
    pub work: f32,
}
