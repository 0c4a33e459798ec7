//! Wait until written data is on the disk.

use std::sync::Arc;

use super::{Done, Operation, Prepared};
use crate::{File, Result, buf::Payload, file::FileInner, sys::Call};

/// Waits until every write to the file that has completed before is on the disk. It does not wait for writes that are still
/// in flight: link the sync behind them with a [`Chain`](crate::Chain), or submit it after they have completed.
///
/// # Errors
/// What fsync(2) gives. `EIO`, `ENOSPC` or `EDQUOT` mean that data that was written before is lost. The next sync does not
/// report the same loss again.
///
/// ```
/// use auraio::{Engine, OpenOptions, op};
///
/// let path = std::env::temp_dir().join(format!("auraio-sync-{}", std::process::id()));
/// let engine = Engine::builder().build()?;
/// engine.block_on(async {
///     let file = engine.open(&path, OpenOptions::new().write(true).create(true)).await?;
///     engine.submit(op::Sync::all(&file)).await?;
///     engine.submit(op::Sync::data(&file)).await?;
///     file.close().await?;
///     engine.remove_file(&path).await
/// })?;
/// # Ok::<(), auraio::Error>(())
/// ```
#[derive(Debug)]
pub struct Sync {
    file: Arc<FileInner>,
    data_only: bool,
}

impl Sync {
    /// Syncs data and metadata, as fsync(2).
    ///
    /// ```
    /// use auraio::op;
    ///
    /// # let scratch = tempfile::NamedTempFile::new().unwrap();
    /// # let engine = auraio::Engine::builder().build()?;
    /// # engine.block_on(async {
    /// # let options = auraio::OpenOptions::new().read(true).write(true);
    /// # let file = engine.open(scratch.path(), options).await?;
    /// file.write_at("kept", 0).await.0?;
    /// engine.submit(op::Sync::all(&file)).await?;
    /// # file.close().await
    /// # })?;
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub fn all(file: &File) -> Self {
        Self { file: file.inner(), data_only: false }
    }

    /// Syncs the data, and only the metadata that is needed to find it, as fdatasync(2).
    ///
    /// ```
    /// use auraio::op;
    ///
    /// # let scratch = tempfile::NamedTempFile::new().unwrap();
    /// # let engine = auraio::Engine::builder().build()?;
    /// # engine.block_on(async {
    /// # let options = auraio::OpenOptions::new().read(true).write(true);
    /// # let file = engine.open(scratch.path(), options).await?;
    /// file.write_at("kept", 0).await.0?;
    /// engine.submit(op::Sync::data(&file)).await?;
    /// # file.close().await
    /// # })?;
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub fn data(file: &File) -> Self {
        Self { file: file.inner(), data_only: true }
    }
}

impl Operation for Sync {
    type Output = Result<()>;

    fn prepare(self) -> Prepared {
        let call = Call::Sync { fd: self.file.descriptor(), data_only: self.data_only };
        Prepared::on(self.file, call, Payload::NOTHING)
    }

    fn finish(done: Done) -> Self::Output {
        done.unit()
    }
}

bitflags::bitflags! {
    /// What [`SyncRange`] does, with Linux's numbers.
    ///
    /// ```
    /// use auraio::op::SyncRangeFlags;
    ///
    /// let written_back = SyncRangeFlags::WAIT_BEFORE | SyncRangeFlags::WRITE | SyncRangeFlags::WAIT_AFTER;
    /// assert_eq!(written_back, SyncRangeFlags::all());
    /// ```
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct SyncRangeFlags: u32 {
        /// First wait for write-back of the range that is under way.
        const WAIT_BEFORE = 1;
        /// Start write-back of the range's dirty pages.
        const WRITE = 2;
        /// Then wait for the write-back that was started.
        const WAIT_AFTER = 4;
    }
}

/// Starts the write-back of a range, or waits for it, as sync_file_range(2). It never writes metadata, so it decides when
/// data is written but does not make the data durable. On a platform without such a call, the data of the whole file is
/// synced.
///
/// # Errors
/// What sync_file_range(2) gives: `EIO`, `ENOSPC`, and `ESPIPE` for a file without positions, such as a pipe.
///
/// ```
/// use auraio::{Engine, OpenOptions, op};
///
/// let path = std::env::temp_dir().join(format!("auraio-range-{}", std::process::id()));
/// let engine = Engine::builder().build()?;
/// engine.block_on(async {
///     let file = engine.open(&path, OpenOptions::new().write(true).create(true)).await?;
///     engine.submit(op::SyncRange::new(&file, 0, 4096, op::SyncRangeFlags::WRITE)).await?;
///     file.close().await?;
///     engine.remove_file(&path).await
/// })?;
/// # Ok::<(), auraio::Error>(())
/// ```
#[derive(Debug)]
pub struct SyncRange {
    file: Arc<FileInner>,
    offset: u64,
    len: u64,
    flags: SyncRangeFlags,
}

impl SyncRange {
    /// The `len` bytes from `offset` on; `len` 0 means to the end of the file.
    ///
    /// ```
    /// use auraio::op;
    ///
    /// # let scratch = tempfile::NamedTempFile::new().unwrap();
    /// # let engine = auraio::Engine::builder().build()?;
    /// # engine.block_on(async {
    /// # let options = auraio::OpenOptions::new().read(true).write(true);
    /// # let file = engine.open(scratch.path(), options).await?;
    /// file.write_at(vec![0; 8192], 0).await.0?;
    /// engine.submit(op::SyncRange::new(&file, 0, 4096, op::SyncRangeFlags::WRITE)).await?;
    /// # file.close().await
    /// # })?;
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub fn new(file: &File, offset: u64, len: u64, flags: SyncRangeFlags) -> Self {
        Self { file: file.inner(), offset, len, flags }
    }
}

impl Operation for SyncRange {
    type Output = Result<()>;

    fn prepare(self) -> Prepared {
        let Self { file, offset, len, flags } = self;
        let call = Call::SyncRange { fd: file.descriptor(), offset, len, flags: flags.bits() };
        Prepared::on(file, call, Payload::NOTHING)
    }

    fn finish(done: Done) -> Self::Output {
        done.unit()
    }
}
