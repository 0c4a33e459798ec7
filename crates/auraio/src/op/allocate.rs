//! Reserve, free or move the blocks of a file.

use std::sync::Arc;

use super::{Done, Operation, Prepared};
use crate::{File, Result, buf::Payload, file::FileInner, sys::Call};

/// What [`Allocate`] does with the range. Each variant is one mode of Linux's fallocate(2). A file system or platform that
/// lacks the mode answers `EOPNOTSUPP`.
///
/// ```
/// use auraio::op::AllocateMode;
///
/// # let scratch = tempfile::NamedTempFile::new().unwrap();
/// # let engine = auraio::Engine::builder().build()?;
/// # engine.block_on(async {
/// # let options = auraio::OpenOptions::new().read(true).write(true);
/// # let file = engine.open(scratch.path(), options).await?;
/// file.set_len(100).await?;
/// file.allocate(AllocateMode::KeepSize, 0, 65_536).await?;
/// assert_eq!(file.metadata().await?.len(), 100);
/// # file.close().await
/// # })?;
/// # Ok::<(), auraio::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AllocateMode {
    /// Reserve blocks, and extend the file if the range goes past its end.
    Extend,
    /// Reserve blocks and leave the length as it is.
    KeepSize,
    /// Give the blocks back; the range reads as zeros and the length stays.
    PunchHole,
    /// Fill the range with zeros, and extend the file if the range goes past its end. The file system frees or marks blocks
    /// where that is faster than writing.
    Zero,
    /// Fill the range with zeros, and leave the length as it is.
    ZeroKeepSize,
    /// Cut the range out of the file: the bytes behind it move to its beginning. Offset and length must be multiples of the
    /// file system's block size.
    Collapse,
    /// Make room: the bytes from the offset on move behind the range, which becomes a hole. Offset and length must be
    /// multiples of the file system's block size.
    Insert,
    /// Copy blocks that the file shares with another file, so that it has blocks of its own.
    Unshare,
}

impl AllocateMode {
    /// Linux's `FALLOC_FL_*`.
    const fn flags(self) -> i32 {
        match self {
            Self::Extend => 0,
            Self::KeepSize => 0x01,
            Self::PunchHole => 0x02 | 0x01,
            Self::Collapse => 0x08,
            Self::Zero => 0x10,
            Self::ZeroKeepSize => 0x10 | 0x01,
            Self::Insert => 0x20,
            Self::Unshare => 0x40,
        }
    }
}

/// Reserves, frees, zeroes, cuts out or inserts blocks, as fallocate(2).
///
/// # Errors
/// What fallocate(2) gives: `EOPNOTSUPP`, `ENOSPC`, `EBADF` if the file was not opened for writing, `EINVAL` if the range is
/// empty, or if it has to consist of whole blocks and does not.
///
/// ```
/// use auraio::{Engine, OpenOptions, op};
///
/// let path = std::env::temp_dir().join(format!("auraio-allocate-{}", std::process::id()));
/// let engine = Engine::builder().build()?;
/// engine.block_on(async {
///     let file = engine.open(&path, OpenOptions::new().write(true).create(true)).await?;
///     engine.submit(op::Allocate::new(&file, op::AllocateMode::Extend, 0, 65_536)).await?;
///     assert_eq!(file.metadata().await?.len(), 65_536);
///     file.close().await?;
///     engine.remove_file(&path).await
/// })?;
/// # Ok::<(), auraio::Error>(())
/// ```
#[derive(Debug)]
pub struct Allocate {
    file: Arc<FileInner>,
    mode: AllocateMode,
    offset: u64,
    len: u64,
}

impl Allocate {
    /// The `len` bytes from `offset` on.
    ///
    /// ```
    /// use auraio::op;
    ///
    /// # let scratch = tempfile::NamedTempFile::new().unwrap();
    /// # let engine = auraio::Engine::builder().build()?;
    /// # engine.block_on(async {
    /// # let options = auraio::OpenOptions::new().read(true).write(true);
    /// # let file = engine.open(scratch.path(), options).await?;
    /// engine.submit(op::Allocate::new(&file, op::AllocateMode::Extend, 0, 4096)).await?;
    /// assert_eq!(file.metadata().await?.len(), 4096);
    /// # file.close().await
    /// # })?;
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub fn new(file: &File, mode: AllocateMode, offset: u64, len: u64) -> Self {
        Self { file: file.inner(), mode, offset, len }
    }
}

impl Operation for Allocate {
    type Output = Result<()>;

    fn prepare(self) -> Prepared {
        let Self { file, mode, offset, len } = self;
        let call = Call::Allocate { fd: file.descriptor(), mode: mode.flags(), offset, len };
        file.note_write();
        Prepared::on(file, call, Payload::NOTHING)
    }

    fn finish(done: Done) -> Self::Output {
        done.unit()
    }
}
