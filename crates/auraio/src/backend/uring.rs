//! The kernel, through `io_uring` (Linux 5.19 and later).
//!
//! A ring is set up with these flags:
//! - COOP_TASKRUN (5.19): the kernel posts completions when the thread enters it anyway.
//! - SUBMIT_ALL (5.18): an entry that the kernel refuses does not stop those behind it.
//! - CQSIZE: the CQ is as large as the in-flight limit needs.
//! - SINGLE_ISSUER (6.0), if one thread owns the ring.
//!
//! DEFER_TASKRUN is never used, because such a ring does not wake a thread that polls its descriptor. SQPOLL is used only if
//! the user asks for it: the kernel's polling thread keeps the credentials that the process had when the ring was made, so
//! after a setuid it would open files for the wrong user.
#![expect(unsafe_code, reason = "entries hand the kernel addresses; whoever pushes keeps them valid")]

use std::{io, os::fd::AsRawFd, time::Duration};

use io_uring::{IoUring, Probe, opcode, squeue, types};

use super::{Backend, Cqe, Entry, Taker, Wait, registry};
use crate::{
    op::table::Opcode,
    sys::{self, Call, Descriptor, PathPtr, STATX_MASK, errno, statx_flags},
};

mod ioprio;
mod master;

use ioprio::ioprio_of;
pub(crate) use master::Master;

/// The most submission queue entries of one ring, and so of one batch. For each 256 entries, a ring and its CQ take about 28
/// KiB of memory that counts against RLIMIT_MEMLOCK.
const SQ_ENTRIES_MAX: u32 = 256;

/// Places of the ring's file table for chains that open, read and close a file without a descriptor.
const DIRECT_SLOTS: u32 = 64;

/// Further places of the same table, behind those, for files that are used often.
const FILE_SLOTS: u32 = 960;

/// Places of the table of buffers, if the kernel cannot extend it.
const BUFFER_SLOTS: u32 = 1024;

/// The most workers that the kernel may use for one thread's calls: for calls that end by themselves (on files), and for
/// calls that may block without end (pipes, opens).
const WORKERS_MAX: [u32; 2] = [4, 16];

/// How long after it was set the alarm rings.
static ALARM_AFTER: types::Timespec = types::Timespec::new().nsec(50_000_000);

/// `IORING_ENTER_GETEVENTS`.
const GETEVENTS: u32 = 1;

/// The top bit of `user_data` marks the parts of a [`Call::ReadPath`].
const PART: u64 = 1 << 63;

/// How to set an `io_uring` up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UringSpec {
    pub(crate) in_flight_max: u32,
    pub(crate) single_issuer: bool,
    /// The milliseconds that the kernel's polling thread stays awake. With `None` there is no such thread.
    pub(crate) kernel_poll_ms: Option<u32>,
}

pub(crate) struct UringBackend {
    ring: IoUring,
    features: Features,
    /// The `user_data` of the entry in each place of the submission queue. `withdraw` needs it.
    pushed: Box<[u64]>,
    /// Entries pushed so far, and entries that the kernel has taken.
    tail: u32,
    taken: u32,
    /// A thread of the kernel looks at the submission queue.
    polled: bool,
    enters: u64,
    paths: Paths,
    /// The arguments that openat2 entries point to until they are handed over.
    #[expect(clippy::vec_box, reason = "their addresses must not change when another is added")]
    hows: Vec<Box<types::OpenHow>>,
    /// The entries in the submission queue were given up. They cannot be taken out, and they must never be handed over,
    /// because their memory belongs to its owners again.
    withdrawn: bool,
    /// Whether the kernel has made the table of buffers.
    buffers: bool,
    /// The alarm has rung.
    alarm: bool,
}

/// What this kernel can do beyond 5.19.
#[derive(Clone, Copy, Debug)]
struct Features {
    truncate: bool,
    direct_slots: bool,
    /// The number of places of the file table behind [`DIRECT_SLOTS`].
    file_slots: u32,
    /// Whether vectored calls can use registered buffers (6.15).
    vectors_fixed: bool,
}

/// Chains of open, read and close that are under way.
#[derive(Default)]
struct Paths {
    entries: Vec<PathState>,
    free: Vec<u32>,
}

#[derive(Clone, Copy, Default)]
struct PathState {
    user_data: u64,
    outstanding: u8,
    opened: i32,
    read: i32,
}

impl UringBackend {
    /// Sets a ring up.
    ///
    /// # Errors
    /// What io_uring_setup(2) gives: `EPERM`, `ENOSYS`, `ENOMEM` (RLIMIT_MEMLOCK), `EMFILE`, and `EINVAL` from a kernel
    /// before 5.19.
    pub(crate) fn new(spec: UringSpec) -> io::Result<Self> {
        let build = |single_issuer: bool| {
            let mut builder = IoUring::builder();
            builder.setup_coop_taskrun().setup_submit_all().setup_cqsize(cq_entries(spec.in_flight_max)).dontfork();
            if single_issuer {
                builder.setup_single_issuer();
            }
            if let Some(idle) = spec.kernel_poll_ms {
                builder.setup_sqpoll(idle);
            }
            builder.build(sq_entries(spec.in_flight_max))
        };
        // A 5.19 kernel does not know SINGLE_ISSUER (6.0) and refuses it with EINVAL. Then the ring is set up without it.
        let ring = match build(spec.single_issuer) {
            Err(error) if spec.single_issuer && error.raw_os_error() == Some(errno::EINVAL) => build(false)?,
            // The kernel gives the memory of a ring that was just closed back a little later, so try once more.
            Err(error) if error.raw_os_error() == Some(errno::ENOMEM) => {
                std::thread::sleep(Duration::from_millis(20));
                build(spec.single_issuer)?
            }
            other => other?,
        };
        let mut probe = Probe::new();
        let known = ring.submitter().register_probe(&mut probe).is_ok();
        // This limit only keeps one process from using all of a machine. If the kernel refuses it, the kernel's own limit
        // holds.
        let _ = ring.submitter().register_iowq_max_workers(&mut WORKERS_MAX.clone());
        // The kernel refuses a table with more places than the process may have descriptors.
        let file_slots = FILE_SLOTS.min(sys::descriptors_max().saturating_sub(DIRECT_SLOTS));
        let table = |places: u32| ring.submitter().register_files_sparse(places).is_ok();
        let (direct_slots, file_slots) =
            if table(DIRECT_SLOTS + file_slots) { (true, file_slots) } else { (table(DIRECT_SLOTS), 0) };
        let features = Features {
            truncate: known && probe.is_supported(opcode::Ftruncate::CODE),
            direct_slots,
            file_slots,
            vectors_fixed: known && probe.is_supported(opcode::ReadvFixed::CODE),
        };
        let entries = ring.params().sq_entries();
        Ok(Self {
            ring,
            features,
            pushed: vec![0; entries as usize].into_boxed_slice(),
            tail: 0,
            taken: 0,
            polled: spec.kernel_poll_ms.is_some(),
            enters: 0,
            paths: Paths::default(),
            hows: Vec::new(),
            withdrawn: false,
            buffers: false,
            alarm: false,
        })
    }

    #[inline(always)]
    fn push_entry(&mut self, entry: &squeue::Entry, user_data: u64) {
        let mask = self.pushed.len() - 1;
        self.pushed[self.tail as usize & mask] = user_data;
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: whoever called `push` keeps the entry's addresses valid until its completion is reaped.
        let pushed = unsafe { self.ring.submission().push(entry) };
        assert!(pushed.is_ok(), "the ring was asked for room before the push");
    }

    /// The entry of an openat2. Its argument must stay where it is until the kernel has taken the entry.
    fn open_how(&mut self, path: PathPtr, flags: i32, mode: u32, resolve: u64) -> squeue::Entry {
        let creates = flags & (libc::O_CREAT | libc::O_TMPFILE) != 0;
        let how = types::OpenHow::new()
            .flags(u64::from((flags | libc::O_CLOEXEC).cast_unsigned()))
            .mode(if creates { u64::from(mode) } else { 0 })
            .resolve(resolve);
        let how = Box::new(how);
        let entry = opcode::OpenAt2::new(types::Fd(libc::AT_FDCWD), path, &raw const *how).build();
        self.hows.push(how);
        entry
    }

    /// One system call, with numbers that are known: the crate would work them out from the queues.
    #[inline]
    fn enter(&self, entries: u32, wanted: u32, flags: u32) -> io::Result<usize> {
        // SAFETY: whoever called `push` keeps the addresses of each entry valid until its completion is reaped.
        unsafe { self.ring.submitter().enter::<()>(entries, wanted, flags, None) }
    }

    /// The same for a ring whose submission queue a thread of the kernel reads by itself. That thread may have to be woken.
    #[cold]
    fn submit_polled(&self, wait: Wait) -> io::Result<usize> {
        match wait {
            Wait::No => self.ring.submit(),
            Wait::AtLeast(wanted, None) => self.ring.submit_and_wait(wanted as usize),
            Wait::AtLeast(wanted, Some(limit)) => {
                let timespec = types::Timespec::from(limit);
                let args = types::SubmitArgs::new().timespec(&timespec);
                self.ring.submitter().submit_with_args(wanted as usize, &args)
            }
        }
    }

    /// Pushes a call that is not among the commonest.
    #[inline(never)]
    fn push_rare(&mut self, entry: Entry, flags: squeue::Flags) {
        let user_data = entry.user_data;
        match entry.call {
            Call::ReadPath { .. } => self.push_path(entry),
            Call::Open { path, flags: how, mode, resolve } if resolve != 0 => {
                let sqe = self.open_how(path, how, mode, resolve).flags(flags).user_data(user_data);
                self.push_entry(&sqe, user_data);
            }
            ref call => self.push_entry(&sqe(call).flags(flags).user_data(user_data), user_data),
        }
    }

    /// Pushes three linked entries: open into a place of the ring's file table, read, close. The ring gets one completion
    /// for them.
    fn push_path(&mut self, entry: Entry) {
        let Call::ReadPath { path, buf, len } = entry.call else { return };
        let index = self.paths.free.pop().unwrap_or_else(|| {
            self.paths.entries.push(PathState::default());
            self.paths.entries.len() as u32 - 1
        });
        let user_data = entry.user_data;
        self.paths.entries[index as usize] = PathState { user_data, outstanding: 3, opened: 0, read: 0 };
        let part = |number: u64| PART | number << 32 | u64::from(index);
        let Ok(slot) = types::DestinationSlot::try_from_slot_target(index) else { return };
        let open = opcode::OpenAt::new(types::Fd(libc::AT_FDCWD), path).file_index(Some(slot)).flags(libc::O_RDONLY);
        let read = opcode::Read::new(types::Fixed(index), buf, len);
        let close = opcode::Close::new(types::Fixed(index));
        // A read that meets the end of the file is short, and a short read would cancel what is linked behind it by a plain
        // link. So the close is linked by a hard link.
        let parts = [
            open.build().flags(squeue::Flags::IO_LINK).user_data(part(0)),
            read.build().flags(squeue::Flags::IO_HARDLINK).user_data(part(1)),
            close.build().user_data(part(2)),
        ];
        for entry in &parts {
            self.push_entry(entry, user_data);
        }
    }

    /// Calls `each` for every completion, read where it lies in the completion queue.
    #[inline(always)]
    pub(crate) fn reap_each(&mut self, each: &mut impl Taker) {
        // SAFETY: the ring that owns this backend lets one thread in at a time, so nobody else reads these flags' queue.
        if unsafe { self.ring.submission_shared() }.cq_overflow() {
            self.fetch_overflow();
        }
        let Self { ring, paths, alarm, .. } = self;
        for cqe in ring.completion() {
            let mut cqe = Cqe { user_data: cqe.user_data(), result: cqe.result() };
            if cqe.user_data & PART != 0 {
                *alarm |= cqe.user_data == Cqe::ALARM;
                let own = cqe.user_data == Cqe::INTERNAL || cqe.user_data == Cqe::ALARM;
                let whole = if own { None } else { paths.complete_part(cqe.user_data, cqe.result) };
                let Some(whole) = whole else { continue };
                cqe = whole;
            }
            each.take(cqe);
        }
    }

    /// Makes the kernel hand over the completions that did not fit into the queue. It does so in an enter.
    #[cold]
    fn fetch_overflow(&mut self) {
        self.enters += 1;
        // SAFETY: hands nothing over, so no address is followed; a refusal leaves them for the next time.
        let _ = unsafe { self.ring.submitter().enter::<()>(0, 0, GETEVENTS, None) };
    }
}

impl Paths {
    /// Takes the completion of one part of an open, read and close. The last part gives the completion of the whole.
    fn complete_part(&mut self, user_data: u64, result: i32) -> Option<Cqe> {
        let index = user_data as u32;
        let state = &mut self.entries[index as usize];
        match user_data >> 32 & 3 {
            0 => state.opened = result,
            1 => state.read = result,
            _ => {}
        }
        state.outstanding -= 1;
        if state.outstanding > 0 {
            return None;
        }
        let result = if state.opened < 0 { state.opened } else { state.read };
        let cqe = Cqe { user_data: state.user_data, result };
        self.free.push(index);
        Some(cqe)
    }
}

/// The size of the SQ for an in-flight limit: a power of two.
fn sq_entries(in_flight_max: u32) -> u32 {
    in_flight_max.clamp(64, SQ_ENTRIES_MAX).next_power_of_two()
}

/// The size of the CQ for an in-flight limit, with room for the backend's own entries.
fn cq_entries(in_flight_max: u32) -> u32 {
    in_flight_max.next_power_of_two().clamp(2 * sq_entries(in_flight_max), 65_536)
}

/// Builds the entry of a transfer. It names the file by its descriptor or by its place in the table, and plain memory or a
/// registered buffer.
macro_rules! transfer {
    ($plain:ident, $fixed:ident, $entry:expr, $fd:expr, ($memory:expr, $size:expr), $offset:expr) => {{
        let (class, flags) = (ioprio_of($entry.class), if $entry.attempt { libc::RWF_NOWAIT } else { 0 });
        macro_rules! built {
            ($transfer:expr) => {
                $transfer.offset($offset).ioprio(class).rw_flags(flags).build()
            };
        }
        match ($entry.fixed.buffer, $entry.fixed.file) {
            (None, None) => built!(opcode::$plain::new(types::Fd($fd), $memory, $size)),
            (None, Some(place)) => built!(opcode::$plain::new(place_of(place), $memory, $size)),
            (Some(index), None) => built!(opcode::$fixed::new(types::Fd($fd), $memory, $size, index)),
            (Some(index), Some(place)) => built!(opcode::$fixed::new(place_of(place), $memory, $size, index)),
        }
    }};
}

impl Backend for UringBackend {
    fn room(&self) -> u32 {
        if self.withdrawn {
            return 0;
        }
        // One place is kept free for a cancellation, because a cancellation cannot wait.
        (self.pushed.len() as u32 - 1).saturating_sub(self.unsubmitted())
    }

    fn supports(&self, call: &Call) -> bool {
        match call.facts().opcode {
            Opcode::Always => true,
            Opcode::Missing => false,
            Opcode::Ftruncate => self.features.truncate,
            Opcode::DirectSlot => {
                self.features.direct_slots && self.paths.entries.len() - self.paths.free.len() < DIRECT_SLOTS as usize
            }
            Opcode::Length32 => call.range_len().is_some_and(|len| u32::try_from(len).is_ok()),
        }
    }

    fn weight(&self, call: &Call) -> u32 {
        call.entries()
    }

    #[inline(always)]
    unsafe fn push(&mut self, entry: Entry) {
        let mut flags = squeue::Flags::empty();
        if entry.link {
            flags |= squeue::Flags::IO_LINK;
        }
        if entry.force_async {
            flags |= squeue::Flags::ASYNC;
        }
        let user_data = entry.user_data;
        // Each of the commonest calls is built and pushed in one place. If the arms of the match only built the entry, and
        // one push followed them, the entry would be copied through the stack in parts, and the processor could not forward
        // its stores (perf annotate on benches/rings.rs).
        match entry.call {
            Call::Nop => {
                let sqe = opcode::Nop::new().build().flags(flags).user_data(user_data);
                self.push_entry(&sqe, user_data);
            }
            Call::Read { fd, buf, len, offset } => {
                let sqe = transfer!(Read, ReadFixed, entry, fd, (buf, len), offset);
                self.push_entry(&sqe.flags(flags).user_data(user_data), user_data);
            }
            Call::Write { fd, buf, len, offset } => {
                let sqe = transfer!(Write, WriteFixed, entry, fd, (buf, len), offset);
                self.push_entry(&sqe.flags(flags).user_data(user_data), user_data);
            }
            Call::ReadVectored { fd, iov, count, offset } => {
                let sqe = transfer!(Readv, ReadvFixed, entry, fd, (iov, count), offset);
                self.push_entry(&sqe.flags(flags).user_data(user_data), user_data);
            }
            Call::WriteVectored { fd, iov, count, offset } => {
                let sqe = transfer!(Writev, WritevFixed, entry, fd, (iov, count), offset);
                self.push_entry(&sqe.flags(flags).user_data(user_data), user_data);
            }
            Call::WriteBuffered { .. }
            | Call::Sync { .. }
            | Call::SyncRange { .. }
            | Call::Open { .. }
            | Call::Close { .. }
            | Call::Stat { .. }
            | Call::Allocate { .. }
            | Call::Truncate { .. }
            | Call::Advise { .. }
            | Call::Rename { .. }
            | Call::RemoveFile { .. }
            | Call::RemoveDir { .. }
            | Call::CreateDir { .. }
            | Call::HardLink { .. }
            | Call::Symlink { .. }
            | Call::SetMode { .. }
            | Call::SetOwner { .. }
            | Call::SetTimes { .. }
            | Call::CopyFileRange { .. }
            | Call::ReadPath { .. } => self.push_rare(entry, flags),
        }
    }

    fn cancel(&mut self, user_data: u64) {
        let target = self
            .paths
            .entries
            .iter()
            .position(|path| path.outstanding > 0 && path.user_data == user_data)
            .map_or(user_data, |index| PART | 1 << 32 | index as u64);
        let entry = opcode::AsyncCancel::new(target).build().user_data(Cqe::INTERNAL);
        if self.withdrawn || self.unsubmitted() as usize >= self.pushed.len() {
            // There is no room for a cancellation, so the operation is not cancelled. Its completion comes as always.
            return;
        }
        self.push_entry(&entry, Cqe::INTERNAL);
    }

    fn submit(&mut self, wait: Wait) -> io::Result<u32> {
        if self.withdrawn {
            return Ok(0);
        }
        self.enters += 1;
        let before = self.tail.wrapping_sub(self.taken);
        let outcome = match wait {
            _ if self.polled => self.submit_polled(wait),
            Wait::No => self.enter(before, 0, 0),
            Wait::AtLeast(wanted, None) => self.enter(before, wanted, GETEVENTS),
            Wait::AtLeast(wanted, Some(limit)) => {
                let timespec = types::Timespec::from(limit);
                let args = types::SubmitArgs::new().timespec(&timespec);
                self.ring.submitter().submit_with_args(wanted as usize, &args)
            }
        };
        let taken = match outcome {
            Ok(taken) => taken as u32,
            // If a time limit or a signal ended the wait, the kernel may still have taken entries.
            Err(error) => match before - self.unsubmitted() {
                0 => return Err(error),
                taken => taken,
            },
        };
        self.taken = self.taken.wrapping_add(taken);
        if !self.hows.is_empty() && self.unsubmitted() == 0 {
            self.hows.clear();
        }
        Ok(taken)
    }

    fn withdraw(&mut self) -> Vec<u64> {
        let mask = self.pushed.len() as u32 - 1;
        let first = self.tail.wrapping_sub(self.unsubmitted());
        let mut those: Vec<u64> = (0..self.unsubmitted())
            .map(|at| self.pushed[(first.wrapping_add(at) & mask) as usize])
            .filter(|&user_data| user_data != Cqe::INTERNAL && user_data != Cqe::ALARM)
            .collect();
        those.dedup();
        self.withdrawn = true;
        those
    }

    fn reap(&mut self, into: &mut Vec<Cqe>) {
        self.reap_each(into);
    }

    fn unsubmitted(&self) -> u32 {
        if self.withdrawn {
            return 0;
        }
        // SAFETY: the lock of the ring that owns this backend makes this the only reader and writer of the queue's tail.
        let queue = unsafe { self.ring.submission_shared() };
        queue.len() as u32
    }

    fn attempts(&self) -> bool {
        true
    }

    fn in_flight_max(&self) -> u32 {
        self.ring.params().cq_entries()
    }

    fn buffers_max(&self) -> usize {
        if registry::copies() { registry::BUFFERS_MAX } else { BUFFER_SLOTS as usize }
    }

    fn vectors_fixed(&self) -> bool {
        self.features.vectors_fixed
    }

    fn set_buffer(&mut self, place: u16, pin: &registry::Pin, len: usize) -> io::Result<()> {
        match pin.source() {
            Some(source) => master::copy(&self.ring, source.ring, source.index, u32::from(place)),
            None => {
                if !self.buffers {
                    self.ring.submitter().register_buffers_sparse(BUFFER_SLOTS)?;
                    self.buffers = true;
                }
                master::update(&self.ring, u32::from(place), pin.address, len)
            }
        }
    }

    fn clear_buffer(&mut self, place: u16) {
        // Emptying a place does not fail. If it did, the next use of the place would replace the entry.
        let _ = master::update(&self.ring, u32::from(place), 0, 0);
    }

    fn files_max(&self) -> u32 {
        self.features.file_slots
    }

    fn set_file(&mut self, place: u32, file: Option<Descriptor>) -> io::Result<()> {
        self.ring.submitter().register_files_update(DIRECT_SLOTS + place, &[file.unwrap_or(-1)]).map(drop)
    }

    fn workers(&self) -> u32 {
        WORKERS_MAX[0]
    }

    fn set_workers(&mut self, limit: u32) {
        // A kernel that refuses keeps the limit that it has.
        let _ = self.ring.submitter().register_iowq_max_workers(&mut [limit, WORKERS_MAX[1].max(limit)]);
        if self.room() > 0 {
            // The kernel starts a worker for what is queued there already only when something else is queued.
            let entry = opcode::Nop::new().build().flags(squeue::Flags::ASYNC).user_data(Cqe::INTERNAL);
            self.push_entry(&entry, Cqe::INTERNAL);
        }
    }

    fn set_alarm(&mut self) {
        let entry = opcode::Timeout::new(&raw const ALARM_AFTER).build().user_data(Cqe::ALARM);
        self.push_entry(&entry, Cqe::ALARM);
    }

    fn take_alarm(&mut self) -> bool {
        std::mem::take(&mut self.alarm)
    }

    fn descriptor(&self) -> Option<Descriptor> {
        Some(self.ring.as_raw_fd())
    }

    fn enters(&self) -> u64 {
        self.enters
    }
}

/// The entry of the file table for a place: the first [`DIRECT_SLOTS`] entries belong to chains.
const fn place_of(place: u32) -> types::Fixed {
    types::Fixed(DIRECT_SLOTS + place)
}

/// The submission queue entry of a call that takes one entry.
fn sqe(call: &Call) -> squeue::Entry {
    let here = types::Fd(libc::AT_FDCWD);
    match *call {
        // Other functions push these calls, or nobody does.
        Call::Nop
        | Call::Read { .. }
        | Call::Write { .. }
        | Call::ReadVectored { .. }
        | Call::WriteVectored { .. }
        | Call::ReadPath { .. }
        | Call::SetMode { .. }
        | Call::SetOwner { .. }
        | Call::SetTimes { .. }
        | Call::CopyFileRange { .. }
        | Call::WriteBuffered { .. } => opcode::Nop::new().build(),
        Call::Sync { fd, data_only } => {
            let flags = if data_only { types::FsyncFlags::DATASYNC } else { types::FsyncFlags::empty() };
            opcode::Fsync::new(types::Fd(fd)).flags(flags).build()
        }
        Call::SyncRange { fd, offset, len, flags } => {
            opcode::SyncFileRange::new(types::Fd(fd), len as u32).offset(offset).flags(flags).build()
        }
        Call::Open { path, flags, mode, .. } => {
            opcode::OpenAt::new(here, path).flags(flags | libc::O_CLOEXEC).mode(mode).build()
        }
        Call::Close { fd } => opcode::Close::new(types::Fd(fd)).build(),
        Call::Stat { fd, path, follow, out } => {
            let (fd, name) = if path.is_null() { (types::Fd(fd), c"".as_ptr()) } else { (here, path) };
            let at = statx_flags(!path.is_null(), follow);
            opcode::Statx::new(fd, name, out.cast()).flags(at).mask(STATX_MASK).build()
        }
        Call::Allocate { fd, mode, offset, len } => {
            opcode::Fallocate::new(types::Fd(fd), len).offset(offset).mode(mode).build()
        }
        Call::Truncate { fd, len } => opcode::Ftruncate::new(types::Fd(fd), len).build(),
        Call::Advise { fd, offset, len, advice } => {
            // The io-uring crate declares the length as signed. `supports` has sent a length that does not fit to the
            // helper.
            opcode::Fadvise::new(types::Fd(fd), len as libc::off_t, advice).offset(offset).build()
        }
        Call::Rename { from, to, flags } => opcode::RenameAt::new(here, from, here, to).flags(flags).build(),
        Call::RemoveFile { path } => opcode::UnlinkAt::new(here, path).build(),
        Call::RemoveDir { path } => opcode::UnlinkAt::new(here, path).flags(libc::AT_REMOVEDIR).build(),
        Call::CreateDir { path, mode } => opcode::MkDirAt::new(here, path).mode(mode).build(),
        Call::HardLink { from, to } => opcode::LinkAt::new(here, from, here, to).build(),
        Call::Symlink { target, link } => opcode::SymlinkAt::new(here, target, link).build(),
    }
}
