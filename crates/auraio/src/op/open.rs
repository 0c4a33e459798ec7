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
    /// How a path may be walked, as Linux's openat2(2) numbers it. Elsewhere any of them is refused with `ENOSYS`.
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
        /// Never onto another mount.
        const NO_CROSS_DEVICE = 0x01;
        /// Never through a magic link of /proc.
        const NO_MAGIC_LINKS = 0x02;
        /// Never through a symbolic link.
        const NO_SYMLINKS = 0x04;
        /// Never out of the directory that it starts in, by `..`, an absolute path or a link.
        const BENEATH = 0x08;
        /// As if that directory were the root.
        const IN_ROOT = 0x10;
        /// Only what is in the cache: otherwise `EAGAIN`.
        const CACHED = 0x20;
    }
}

/// How a file is to be opened. It starts with everything off.
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
    /// Everything off, mode 0o666.
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
        /// For reading.
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
        /// For writing.
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
        /// For writing at the end, wherever it is at the time.
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
        /// Cut to nothing first.
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
        /// Made if it is not there.
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
        /// Made, and refused with `EEXIST` if it is there.
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
        /// Past the page cache (`O_DIRECT`), whatever the alignment. Refused with `EINVAL` by file systems that cannot.
        ///
        /// A transfer whose buffer, position and length are multiples of what [`File::direct_alignment`] says goes straight
        /// between the device and the buffer. Any other gives what it would give without this option, at more cost: a read
        /// takes in what is around it, by way of a block of the engine's [`Pool`](crate::Pool) of 1 MiB at most; a write that is
        /// only at the wrong address is copied to such a block; and one that begins or ends within a block of the file
        /// system goes through the page cache with what lies in blocks of which it writes only a part, with all of itself if
        /// it has less than 64 KiB of whole blocks or is appended. [`RingStats::bounced`](crate::RingStats::bounced) counts
        /// them. A [`Chain`](crate::Chain) refuses them.
        ///
        /// On Windows (`FILE_FLAG_NO_BUFFERING`) there is no such way through the page cache: a write that begins or ends
        /// within a block fails with `EINVAL`, as does what is not aligned at the file's own position.
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
        /// Past the page cache (`O_DIRECT`), and never otherwise: what is not aligned is left to the kernel, which refuses it
        /// with `EINVAL` (some file systems take anything). Beats [`OpenOptions::direct`]. `O_DIRECT` among
        /// [`OpenOptions::flags`] means the same.
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

    /// Further `O_*` flags of the platform, added to what the rest makes.
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

    /// The permission bits of a file that is made, less the process's umask.
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

    /// How the path may be walked; anything but nothing uses openat2 (Linux 5.6).
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

    /// The platform's flags.
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
/// What open(2) gives, with the path: `ENOENT`, `EACCES`, `EEXIST`, ...; [`Error::NulInPath`]; `EINVAL` for direct I/O
/// that the file system cannot do.
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
        // From here on it is the file's.
        done.kind = super::table::CallKind::Nop;
        FileInner::adopt(opener, descriptor, flags, bounces)
            .map(File::new)
            .map_err(|errno| Error::os(errno, "fstat").with_path(path.to_path_buf()))
    }
}
