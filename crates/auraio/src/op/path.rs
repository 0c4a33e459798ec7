//! Operations on names in directories: make, remove, rename and link them.

use std::path::{Path, PathBuf};

use super::{Done, Operation, Prepared, sys_path};
use crate::{
    Error, Result,
    buf::Payload,
    sys::{Call, PathPtr, SysPath},
};

bitflags::bitflags! {
    /// What [`Rename`] does if the new name exists already, with the numbers of Linux's renameat2(2). Other platforms refuse
    /// each flag with `EINVAL`.
    ///
    /// ```
    /// use auraio::op;
    ///
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let engine = auraio::Engine::builder().build()?;
    /// let (old, new) = (dir.path().join("old"), dir.path().join("new"));
    /// std::fs::write(&old, "x").unwrap();
    /// std::fs::write(&new, "y").unwrap();
    /// let careful = op::Rename::new(&old, &new).flags(op::RenameFlags::NO_REPLACE);
    /// assert!(engine.block_on(engine.submit(careful)).is_err());
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct RenameFlags: u32 {
        /// Fail with `EEXIST` if the new name exists.
        const NO_REPLACE = 1;
        /// Exchange the two names.
        const EXCHANGE = 2;
    }
}

/// The paths of an operation, kept until its completion.
struct Paths {
    first: SysPath,
    second: Option<SysPath>,
}

fn prepare_one(path: &Path, call: impl FnOnce(PathPtr) -> Call) -> Prepared {
    match sys_path(path) {
        Ok(first) => Prepared::new(call(first.as_ptr()), Payload::any(Paths { first, second: None })),
        Err(error) => Prepared::refused(error, Payload::NOTHING),
    }
}

fn prepare_two(from: &Path, to: &Path, call: impl FnOnce(PathPtr, PathPtr) -> Call) -> Prepared {
    match sys_path(from).and_then(|from| Ok((from, sys_path(to)?))) {
        Ok((first, second)) => {
            let call = call(first.as_ptr(), second.as_ptr());
            Prepared::new(call, Payload::any(Paths { first, second: Some(second) }))
        }
        Err(error) => Prepared::refused(error, Payload::NOTHING),
    }
}

fn finish(mut done: Done) -> Result<()> {
    let outcome = done.value().map(drop);
    if done.refused_early() {
        return outcome;
    }
    let paths: Paths = done.take_payload().take_any();
    outcome.map_err(|error: Error| error.with_path(paths.first.to_path_buf())).inspect(|()| drop(paths.second))
}

macro_rules! path_operations {
    ($($(#[$doc:meta])* $name:ident ( $($field:ident),+ ) => $prepare:expr;)*) => {
        $($(#[$doc])*
        #[derive(Clone, Debug)]
        pub struct $name {
            $($field: PathBuf),+
        }

        impl $name {
            /// The operation on these paths.
            ///
            /// ```
            /// # let (path, from, to, target, link) = ("a", "a", "b", "a", "b");
            #[doc = concat!("let operation = auraio::op::", stringify!($name), "::new(", stringify!($($field),+), ");")]
            /// # drop(operation);
            /// ```
            #[must_use]
            pub fn new($($field: impl Into<PathBuf>),+) -> Self {
                Self { $($field: $field.into()),+ }
            }
        }

        impl Operation for $name {
            type Output = Result<()>;

            fn prepare(self) -> Prepared {
                let prepare: fn(&Self) -> Prepared = $prepare;
                prepare(&self)
            }

            fn finish(done: Done) -> Self::Output {
                finish(done)
            }
        })*
    };
}

path_operations! {
    /// Removes a name, as unlink(2). The name must not be that of a directory.
    ///
    /// # Errors
    /// What unlink(2) gives, with the path: `ENOENT`, `EACCES`, `EISDIR`, ...; [`Error::NulInPath`].
    ///
    /// ```
    /// let path = std::env::temp_dir().join(format!("auraio-unlink-{}", std::process::id()));
    /// std::fs::write(&path, "x").unwrap();
    /// let engine = auraio::Engine::builder().build()?;
    /// engine.block_on(engine.submit(auraio::op::RemoveFile::new(&path)))?;
    /// assert!(!path.exists());
    /// # Ok::<(), auraio::Error>(())
    /// ```
    RemoveFile(path) => |this| prepare_one(&this.path, |path| Call::RemoveFile { path });

    /// Removes an empty directory, as rmdir(2).
    ///
    /// # Errors
    /// What rmdir(2) gives, with the path: `ENOENT`, `ENOTEMPTY`, `ENOTDIR`, ...; [`Error::NulInPath`].
    ///
    /// ```
    /// let path = std::env::temp_dir().join(format!("auraio-rmdir-{}", std::process::id()));
    /// std::fs::create_dir(&path).unwrap();
    /// let engine = auraio::Engine::builder().build()?;
    /// engine.block_on(engine.submit(auraio::op::RemoveDir::new(&path)))?;
    /// assert!(!path.exists());
    /// # Ok::<(), auraio::Error>(())
    /// ```
    RemoveDir(path) => |this| prepare_one(&this.path, |path| Call::RemoveDir { path });

    /// Gives a file a second name, as link(2).
    ///
    /// # Errors
    /// What link(2) gives, with the path: `EEXIST`, `EXDEV`, `ENOENT`, ...; [`Error::NulInPath`].
    ///
    /// ```
    /// let dir = std::env::temp_dir().join(format!("auraio-link-{}", std::process::id()));
    /// std::fs::create_dir(&dir).unwrap();
    /// std::fs::write(dir.join("a"), "x").unwrap();
    /// let engine = auraio::Engine::builder().build()?;
    /// engine.block_on(engine.submit(auraio::op::HardLink::new(dir.join("a"), dir.join("b"))))?;
    /// assert_eq!(std::fs::read(dir.join("b")).unwrap(), b"x");
    /// # std::fs::remove_dir_all(dir).unwrap();
    /// # Ok::<(), auraio::Error>(())
    /// ```
    HardLink(from, to) => |this| prepare_two(&this.from, &this.to, |from, to| Call::HardLink { from, to });

    /// Makes a symbolic link at `link` that points to `target`, as symlink(2).
    ///
    /// # Errors
    /// What symlink(2) gives, with the path: `EEXIST`, `ENOENT`, ...; [`Error::NulInPath`].
    ///
    /// ```
    /// let link = std::env::temp_dir().join(format!("auraio-symlink-{}", std::process::id()));
    /// let engine = auraio::Engine::builder().build()?;
    /// engine.block_on(engine.submit(auraio::op::Symlink::new("somewhere", &link)))?;
    /// assert_eq!(std::fs::read_link(&link).unwrap(), std::path::Path::new("somewhere"));
    /// # std::fs::remove_file(link).unwrap();
    /// # Ok::<(), auraio::Error>(())
    /// ```
    Symlink(target, link) => |this| prepare_two(&this.target, &this.link, |target, link| Call::Symlink { target, link });
}

/// Renames a file or directory, as rename(2). A file that has the new name already is replaced.
///
/// # Errors
/// What rename(2) gives, with the path: `ENOENT`, `EXDEV`, `EEXIST` by its flags, ...; [`Error::NulInPath`].
///
/// ```
/// let dir = std::env::temp_dir().join(format!("auraio-rename-{}", std::process::id()));
/// std::fs::create_dir(&dir).unwrap();
/// std::fs::write(dir.join("a"), "x").unwrap();
/// let engine = auraio::Engine::builder().build()?;
/// engine.block_on(engine.submit(auraio::op::Rename::new(dir.join("a"), dir.join("b"))))?;
/// assert!(dir.join("b").exists() && !dir.join("a").exists());
/// # std::fs::remove_dir_all(dir).unwrap();
/// # Ok::<(), auraio::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Rename {
    from: PathBuf,
    to: PathBuf,
    flags: RenameFlags,
}

impl Rename {
    /// From one name to another.
    ///
    /// ```
    /// use auraio::op;
    ///
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let engine = auraio::Engine::builder().build()?;
    /// let missing = op::Rename::new(dir.path().join("old"), dir.path().join("new"));
    /// assert_eq!(engine.block_on(engine.submit(missing)).unwrap_err().errno(), 2); // ENOENT
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub fn new(from: impl Into<PathBuf>, to: impl Into<PathBuf>) -> Self {
        Self { from: from.into(), to: to.into(), flags: RenameFlags::empty() }
    }

    /// Says what happens to a file that has the new name already.
    ///
    /// ```
    /// use auraio::op;
    ///
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let engine = auraio::Engine::builder().build()?;
    /// let (one, two) = (dir.path().join("one"), dir.path().join("two"));
    /// std::fs::write(&one, "x").unwrap();
    /// let rename = op::Rename::new(&one, &two).flags(op::RenameFlags::NO_REPLACE);
    /// # #[cfg(target_os = "linux")]
    /// engine.block_on(engine.submit(rename))?;
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub const fn flags(mut self, flags: RenameFlags) -> Self {
        self.flags = flags;
        self
    }
}

impl Operation for Rename {
    type Output = Result<()>;

    fn prepare(self) -> Prepared {
        let flags = self.flags.bits();
        prepare_two(&self.from, &self.to, |from, to| Call::Rename { from, to, flags })
    }

    fn finish(done: Done) -> Self::Output {
        finish(done)
    }
}

/// Makes a directory, as mkdir(2).
///
/// # Errors
/// What mkdir(2) gives, with the path: `EEXIST`, `ENOENT`, ...; [`Error::NulInPath`].
///
/// ```
/// let path = std::env::temp_dir().join(format!("auraio-mkdir-{}", std::process::id()));
/// let engine = auraio::Engine::builder().build()?;
/// engine.block_on(engine.submit(auraio::op::CreateDir::new(&path).mode(0o700)))?;
/// assert!(path.is_dir());
/// # std::fs::remove_dir(path).unwrap();
/// # Ok::<(), auraio::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct CreateDir {
    path: PathBuf,
    mode: u32,
}

impl CreateDir {
    /// The directory gets mode 0o777 less the umask.
    ///
    /// ```
    /// use auraio::op;
    ///
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let engine = auraio::Engine::builder().build()?;
    /// let path = dir.path().join("new");
    /// engine.block_on(engine.submit(op::CreateDir::new(&path)))?;
    /// assert!(path.is_dir());
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), mode: 0o777 }
    }

    /// The directory gets this mode, less the umask.
    ///
    /// ```
    /// use auraio::op;
    ///
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let engine = auraio::Engine::builder().build()?;
    /// let private = op::CreateDir::new(dir.path().join("private")).mode(0o700);
    /// engine.block_on(engine.submit(private))?;
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub const fn mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }
}

impl Operation for CreateDir {
    type Output = Result<()>;

    fn prepare(self) -> Prepared {
        let mode = self.mode;
        prepare_one(&self.path, |path| Call::CreateDir { path, mode })
    }

    fn finish(done: Done) -> Self::Output {
        finish(done)
    }
}
