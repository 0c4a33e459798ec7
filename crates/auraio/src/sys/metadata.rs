//! The metadata of a file.
//!
//! It is one plain struct for every platform, copied from the structure that the kernel filled in. It keeps no file open and
//! makes no further calls. A value that a platform or a file system does not report is `None`, never a made-up zero.

use super::RawStat;

/// A moment, in the form in which file systems keep it.
///
/// ```
/// use auraio::Timestamp;
///
/// let moment = Timestamp { seconds: 1_700_000_000, nanos: 500_000_000 };
/// assert!(moment > Timestamp { seconds: 1_700_000_000, nanos: 0 });
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    /// Seconds since 1970-01-01 00:00 UTC, negative before it.
    pub seconds: i64,
    /// Nanoseconds after that second, 0 to 999,999,999.
    pub nanos: u32,
}

/// The metadata of a file, at the moment when the file system was asked.
///
/// ```
/// # let engine = auraio::Engine::builder().build()?;
/// let metadata = engine.block_on(engine.metadata("Cargo.toml"))?;
/// assert!(metadata.is_file() && metadata.len() > 0);
/// # Ok::<(), auraio::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    dev: u64,
    ino: u64,
    mode: u32,
    nlink: u64,
    uid: u32,
    gid: u32,
    rdev: u64,
    len: u64,
    blocks: u64,
    block_size: u32,
    accessed: Timestamp,
    modified: Timestamp,
    changed: Timestamp,
    created: Option<Timestamp>,
    mount_id: Option<u64>,
    direct_memory_alignment: Option<u32>,
    direct_offset_alignment: Option<u32>,
}

const TYPE_MASK: u32 = 0o170_000;
const FIFO: u32 = 0o010_000;
const DIRECTORY: u32 = 0o040_000;
const BLOCK_DEVICE: u32 = 0o060_000;
const REGULAR: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;

impl Metadata {
    /// The device that holds the file, encoded as `stat(2)` does. On Windows, the serial number of the volume.
    ///
    /// ```
    /// # let engine = auraio::Engine::builder().build()?;
    /// let metadata = engine.block_on(engine.metadata("Cargo.toml"))?;
    /// let same = engine.block_on(engine.metadata("./Cargo.toml"))?;
    /// assert_eq!((metadata.dev(), metadata.ino()), (same.dev(), same.ino()));
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub const fn dev(&self) -> u64 {
        self.dev
    }

    /// The number of the file on its device.
    ///
    /// ```
    /// # let engine = auraio::Engine::builder().build()?;
    /// let metadata = engine.block_on(engine.metadata("Cargo.toml"))?;
    /// let same = engine.block_on(engine.metadata("./Cargo.toml"))?;
    /// assert_eq!((metadata.dev(), metadata.ino()), (same.dev(), same.ino()));
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub const fn ino(&self) -> u64 {
        self.ino
    }

    /// Type and permissions, as `st_mode`.
    ///
    /// ```
    /// # let engine = auraio::Engine::builder().build()?;
    /// let metadata = engine.block_on(engine.metadata("Cargo.toml"))?;
    /// assert_eq!(metadata.mode() & 0o170_000, 0o100_000); // a regular file
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub const fn mode(&self) -> u32 {
        self.mode
    }

    /// How many names the file has.
    ///
    /// ```
    /// # let engine = auraio::Engine::builder().build()?;
    /// let metadata = engine.block_on(engine.metadata("Cargo.toml"))?;
    /// assert!(metadata.nlink() >= 1);
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub const fn nlink(&self) -> u64 {
        self.nlink
    }

    /// The user that owns the file; 0 on Windows.
    ///
    /// ```
    /// # let engine = auraio::Engine::builder().build()?;
    /// let metadata = engine.block_on(engine.metadata("Cargo.toml"))?;
    /// # #[cfg(unix)]
    /// assert_eq!(metadata.uid(), std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("Cargo.toml").unwrap()));
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub const fn uid(&self) -> u32 {
        self.uid
    }

    /// The group that owns the file; 0 on Windows.
    ///
    /// ```
    /// # let engine = auraio::Engine::builder().build()?;
    /// let metadata = engine.block_on(engine.metadata("Cargo.toml"))?;
    /// # #[cfg(unix)]
    /// assert_eq!(metadata.gid(), std::os::unix::fs::MetadataExt::gid(&std::fs::metadata("Cargo.toml").unwrap()));
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub const fn gid(&self) -> u32 {
        self.gid
    }

    /// The device that the file stands for, if it stands for one; else 0.
    ///
    /// ```
    /// # let engine = auraio::Engine::builder().build()?;
    /// let metadata = engine.block_on(engine.metadata("Cargo.toml"))?;
    /// assert_eq!(metadata.rdev(), 0); // no device
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub const fn rdev(&self) -> u64 {
        self.rdev
    }

    /// Bytes in the file.
    ///
    /// ```
    /// # let engine = auraio::Engine::builder().build()?;
    /// let metadata = engine.block_on(engine.metadata("Cargo.toml"))?;
    /// assert_eq!(metadata.len(), std::fs::metadata("Cargo.toml").unwrap().len());
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a file's size; an empty file is nothing special")]
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// How many units of 512 bytes the file takes up. Holes do not count.
    ///
    /// ```
    /// # let engine = auraio::Engine::builder().build()?;
    /// let metadata = engine.block_on(engine.metadata("Cargo.toml"))?;
    /// println!("{} bytes long, {} on the disk", metadata.len(), metadata.blocks() * 512);
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub const fn blocks(&self) -> u64 {
        self.blocks
    }

    /// The transfer size that the file system prefers, in bytes.
    ///
    /// ```
    /// # let engine = auraio::Engine::builder().build()?;
    /// let metadata = engine.block_on(engine.metadata("Cargo.toml"))?;
    /// assert!(metadata.block_size() > 0);
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub const fn block_size(&self) -> u32 {
        self.block_size
    }

    /// When the file was last read, if the file system keeps track of it.
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
    /// file.set_times(then, Timestamp::default()).await?;
    /// assert_eq!(file.metadata().await?.accessed(), then);
    /// # file.close().await
    /// # })?;
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub const fn accessed(&self) -> Timestamp {
        self.accessed
    }

    /// When the file's contents last changed.
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
    /// file.set_times(Timestamp::default(), then).await?;
    /// assert_eq!(file.metadata().await?.modified(), then);
    /// # file.close().await
    /// # })?;
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub const fn modified(&self) -> Timestamp {
        self.modified
    }

    /// When the file's contents or its metadata last changed.
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
    /// assert!(file.metadata().await?.changed() > then); // now
    /// # file.close().await
    /// # })?;
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub const fn changed(&self) -> Timestamp {
        self.changed
    }

    /// When the file was made, if the file system knows.
    ///
    /// ```
    /// # let engine = auraio::Engine::builder().build()?;
    /// let metadata = engine.block_on(engine.metadata("Cargo.toml"))?;
    /// if let Some(created) = metadata.created() {
    ///     println!("made {} seconds after 1970", created.seconds);
    /// }
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub const fn created(&self) -> Option<Timestamp> {
        self.created
    }

    /// The mount that the file was found on (Linux 5.8).
    ///
    /// ```
    /// # let engine = auraio::Engine::builder().build()?;
    /// let metadata = engine.block_on(engine.metadata("Cargo.toml"))?;
    /// if let Some(mount) = metadata.mount_id() {
    ///     println!("line {mount} of /proc/self/mountinfo");
    /// }
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub const fn mount_id(&self) -> Option<u64> {
        self.mount_id
    }

    /// The alignment of a buffer's address for direct I/O. It is known since Linux 6.1, on file systems that report it; 0 means
    /// that the file has no direct I/O.
    ///
    /// ```
    /// # let engine = auraio::Engine::builder().build()?;
    /// let metadata = engine.block_on(engine.metadata("Cargo.toml"))?;
    /// match metadata.direct_memory_alignment() {
    ///     Some(0) => println!("no direct I/O"),
    ///     Some(bytes) => assert!(bytes.is_power_of_two()),
    ///     None => println!("nobody knows; 4,096 is the usual guess"),
    /// }
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub const fn direct_memory_alignment(&self) -> Option<u32> {
        self.direct_memory_alignment
    }

    /// The alignment of each offset and length for direct I/O. It is known in the same cases, and 0 has the same meaning.
    ///
    /// ```
    /// # let engine = auraio::Engine::builder().build()?;
    /// let metadata = engine.block_on(engine.metadata("Cargo.toml"))?;
    /// let step = metadata.direct_offset_alignment().filter(|&bytes| bytes > 0).unwrap_or(4096);
    /// assert!(step.is_power_of_two());
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub const fn direct_offset_alignment(&self) -> Option<u32> {
        self.direct_offset_alignment
    }

    const fn is(&self, kind: u32) -> bool {
        self.mode & TYPE_MASK == kind
    }

    /// Whether this is a regular file.
    ///
    /// ```
    /// # let engine = auraio::Engine::builder().build()?;
    /// let metadata = engine.block_on(engine.metadata("Cargo.toml"))?;
    /// assert!(metadata.is_file());
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub const fn is_file(&self) -> bool {
        self.is(REGULAR)
    }

    /// Whether this is a directory.
    ///
    /// ```
    /// # let engine = auraio::Engine::builder().build()?;
    /// let metadata = engine.block_on(engine.metadata("src"))?;
    /// assert!(metadata.is_dir());
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub const fn is_dir(&self) -> bool {
        self.is(DIRECTORY)
    }

    /// Whether this is a symbolic link itself.
    ///
    /// ```
    /// use auraio::op;
    ///
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let engine = auraio::Engine::builder().build()?;
    /// let link = dir.path().join("link");
    /// engine.block_on(engine.submit(op::Symlink::new("somewhere", &link)))?;
    /// assert!(engine.block_on(engine.submit(op::Stat::symlink(&link)))?.is_symlink());
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub const fn is_symlink(&self) -> bool {
        self.is(SYMLINK)
    }

    /// Whether this is a pipe, with a name or without.
    ///
    /// ```
    /// # let engine = auraio::Engine::builder().build()?;
    /// let metadata = engine.block_on(engine.metadata("Cargo.toml"))?;
    /// assert!(!metadata.is_fifo());
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub const fn is_fifo(&self) -> bool {
        self.is(FIFO)
    }

    /// Whether a read or write takes an offset: regular files, directories and block devices. Pipes and sockets do not;
    /// character devices mostly do not, and count as such.
    ///
    /// ```
    /// # let engine = auraio::Engine::builder().build()?;
    /// let metadata = engine.block_on(engine.metadata("Cargo.toml"))?;
    /// assert!(metadata.is_seekable());
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub const fn is_seekable(&self) -> bool {
        self.is(REGULAR) || self.is(DIRECTORY) || self.is(BLOCK_DEVICE)
    }

    #[cfg(target_os = "linux")]
    pub(crate) fn from_raw(raw: &RawStat) -> Self {
        let time = |time: &libc::statx_timestamp| Timestamp { seconds: time.tv_sec, nanos: time.tv_nsec };
        let has = |bit: u32| raw.stx_mask & bit != 0;
        Self {
            dev: libc::makedev(raw.stx_dev_major, raw.stx_dev_minor),
            ino: raw.stx_ino,
            mode: raw.stx_mode.into(),
            nlink: raw.stx_nlink.into(),
            uid: raw.stx_uid,
            gid: raw.stx_gid,
            rdev: libc::makedev(raw.stx_rdev_major, raw.stx_rdev_minor),
            len: raw.stx_size,
            blocks: raw.stx_blocks,
            block_size: raw.stx_blksize,
            accessed: time(&raw.stx_atime),
            modified: time(&raw.stx_mtime),
            changed: time(&raw.stx_ctime),
            created: has(libc::STATX_BTIME).then(|| time(&raw.stx_btime)),
            mount_id: has(libc::STATX_MNT_ID).then_some(raw.stx_mnt_id),
            direct_memory_alignment: has(libc::STATX_DIOALIGN).then_some(raw.stx_dio_mem_align),
            direct_offset_alignment: has(libc::STATX_DIOALIGN).then_some(raw.stx_dio_offset_align),
        }
    }

    #[cfg(all(unix, not(target_os = "linux")))]
    pub(crate) fn from_raw(raw: &RawStat) -> Self {
        let time = |seconds: i64, nanos: i64| Timestamp { seconds, nanos: u32::try_from(nanos).unwrap_or(0) };
        Self {
            // This field is signed on that platform. It is negative only for devices without a number, and Node widens it in
            // the same way.
            dev: raw.st_dev as u64,
            ino: raw.st_ino,
            mode: raw.st_mode.into(),
            nlink: raw.st_nlink.into(),
            uid: raw.st_uid,
            gid: raw.st_gid,
            rdev: raw.st_rdev as u64,
            len: u64::try_from(raw.st_size).unwrap_or(0),
            blocks: u64::try_from(raw.st_blocks).unwrap_or(0),
            block_size: u32::try_from(raw.st_blksize).unwrap_or(0),
            accessed: time(raw.st_atime, raw.st_atime_nsec),
            modified: time(raw.st_mtime, raw.st_mtime_nsec),
            changed: time(raw.st_ctime, raw.st_ctime_nsec),
            created: Some(time(raw.st_birthtime, raw.st_birthtime_nsec)),
            mount_id: None,
            direct_memory_alignment: None,
            direct_offset_alignment: None,
        }
    }

    #[cfg(windows)]
    pub(crate) fn from_raw(raw: &RawStat) -> Self {
        let time = |time: super::FileTime| Timestamp { seconds: time.seconds, nanos: time.nanos };
        Self {
            dev: raw.dev,
            ino: raw.ino,
            mode: raw.mode,
            nlink: raw.nlink.into(),
            uid: 0,
            gid: 0,
            rdev: 0,
            len: raw.len,
            blocks: raw.allocated.div_ceil(512),
            block_size: 4096,
            accessed: time(raw.accessed),
            modified: time(raw.modified),
            changed: time(raw.changed),
            created: Some(time(raw.created)),
            mount_id: None,
            direct_memory_alignment: None,
            direct_offset_alignment: None,
        }
    }
}
