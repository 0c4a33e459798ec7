//! One request as the kernel sees it: numbers and addresses, no ownership.
//!
//! A [`Call`] says what to do; who keeps its addresses alive is the business of the slot that it was made from
//! (`ring/slots.rs`). Every backend performs the same calls, so this enum is the whole contract between a ring and what
//! stands behind it. A call carries no retry, no continuation and no owner. What is true of all calls of one kind (name, route,
//! kernel version) stands in the table of operations (`op/table.rs`).

use super::{BufferedTwin, Descriptor, IoVec, PathPtr, RawStat};

/// Offset that means "the file's own position", as `io_uring` spells it.
pub(crate) const CURRENT_POSITION: u64 = u64::MAX;

/// The most bytes that one kernel call moves (`MAX_RW_COUNT` of Linux, which every backend keeps to).
pub(crate) const BYTES_MAX: u32 = 0x7fff_f000;

/// The most vectors that one kernel call takes (`IOV_MAX` of Linux).
pub(crate) const VECTORS_MAX: u32 = 1024;

/// A time to set on a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
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
    RemoveFile {
        path: PathPtr,
    },
    RemoveDir {
        path: PathPtr,
    },
    CreateDir {
        path: PathPtr,
        mode: u32,
    },
    HardLink {
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
    /// At offsets in both files, never at their own positions. `len` is at most [`BYTES_MAX`].
    CopyFileRange {
        from: Descriptor,
        from_offset: u64,
        to: Descriptor,
        to_offset: u64,
        len: u32,
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
    /// A read or write of an open file, taken apart; `None` for every other call.
    #[inline(always)]
    pub(crate) const fn transfer(&self) -> Option<Transfer> {
        Some(match *self {
            Self::Read { fd, buf, len, offset } => {
                Transfer { fd, writes: false, memory: TransferMemory::One { start: buf, len }, offset }
            }
            Self::Write { fd, buf, len, offset } => {
                Transfer { fd, writes: true, memory: TransferMemory::One { start: buf.cast_mut(), len }, offset }
            }
            Self::ReadVectored { fd, iov, count, offset } => {
                Transfer { fd, writes: false, memory: TransferMemory::Many { iov, count }, offset }
            }
            Self::WriteVectored { fd, iov, count, offset } => {
                Transfer { fd, writes: true, memory: TransferMemory::Many { iov, count }, offset }
            }
            Self::Nop
            | Self::WriteBuffered { .. }
            | Self::Sync { .. }
            | Self::SyncRange { .. }
            | Self::Open { .. }
            | Self::Close { .. }
            | Self::Stat { .. }
            | Self::Allocate { .. }
            | Self::Truncate { .. }
            | Self::Advise { .. }
            | Self::Rename { .. }
            | Self::RemoveFile { .. }
            | Self::RemoveDir { .. }
            | Self::CreateDir { .. }
            | Self::HardLink { .. }
            | Self::Symlink { .. }
            | Self::SetMode { .. }
            | Self::SetOwner { .. }
            | Self::SetTimes { .. }
            | Self::CopyFileRange { .. }
            | Self::ReadPath { .. } => return None,
        })
    }

    /// The same transfer at another place in the file. A call that is not a transfer stays as it is.
    pub(crate) const fn at_offset(self, offset: u64) -> Self {
        match self.transfer() {
            Some(transfer) => Transfer { offset, ..transfer }.call(),
            None => self,
        }
    }

    /// The same transfer on another file. A call that is not a transfer stays as it is.
    #[cfg(feature = "sim")]
    pub(crate) const fn on_descriptor(self, fd: Descriptor) -> Self {
        match self.transfer() {
            Some(transfer) => Transfer { fd, ..transfer }.call(),
            None => self,
        }
    }
}

/// A read or write of an open file, whichever of the four calls makes it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Transfer {
    pub(crate) fd: Descriptor,
    pub(crate) writes: bool,
    pub(crate) memory: TransferMemory,
    /// [`CURRENT_POSITION`] for the file's own position.
    pub(crate) offset: u64,
}

/// The memory of a transfer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum TransferMemory {
    One { start: *mut u8, len: u32 },
    Many { iov: *const IoVec, count: u32 },
}

impl Transfer {
    /// The call that makes the transfer.
    #[inline(always)]
    pub(crate) const fn call(self) -> Call {
        let Self { fd, writes, memory, offset } = self;
        match (writes, memory) {
            (false, TransferMemory::One { start, len }) => Call::Read { fd, buf: start, len, offset },
            (true, TransferMemory::One { start, len }) => Call::Write { fd, buf: start, len, offset },
            (false, TransferMemory::Many { iov, count }) => Call::ReadVectored { fd, iov, count, offset },
            (true, TransferMemory::Many { iov, count }) => Call::WriteVectored { fd, iov, count, offset },
        }
    }
}
