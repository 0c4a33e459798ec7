//! Give a descriptor back.

use std::sync::Arc;

use super::{Done, Operation, Prepared};
use crate::{File, Result, buf::Payload, file::FileInner, sys::Call};

/// Closes a file once every operation on it has completed. While an entry in a queue still names the descriptor, the
/// descriptor is not given back: the next file to be opened would get its number. Operations on the file that could wait
/// for ever, such as a read of an empty pipe, are cancelled.
///
/// Dropping a [`File`] closes it too, but then nobody learns of an error.
///
/// # Errors
/// What close(2) gives, for example `EIO`, `ENOSPC` or `EDQUOT` if a write failed late on a network file system. The file is
/// closed even then. Therefore the engine makes a close once, whatever the answer is, and a close cannot be cancelled. If
/// a signal interrupts it (`EINTR`), the file is closed, and that is no error.
///
/// ```
/// use auraio::{Engine, OpenOptions, op};
///
/// let engine = Engine::builder().build()?;
/// engine.block_on(async {
///     let file = engine.open("Cargo.toml", OpenOptions::new().read(true)).await?;
///     engine.submit(op::Close::new(file)).await
/// })?;
/// # Ok::<(), auraio::Error>(())
/// ```
#[derive(Debug)]
pub struct Close {
    file: Arc<FileInner>,
}

impl Close {
    /// Closes `file`.
    ///
    /// ```
    /// use auraio::op;
    ///
    /// # let engine = auraio::Engine::builder().build()?;
    /// # engine.block_on(async {
    /// # let file = engine.open("Cargo.toml", auraio::OpenOptions::new().read(true)).await?;
    /// engine.submit(op::Close::new(file)).await
    /// # })?;
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub fn new(file: File) -> Self {
        Self { file: file.into_inner() }
    }
}

impl Operation for Close {
    type Output = Result<()>;

    fn prepare(self) -> Prepared {
        let call = Call::Close { fd: self.file.descriptor() };
        Prepared { closing: Some(self.file), ..Prepared::new(call, Payload::NOTHING) }
    }

    fn finish(done: Done) -> Self::Output {
        done.unit()
    }
}
