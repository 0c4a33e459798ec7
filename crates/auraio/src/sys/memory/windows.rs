//! Reserves, commits and decommits memory by VirtualAlloc. It ignores the NUMA node.

use std::ptr::{self, NonNull};

use windows_sys::Win32::System::{
    Memory::{MEM_COMMIT, MEM_DECOMMIT, MEM_RESERVE, PAGE_NOACCESS, PAGE_READWRITE, VirtualAlloc, VirtualFree},
    SystemInformation::{GlobalMemoryStatusEx, MEMORYSTATUSEX},
};

use super::ALIGNMENT;
use crate::sys::errno;

/// False: this system has no barrier on all threads, so callers must do without it.
pub(crate) const fn barrier_on_all_threads() -> bool {
    false
}

/// Bytes of memory in this machine.
pub(crate) fn physical_memory() -> u64 {
    let mut status = MEMORYSTATUSEX { dwLength: size_of::<MEMORYSTATUSEX>() as u32, ..Default::default() };
    // SAFETY: the structure has its own size in it, and is on this stack.
    let known = unsafe { GlobalMemoryStatusEx(&raw mut status) };
    if known == 0 { 0 } else { status.ullTotalPhys }
}

pub(super) const fn address_space_limit() -> Option<usize> {
    None
}

pub(super) fn reserve(len: usize) -> Result<NonNull<u8>, i32> {
    let longer = len.checked_add(ALIGNMENT).ok_or(errno::ENOMEM)?;
    // SAFETY: the system picks the address.
    let all = unsafe { VirtualAlloc(ptr::null(), longer, MEM_RESERVE, PAGE_NOACCESS) };
    let all = NonNull::new(all.cast::<u8>()).ok_or(errno::ENOMEM)?;
    // The parts before and behind stay reserved: Windows can give a reservation back only as a whole.
    let before = all.align_offset(ALIGNMENT);
    // SAFETY: `before` is less than the alignment, and the reservation is longer than `len` by the alignment.
    Ok(unsafe { all.add(before) })
}

/// # Safety
/// `len` bytes from `part` on belong to the caller's reservation, and are not mapped.
pub(super) unsafe fn commit(part: NonNull<u8>, len: usize, _node: Option<u32>) -> Result<(), i32> {
    // SAFETY: the caller's promise.
    let committed = unsafe { VirtualAlloc(part.as_ptr().cast(), len, MEM_COMMIT, PAGE_READWRITE) };
    if committed.is_null() { Err(errno::ENOMEM) } else { Ok(()) }
}

/// # Safety
/// `len` bytes from `part` on belong to the caller's reservation, and nobody uses them.
pub(super) unsafe fn decommit(part: NonNull<u8>, len: usize) -> Result<(), i32> {
    // SAFETY: the caller's promise.
    let done = unsafe { VirtualFree(part.as_ptr().cast(), len, MEM_DECOMMIT) };
    if done == 0 { Err(errno::ENOMEM) } else { Ok(()) }
}
