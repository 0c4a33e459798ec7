//! One way to begin every operation that is not hot. Each kind has a row in [`perform`].

use std::path::PathBuf;

use auraio::{File, Operation, op};
use napi::{Either, bindgen_prelude::Uint8Array};

use crate::{
    kinds::Kind,
    native::lend::Span,
    numbers::{self, Owner},
    port::owned_path,
    state::Brings,
    submit::{EBADF, EINVAL, Submitter},
};

/// The arguments of a call of `perform`. The row of a kind says which of them the kind takes. If one of them is
/// missing, or is a number that does not fit, the operation is refused with `EINVAL`.
pub(crate) struct Asked<'a> {
    pub(crate) slot: u32,
    /// The open file that the kind works on, or the first of two. Kinds without an open file do not look at it.
    pub(crate) handle: u32,
    pub(crate) numbers: &'a [f64],
    pub(crate) paths: &'a [Either<String, Uint8Array>],
}

impl Asked<'_> {
    fn number(&self, at: usize) -> Option<f64> {
        self.numbers.get(at).copied()
    }

    /// An offset in a file, or a length.
    fn offset(&self, at: usize) -> Option<u64> {
        self.number(at).and_then(numbers::whole)
    }

    fn mode(&self, at: usize) -> Option<u32> {
        self.number(at).and_then(numbers::whole32)
    }

    /// The handle of the second file.
    fn handle(&self, at: usize) -> Option<u32> {
        self.number(at).and_then(numbers::whole32)
    }

    fn flag(&self, at: usize) -> Option<bool> {
        self.number(at).and_then(numbers::flag)
    }

    fn path(&self, at: usize) -> Option<PathBuf> {
        self.paths.get(at).and_then(owned_path)
    }
}

/// Begins an operation: 0, or a negated errno. `None` if an argument that the kind takes is missing or does not fit.
fn perform(port: &Submitter, kind: Kind, asked: &Asked<'_>) -> Option<i32> {
    Some(match kind {
        Kind::Sync => port.on(asked, op::Sync::all),
        Kind::SyncData => port.on(asked, op::Sync::data),
        Kind::StatFile => port.on_file(asked.slot, asked.handle, Brings::Stat, op::Stat::file),
        // The path; 1 to follow a symbolic link in its last part, 0 to stat the link itself.
        Kind::StatPath => {
            let (path, follow) = (asked.path(0)?, asked.flag(0)?);
            port.on_no_file(asked, Brings::Stat, if follow { op::Stat::path(path) } else { op::Stat::symlink(path) })
        }
        // The length.
        Kind::Truncate => {
            let length = asked.offset(0)?;
            port.on(asked, |file| op::Truncate::new(file, length))
        }
        // The old path, the new path.
        Kind::Rename => port.on_no_file(asked, Brings::Number, op::Rename::new(asked.path(0)?, asked.path(1)?)),
        // The path.
        Kind::RemoveFile => port.on_no_file(asked, Brings::Number, op::RemoveFile::new(asked.path(0)?)),
        // The path.
        Kind::RemoveDir => port.on_no_file(asked, Brings::Number, op::RemoveDir::new(asked.path(0)?)),
        // The path; the mode.
        Kind::CreateDir => {
            let (path, mode) = (asked.path(0)?, asked.mode(0)?);
            port.on_no_file(asked, Brings::Number, op::CreateDir::new(path).mode(mode))
        }
        // The path of the file, the new path for it.
        Kind::HardLink => port.on_no_file(asked, Brings::Number, op::HardLink::new(asked.path(0)?, asked.path(1)?)),
        // The text of the link, the path of the link.
        Kind::Symlink => port.on_no_file(asked, Brings::Number, op::Symlink::new(asked.path(0)?, asked.path(1)?)),
        // The mode.
        Kind::SetMode => {
            let mode = asked.mode(0)?;
            port.on(asked, |file| op::SetMode::new(file, mode))
        }
        // The user, the group.
        Kind::SetOwner => {
            let (user, group) = (Owner::of(asked.number(0)?)?.id(), Owner::of(asked.number(1)?)?.id());
            port.on(asked, |file| op::SetOwner::new(file, user, group))
        }
        // The times of last access and change.
        Kind::SetTimes => {
            let (accessed, modified) = (asked.number(0)?, asked.number(1)?);
            let (accessed, modified) = (numbers::timestamp(accessed)?, numbers::timestamp(modified)?);
            port.on(asked, |file| op::SetTimes::new(file, accessed, modified))
        }
        // The offset in the source, the handle of the target, the offset there, the length.
        Kind::CopyFileRange => {
            let (from, target) = (asked.offset(0)?, asked.handle(1)?);
            let (to, length) = (asked.offset(2)?, asked.offset(3)?);
            port.on_two(asked, target, |source, target| op::CopyFileRange::new(source, from, target, to, length))
        }
    })
}

impl Submitter {
    /// Queues an operation on an open file that answers a number.
    fn on<O: Operation>(&self, asked: &Asked<'_>, make: impl FnOnce(&File) -> O) -> i32 {
        self.on_file(asked.slot, asked.handle, Brings::Number, make)
    }

    /// Queues an operation on two open files that answers a number.
    fn on_two<O: Operation>(&self, asked: &Asked<'_>, other: u32, make: impl FnOnce(&File, &File) -> O) -> i32 {
        let core = &mut *self.core.borrow_mut();
        let (Some(file), Some(other)) = (core.files.get(asked.handle), core.files.get(other)) else { return -EBADF };
        let operation = make(file, other);
        self.queue(core, asked.slot, Brings::Number, Span::NONE, operation)
    }

    /// Queues an operation that works on no open file.
    fn on_no_file<O: Operation>(&self, asked: &Asked<'_>, brings: Brings, operation: O) -> i32 {
        self.queue(&mut self.core.borrow_mut(), asked.slot, brings, Span::NONE, operation)
    }
}

/// Begins the operation with this number.
pub(crate) fn perform_number(port: &Submitter, kind: u32, asked: &Asked<'_>) -> i32 {
    Kind::ALL.get(kind as usize).copied().and_then(|kind| perform(port, kind, asked)).unwrap_or(-EINVAL)
}
