//! The errors of this crate: one variant for each thing that a caller can act on.

use std::{fmt, io, path::PathBuf};

use crate::sys::errno;

/// Every failure of this crate.
///
/// ```
/// use auraio::{Engine, Error, OpenOptions};
///
/// let engine = Engine::builder().build()?;
/// let missing = engine.block_on(engine.open("/no/such/file", OpenOptions::new().read(true)));
/// assert!(matches!(missing, Err(Error::Os { errno: 2, call: "open", .. })));
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused a call. The fields are what `strace` would show.
    Os {
        /// The positive errno (on Windows: the POSIX number nearest to the system's code).
        errno: i32,
        /// The usual name of the system call.
        call: &'static str,
        /// The path that the call was given, if it was given one.
        path: Option<PathBuf>,
    },
    /// The operation was cancelled before it had an effect.
    Cancelled,
    /// A path has a NUL byte in it, which no system call can take.
    NulInPath(PathBuf),
    /// An argument is not allowed. The text says which one, and what is allowed.
    InvalidInput(&'static str),
    /// The backend that was asked for cannot be used here.
    Unavailable {
        /// The name of that backend.
        backend: &'static str,
        /// The reason, in one sentence.
        reason: String,
    },
    /// The engine has been closed.
    EngineClosed,
    /// No more buffers can be registered.
    TooManyBuffers {
        /// How many can be registered.
        max: usize,
    },
    /// The kernel cannot register this memory: it is file-backed, read-only or not mapped.
    NotRegistrable,
    /// The pool has no free block of this size. It cannot map more memory, because its ceiling is reached or the system has
    /// none.
    PoolExhausted {
        /// The size of the block, in bytes.
        wanted: usize,
    },
}

/// A `Result` whose error is [`Error`] unless another is named.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(crate) const fn os(errno: i32, call: &'static str) -> Self {
        Self::Os { errno, call, path: None }
    }

    /// The positive errno that comes closest to this error, for callers that work with errno numbers.
    ///
    /// ```
    /// assert_eq!(auraio::Error::Cancelled.errno(), 125);
    /// ```
    #[must_use]
    pub const fn errno(&self) -> i32 {
        match self {
            Self::Os { errno, .. } => *errno,
            Self::Cancelled => errno::ECANCELED,
            Self::NulInPath(_) | Self::InvalidInput(_) => errno::EINVAL,
            Self::Unavailable { .. } => errno::ENOSYS,
            Self::EngineClosed => errno::EBADF,
            Self::PoolExhausted { .. } => errno::ENOMEM,
            Self::TooManyBuffers { .. } => errno::ENOSPC,
            Self::NotRegistrable => errno::EFAULT,
        }
    }

    pub(crate) fn with_path(self, path: PathBuf) -> Self {
        match self {
            Self::Os { errno, call, .. } => Self::Os { errno, call, path: Some(path) },
            other => other,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Os { errno, call, path } => {
                write!(f, "{}: {call}", errno::errno_name(*errno))?;
                path.as_ref().map_or(Ok(()), |path| write!(f, " '{}'", path.display()))
            }
            Self::Cancelled => f.write_str("the operation was cancelled"),
            Self::NulInPath(path) => write!(f, "the path {path:?} has a NUL byte in it"),
            Self::InvalidInput(what) => f.write_str(what),
            Self::Unavailable { backend, reason } => write!(f, "the backend {backend} cannot be had: {reason}"),
            Self::EngineClosed => f.write_str("the engine is closed"),
            Self::TooManyBuffers { max } => write!(f, "no more than {max} buffers can be registered"),
            Self::NotRegistrable => {
                f.write_str("the kernel cannot register this memory: it is file-backed, read-only or not mapped")
            }
            Self::PoolExhausted { wanted } => {
                write!(f, "the pool is at its ceiling and has no free block of {wanted} bytes")
            }
        }
    }
}

impl std::error::Error for Error {}

impl From<auraio_control::InvalidSettings> for Error {
    fn from(invalid: auraio_control::InvalidSettings) -> Self {
        Self::InvalidInput(invalid.0)
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Os { errno, path: None, .. } if cfg!(unix) => Self::from_raw_os_error(errno),
            Error::Cancelled => Self::new(io::ErrorKind::Interrupted, error),
            Error::NulInPath(_) | Error::InvalidInput(_) => Self::new(io::ErrorKind::InvalidInput, error),
            other => Self::other(other),
        }
    }
}
