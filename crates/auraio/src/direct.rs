//! Direct transfers (`O_DIRECT`): the test whether a transfer has the alignment that its file needs.
//!
//! A handle that was opened with [`OpenOptions::direct`](crate::OpenOptions::direct) refuses no transfer: one that is not
//! aligned goes through a block of the pool or through the page cache (`op/bounce.rs`). Aligned transfers must not pay for
//! that. So the test is one branch for a file that is not direct, and a comparison with a few masks for a file that is.
#![expect(unsafe_code, reason = "the vectors of a call are behind an address")]

use crate::{
    File,
    op::Prepared,
    sys::{
        CURRENT_POSITION, Call, DirectAlignment, FileFacts, Transfer, TransferMemory, io_vec_base, io_vec_len, vectors,
    },
};

impl File {
    /// The alignment that a transfer of this handle needs to go straight between the device and the caller's buffer; `None` if
    /// the file was not opened for direct I/O.
    ///
    /// ```
    /// use auraio::{Engine, OpenOptions};
    ///
    /// let engine = Engine::builder().build()?;
    /// // The open fails with EINVAL if the file system has no direct I/O.
    /// if let Ok(file) = engine.block_on(engine.open("Cargo.toml", OpenOptions::new().read(true).direct(true))) {
    ///     let alignment = file.direct_alignment().unwrap();
    ///     let block = engine.pool().acquire_aligned(alignment.offset as usize, alignment.memory as usize)?;
    ///     let (read, block) = engine.block_on(file.read_at(block, 0)); // aligned: no copy on the way
    ///     assert!(block[..read?].starts_with(b"[package]"));
    /// }
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub fn direct_alignment(&self) -> Option<DirectAlignment> {
        let facts = self.facts();
        facts.direct.then_some(facts.alignment)
    }
}

impl Prepared {
    /// Whether it is a transfer that must be made in parts, because it is not aligned and its file bounces.
    pub(crate) fn must_bounce(&self) -> bool {
        self.file.as_ref().is_some_and(|file| {
            // SAFETY: the payload keeps the vectors of the call.
            file.facts().bounces && unsafe { is_misaligned(&self.call, file.facts()) }
        })
    }
}

/// Whether a read or write is not aligned: the kernel may refuse it, or it must not go past the page cache.
///
/// A write to a file opened for appending goes to the end, so only its length and its memory count here; the kernel finds out
/// whether the end is aligned. A transfer at the file's own position, which is not known here, is left to the kernel too.
///
/// # Safety
/// The vectors of a vectored call can be read.
#[inline]
pub(crate) unsafe fn is_misaligned(call: &Call, facts: &FileFacts) -> bool {
    let Some(Transfer { writes, memory, offset, .. }) = call.transfer() else { return false };
    let alignment = &facts.alignment;
    let unit = u64::from(if writes { alignment.write_offset } else { alignment.offset });
    let memory_unit = alignment.memory as usize;
    let place = if writes && facts.append { 0 } else { offset };
    if place == CURRENT_POSITION {
        return false;
    }
    match memory {
        TransferMemory::One { start, len } => is_off(start.addr(), memory_unit, len.into(), place, unit),
        TransferMemory::Many { iov, count } => {
            // SAFETY: the caller's promise.
            let vectors = unsafe { vectors(iov, count) };
            let part = u64::from(alignment.offset) - 1;
            let mut total = 0;
            let parts_off = vectors.iter().any(|vector| {
                total += io_vec_len(vector) as u64;
                io_vec_base(vector).addr() & (memory_unit - 1) != 0 || io_vec_len(vector) as u64 & part != 0
            });
            parts_off || is_off(0, memory_unit, total, place, unit)
        }
    }
}

/// Whether a transfer has one buffer and a given position, and is aligned. Most transfers on a direct file are; this test takes
/// only a few instructions.
#[inline(always)]
pub(crate) fn is_plainly_aligned(call: &Call, facts: &FileFacts) -> bool {
    let DirectAlignment { memory: memory_unit, offset: read_unit, write_offset } = facts.alignment;
    let Some(Transfer { writes, memory, offset, .. }) = call.transfer() else { return false };
    let unit = if writes { write_offset } else { read_unit };
    match memory {
        TransferMemory::One { start, len } => {
            !is_off(start.addr(), memory_unit as usize, len.into(), offset, unit.into())
        }
        TransferMemory::Many { .. } => false,
    }
}

#[inline(always)]
const fn is_off(address: usize, memory: usize, len: u64, offset: u64, unit: u64) -> bool {
    // `CURRENT_POSITION` is a multiple of nothing, so it counts as not aligned here. Callers that accept it test for it before.
    address & (memory - 1) != 0 || (offset | len) & (unit - 1) != 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::io_vec;

    fn facts(append: bool) -> FileFacts {
        let alignment = DirectAlignment { memory: 16, offset: 512, write_offset: 4096 };
        FileFacts {
            seekable: true,
            local: true,
            plain_close: true,
            fuse: false,
            direct: true,
            bounces: true,
            alignment,
            append,
            dev: 0,
            mount: None,
            regular: true,
            block_size: 4096,
        }
    }

    #[test]
    fn addresses_positions_and_lengths_each_have_their_own_alignment() {
        let buf = |at: usize| std::ptr::without_provenance_mut(at);
        // SAFETY: none of the calls is vectored.
        let off = |call: &Call, append| unsafe { is_misaligned(call, &facts(append)) };
        let read = |at, len, offset| off(&Call::Read { fd: 0, buf: buf(at), len, offset }, false);
        assert!(!read(16, 512, 0) && !read(0, 4096, 1024));
        assert!(read(8, 512, 0) && read(16, 511, 0) && read(16, 512, 1));
        assert!(!read(8, 1, CURRENT_POSITION));
        let write = |at, len, offset, append| off(&Call::Write { fd: 0, buf: buf(at), len, offset }, append);
        assert!(!write(16, 4096, 8192, false));
        assert!(write(16, 512, 0, false) && write(16, 4096, 512, false) && write(1, 4096, 0, false));
        // Only the kernel knows where an append goes.
        assert!(!write(16, 4096, 3, true) && !write(16, 4096, CURRENT_POSITION, true));
        assert!(write(16, 100, CURRENT_POSITION, true) && write(1, 4096, 0, true));
        assert!(!off(&Call::Nop, false));
    }

    #[test]
    fn every_part_of_a_vector_counts() {
        let buf = |at: usize| std::ptr::without_provenance_mut(at);
        let off = |parts: &[(usize, usize)], offset, writes| {
            let iov: Vec<_> = parts.iter().map(|&(at, len)| io_vec(buf(at), len)).collect();
            let (iov, count) = (iov.as_ptr(), iov.len() as u32);
            let call = if writes {
                Call::WriteVectored { fd: 0, iov, count, offset }
            } else {
                Call::ReadVectored { fd: 0, iov, count, offset }
            };
            // SAFETY: the vectors live to the end of this closure.
            unsafe { is_misaligned(&call, &facts(false)) }
        };
        assert!(!off(&[(16, 512), (32, 1024)], 512, false));
        assert!(off(&[(16, 512), (33, 1024)], 512, false) && off(&[(16, 500), (32, 12)], 0, false));
        assert!(off(&[(16, 512), (32, 1024)], 5, false));
        assert!(!off(&[(16, 512), (32, 3584)], 4096, true) && off(&[(16, 512), (32, 1024)], 0, true));
        assert!(!off(&[(1, 1)], CURRENT_POSITION, false));
    }
}
