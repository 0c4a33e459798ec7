//! What stands behind a ring, and how it is chosen.
//!
//! A [`Backend`] takes calls and gives completions. There are three: the kernel through `io_uring` ([`uring`]), a crew of
//! threads ([`threads`]), and a seeded stand-in for the kernel, for tests (`sim`, behind the cargo feature of that name). A
//! backend knows nothing of slots, owners, retries or limits. Those are the ring's (`ring/`) and are written once, so a
//! caller sees no difference between the three but speed.

use std::{io, sync::OnceLock, time::Duration};

use crate::{
    Error, Result,
    control::Priority,
    sys::{Call, Descriptor},
};

mod any;
mod choice;
pub(crate) mod registry;
#[cfg(feature = "sim")]
pub(crate) mod sim;
pub(crate) mod threads;
#[cfg(target_os = "linux")]
pub(crate) mod uring;

pub(crate) use any::AnyBackend;
pub use choice::{BackendChoice, BackendKind};

/// One submission queue entry: a call, and the number that its completion carries.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) call: Call,
    /// The number that the [`Cqe`] carries. It is never [`Cqe::INTERNAL`].
    pub(crate) user_data: u64,
    /// The next pushed entry starts only when this one has done all that it was asked to do; a short write counts as a
    /// failure. If this one fails, every entry that is linked behind it completes with `ECANCELED`.
    pub(crate) link: bool,
    /// A worker performs the call from the start (`IOSQE_ASYNC`), because an attempt inside `submit` would block the
    /// submitting thread.
    pub(crate) force_async: bool,
    /// The read fails with `EAGAIN` if it would have to wait. Only for backends of which [`Backend::attempts`] is true.
    pub(crate) attempt: bool,
    /// The class. The kernel tells it to devices that have priorities.
    pub(crate) class: Priority,
    /// The places in the ring's tables of the memory and the file that the call works on, if they are registered.
    pub(crate) fixed: Fixed,
}

impl Entry {
    /// An entry for a call, with every other field at its default.
    pub(crate) const fn new(call: Call, user_data: u64) -> Self {
        let fixed = Fixed { buffer: None, file: None };
        Self { call, user_data, link: false, force_async: false, attempt: false, class: Priority::Normal, fixed }
    }
}

/// Places in the tables of a ring: that of the buffer that a call's memory lies in ([`Backend::set_buffer`]), and that of
/// its file ([`Backend::set_file`]). A backend may ignore them, because the call has the address and the descriptor too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fixed {
    pub(crate) buffer: Option<u16>,
    pub(crate) file: Option<u32>,
}

/// One completion queue entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cqe {
    pub(crate) user_data: u64,
    /// Zero or more, or a negated errno.
    pub(crate) result: i32,
}

impl Cqe {
    /// The `user_data` of a backend's own entries. The ring never sees their completions.
    pub(crate) const INTERNAL: u64 = u64::MAX;

    /// The `user_data` of the alarm ([`Backend::set_alarm`]).
    pub(crate) const ALARM: u64 = u64::MAX - 1;
}

/// Takes completions one by one.
pub(crate) trait Taker {
    fn take(&mut self, cqe: Cqe);
}

impl Taker for Vec<Cqe> {
    fn take(&mut self, cqe: Cqe) {
        self.push(cqe);
    }
}

/// How long a `submit` may wait for completions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// It hands the entries over and returns.
    No,
    /// It returns when this many completions can be reaped, or when the time is over (`None`: no limit). A signal makes it
    /// return early; then the caller looks, and waits again.
    AtLeast(u32, Option<Duration>),
}

/// What a ring asks of its backend. One ring owns one backend, and lets in one thread at a time, so no two methods run at
/// once.
#[expect(unsafe_code, reason = "whoever pushes an entry promises to keep its addresses valid")]
pub(crate) trait Backend: Send {
    /// The number of entries that can be pushed before the next `submit`. A linked chain must fit as a whole.
    fn room(&self) -> u32;

    /// Whether this backend can perform the call. If not, the ring gives it to the engine's crew of threads.
    fn supports(&self, call: &Call) -> bool;

    /// The number of completion queue entries that the call may take. It is more than one for a [`Call::ReadPath`] on a
    /// ring.
    fn weight(&self, call: &Call) -> u32 {
        let _ = call;
        1
    }

    /// Queues one entry. The caller has checked [`Backend::room`] and [`Backend::supports`].
    ///
    /// # Safety
    /// Until the completion with this `user_data` has been reaped, every address in `entry.call` stays valid, and nobody
    /// else touches the memory that the call writes to.
    unsafe fn push(&mut self, entry: Entry);

    /// Asks that the operation with this `user_data` end early. It still completes, with `ECANCELED` if the request came in
    /// time. The entry need not have been submitted yet.
    fn cancel(&mut self, user_data: u64);

    /// Hands over the pushed entries: on a ring with one `io_uring_enter`. Answers how many entries were taken. The others
    /// stay queued for the next call.
    ///
    /// # Errors
    /// The error with which the kernel refuses the whole call. No pushed entry is lost by an error.
    fn submit(&mut self, wait: Wait) -> io::Result<u32>;

    /// Gives up the entries that were pushed and never taken, and answers their `user_data`. They will not be performed. The
    /// ring calls this when the kernel refuses submissions for good.
    fn withdraw(&mut self) -> Vec<u64>;

    /// Moves every completion that can be reaped to the end of `into`.
    fn reap(&mut self, into: &mut Vec<Cqe>);

    /// The number of entries that were pushed and that no `submit` has taken yet.
    fn unsubmitted(&self) -> u32;

    /// Whether the backend can attempt a read that fails instead of waiting ([`Entry::attempt`]).
    fn attempts(&self) -> bool {
        false
    }

    /// The number of completions that the backend can hold: the size of the CQ. The ring keeps at most as many operations in
    /// flight.
    fn in_flight_max(&self) -> u32;

    /// The number of places in the table of registered buffers; 0 if there is no table.
    fn buffers_max(&self) -> usize {
        0
    }

    /// Whether vectored calls can work on a registered buffer.
    fn vectors_fixed(&self) -> bool {
        false
    }

    /// Registers the first `len` bytes of a piece of memory at a place of the table.
    ///
    /// # Errors
    /// What the kernel gives: `ENOMEM` if the process may not pin so many bytes.
    fn set_buffer(&mut self, place: u16, pin: &registry::Pin, len: usize) -> io::Result<()> {
        let _ = (place, pin, len);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Empties a place of the table of buffers. The caller knows that no queued entry and no operation in flight uses the
    /// place.
    fn clear_buffer(&mut self, place: u16) {
        let _ = place;
    }

    /// The number of places in the table of registered files; 0 if there is no table.
    fn files_max(&self) -> u32 {
        0
    }

    /// Registers an open file at a place of the table, or empties the place. The caller knows that no queued entry and no
    /// operation in flight uses the place.
    ///
    /// # Errors
    /// What the kernel gives.
    fn set_file(&mut self, place: u32, file: Option<Descriptor>) -> io::Result<()> {
        let _ = (place, file);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Workers that it has for calls that block; 0 where it has none that could all be held.
    fn workers(&self) -> u32 {
        0
    }

    /// Sets the limit on workers, and queues an entry, if there is room, that makes the kernel start one more if it may.
    fn set_workers(&mut self, limit: u32) {
        let _ = limit;
    }

    /// Queues an alarm, which makes [`Backend::descriptor`] readable in 50 ms. There is room for one entry.
    fn set_alarm(&mut self) {}

    /// Whether the alarm has rung since this was last asked.
    fn take_alarm(&mut self) -> bool {
        false
    }

    /// Becomes readable when there is something to reap, and stays so until it is reaped.
    fn descriptor(&self) -> Option<Descriptor>;

    /// The number of calls of `io_uring_enter` so far; 0 for a backend that makes none.
    fn enters(&self) -> u64;
}

/// The environment variable that chooses the backend if the program leaves the choice open.
const ENVIRONMENT: &str = "AURAIO_BACKEND";

/// Whether an engine that fell back to threads would get `io_uring` if it were made now.
pub(crate) fn uring_is_back() -> bool {
    probed().is_ok()
}

/// Chooses a backend, and gives the reason in one sentence.
///
/// # Errors
/// [`Error::Unavailable`] if a backend was asked for by name and cannot be used here, [`Error::InvalidInput`] if the
/// environment variable names a backend that does not exist.
pub(crate) fn choose(choice: &BackendChoice) -> Result<(BackendKind, String)> {
    match choice {
        #[cfg(feature = "sim")]
        BackendChoice::Sim(_) => Ok((BackendKind::Sim, "the simulator was asked for".into())),
        BackendChoice::Threads => Ok((BackendKind::Threads, "threads were asked for".into())),
        BackendChoice::Uring => by_name("uring", "it was asked for"),
        BackendChoice::Auto => match std::env::var(ENVIRONMENT).as_deref() {
            Ok("uring") => by_name("uring", "AURAIO_BACKEND asks for it"),
            Ok("threads") => Ok((BackendKind::Threads, "AURAIO_BACKEND asks for threads".into())),
            Ok("" | "auto") | Err(_) => Ok(match probed() {
                Ok(()) => (BackendKind::Uring, "io_uring works on this kernel".into()),
                Err(why) => (BackendKind::Threads, format!("threads, because {}", why.reason)),
            }),
            Ok(_) => Err(Error::InvalidInput("AURAIO_BACKEND must be auto, uring or threads")),
        },
    }
}

fn by_name(backend: &'static str, why: &str) -> Result<(BackendKind, String)> {
    match probed() {
        Ok(()) => Ok((BackendKind::Uring, format!("io_uring works on this kernel, and {why}"))),
        Err(why) => Err(Error::Unavailable { backend, reason: why.reason }),
    }
}

/// Whether `io_uring` works here. The answer is kept for the process, because a refusal by sysctl or seccomp does not
/// change. A refusal for want of descriptors or memory may pass, so it is not kept and the next call tries again.
fn probed() -> Result<(), Refusal> {
    static PROBED: OnceLock<Result<(), Refusal>> = OnceLock::new();
    if let Some(known) = PROBED.get() {
        return known.clone();
    }
    let found = probe();
    if found.as_ref().err().is_none_or(|refusal| !refusal.passing) {
        return PROBED.get_or_init(|| found).clone();
    }
    found
}

/// Why `io_uring` cannot be used.
#[derive(Clone, Debug)]
struct Refusal {
    reason: String,
    /// Whether a later try may succeed.
    passing: bool,
}

/// Sets a ring up and submits one NOP. Setting up alone proves little, because a seccomp filter may allow the set-up and
/// refuse the submission.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "the trait's method is unsafe; a nop has no address")]
fn probe() -> Result<(), Refusal> {
    use crate::sys::errno;

    let refused = |step: &str, error: &io::Error| {
        let errno = error.raw_os_error().unwrap_or(0);
        let name = crate::sys::errno_name(errno);
        let passing = matches!(errno, errno::EMFILE | errno::ENFILE | errno::ENOMEM | errno::EAGAIN);
        Refusal { reason: format!("{step} failed with {name} ({error})"), passing }
    };
    let lasting = |reason: &str| Refusal { reason: reason.into(), passing: false };
    let spec = uring::UringSpec { in_flight_max: 64, single_issuer: true, kernel_poll_ms: None };
    let mut ring = uring::UringBackend::new(spec).map_err(|error| match error.raw_os_error() {
        Some(errno::EINVAL) => lasting("the kernel is older than 5.19"),
        _ => refused("io_uring_setup", &error),
    })?;
    let nop = Entry::new(Call::Nop, 1);
    // SAFETY: a nop has no address.
    unsafe { ring.push(nop) };
    ring.submit(Wait::AtLeast(1, Some(Duration::from_secs(2)))).map_err(|error| refused("io_uring_enter", &error))?;
    let mut cqes = Vec::new();
    ring.reap(&mut cqes);
    match cqes.as_slice() {
        [Cqe { user_data: 1, result: 0 }] => Ok(()),
        _ => Err(lasting("io_uring did not complete a nop")),
    }
}

#[cfg(not(target_os = "linux"))]
fn probe() -> Result<(), Refusal> {
    Err(Refusal { reason: "io_uring is Linux's alone".into(), passing: false })
}

/// The simulator for one ring.
#[cfg(feature = "sim")]
pub(crate) fn sim_backend(options: sim::SimOptions) -> AnyBackend {
    AnyBackend::Sim(Box::new(sim::SimBackend::new(options)))
}
