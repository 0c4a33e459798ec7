//! Maps memory by mmap. On other systems than Linux it uses no huge pages, brings no pages in beforehand, ignores the NUMA
//! node, and a fork copies the memory.

use std::{
    ffi::c_void,
    ptr::{self, NonNull},
};

use rustix::{
    mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect, munmap},
    process::{Resource, getrlimit},
};

use super::ALIGNMENT;

#[cfg(target_os = "linux")]
pub(crate) use linux::barrier_on_all_threads;

/// False: this system has no barrier on all threads, so callers must do without it.
#[cfg(not(target_os = "linux"))]
pub(crate) const fn barrier_on_all_threads() -> bool {
    false
}

/// Bytes of memory in this machine.
pub(crate) fn physical_memory() -> u64 {
    // SAFETY: the call takes a number and answers one, -1 if it does not know.
    let pages = u64::try_from(unsafe { libc::sysconf(libc::_SC_PHYS_PAGES) });
    // SAFETY: as above.
    let page = u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) });
    pages.unwrap_or(0) * page.unwrap_or(0)
}

/// RLIMIT_AS, if there is such a limit.
pub(super) fn address_space_limit() -> Option<usize> {
    getrlimit(Resource::As).current.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX))
}

pub(super) fn reserve(len: usize) -> Result<NonNull<u8>, i32> {
    let longer = len.checked_add(ALIGNMENT).ok_or(libc::ENOMEM)?;
    // SAFETY: the system picks the address, so no mapping is replaced.
    let all = unsafe { mmap_anonymous(ptr::null_mut(), longer, ProtFlags::empty(), reserving()) };
    let all = all.map_err(rustix::io::Errno::raw_os_error)?;
    let before = all.cast::<u8>().align_offset(ALIGNMENT);
    // SAFETY: `before` is less than the alignment, by which the mapping is longer than `len`.
    let base = unsafe { all.byte_add(before) };
    // SAFETY: as above.
    let end = unsafe { base.byte_add(len) };
    if before > 0 {
        // SAFETY: this is the part of the new mapping before its first aligned address, and nobody uses it. If it cannot be
        // given back, it stays reserved, which costs nothing.
        let _ = unsafe { munmap(all, before) };
    }
    // SAFETY: as above, for the part behind. It is not empty, because `before` is less than the alignment.
    let _ = unsafe { munmap(end, ALIGNMENT - before) };
    #[cfg(target_os = "linux")]
    // SAFETY: nobody else has the mapping until this function returns.
    unsafe {
        linux::not_for_children(base, len);
    }
    NonNull::new(base.cast()).ok_or(libc::ENOMEM)
}

/// The flags of a mapping that reserves addresses without memory.
fn reserving() -> MapFlags {
    #[cfg(target_os = "linux")]
    return MapFlags::PRIVATE | MapFlags::NORESERVE;
    #[cfg(not(target_os = "linux"))]
    MapFlags::PRIVATE
}

/// # Safety
/// `len` bytes from `part` on belong to the caller's reservation, and are not mapped.
pub(super) unsafe fn commit(part: NonNull<u8>, len: usize, node: Option<u32>) -> Result<(), i32> {
    let address = part.as_ptr().cast::<c_void>();
    #[cfg(target_os = "linux")]
    // SAFETY: the caller's promise. If the part was unmapped before, it has lost the mark of the reservation; no page is
    // present yet.
    unsafe {
        linux::not_for_children(address, len);
    }
    // SAFETY: the caller's promise.
    unsafe { mprotect(address, len, MprotectFlags::READ | MprotectFlags::WRITE) }
        .map_err(rustix::io::Errno::raw_os_error)?;
    #[cfg(target_os = "linux")]
    // SAFETY: the call above has made the part accessible, and it belongs to the caller.
    if let Err(errno) = unsafe { linux::fill(address, len, node) } {
        // SAFETY: nobody uses the part yet. If this fails too, the part stays readable, without memory behind it.
        let _ = unsafe { decommit(part, len) };
        return Err(errno);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = node;
    Ok(())
}

/// # Safety
/// `len` bytes from `part` on belong to the caller's reservation, and nobody uses them.
pub(super) unsafe fn decommit(part: NonNull<u8>, len: usize) -> Result<(), i32> {
    // A new mapping replaces the old one. This gives the pages back and, if the system forbids overcommitting, also ends the
    // charge for them.
    let flags = reserving() | MapFlags::FIXED;
    let address = part.as_ptr().cast::<c_void>();
    // SAFETY: the caller's promise.
    let outcome = unsafe { mmap_anonymous(address, len, ProtFlags::empty(), flags) };
    outcome.map(drop).map_err(rustix::io::Errno::raw_os_error)
}

#[cfg(target_os = "linux")]
mod linux {
    use std::{ffi::c_void, sync::OnceLock};

    use rustix::{
        io::Errno,
        mm::{Advice, madvise},
        thread::{MembarrierCommand, membarrier},
    };

    /// The smallest page size. Every other page size of Linux is a multiple of it.
    const PAGE_BYTES: usize = 4096;
    /// From the kernel's headers: take pages from the node as long as it has any.
    const MPOL_PREFERRED: libc::c_int = 1;
    /// The kernel is built for at most this many nodes.
    const NODES_MAX: u32 = 1024;

    /// Keeps the range out of child processes: a fork that copies the tables of 256 MiB takes 100 ms.
    ///
    /// # Safety
    /// The range belongs to the caller.
    pub(super) unsafe fn not_for_children(address: *mut c_void, len: usize) {
        // It can fail only if the kernel lacks memory for its own bookkeeping. A fork then copies the range, and is slow.
        // SAFETY: the caller's promise; the advice changes nothing in this process.
        let _ = unsafe { madvise(address, len, Advice::LinuxDontFork) };
    }

    /// Brings in all pages of a mapping at once, huge ones if the system has them.
    ///
    /// # Safety
    /// The range is mapped, belongs to the caller, and has never been touched.
    pub(super) unsafe fn fill(address: *mut c_void, len: usize, node: Option<u32>) -> Result<(), i32> {
        // A kernel without huge pages refuses this, and then gives small ones.
        // SAFETY: the caller's promise; the advice changes no contents.
        let _ = unsafe { madvise(address, len, Advice::LinuxHugepage) };
        if let Some(node) = node {
            // SAFETY: as above.
            unsafe { prefer_node(address, len, node) };
        }
        // Since Linux 5.14. If there is no memory, this call reports it; a write to the page would end in SIGBUS or the
        // out-of-memory killer.
        // SAFETY: the caller's promise; pages that are present keep their contents.
        match unsafe { madvise(address, len, Advice::LinuxPopulateWrite) } {
            Ok(()) => Ok(()),
            Err(Errno::INVAL) => {
                for page in (0..len).step_by(PAGE_BYTES) {
                    // SAFETY: the page lies in the range, which belongs to the caller alone and is zeroed already.
                    unsafe { address.cast::<u8>().add(page).write_volatile(0) };
                }
                Ok(())
            }
            Err(errno) => Err(errno.raw_os_error()),
        }
    }

    /// Makes pages of this range come from the node as long as it has any. If the machine has no such node, or a sandbox
    /// forbids the call, pages come from the node where the thread runs, which is mostly the same node.
    ///
    /// # Safety
    /// The range belongs to the caller.
    unsafe fn prefer_node(address: *mut c_void, len: usize, node: u32) {
        if node >= NODES_MAX {
            return;
        }
        let mut mask = [0 as libc::c_ulong; NODES_MAX as usize / libc::c_ulong::BITS as usize];
        mask[(node / libc::c_ulong::BITS) as usize] = 1 << (node % libc::c_ulong::BITS);
        // The kernel reads one bit less than this number.
        let bits = libc::c_ulong::from(NODES_MAX + 1);
        // SAFETY: the mask outlives the call and has the bits that the kernel reads; the policy changes no contents.
        unsafe { libc::syscall(libc::SYS_mbind, address, len, MPOL_PREFERRED, mask.as_ptr(), bits, 0) };
    }

    /// Makes every other thread of this process pass a full memory barrier before it returns true (membarrier, Linux 4.14).
    /// False if the system has no such call or forbids it. It takes a few microseconds; the first call takes milliseconds.
    pub(crate) fn barrier_on_all_threads() -> bool {
        static REGISTERED: OnceLock<bool> = OnceLock::new();
        *REGISTERED.get_or_init(|| membarrier(MembarrierCommand::RegisterPrivateExpedited).is_ok())
            && membarrier(MembarrierCommand::PrivateExpedited).is_ok()
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::{fs, process::Command};

    use super::*;
    use crate::sys::memory::Reservation;

    const PART: usize = ALIGNMENT;

    /// The flags in /proc/self/smaps of the mapping that holds an address.
    fn flags_at(address: usize) -> Vec<String> {
        let smaps = fs::read_to_string("/proc/self/smaps").unwrap();
        let mut inside = false;
        for line in smaps.lines() {
            let range = line.split(' ').next().unwrap().split_once('-');
            let numbers = range.map(|(from, to)| (usize::from_str_radix(from, 16), usize::from_str_radix(to, 16)));
            if let Some((Ok(from), Ok(to))) = numbers {
                inside = (from..to).contains(&address);
            } else if let (true, Some(flags)) = (inside, line.strip_prefix("VmFlags:")) {
                return flags.split_whitespace().map(str::to_owned).collect();
            }
        }
        panic!("{address:#x} is in no mapping");
    }

    #[test]
    fn a_child_gets_no_part_of_a_reservation_mapped_or_not() {
        let reservation = Reservation::at_most(8 * PART, PART).unwrap();
        let at = |part: usize| flags_at(reservation.base().addr().get() + part * PART);
        let says = |part: usize, flag: &str| at(part).iter().any(|is| is == flag);
        assert!((0..8).all(|part| says(part, "dc")), "{:?}", at(0));
        reservation.map(2 * PART, 2 * PART, None).unwrap();
        assert!((0..8).all(|part| says(part, "dc")), "{:?}", at(2));
        assert!(says(2, "wr") && !says(4, "wr"));
        // SAFETY: nobody was given any of it.
        unsafe { reservation.unmap(2 * PART, PART) }.unwrap();
        assert!(says(3, "dc") && !says(2, "wr"));
        reservation.map(2 * PART, PART, None).unwrap();
        assert!((0..8).all(|part| says(part, "dc")), "{:?}", at(2));
    }

    #[test]
    fn mapping_brings_in_all_pages_and_unmapping_gives_all_back() {
        let reservation = Reservation::at_most(8 * PART, PART).unwrap();
        let present = |part: usize| {
            let mut pages = vec![0u8; PART / 4096];
            let address = reservation.base().as_ptr().wrapping_add(part * PART);
            // SAFETY: the call only asks about a mapping, and the answer has a byte for each page.
            let outcome = unsafe { libc::mincore(address.cast(), PART, pages.as_mut_ptr()) };
            assert_eq!(outcome, 0);
            pages.iter().filter(|page| **page & 1 == 1).count()
        };
        reservation.map(0, PART, None).unwrap();
        assert_eq!(present(0), PART / 4096);
        // SAFETY: nobody was given any of it.
        unsafe { reservation.unmap(0, PART) }.unwrap();
        assert_eq!(present(0), 0);
    }

    #[test]
    fn a_node_that_does_not_exist_is_no_error() {
        let reservation = Reservation::at_most(4 * PART, PART).unwrap();
        for (part, node) in [0, 900, 1024, u32::MAX].into_iter().enumerate() {
            reservation.map(part * PART, PART, Some(node)).unwrap();
        }
    }

    #[test]
    fn a_limited_address_space_keeps_room_for_the_rest_of_the_process() {
        // The limit counts for a whole process, so the test runs again in another one, alone, under `prlimit`.
        const SAYS: &str = "AURAIO_TEST_RESERVES";
        if std::env::var_os(SAYS).is_some() {
            println!("reserved {}", Reservation::at_most(64 << 30, 64 << 20).unwrap().len());
            return;
        }
        let limited = Command::new("prlimit")
            .arg(format!("--as={}", 4usize << 30))
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture"])
            .arg("sys::memory::unix::tests::a_limited_address_space_keeps_room_for_the_rest_of_the_process")
            .env(SAYS, "1")
            .output();
        let Ok(limited) = limited else {
            println!("skipped: prlimit (of util-linux) is not installed");
            return;
        };
        let text = String::from_utf8_lossy(&limited.stdout);
        assert!(text.contains(&format!("reserved {}", 1usize << 30)), "{text}{:?}", limited.status);
    }
}
