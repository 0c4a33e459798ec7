//! One way to begin every operation that is not hot: a row a kind.

use std::path::PathBuf;

use auraio::{File, Operation, op};
use napi::{Either, bindgen_prelude::Uint8Array};

use crate::{
    kinds::Kind,
    native::lend::Span,
    port::{owned_path, timestamp},
    state::{NUMBER, STAT},
    submit::{EBADF, EINVAL, Submitter, offset_of},
};

/// What came with a call of `perform`. Each kind says in [`perform`] what it takes of it.
pub(crate) struct Asked<'a> {
    pub(crate) slot: u32,
    /// The open file, if the kind works on one.
    pub(crate) handle: u32,
    pub(crate) numbers: &'a [f64],
    pub(crate) paths: &'a [Either<String, Uint8Array>],
}

impl Asked<'_> {
    fn number(&self, at: usize) -> Option<f64> {
        self.numbers.get(at).copied()
    }

    fn offset(&self, at: usize) -> Option<u64> {
        self.number(at).and_then(offset_of)
    }

    fn mode(&self, at: usize) -> Option<u32> {
        self.number(at).map(|mode| mode as u32)
    }

    /// The handle of another file than the first.
    fn handle(&self, at: usize) -> Option<u32> {
        self.mode(at)
    }

    fn path(&self, at: usize) -> Option<PathBuf> {
        self.paths.get(at).and_then(owned_path)
    }
}

/// Begins an operation: 0, or a negated errno. `None` if something that the kind takes did not come with the call.
pub(crate) fn perform(port: &Submitter, kind: Kind, asked: &Asked<'_>) -> Option<i32> {
    Some(match kind {
        Kind::Sync => port.on(asked, op::Sync::all),
        Kind::SyncData => port.on(asked, op::Sync::data),
        Kind::StatFile => port.on_file(asked.slot, asked.handle, STAT, op::Stat::file),
        // The path; whether to follow a link in its last part.
        Kind::StatPath => {
            let path = asked.path(0)?;
            let follow = asked.number(0)? != 0.0;
            port.on_no_file(asked, STAT, if follow { op::Stat::path(path) } else { op::Stat::symlink(path) })
        }
        // The length.
        Kind::Truncate => {
            let length = asked.offset(0)?;
            port.on(asked, |file| op::Truncate::new(file, length))
        }
        // The old path, the new one.
        Kind::Rename => port.on_no_file(asked, NUMBER, op::Rename::new(asked.path(0)?, asked.path(1)?)),
        // The path. So for the next.
        Kind::RemoveFile => port.on_no_file(asked, NUMBER, op::RemoveFile::new(asked.path(0)?)),
        Kind::RemoveDir => port.on_no_file(asked, NUMBER, op::RemoveDir::new(asked.path(0)?)),
        // The path; the mode.
        Kind::CreateDir => port.on_no_file(asked, NUMBER, op::CreateDir::new(asked.path(0)?).mode(asked.mode(0)?)),
        // The path that is there, the new one.
        Kind::HardLink => port.on_no_file(asked, NUMBER, op::HardLink::new(asked.path(0)?, asked.path(1)?)),
        // What the link says, the path of the link.
        Kind::Symlink => port.on_no_file(asked, NUMBER, op::Symlink::new(asked.path(0)?, asked.path(1)?)),
        // The mode.
        Kind::SetMode => {
            let mode = asked.mode(0)?;
            port.on(asked, |file| op::SetMode::new(file, mode))
        }
        // The user, the group; 4,294,967,295 leaves one as it is.
        Kind::SetOwner => {
            let id = |at| asked.mode(at).map(|id| Some(id).filter(|id| *id != u32::MAX));
            let (user, group) = (id(0)?, id(1)?);
            port.on(asked, |file| op::SetOwner::new(file, user, group))
        }
        // The times of last access and change, in seconds since 1970.
        Kind::SetTimes => {
            let (accessed, modified) = (timestamp(asked.number(0)?), timestamp(asked.number(1)?));
            port.on(asked, |file| op::SetTimes::new(file, accessed, modified))
        }
        // The offset; the other file's handle, the offset there; the length.
        Kind::CopyFileRange => {
            let (from, other) = (asked.offset(0)?, asked.handle(1)?);
            let (to, length) = (asked.offset(2)?, asked.offset(3)?);
            port.on_two(asked, other, |source, target| op::CopyFileRange::new(source, from, target, to, length))
        }
    })
}

impl Submitter {
    /// Queues an operation on an open file that answers a number.
    fn on<O: Operation>(&self, asked: &Asked<'_>, make: impl FnOnce(&File) -> O) -> i32 {
        self.on_file(asked.slot, asked.handle, NUMBER, make)
    }

    /// Queues an operation on two open files that answers a number.
    fn on_two<O: Operation>(&self, asked: &Asked<'_>, other: u32, make: impl FnOnce(&File, &File) -> O) -> i32 {
        let core = &mut *self.core.borrow_mut();
        let (Some(file), Some(other)) = (core.files.get(asked.handle), core.files.get(other)) else { return -EBADF };
        let operation = make(file, other);
        self.queue(core, asked.slot, NUMBER, Span::NONE, operation)
    }

    /// Queues an operation that works on no open file.
    fn on_no_file<O: Operation>(&self, asked: &Asked<'_>, brings: u64, operation: O) -> i32 {
        self.queue(&mut self.core.borrow_mut(), asked.slot, brings, Span::NONE, operation)
    }
}

/// Begins the operation with this number.
pub(crate) fn perform_number(port: &Submitter, kind: u32, asked: &Asked<'_>) -> i32 {
    let kind = Kind::ALL.get(kind as usize).copied();
    kind.and_then(|kind| perform(port, kind, asked)).unwrap_or(-EINVAL)
}
