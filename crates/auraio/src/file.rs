//! An open file, and what the engine keeps with it: its facts and its plan, whose turn it is at its own position, and the
//! close that waits.

use std::{
    collections::VecDeque,
    fmt,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
    },
};

use crate::{
    control::{Priority, Wish},
    lanes::{Lane, Wishes},
    lock,
    pool::Pool,
    sys::{self, BufferedTwin, Descriptor, FileFacts},
};

mod home;

use home::Homes;
pub(crate) use home::{Home, Opener, Resume, Waiting};

/// An open file of an [`Engine`](crate::Engine).
///
/// Operations on it may also be given to another engine than the one that opened it
/// ([`Engine::submit`](crate::Engine::submit)). A close waits for those too, and cancels those that could wait for ever. The
/// file keeps both engines until it is closed.
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
    /// Whoever opened it, and other engines that have used it.
    homes: Homes,
    /// What the file itself wishes, if anything.
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
    closer: Mutex<Option<Waiting>>,
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
        // A call on a file that is not local may hold a worker of the kernel, which the long path counts.
        if !facts.seekable || !facts.local {
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
    waiting: VecDeque<Waiting>,
}

impl FileInner {
    /// Takes over a descriptor that was just opened with `flags`. On an error it is closed. `bounces` says whether direct
    /// transfers that are not aligned are to go by way of other memory, or to be refused by the kernel.
    pub(crate) fn adopt(opener: Opener, descriptor: Descriptor, flags: i32, bounces: bool) -> Result<Self, i32> {
        match sys::file_facts(descriptor, flags) {
            Ok(facts) => {
                let facts = facts.for_transfers(bounces);
                Ok(Self {
                    lane: opener.lane_of(&facts),
                    plan: Plan::of(&facts),
                    wishes: OnceLock::new(),
                    class: AtomicU8::new(opener.client().class() as u8),
                    homes: Homes::new(opener),
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
    pub(crate) fn is_of<H: Home>(&self, engine: &Arc<H>) -> bool {
        self.homes.is_first(engine)
    }

    /// Remembers another engine that uses the file. Its rings may hold operations on it, and places for it, until it is
    /// closed, so the file keeps that engine for as long.
    #[cold]
    pub(crate) fn note_user<H: Home>(&self, engine: &Arc<H>) {
        self.homes.add(engine);
    }

    pub(crate) const fn descriptor(&self) -> Descriptor {
        self.descriptor
    }

    /// Whoever opened the file.
    pub(crate) const fn opener(&self) -> &Opener {
        self.homes.opener()
    }

    /// Cancels operations on the file that could wait for ever, on whichever ring they are.
    pub(crate) fn cancel_operations(&self) {
        self.homes.each(|home| home.cancel_file(self.id));
        // Whoever waits for the close need not reap for another engine.
        self.homes.users().into_iter().for_each(Home::reap_later);
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

    /// Changes what the file wishes of its lane, beside the engine that opened it.
    pub(crate) fn wish(&self, change: impl FnOnce(&mut Wish)) {
        let Some(lane) = &self.lane else { return };
        let wishes = self.wishes.get_or_init(Arc::default);
        wishes.change(change);
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
            self.homes.each(|home| home.forget_file(self.descriptor, self.id));
        }
    }

    /// The way into a direct file through the page cache.
    pub(crate) const fn twin(&self) -> &BufferedTwin {
        &self.twin
    }

    /// Where memory for the file's transfers comes from.
    pub(crate) fn pool(&self) -> Pool {
        self.homes.opener().pool()
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

    /// Takes the turn at the file's own position, or queues for it: then `waiting` is started when it comes.
    pub(crate) fn take_turn(&self, waiting: impl FnOnce() -> Waiting) -> bool {
        let mut cursor = lock(&self.cursor);
        if cursor.busy {
            cursor.waiting.push_back(waiting());
            return false;
        }
        cursor.busy = true;
        true
    }

    /// Ends a turn; answers whose is the next.
    pub(crate) fn end_turn(&self) -> Option<Waiting> {
        let mut cursor = lock(&self.cursor);
        let next = cursor.waiting.pop_front();
        cursor.busy = next.is_some();
        next
    }

    /// Leaves the close to be started by whoever lets go of the file last.
    pub(crate) fn close_later(&self, closer: Waiting) {
        *lock(&self.closer) = Some(closer);
    }
}

impl Drop for FileInner {
    /// The last share in the file is gone. It may have been in a slot, in an operation that was never submitted, or in the
    /// result of one that was refused. If a close waits for this, it starts now. Otherwise the descriptor is closed here.
    fn drop(&mut self) {
        self.leave_places();
        match self.closer.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            Some(closer) => closer.start(),
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

    /// Whoever opened the file.
    pub(crate) fn opener(&self) -> &Opener {
        self.inner.opener()
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
}
