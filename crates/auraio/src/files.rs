//! The methods that work on files and paths. Each makes one operation ([`op`]) and submits it.

use std::{
    any::Any,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    Engine, File, IoBuf, IoBufMut, Metadata, OpFuture, OpenOptions, Timestamp,
    engine::Shared,
    file::{FileInner, Opener},
    op::{self, Advice, AllocateMode},
    sys,
};

impl File {
    fn submit<O: op::Operation>(&self, operation: O) -> OpFuture<O> {
        Engine::of_file(self).submit(operation)
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
        let stat = || sys::stat_now(self.inner().descriptor()).map_err(|errno| crate::Error::os(errno, "fstat"));
        self.facts().local.then(stat)
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
        let engine = Engine::of_file(&self);
        engine.submit(op::Close::new(self))
    }
}

impl op::Open {
    /// Opens `path` for operations on `engine`.
    ///
    /// ```
    /// use auraio::{OpenOptions, op};
    ///
    /// # let engine = auraio::Engine::builder().build()?;
    /// let missing = op::Open::new(&engine, "no such file", OpenOptions::new().read(true));
    /// assert_eq!(engine.block_on(engine.submit(missing)).unwrap_err().errno(), 2); // ENOENT
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub fn new(engine: &Engine, path: impl Into<PathBuf>, options: OpenOptions) -> Self {
        Self::by(engine.opener(), path.into(), options)
    }
}

impl Engine {
    /// This engine as the opener of a file.
    fn opener(&self) -> Opener {
        Opener::new(self.shared(), Arc::clone(self.client()))
    }

    /// The engine that opened a file, with the wishes that it was opened with.
    fn of_file(file: &File) -> Self {
        let opener = file.opener();
        let home = Arc::clone(opener.home()) as Arc<dyn Any + Send + Sync>;
        match home.downcast::<Shared>() {
            Ok(shared) => Self::from_shared(shared, Arc::clone(opener.client())),
            Err(_) => unreachable!("every home of a file is an engine"),
        }
    }

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
        FileInner::adopt(self.opener(), descriptor.into_raw_fd(), flags.bits().cast_signed(), true)
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
