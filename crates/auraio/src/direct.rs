//! Direct transfers (`O_DIRECT`): what they have to be aligned to, and whether one is.
//!
//! A handle that was opened with [`OpenOptions::direct`](crate::OpenOptions::direct) takes any transfer: what is not aligned
//! goes by way of a block of the pool or the page cache (`ring/bounce.rs`). What is aligned must not pay for that, so the
//! test is one branch for a file that is not direct, and one of a few masks for one that is.
#![expect(unsafe_code, reason = "the vectors of a call are behind an address")]

use crate::{
    File,
    op::Prepared,
    sys::{CURRENT_POSITION, Call, FileFacts, Transfer, TransferMemory, io_vec_base, io_vec_len, vectors},
};

/// What the direct transfers of an open file have to be multiples of, in bytes: powers of two up to 64 KiB.
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
    /// The address of a buffer.
    pub memory: u32,
    /// The position and the length of a read; of a write too, as far as the device cares.
    pub offset: u32,
    /// The position and the length of a write that is to go past the page cache. The same as `offset` on a handle that was
    /// opened with [`OpenOptions::direct_strict`](crate::OpenOptions::direct_strict), else at least a block of the file
    /// system and 4,096: the page cache holds and writes back whole blocks, so where some writes of a block go through it,
    /// one that went past it could be undone by what the cache held of the block before.
    pub write_offset: u32,
}

/// What always is a multiple, where nobody tells what has to be: devices ask for 512 or 4,096.
const FALLBACK: u32 = 4096;

/// Larger answers are no rules of the device's: a transfer size that a network file system prefers, say.
const SANE_MAX: u32 = 64 << 10;

impl DirectAlignment {
    /// No rules: the file was not opened for direct I/O.
    pub(crate) const ANY: Self = Self { memory: 1, offset: 1, write_offset: 1 };

    /// The rules of a file: what its file system tells (`told`, of memory and of offsets; zero or nothing where it does
    /// not), else the size of its blocks, else 4,096.
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

    /// The same for a handle whose writes never go through the page cache.
    pub(crate) const fn strict(self) -> Self {
        Self { write_offset: self.offset, ..self }
    }
}

impl File {
    /// What the transfers of this handle have to be multiples of to go straight between the device and the caller's
    /// buffers; `None` when it was not opened for direct I/O.
    ///
    /// ```
    /// use auraio::{Engine, OpenOptions};
    ///
    /// let engine = Engine::builder().build()?;
    /// // Refused with EINVAL where the file system has no direct I/O.
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
    /// Whether it is a transfer that its file takes in parts only, because it is not aligned.
    pub(crate) fn must_bounce(&self) -> bool {
        self.file.as_ref().is_some_and(|file| {
            // SAFETY: the payload keeps the vectors of the call.
            file.facts().bounces && unsafe { is_misaligned(&self.call, file.facts()) }
        })
    }
}

/// Whether a read or write is one that the kernel may refuse, or that has to be kept from going past the page cache. What is
/// written to a file that is appended to goes to its end, wherever that is; so there only the length and the memory count,
/// and the kernel says whether the end is aligned. A transfer at a position that nobody knows beforehand is the kernel's to
/// judge too.
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

/// Whether a transfer of one buffer is aligned at a given position: what most are on a direct file, told by a few instructions.
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
    // The own position is off every grid; who takes it for a position has looked before.
    address & (memory - 1) != 0 || (offset | len) & (unit - 1) != 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::io_vec;

    #[test]
    fn the_rules_are_told_or_guessed_and_never_absurd() {
        let rules = |told, block| {
            let alignment = DirectAlignment::of_file(told, block);
            (alignment.memory, alignment.offset, alignment.write_offset)
        };
        assert_eq!(rules((Some(4), Some(512)), 4096), (4, 512, 4096));
        assert_eq!(rules((Some(512), Some(4096)), 16_384), (512, 4096, 16_384));
        // Nothing is told, or that there is no direct I/O, by a file system that let itself be opened for it all the same.
        assert_eq!(rules((None, None), 1024), (1024, 1024, 4096));
        assert_eq!(rules((Some(0), Some(0)), 4096), (4096, 4096, 4096));
        // What a network prefers is no rule of a device's.
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
    fn addresses_positions_and_lengths_count_each_by_its_own_rule() {
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
        // Where an append goes, the kernel knows.
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
