//! Direct transfers (`O_DIRECT`): the alignment that they must have, and the test whether a transfer has it.
//!
//! A handle that was opened with [`OpenOptions::direct`](crate::OpenOptions::direct) refuses no transfer: one that is not
//! aligned goes through a block of the pool or through the page cache (`ring/bounce.rs`). Aligned transfers must not pay for
//! that. So the test is one branch for a file that is not direct, and a comparison with a few masks for a file that is.
#![expect(unsafe_code, reason = "the vectors of a call are behind an address")]

use crate::{
    File,
    op::Prepared,
    sys::{CURRENT_POSITION, Call, FileFacts, Transfer, TransferMemory, io_vec_base, io_vec_len, vectors},
};

/// The alignment of an open file's direct transfers: each must be a multiple of these numbers, in bytes, which are powers of two
/// up to 64 KiB.
///
/// ```
/// use auraio::{Engine, OpenOptions};
///
/// let engine = Engine::builder().build()?;
/// let file = engine.block_on(engine.open("Cargo.toml", OpenOptions::new().read(true)))?;
/// assert_eq!(file.direct_alignment(), None); // it was not opened for direct I/O
/// # Ok::<(), auraio::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DirectAlignment {
    /// For the address of a buffer.
    pub memory: u32,
    /// For the position and the length of a read. The device asks the same of a write.
    pub offset: u32,
    /// For the position and the length of a write that goes past the page cache. On a handle that was opened with
    /// [`OpenOptions::direct_strict`](crate::OpenOptions::direct_strict) it is the same as `offset`; else it is at least a block
    /// of the file system, and at least 4,096. The page cache holds and writes back whole blocks. If some writes of a block go
    /// through it and one goes past it, the cache could overwrite the latter with old bytes.
    pub write_offset: u32,
}

/// The alignment to use if the system does not say which is needed: devices ask for 512 or 4,096.
const FALLBACK: u32 = 4096;

/// A larger answer is not an alignment of the device. It may be the transfer size that a network file system prefers.
const SANE_MAX: u32 = 64 << 10;

impl DirectAlignment {
    /// No rules: the file was not opened for direct I/O.
    pub(crate) const ANY: Self = Self { memory: 1, offset: 1, write_offset: 1 };

    /// The alignment of a file. It is the one that the file system reports (`told`, for memory and for offsets; zero or nothing
    /// if it does not say), else the size of the file system's blocks, else 4,096.
    pub(crate) fn of_file(told: (Option<u32>, Option<u32>), block_size: u32) -> Self {
        let sane = |bytes: &u32| bytes.is_power_of_two() && *bytes <= SANE_MAX;
        let block = Some(block_size).filter(sane);
        let guess = block.map_or(FALLBACK, |block| block.clamp(512, FALLBACK));
        let offset = told.1.filter(sane).unwrap_or(guess);
        Self {
            memory: told.0.filter(sane).unwrap_or(guess),
            offset,
            write_offset: offset.max(FALLBACK).max(block.unwrap_or(FALLBACK)),
        }
    }

    /// The alignment for a handle whose writes never go through the page cache.
    pub(crate) const fn strict(self) -> Self {
        Self { write_offset: self.offset, ..self }
    }
}

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

    #[test]
    fn the_alignment_is_the_reported_one_or_a_guess_and_never_absurd() {
        let rules = |told, block| {
            let alignment = DirectAlignment::of_file(told, block);
            (alignment.memory, alignment.offset, alignment.write_offset)
        };
        assert_eq!(rules((Some(4), Some(512)), 4096), (4, 512, 4096));
        assert_eq!(rules((Some(512), Some(4096)), 16_384), (512, 4096, 16_384));
        // The file system reports nothing, or no direct I/O at all, though it let the file be opened for it.
        assert_eq!(rules((None, None), 1024), (1024, 1024, 4096));
        assert_eq!(rules((Some(0), Some(0)), 4096), (4096, 4096, 4096));
        // A transfer size that a network file system prefers is not an alignment.
        assert_eq!(rules((None, None), 1 << 20), (4096, 4096, 4096));
        assert_eq!(rules((None, None), 0), (4096, 4096, 4096));
        assert_eq!(rules((Some(3), Some(12_288)), 100), (4096, 4096, 4096));
        assert_eq!(DirectAlignment::of_file((Some(4), Some(512)), 4096).strict().write_offset, 512);
    }

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
