//! The double loop. The outer one: how many operations may be in flight on one device, how that is shared out among rings
//! and classes. The inner one: how many of a ring's operations go to the kernel in one call.
//!
//! A [`Controller`] is told of every completion ([`Sample`]) and answers with an in-flight limit. All rings of a process
//! that use a device report to one controller and share its limit: two that search on their own see each other's load as
//! a slower device, and both end at the guard.
//!
//! It is arithmetic. It reads no clock (time comes with the samples, from any origin), does no I/O, takes no lock and
//! allocates nothing after it was made; so a test replays hours of a disk in a second. A sample costs a few dozen
//! instructions, and a quantile is looked up only where a segment of measurement ends, at most some hundred times a second.
//!
//! Too little evidence moves nothing. That holds for a load that never met the limit, for time that a completion may have
//! spent unseen because the host was busy, and for moments in which the device completed nothing at all.
//!
//! Inside: `timeline` makes time go forward only, `guard` watches the p99, `aimd` and `knee` are the laws, `quantile` and
//! `decision` are what they measure with and what they tell. `share` divides a limit among rings, `classes` and `foreground`
//! among priorities; `batch` is the inner loop. docs/decisions/0020-double-loop.md has the reasons and figures.

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

/// What a controller is told of one completed operation. Times are nanoseconds from any one origin, which need not be a
/// clock; nothing that is given here makes it fail.
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
    /// When the system call that carried it was made.
    pub submitted: u64,
    /// Operations still in flight on the device, without this one.
    pub in_flight: u32,
    /// Operations that wait behind the limit.
    pub waiting: u32,
    /// For how long it may have lain completed before the host looked: since the completion queue was last seen empty, or
    /// since it was submitted if that is later; 0 if the host slept and was woken by it.
    pub unseen: u64,
    /// Operations in flight when it was submitted, with this one.
    pub in_flight_then: u32,
    /// What it was worth: operations plus bytes / 64 KiB, so about 1 for the smallest. One that is worth many times what
    /// is usual counts as 8 usual ones.
    pub work: f32,
}
