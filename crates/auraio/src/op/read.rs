//! Read into one buffer.

use super::{Done, Later, More, Operation, PLAIN_BYTES_MAX, Plain, Prepared};
use crate::{
    Error, File, IoBufMut, Result,
    buf::Payload,
    file::FileInner,
    sys::{BYTES_MAX, CURRENT_POSITION, Call},
};

/// Reads up to the length of a buffer. It may read fewer bytes: at the end of the file, after a signal, or from a pipe that
/// held no more. 0 bytes mean the end of the file.
///
/// One call fills at most 2 GiB less a page. For a longer buffer the engine makes several calls.
///
/// # Errors
/// What pread(2) gives: `EBADF` if the file was not opened for reading, `EISDIR`, `EIO`, and `EINVAL` if the transfer is not
/// aligned and the file was opened with [`OpenOptions::direct_strict`](crate::OpenOptions::direct_strict).
///
/// ```
/// use auraio::{Engine, OpenOptions, op};
///
/// let engine = Engine::builder().build()?;
/// let (read, buffer) = engine.block_on(async {
///     let file = engine.open("Cargo.toml", OpenOptions::new().read(true)).await?;
///     Ok::<_, auraio::Error>(engine.submit(op::Read::at(&file, vec![0; 9], 0)).await)
/// })?;
/// assert_eq!(&buffer[..read?], b"[package]");
/// # Ok::<(), auraio::Error>(())
/// ```
#[derive(Debug)]
pub struct Read<B> {
    file: File,
    buffer: B,
    /// `None`: the file's own position.
    offset: Option<u64>,
}

impl<B: IoBufMut> Read<B> {
    /// Reads from `offset` on. A pipe or a socket ignores the offset.
    ///
    /// ```
    /// use auraio::op;
    ///
    /// # let engine = auraio::Engine::builder().build()?;
    /// # engine.block_on(async {
    /// # let file = engine.open("Cargo.toml", auraio::OpenOptions::new().read(true)).await?;
    /// let (read, buffer) = engine.submit(op::Read::at(&file, vec![0; 7], 1)).await;
    /// assert_eq!((read?, buffer.as_slice()), (7, b"package".as_slice()));
    /// # file.close().await
    /// # })?;
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub fn at(file: &File, buffer: B, offset: u64) -> Self {
        Self { file: file.share(), buffer, offset: Some(offset) }
    }

    /// Reads from the file's own position on, and moves it. Operations at a file's own position are performed one after
    /// the other, in the order in which they were submitted.
    ///
    /// ```
    /// use auraio::op;
    ///
    /// # let engine = auraio::Engine::builder().build()?;
    /// # engine.block_on(async {
    /// # let file = engine.open("Cargo.toml", auraio::OpenOptions::new().read(true)).await?;
    /// let one = engine.submit(op::Read::at_position(&file, vec![0; 1]));
    /// let two = engine.submit(op::Read::at_position(&file, vec![0; 7]));
    /// assert_eq!((one.await.1, two.await.1), (b"[".to_vec(), b"package".to_vec()));
    /// # file.close().await
    /// # })?;
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub fn at_position(file: &File, buffer: B) -> Self {
        Self { file: file.share(), buffer, offset: None }
    }
}

impl<B: IoBufMut> Operation for Read<B> {
    type Output = (Result<usize>, B);

    fn prepare(self) -> Prepared {
        let Self { file, mut buffer, offset } = self;
        let file = file.into_inner();
        let memory = buffer.as_mut_slice();
        let (address, len) = (memory.as_mut_ptr(), memory.len() as u64);
        let (fd, place) = (file.descriptor(), place(offset, &file));
        let offset = place.offset;
        let call_at = |from: u64| {
            let part = (len - from).min(u64::from(BYTES_MAX));
            let call = Call::Read {
                fd,
                buf: address.wrapping_add(from as usize),
                len: part as u32,
                offset: advanced(offset, from),
            };
            (call, part)
        };
        let (call, expect) = call_at(0);
        let more = later_parts(len, call_at);
        let early = place.refused.or((len == 0).then_some(Ok(0)));
        Prepared { expect, more, cursor: place.cursor, early, ..Prepared::on(file, call, buffer.into_payload()) }
    }

    #[inline(always)]
    fn plain(&mut self) -> Option<Plain> {
        let offset = self.offset?;
        let memory = self.buffer.as_mut_slice();
        let (buf, len) = (memory.as_mut_ptr(), memory.len());
        let address = buf.addr();
        if len == 0 || len >= PLAIN_BYTES_MAX || !self.file.plan().takes(address, len, offset) {
            return None;
        }
        let bytes = len as u32;
        Some(Plain { call: Call::Read { fd: self.file.raw_descriptor(), buf, len: bytes, offset }, bytes, address })
    }

    #[inline(always)]
    fn plain_file(&self) -> Option<&File> {
        Some(&self.file)
    }

    #[inline(always)]
    fn into_owned(self) -> (Payload, Option<File>) {
        let Self { file, buffer, .. } = self;
        (buffer.into_payload(), Some(file))
    }

    fn finish(mut done: Done) -> Self::Output {
        (done.value().map(|bytes| bytes as usize), B::from_payload(done.take_payload()))
    }
}

/// Where in a file a transfer goes.
pub(super) struct Position {
    /// As the kernel takes it.
    pub(super) offset: u64,
    /// The transfer is at the file's own position, so it waits for its turn.
    pub(super) cursor: bool,
    /// The result, if the offset is larger than any file can have.
    pub(super) refused: Option<Result<u64, Box<Error>>>,
}

/// Where a transfer on `file` goes that was asked for at `offset`. What has no positions ignores it, on every backend.
pub(super) fn place(offset: Option<u64>, file: &FileInner) -> Position {
    let refused = offset
        .filter(|offset| i64::try_from(*offset).is_err())
        .map(|_| Err(Box::new(Error::InvalidInput("the offset must be less than 2^63"))));
    match offset {
        Some(offset) if file.facts().seekable => Position { offset, cursor: false, refused },
        _ => Position { offset: CURRENT_POSITION, cursor: offset.is_none() && file.facts().seekable, refused },
    }
}

/// `offset` plus `by`. The mark that stands for the file's own position stays as it is.
pub(super) const fn advanced(offset: u64, by: u64) -> u64 {
    if offset == CURRENT_POSITION { CURRENT_POSITION } else { offset.saturating_add(by) }
}

/// The calls after the first for a transfer of `len` bytes.
pub(super) fn later_parts(len: u64, call_at: impl Fn(u64) -> (Call, u64)) -> Option<Later> {
    let step = u64::from(BYTES_MAX);
    (len > step).then(|| Box::new(More::Calls((1..len.div_ceil(step)).map(|part| call_at(part * step)).collect())))
}
