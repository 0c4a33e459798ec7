//! The master: a ring whose table of buffers the other rings copy from. It performs no operations.

use std::{io, os::fd::AsRawFd};

use io_uring::{IoUring, types::CloneBuffersFlags};

use crate::{backend::registry::BUFFERS_MAX, sys::Descriptor};

/// Lets a copy replace entries of a table (`IORING_REGISTER_DST_REPLACE`, 6.13). Without this flag, only a whole table can
/// be copied, into a ring that has none.
const REPLACE: CloneBuffersFlags = CloneBuffersFlags::from_bits_retain(2);

pub(crate) struct Master {
    ring: IoUring,
}

impl Master {
    /// Sets the master up. `None` if the kernel cannot copy single entries (before 6.13), or refuses one more ring.
    pub(crate) fn new() -> Option<Self> {
        let build = |entries| IoUring::builder().dontfork().build(entries).ok();
        let ring = build(1)?;
        ring.submitter().register_buffers_sparse(u32::try_from(BUFFERS_MAX).ok()?).ok()?;
        let master = Self { ring };
        // An empty entry can be copied too. So this copy tells whether the kernel can copy single entries.
        let other = build(1)?;
        copy(&other, master.descriptor(), 0, 0).ok()?;
        Some(master)
    }

    pub(crate) fn descriptor(&self) -> Descriptor {
        self.ring.as_raw_fd()
    }

    /// Registers memory at a place of the table.
    pub(crate) fn set(&self, index: u32, address: usize, len: usize) -> io::Result<()> {
        update(&self.ring, index, address, len)
    }

    /// Empties a place of the table.
    pub(crate) fn clear(&self, index: u32) {
        // Emptying an entry does not fail. If it did, the memory would stay pinned until the place is used again.
        let _ = update(&self.ring, index, 0, 0);
    }
}

/// Copies a registration from another ring's table.
pub(super) fn copy(ring: &IoUring, source: Descriptor, from: u32, to: u32) -> io::Result<()> {
    ring.submitter().register_buffers_clone_offset(source, from, to, 1, REPLACE)
}

/// Sets an entry of a ring's table. With address and length 0 the entry is emptied.
pub(super) fn update(ring: &IoUring, index: u32, address: usize, len: usize) -> io::Result<()> {
    let vector = libc::iovec { iov_base: address as *mut libc::c_void, iov_len: len };
    // SAFETY: the kernel pins the pages itself, and refuses what is not mapped. Whoever made the registration keeps the
    // same pages mapped at the address until it is given up (`registry::Pin`).
    unsafe { ring.submitter().register_buffers_update(index, &[vector], None) }
}
