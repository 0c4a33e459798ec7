//! What stands behind a ring, and how it is chosen.
//!
//! A [`Backend`] takes calls and gives completions: the kernel through `io_uring` ([`uring`]), a crew of threads
//! ([`threads`]), or a seeded stand-in for tests (`sim`, behind the cargo feature of that name). It knows nothing of slots, owners, retries or limits: those
//! are the ring's (`ring/`), written once, so the three differ in nothing that a caller can see but speed.

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

/// One submission queue entry: what to do and what to call it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) call: Call,
    /// Comes back in the [`Cqe`]. Never [`Cqe::INTERNAL`].
    pub(crate) user_data: u64,
    /// The next entry pushed starts only when this one has done all that it was asked to (a short write is a failure);
    /// if it fails, every entry linked behind it completes with `ECANCELED`.
    pub(crate) link: bool,
    /// Never performed inside `submit`: for what would block the submitting thread (`IOSQE_ASYNC`).
    pub(crate) force_async: bool,
    /// A read that is to fail with `EAGAIN` rather than wait, where [`Backend::attempts`] says that this can be had.
    pub(crate) attempt: bool,
    /// The class that the device is told, where the kernel does that.
    pub(crate) class: Priority,
    /// Other names for what the call works on, where the backend has been told of them.
    pub(crate) fixed: Fixed,
}

impl Entry {
    /// A call by itself, with nothing asked beyond it.
    pub(crate) const fn new(call: Call, user_data: u64) -> Self {
        let fixed = Fixed { buffer: None, file: None };
        Self { call, user_data, link: false, force_async: false, attempt: false, class: Priority::Normal, fixed }
    }
}

/// Places in the tables of a ring: of the buffer that a call's memory lies in ([`Backend::set_buffer`]), and of its file
/// ([`Backend::set_file`]). They are hints: the call has the address and the descriptor too.
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
    /// The `user_data` of a backend's own entries, which never leave it.
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

/// How long a `submit` may stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Hands over and returns.
    No,
    /// Returns once so many completions can be reaped, or the time is over (`None`: no limit). An interrupted wait
    /// returns early; the caller looks and waits again.
    AtLeast(u32, Option<Duration>),
}

/// What a ring asks of the thing behind it. One ring owns one, under its lock, so no method is called twice at once.
#[expect(unsafe_code, reason = "whoever pushes an entry promises to keep its addresses valid")]
pub(crate) trait Backend: Send {
    /// Entries that can be pushed before the next `submit`. A linked chain must fit as a whole.
    fn room(&self) -> u32;

    /// Whether this backend can perform the call at all; what it cannot goes to the `threads` pool of the engine.
    fn supports(&self, call: &Call) -> bool;

    /// Entries of the completion queue that the call may take (more than one for [`Call::ReadPath`] on a ring).
    fn weight(&self, call: &Call) -> u32 {
        let _ = call;
        1
    }

    /// Queues one entry. The caller has checked [`Backend::room`] and [`Backend::supports`].
    ///
    /// # Safety
    /// Every address in `entry.call` stays valid, and what the call writes to stays untouched by anybody else, until the
    /// completion with this `user_data` has been reaped.
    unsafe fn push(&mut self, entry: Entry);

    /// Asks for the operation with this `user_data` to end early. It still completes, with `ECANCELED` if the request
    /// came in time. May be called before the entry was submitted.
    fn cancel(&mut self, user_data: u64);

    /// Hands over what was pushed: one `io_uring_enter` on a ring. Answers how many entries were taken; what was not
    /// stays queued for the next call.
    ///
    /// # Errors
    /// Whatever the kernel refuses the whole call with. No pushed entry is lost by an error.
    fn submit(&mut self, wait: Wait) -> io::Result<u32>;

    /// Gives up on entries that were pushed and never taken, and names them: the kernel refuses submissions for good. They
    /// will not be performed.
    fn withdraw(&mut self) -> Vec<u64>;

    /// Moves every completion that is there to the end of `into`.
    fn reap(&mut self, into: &mut Vec<Cqe>);

    /// Entries pushed and not yet taken by `submit`.
    fn unsubmitted(&self) -> u32;

    /// Whether it can attempt a read on condition that it does not wait ([`Entry::attempt`]).
    fn attempts(&self) -> bool {
        false
    }

    /// Completions that can be held at once: the size of the CQ. The ring keeps at most so many operations in flight.
    fn in_flight_max(&self) -> u32;

    /// Places of the table of registered buffers; 0 where there is none.
    fn buffers_max(&self) -> usize {
        0
    }

    /// Whether vectored calls can work on a registered buffer.
    fn vectors_fixed(&self) -> bool {
        false
    }

    /// Registers `len` bytes of a piece of memory under a place of the table.
    ///
    /// # Errors
    /// What the kernel gives: `ENOMEM` where there is no allowance for so many.
    fn set_buffer(&mut self, place: u16, pin: &registry::Pin, len: usize) -> io::Result<()> {
        let _ = (place, pin, len);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Empties a place of the table of buffers. No entry that names it is queued or in flight.
    fn clear_buffer(&mut self, place: u16) {
        let _ = place;
    }

    /// Places of the table of registered files; 0 where there is none.
    fn files_max(&self) -> u32 {
        0
    }

    /// Registers an open file under a place of the table, or empties the place, which no entry that is queued or in flight
    /// names.
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

    /// Calls of `io_uring_enter` so far; 0 for a backend that makes none.
    fn enters(&self) -> u64;
}

/// The environment variable that decides where the program does not.
const ENVIRONMENT: &str = "AURAIO_BACKEND";

/// Whether an engine that has fallen back to threads would get `io_uring` if it were made now.
pub(crate) fn uring_is_back() -> bool {
    probed().is_ok()
}

/// Decides on a backend, and says why in one sentence.
///
/// # Errors
/// [`Error::Unavailable`] when one was asked for by name and cannot be had, [`Error::InvalidInput`] when the environment
/// asks for one that is not known.
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

/// Whether `io_uring` works. Asked once a process, because a refusal by sysctl or seccomp stays one; for want of
/// descriptors or memory it does not, so then it is asked again.
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

/// Why `io_uring` is not to be had.
#[derive(Clone, Debug)]
struct Refusal {
    reason: String,
    /// It may be had later.
    passing: bool,
}

/// A set-up alone proves little: a seccomp filter may allow it and refuse the submission.
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
