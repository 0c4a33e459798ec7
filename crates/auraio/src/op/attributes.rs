//! Change an open file's owner, permissions and times. The kernel has no `io_uring` opcode for these calls.

use std::sync::Arc;

use super::{Done, Operation, Prepared};
use crate::{
    Error, File, Result, Timestamp,
    buf::Payload,
    file::FileInner,
    sys::{Call, FileTime},
};

/// Sets the permission bits, as fchmod(2).
///
/// # Errors
/// What fchmod(2) gives: `EPERM` if the process does not own the file, `EROFS`.
///
/// ```
/// use auraio::{Engine, OpenOptions, op};
///
/// let path = std::env::temp_dir().join(format!("auraio-mode-{}", std::process::id()));
/// let engine = Engine::builder().build()?;
/// engine.block_on(async {
///     let file = engine.open(&path, OpenOptions::new().write(true).create(true)).await?;
///     engine.submit(op::SetMode::new(&file, 0o600)).await?;
///     file.close().await?;
///     engine.remove_file(&path).await
/// })?;
/// # Ok::<(), auraio::Error>(())
/// ```
#[derive(Debug)]
pub struct SetMode {
    file: Arc<FileInner>,
    mode: u32,
}

impl SetMode {
    /// Only the low twelve bits of `mode` are used.
    ///
    /// ```
    /// use auraio::op;
    ///
    /// # let scratch = tempfile::NamedTempFile::new().unwrap();
    /// # let engine = auraio::Engine::builder().build()?;
    /// # engine.block_on(async {
    /// # let options = auraio::OpenOptions::new().read(true).write(true);
    /// # let file = engine.open(scratch.path(), options).await?;
    /// engine.submit(op::SetMode::new(&file, 0o640)).await?;
    /// # #[cfg(unix)]
    /// assert_eq!(file.metadata().await?.mode() & 0o777, 0o640);
    /// # file.close().await
    /// # })?;
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub fn new(file: &File, mode: u32) -> Self {
        Self { file: file.inner(), mode }
    }
}

impl Operation for SetMode {
    type Output = Result<()>;

    fn prepare(self) -> Prepared {
        let call = Call::SetMode { fd: self.file.descriptor(), mode: self.mode };
        Prepared::on(self.file, call, Payload::NOTHING)
    }

    fn finish(done: Done) -> Self::Output {
        done.unit()
    }
}

/// Sets owner and group, as fchown(2).
///
/// # Errors
/// What fchown(2) gives: `EPERM` if the process may not give the file away, `EROFS`.
///
/// ```
/// use auraio::{Engine, OpenOptions, op};
///
/// let path = std::env::temp_dir().join(format!("auraio-owner-{}", std::process::id()));
/// let engine = Engine::builder().build()?;
/// engine.block_on(async {
///     let file = engine.open(&path, OpenOptions::new().write(true).create(true)).await?;
///     engine.submit(op::SetOwner::new(&file, None, None)).await?;
///     file.close().await?;
///     engine.remove_file(&path).await
/// })?;
/// # Ok::<(), auraio::Error>(())
/// ```
#[derive(Debug)]
pub struct SetOwner {
    file: Arc<FileInner>,
    uid: Option<u32>,
    gid: Option<u32>,
}

impl SetOwner {
    /// `None` leaves the owner or the group as it is.
    ///
    /// ```
    /// use auraio::op;
    ///
    /// # let scratch = tempfile::NamedTempFile::new().unwrap();
    /// # let engine = auraio::Engine::builder().build()?;
    /// # engine.block_on(async {
    /// # let options = auraio::OpenOptions::new().read(true).write(true);
    /// # let file = engine.open(scratch.path(), options).await?;
    /// let group = file.metadata().await?.gid();
    /// # #[cfg(unix)]
    /// engine.submit(op::SetOwner::new(&file, None, Some(group))).await?;
    /// # file.close().await
    /// # })?;
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub fn new(file: &File, uid: Option<u32>, gid: Option<u32>) -> Self {
        Self { file: file.inner(), uid, gid }
    }
}

impl Operation for SetOwner {
    type Output = Result<()>;

    fn prepare(self) -> Prepared {
        let Self { file, uid, gid } = self;
        let call = Call::SetOwner { fd: file.descriptor(), uid: uid.unwrap_or(u32::MAX), gid: gid.unwrap_or(u32::MAX) };
        Prepared::on(file, call, Payload::NOTHING)
    }

    fn finish(done: Done) -> Self::Output {
        done.unit()
    }
}

/// Sets the times of last access and last change, as futimens(2).
///
/// # Errors
/// What futimens(2) gives: `EPERM` if the process does not own the file, `EROFS`.
///
/// ```
/// use auraio::{Engine, OpenOptions, Timestamp, op};
///
/// let path = std::env::temp_dir().join(format!("auraio-times-{}", std::process::id()));
/// let engine = Engine::builder().build()?;
/// engine.block_on(async {
///     let file = engine.open(&path, OpenOptions::new().write(true).create(true)).await?;
///     let then = Timestamp { seconds: 1_000_000_000, nanos: 0 };
///     engine.submit(op::SetTimes::new(&file, then, then)).await?;
///     assert_eq!(file.metadata().await?.modified(), then);
///     file.close().await?;
///     engine.remove_file(&path).await
/// })?;
/// # Ok::<(), auraio::Error>(())
/// ```
#[derive(Debug)]
pub struct SetTimes {
    file: Arc<FileInner>,
    accessed: Timestamp,
    modified: Timestamp,
}

impl SetTimes {
    /// The file gets these two times.
    ///
    /// ```
    /// use auraio::{Timestamp, op};
    ///
    /// # let scratch = tempfile::NamedTempFile::new().unwrap();
    /// # let engine = auraio::Engine::builder().build()?;
    /// # engine.block_on(async {
    /// # let options = auraio::OpenOptions::new().read(true).write(true);
    /// # let file = engine.open(scratch.path(), options).await?;
    /// let read = Timestamp { seconds: 1_000_000_002, nanos: 0 };
    /// let written = Timestamp { seconds: 1_000_000_001, nanos: 0 };
    /// engine.submit(op::SetTimes::new(&file, read, written)).await?;
    /// assert_eq!(file.metadata().await?.modified(), written);
    /// # file.close().await
    /// # })?;
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub fn new(file: &File, accessed: Timestamp, modified: Timestamp) -> Self {
        Self { file: file.inner(), accessed, modified }
    }
}

impl Operation for SetTimes {
    type Output = Result<()>;

    fn prepare(self) -> Prepared {
        let file_time = |time: Timestamp| FileTime { seconds: time.seconds, nanos: time.nanos };
        if self.accessed.nanos.max(self.modified.nanos) > 999_999_999 {
            let error = Error::InvalidInput("nanoseconds are 0 to 999,999,999");
            return Prepared::refused(error, Payload::NOTHING);
        }
        let times = Box::new([file_time(self.accessed), file_time(self.modified)]);
        let call = Call::SetTimes { fd: self.file.descriptor(), times: &raw const *times };
        Prepared::on(self.file, call, Payload::any(times))
    }

    fn finish(done: Done) -> Self::Output {
        done.unit()
    }
}
