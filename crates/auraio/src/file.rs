//! An open file, and what the engine keeps with it: its facts and its plan, whose turn it is at its own position, and the
//! close that waits.

use std::{
    collections::VecDeque,
    fmt,
    path::Path,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
    },
};

use crate::{
    Engine, IoBuf, IoBufMut, Metadata, OpFuture, OpenOptions, Pool, Timestamp,
    control::{Guard, Priority},
    engine::Shared,
    lanes::{Lane, Wishes},
    lock,
    op::{self, Advice, AllocateMode},
    ring::{Ring, Ticket},
    sys::{self, BufferedTwin, Descriptor, FileFacts},
};

/// An open file of an [`Engine`].
///
/// Operations on it may also be given to another engine than the one that opened it ([`Engine::submit`]). A close waits for
/// those too, and cancels those that could wait for ever. The file keeps both engines until it is closed.
///
/// Every method queues an operation and answers a future for its result. Operations on one file may be performed in any
/// order, unless they use the file's own position. So await one before you start another that depends on it, or link them
/// with a [`Chain`](crate::Chain).
///
/// ```
/// use auraio::{Engine, OpenOptions};
///
/// let engine = Engine::builder().build()?;
/// engine.block_on(async {
///     let file = engine.open("Cargo.toml", OpenOptions::new().read(true)).await?;
///     let (one, two) = (file.read_at(vec![0; 1], 0), file.read_at(vec![0; 7], 1));
///     assert_eq!(two.await.1, b"package");
///     assert_eq!(one.await.1, b"[");
///     file.close().await
/// })?;
/// # Ok::<(), auraio::Error>(())
/// ```
pub struct File {
    inner: Arc<FileInner>,
}

pub(crate) struct FileInner {
    engine: Arc<Shared>,
    /// Other engines that have used it.
    users: Mutex<Vec<Arc<Shared>>>,
    /// Whoever opened it: what it wishes of the lane.
    client: Arc<Wishes>,
    /// The wishes of the file itself, if it has any.
    wishes: OnceLock<Arc<Wishes>>,
    /// The lane that governs its transfers.
    lane: Option<Arc<Lane>>,
    /// The class of its transfers, as [`Priority::index`].
    class: AtomicU8,
    descriptor: Descriptor,
    facts: FileFacts,
    plan: Plan,
    /// Tells one opening from another that has the same descriptor later.
    id: u64,
    /// Closed before the descriptor is.
    twin: BufferedTwin,
    wrote: AtomicBool,
    /// Whether a ring has a place for it in its table.
    placed: AtomicBool,
    /// Whether it gets a place when it is first used, instead of when it has been used often.
    wants_place: AtomicBool,
    cursor: Mutex<Cursor>,
    /// The close that waits for the last user; once it is there the descriptor is its, not ours.
    closer: Mutex<Option<Ticket>>,
}

/// The plan of a file: what a submission reads of it to decide whether a transfer may take the short path. It is made when
/// the file is opened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Bits that neither length nor position of a transfer on the short path may have: those that the alignment of direct
    /// I/O forbids, and those that no position has. If all bits are set, no transfer on the file takes the short path.
    refused: u64,
    /// Bits that the address of such a transfer may not have.
    refused_address: u64,
}

impl Plan {
    fn of(facts: &FileFacts) -> Self {
        if !facts.seekable || facts.fuse {
            return Self { refused: u64::MAX, refused_address: u64::MAX };
        }
        let alignment = &facts.alignment;
        let (unit, memory) =
            if facts.bounces { (alignment.offset.max(alignment.write_offset), alignment.memory) } else { (1, 1) };
        // No position is 2^63 or more.
        Self { refused: u64::from(unit - 1) | 1 << 63, refused_address: u64::from(memory - 1) }
    }

    /// Whether a transfer of one buffer may take the short path. The ring may still refuse it.
    #[inline(always)]
    pub(crate) const fn takes(self, address: usize, len: usize, offset: u64) -> bool {
        (offset | len as u64) & self.refused | address as u64 & self.refused_address == 0
    }
}

/// The number of openings so far. The first opening is 1, so that 0 stands for none.
static OPENED: AtomicU64 = AtomicU64::new(1);

/// Whose turn it is at the file's own position.
#[derive(Default)]
struct Cursor {
    busy: bool,
    waiting: VecDeque<Ticket>,
}

impl FileInner {
    /// Takes over a descriptor that was just opened with `flags`. On an error it is closed. `bounces` says whether direct
    /// transfers that are not aligned are to go by way of other memory, or to be refused by the kernel.
    pub(crate) fn adopt(engine: Engine, descriptor: Descriptor, flags: i32, bounces: bool) -> Result<Self, i32> {
        match sys::file_facts(descriptor, flags) {
            Ok(facts) => {
                let facts = facts.for_transfers(bounces);
                Ok(Self {
                    lane: engine.lane_of(&facts),
                    plan: Plan::of(&facts),
                    wishes: OnceLock::new(),
                    class: AtomicU8::new(engine.client().class() as u8),
                    client: Arc::clone(engine.client()),
                    engine: engine.shared(),
                    users: Mutex::default(),
                    descriptor,
                    facts,
                    twin: BufferedTwin::new(descriptor, facts.local),
                    id: OPENED.fetch_add(1, Ordering::Relaxed),
                    wrote: AtomicBool::new(false),
                    placed: AtomicBool::new(false),
                    wants_place: AtomicBool::new(false),
                    cursor: Mutex::default(),
                    closer: Mutex::default(),
                })
            }
            Err(errno) => {
                sys::perform_close(descriptor);
                Err(errno)
            }
        }
    }

    /// Whether this engine opened the file.
    #[inline]
    pub(crate) fn is_of(&self, engine: &Arc<Shared>) -> bool {
        Arc::ptr_eq(&self.engine, engine)
    }

    /// Remembers another engine that uses the file. Its rings may hold operations on it, and places for it, until it is
    /// closed, so the file keeps that engine for as long.
    #[cold]
    pub(crate) fn note_user(&self, engine: &Arc<Shared>) {
        let mut users = lock(&self.users);
        if !users.iter().any(|user| Arc::ptr_eq(user, engine)) {
            users.push(Arc::clone(engine));
        }
    }

    pub(crate) const fn descriptor(&self) -> Descriptor {
        self.descriptor
    }

    pub(crate) fn engine(&self) -> Engine {
        Engine::from_shared(Arc::clone(&self.engine), Arc::clone(&self.client))
    }

    /// The rings that may hold operations on the file.
    pub(crate) fn rings(&self) -> Vec<Arc<Ring>> {
        let mut rings = self.engine.rings();
        lock(&self.users).iter().for_each(|user| rings.extend(user.rings()));
        rings
    }

    pub(crate) const fn facts(&self) -> &FileFacts {
        &self.facts
    }

    #[inline]
    pub(crate) const fn plan(&self) -> Plan {
        self.plan
    }

    /// What governs transfers on the file: nothing, if it is on no device.
    #[inline]
    pub(crate) const fn lane(&self) -> Option<&Arc<Lane>> {
        self.lane.as_ref()
    }

    /// What the file wishes of its lane, beside the engine that opened it.
    pub(crate) fn wish(&self, guard: Option<Guard>) {
        let Some(lane) = &self.lane else { return };
        let wishes = self.wishes.get_or_init(Arc::default);
        wishes.set_guard(guard);
        wishes.use_lane(lane);
    }

    pub(crate) fn set_priority(&self, class: Priority) {
        self.class.store(class as u8, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn priority(&self) -> Priority {
        Priority::ALL[usize::from(self.class.load(Ordering::Relaxed)).min(2)]
    }

    pub(crate) const fn id(&self) -> u64 {
        self.id
    }

    /// Remembers that a ring has registered the file.
    pub(crate) fn note_place(&self) {
        self.placed.store(true, Ordering::Release);
    }

    /// Whether a ring is to register the file the first time that it sees it.
    #[inline]
    pub(crate) fn wants_place(&self) -> bool {
        self.wants_place.load(Ordering::Relaxed)
    }

    /// Takes the file out of the rings' tables: as long as it is in one, the kernel keeps it open.
    fn leave_places(&self) {
        if self.placed.load(Ordering::Acquire) {
            self.rings().iter().for_each(|ring| ring.forget_file(self.descriptor, self.id));
        }
    }

    /// The way into a direct file through the page cache.
    pub(crate) const fn twin(&self) -> &BufferedTwin {
        &self.twin
    }

    /// Where memory for the file's transfers comes from.
    pub(crate) fn pool(&self) -> Pool {
        self.engine.pool()
    }

    /// Remembers that something was written to the file, so that its close may have to wait.
    pub(crate) fn note_write(&self) {
        if !self.wrote.load(Ordering::Relaxed) {
            self.wrote.store(true, Ordering::Relaxed);
        }
    }

    /// Whether the submitting thread closes the file itself. It does so if the close can neither wait for a device or server
    /// nor report an error, which holds for a local file that nothing was written to. After a write, a ring closes the file.
    /// On overlay and f2fs the submitting thread closes it even then: such a close takes no time, but the kernel would use a
    /// worker for it.
    pub(crate) fn closes_at_once(&self) -> bool {
        let facts = &self.facts;
        let needs_worker = facts.seekable && !facts.plain_close;
        facts.local && (needs_worker || !self.wrote.load(Ordering::Relaxed))
    }

    /// Whether a ring may close the file. If a file system has a `flush`, the kernel gives the close to a worker. If it has
    /// no worker, the result is `ECANCELED`, and the file is still open. But the file system may have answered `ECANCELED`
    /// itself, and then the file is closed (measured on 6.18 with FUSE under RLIMIT_NPROC). Nobody can tell the two apart.
    /// So a thread of the engine closes such a file, with close(2).
    pub(crate) const fn closes_on_ring(&self) -> bool {
        self.facts.plain_close
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
}

impl Drop for FileInner {
    /// The last share in the file is gone. It may have been in a slot, in an operation that was never submitted, or in the
    /// result of one that was refused. If a close waits for this, it starts now. Otherwise the descriptor is closed here.
    fn drop(&mut self) {
        self.leave_places();
        match self.closer.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            Some(closer) => closer.ring.release(closer.key),
            None => sys::perform_close(self.descriptor),
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

    /// Another share in the file.
    #[inline(always)]
    pub(crate) fn share(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }

    #[inline(always)]
    pub(crate) fn shared(&self) -> &FileInner {
        &self.inner
    }

    #[inline(always)]
    pub(crate) fn plan(&self) -> Plan {
        self.inner.plan()
    }

    #[inline(always)]
    pub(crate) fn raw_descriptor(&self) -> Descriptor {
        self.inner.descriptor()
    }

    /// Remembers that something was written to the file, so that its close may have to wait.
    #[inline(always)]
    pub(crate) fn note_write(&self) {
        self.inner.note_write();
    }

    pub(crate) fn inner(&self) -> Arc<FileInner> {
        Arc::clone(&self.inner)
    }

    pub(crate) fn into_inner(self) -> Arc<FileInner> {
        self.inner
    }

    pub(crate) fn facts(&self) -> &FileFacts {
        self.inner.facts()
    }

    fn submit<O: op::Operation>(&self, operation: O) -> OpFuture<O> {
        self.inner.engine().submit(operation)
    }

    /// The number that the operating system knows the file by (on Windows, its handle). It stays the engine's.
    ///
    /// ```
    /// # let engine = auraio::Engine::builder().build()?;
    /// # engine.block_on(async {
    /// # let file = engine.open("Cargo.toml", auraio::OpenOptions::new().read(true)).await?;
    /// assert!(file.descriptor() >= 0);
    /// # file.close().await
    /// # })?;
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub fn descriptor(&self) -> i64 {
        sys::descriptor_number(self.inner.descriptor)
    }

    /// Whether the file has positions: false for pipes, sockets and terminals.
    ///
    /// ```
    /// # let engine = auraio::Engine::builder().build()?;
    /// # engine.block_on(async {
    /// # let file = engine.open("Cargo.toml", auraio::OpenOptions::new().read(true)).await?;
    /// assert!(file.is_seekable());
    /// # file.close().await
    /// # })?;
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub fn is_seekable(&self) -> bool {
        self.inner.facts.seekable
    }

    /// Whether a stat of the file can be answered at once, with no device or server to wait for.
    ///
    /// ```
    /// # let engine = auraio::Engine::builder().build()?;
    /// # engine.block_on(async {
    /// # let file = engine.open("Cargo.toml", auraio::OpenOptions::new().read(true)).await?;
    /// assert_eq!(file.is_local(), file.metadata_now().is_some());
    /// # file.close().await
    /// # })?;
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.inner.facts.local
    }

    /// Registers the file with the rings that use it, from its next transfer on: an operation on a registered file does not
    /// look it up. A file that is used often is registered by itself, as long as the rings' tables have room (960 files
    /// each).
    ///
    /// ```
    /// # let engine = auraio::Engine::builder().build()?;
    /// # engine.block_on(async {
    /// # let file = engine.open("Cargo.toml", auraio::OpenOptions::new().read(true)).await?;
    /// file.register();
    /// assert_eq!(file.read_at(vec![0; 9], 0).await.1, b"[package]");
    /// # file.close().await
    /// # })?;
    /// # Ok::<(), auraio::Error>(())
    /// ```
    pub fn register(&self) {
        self.inner.wants_place.store(true, Ordering::Relaxed);
    }

    /// Reads from `offset` into `buffer`. See [`op::Read`].
    ///
    /// ```
    /// # let engine = auraio::Engine::builder().build()?;
    /// # engine.block_on(async {
    /// # let file = engine.open("Cargo.toml", auraio::OpenOptions::new().read(true)).await?;
    /// let (read, buffer) = file.read_at(vec![0; 7], 1).await;
    /// assert_eq!((read?, buffer.as_slice()), (7, b"package".as_slice()));
    /// # file.close().await
    /// # })?;
    /// # Ok::<(), auraio::Error>(())
    /// ```
    pub fn read_at<B: IoBufMut>(&self, buffer: B, offset: u64) -> OpFuture<op::Read<B>> {
        self.submit(op::Read::at(self, buffer, offset))
    }

    /// Reads at the file's own position. See [`op::Read`].
    ///
    /// ```
    /// # let engine = auraio::Engine::builder().build()?;
    /// # engine.block_on(async {
    /// # let file = engine.open("Cargo.toml", auraio::OpenOptions::new().read(true)).await?;
    /// file.read(vec![0; 1]).await.0?;
    /// assert_eq!(file.read(vec![0; 7]).await.1, b"package");
    /// # file.close().await
    /// # })?;
    /// # Ok::<(), auraio::Error>(())
    /// ```
    pub fn read<B: IoBufMut>(&self, buffer: B) -> OpFuture<op::Read<B>> {
        self.submit(op::Read::at_position(self, buffer))
    }

    /// Writes `buffer` at `offset`. See [`op::Write`].
    ///
    /// ```
    /// # let scratch = tempfile::NamedTempFile::new().unwrap();
    /// # let engine = auraio::Engine::builder().build()?;
    /// # engine.block_on(async {
    /// # let options = auraio::OpenOptions::new().read(true).write(true);
    /// # let file = engine.open(scratch.path(), options).await?;
    /// let (written, buffer) = file.write_at(vec![7; 3], 100).await;
    /// assert_eq!((written?, buffer), (3, vec![7; 3]));
    /// assert_eq!(file.metadata().await?.len(), 103);
    /// # file.close().await
    /// # })?;
    /// # Ok::<(), auraio::Error>(())
    /// ```
    pub fn write_at<B: IoBuf>(&self, buffer: B, offset: u64) -> OpFuture<op::Write<B>> {
        self.submit(op::Write::at(self, buffer, offset))
    }

    /// Writes at the file's own position. See [`op::Write`].
    ///
    /// ```
    /// # let scratch = tempfile::NamedTempFile::new().unwrap();
    /// # let engine = auraio::Engine::builder().build()?;
    /// # engine.block_on(async {
    /// # let options = auraio::OpenOptions::new().read(true).write(true);
    /// # let file = engine.open(scratch.path(), options).await?;
    /// file.write("one ").await.0?;
    /// file.write("two").await.0?;
    /// assert_eq!(file.read_at(vec![0; 7], 0).await.1, b"one two");
    /// # file.close().await
    /// # })?;
    /// # Ok::<(), auraio::Error>(())
    /// ```
    pub fn write<B: IoBuf>(&self, buffer: B) -> OpFuture<op::Write<B>> {
        self.submit(op::Write::at_position(self, buffer))
    }

    /// Reads into many buffers. See [`op::ReadVectored`].
    ///
    /// ```
    /// # let engine = auraio::Engine::builder().build()?;
    /// # engine.block_on(async {
    /// # let file = engine.open("Cargo.toml", auraio::OpenOptions::new().read(true)).await?;
    /// let (read, buffers) = file.readv_at(vec![vec![0; 1], vec![0; 7]], 0).await;
    /// assert_eq!((read?, buffers[1].as_slice()), (8, b"package".as_slice()));
    /// # file.close().await
    /// # })?;
    /// # Ok::<(), auraio::Error>(())
    /// ```
    pub fn readv_at<B: IoBufMut>(&self, buffers: Vec<B>, offset: u64) -> OpFuture<op::ReadVectored<B>> {
        self.submit(op::ReadVectored::at(self, buffers, offset))
    }

    /// Writes many buffers. See [`op::WriteVectored`].
    ///
    /// ```
    /// # let scratch = tempfile::NamedTempFile::new().unwrap();
    /// # let engine = auraio::Engine::builder().build()?;
    /// # engine.block_on(async {
    /// # let options = auraio::OpenOptions::new().read(true).write(true);
    /// # let file = engine.open(scratch.path(), options).await?;
    /// let (written, _) = file.writev_at(vec!["head", "body"], 0).await;
    /// assert_eq!(written?, 8);
    /// # file.close().await
    /// # })?;
    /// # Ok::<(), auraio::Error>(())
    /// ```
    pub fn writev_at<B: IoBuf>(&self, buffers: Vec<B>, offset: u64) -> OpFuture<op::WriteVectored<B>> {
        self.submit(op::WriteVectored::at(self, buffers, offset))
    }

    /// Makes data and metadata durable. See [`op::Sync`].
    ///
    /// ```
    /// # let scratch = tempfile::NamedTempFile::new().unwrap();
    /// # let engine = auraio::Engine::builder().build()?;
    /// # engine.block_on(async {
    /// # let options = auraio::OpenOptions::new().read(true).write(true);
    /// # let file = engine.open(scratch.path(), options).await?;
    /// file.write_at("kept", 0).await.0?;
    /// file.sync_all().await?;
    /// # file.close().await
    /// # })?;
    /// # Ok::<(), auraio::Error>(())
    /// ```
    pub fn sync_all(&self) -> OpFuture<op::Sync> {
        self.submit(op::Sync::all(self))
    }

    /// Makes data durable. See [`op::Sync`].
    ///
    /// ```
    /// # let scratch = tempfile::NamedTempFile::new().unwrap();
    /// # let engine = auraio::Engine::builder().build()?;
    /// # engine.block_on(async {
    /// # let options = auraio::OpenOptions::new().read(true).write(true);
    /// # let file = engine.open(scratch.path(), options).await?;
    /// file.write_at("kept", 0).await.0?;
    /// file.sync_data().await?;
    /// # file.close().await
    /// # })?;
    /// # Ok::<(), auraio::Error>(())
    /// ```
    pub fn sync_data(&self) -> OpFuture<op::Sync> {
        self.submit(op::Sync::data(self))
    }

    /// Starts or waits for write-back of a range. See [`op::SyncRange`].
    ///
    /// ```
    /// use auraio::op::SyncRangeFlags;
    ///
    /// # let scratch = tempfile::NamedTempFile::new().unwrap();
    /// # let engine = auraio::Engine::builder().build()?;
    /// # engine.block_on(async {
    /// # let options = auraio::OpenOptions::new().read(true).write(true);
    /// # let file = engine.open(scratch.path(), options).await?;
    /// file.write_at(vec![0; 8192], 0).await.0?;
    /// file.sync_range(0, 4096, SyncRangeFlags::WRITE).await?;
    /// # file.close().await
    /// # })?;
    /// # Ok::<(), auraio::Error>(())
    /// ```
    pub fn sync_range(&self, offset: u64, len: u64, flags: op::SyncRangeFlags) -> OpFuture<op::SyncRange> {
        self.submit(op::SyncRange::new(self, offset, len, flags))
    }

    /// Reserves, frees or moves blocks. See [`op::Allocate`].
    ///
    /// ```
    /// use auraio::op::AllocateMode;
    ///
    /// # let scratch = tempfile::NamedTempFile::new().unwrap();
    /// # let engine = auraio::Engine::builder().build()?;
    /// # engine.block_on(async {
    /// # let options = auraio::OpenOptions::new().read(true).write(true);
    /// # let file = engine.open(scratch.path(), options).await?;
    /// file.allocate(AllocateMode::Extend, 0, 4096).await?;
    /// assert_eq!(file.metadata().await?.len(), 4096);
    /// # file.close().await
    /// # })?;
    /// # Ok::<(), auraio::Error>(())
    /// ```
    pub fn allocate(&self, mode: AllocateMode, offset: u64, len: u64) -> OpFuture<op::Allocate> {
        self.submit(op::Allocate::new(self, mode, offset, len))
    }

    /// Cuts or extends the file. See [`op::Truncate`].
    ///
    /// ```
    /// # let scratch = tempfile::NamedTempFile::new().unwrap();
    /// # let engine = auraio::Engine::builder().build()?;
    /// # engine.block_on(async {
    /// # let options = auraio::OpenOptions::new().read(true).write(true);
    /// # let file = engine.open(scratch.path(), options).await?;
    /// file.set_len(12_345).await?;
    /// assert_eq!(file.metadata().await?.len(), 12_345);
    /// # file.close().await
    /// # })?;
    /// # Ok::<(), auraio::Error>(())
    /// ```
    pub fn set_len(&self, len: u64) -> OpFuture<op::Truncate> {
        self.submit(op::Truncate::new(self, len))
    }

    /// Tells how a range will be used. See [`op::Advise`].
    ///
    /// ```
    /// use auraio::op::Advice;
    ///
    /// # let engine = auraio::Engine::builder().build()?;
    /// # engine.block_on(async {
    /// # let file = engine.open("Cargo.toml", auraio::OpenOptions::new().read(true)).await?;
    /// file.advise(0, 0, Advice::Sequential).await?;
    /// # file.close().await
    /// # })?;
    /// # Ok::<(), auraio::Error>(())
    /// ```
    pub fn advise(&self, offset: u64, len: u64, advice: Advice) -> OpFuture<op::Advise> {
        self.submit(op::Advise::new(self, offset, len, advice))
    }

    /// What is known of the file. See [`op::Stat`].
    ///
    /// ```
    /// # let engine = auraio::Engine::builder().build()?;
    /// # engine.block_on(async {
    /// # let file = engine.open("Cargo.toml", auraio::OpenOptions::new().read(true)).await?;
    /// assert!(file.metadata().await?.is_file());
    /// # file.close().await
    /// # })?;
    /// # Ok::<(), auraio::Error>(())
    /// ```
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

    /// Copies `len` bytes at `offset` to another file, at an offset there, without a buffer; as [`op::CopyFileRange`], which
    /// says what happens when. Answers the bytes that were copied: fewer than `len` are no error, and 0 is the end of this
    /// file.
    ///
    /// ```
    /// use auraio::{Engine, OpenOptions};
    ///
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    /// std::fs::write(&from, "0123456789").unwrap();
    /// let engine = Engine::builder().build()?;
    /// engine.block_on(async {
    ///     let source = engine.open(&from, OpenOptions::new().read(true)).await?;
    ///     let target = engine.open(&to, OpenOptions::new().write(true).create(true)).await?;
    ///     let (mut at, len) = (0, source.metadata().await?.len());
    ///     while at < len {
    ///         match source.copy_range_to(at, &target, at, len - at).await? {
    ///             0 => break, // somebody has cut the source short meanwhile
    ///             copied => at += copied,
    ///         }
    ///     }
    ///     source.close().await?;
    ///     target.close().await
    /// })?;
    /// assert_eq!(std::fs::read(&to).unwrap(), b"0123456789");
    /// # Ok::<(), auraio::Error>(())
    /// ```
    pub fn copy_range_to(&self, offset: u64, to: &Self, to_offset: u64, len: u64) -> OpFuture<op::CopyFileRange> {
        self.submit(op::CopyFileRange::new(self, offset, to, to_offset, len))
    }

    /// Sets the permission bits. See [`op::SetMode`].
    ///
    /// ```
    /// # let scratch = tempfile::NamedTempFile::new().unwrap();
    /// # let engine = auraio::Engine::builder().build()?;
    /// # engine.block_on(async {
    /// # let options = auraio::OpenOptions::new().read(true).write(true);
    /// # let file = engine.open(scratch.path(), options).await?;
    /// file.set_mode(0o600).await?;
    /// # #[cfg(unix)]
    /// assert_eq!(file.metadata().await?.mode() & 0o777, 0o600);
    /// # file.close().await
    /// # })?;
    /// # Ok::<(), auraio::Error>(())
    /// ```
    pub fn set_mode(&self, mode: u32) -> OpFuture<op::SetMode> {
        self.submit(op::SetMode::new(self, mode))
    }

    /// Sets owner and group. See [`op::SetOwner`].
    ///
    /// ```
    /// # let scratch = tempfile::NamedTempFile::new().unwrap();
    /// # let engine = auraio::Engine::builder().build()?;
    /// # engine.block_on(async {
    /// # let options = auraio::OpenOptions::new().read(true).write(true);
    /// # let file = engine.open(scratch.path(), options).await?;
    /// let owner = file.metadata().await?.uid();
    /// file.set_owner(None, None).await?; // leaves both as they are
    /// assert_eq!(file.metadata().await?.uid(), owner);
    /// # file.close().await
    /// # })?;
    /// # Ok::<(), auraio::Error>(())
    /// ```
    pub fn set_owner(&self, uid: Option<u32>, gid: Option<u32>) -> OpFuture<op::SetOwner> {
        self.submit(op::SetOwner::new(self, uid, gid))
    }

    /// Sets the times of last access and change. See [`op::SetTimes`].
    ///
    /// ```
    /// use auraio::Timestamp;
    ///
    /// # let scratch = tempfile::NamedTempFile::new().unwrap();
    /// # let engine = auraio::Engine::builder().build()?;
    /// # engine.block_on(async {
    /// # let options = auraio::OpenOptions::new().read(true).write(true);
    /// # let file = engine.open(scratch.path(), options).await?;
    /// let then = Timestamp { seconds: 1_000_000_000, nanos: 0 };
    /// file.set_times(then, then).await?;
    /// assert_eq!(file.metadata().await?.modified(), then);
    /// # file.close().await
    /// # })?;
    /// # Ok::<(), auraio::Error>(())
    /// ```
    pub fn set_times(&self, accessed: Timestamp, modified: Timestamp) -> OpFuture<op::SetTimes> {
        self.submit(op::SetTimes::new(self, accessed, modified))
    }

    /// Closes the file when everything on it has completed. See [`op::Close`].
    ///
    /// ```
    /// # let engine = auraio::Engine::builder().build()?;
    /// # engine.block_on(async {
    /// # let file = engine.open("Cargo.toml", auraio::OpenOptions::new().read(true)).await?;
    /// let read = file.read_at(vec![0; 9], 0); // queued, not lost
    /// let closing = file.close();
    /// assert_eq!(read.await.1, b"[package]");
    /// closing.await
    /// # })?;
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use = "a future does nothing until it is polled or the submit batch fills up"]
    pub fn close(self) -> OpFuture<op::Close> {
        let engine = self.inner.engine();
        engine.submit(op::Close::new(self))
    }
}

impl Engine {
    /// Takes over a descriptor that somebody else opened. The file is of this engine from now on, which closes it.
    ///
    /// To put another file in its place, adopt that and close the one before: what has begun on that finishes on it.
    ///
    /// # Errors
    /// What fcntl(2) and statx(2) give; the descriptor is closed then.
    ///
    /// ```
    /// use std::os::fd::OwnedFd;
    ///
    /// use auraio::Engine;
    ///
    /// let engine = Engine::builder().build()?;
    /// let opened = std::fs::File::open("Cargo.toml").unwrap();
    /// let file = engine.adopt(OwnedFd::from(opened))?;
    /// assert_eq!(engine.block_on(file.read_at(vec![0; 9], 0)).1, b"[package]");
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[cfg(unix)]
    pub fn adopt(&self, descriptor: std::os::fd::OwnedFd) -> crate::Result<File> {
        use std::os::fd::IntoRawFd;

        let flags =
            rustix::fs::fcntl_getfl(&descriptor).map_err(|error| crate::Error::os(error.raw_os_error(), "fcntl"))?;
        FileInner::adopt(self.clone(), descriptor.into_raw_fd(), flags.bits().cast_signed(), true)
            .map(File::new)
            .map_err(|errno| crate::Error::os(errno, "fstat"))
    }

    /// Opens a file. See [`op::Open`].
    ///
    /// ```
    /// use auraio::{Error, OpenOptions};
    ///
    /// # let engine = auraio::Engine::builder().build()?;
    /// let missing = engine.open("no such file", OpenOptions::new().read(true));
    /// let error = engine.block_on(missing).unwrap_err();
    /// assert!(matches!(error, Error::Os { errno: 2, path: Some(_), .. }));
    /// let file = engine.block_on(engine.open("Cargo.toml", OpenOptions::new().read(true)))?;
    /// engine.block_on(file.close())?;
    /// # Ok::<(), auraio::Error>(())
    /// ```
    pub fn open(&self, path: impl AsRef<Path>, options: OpenOptions) -> OpFuture<op::Open> {
        self.submit(op::Open::new(self, path.as_ref(), options))
    }

    /// What is known of a path, through symbolic links. See [`op::Stat`].
    ///
    /// ```
    /// # let engine = auraio::Engine::builder().build()?;
    /// assert!(engine.block_on(engine.metadata("src"))?.is_dir());
    /// # Ok::<(), auraio::Error>(())
    /// ```
    pub fn metadata(&self, path: impl AsRef<Path>) -> OpFuture<op::Stat> {
        self.submit(op::Stat::path(path.as_ref()))
    }

    /// What is known of a path, and of the link itself if its last part is a symbolic link. See [`op::Stat`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let engine = auraio::Engine::builder().build()?;
    /// let link = dir.path().join("link");
    /// engine.block_on(engine.submit(auraio::op::Symlink::new("nowhere", &link)))?;
    /// assert!(engine.block_on(engine.symlink_metadata(&link))?.is_symlink());
    /// assert_eq!(engine.block_on(engine.metadata(&link)).unwrap_err().errno(), 2); // ENOENT
    /// # Ok::<(), auraio::Error>(())
    /// ```
    pub fn symlink_metadata(&self, path: impl AsRef<Path>) -> OpFuture<op::Stat> {
        self.submit(op::Stat::symlink(path.as_ref()))
    }

    /// Removes a file. See [`op::RemoveFile`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let engine = auraio::Engine::builder().build()?;
    /// let path = dir.path().join("old");
    /// std::fs::write(&path, "x").unwrap();
    /// engine.block_on(engine.remove_file(&path))?;
    /// assert!(!path.exists());
    /// # Ok::<(), auraio::Error>(())
    /// ```
    pub fn remove_file(&self, path: impl AsRef<Path>) -> OpFuture<op::RemoveFile> {
        self.submit(op::RemoveFile::new(path.as_ref()))
    }

    /// Moves a file, replacing what has the new name. See [`op::Rename`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let engine = auraio::Engine::builder().build()?;
    /// let (draft, letter) = (dir.path().join("draft"), dir.path().join("letter"));
    /// std::fs::write(&draft, "x").unwrap();
    /// engine.block_on(engine.rename(&draft, &letter))?;
    /// assert!(letter.exists() && !draft.exists());
    /// # Ok::<(), auraio::Error>(())
    /// ```
    pub fn rename(&self, from: impl AsRef<Path>, to: impl AsRef<Path>) -> OpFuture<op::Rename> {
        self.submit(op::Rename::new(from.as_ref(), to.as_ref()))
    }

    /// Makes a directory. See [`op::CreateDir`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let engine = auraio::Engine::builder().build()?;
    /// let path = dir.path().join("new");
    /// engine.block_on(engine.create_dir(&path))?;
    /// assert!(path.is_dir());
    /// # Ok::<(), auraio::Error>(())
    /// ```
    pub fn create_dir(&self, path: impl AsRef<Path>) -> OpFuture<op::CreateDir> {
        self.submit(op::CreateDir::new(path.as_ref()))
    }

    /// Opens, reads and closes. See [`op::ReadPath`].
    ///
    /// ```
    /// # let engine = auraio::Engine::builder().build()?;
    /// let (read, buffer) = engine.block_on(engine.read_path("Cargo.toml", vec![0; 9]));
    /// assert_eq!(&buffer[..read?], b"[package]");
    /// # Ok::<(), auraio::Error>(())
    /// ```
    pub fn read_path<B: IoBufMut>(&self, path: impl AsRef<Path>, buffer: B) -> OpFuture<op::ReadPath<B>> {
        self.submit(op::ReadPath::new(path.as_ref(), buffer))
    }
}
