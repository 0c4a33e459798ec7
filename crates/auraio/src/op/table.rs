//! The table of operations: every fact about every kind of call, in one place.
//!
//! Other parts of the crate ask the table, and do not list calls themselves. [`Call::kind`] has to name a kind for every
//! call, and a kind exists only as a row of the table, so a new call does not compile until every question about it has
//! an answer. Facts that depend on a call's own numbers and addresses are functions of the call, at the foot of the file.
//! docs/adding-an-operation.md tells how to add an operation.

use crate::sys::Call;

/// What is true of every call of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    /// The name of the system call, as `strace` and the errors of Node print it.
    pub(crate) name: &'static str,
    pub(crate) way: Way,
    pub(crate) opcode: Opcode,
    /// Every backend performs the call, as one entry.
    pub(crate) plain: bool,
    /// If the call fails, the kernel cancels what is linked behind it (`IOSQE_IO_LINK`). Up to 6.18 the kernel does not do
    /// so for calls that it always gives to a worker, like fsync and rename: what is linked behind a failed fsync runs.
    pub(crate) cuts_link: bool,
    /// The kernel always gives the call to a worker thread, and may have none (`pids.max`, `RLIMIT_NPROC`).
    pub(crate) needs_worker: bool,
    pub(crate) waits: Waits,
    pub(crate) moves: Moves,
    pub(crate) transfer: Transfers,
    pub(crate) files: Files,
}

/// Where calls of a kind are performed. `route` decides for one call. A call that is sent to a ring that has no opcode for it
/// goes on to the crew of threads; the simulated kernel has all opcodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// On the ring.
    Ring,
    /// On the ring, and by a worker of the kernel if the call moves many bytes.
    BySize,
    /// By the thread that submits, if the file is local; else on the ring.
    InlineIfLocal,
    /// On the engine's crew of threads.
    Threads,
}

/// Which kernel has an `io_uring` opcode for the call. Calls that a kernel has no opcode for go to the crew of threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opcode {
    /// Every kernel that auraio uses (5.19 and later).
    Always,
    /// Every such kernel, for lengths that fit 32 bits.
    Length32,
    /// `IORING_OP_FTRUNCATE`: 6.9 and later.
    Ftruncate,
    /// Three linked entries on a slot of the ring's own file table, if a slot is free.
    DirectSlot,
    /// No kernel up to 6.18.
    Missing,
}

/// Whether a call may wait for ever, so that somebody has to cancel it when nobody wants the result any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waits {
    /// It ends by itself.
    Never,
    /// On a file without positions (a pipe, a socket, a terminal) it waits for whoever is at the other end.
    OnStreams,
    /// It opens a path, which may be a FIFO that nobody has opened at the other end.
    OnPaths,
}

/// Which way a call moves bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moves {
    Nothing,
    /// From a file to memory.
    In,
    /// From memory to a file.
    Out,
    /// From one file to another.
    Across,
}

/// Whether a call is a [`Transfer`](crate::sys::Transfer) between memory and one open file: lanes govern these, they can be
/// bounced, and they may use registered memory and files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transfers {
    No,
    Reads,
    Writes,
}

/// On how many open files a call works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Files {
    Zero,
    One,
    Two,
}

macro_rules! table {
    ($($call:pat $(if $guard:expr)? => $kind:ident $name:literal $way:ident $opcode:ident $plain:literal $cuts:literal
        $worker:literal $waits:ident $moves:ident $transfer:ident $files:ident;)*) => {
        /// The kind of a [`Call`], without its numbers and addresses.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub(crate) enum CallKind {
            $($kind),*
        }

        impl CallKind {
            /// Every kind there is.
            pub(crate) const ALL: &[Self] = &[$(Self::$kind),*];

            /// The kind's row.
            #[inline(always)]
            pub(crate) const fn facts(self) -> Facts {
                match self {
                    $(Self::$kind => Facts {
                        name: $name,
                        way: Way::$way,
                        opcode: Opcode::$opcode,
                        plain: $plain,
                        cuts_link: $cuts,
                        needs_worker: $worker,
                        waits: Waits::$waits,
                        moves: Moves::$moves,
                        transfer: Transfers::$transfer,
                        files: Files::$files,
                    }),*
                }
            }
        }

        impl Call {
            /// What kind of call it is.
            #[inline(always)]
            pub(crate) const fn kind(&self) -> CallKind {
                match *self {
                    $($call $(if $guard)? => CallKind::$kind),*
                }
            }

            /// What is true of every call of this kind.
            // Not by way of `kind`: two matches in a row cost a cached read six instructions more (callgrind).
            #[inline(always)]
            pub(crate) const fn facts(&self) -> Facts {
                match *self {
                    $($call $(if $guard)? => CallKind::$kind.facts()),*
                }
            }
        }
    };
}

// The costs behind the ways are in docs/decisions/0003-routes.md; what `worker` says was measured on 6.18.
table! {
//  call                                         kind           name               way            opcode      plain  cuts   worker waits      moves   transfer files
    Call::Nop                                 => Nop            "nop"              Ring           Always      true   true   false  Never      Nothing No       Zero;
    Call::Read { .. }                         => Read           "read"             BySize         Always      true   true   false  OnStreams  In      Reads    One;
    Call::Write { .. }                        => Write          "write"            BySize         Always      true   true   true   OnStreams  Out     Writes   One;
    Call::ReadVectored { .. }                 => ReadVectored   "read"             BySize         Always      true   true   false  OnStreams  In      Reads    One;
    Call::WriteVectored { .. }                => WriteVectored  "write"            BySize         Always      true   true   true   OnStreams  Out     Writes   One;
    Call::WriteBuffered { .. }                => WriteBuffered  "write"            Ring           Missing     false  false  true   Never      Out     No       One;
    Call::Sync { data_only: false, .. }       => Sync           "fsync"            Ring           Always      true   false  true   Never      Nothing No       One;
    Call::Sync { data_only: true, .. }        => SyncData       "fdatasync"        Ring           Always      true   false  true   Never      Nothing No       One;
    Call::SyncRange { .. }                    => SyncRange      "sync_file_range"  Ring           Length32    false  false  true   Never      Nothing No       One;
    Call::Open { .. }                         => Open           "open"             Ring           Always      true   true   false  OnPaths    Nothing No       Zero;
    Call::ReadPath { .. }                     => ReadPath       "open"             Ring           DirectSlot  false  false  true   OnPaths    In      No       Zero;
    Call::Close { .. }                        => Close          "close"            Ring           Always      true   false  false  Never      Nothing No       One;
    Call::Stat { path, .. } if path.is_null() => StatFile       "fstat"            InlineIfLocal  Always      false  false  true   Never      Nothing No       One;
    Call::Stat { .. }                         => StatPath       "stat"             Ring           Always      false  false  true   Never      Nothing No       Zero;
    Call::Allocate { .. }                     => Allocate       "fallocate"        Ring           Always      false  false  true   Never      Nothing No       One;
    Call::Truncate { .. }                     => Truncate       "ftruncate"        Ring           Ftruncate   false  false  true   Never      Nothing No       One;
    Call::Advise { .. }                       => Advise         "fadvise"          Ring           Length32    false  false  true   Never      Nothing No       One;
    Call::Rename { .. }                       => Rename         "rename"           Ring           Always      false  false  true   Never      Nothing No       Zero;
    Call::RemoveFile { .. }                   => RemoveFile     "unlink"           Ring           Always      false  false  true   Never      Nothing No       Zero;
    Call::RemoveDir { .. }                    => RemoveDir      "rmdir"            Ring           Always      false  false  true   Never      Nothing No       Zero;
    Call::CreateDir { .. }                    => CreateDir      "mkdir"            Ring           Always      false  false  true   Never      Nothing No       Zero;
    Call::HardLink { .. }                     => HardLink       "link"             Ring           Always      false  false  true   Never      Nothing No       Zero;
    Call::Symlink { .. }                      => Symlink        "symlink"          Ring           Always      false  false  true   Never      Nothing No       Zero;
    Call::CopyFileRange { .. }                => CopyFileRange  "copy_file_range"  Threads        Missing     false  false  true   Never      Across  No       Two;
    Call::SetMode { .. }                      => SetMode        "fchmod"           Threads        Missing     false  false  true   Never      Nothing No       One;
    Call::SetOwner { .. }                     => SetOwner       "fchown"           Threads        Missing     false  false  true   Never      Nothing No       One;
    Call::SetTimes { .. }                     => SetTimes       "futime"           Threads        Missing     false  false  true   Never      Nothing No       One;
}

impl Call {
    /// Entries of the submission queue that the call takes on a ring.
    pub(crate) const fn entries(&self) -> u32 {
        match self.facts().opcode {
            Opcode::DirectSlot => 3,
            Opcode::Always | Opcode::Length32 | Opcode::Ftruncate | Opcode::Missing => 1,
        }
    }

    /// The length of a range, for the calls of [`Opcode::Length32`].
    pub(crate) const fn range_len(&self) -> Option<u64> {
        if let Self::SyncRange { len, .. } | Self::Advise { len, .. } = *self { Some(len) } else { None }
    }

    /// The name of the system call, as `strace` and the errors of Node print it.
    pub(crate) const fn name(&self) -> &'static str {
        self.facts().name
    }

    /// Whether every backend performs the call, as one entry.
    #[inline(always)]
    pub(crate) const fn is_plain(&self) -> bool {
        self.facts().plain
    }

    /// Whether a failure of the call cancels what is linked behind it.
    pub(crate) const fn cuts_link(&self) -> bool {
        self.facts().cuts_link
    }

    /// Whether the call is a read or write of an open file.
    #[inline(always)]
    pub(crate) const fn is_transfer(&self) -> bool {
        match self.facts().transfer {
            Transfers::Reads | Transfers::Writes => true,
            Transfers::No => false,
        }
    }

    /// Whether the call is a read of an open file.
    #[inline(always)]
    pub(crate) const fn is_read(&self) -> bool {
        match self.facts().transfer {
            Transfers::Reads => true,
            Transfers::Writes | Transfers::No => false,
        }
    }

    /// Whether the call is a write to an open file.
    #[inline(always)]
    pub(crate) const fn is_write(&self) -> bool {
        match self.facts().transfer {
            Transfers::Writes => true,
            Transfers::Reads | Transfers::No => false,
        }
    }
}

impl CallKind {
    /// The name of the system call, as `strace` and the errors of Node print it.
    pub(crate) const fn name(self) -> &'static str {
        self.facts().name
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::areas::Area;
    use crate::{
        BackendChoice, Engine, OpenOptions, Timestamp,
        op::{self, Operation, Prepared},
    };

    /// The operation that makes calls of a kind. `None` for a kind that is only a part of another operation.
    fn prepared(kind: CallKind, engine: &Engine, open: &impl Fn() -> crate::File) -> Option<Prepared> {
        let zero = Timestamp { seconds: 0, nanos: 0 };
        Some(match kind {
            CallKind::Nop => op::Nop.prepare(),
            CallKind::Read => op::Read::at(&open(), vec![0; 8], 0).prepare(),
            CallKind::Write => op::Write::at(&open(), vec![0; 8], 0).prepare(),
            CallKind::ReadVectored => op::ReadVectored::at(&open(), vec![vec![0; 8]; 2], 0).prepare(),
            CallKind::WriteVectored => op::WriteVectored::at(&open(), vec![vec![0; 8]; 2], 0).prepare(),
            // A part of a transfer that bounces.
            CallKind::WriteBuffered => return None,
            CallKind::Sync => op::Sync::all(&open()).prepare(),
            CallKind::SyncData => op::Sync::data(&open()).prepare(),
            CallKind::SyncRange => op::SyncRange::new(&open(), 0, 1, op::SyncRangeFlags::all()).prepare(),
            CallKind::Open => op::Open::new(engine, "a", OpenOptions::new().read(true)).prepare(),
            CallKind::ReadPath => op::ReadPath::new("a", vec![0; 8]).prepare(),
            CallKind::Close => op::Close::new(open()).prepare(),
            CallKind::StatFile => op::Stat::file(&open()).prepare(),
            CallKind::StatPath => op::Stat::path("a").prepare(),
            CallKind::Allocate => op::Allocate::new(&open(), op::AllocateMode::Extend, 0, 1).prepare(),
            CallKind::Truncate => op::Truncate::new(&open(), 1).prepare(),
            CallKind::Advise => op::Advise::new(&open(), 0, 1, op::Advice::Normal).prepare(),
            CallKind::Rename => op::Rename::new("a", "b").prepare(),
            CallKind::RemoveFile => op::RemoveFile::new("a").prepare(),
            CallKind::RemoveDir => op::RemoveDir::new("a").prepare(),
            CallKind::CreateDir => op::CreateDir::new("a").prepare(),
            CallKind::HardLink => op::HardLink::new("a", "b").prepare(),
            CallKind::Symlink => op::Symlink::new("a", "b").prepare(),
            CallKind::CopyFileRange => op::CopyFileRange::new(&open(), 0, &open(), 0, 1).prepare(),
            CallKind::SetMode => op::SetMode::new(&open(), 0o600).prepare(),
            CallKind::SetOwner => op::SetOwner::new(&open(), None, None).prepare(),
            CallKind::SetTimes => op::SetTimes::new(&open(), zero, zero).prepare(),
        })
    }

    #[test]
    fn every_kind_is_made_by_an_operation_that_keeps_to_its_row() {
        let engine = Engine::builder().backend(BackendChoice::Threads).build().unwrap();
        let scratch = tempfile::NamedTempFile::new().unwrap();
        let open = || {
            let options = OpenOptions::new().read(true).write(true);
            engine.block_on(engine.open(scratch.path(), options)).unwrap()
        };
        for &kind in CallKind::ALL {
            let Some(prepared) = prepared(kind, &engine, &open) else { continue };
            let (call, facts) = (&prepared.call, kind.facts());
            assert_eq!(call.kind(), kind);
            let files = [&prepared.file, &prepared.other, &prepared.closing].into_iter().flatten().count();
            let expected = match facts.files {
                Files::Zero => 0,
                Files::One => 1,
                Files::Two => 2,
            };
            assert_eq!(files, expected, "{kind:?}");
            let transfer = call.transfer().map(|transfer| transfer.writes);
            match facts.transfer {
                Transfers::No => assert_eq!(transfer, None, "{kind:?}"),
                Transfers::Reads => assert_eq!(transfer, Some(false), "{kind:?}"),
                Transfers::Writes => assert_eq!(transfer, Some(true), "{kind:?}"),
            }
            assert_eq!(call.range_len().is_some(), facts.opcode == Opcode::Length32, "{kind:?}");
            match facts.moves {
                Moves::Nothing | Moves::Across => {}
                Moves::In => assert_ne!(call.areas().written, Area::Nothing, "{kind:?}"),
                Moves::Out => assert_ne!(call.areas().read[0], Area::Nothing, "{kind:?}"),
            }
        }
    }

    #[test]
    fn no_row_contradicts_itself() {
        for kind in CallKind::ALL {
            let facts = kind.facts();
            assert!(facts.way != Way::Threads || facts.opcode == Opcode::Missing, "{kind:?}");
            assert!(!facts.plain || facts.opcode == Opcode::Always, "{kind:?}");
            let transfer = facts.transfer != Transfers::No;
            assert!(!transfer || facts.way == Way::BySize && facts.files == Files::One, "{kind:?}");
            assert_eq!(transfer, facts.waits == Waits::OnStreams, "{kind:?}");
            assert!(!(facts.needs_worker && facts.cuts_link) || transfer, "{kind:?}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_call_stays_as_small_as_it_is() {
        assert_eq!(size_of::<Call>(), 32);
    }
}
