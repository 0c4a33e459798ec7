//! The backend as a ring sees it: completions, links, cancels, and what happens to entries that cannot go on.
#![expect(unsafe_code, reason = "entries hold addresses of this test's own buffers")]

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    os::fd::AsRawFd,
    path::Path,
    ptr,
    time::Duration,
};

use super::*;
use crate::sys::{
    CURRENT_POSITION, FileTime, Metadata, NO_DESCRIPTOR, SysPath, errno, io_vec, poll_readable, raw_stat_zeroed,
};

/// Long enough for any machine; only a failing test waits so long.
const LONG: Duration = Duration::from_secs(20);

fn backend(threads_max: usize) -> ThreadsBackend {
    ThreadsBackend::new(Arc::new(Crew::new(threads_max)), 256).unwrap()
}

fn push(backend: &mut ThreadsBackend, user_data: u64, link: bool, call: Call) {
    // SAFETY: each test keeps its buffers until it has reaped the completion, or drops the backend before them.
    unsafe { backend.push(Entry { link, ..Entry::new(call, user_data) }) };
}

/// Submits, and waits for exactly so many completions.
fn complete(backend: &mut ThreadsBackend, count: usize) -> Vec<Cqe> {
    let mut done = Vec::new();
    backend.submit(Wait::No).unwrap();
    while done.len() < count {
        backend.submit(Wait::AtLeast(1, Some(LONG))).unwrap();
        let before = done.len();
        backend.reap(&mut done);
        assert!(done.len() > before, "{} of {count} completions after {LONG:?}", done.len());
    }
    assert_eq!(done.len(), count, "{done:?}");
    done
}

fn result_of(backend: &mut ThreadsBackend, call: Call) -> i32 {
    push(backend, 7, false, call);
    let done = complete(backend, 1);
    assert_eq!(done[0].user_data, 7);
    done[0].result
}

fn by_user_data(mut done: Vec<Cqe>) -> Vec<i32> {
    done.sort_by_key(|cqe| cqe.user_data);
    done.into_iter().map(|cqe| cqe.result).collect()
}

fn sys_path(path: &Path) -> SysPath {
    SysPath::new(path).unwrap()
}

fn fifo(directory: &tempfile::TempDir) -> std::path::PathBuf {
    let path = directory.path().join("fifo");
    let text = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
    // SAFETY: a text that ends in a NUL.
    assert_eq!(unsafe { libc::mkfifo(text.as_ptr(), 0o600) }, 0);
    path
}

fn read_call(file: &impl AsRawFd, buf: &mut [u8], offset: u64) -> Call {
    Call::Read { fd: file.as_raw_fd(), buf: buf.as_mut_ptr(), len: buf.len() as u32, offset }
}

fn write_call(file: &impl AsRawFd, buf: &[u8], offset: u64) -> Call {
    Call::Write { fd: file.as_raw_fd(), buf: buf.as_ptr(), len: buf.len() as u32, offset }
}

#[test]
fn a_files_whole_life_by_calls() {
    let directory = tempfile::tempdir().unwrap();
    let (one, two) = (directory.path().join("one"), directory.path().join("two"));
    let (path_one, path_two) = (sys_path(&one), sys_path(&two));
    let mut backend = backend(2);
    let flags = libc::O_RDWR | libc::O_CREAT;
    let fd = result_of(&mut backend, Call::Open { path: path_one.as_ptr(), flags, mode: 0o644, resolve: 0 });
    assert!(fd >= 0, "{}", crate::sys::errno_name(-fd));

    let (left, right) = (*b"hello ", *b"world");
    let iov = [io_vec(left.as_ptr().cast_mut(), 6), io_vec(right.as_ptr().cast_mut(), 5)];
    let call = Call::WriteVectored { fd, iov: iov.as_ptr(), count: 2, offset: 0 };
    assert_eq!(result_of(&mut backend, call), 11);
    let call = Call::Write { fd, buf: b"W".as_ptr(), len: 1, offset: 6 };
    assert_eq!(result_of(&mut backend, call), 1);
    let mut buf = [0_u8; 32];
    let call = Call::Read { fd, buf: buf.as_mut_ptr(), len: 32, offset: 0 };
    assert_eq!(result_of(&mut backend, call), 11);
    assert_eq!(&buf[..11], b"hello World");
    let (mut head, mut tail) = ([0_u8; 5], [0_u8; 32]);
    let iov = [io_vec(head.as_mut_ptr(), 5), io_vec(tail.as_mut_ptr(), 32)];
    let call = Call::ReadVectored { fd, iov: iov.as_ptr(), count: 2, offset: CURRENT_POSITION };
    assert_eq!(result_of(&mut backend, call), 11);
    assert_eq!((&head[..], &tail[..6]), (&b"hello"[..], &b" World"[..]));
    let call = Call::ReadPath { path: path_one.as_ptr(), buf: buf.as_mut_ptr(), len: 32 };
    assert_eq!(result_of(&mut backend, call), 11);

    assert_eq!(result_of(&mut backend, Call::Nop), 0);
    for data_only in [false, true] {
        assert_eq!(result_of(&mut backend, Call::Sync { fd, data_only }), 0);
    }
    assert_eq!(result_of(&mut backend, Call::SyncRange { fd, offset: 0, len: 0, flags: 2 }), 0);
    assert_eq!(result_of(&mut backend, Call::Advise { fd, offset: 0, len: 0, advice: 3 }), 0);
    assert_eq!(result_of(&mut backend, Call::Allocate { fd, mode: 0, offset: 0, len: 100 }), 0);
    assert_eq!(fs::metadata(&one).unwrap().len(), 100);
    assert_eq!(result_of(&mut backend, Call::Truncate { fd, len: 5 }), 0);
    assert_eq!(fs::read(&one).unwrap(), b"hello");
    assert_eq!(result_of(&mut backend, Call::SetMode { fd, mode: 0o600 }), 0);
    assert_eq!(result_of(&mut backend, Call::SetOwner { fd, uid: u32::MAX, gid: u32::MAX }), 0);
    let times = [FileTime { seconds: -5, nanos: 6 }, FileTime { seconds: 7, nanos: 8 }];
    assert_eq!(result_of(&mut backend, Call::SetTimes { fd, times: &raw const times }), 0);

    let mut raw = raw_stat_zeroed();
    let call = Call::Stat { fd, path: ptr::null(), follow: true, out: &raw mut raw };
    assert_eq!(result_of(&mut backend, call), 0);
    let metadata = Metadata::from_raw(&raw);
    assert!(metadata.is_file() && metadata.is_seekable());
    assert_eq!((metadata.len(), metadata.mode() & 0o7777), (5, 0o600));
    assert_eq!((metadata.modified().seconds, metadata.modified().nanos), (7, 8));
    assert_eq!(metadata.accessed().seconds, -5);

    assert_eq!(result_of(&mut backend, Call::HardLink { from: path_one.as_ptr(), to: path_two.as_ptr() }), 0);
    assert_eq!(fs::read(&two).unwrap(), b"hello");
    assert_eq!(result_of(&mut backend, Call::RemoveFile { path: path_two.as_ptr() }), 0);
    assert_eq!(result_of(&mut backend, Call::Symlink { target: path_one.as_ptr(), link: path_two.as_ptr() }), 0);
    for (follow, is_symlink) in [(true, false), (false, true)] {
        let call = Call::Stat { fd: NO_DESCRIPTOR, path: path_two.as_ptr(), follow, out: &raw mut raw };
        assert_eq!(result_of(&mut backend, call), 0);
        assert_eq!(Metadata::from_raw(&raw).is_symlink(), is_symlink);
    }
    let call = Call::Rename { from: path_one.as_ptr(), to: path_two.as_ptr(), flags: 0 };
    assert_eq!(result_of(&mut backend, call), 0);
    assert_eq!(result_of(&mut backend, Call::CreateDir { path: path_one.as_ptr(), mode: 0o700 }), 0);
    assert!(one.is_dir());
    assert_eq!(result_of(&mut backend, Call::RemoveDir { path: path_one.as_ptr() }), 0);
    assert_eq!(result_of(&mut backend, Call::Close { fd }), 0);
    assert_eq!(result_of(&mut backend, Call::Close { fd: NO_DESCRIPTOR }), -errno::EBADF);
    let call = Call::ReadPath { path: path_one.as_ptr(), buf: buf.as_mut_ptr(), len: 32 };
    assert_eq!(result_of(&mut backend, call), -errno::ENOENT);
    assert_eq!(result_of(&mut backend, Call::Sync { fd: NO_DESCRIPTOR, data_only: true }), -errno::EBADF);
}

#[test]
fn an_opened_file_has_the_flags_that_were_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let path = sys_path(&directory.path().join("file"));
    let mut backend = backend(1);
    for extra in [0, libc::O_APPEND, libc::O_NONBLOCK] {
        let flags = libc::O_RDWR | libc::O_CREAT | extra;
        let fd = result_of(&mut backend, Call::Open { path: path.as_ptr(), flags, mode: 0o600, resolve: 0 });
        assert!(fd >= 0);
        // SAFETY: takes numbers only. So for the next.
        let status = unsafe { libc::fcntl(fd, libc::F_GETFL) };
        assert_eq!(status & (libc::O_APPEND | libc::O_NONBLOCK | libc::O_ACCMODE), libc::O_RDWR | extra);
        // SAFETY: as above.
        assert_eq!(unsafe { libc::fcntl(fd, libc::F_GETFD) }, libc::FD_CLOEXEC);
        assert_eq!(result_of(&mut backend, Call::Close { fd }), 0);
    }
}

#[test]
fn one_thread_completes_in_the_order_of_submission() {
    let mut backend = backend(1);
    for user_data in 0..200 {
        push(&mut backend, user_data, false, Call::Nop);
    }
    assert_eq!(backend.unsubmitted(), 200);
    assert_eq!(backend.room(), PUSHED_MAX - 200);
    assert_eq!(backend.submit(Wait::AtLeast(200, Some(LONG))).unwrap(), 200);
    let mut done = Vec::new();
    backend.reap(&mut done);
    assert!(done.iter().map(|cqe| cqe.user_data).eq(0..200));
}

#[test]
fn the_descriptor_is_readable_until_everything_is_reaped() {
    let mut backend = backend(2);
    let descriptor = backend.descriptor().unwrap();
    assert!(!poll_readable(&[descriptor], Some(Duration::ZERO)).unwrap());
    push(&mut backend, 1, false, Call::Nop);
    push(&mut backend, 2, false, Call::Nop);
    backend.submit(Wait::AtLeast(2, Some(LONG))).unwrap();
    assert!(poll_readable(&[descriptor, descriptor], Some(LONG)).unwrap());
    let mut done = Vec::new();
    backend.reap(&mut done);
    assert_eq!(done.len(), 2);
    // The last ring may come after the completion that it announces, hence at most one reading for nothing.
    backend.reap(&mut done);
    assert_eq!(done.len(), 2);
}

#[test]
fn a_wait_for_more_than_is_owed_ends() {
    let mut backend = backend(1);
    backend.submit(Wait::AtLeast(5, None)).unwrap();
    push(&mut backend, 1, false, Call::Nop);
    backend.submit(Wait::AtLeast(5, None)).unwrap();
}

#[test]
fn a_chain_runs_in_order_and_a_failure_cancels_the_rest() {
    let mut file = tempfile::tempfile().unwrap();
    let mut buf = [0_u8; 4];
    let mut backend = backend(4);
    push(&mut backend, 1, true, write_call(&file, b"abcd", 0));
    push(&mut backend, 2, true, Call::Sync { fd: file.as_raw_fd(), data_only: false });
    push(&mut backend, 3, false, read_call(&file, &mut buf, 0));
    push(&mut backend, 4, true, Call::Sync { fd: NO_DESCRIPTOR, data_only: false });
    push(&mut backend, 5, true, write_call(&file, b"never", 0));
    push(&mut backend, 6, false, Call::Nop);
    push(&mut backend, 7, false, Call::Nop);
    let cancelled = -errno::ECANCELED;
    assert_eq!(by_user_data(complete(&mut backend, 7)), [4, 0, 4, -errno::EBADF, cancelled, cancelled, 0]);
    assert_eq!(&buf, b"abcd");
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    assert_eq!(text, "abcd");
}

#[test]
fn a_short_read_breaks_the_chain() {
    let file = tempfile::tempfile().unwrap();
    let mut backend = backend(1);
    let mut buf = [0_u8; 8];
    push(&mut backend, 1, true, write_call(&file, b"abcd", 0));
    push(&mut backend, 2, true, read_call(&file, &mut buf, 0));
    push(&mut backend, 3, false, Call::Nop);
    assert_eq!(by_user_data(complete(&mut backend, 3)), [4, 4, -errno::ECANCELED]);
}

#[test]
fn a_chain_ends_with_its_submission() {
    let mut backend = backend(1);
    push(&mut backend, 1, true, Call::Sync { fd: NO_DESCRIPTOR, data_only: false });
    backend.submit(Wait::No).unwrap();
    push(&mut backend, 2, false, Call::Nop);
    assert_eq!(by_user_data(complete(&mut backend, 2)), [-errno::EBADF, 0]);
}

#[test]
fn what_has_not_started_is_cancelled_and_takes_its_chain_along() {
    let mut backend = backend(1);
    push(&mut backend, 1, false, Call::Nop);
    push(&mut backend, 2, true, Call::Nop);
    push(&mut backend, 3, false, Call::Nop);
    backend.cancel(2);
    backend.cancel(2);
    backend.cancel(99);
    let cancelled = -errno::ECANCELED;
    assert_eq!(by_user_data(complete(&mut backend, 3)), [0, cancelled, cancelled]);
}

#[test]
fn what_is_withdrawn_is_named_once_and_never_performed() {
    let mut backend = backend(1);
    for user_data in 1..=3 {
        push(&mut backend, user_data, false, Call::Nop);
    }
    backend.cancel(2);
    assert_eq!(backend.withdraw(), [1, 3]);
    assert_eq!(backend.unsubmitted(), 0);
    assert_eq!(complete(&mut backend, 1), [Cqe { user_data: 2, result: -errno::ECANCELED }]);
}

#[test]
fn a_number_can_be_used_again_once_reaped() {
    let mut backend = backend(1);
    push(&mut backend, 1, false, Call::Nop);
    backend.cancel(1);
    let mut done = Vec::new();
    backend.reap(&mut done);
    assert_eq!(done, [Cqe { user_data: 1, result: -errno::ECANCELED }]);
    push(&mut backend, 1, false, Call::Nop);
    assert_eq!(complete(&mut backend, 1), [Cqe { user_data: 1, result: 0 }]);
}

#[test]
fn empty_pipes_hold_no_thread_and_their_reads_end_when_data_comes() {
    let mut backend = backend(1);
    let mut pipes: Vec<_> = (0..20).map(|_| io::pipe().unwrap()).collect();
    let mut buffers = vec![[0_u8; 8]; 20];
    for (index, ((reader, _), buf)) in pipes.iter().zip(&mut buffers).enumerate() {
        // Half of them with an offset, which a pipe does not have.
        let offset = if index % 2 == 0 { CURRENT_POSITION } else { 0 };
        push(&mut backend, index as u64, false, read_call(reader, buf, offset));
    }
    push(&mut backend, 99, false, Call::Nop);
    // The only thread gets past twenty blocked reads.
    assert_eq!(complete(&mut backend, 1), [Cqe { user_data: 99, result: 0 }]);
    for (_, writer) in &mut pipes {
        writer.write_all(b"data").unwrap();
    }
    assert_eq!(by_user_data(complete(&mut backend, 20)), [4; 20]);
    assert!(buffers.iter().all(|buf| buf.starts_with(b"data")));
}

#[test]
fn a_blocked_read_is_cancelled_with_its_chain_and_its_memory_is_left_alone() {
    let mut backend = backend(2);
    let (reader, mut writer) = io::pipe().unwrap();
    let mut buf = [0_u8; 8];
    push(&mut backend, 1, true, read_call(&reader, &mut buf, CURRENT_POSITION));
    push(&mut backend, 2, false, Call::Nop);
    push(&mut backend, 3, false, Call::Nop);
    assert_eq!(complete(&mut backend, 1), [Cqe { user_data: 3, result: 0 }]);
    backend.cancel(1);
    assert_eq!(by_user_data(complete(&mut backend, 2)), [-errno::ECANCELED; 2]);
    writer.write_all(b"late").unwrap();
    let mut other = [0_u8; 8];
    assert_eq!(result_of(&mut backend, read_call(&reader, &mut other, CURRENT_POSITION)), 4);
    assert_eq!((buf, &other[..4]), ([0; 8], &b"late"[..]));
}

#[test]
fn the_end_of_a_pipe_is_zero_bytes_and_a_write_without_reader_fails() {
    let mut backend = backend(1);
    let (reader, writer) = io::pipe().unwrap();
    let mut buf = [0_u8; 8];
    push(&mut backend, 1, false, read_call(&reader, &mut buf, CURRENT_POSITION));
    backend.submit(Wait::No).unwrap();
    drop(writer);
    assert_eq!(by_user_data(complete(&mut backend, 1)), [0]);
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    assert_eq!(result_of(&mut backend, write_call(&writer, b"x", CURRENT_POSITION)), -errno::EPIPE);
}

#[test]
fn a_write_to_a_full_pipe_takes_turns_with_its_reader() {
    let mut backend = backend(1);
    let (mut reader, writer) = io::pipe().unwrap();
    let data: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
    let receiver = std::thread::spawn({
        let len = data.len();
        move || {
            let mut got = vec![0; len];
            reader.read_exact(&mut got).unwrap();
            got
        }
    });
    let mut sent = 0;
    while sent < data.len() {
        let result = result_of(&mut backend, write_call(&writer, &data[sent..], CURRENT_POSITION));
        assert!(result > 0, "{}", crate::sys::errno_name(-result));
        sent += result as usize;
    }
    assert!(receiver.join().unwrap() == data);
}

#[test]
fn sockets_wait_like_pipes() {
    let mut backend = backend(1);
    let (ours, mut theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let mut buf = [0_u8; 8];
    push(&mut backend, 1, false, read_call(&ours, &mut buf, CURRENT_POSITION));
    assert_eq!(result_of(&mut backend, Call::Nop), 0);
    theirs.write_all(b"hi").unwrap();
    assert_eq!(by_user_data(complete(&mut backend, 1)), [2]);
    assert_eq!(result_of(&mut backend, write_call(&ours, b"yo", CURRENT_POSITION)), 2);
    let mut got = [0_u8; 2];
    theirs.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"yo");
}

#[test]
fn a_fifo_opens_for_writing_when_its_reader_comes() {
    let directory = tempfile::tempdir().unwrap();
    let path = fifo(&directory);
    let text = sys_path(&path);
    let open = |flags| Call::Open { path: text.as_ptr(), flags, mode: 0, resolve: 0 };
    let mut backend = backend(1);
    push(&mut backend, 1, false, open(libc::O_WRONLY));
    assert_eq!(result_of(&mut backend, Call::Nop), 0);
    push(&mut backend, 2, false, open(libc::O_RDONLY));
    let [writer, reader] = by_user_data(complete(&mut backend, 2))[..] else { panic!("two openings") };
    assert!(writer >= 0 && reader >= 0);
    let mut buf = [0_u8; 8];
    push(&mut backend, 2, false, Call::Read { fd: reader, buf: buf.as_mut_ptr(), len: 8, offset: CURRENT_POSITION });
    assert_eq!(result_of(&mut backend, Call::Nop), 0);
    let call = Call::Write { fd: writer, buf: b"ok".as_ptr(), len: 2, offset: CURRENT_POSITION };
    push(&mut backend, 3, false, call);
    assert_eq!(by_user_data(complete(&mut backend, 2)), [2, 2]);
    for fd in [reader, writer] {
        assert_eq!(result_of(&mut backend, Call::Close { fd }), 0);
    }
}

#[test]
fn a_blocked_opening_is_cancelled() {
    let directory = tempfile::tempdir().unwrap();
    let text = sys_path(&fifo(&directory));
    let mut backend = backend(1);
    let flags = libc::O_WRONLY;
    push(&mut backend, 1, false, Call::Open { path: text.as_ptr(), flags, mode: 0, resolve: 0 });
    assert_eq!(result_of(&mut backend, Call::Nop), 0);
    // It may be between two tries, and then this one comes too late for the try and in time for the next.
    backend.cancel(1);
    assert_eq!(complete(&mut backend, 1), [Cqe { user_data: 1, result: -errno::ECANCELED }]);
    let flags = libc::O_WRONLY | libc::O_NONBLOCK;
    let call = Call::Open { path: text.as_ptr(), flags, mode: 0, resolve: 0 };
    assert_eq!(result_of(&mut backend, call), -errno::ENXIO);
}

#[test]
fn a_fifo_is_read_by_its_path_to_its_end() {
    let directory = tempfile::tempdir().unwrap();
    let path = fifo(&directory);
    let text = sys_path(&path);
    let mut backend = backend(1);
    let mut buf = [0_u8; 16];
    push(&mut backend, 1, false, Call::ReadPath { path: text.as_ptr(), buf: buf.as_mut_ptr(), len: 16 });
    assert_eq!(result_of(&mut backend, Call::Nop), 0);
    let mut writer = File::options().write(true).open(&path).unwrap();
    writer.write_all(b"first ").unwrap();
    assert_eq!(result_of(&mut backend, Call::Nop), 0);
    writer.write_all(b"second").unwrap();
    drop(writer);
    assert_eq!(by_user_data(complete(&mut backend, 1)), [12]);
    assert_eq!(&buf[..12], b"first second");
}

#[test]
fn without_threads_the_work_is_done_by_the_submitter() {
    let crew = Arc::new(Crew::new(4));
    crew.refuse_threads();
    let mut backend = ThreadsBackend::new(crew, 16).unwrap();
    let file = tempfile::tempfile().unwrap();
    push(&mut backend, 1, true, write_call(&file, b"abc", 0));
    push(&mut backend, 2, false, Call::Nop);
    assert_eq!(by_user_data(complete(&mut backend, 2)), [3, 0]);
    let (reader, mut writer) = io::pipe().unwrap();
    let mut buf = [0_u8; 8];
    push(&mut backend, 3, false, read_call(&reader, &mut buf, CURRENT_POSITION));
    backend.submit(Wait::No).unwrap();
    writer.write_all(b"x").unwrap();
    assert_eq!(by_user_data(complete(&mut backend, 1)), [1]);
}

#[test]
fn a_dropped_backend_leaves_nobody_writing() {
    let (reader, mut writer) = io::pipe().unwrap();
    let mut buf = [0_u8; 8];
    let mut first = backend(2);
    push(&mut first, 1, false, read_call(&reader, &mut buf, CURRENT_POSITION));
    first.submit(Wait::No).unwrap();
    push(&mut first, 2, false, Call::Nop);
    drop(first);
    writer.write_all(b"later").unwrap();
    let mut second = backend(1);
    let mut other = [0_u8; 8];
    assert_eq!(result_of(&mut second, read_call(&reader, &mut other, CURRENT_POSITION)), 5);
    assert_eq!(buf, [0; 8]);
}

#[test]
fn cancels_that_race_with_data_complete_each_entry_once() {
    let mut backend = backend(4);
    let (reader, mut writer) = io::pipe().unwrap();
    let mut written = 0_usize;
    let mut read = 0_usize;
    for round in 0..2_000_u64 {
        let mut buf = [0_u8; 1];
        push(&mut backend, round, false, read_call(&reader, &mut buf, CURRENT_POSITION));
        push(&mut backend, u64::MAX - 1, false, Call::Nop);
        backend.submit(Wait::No).unwrap();
        if round % 3 != 0 {
            writer.write_all(b"x").unwrap();
            written += 1;
        }
        backend.cancel(round);
        let done = complete(&mut backend, 2);
        match done.iter().find(|cqe| cqe.user_data == round).unwrap().result {
            1 => {
                assert_eq!(&buf, b"x");
                read += 1;
            }
            result => {
                assert_eq!(result, -errno::ECANCELED);
                assert_eq!(buf, [0]);
            }
        }
    }
    drop(writer);
    let mut rest = Vec::new();
    File::from(std::os::fd::OwnedFd::from(reader)).read_to_end(&mut rest).unwrap();
    assert_eq!(read + rest.len(), written, "a cancelled read took data");
}
