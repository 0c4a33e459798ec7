//! The backend behind one ring, as an enum over all backends.
//!
//! A ring asks its backend several things for each operation. Because this is an enum and not a `dyn Backend`, the compiler
//! inlines the answers, and a push writes the entry straight into the kernel's queue.

use std::io;

#[cfg(feature = "sim")]
use super::sim::SimBackend;
#[cfg(target_os = "linux")]
use super::uring::UringBackend;
use super::{Backend, Cqe, Entry, Taker, Wait, registry, threads::ThreadsBackend};
use crate::sys::{Call, Descriptor};

/// One of the backends that there are.
#[allow(clippy::large_enum_variant, reason = "a ring has one of these, for as long as it lives")]
pub(crate) enum AnyBackend {
    #[cfg(target_os = "linux")]
    Uring(UringBackend),
    Threads(ThreadsBackend),
    #[cfg(feature = "sim")]
    Sim(Box<SimBackend>),
}

/// Calls a method of the backend that the enum holds.
macro_rules! ask {
    ($any:expr, $backend:ident => $answer:expr) => {
        match $any {
            #[cfg(target_os = "linux")]
            AnyBackend::Uring($backend) => $answer,
            AnyBackend::Threads($backend) => $answer,
            #[cfg(feature = "sim")]
            AnyBackend::Sim($backend) => $answer,
        }
    };
}

#[expect(unsafe_code, reason = "passes the promise of whoever pushes on to the backend")]
impl Backend for AnyBackend {
    #[inline]
    fn room(&self) -> u32 {
        ask!(self, backend => backend.room())
    }

    #[inline]
    fn supports(&self, call: &Call) -> bool {
        ask!(self, backend => backend.supports(call))
    }

    #[inline]
    fn weight(&self, call: &Call) -> u32 {
        ask!(self, backend => backend.weight(call))
    }

    #[inline(always)]
    unsafe fn push(&mut self, entry: Entry) {
        // SAFETY: the caller makes the promise that the backend asks for.
        ask!(self, backend => unsafe { backend.push(entry) });
    }

    fn cancel(&mut self, user_data: u64) {
        ask!(self, backend => backend.cancel(user_data));
    }

    #[inline]
    fn submit(&mut self, wait: Wait) -> io::Result<u32> {
        ask!(self, backend => backend.submit(wait))
    }

    fn withdraw(&mut self) -> Vec<u64> {
        ask!(self, backend => backend.withdraw())
    }

    fn reap(&mut self, into: &mut Vec<Cqe>) {
        ask!(self, backend => backend.reap(into));
    }

    #[inline]
    fn unsubmitted(&self) -> u32 {
        ask!(self, backend => backend.unsubmitted())
    }

    fn attempts(&self) -> bool {
        ask!(self, backend => backend.attempts())
    }

    fn in_flight_max(&self) -> u32 {
        ask!(self, backend => backend.in_flight_max())
    }

    fn buffers_max(&self) -> usize {
        ask!(self, backend => backend.buffers_max())
    }

    fn vectors_fixed(&self) -> bool {
        ask!(self, backend => backend.vectors_fixed())
    }

    fn set_buffer(&mut self, place: u16, pin: &registry::Pin, len: usize) -> io::Result<()> {
        ask!(self, backend => backend.set_buffer(place, pin, len))
    }

    fn clear_buffer(&mut self, place: u16) {
        ask!(self, backend => backend.clear_buffer(place));
    }

    fn files_max(&self) -> u32 {
        ask!(self, backend => backend.files_max())
    }

    fn set_file(&mut self, place: u32, file: Option<Descriptor>) -> io::Result<()> {
        ask!(self, backend => backend.set_file(place, file))
    }

    fn workers(&self) -> u32 {
        ask!(self, backend => backend.workers())
    }

    fn set_workers(&mut self, limit: u32) {
        ask!(self, backend => backend.set_workers(limit));
    }

    fn set_alarm(&mut self) {
        ask!(self, backend => backend.set_alarm());
    }

    #[inline]
    fn take_alarm(&mut self) -> bool {
        ask!(self, backend => backend.take_alarm())
    }

    fn descriptor(&self) -> Option<Descriptor> {
        ask!(self, backend => backend.descriptor())
    }

    #[inline]
    fn enters(&self) -> u64 {
        ask!(self, backend => backend.enters())
    }
}

impl AnyBackend {
    /// Calls `each` for every completion that can be reaped. Completions of `io_uring` are read where they lie in the
    /// kernel's queue. Those of the other backends are first moved to `list`, which is empty before and after.
    #[inline(always)]
    pub(crate) fn reap_each(&mut self, list: &mut Vec<Cqe>, each: &mut impl Taker) {
        #[cfg(target_os = "linux")]
        if let Self::Uring(uring) = self {
            uring.reap_each(each);
            return;
        }
        self.reap_by_list(list, each);
    }

    #[inline(never)]
    fn reap_by_list(&mut self, list: &mut Vec<Cqe>, each: &mut dyn Taker) {
        self.reap(list);
        list.drain(..).for_each(|cqe| each.take(cqe));
    }
}
