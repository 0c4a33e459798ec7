//! Open a file, read it and close it, as one operation.

use std::path::PathBuf;

use super::{Done, Operation, Prepared, sys_path};
use crate::{
    IoBufMut, Result,
    buf::Payload,
    sys::{BYTES_MAX, Call, SysPath},
};

/// Reads the beginning of a file, by path, into a buffer. On a ring the open, the read and the close are linked entries that
/// use a slot of the ring's own file table, so together they take one system call and no descriptor. For many small files
/// this is the fastest way.
///
/// # Errors
/// What open(2) and pread(2) give, with the path: `ENOENT`, `EACCES`, `EISDIR`, ...;
/// [`Error::NulInPath`](crate::Error::NulInPath).
///
/// ```
/// use auraio::{Engine, op};
///
/// let engine = Engine::builder().build()?;
/// let (read, buffer) = engine.block_on(engine.submit(op::ReadPath::new("Cargo.toml", vec![0; 9])));
/// assert_eq!(&buffer[..read?], b"[package]");
/// # Ok::<(), auraio::Error>(())
/// ```
#[derive(Debug)]
pub struct ReadPath<B> {
    path: PathBuf,
    buffer: B,
}

impl<B: IoBufMut> ReadPath<B> {
    /// Reads up to the length of `buffer` (at most 2 GiB less a page) from the start of `path`.
    ///
    /// ```
    /// use auraio::op;
    ///
    /// # let engine = auraio::Engine::builder().build()?;
    /// let (read, _) = engine.block_on(engine.submit(op::ReadPath::new("no such file", vec![0; 9])));
    /// assert_eq!(read.unwrap_err().errno(), 2); // ENOENT
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub fn new(path: impl Into<PathBuf>, buffer: B) -> Self {
        Self { path: path.into(), buffer }
    }
}

struct Owned<B> {
    path: Option<SysPath>,
    buffer: B,
}

impl<B: IoBufMut> Operation for ReadPath<B> {
    type Output = (Result<usize>, B);

    fn prepare(self) -> Prepared {
        let Self { path, mut buffer } = self;
        let memory = buffer.as_mut_slice();
        let (address, len) = (memory.as_mut_ptr(), memory.len().min(BYTES_MAX as usize) as u32);
        match sys_path(&path) {
            Ok(path) => {
                let call = Call::ReadPath { path: path.as_ptr(), buf: address, len };
                Prepared::new(call, Payload::any(Owned { path: Some(path), buffer }))
            }
            Err(error) => Prepared::refused(error, Payload::any(Owned { path: None, buffer })),
        }
    }

    fn finish(mut done: Done) -> Self::Output {
        let outcome = done.value();
        let Owned { path, buffer } = done.take_payload().take_any();
        let named = outcome.map_err(|error| path.map_or(error.clone(), |path| error.with_path(path.to_path_buf())));
        (named.map(|bytes| bytes as usize), buffer)
    }
}
