//! Read into, or write from, many buffers.
#![expect(unsafe_code, reason = "the vectors that the kernel reads are addresses, which cross threads with the slot")]

use std::{collections::VecDeque, sync::Arc};

use super::{
    Done, More, Operation, Prepared,
    read::{advanced, place},
};
use crate::{
    File, IoBuf, IoBufMut, Result,
    buf::Payload,
    file::FileInner,
    sys::{BYTES_MAX, Call, IoVec, VECTORS_MAX, io_vec},
};

/// Reads into several buffers, one after the other: the next begins when the one before it is full. There may be any number
/// of buffers. One call takes at most 1,024 vectors and 2 GiB less a page; for more, the engine makes several calls.
///
/// # Errors
/// As for [`Read`](super::Read).
///
/// ```
/// use auraio::{Engine, OpenOptions, op};
///
/// let engine = Engine::builder().build()?;
/// let (read, buffers) = engine.block_on(async {
///     let file = engine.open("Cargo.toml", OpenOptions::new().read(true)).await?;
///     Ok::<_, auraio::Error>(engine.submit(op::ReadVectored::at(&file, vec![vec![0; 1], vec![0; 7]], 0)).await)
/// })?;
/// assert_eq!((read?, buffers[1].as_slice()), (8, b"package".as_slice()));
/// # Ok::<(), auraio::Error>(())
/// ```
#[derive(Debug)]
pub struct ReadVectored<B> {
    file: Arc<FileInner>,
    buffers: Vec<B>,
    /// `None`: the file's own position.
    offset: Option<u64>,
}

impl<B: IoBufMut> ReadVectored<B> {
    /// Reads from `offset` on.
    ///
    /// ```
    /// use auraio::op;
    ///
    /// # let engine = auraio::Engine::builder().build()?;
    /// # engine.block_on(async {
    /// # let file = engine.open("Cargo.toml", auraio::OpenOptions::new().read(true)).await?;
    /// let parts = vec![vec![0; 1], vec![0; 7]];
    /// let (read, parts) = engine.submit(op::ReadVectored::at(&file, parts, 0)).await;
    /// assert_eq!((read?, parts[1].as_slice()), (8, b"package".as_slice()));
    /// # file.close().await
    /// # })?;
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub fn at(file: &File, buffers: Vec<B>, offset: u64) -> Self {
        Self { file: file.inner(), buffers, offset: Some(offset) }
    }

    /// Reads from the file's own position on, and moves it.
    ///
    /// ```
    /// use auraio::op;
    ///
    /// # let engine = auraio::Engine::builder().build()?;
    /// # engine.block_on(async {
    /// # let file = engine.open("Cargo.toml", auraio::OpenOptions::new().read(true)).await?;
    /// file.read(vec![0; 1]).await.0?;
    /// let (_, parts) = engine.submit(op::ReadVectored::at_position(&file, vec![vec![0; 4], vec![0; 3]])).await;
    /// assert_eq!(parts.concat(), b"package");
    /// # file.close().await
    /// # })?;
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub fn at_position(file: &File, buffers: Vec<B>) -> Self {
        Self { file: file.inner(), buffers, offset: None }
    }
}

impl<B: IoBufMut> Operation for ReadVectored<B> {
    type Output = (Result<usize>, Vec<B>);

    fn prepare(self) -> Prepared {
        let Self { file, mut buffers, offset } = self;
        let parts = buffers.iter_mut().map(|buffer| {
            let memory = buffer.as_mut_slice();
            (memory.as_mut_ptr(), memory.len())
        });
        let vectors = Vectors::new(parts);
        let fd = file.descriptor();
        vectors.prepare(file, buffers, offset, |iov, count, offset| Call::ReadVectored { fd, iov, count, offset })
    }

    fn finish(done: Done) -> Self::Output {
        finish(done)
    }
}

/// Writes several buffers, one after the other. As with [`ReadVectored`] there may be any number of them.
///
/// # Errors
/// As for [`Write`](super::Write).
///
/// ```
/// use auraio::{Engine, OpenOptions, op};
///
/// let path = std::env::temp_dir().join(format!("auraio-writev-{}", std::process::id()));
/// let engine = Engine::builder().build()?;
/// engine.block_on(async {
///     let file = engine.open(&path, OpenOptions::new().write(true).create(true)).await?;
///     let (written, _) = engine.submit(op::WriteVectored::at(&file, vec!["hello", " world"], 0)).await;
///     assert_eq!(written?, 11);
///     file.close().await?;
///     engine.remove_file(&path).await
/// })?;
/// # Ok::<(), auraio::Error>(())
/// ```
#[derive(Debug)]
pub struct WriteVectored<B> {
    file: Arc<FileInner>,
    buffers: Vec<B>,
    /// `None`: the file's own position.
    offset: Option<u64>,
}

impl<B: IoBuf> WriteVectored<B> {
    /// Writes at `offset`.
    ///
    /// ```
    /// use auraio::op;
    ///
    /// # let scratch = tempfile::NamedTempFile::new().unwrap();
    /// # let engine = auraio::Engine::builder().build()?;
    /// # engine.block_on(async {
    /// # let options = auraio::OpenOptions::new().read(true).write(true);
    /// # let file = engine.open(scratch.path(), options).await?;
    /// let (written, _) = engine.submit(op::WriteVectored::at(&file, vec!["head", "body"], 0)).await;
    /// assert_eq!(written?, 8);
    /// # file.close().await
    /// # })?;
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub fn at(file: &File, buffers: Vec<B>, offset: u64) -> Self {
        Self { file: file.inner(), buffers, offset: Some(offset) }
    }

    /// Writes at the file's own position, and moves it.
    ///
    /// ```
    /// use auraio::op;
    ///
    /// # let scratch = tempfile::NamedTempFile::new().unwrap();
    /// # let engine = auraio::Engine::builder().build()?;
    /// # engine.block_on(async {
    /// # let options = auraio::OpenOptions::new().read(true).write(true);
    /// # let file = engine.open(scratch.path(), options).await?;
    /// file.write("one ").await.0?;
    /// engine.submit(op::WriteVectored::at_position(&file, vec!["two ", "three"])).await.0?;
    /// assert_eq!(file.read_at(vec![0; 13], 0).await.1, b"one two three");
    /// # file.close().await
    /// # })?;
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub fn at_position(file: &File, buffers: Vec<B>) -> Self {
        Self { file: file.inner(), buffers, offset: None }
    }
}

impl<B: IoBuf> Operation for WriteVectored<B> {
    type Output = (Result<usize>, Vec<B>);

    fn prepare(self) -> Prepared {
        let Self { file, buffers, offset } = self;
        let parts = buffers.iter().map(|buffer| {
            let memory = buffer.as_slice();
            (memory.as_ptr().cast_mut(), memory.len())
        });
        let vectors = Vectors::new(parts);
        let fd = file.descriptor();
        file.note_write();
        vectors.prepare(file, buffers, offset, |iov, count, offset| Call::WriteVectored { fd, iov, count, offset })
    }

    fn finish(done: Done) -> Self::Output {
        finish(done)
    }
}

/// The list of vectors that the kernel reads for a vectored call. It lies on the heap, so it stays where it is when this
/// value moves.
#[derive(Debug)]
struct Vectors {
    iov: Vec<IoVec>,
    /// One entry for each call: the index of its first vector, the number of its vectors, and their bytes.
    runs: Vec<(usize, u32, u64)>,
}

// SAFETY: the addresses are those of buffers that travel in the same payload, and only the kernel follows them.
unsafe impl Send for Vectors {}

struct Owned<B> {
    buffers: Vec<B>,
    _vectors: Vectors,
}

impl Vectors {
    /// Makes vectors for the parts, and cuts them where one call cannot move more.
    fn new(parts: impl Iterator<Item = (*mut u8, usize)>) -> Self {
        let mut iov = Vec::new();
        let mut runs = vec![(0, 0u32, 0u64)];
        for (mut address, mut len) in parts {
            while len > 0 {
                let (start, count, bytes) = runs[runs.len() - 1];
                let room = (u64::from(BYTES_MAX) - bytes) as usize;
                if room == 0 || count == VECTORS_MAX {
                    runs.push((iov.len(), 0, 0));
                    continue;
                }
                let part = len.min(room);
                iov.push(io_vec(address, part));
                let last = runs.len() - 1;
                runs[last] = (start, count + 1, bytes + part as u64);
                address = address.wrapping_add(part);
                len -= part;
            }
        }
        Self { iov, runs }
    }

    fn prepare<B: Send + 'static>(
        self,
        file: Arc<FileInner>,
        buffers: Vec<B>,
        offset: Option<u64>,
        call: impl Fn(*const IoVec, u32, u64) -> Call,
    ) -> Prepared {
        let place = place(offset, &file);
        let offset = place.offset;
        let mut before = 0;
        let mut calls: VecDeque<(Call, u64)> = self
            .runs
            .iter()
            .map(|&(start, count, bytes)| {
                let made = call(self.iov[start..].as_ptr(), count, advanced(offset, before));
                before += bytes;
                (made, bytes)
            })
            .collect();
        let (call, expect) = calls.pop_front().unwrap_or((Call::Nop, 0));
        Prepared {
            expect,
            more: (!calls.is_empty()).then(|| Box::new(More::Calls(calls))),
            cursor: place.cursor,
            early: place.refused.or((expect == 0).then_some(Ok(0))),
            ..Prepared::on(file, call, Payload::any(Owned { buffers, _vectors: self }))
        }
    }
}

fn finish<B: Send + 'static>(mut done: Done) -> (Result<usize>, Vec<B>) {
    let result = done.value().map(|bytes| bytes as usize);
    (result, done.take_payload().take_any::<Owned<B>>().buffers)
}
