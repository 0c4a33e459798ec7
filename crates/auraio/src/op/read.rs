//! Read into one buffer.

use std::sync::Arc;

use super::{Done, Later, Operation, Prepared};
use crate::{
    File, IoBufMut, Result,
    file::FileInner,
    sys::{BYTES_MAX, CURRENT_POSITION, Call},
};

/// Reads up to the length of a buffer. Fewer bytes than that mean the end of the file, a signal, or a pipe that held no
/// more; 0 means the end.
///
/// A buffer longer than one call can fill (2 GiB less a page) is filled by several.
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
    file: Arc<FileInner>,
    buffer: B,
    offset: u64,
}

impl<B: IoBufMut> Read<B> {
    /// Reads from `offset` on (which a pipe or a socket ignores).
    #[must_use]
    pub fn at(file: &File, buffer: B, offset: u64) -> Self {
        Self { file: file.inner(), buffer, offset }
    }

    /// Reads from the file's own position on, and moves it. Operations at a file's own position are performed one after
    /// the other, in the order in which they were submitted.
    #[must_use]
    pub fn at_position(file: &File, buffer: B) -> Self {
        Self { file: file.inner(), buffer, offset: CURRENT_POSITION }
    }
}

impl<B: IoBufMut> Operation for Read<B> {
    type Output = (Result<usize>, B);

    fn prepare(self) -> Prepared {
        let Self { file, mut buffer, offset } = self;
        let memory = buffer.as_mut_slice();
        let (address, len) = (memory.as_mut_ptr(), memory.len() as u64);
        let (fd, facts_seekable) = (file.descriptor(), file.facts().seekable);
        let offset = if facts_seekable { offset } else { CURRENT_POSITION };
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
        let cursor = facts_seekable && offset == CURRENT_POSITION;
        let early = (len == 0).then_some(Ok(0));
        Prepared { expect, more, cursor, early, ..Prepared::on(file, call, buffer.into_payload()) }
    }

    fn finish(mut done: Done) -> Self::Output {
        (done.value().map(|bytes| bytes as usize), B::from_payload(done.payload))
    }
}

/// `offset` moved on, unless it is the file's own position.
pub(super) const fn advanced(offset: u64, by: u64) -> u64 {
    if offset == CURRENT_POSITION { CURRENT_POSITION } else { offset.saturating_add(by) }
}

/// The calls after the first for a transfer of `len` bytes.
pub(super) fn later_parts(len: u64, call_at: impl Fn(u64) -> (Call, u64)) -> Option<Later> {
    let step = u64::from(BYTES_MAX);
    (len > step).then(|| Box::new((1..len.div_ceil(step)).map(|part| call_at(part * step)).collect()))
}
