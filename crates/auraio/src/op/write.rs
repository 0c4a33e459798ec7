//! Write from one buffer.

use super::{
    Done, Operation, PLAIN_BYTES_MAX, Plain, Prepared,
    read::{advanced, later_parts, place},
};
use crate::{
    File, IoBuf, Result,
    buf::Payload,
    sys::{BYTES_MAX, Call},
};

/// Writes a buffer. If it writes fewer bytes than the buffer has, the device is full or a limit was reached. A second write,
/// of the rest, gives the reason as its error.
///
/// # Errors
/// What pwrite(2) gives: `EBADF` if the file was not opened for writing, `ENOSPC`, `EDQUOT`, `EFBIG`, `EIO`, and `EINVAL` if
/// the transfer is not aligned and the file was opened with
/// [`OpenOptions::direct_strict`](crate::OpenOptions::direct_strict).
///
/// ```
/// use auraio::{Engine, OpenOptions, op};
///
/// let path = std::env::temp_dir().join(format!("auraio-write-{}", std::process::id()));
/// let engine = Engine::builder().build()?;
/// engine.block_on(async {
///     let file = engine.open(&path, OpenOptions::new().write(true).create(true)).await?;
///     let (written, _) = engine.submit(op::Write::at(&file, "hello", 0)).await;
///     assert_eq!(written?, 5);
///     file.close().await?;
///     engine.remove_file(&path).await
/// })?;
/// # Ok::<(), auraio::Error>(())
/// ```
#[derive(Debug)]
pub struct Write<B> {
    file: File,
    buffer: B,
    /// `None`: the file's own position.
    offset: Option<u64>,
}

impl<B: IoBuf> Write<B> {
    /// Writes at `offset`. A pipe, a socket and a file opened for appending ignore the offset.
    ///
    /// ```
    /// use auraio::op;
    ///
    /// # let scratch = tempfile::NamedTempFile::new().unwrap();
    /// # let engine = auraio::Engine::builder().build()?;
    /// # engine.block_on(async {
    /// # let options = auraio::OpenOptions::new().read(true).write(true);
    /// # let file = engine.open(scratch.path(), options).await?;
    /// assert_eq!(engine.submit(op::Write::at(&file, "hello", 100)).await.0?, 5);
    /// assert_eq!(file.metadata().await?.len(), 105);
    /// # file.close().await
    /// # })?;
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub fn at(file: &File, buffer: B, offset: u64) -> Self {
        Self { file: file.share(), buffer, offset: Some(offset) }
    }

    /// Writes at the file's own position, and moves it. Operations at a file's own position are performed one after the
    /// other, in the order in which they were submitted.
    ///
    /// ```
    /// use auraio::op;
    ///
    /// # let scratch = tempfile::NamedTempFile::new().unwrap();
    /// # let engine = auraio::Engine::builder().build()?;
    /// # engine.block_on(async {
    /// # let options = auraio::OpenOptions::new().read(true).write(true);
    /// # let file = engine.open(scratch.path(), options).await?;
    /// let one = engine.submit(op::Write::at_position(&file, "one "));
    /// let two = engine.submit(op::Write::at_position(&file, "two"));
    /// assert_eq!(one.await.0? + two.await.0?, 7);
    /// assert_eq!(file.read_at(vec![0; 7], 0).await.1, b"one two");
    /// # file.close().await
    /// # })?;
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub fn at_position(file: &File, buffer: B) -> Self {
        Self { file: file.share(), buffer, offset: None }
    }
}

impl<B: IoBuf> Operation for Write<B> {
    type Output = (Result<usize>, B);

    fn prepare(self) -> Prepared {
        let Self { file, buffer, offset } = self;
        let file = file.into_inner();
        let memory = buffer.as_slice();
        let (address, len) = (memory.as_ptr(), memory.len() as u64);
        let (fd, place) = (file.descriptor(), place(offset, &file));
        let offset = place.offset;
        let call_at = |from: u64| {
            let part = (len - from).min(u64::from(BYTES_MAX));
            let call = Call::Write {
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
        file.note_write();
        Prepared { expect, more, cursor: place.cursor, early, ..Prepared::on(file, call, buffer.into_payload()) }
    }

    #[inline(always)]
    fn plain(&mut self) -> Option<Plain> {
        let offset = self.offset?;
        let memory = self.buffer.as_slice();
        let (buf, len) = (memory.as_ptr(), memory.len());
        let address = buf.addr();
        if len == 0 || len >= PLAIN_BYTES_MAX || !self.file.plan().takes(address, len, offset) {
            return None;
        }
        let bytes = len as u32;
        Some(Plain { call: Call::Write { fd: self.file.raw_descriptor(), buf, len: bytes, offset }, bytes, address })
    }

    #[inline(always)]
    fn plain_file(&self) -> Option<&File> {
        Some(&self.file)
    }

    #[inline(always)]
    fn into_owned(self) -> (Payload, Option<File>) {
        let Self { file, buffer, .. } = self;
        file.note_write();
        (buffer.into_payload(), Some(file))
    }

    fn finish(mut done: Done) -> Self::Output {
        (done.value().map(|bytes| bytes as usize), B::from_payload(done.take_payload()))
    }
}
