//! The operations, one to a file, and how each turns into calls and back into a typed result.
//!
//! An operation is a value: what to do, with the buffers, paths and files that it needs. [`Operation::prepare`] turns it
//! into kernel calls plus the payload that their addresses lie in; the slot keeps both until the completion;
//! [`Operation::finish`] turns what came back into the operation's own result.

use std::{collections::VecDeque, path::Path, sync::Arc};

use crate::{
    Error, File, Result,
    buf::Payload,
    control::Priority,
    file::FileInner,
    sys::{Call, Descriptor, SysPath, perform_close},
};

mod advise;
mod allocate;
#[cfg(feature = "sim")]
pub(crate) mod areas;
mod attributes;
pub(crate) mod bounce;
mod close;
mod copy_file_range;
mod nop;
mod open;
mod path;
mod prioritized;
mod read;
mod read_path;
pub(crate) mod route;
mod stat;
mod sync;
pub(crate) mod table;
mod truncate;
mod vectored;
mod write;

pub use advise::{Advice, Advise};
pub use allocate::{Allocate, AllocateMode};
pub use attributes::{SetMode, SetOwner, SetTimes};
pub use close::Close;
pub use copy_file_range::CopyFileRange;
pub use nop::Nop;
pub use open::{Open, OpenOptions, Resolve};
pub use path::{CreateDir, HardLink, RemoveDir, RemoveFile, Rename, RenameFlags, Symlink};
pub use prioritized::Prioritized;
pub use read::Read;
pub use read_path::ReadPath;
pub use stat::Stat;
pub use sync::{Sync, SyncRange, SyncRangeFlags};
pub use truncate::Truncate;
pub use vectored::{ReadVectored, WriteVectored};
pub use write::Write;

use bounce::Bounce;
use table::CallKind;

/// Something that an engine can be asked to do.
///
/// Other crates cannot implement this trait, because its methods take and give types that are not public: the operations of
/// this module are all there are. Each is a plain value. Its own constructor makes it, and the caller hands it to
/// [`Engine::submit`](crate::Engine::submit), a [`Port`](crate::Port) or a [`Chain`](crate::Chain).
///
/// ```
/// use auraio::{Engine, Operation, op};
///
/// fn perform<O: Operation>(engine: &Engine, operation: O) -> O::Output {
///     engine.block_on(engine.submit(operation))
/// }
/// let engine = Engine::builder().build()?;
/// assert!(perform(&engine, op::Stat::path("Cargo.toml"))?.is_file());
/// # Ok::<(), auraio::Error>(())
/// ```
pub trait Operation: Send + Sized + 'static {
    /// What the caller gets when the operation has completed.
    type Output: Send + 'static;

    #[doc(hidden)]
    fn prepare(self) -> Prepared;

    /// The operation's call, if it may take the short path. This calls methods of the caller's buffer, which are code of the
    /// user's.
    #[doc(hidden)]
    #[inline(always)]
    fn plain(&mut self) -> Option<Plain> {
        None
    }

    /// The file that the call of [`Operation::plain`] works on.
    #[doc(hidden)]
    #[inline(always)]
    fn plain_file(&self) -> Option<&File> {
        None
    }

    /// What the slot keeps for the call of [`Operation::plain`].
    #[doc(hidden)]
    #[inline(always)]
    fn into_owned(self) -> (Payload, Option<File>) {
        (Payload::NOTHING, None)
    }

    #[doc(hidden)]
    fn finish(done: Done) -> Self::Output;

    /// The same operation with a class of its own instead of its file's class. Of the operations that wait for a device,
    /// those of the class high go first. The class has no effect on an operation that works on no file.
    ///
    /// ```
    /// use auraio::{OpenOptions, Operation, control::Priority, op};
    ///
    /// # let engine = auraio::Engine::builder().build()?;
    /// # engine.block_on(async {
    /// let file = engine.open("Cargo.toml", OpenOptions::new().read(true)).await?;
    /// let read = op::Read::at(&file, vec![0; 9], 0).with_priority(Priority::High);
    /// let (read, buffer) = engine.submit(read).await;
    /// assert_eq!(&buffer[..read?], b"[package]");
    /// # Ok::<(), auraio::Error>(())
    /// # })?;
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    fn with_priority(self, class: Priority) -> Prioritized<Self> {
        Prioritized::new(self, class)
    }
}

/// The call of an operation on the short path. It is the operation's only call, on one file or on none, at an explicit
/// position or at none. It needs no bounce, and it moves few enough bytes that the kernel may attempt it inside the
/// submission. Nearly all operations are of this shape.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct Plain {
    pub(crate) call: Call,
    /// Bytes that the call moves, and their address.
    pub(crate) bytes: u32,
    pub(crate) address: usize,
}

/// A transfer of fewer bytes than this is attempted inside the submission, whatever file and memory it works on.
pub(crate) const PLAIN_BYTES_MAX: usize = route::BUFFERED_READ_ASYNC_BYTES as usize;

/// What follows the first call. It is boxed, because every slot has a field for it and hardly any operation uses it.
pub(crate) type Later = Box<More>;

/// How an operation goes on after its first call.
#[derive(Debug)]
pub(crate) enum More {
    /// With these calls. The number beside each call is the bytes that it moves.
    Calls(VecDeque<(Call, u64)>),
    /// With the calls that the bounce makes. The bounce owns a block that the kernel may write to.
    Bounced(Bounce),
}

/// An operation ready for a slot.
#[doc(hidden)]
#[derive(Debug)]
pub struct Prepared {
    pub(crate) call: Call,
    /// Bytes that `call` moves if it moves all that it is asked to. If it moves fewer, `more` is not performed.
    pub(crate) expect: u64,
    /// The rest of the operation, if it does not fit into one call. It follows once `call` has moved all its bytes.
    pub(crate) more: Option<Later>,
    pub(crate) payload: Payload,
    pub(crate) file: Option<Arc<FileInner>>,
    /// The second file of an operation that works on two. Its close waits for the operation, as that of the first does.
    pub(crate) other: Option<Arc<FileInner>>,
    /// The file that this operation closes. `call` is performed once nobody else has a share in the file.
    pub(crate) closing: Option<Arc<FileInner>>,
    /// The operation uses the file's own position, so it waits until earlier operations that use it have completed.
    pub(crate) cursor: bool,
    /// The class that the caller asked for. With `None`, the file's class counts.
    pub(crate) class: Option<Priority>,
    /// A result that is known without a call: an argument was refused, or there is nothing to do.
    pub(crate) early: Option<Result<u64, Box<Error>>>,
}

impl Prepared {
    pub(crate) const fn new(call: Call, payload: Payload) -> Self {
        Self {
            call,
            expect: 0,
            more: None,
            payload,
            file: None,
            other: None,
            closing: None,
            cursor: false,
            class: None,
            early: None,
        }
    }

    pub(crate) fn on(file: Arc<FileInner>, call: Call, payload: Payload) -> Self {
        Self { file: Some(file), ..Self::new(call, payload) }
    }

    /// The operation's first file, and the file that it closes.
    pub(crate) fn files(&self) -> impl Iterator<Item = &Arc<FileInner>> {
        self.file.iter().chain(&self.closing)
    }

    pub(crate) fn refused(error: Error, payload: Payload) -> Self {
        Self { early: Some(Err(Box::new(error))), ..Self::new(Call::Nop, payload) }
    }
}

/// How an operation ended.
#[doc(hidden)]
#[derive(Debug)]
pub struct Done {
    pub(crate) kind: CallKind,
    /// Zero or more, or a negated errno.
    pub(crate) result: i64,
    pub(crate) refused: Option<Box<Error>>,
    pub(crate) payload: Payload,
    pub(crate) cancelled: bool,
}

impl Done {
    pub(crate) fn early(prepared: Prepared, outcome: Result<u64, Box<Error>>) -> Self {
        let (result, refused) = match outcome {
            Ok(value) => (i64::try_from(value).unwrap_or(i64::MAX), None),
            Err(error) => (-i64::from(error.errno()), Some(error)),
        };
        Self { kind: prepared.call.kind(), result, refused, payload: prepared.payload, cancelled: false }
    }

    /// The result as a Rust `Result`: a value, or the error that the errno stands for.
    pub(crate) fn value(&mut self) -> Result<u64> {
        if let Some(error) = self.refused.take() {
            return Err(*error);
        }
        u64::try_from(self.result).map_err(|_| {
            let errno = i32::try_from(-self.result).unwrap_or(i32::MAX);
            if self.cancelled && errno == crate::sys::errno::ECANCELED {
                Error::Cancelled
            } else {
                Error::os(errno, self.kind.name())
            }
        })
    }

    /// Whether the operation was refused before it was prepared, so that it has no payload.
    pub(crate) const fn refused_early(&self) -> bool {
        self.payload.is_nothing()
    }

    pub(crate) fn unit(mut self) -> Result<()> {
        self.value().map(drop)
    }

    /// Takes the payload: what the operation owned while it was under way.
    pub(crate) fn take_payload(&mut self) -> Payload {
        std::mem::replace(&mut self.payload, Payload::NOTHING)
    }
}

impl Drop for Done {
    /// Closes the descriptor that an open gave, if nobody has taken it.
    #[inline]
    fn drop(&mut self) {
        if self.kind == CallKind::Open
            && self.refused.is_none()
            && let Ok(descriptor) = Descriptor::try_from(self.result)
            && descriptor >= 0
        {
            perform_close(descriptor);
        }
    }
}

/// The names of all kinds of calls. The binding's tests compare them with the binding's own table, and fail if it has no row
/// for a kind.
#[doc(hidden)]
#[must_use]
pub fn kinds() -> Vec<String> {
    CallKind::ALL.iter().map(|kind| format!("{kind:?}")).collect()
}

/// A path in the form that the system takes.
pub(crate) fn sys_path(path: &Path) -> Result<SysPath> {
    SysPath::new(path).map_err(|_| Error::NulInPath(path.to_path_buf()))
}
