//! One request as the kernel sees it: numbers and addresses, no ownership.
//!
//! A [`Call`] says what to do; who keeps its addresses alive is the business of the slot that it was made from
//! (`ring/slots.rs`). Every backend performs the same calls, so this enum is the whole contract between a ring and what
//! stands behind it. A call carries no retry, no continuation and no owner.

use super::{BufferedTwin, Descriptor, IoVec, PathPtr, RawStat};

/// Offset that means "the file's own position", as `io_uring` spells it.
pub(crate) const CURRENT_POSITION: u64 = u64::MAX;

/// The most bytes that one kernel call moves (`MAX_RW_COUNT` of Linux, which every backend keeps to).
pub(crate) const BYTES_MAX: u32 = 0x7fff_f000;

/// The most vectors that one kernel call takes (`IOV_MAX` of Linux).
pub(crate) const VECTORS_MAX: u32 = 1024;

/// A time to set on a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileTime {
    /// Seconds since 1970, negative before it.
    pub(crate) seconds: i64,
    /// 0 to 999,999,999.
    pub(crate) nanos: u32,
}

/// What is asked of the kernel, or of whatever stands in for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Nop,
    /// `offset` may be [`CURRENT_POSITION`]; `len` is at most [`BYTES_MAX`]. So for the next three.
    Read {
        fd: Descriptor,
        buf: *mut u8,
        len: u32,
        offset: u64,
    },
    Write {
        fd: Descriptor,
        buf: *const u8,
        len: u32,
        offset: u64,
    },
    /// `count` is at most [`VECTORS_MAX`].
    ReadVectored {
        fd: Descriptor,
        iov: *const IoVec,
        count: u32,
        offset: u64,
    },
    WriteVectored {
        fd: Descriptor,
        iov: *const IoVec,
        count: u32,
        offset: u64,
    },
    /// A gathered write through the page cache to a file that was opened for direct I/O. `count` is at most
    /// [`VECTORS_MAX`], and `twin` that of the file.
    WriteBuffered {
        twin: *const BufferedTwin,
        iov: *const IoVec,
        count: u32,
        offset: u64,
    },
    Sync {
        fd: Descriptor,
        data_only: bool,
    },
    /// `flags` are Linux's `SYNC_FILE_RANGE_*`; `len` 0 means to the end of the file.
    SyncRange {
        fd: Descriptor,
        offset: u64,
        len: u64,
        flags: u32,
    },
    /// `flags` are the platform's `O_*` (Linux's on Linux; on Windows those of `sys::windows::flags`), `resolve` is
    /// openat2's and 0 everywhere but on Linux. `O_CLOEXEC` is always added.
    Open {
        path: PathPtr,
        flags: i32,
        mode: u32,
        resolve: u64,
    },
    Close {
        fd: Descriptor,
    },
    /// Of the open file when `path` is null, else of the path (`follow` says whether through a last symbolic link).
    Stat {
        fd: Descriptor,
        path: PathPtr,
        follow: bool,
        out: *mut RawStat,
    },
    /// `mode` holds Linux's `FALLOC_FL_*`; what a platform has not answers `EOPNOTSUPP`.
    Allocate {
        fd: Descriptor,
        mode: i32,
        offset: u64,
        len: u64,
    },
    Truncate {
        fd: Descriptor,
        len: u64,
    },
    /// `advice` is one of POSIX's `POSIX_FADV_*` as Linux numbers them; a platform without advice answers 0.
    Advise {
        fd: Descriptor,
        offset: u64,
        len: u64,
        advice: i32,
    },
    /// `flags` are Linux's `RENAME_*`; other platforms answer `EINVAL` to any.
    Rename {
        from: PathPtr,
        to: PathPtr,
        flags: u32,
    },
    Unlink {
        path: PathPtr,
        directory: bool,
    },
    MakeDirectory {
        path: PathPtr,
        mode: u32,
    },
    Link {
        from: PathPtr,
        to: PathPtr,
    },
    Symlink {
        target: PathPtr,
        link: PathPtr,
    },
    SetMode {
        fd: Descriptor,
        mode: u32,
    },
    /// `u32::MAX` leaves that id as it is.
    SetOwner {
        fd: Descriptor,
        uid: u32,
        gid: u32,
    },
    /// The times of last access and of last change.
    SetTimes {
        fd: Descriptor,
        times: *const [FileTime; 2],
    },
    /// Open `path` read-only, read up to `len` bytes from its start, close it: one linked chain on a ring that has the
    /// slots for it. Answers the bytes read, or the error of the first step that failed.
    ReadPath {
        path: PathPtr,
        buf: *mut u8,
        len: u32,
    },
}

// SAFETY: a `Call` is plain data. Its addresses are only followed by `sys::perform` and by the kernel, both through
// `Backend::push`, whose contract makes the caller keep them valid, whatever thread performs the call.
unsafe impl Send for Call {}

impl Call {
    /// Whether every backend performs the call as one entry.
    #[inline]
    pub(crate) const fn is_plain(&self) -> bool {
        matches!(
            self,
            Self::Nop
                | Self::Read { .. }
                | Self::Write { .. }
                | Self::ReadVectored { .. }
                | Self::WriteVectored { .. }
                | Self::Sync { .. }
                | Self::Close { .. }
                | Self::Open { .. }
        )
    }

    /// Whether a failure of the call cuts an `IOSQE_IO_LINK` behind it. Of the calls that the kernel performs in a worker
    /// and of which it only passes the result on (fsync, fallocate, rename and their like) it does not, up to 6.18: what is
    /// linked behind a failed fsync runs.
    pub(crate) const fn cuts_link(&self) -> bool {
        matches!(
            self,
            Self::Nop
                | Self::Read { .. }
                | Self::Write { .. }
                | Self::ReadVectored { .. }
                | Self::WriteVectored { .. }
                | Self::Open { .. }
        )
    }

    /// The same transfer at another place in the file; what is no transfer stays as it is.
    pub(crate) const fn at_offset(mut self, at: u64) -> Self {
        if let Self::Read { offset, .. }
        | Self::Write { offset, .. }
        | Self::ReadVectored { offset, .. }
        | Self::WriteVectored { offset, .. } = &mut self
        {
            *offset = at;
        }
        self
    }

    /// The same transfer on another file; what is no transfer stays as it is.
    #[cfg(feature = "sim")]
    pub(crate) const fn on_descriptor(mut self, file: Descriptor) -> Self {
        if let Self::Read { fd, .. }
        | Self::Write { fd, .. }
        | Self::ReadVectored { fd, .. }
        | Self::WriteVectored { fd, .. } = &mut self
        {
            *fd = file;
        }
        self
    }

    /// Whether the call moves bytes between a file and memory.
    #[inline]
    pub(crate) const fn is_transfer(&self) -> bool {
        self.is_read() || self.is_write()
    }

    /// Whether the call reads from a file.
    #[inline]
    pub(crate) const fn is_read(&self) -> bool {
        matches!(self, Self::Read { .. } | Self::ReadVectored { .. })
    }

    /// Whether the call writes to a file.
    pub(crate) const fn is_write(&self) -> bool {
        matches!(self, Self::Write { .. } | Self::WriteVectored { .. })
    }

    /// What kind of call it is, for what outlives the call itself.
    #[inline]
    pub(crate) const fn kind(&self) -> CallKind {
        match self {
            Self::Nop => CallKind::Nop,
            Self::Read { .. } | Self::ReadVectored { .. } => CallKind::Read,
            Self::Write { .. } | Self::WriteVectored { .. } | Self::WriteBuffered { .. } => CallKind::Write,
            Self::Sync { data_only: false, .. } => CallKind::Sync,
            Self::Sync { data_only: true, .. } => CallKind::SyncData,
            Self::SyncRange { .. } => CallKind::SyncRange,
            Self::Open { .. } => CallKind::Open,
            Self::ReadPath { .. } => CallKind::ReadPath,
            Self::Close { .. } => CallKind::Close,
            Self::Stat { path, .. } => {
                if path.is_null() {
                    CallKind::StatFile
                } else {
                    CallKind::StatPath
                }
            }
            Self::Allocate { .. } => CallKind::Allocate,
            Self::Truncate { .. } => CallKind::Truncate,
            Self::Advise { .. } => CallKind::Advise,
            Self::Rename { .. } => CallKind::Rename,
            Self::Unlink { directory: false, .. } => CallKind::Unlink,
            Self::Unlink { directory: true, .. } => CallKind::RemoveDirectory,
            Self::MakeDirectory { .. } => CallKind::MakeDirectory,
            Self::Link { .. } => CallKind::Link,
            Self::Symlink { .. } => CallKind::Symlink,
            Self::SetMode { .. } => CallKind::SetMode,
            Self::SetOwner { .. } => CallKind::SetOwner,
            Self::SetTimes { .. } => CallKind::SetTimes,
        }
    }

    /// The name of the system call, as Node and `strace` print it.
    pub(crate) const fn name(&self) -> &'static str {
        self.kind().name()
    }
}

/// The kind of a [`Call`], without its numbers and addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum CallKind {
    Nop,
    Read,
    Write,
    Sync,
    SyncData,
    SyncRange,
    Open,
    ReadPath,
    Close,
    StatFile,
    StatPath,
    Allocate,
    Truncate,
    Advise,
    Rename,
    Unlink,
    RemoveDirectory,
    MakeDirectory,
    Link,
    Symlink,
    SetMode,
    SetOwner,
    SetTimes,
}

impl CallKind {
    /// The name of the system call, as Node and `strace` print it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Nop => "nop",
            Self::Read => "read",
            Self::Write => "write",
            Self::Sync => "fsync",
            Self::SyncData => "fdatasync",
            Self::SyncRange => "sync_file_range",
            Self::Open | Self::ReadPath => "open",
            Self::Close => "close",
            Self::StatFile => "fstat",
            Self::StatPath => "stat",
            Self::Allocate => "fallocate",
            Self::Truncate => "ftruncate",
            Self::Advise => "fadvise",
            Self::Rename => "rename",
            Self::Unlink => "unlink",
            Self::RemoveDirectory => "rmdir",
            Self::MakeDirectory => "mkdir",
            Self::Link => "link",
            Self::Symlink => "symlink",
            Self::SetMode => "fchmod",
            Self::SetOwner => "fchown",
            Self::SetTimes => "futime",
        }
    }
}
