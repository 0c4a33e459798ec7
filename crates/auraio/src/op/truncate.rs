//! Change a file's length.

use std::sync::Arc;

use super::{Done, Operation, Prepared};
use crate::{File, Result, buf::Payload, file::FileInner, sys::Call};

/// Sets a file's length. A longer file is cut; a shorter one is extended with zeros.
///
/// # Errors
/// What ftruncate(2) gives: `EINVAL` if the file was not opened for writing, `EFBIG`, `EIO`.
///
/// ```
/// use auraio::{Engine, OpenOptions, op};
///
/// let path = std::env::temp_dir().join(format!("auraio-truncate-{}", std::process::id()));
/// let engine = Engine::builder().build()?;
/// engine.block_on(async {
///     let file = engine.open(&path, OpenOptions::new().write(true).create(true)).await?;
///     engine.submit(op::Truncate::new(&file, 12_345)).await?;
///     assert_eq!(file.metadata().await?.len(), 12_345);
///     file.close().await?;
///     engine.remove_file(&path).await
/// })?;
/// # Ok::<(), auraio::Error>(())
/// ```
#[derive(Debug)]
pub struct Truncate {
    file: Arc<FileInner>,
    len: u64,
}

impl Truncate {
    /// Sets the length to `len` bytes.
    ///
    /// ```
    /// use auraio::op;
    ///
    /// # let scratch = tempfile::NamedTempFile::new().unwrap();
    /// # let engine = auraio::Engine::builder().build()?;
    /// # engine.block_on(async {
    /// # let options = auraio::OpenOptions::new().read(true).write(true);
    /// # let file = engine.open(scratch.path(), options).await?;
    /// engine.submit(op::Truncate::new(&file, 12_345)).await?;
    /// assert_eq!(file.metadata().await?.len(), 12_345);
    /// # file.close().await
    /// # })?;
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub fn new(file: &File, len: u64) -> Self {
        Self { file: file.inner(), len }
    }
}

impl Operation for Truncate {
    type Output = Result<()>;

    fn prepare(self) -> Prepared {
        let call = Call::Truncate { fd: self.file.descriptor(), len: self.len };
        self.file.note_write();
        Prepared::on(self.file, call, Payload::NOTHING)
    }

    fn finish(done: Done) -> Self::Output {
        done.unit()
    }
}
