//! The alignment that direct transfers (`O_DIRECT`) on a file must have.

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

#[cfg(test)]
mod tests {
    use super::*;

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
}
