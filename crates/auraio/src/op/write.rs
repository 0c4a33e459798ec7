//! Write from one buffer.

use std::sync::Arc;

use super::{
    Done, Operation, Prepared,
    read::{advanced, later_parts},
};
use crate::{
    File, IoBuf, Result,
    file::FileInner,
    sys::{BYTES_MAX, CURRENT_POSITION, Call},
};

/// Writes a buffer. Fewer bytes than its length mean that the device or a limit took no more; asking again for the rest
/// tells why.
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
    file: Arc<FileInner>,
    buffer: B,
    offset: u64,
}

impl<B: IoBuf> Write<B> {
    /// Writes at `offset` (which a pipe, a socket and a file opened for appending ignore).
    #[must_use]
    pub fn at(file: &File, buffer: B, offset: u64) -> Self {
        Self { file: file.inner(), buffer, offset }
    }

    /// Writes at the file's own position, and moves it. Operations at a file's own position are performed one after the
    /// other, in the order in which they were submitted.
    #[must_use]
    pub fn at_position(file: &File, buffer: B) -> Self {
        Self { file: file.inner(), buffer, offset: CURRENT_POSITION }
    }
}

impl<B: IoBuf> Operation for Write<B> {
    type Output = (Result<usize>, B);

    fn prepare(self) -> Prepared {
        let Self { file, buffer, offset } = self;
        let memory = buffer.as_slice();
        let (address, len) = (memory.as_ptr(), memory.len() as u64);
        let (fd, facts_seekable) = (file.descriptor(), file.facts().seekable);
        let offset = if facts_seekable { offset } else { CURRENT_POSITION };
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
        let cursor = facts_seekable && offset == CURRENT_POSITION;
        let early = (len == 0).then_some(Ok(0));
        file.note_write();
        Prepared { expect, more, cursor, early, ..Prepared::on(file, call, buffer.into_payload()) }
    }

    fn finish(mut done: Done) -> Self::Output {
        (done.value().map(|bytes| bytes as usize), B::from_payload(done.payload))
    }
}
