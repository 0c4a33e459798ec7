//! Address space for the pool: reserved once, made usable and given back in parts, and never at another address.
//!
//! A reservation costs no memory. What is mapped in it belongs to whoever asked for it; this module keeps no account, and
//! only refuses what lies outside.
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

/// What a reservation is aligned to, and what its parts are multiples of: the size of a huge page on x86-64 and on ARM
/// with pages of 4 KiB.
pub(crate) const ALIGNMENT: usize = 2 << 20;

/// A range of addresses that nothing else in the process is given. It is never handed back.
#[derive(Debug)]
pub(crate) struct Reservation {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: an address and a length, which never change; what they name belongs to no thread.
unsafe impl Send for Reservation {}
// SAFETY: as above.
unsafe impl Sync for Reservation {}

impl Reservation {
    /// `wanted` bytes, or as many halvings of it as the system takes to agree, down to `least`. Where the process's address
    /// space is limited (RLIMIT_AS), no more than a quarter of the limit, since the rest of the process needs some too.
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

    /// In bytes.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Makes a part readable and writable, with all its pages there and zeroed: in huge pages where the system has them, not
    /// copied by a fork, and on the NUMA node given, as far as the system follows.
    ///
    /// # Errors
    /// The positive errno; the part is then inaccessible as before.
    pub(crate) fn map(&self, offset: usize, len: usize, node: Option<u32>) -> Result<(), i32> {
        let part = self.part(offset, len);
        // SAFETY: within the reservation, which nothing else maps into.
        unsafe { platform::commit(part, len, node) }
    }

    /// Gives the pages of a part back and makes it inaccessible.
    ///
    /// # Safety
    /// Nobody uses the part any more: no reference into it, and no kernel that was told of it.
    ///
    /// # Errors
    /// The positive errno; the part is then mapped as before.
    pub(crate) unsafe fn unmap(&self, offset: usize, len: usize) -> Result<(), i32> {
        let part = self.part(offset, len);
        // SAFETY: within the reservation, and the caller's promise.
        unsafe { platform::decommit(part, len) }
    }

    fn part(&self, offset: usize, len: usize) -> NonNull<u8> {
        assert!(offset.is_multiple_of(ALIGNMENT) && len.is_multiple_of(ALIGNMENT) && offset <= self.len);
        assert!(len <= self.len - offset, "a part must lie in its reservation");
        // SAFETY: not past the end, by the line above.
        unsafe { self.base.add(offset) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PART: usize = ALIGNMENT;

    fn byte(reservation: &Reservation, offset: usize) -> &std::sync::atomic::AtomicU8 {
        // SAFETY: the tests look only at what they mapped, and an atomic byte may be looked at by anybody.
        unsafe { reservation.base().add(offset).cast().as_ref() }
    }

    #[test]
    fn what_is_mapped_is_zeroed_and_keeps_what_is_written() {
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
    fn a_wish_is_halved_until_it_is_granted() {
        // More than an address can name.
        let reservation = Reservation::at_most(1 << (usize::BITS - 2), PART).unwrap();
        assert!(reservation.len() < 1 << (usize::BITS - 2) && reservation.len().is_power_of_two());
        assert!(Reservation::at_most(1 << (usize::BITS - 2), 1 << (usize::BITS - 2)).is_err());
    }

    #[test]
    #[should_panic(expected = "must lie in its reservation")]
    fn a_part_outside_is_refused() {
        let reservation = Reservation::at_most(PART, PART).unwrap();
        let _ = reservation.map(PART, PART, None);
    }

    #[test]
    fn this_machine_has_memory() {
        assert!(physical_memory() > 64 << 20);
    }
}
