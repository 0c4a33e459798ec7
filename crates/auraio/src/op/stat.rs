//! Read a file's metadata.

use std::{path::PathBuf, sync::Arc};

use super::{Done, Operation, Prepared, sys_path};
use crate::{
    Error, File, Metadata, Result,
    buf::Payload,
    file::FileInner,
    sys::{Call, NO_DESCRIPTOR, RawStat, SysPath, raw_stat_zeroed},
};

/// Reads a file's metadata, as statx(2). For an open file on a local file system the submitting thread makes the system call
/// itself (0.4 us).
///
/// # Errors
/// What statx(2) gives, with the path if there is one: `ENOENT`, `EACCES`, ...; [`Error::NulInPath`].
///
/// ```
/// use auraio::{Engine, op};
///
/// let engine = Engine::builder().build()?;
/// assert!(engine.block_on(engine.submit(op::Stat::path("Cargo.toml")))?.is_file());
/// assert!(engine.block_on(engine.submit(op::Stat::symlink("src")))?.is_dir());
/// # Ok::<(), auraio::Error>(())
/// ```
#[derive(Debug)]
pub struct Stat {
    of: Of,
}

#[derive(Debug)]
enum Of {
    File(Arc<FileInner>),
    Path(PathBuf, bool),
}

impl Stat {
    /// The metadata of an open file.
    ///
    /// ```
    /// use auraio::op;
    ///
    /// # let engine = auraio::Engine::builder().build()?;
    /// # engine.block_on(async {
    /// # let file = engine.open("Cargo.toml", auraio::OpenOptions::new().read(true)).await?;
    /// assert!(engine.submit(op::Stat::file(&file)).await?.is_file());
    /// # file.close().await
    /// # })?;
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub fn file(file: &File) -> Self {
        Self { of: Of::File(file.inner()) }
    }

    /// The metadata of the file that a path leads to. Symbolic links are followed.
    ///
    /// ```
    /// use auraio::op;
    ///
    /// # let engine = auraio::Engine::builder().build()?;
    /// assert!(engine.block_on(engine.submit(op::Stat::path("src")))?.is_dir());
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub fn path(path: impl Into<PathBuf>) -> Self {
        Self { of: Of::Path(path.into(), true) }
    }

    /// The metadata of a path. If its last part is a symbolic link, it is the metadata of the link itself.
    ///
    /// ```
    /// use auraio::op;
    ///
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let engine = auraio::Engine::builder().build()?;
    /// let link = dir.path().join("link");
    /// engine.block_on(engine.submit(op::Symlink::new("nowhere", &link)))?;
    /// assert!(engine.block_on(engine.submit(op::Stat::symlink(&link)))?.is_symlink());
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub fn symlink(path: impl Into<PathBuf>) -> Self {
        Self { of: Of::Path(path.into(), false) }
    }
}

struct Owned {
    path: Option<SysPath>,
    stat: Box<RawStat>,
}

impl Operation for Stat {
    type Output = Result<Metadata>;

    fn prepare(self) -> Prepared {
        let mut stat = Box::new(raw_stat_zeroed());
        let out: *mut RawStat = &raw mut *stat;
        match self.of {
            Of::File(file) => {
                let fd = file.descriptor();
                let call = Call::Stat { fd, path: std::ptr::null(), follow: true, out };
                Prepared::on(file, call, Payload::any(Owned { path: None, stat }))
            }
            Of::Path(path, follow) => match sys_path(&path) {
                Ok(path) => {
                    let call = Call::Stat { fd: NO_DESCRIPTOR, path: path.as_ptr(), follow, out };
                    Prepared::new(call, Payload::any(Owned { path: Some(path), stat }))
                }
                Err(error) => Prepared::refused(error, Payload::NOTHING),
            },
        }
    }

    fn finish(mut done: Done) -> Self::Output {
        let outcome = done.value();
        if done.refused_early() {
            return Err(outcome.err().unwrap_or(Error::EngineClosed));
        }
        let Owned { path, stat } = done.take_payload().take_any();
        match outcome {
            Ok(_) => Ok(Metadata::from_raw(&stat)),
            Err(error) => Err(path.map_or(error.clone(), |path| error.with_path(path.to_path_buf()))),
        }
    }
}
