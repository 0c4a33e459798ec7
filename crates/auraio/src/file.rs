//! An open file, and what the engine keeps with it: what kind it is, whose turn it is at its own position, and who
//! waits to close it.

use std::{
    collections::VecDeque,
    fmt,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::{
    Engine, IoBuf, IoBufMut, Metadata, OpFuture, OpenOptions, Timestamp,
    engine::Shared,
    lock,
    op::{self, Advice, AllocateMode},
    ring::{Ring, Ticket},
    sys::{self, Descriptor, FileFacts},
};

/// An open file of an [`Engine`].
///
/// Every method queues an operation and answers a future; polling it, or the submit batch filling up, hands it to the
/// kernel. Operations of one file are not ordered among each other unless they use the file's own position: await one
/// before you start what depends on it, or link them with a [`Chain`](crate::Chain).
pub struct File {
    inner: Arc<FileInner>,
}

pub(crate) struct FileInner {
    engine: Arc<Shared>,
    descriptor: Descriptor,
    facts: FileFacts,
    wrote: AtomicBool,
    cursor: Mutex<Cursor>,
    /// The close that waits for the last user; once it is there the descriptor is its, not ours.
    closer: Mutex<Option<Ticket>>,
}

/// Whose turn it is at the file's own position.
#[derive(Default)]
struct Cursor {
    busy: bool,
    waiting: VecDeque<Ticket>,
}

impl FileInner {
    /// Takes over a descriptor that was just opened with `flags`. On an error it is closed.
    pub(crate) fn adopt(engine: Arc<Shared>, descriptor: Descriptor, flags: i32) -> Result<Self, i32> {
        match sys::file_facts(descriptor, flags) {
            Ok(facts) => Ok(Self {
                engine,
                descriptor,
                facts,
                wrote: AtomicBool::new(false),
                cursor: Mutex::default(),
                closer: Mutex::default(),
            }),
            Err(errno) => {
                sys::perform_close(descriptor);
                Err(errno)
            }
        }
    }

    pub(crate) const fn descriptor(&self) -> Descriptor {
        self.descriptor
    }

    /// The rings that may hold operations on the file.
    pub(crate) fn rings(&self) -> Vec<Arc<Ring>> {
        self.engine.rings()
    }

    pub(crate) const fn facts(&self) -> &FileFacts {
        &self.facts
    }

    /// Remembers that the file was written through, so that its close may have something to wait for.
    pub(crate) fn note_write(&self) {
        if !self.wrote.load(Ordering::Relaxed) {
            self.wrote.store(true, Ordering::Relaxed);
        }
    }

    /// Whether closing can neither wait for a device or server nor report anything: then it is done at once.
    pub(crate) fn closes_at_once(&self) -> bool {
        self.facts.local && !self.wrote.load(Ordering::Relaxed)
    }

    /// Takes the turn at the file's own position, or queues for it: then `ticket` is released when it comes.
    pub(crate) fn take_turn(&self, ticket: impl FnOnce() -> Ticket) -> bool {
        let mut cursor = lock(&self.cursor);
        if cursor.busy {
            cursor.waiting.push_back(ticket());
            return false;
        }
        cursor.busy = true;
        true
    }

    /// Ends a turn; answers whose is the next.
    pub(crate) fn end_turn(&self) -> Option<Ticket> {
        let mut cursor = lock(&self.cursor);
        let next = cursor.waiting.pop_front();
        cursor.busy = next.is_some();
        next
    }

    /// Leaves the close to be started by whoever lets go of the file last.
    pub(crate) fn close_later(&self, closer: Ticket) {
        *lock(&self.closer) = Some(closer);
    }

    /// Who waits to close the file, when nobody uses it any more.
    pub(crate) fn into_closer(self) -> Option<Ticket> {
        lock(&self.closer).clone()
    }
}

impl Drop for FileInner {
    fn drop(&mut self) {
        if lock(&self.closer).is_none() {
            sys::perform_close(self.descriptor);
        }
    }
}

impl fmt::Debug for FileInner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("File").field("descriptor", &self.descriptor).field("facts", &self.facts).finish_non_exhaustive()
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl File {
    pub(crate) fn new(inner: FileInner) -> Self {
        Self { inner: Arc::new(inner) }
    }

    pub(crate) fn inner(&self) -> Arc<FileInner> {
        Arc::clone(&self.inner)
    }

    pub(crate) fn into_inner(self) -> Arc<FileInner> {
        self.inner
    }

    fn submit<O: op::Operation>(&self, operation: O) -> OpFuture<O> {
        Engine::from_shared(Arc::clone(&self.inner.engine)).submit(operation)
    }

    /// The number that the operating system knows the file by (on Windows, its handle). It stays the engine's.
    #[must_use]
    pub fn descriptor(&self) -> i64 {
        i64::from(self.inner.descriptor)
    }

    /// Whether the file has positions: false for pipes, sockets and terminals.
    #[must_use]
    pub fn is_seekable(&self) -> bool {
        self.inner.facts.seekable
    }

    /// Whether a stat of the file can be answered at once, with no device or server to wait for.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.inner.facts.local
    }

    /// Reads from `offset` into `buffer`. See [`op::Read`].
    pub fn read_at<B: IoBufMut>(&self, buffer: B, offset: u64) -> OpFuture<op::Read<B>> {
        self.submit(op::Read::at(self, buffer, offset))
    }

    /// Reads at the file's own position. See [`op::Read`].
    pub fn read<B: IoBufMut>(&self, buffer: B) -> OpFuture<op::Read<B>> {
        self.submit(op::Read::at_position(self, buffer))
    }

    /// Writes `buffer` at `offset`. See [`op::Write`].
    pub fn write_at<B: IoBuf>(&self, buffer: B, offset: u64) -> OpFuture<op::Write<B>> {
        self.submit(op::Write::at(self, buffer, offset))
    }

    /// Writes at the file's own position. See [`op::Write`].
    pub fn write<B: IoBuf>(&self, buffer: B) -> OpFuture<op::Write<B>> {
        self.submit(op::Write::at_position(self, buffer))
    }

    /// Reads into many buffers. See [`op::ReadVectored`].
    pub fn readv_at<B: IoBufMut>(&self, buffers: Vec<B>, offset: u64) -> OpFuture<op::ReadVectored<B>> {
        self.submit(op::ReadVectored::at(self, buffers, offset))
    }

    /// Writes many buffers. See [`op::WriteVectored`].
    pub fn writev_at<B: IoBuf>(&self, buffers: Vec<B>, offset: u64) -> OpFuture<op::WriteVectored<B>> {
        self.submit(op::WriteVectored::at(self, buffers, offset))
    }

    /// Makes data and metadata durable. See [`op::Sync`].
    pub fn sync_all(&self) -> OpFuture<op::Sync> {
        self.submit(op::Sync::all(self))
    }

    /// Makes data durable. See [`op::Sync`].
    pub fn sync_data(&self) -> OpFuture<op::Sync> {
        self.submit(op::Sync::data(self))
    }

    /// Starts or waits for write-back of a range. See [`op::SyncRange`].
    pub fn sync_range(&self, offset: u64, len: u64, flags: op::SyncRangeFlags) -> OpFuture<op::SyncRange> {
        self.submit(op::SyncRange::new(self, offset, len, flags))
    }

    /// Reserves, frees or moves blocks. See [`op::Allocate`].
    pub fn allocate(&self, mode: AllocateMode, offset: u64, len: u64) -> OpFuture<op::Allocate> {
        self.submit(op::Allocate::new(self, mode, offset, len))
    }

    /// Cuts or extends the file. See [`op::Truncate`].
    pub fn set_len(&self, len: u64) -> OpFuture<op::Truncate> {
        self.submit(op::Truncate::new(self, len))
    }

    /// Tells how a range will be used. See [`op::Advise`].
    pub fn advise(&self, offset: u64, len: u64, advice: Advice) -> OpFuture<op::Advise> {
        self.submit(op::Advise::new(self, offset, len, advice))
    }

    /// What is known of the file. See [`op::Stat`].
    pub fn metadata(&self) -> OpFuture<op::Stat> {
        self.submit(op::Stat::file(self))
    }

    /// What is known of the file right now, where answering cannot wait for anything; `None` where it could.
    ///
    /// # Errors
    /// What statx(2) gives.
    ///
    /// ```
    /// use auraio::{Engine, OpenOptions};
    ///
    /// let engine = Engine::builder().build()?;
    /// let file = engine.block_on(engine.open("Cargo.toml", OpenOptions::new().read(true)))?;
    /// if let Some(metadata) = file.metadata_now() {
    ///     assert!(metadata?.is_file());
    /// }
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub fn metadata_now(&self) -> Option<crate::Result<Metadata>> {
        self.inner
            .facts
            .local
            .then(|| sys::stat_now(self.inner.descriptor).map_err(|errno| crate::Error::os(errno, "fstat")))
    }

    /// Sets the permission bits. See [`op::SetMode`].
    pub fn set_mode(&self, mode: u32) -> OpFuture<op::SetMode> {
        self.submit(op::SetMode::new(self, mode))
    }

    /// Sets owner and group. See [`op::SetOwner`].
    pub fn set_owner(&self, uid: Option<u32>, gid: Option<u32>) -> OpFuture<op::SetOwner> {
        self.submit(op::SetOwner::new(self, uid, gid))
    }

    /// Sets the times of last access and change. See [`op::SetTimes`].
    pub fn set_times(&self, accessed: Timestamp, modified: Timestamp) -> OpFuture<op::SetTimes> {
        self.submit(op::SetTimes::new(self, accessed, modified))
    }

    /// Closes the file when everything on it has completed. See [`op::Close`].
    #[must_use = "a future does nothing until it is polled or the submit batch fills up"]
    pub fn close(self) -> OpFuture<op::Close> {
        let engine = Engine::from_shared(Arc::clone(&self.inner.engine));
        engine.submit(op::Close::new(self))
    }
}

impl Engine {
    /// Opens a file. See [`op::Open`].
    pub fn open(&self, path: impl AsRef<Path>, options: OpenOptions) -> OpFuture<op::Open> {
        self.submit(op::Open::new(self, path.as_ref(), options))
    }

    /// What is known of a path, through symbolic links. See [`op::Stat`].
    pub fn metadata(&self, path: impl AsRef<Path>) -> OpFuture<op::Stat> {
        self.submit(op::Stat::path(path.as_ref()))
    }

    /// Removes a file. See [`op::RemoveFile`].
    pub fn remove_file(&self, path: impl AsRef<Path>) -> OpFuture<op::RemoveFile> {
        self.submit(op::RemoveFile::new(path.as_ref()))
    }

    /// Moves a file, replacing what has the new name. See [`op::Rename`].
    pub fn rename(&self, from: impl AsRef<Path>, to: impl AsRef<Path>) -> OpFuture<op::Rename> {
        self.submit(op::Rename::new(from.as_ref(), to.as_ref()))
    }

    /// Makes a directory. See [`op::CreateDir`].
    pub fn create_dir(&self, path: impl AsRef<Path>) -> OpFuture<op::CreateDir> {
        self.submit(op::CreateDir::new(path.as_ref()))
    }

    /// Opens, reads and closes. See [`op::ReadPath`].
    pub fn read_path<B: IoBufMut>(&self, path: impl AsRef<Path>, buffer: B) -> OpFuture<op::ReadPath<B>> {
        self.submit(op::ReadPath::new(path.as_ref(), buffer))
    }
}
