//! Open a file.

use std::path::PathBuf;

use super::{Done, Operation, Prepared, sys_path};
use crate::{
    Error, File, Result,
    buf::Payload,
    file::{FileInner, Opener},
    sys::{self, Call, Descriptor, SysPath},
};

bitflags::bitflags! {
    /// Limits on how the kernel follows a path, with the numbers of Linux's openat2(2). Other platforms refuse each of them
    /// with `ENOSYS`.
    ///
    /// ```
    /// use auraio::{OpenOptions, op::Resolve};
    ///
    /// # let engine = auraio::Engine::builder().build()?;
    /// let beneath = OpenOptions::new().read(true).resolve(Resolve::BENEATH | Resolve::NO_SYMLINKS);
    /// assert!(engine.block_on(engine.open("../Cargo.toml", beneath)).is_err());
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Resolve: u64 {
        /// Do not cross onto another mount.
        const NO_CROSS_DEVICE = 0x01;
        /// Do not follow the magic links of /proc.
        const NO_MAGIC_LINKS = 0x02;
        /// Do not follow symbolic links.
        const NO_SYMLINKS = 0x04;
        /// Do not leave the directory that the path starts in, be it by `..`, by an absolute path or by a link.
        const BENEATH = 0x08;
        /// Treat the directory that the path starts in as the root.
        const IN_ROOT = 0x10;
        /// Answer `EAGAIN` if the path is not in the kernel's cache of directory entries.
        const CACHED = 0x20;
    }
}

/// How to open a file. At first every option is off.
///
/// ```
/// use auraio::OpenOptions;
///
/// let log = OpenOptions::new().append(true).create(true).mode(0o600);
/// let table = OpenOptions::new().read(true).direct(true);
/// # let _ = (log, table);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct OpenOptions {
    read: bool,
    write: bool,
    append: bool,
    truncate: bool,
    create: bool,
    create_new: bool,
    direct: bool,
    direct_strict: bool,
    flags: i32,
    mode: u32,
    resolve: Resolve,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self::new()
    }
}

macro_rules! switches {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        $($(#[$doc])*
        #[must_use]
        pub const fn $name(mut self, on: bool) -> Self {
            self.$name = on;
            self
        })*
    };
}

impl OpenOptions {
    /// Every option off, and mode 0o666 for a new file.
    ///
    /// ```
    /// use auraio::OpenOptions;
    ///
    /// # let engine = auraio::Engine::builder().build()?;
    /// let file = engine.block_on(engine.open("Cargo.toml", OpenOptions::new().read(true)))?;
    /// assert!(file.is_seekable());
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub const fn new() -> Self {
        Self {
            read: false,
            write: false,
            append: false,
            truncate: false,
            create: false,
            create_new: false,
            direct: false,
            direct_strict: false,
            flags: 0,
            mode: 0o666,
            resolve: Resolve::empty(),
        }
    }

    switches! {
        /// Opens the file for reading.
        ///
        /// ```
        /// use auraio::OpenOptions;
        ///
        /// # let engine = auraio::Engine::builder().build()?;
        /// let file = engine.block_on(engine.open("Cargo.toml", OpenOptions::new().read(true)))?;
        /// assert_eq!(engine.block_on(file.read_at(vec![0; 9], 0)).1, b"[package]");
        /// # Ok::<(), auraio::Error>(())
        /// ```
        read,
        /// Opens the file for writing.
        ///
        /// ```
        /// use auraio::OpenOptions;
        ///
        /// # let dir = tempfile::tempdir().unwrap();
        /// # let engine = auraio::Engine::builder().build()?;
        /// # let path = dir.path().join("file");
        /// let file = engine.block_on(engine.open(&path, OpenOptions::new().write(true).create(true)))?;
        /// assert_eq!(engine.block_on(file.write_at("hello", 0)).0?, 5);
        /// # Ok::<(), auraio::Error>(())
        /// ```
        write,
        /// Opens the file for writing, and puts every write at the end that the file has when the write is performed.
        ///
        /// ```
        /// use auraio::OpenOptions;
        ///
        /// # let dir = tempfile::tempdir().unwrap();
        /// # let engine = auraio::Engine::builder().build()?;
        /// # let path = dir.path().join("file");
        /// std::fs::write(&path, "one ").unwrap();
        /// let log = engine.block_on(engine.open(&path, OpenOptions::new().append(true)))?;
        /// engine.block_on(log.write("two")).0?;
        /// assert_eq!(std::fs::read(&path).unwrap(), b"one two");
        /// # Ok::<(), auraio::Error>(())
        /// ```
        append,
        /// Empties the file when it is opened.
        ///
        /// ```
        /// use auraio::OpenOptions;
        ///
        /// # let dir = tempfile::tempdir().unwrap();
        /// # let engine = auraio::Engine::builder().build()?;
        /// # let path = dir.path().join("file");
        /// std::fs::write(&path, "old").unwrap();
        /// let file = engine.block_on(engine.open(&path, OpenOptions::new().write(true).truncate(true)))?;
        /// assert_eq!(engine.block_on(file.metadata())?.len(), 0);
        /// # Ok::<(), auraio::Error>(())
        /// ```
        truncate,
        /// Makes the file if it does not exist.
        ///
        /// ```
        /// use auraio::OpenOptions;
        ///
        /// # let dir = tempfile::tempdir().unwrap();
        /// # let engine = auraio::Engine::builder().build()?;
        /// # let path = dir.path().join("file");
        /// let file = engine.block_on(engine.open(&path, OpenOptions::new().write(true).create(true)))?;
        /// assert_eq!(engine.block_on(file.metadata())?.len(), 0);
        /// # Ok::<(), auraio::Error>(())
        /// ```
        create,
        /// Makes the file, and fails with `EEXIST` if it exists.
        ///
        /// ```
        /// use auraio::OpenOptions;
        ///
        /// # let dir = tempfile::tempdir().unwrap();
        /// # let engine = auraio::Engine::builder().build()?;
        /// # let path = dir.path().join("file");
        /// let options = OpenOptions::new().write(true).create_new(true);
        /// engine.block_on(engine.open(&path, options))?;
        /// assert_eq!(engine.block_on(engine.open(&path, options)).unwrap_err().errno(), 17); // EEXIST
        /// # Ok::<(), auraio::Error>(())
        /// ```
        create_new,
        /// Bypasses the page cache (`O_DIRECT`), and still takes transfers of any alignment. A file system that cannot
        /// bypass the cache refuses the open with `EINVAL`.
        ///
        /// If buffer, position and length of a transfer are multiples of what [`File::direct_alignment`] says, it goes
        /// straight between the device and the buffer. Any other transfer gives the same result as without this option, but
        /// costs more:
        /// - A read also reads the bytes around it, into a block of at most 1 MiB of the engine's [`Pool`](crate::Pool), and
        ///   is copied from there.
        /// - A write whose address alone is not aligned is copied to such a block first.
        /// - A write that begins or ends within a block of the file system goes through the page cache for the blocks that
        ///   it writes only in part. If it has less than 64 KiB of whole blocks, or is appended, all of it goes through the
        ///   cache.
        ///
        /// [`RingStats::bounced`](crate::RingStats::bounced) counts these transfers. A [`Chain`](crate::Chain) refuses them.
        ///
        /// On Windows (`FILE_FLAG_NO_BUFFERING`) there is no way through the page cache for them: a write that begins or
        /// ends within a block fails with `EINVAL`, and so does a transfer at the file's own position that is not aligned.
        ///
        /// ```
        /// use auraio::OpenOptions;
        ///
        /// # let dir = tempfile::tempdir().unwrap();
        /// # let engine = auraio::Engine::builder().build()?;
        /// # let path = dir.path().join("file");
        /// std::fs::write(&path, "some bytes").unwrap();
        /// match engine.block_on(engine.open(&path, OpenOptions::new().read(true).direct(true))) {
        ///     Ok(file) => assert_eq!(engine.block_on(file.read_at(vec![0; 5], 5)).1, b"bytes"),
        ///     Err(error) => assert_eq!(error.errno(), 22), // EINVAL: not on this file system
        /// }
        /// # Ok::<(), auraio::Error>(())
        /// ```
        direct,
        /// Bypasses the page cache (`O_DIRECT`) for every transfer. A transfer that is not aligned is left to the kernel,
        /// which refuses it with `EINVAL`, except on file systems that take any alignment. If [`OpenOptions::direct`] is set
        /// too, this option wins. `O_DIRECT` among [`OpenOptions::flags`] means the same.
        ///
        /// ```
        /// use auraio::OpenOptions;
        ///
        /// # let dir = tempfile::tempdir().unwrap();
        /// # let engine = auraio::Engine::builder().build()?;
        /// # let path = dir.path().join("file");
        /// std::fs::write(&path, "some bytes").unwrap();
        /// let options = OpenOptions::new().read(true).direct_strict(true);
        /// if let Ok(file) = engine.block_on(engine.open(&path, options)) {
        ///     match engine.block_on(file.read_at(vec![0; 5], 5)).0 {
        ///         Ok(read) => assert_eq!(read, 5), // this file system asks for no alignment
        ///         Err(error) => assert_eq!(error.errno(), 22), // EINVAL
        ///     }
        /// }
        /// # Ok::<(), auraio::Error>(())
        /// ```
        direct_strict,
    }

    /// Further `O_*` flags of the platform, added to those that the other options give.
    ///
    /// ```
    /// use auraio::OpenOptions;
    ///
    /// # #[cfg(unix)] {
    /// # let engine = auraio::Engine::builder().build()?;
    /// let directory = OpenOptions::new().read(true).flags(libc::O_DIRECTORY);
    /// assert!(engine.block_on(engine.open("src", directory)).is_ok());
    /// assert!(engine.block_on(engine.open("Cargo.toml", directory)).is_err());
    /// # }
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub const fn flags(mut self, flags: i32) -> Self {
        self.flags = flags;
        self
    }

    /// The permission bits of a file that the open makes. The process's umask is taken off them.
    ///
    /// ```
    /// use auraio::OpenOptions;
    ///
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let engine = auraio::Engine::builder().build()?;
    /// # let path = dir.path().join("file");
    /// let options = OpenOptions::new().write(true).create(true).mode(0o600);
    /// let file = engine.block_on(engine.open(&path, options))?;
    /// # #[cfg(unix)]
    /// assert_eq!(engine.block_on(file.metadata())?.mode() & 0o777, 0o600);
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub const fn mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }

    /// How the path may be followed. With any flag set, the open uses openat2 (Linux 5.6).
    ///
    /// ```
    /// use auraio::{OpenOptions, op::Resolve};
    ///
    /// # let engine = auraio::Engine::builder().build()?;
    /// let beneath = OpenOptions::new().read(true).resolve(Resolve::BENEATH);
    /// assert!(engine.block_on(engine.open("../Cargo.toml", beneath)).is_err());
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub const fn resolve(mut self, resolve: Resolve) -> Self {
        self.resolve = resolve;
        self
    }

    /// These options as `O_*` flags of the platform.
    fn platform_flags(&self) -> Result<i32> {
        let access = match (self.read, self.write || self.append) {
            (true, true) => libc::O_RDWR,
            (false, true) => libc::O_WRONLY,
            _ => libc::O_RDONLY,
        };
        let mut flags = access | self.flags;
        for (on, flag) in [
            (self.append, libc::O_APPEND),
            (self.truncate, libc::O_TRUNC),
            (self.create || self.create_new, libc::O_CREAT),
            (self.create_new, libc::O_EXCL),
        ] {
            flags |= if on { flag } else { 0 };
        }
        if self.direct || self.direct_strict {
            flags |= sys::O_DIRECT.ok_or(Error::os(sys::errno::EINVAL, "open"))?;
        }
        Ok(flags)
    }
}

/// Opens a file; completes with a [`File`].
///
/// # Errors
/// What open(2) gives, with the path: `ENOENT`, `EACCES`, `EEXIST`, ..., and `EINVAL` if direct I/O is asked for and the
/// file system cannot do it; [`Error::NulInPath`].
///
/// ```
/// use auraio::{Engine, OpenOptions, op};
///
/// let engine = Engine::builder().build()?;
/// let file = engine.block_on(engine.submit(op::Open::new(&engine, "Cargo.toml", OpenOptions::new().read(true))))?;
/// # drop(file);
/// # Ok::<(), auraio::Error>(())
/// ```
#[derive(Debug)]
pub struct Open {
    opener: Opener,
    path: PathBuf,
    options: OpenOptions,
}

impl Open {
    pub(crate) const fn by(opener: Opener, path: PathBuf, options: OpenOptions) -> Self {
        Self { opener, path, options }
    }
}

#[derive(Debug)]
struct Owned {
    opener: Opener,
    path: SysPath,
    flags: i32,
    bounces: bool,
}

impl Operation for Open {
    type Output = Result<File>;

    fn prepare(self) -> Prepared {
        let made = sys_path(&self.path).and_then(|path| Ok((path, self.options.platform_flags()?)));
        match made {
            Ok((path, flags)) => {
                let bounces = self.options.direct && !self.options.direct_strict;
                let call = Call::Open {
                    path: path.as_ptr(),
                    flags,
                    mode: self.options.mode,
                    resolve: self.options.resolve.bits(),
                };
                Prepared::new(call, Payload::any(Owned { opener: self.opener, path, flags, bounces }))
            }
            Err(error) => Prepared::refused(error, Payload::NOTHING),
        }
    }

    fn finish(mut done: Done) -> Self::Output {
        let opened = done.value();
        if done.refused_early() {
            return Err(opened.err().unwrap_or(Error::EngineClosed));
        }
        let Owned { opener, path, flags, bounces } = done.take_payload().take_any();
        let descriptor = opened.map_err(|error| error.with_path(path.to_path_buf()))? as Descriptor;
        // From here on the file owns the descriptor, so `done` must not close it.
        done.kind = super::table::CallKind::Nop;
        FileInner::adopt(opener, descriptor, flags, bounces)
            .map(File::new)
            .map_err(|errno| Error::os(errno, "fstat").with_path(path.to_path_buf()))
    }
}
