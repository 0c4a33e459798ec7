//! Address space for the pool. It is reserved once; parts of it are mapped and given back, always at the same address.
//!
//! A reservation takes no memory. This module does not note which parts are mapped, because the pool does; it only refuses a
//! part that lies outside the reservation.
#![expect(unsafe_code, reason = "mapping and unmapping memory")]

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

use std::ptr::NonNull;

#[cfg(unix)]
use unix as platform;
#[cfg(windows)]
use windows as platform;

pub(crate) use platform::{barrier_on_all_threads, physical_memory};

/// The alignment of a reservation and of its parts: the size of a huge page on x86-64, and on ARM with pages of 4 KiB.
pub(crate) const ALIGNMENT: usize = 2 << 20;

/// A range of addresses that the system gives to nothing else in the process. It is never given up.
#[derive(Debug)]
pub(crate) struct Reservation {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: it is an address and a length, which never change; the range belongs to no thread.
unsafe impl Send for Reservation {}
// SAFETY: as above.
unsafe impl Sync for Reservation {}

impl Reservation {
    /// Reserves `wanted` bytes. If the system refuses, it tries half as much, again and again, but not less than `least`. If
    /// the process's address space is limited (RLIMIT_AS), it begins with at most a quarter of the limit, because the rest of
    /// the process needs some too.
    ///
    /// # Errors
    /// The positive errno of the last refusal.
    pub(crate) fn at_most(wanted: usize, least: usize) -> Result<Self, i32> {
        let limit = platform::address_space_limit().map_or(usize::MAX, |limit| limit / 4);
        let mut len = wanted;
        while len > limit && len / 2 >= least {
            len /= 2;
        }
        loop {
            match platform::reserve(len) {
                Ok(base) => return Ok(Self { base, len }),
                Err(_) if len / 2 >= least => len /= 2,
                Err(errno) => return Err(errno),
            }
        }
    }

    /// The first address, a multiple of [`ALIGNMENT`].
    pub(crate) fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// The length in bytes.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Makes a part readable and writable, with all its pages present and zeroed. If the system can, the pages are huge, are
    /// not copied by a fork, and lie on the given NUMA node.
    ///
    /// # Errors
    /// The positive errno; the part then stays inaccessible.
    pub(crate) fn map(&self, offset: usize, len: usize, node: Option<u32>) -> Result<(), i32> {
        let part = self.part(offset, len);
        // SAFETY: the part lies in the reservation, into which nothing else maps.
        unsafe { platform::commit(part, len, node) }
    }

    /// Gives the pages of a part back and makes it inaccessible.
    ///
    /// # Safety
    /// Nobody uses the part any more: there is no reference into it, and the kernel does not know it.
    ///
    /// # Errors
    /// The positive errno; the part then stays mapped.
    pub(crate) unsafe fn unmap(&self, offset: usize, len: usize) -> Result<(), i32> {
        let part = self.part(offset, len);
        // SAFETY: the part lies in the reservation, and the caller promises that nobody uses it.
        unsafe { platform::decommit(part, len) }
    }

    fn part(&self, offset: usize, len: usize) -> NonNull<u8> {
        assert!(offset.is_multiple_of(ALIGNMENT) && len.is_multiple_of(ALIGNMENT) && offset <= self.len);
        assert!(len <= self.len - offset, "a part must lie in its reservation");
        // SAFETY: by the assertions above, the offset is not past the end.
        unsafe { self.base.add(offset) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PART: usize = ALIGNMENT;

    fn byte(reservation: &Reservation, offset: usize) -> &std::sync::atomic::AtomicU8 {
        // SAFETY: the tests only pass offsets that they have mapped, and any thread may use an atomic byte.
        unsafe { reservation.base().add(offset).cast().as_ref() }
    }

    #[test]
    fn mapped_memory_is_zeroed_and_keeps_written_bytes() {
        use std::sync::atomic::Ordering::Relaxed;
        let reservation = Reservation::at_most(8 * PART, PART).unwrap();
        assert!(reservation.base().addr().get().is_multiple_of(ALIGNMENT));
        for _ in 0..3 {
            reservation.map(PART, 2 * PART, Some(0)).unwrap();
            for offset in [PART, 2 * PART - 1, 2 * PART, 3 * PART - 1] {
                assert_eq!(byte(&reservation, offset).swap(7, Relaxed), 0);
                assert_eq!(byte(&reservation, offset).load(Relaxed), 7);
            }
            // SAFETY: the references above are gone.
            unsafe { reservation.unmap(PART, 2 * PART) }.unwrap();
        }
    }

    #[test]
    fn a_reservation_is_halved_until_the_system_agrees() {
        // More than the address space.
        let reservation = Reservation::at_most(1 << (usize::BITS - 2), PART).unwrap();
        assert!(reservation.len() < 1 << (usize::BITS - 2) && reservation.len().is_power_of_two());
        assert!(Reservation::at_most(1 << (usize::BITS - 2), 1 << (usize::BITS - 2)).is_err());
    }

    #[test]
    #[should_panic(expected = "must lie in its reservation")]
    fn a_part_outside_the_reservation_is_refused() {
        let reservation = Reservation::at_most(PART, PART).unwrap();
        let _ = reservation.map(PART, PART, None);
    }

    #[test]
    fn the_memory_of_this_machine_is_known() {
        assert!(physical_memory() > 64 << 20);
    }
}
