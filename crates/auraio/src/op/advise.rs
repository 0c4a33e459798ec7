//! Tell the kernel how a file will be used.

use std::sync::Arc;

use super::{Done, Operation, Prepared};
use crate::{File, Result, buf::Payload, file::FileInner, sys::Call};

/// How a range will be used, as posix_fadvise(2) has it.
///
/// ```
/// use auraio::op::Advice;
///
/// # let engine = auraio::Engine::builder().build()?;
/// # engine.block_on(async {
/// # let file = engine.open("Cargo.toml", auraio::OpenOptions::new().read(true)).await?;
/// file.advise(0, 0, Advice::DontNeed).await?;
/// # file.close().await
/// # })?;
/// # Ok::<(), auraio::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Advice {
    /// No particular order: the kernel's default.
    Normal = 0,
    /// The file is read in no order: the kernel reads no further than asked.
    Random = 1,
    /// The file is read in order: the kernel reads further ahead.
    Sequential = 2,
    /// The range is needed soon: the kernel starts to read it.
    WillNeed = 3,
    /// The range is not needed soon: the kernel drops it from the page cache.
    DontNeed = 4,
    /// The range is used once.
    NoReuse = 5,
}

/// Tells the kernel how a range will be used. It changes when the kernel reads, and no result. On a platform without such a
/// call it does nothing.
///
/// # Errors
/// What posix_fadvise(2) gives: `ESPIPE` for a pipe.
///
/// ```
/// use auraio::{Engine, OpenOptions, op};
///
/// let engine = Engine::builder().build()?;
/// engine.block_on(async {
///     let file = engine.open("Cargo.toml", OpenOptions::new().read(true)).await?;
///     engine.submit(op::Advise::new(&file, 0, 0, op::Advice::WillNeed)).await
/// })?;
/// # Ok::<(), auraio::Error>(())
/// ```
#[derive(Debug)]
pub struct Advise {
    file: Arc<FileInner>,
    offset: u64,
    len: u64,
    advice: Advice,
}

impl Advise {
    /// The `len` bytes from `offset` on; `len` 0 means to the end of the file.
    ///
    /// ```
    /// use auraio::op;
    ///
    /// # let engine = auraio::Engine::builder().build()?;
    /// # engine.block_on(async {
    /// # let file = engine.open("Cargo.toml", auraio::OpenOptions::new().read(true)).await?;
    /// engine.submit(op::Advise::new(&file, 0, 4096, op::Advice::WillNeed)).await?;
    /// # file.close().await
    /// # })?;
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub fn new(file: &File, offset: u64, len: u64, advice: Advice) -> Self {
        Self { file: file.inner(), offset, len, advice }
    }
}

impl Operation for Advise {
    type Output = Result<()>;

    fn prepare(self) -> Prepared {
        let Self { file, offset, len, advice } = self;
        let call = Call::Advise { fd: file.descriptor(), offset, len, advice: advice as i32 };
        Prepared::on(file, call, Payload::NOTHING)
    }

    fn finish(done: Done) -> Self::Output {
        done.unit()
    }
}
