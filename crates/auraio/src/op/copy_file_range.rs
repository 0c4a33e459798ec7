//! Copy a range of one file to another.

use std::sync::Arc;

use super::{Done, Operation, Prepared};
use crate::{
    Error, File, Result,
    buf::Payload,
    file::FileInner,
    sys::{BYTES_MAX, Call, errno},
};

/// Copies bytes from one open file to another without a buffer of the caller's, as copy_file_range(2). Answers the bytes
/// that were copied, which can be fewer than were asked for; 0 says that the source ends there. One operation copies at
/// most 2,147,479,552 bytes (2 GiB less a page). The files' own positions are neither used nor moved.
///
/// A thread of the engine's crew performs it: `io_uring` has no opcode for it. A close of either file waits for it, and
/// once it has begun it cannot be cancelled.
///
/// On Linux the kernel copies, and on some file systems only shares the blocks. Where the kernel or the file system cannot
/// (`ENOSYS`, `EOPNOTSUPP`, or `EINVAL` although nothing is wrong with the request), and on other platforms, the thread
/// reads and writes 256 KiB at a time instead. If that fails behind the first byte, the copy is short, and the next one
/// gives the error. There files that were opened for direct I/O need offsets and lengths that are aligned.
///
/// # Errors
/// What copy_file_range(2) gives: `EXDEV` where the files are on different file systems and the kernel does not copy between
/// them (read and write the bytes then), `EBADF` where a file is not open for it or the target is appended to, `EINVAL`
/// where a file is not a regular one or two ranges of one file overlap, `ENOSPC`, ...; [`Error::InvalidInput`] for an
/// offset of 2^63 or more.
///
/// ```
/// use auraio::{Engine, OpenOptions, op};
///
/// # let dir = tempfile::tempdir().unwrap();
/// # let (from, to) = (dir.path().join("from"), dir.path().join("to"));
/// std::fs::write(&from, "0123456789").unwrap();
/// let engine = Engine::builder().build()?;
/// engine.block_on(async {
///     let source = engine.open(&from, OpenOptions::new().read(true)).await?;
///     let target = engine.open(&to, OpenOptions::new().write(true).create(true)).await?;
///     assert_eq!(engine.submit(op::CopyFileRange::new(&source, 4, &target, 0, 100)).await?, 6);
///     source.close().await?;
///     target.close().await
/// })?;
/// assert_eq!(std::fs::read(&to).unwrap(), b"456789");
/// # Ok::<(), auraio::Error>(())
/// ```
#[derive(Debug)]
pub struct CopyFileRange {
    from: Arc<FileInner>,
    from_offset: u64,
    to: Arc<FileInner>,
    to_offset: u64,
    len: u64,
}

impl CopyFileRange {
    /// Copies `len` bytes at `from_offset` of one file to `to_offset` of another, or of the same.
    ///
    /// ```
    /// use auraio::op;
    ///
    /// # let scratch = tempfile::NamedTempFile::new().unwrap();
    /// # let engine = auraio::Engine::builder().build()?;
    /// # engine.block_on(async {
    /// # let options = auraio::OpenOptions::new().read(true).write(true);
    /// # let file = engine.open(scratch.path(), options).await?;
    /// file.write_at("abc", 0).await.0?;
    /// assert_eq!(engine.submit(op::CopyFileRange::new(&file, 0, &file, 3, 3)).await?, 3);
    /// assert_eq!(file.read_at(vec![0; 6], 0).await.1, b"abcabc");
    /// # file.close().await
    /// # })?;
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub fn new(from: &File, from_offset: u64, to: &File, to_offset: u64, len: u64) -> Self {
        Self { from: from.inner(), from_offset, to: to.inner(), to_offset, len }
    }
}

impl Operation for CopyFileRange {
    type Output = Result<u64>;

    fn prepare(self) -> Prepared {
        let Self { from, from_offset, to, to_offset, len } = self;
        let len = len.min(u64::from(BYTES_MAX));
        let early = if i64::try_from(from_offset.max(to_offset)).is_err() {
            Some(Err(Box::new(Error::InvalidInput("the offset must be less than 2^63"))))
        } else if to.facts().append {
            // The kernel says so too, but reads and writes in its place would append.
            Some(Err(Box::new(Error::os(errno::EBADF, "copy_file_range"))))
        } else {
            (len == 0).then_some(Ok(0))
        };
        to.note_write();
        let (source, target) = (from.descriptor(), to.descriptor());
        let call = Call::CopyFileRange { from: source, from_offset, to: target, to_offset, len: len as u32 };
        Prepared { expect: len, other: Some(to), early, ..Prepared::on(from, call, Payload::NOTHING) }
    }

    fn finish(mut done: Done) -> Self::Output {
        done.value()
    }
}
