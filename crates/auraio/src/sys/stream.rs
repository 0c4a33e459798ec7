//! Performs calls on pipes, FIFOs, sockets and terminals, which can wait without end, without holding a thread.
//!
//! [`try_perform`] does what [`perform`](super::perform) does, but where that would wait for another process, it gives
//! back the descriptor to wait for. A call on a regular file costs no more than with `perform`: only a transfer without an
//! offset (all that the ring sends for a file that cannot seek) asks first what kind of file it has.
//!
//! A descriptor that is ready may be empty again by the time it is read, if another thread or process reads it too. Linux can
//! be told not to wait (`RWF_NOWAIT`), and so can sockets everywhere (`MSG_DONTWAIT`). macOS pipes and terminals cannot, and
//! there such a race can hold a thread. Most pipes have one reader, so it is rare.
#![expect(unsafe_code, reason = "system calls on memory that the caller keeps alive")]

use std::{
    ffi::CStr,
    os::fd::{AsRawFd, IntoRawFd, OwnedFd},
    time::Duration,
};

use rustix::fs::{FileType, OFlags};

use super::{
    CURRENT_POSITION, Call, Descriptor, IoVec, PathPtr, Transfer, TransferMemory, Watch, errno, io_vec, io_vec_base,
    io_vec_len, perform, poll_watches,
    unix::{lend, open, outcome, perform_as_asked, read_some},
    vectors,
};

/// The outcome of a try.
pub(crate) enum Tried {
    /// The call is done: its result, or the negated errno.
    Done(i32),
    /// Try again when this is ready.
    Wait(Watch),
    /// Try again in a few milliseconds, because nothing announces the moment: a FIFO opened for writing has no reader, or
    /// another reader was faster.
    Later,
}

/// The progress of a call that takes several tries. Dropping it closes the file that was opened.
#[derive(Default)]
pub(crate) struct Progress {
    file: Option<OwnedFd>,
    done: u32,
}

/// Performs one call, or answers what it has to wait for.
///
/// If a write finds room for a part of its bytes, it writes that part and is done, as on a ring.
///
/// # Safety
/// As for [`perform`]; `progress` is new, or comes from the last try of this same call.
pub(crate) unsafe fn try_perform(call: &Call, progress: &mut Progress) -> Tried {
    match *call {
        Call::Read { .. } | Call::Write { .. } | Call::ReadVectored { .. } | Call::WriteVectored { .. } => {
            let Some(asked) = call.transfer() else { return Tried::Done(-errno::EINVAL) };
            if asked.offset != CURRENT_POSITION {
                // SAFETY: the caller's promise, passed on.
                let result = unsafe { perform_as_asked(call) };
                if result != -errno::ESPIPE {
                    return Tried::Done(result);
                }
            }
            // SAFETY: the same addresses.
            unsafe { try_transfer(Transfer { offset: CURRENT_POSITION, ..asked }) }
        }
        Call::Open { path, flags, mode, resolve } => {
            // SAFETY: the caller keeps the path.
            let path = unsafe { CStr::from_ptr(path) };
            try_open(path, flags, mode, resolve)
        }
        Call::ReadPath { path, buf, len } => {
            // SAFETY: the caller's promise, passed on.
            unsafe { try_read_path(path, buf, len, progress) }
        }
        Call::Nop
        | Call::WriteBuffered { .. }
        | Call::Sync { .. }
        | Call::SyncRange { .. }
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
        | Call::CopyFileRange { .. } => {
            // SAFETY: the caller's promise, passed on.
            Tried::Done(unsafe { perform(call) })
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Calls on it end in finite time: regular files, directories, block devices, and files whose kind is not known.
    Finite,
    Socket,
    /// Pipes, FIFOs, terminals and other character devices.
    Stream,
}

fn kind(fd: Descriptor) -> Kind {
    let Some(Ok(stat)) = lend(fd).map(rustix::fs::fstat) else { return Kind::Finite };
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile | FileType::Directory | FileType::BlockDevice => Kind::Finite,
        FileType::Socket => Kind::Socket,
        // Files without a type are eventfds and similar ones.
        _ => Kind::Stream,
    }
}

/// # Safety
/// As for [`perform`].
unsafe fn try_transfer(asked: Transfer) -> Tried {
    let Transfer { fd, writes, memory, .. } = asked;
    let kind = kind(fd);
    let single;
    let pieces = match memory {
        TransferMemory::One { start, len } => {
            single = [io_vec(start, len as usize)];
            &single
        }
        TransferMemory::Many { iov, count } => {
            // SAFETY: the caller keeps the vectors until the call is done.
            unsafe { vectors(iov, count) }
        }
    };
    let is_empty = pieces.iter().all(|piece| io_vec_len(piece) == 0);
    if kind == Kind::Finite || is_empty {
        // SAFETY: the caller's promise, passed on.
        return Tried::Done(unsafe { perform_as_asked(&asked.call()) });
    }
    let watch = if writes { Watch::writable(fd) } else { Watch::readable(fd) };
    if !is_ready(watch) {
        return Tried::Wait(watch);
    }
    // SAFETY: the pieces are the caller's memory.
    let result = unsafe { move_ready(fd, kind, writes, pieces) };
    if result != -errno::EAGAIN && result != -errno::EINTR {
        return Tried::Done(result);
    }
    // It was ready, but somebody else took what there was. To ask again at once would spin.
    if is_ready(watch) { Tried::Later } else { Tried::Wait(watch) }
}

/// Transfers as many bytes as is possible without waiting; `-EAGAIN` if that is none.
///
/// # Safety
/// Each piece can be read (`writes`) or written.
unsafe fn move_ready(fd: Descriptor, kind: Kind, writes: bool, pieces: &[IoVec]) -> i32 {
    if kind == Kind::Socket {
        // SAFETY: the caller's promise, passed on.
        return unsafe { socket_transfer(fd, writes, pieces) };
    }
    #[cfg(target_os = "linux")]
    {
        // SAFETY: the caller's promise, passed on.
        let result = unsafe { transfer_without_waiting(fd, writes, pieces) };
        if result != -errno::EOPNOTSUPP && result != -errno::ENOSYS && result != -errno::EINVAL {
            return result;
        }
    }
    // Some files cannot be told not to wait (a named pipe, among others). For these, the check that the file is ready and the
    // transfer happen under one lock, so that no other thread of this process takes the data in between. The lock is held
    // only for a moment, because a transfer on a ready file does not wait.
    static MOVING: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _moving = crate::lock(&MOVING);
    if !is_ready(if writes { Watch::writable(fd) } else { Watch::readable(fd) }) {
        return -errno::EAGAIN;
    }
    if !writes {
        // SAFETY: the pieces can be written. A read of a ready stream returns the bytes that are there.
        return outcome(unsafe { libc::readv(fd, pieces.as_ptr(), pieces.len() as i32) });
    }
    // A pipe that is ready for writing has room for `PIPE_BUF` bytes. A longer write would wait until all of it is in.
    let total: usize = pieces.iter().map(io_vec_len).fold(0, usize::saturating_add);
    if total <= libc::PIPE_BUF {
        // SAFETY: the pieces can be read.
        return outcome(unsafe { libc::writev(fd, pieces.as_ptr(), pieces.len() as i32) });
    }
    let Some(first) = pieces.iter().find(|piece| io_vec_len(piece) > 0) else { return 0 };
    // SAFETY: the write is no longer than the piece, which can be read.
    outcome(unsafe { libc::write(fd, io_vec_base(first).cast(), io_vec_len(first).min(libc::PIPE_BUF)) })
}

/// # Safety
/// Each piece can be read (`writes`) or written.
unsafe fn socket_transfer(fd: Descriptor, writes: bool, pieces: &[IoVec]) -> i32 {
    // SAFETY: the structure has numbers and addresses only, for which zero is a value.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    // Neither call changes the vectors, though the type of the field allows it.
    message.msg_iov = pieces.as_ptr().cast_mut();
    message.msg_iovlen = pieces.len() as _;
    if !writes {
        // SAFETY: the pieces can be written; the message has no buffer for an address or for control data.
        return outcome(unsafe { libc::recvmsg(fd, &raw mut message, libc::MSG_DONTWAIT) });
    }
    #[cfg(target_os = "linux")]
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    #[cfg(not(target_os = "linux"))]
    let flags = libc::MSG_DONTWAIT;
    // SAFETY: the pieces can be read.
    outcome(unsafe { libc::sendmsg(fd, &raw const message, flags) })
}

/// Transfers without waiting, on Linux, if the file can be told so (pipes since 6.4); other files answer `EOPNOTSUPP`.
///
/// # Safety
/// Each piece can be read (`writes`) or written.
#[cfg(target_os = "linux")]
unsafe fn transfer_without_waiting(fd: Descriptor, writes: bool, pieces: &[IoVec]) -> i32 {
    let number = if writes { libc::SYS_pwritev2 } else { libc::SYS_preadv2 };
    let (low, high) = (-1_i64, -1_i64);
    // SAFETY: the caller's promise. Called by number, because older C libraries have no wrapper; offset -1 means the file's own
    // position.
    outcome(unsafe { libc::syscall(number, fd, pieces.as_ptr(), pieces.len(), low, high, libc::RWF_NOWAIT) } as isize)
}

fn is_ready(mut watch: Watch) -> bool {
    poll_watches(std::slice::from_mut(&mut watch), Some(Duration::ZERO)).unwrap_or(false)
}

/// Opens without waiting for the other end of a FIFO.
///
/// `O_NONBLOCK` is set for the opening alone. A FIFO opened for reading with it is open at once, with or without a writer. Its
/// reads still wait for the first writer, because Linux's poll does not report the end of such a FIFO before a writer has come
/// and gone. (macOS's poll does: there a read before the first writer can answer 0.) An open for writing fails with `ENXIO`
/// while there is no reader, and is tried again until there is one.
fn try_open(path: &CStr, flags: i32, mode: u32, resolve: u64) -> Tried {
    let asked = flags;
    #[cfg(target_os = "linux")]
    let is_path_only = flags & libc::O_PATH != 0;
    #[cfg(not(target_os = "linux"))]
    let is_path_only = false;
    let creates_new = flags & libc::O_CREAT != 0 && flags & libc::O_EXCL != 0;
    if asked & (libc::O_NONBLOCK | libc::O_DIRECTORY) != 0 || is_path_only || creates_new {
        return Tried::Done(opened(open(path, flags, mode, resolve)));
    }
    let file = match open(path, flags | libc::O_NONBLOCK, mode, resolve) {
        Ok(file) => file,
        // Somebody holds a lease on the file. The open waits until the holder gives it up, which takes seconds at most.
        Err(errno::EAGAIN) => return Tried::Done(opened(open(path, flags, mode, resolve))),
        Err(errno::EINTR) => return Tried::Later,
        Err(errno::ENXIO) if flags & libc::O_ACCMODE == libc::O_WRONLY && names_fifo(path, flags, resolve) => {
            return Tried::Later;
        }
        Err(error) => return Tried::Done(-error),
    };
    // A drive without a medium can be opened with O_NONBLOCK, but must fail without it. So such a device is opened again with
    // the caller's flags.
    if rustix::fs::fstat(&file).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::BlockDevice) {
        drop(file);
        return Tried::Done(opened(open(path, flags, mode, resolve)));
    }
    // This takes O_NONBLOCK off. The other flags that this call can set (O_APPEND, O_DIRECT, O_NOATIME and the like) are set as
    // the caller asked.
    let status = OFlags::from_bits_retain(asked as _);
    match rustix::fs::fcntl_setfl(&file, status) {
        Ok(()) => Tried::Done(file.into_raw_fd()),
        Err(error) => Tried::Done(-error.raw_os_error()),
    }
}

fn opened(result: Result<OwnedFd, i32>) -> i32 {
    match result {
        Ok(file) => file.into_raw_fd(),
        Err(error) => -error,
    }
}

/// Whether these flags and path name a FIFO. Other kinds of file answer `ENXIO` for other reasons.
fn names_fifo(path: &CStr, flags: i32, resolve: u64) -> bool {
    #[cfg(target_os = "linux")]
    let stat = open(path, libc::O_PATH | (flags & libc::O_NOFOLLOW), 0, resolve)
        .and_then(|file| rustix::fs::fstat(file).map_err(rustix::io::Errno::raw_os_error));
    #[cfg(not(target_os = "linux"))]
    let stat = {
        let _ = (flags, resolve);
        rustix::fs::stat(path)
    };
    stat.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Fifo)
}

/// # Safety
/// `path` is a text that ends in a NUL, and `len` bytes at `buf` can be written.
unsafe fn try_read_path(path: PathPtr, buf: *mut u8, len: u32, progress: &mut Progress) -> Tried {
    let file = match progress.file.take() {
        Some(file) => file,
        None => {
            // SAFETY: the caller keeps the path.
            let path = unsafe { CStr::from_ptr(path) };
            match open(path, libc::O_RDONLY | libc::O_NONBLOCK, 0, 0) {
                Ok(file) => file,
                // Somebody holds a lease, as in `try_open`: the plain `perform` waits for its end.
                Err(errno::EAGAIN) => match open(path, libc::O_RDONLY, 0, 0) {
                    Ok(file) => file,
                    Err(error) => return Tried::Done(-error),
                },
                Err(errno::EINTR) => return Tried::Later,
                Err(error) => return Tried::Done(-error),
            }
        }
    };
    let streams = kind(file.as_raw_fd()) != Kind::Finite;
    let watch = Watch::readable(file.as_raw_fd());
    while progress.done < len {
        if streams && !is_ready(watch) {
            progress.file = Some(file);
            return Tried::Wait(watch);
        }
        // SAFETY: `done` is less than `len`, so the address is within the caller's bytes.
        let at = unsafe { buf.add(progress.done as usize) };
        // SAFETY: from there on, the caller's memory has `len - done` bytes.
        let result = unsafe { read_some(&file, at, len - progress.done) };
        match u32::try_from(result) {
            Ok(0) => break,
            Ok(read) => progress.done += read,
            Err(_) if result == -errno::EINTR => {}
            Err(_) if result == -errno::EAGAIN => {
                progress.file = Some(file);
                return Tried::Later;
            }
            Err(_) => {
                *progress = Progress::default();
                return Tried::Done(result);
            }
        }
    }
    let done = progress.done;
    *progress = Progress::default();
    Tried::Done(done.cast_signed())
}
