//! Which memory the kernel reads and writes for each call. The simulated kernel watches this memory.

use crate::sys::{Call, FileTime, IoVec, PathPtr, RawStat};

/// A stretch of memory that the kernel reads or writes for a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Area {
    Nothing,
    Bytes(*mut u8, usize),
    /// The memory that these vectors point to.
    Vectors(*const IoVec, u32),
    /// A path, with the NUL at its end.
    Text(PathPtr),
}

/// The memory of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Areas {
    /// The kernel reads these: nobody else may write to them before the completion.
    pub(crate) read: [Area; 2],
    /// The kernel writes here: nobody else may read or write before the completion.
    pub(crate) written: Area,
}

impl Areas {
    const NONE: Self = Self { read: [Area::Nothing; 2], written: Area::Nothing };

    const fn reads(area: Area) -> Self {
        Self { read: [area, Area::Nothing], ..Self::NONE }
    }

    const fn reads_both(first: Area, second: Area) -> Self {
        Self { read: [first, second], ..Self::NONE }
    }

    const fn writes(area: Area) -> Self {
        Self { written: area, ..Self::NONE }
    }
}

impl Call {
    /// The memory that the kernel reads and writes for this call. The list of vectors itself is not in it, and neither is
    /// what a [`BufferedTwin`](crate::sys::BufferedTwin) consists of.
    pub(crate) const fn areas(&self) -> Areas {
        match *self {
            Self::Nop
            | Self::Sync { .. }
            | Self::SyncRange { .. }
            | Self::Close { .. }
            | Self::Allocate { .. }
            | Self::Truncate { .. }
            | Self::Advise { .. }
            | Self::SetMode { .. }
            | Self::SetOwner { .. }
            | Self::CopyFileRange { .. } => Areas::NONE,
            Self::Read { buf, len, .. } => Areas::writes(Area::Bytes(buf, len as usize)),
            Self::Write { buf, len, .. } => Areas::reads(Area::Bytes(buf.cast_mut(), len as usize)),
            Self::ReadVectored { iov, count, .. } => Areas::writes(Area::Vectors(iov, count)),
            Self::WriteVectored { iov, count, .. } | Self::WriteBuffered { iov, count, .. } => {
                Areas::reads(Area::Vectors(iov, count))
            }
            Self::Open { path, .. }
            | Self::RemoveFile { path }
            | Self::RemoveDir { path }
            | Self::CreateDir { path, .. } => Areas::reads(Area::Text(path)),
            Self::ReadPath { path, buf, len } => {
                Areas { written: Area::Bytes(buf, len as usize), ..Areas::reads(Area::Text(path)) }
            }
            Self::Stat { path, out, .. } => {
                let path = if path.is_null() { Area::Nothing } else { Area::Text(path) };
                Areas { written: Area::Bytes(out.cast(), size_of::<RawStat>()), ..Areas::reads(path) }
            }
            Self::Rename { from, to, .. } | Self::HardLink { from, to } => {
                Areas::reads_both(Area::Text(from), Area::Text(to))
            }
            Self::Symlink { target, link } => Areas::reads_both(Area::Text(target), Area::Text(link)),
            Self::SetTimes { times, .. } => {
                // Each time ends in four bytes that nothing was ever written to.
                let bytes = std::mem::offset_of!(FileTime, nanos) + size_of::<u32>();
                let first: *mut u8 = times.cast_mut().cast();
                let second = first.wrapping_add(size_of::<FileTime>());
                Areas::reads_both(Area::Bytes(first, bytes), Area::Bytes(second, bytes))
            }
        }
    }
}
