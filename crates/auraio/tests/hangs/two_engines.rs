//! A file of one engine that is used through another: its close ends what it has to end, and keeps nothing open.

use std::{
    fs,
    path::Path,
    pin::Pin,
    task::{Context, Waker},
    thread,
};

use auraio::{Engine, File, op};

use crate::{
    support::*,
    watch::{poll_once, until},
};

/// Two engines, and a file of the first that the second has used often enough to register it.
fn used_by_both(rig: Rig, path: &Path) -> (Engine, Engine, File) {
    let (mine, other) = (rig.engine(), rig.engine());
    let file = file_of(&mine, path, &pattern(512, 1));
    file.register();
    for _ in 0..64 {
        assert_eq!(other.block_on(other.submit(op::Read::at(&file, vec![0; 512], 0))).0, Ok(512));
    }
    (mine, other, file)
}

/// Whether somebody, be it a ring, keeps the file locked. A lock goes when its last descriptor does.
fn is_locked(path: &Path) -> bool {
    use std::os::fd::AsRawFd;
    let file = fs::File::open(path).unwrap();
    // SAFETY: the descriptor is the file's own.
    unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) != 0 }
}

fn lock_it(file: &File) {
    // SAFETY: the descriptor is open as long as the file is.
    assert_eq!(unsafe { libc::flock(file.descriptor() as i32, libc::LOCK_EX) }, 0);
}

scenarios! {
    fn a_close_keeps_nothing_open(rig) {
        let dir = dir();
        let path = dir.path().join("file");
        let (mine, _other, file) = used_by_both(rig, &path);
        lock_it(&file);
        assert!(is_locked(&path));
        mine.block_on(file.close()).unwrap();
        assert!(!is_locked(&path), "a ring keeps the file open");
    }

    fn a_drop_keeps_nothing_open(rig) {
        let dir = dir();
        let path = dir.path().join("file");
        let (_mine, _other, file) = used_by_both(rig, &path);
        lock_it(&file);
        drop(file);
        assert!(!is_locked(&path), "a ring keeps the file open");
    }

    fn a_close_by_the_other_keeps_nothing_open(rig) {
        let dir = dir();
        let path = dir.path().join("file");
        let (mine, other, file) = used_by_both(rig, &path);
        for _ in 0..64 {
            mine.block_on(file.read_at(vec![0; 512], 0)).0.unwrap();
        }
        lock_it(&file);
        other.block_on(other.submit(op::Close::new(file))).unwrap();
        assert!(!is_locked(&path), "a ring keeps the file open");
    }

    fn a_port_of_the_other_keeps_nothing_open(rig) {
        let dir = dir();
        let path = dir.path().join("file");
        let (mine, other) = (rig.engine(), rig.engine());
        let file = file_of(&mine, &path, &pattern(512, 1));
        file.register();
        let mut port = other.port().unwrap();
        port.submit_batch((0..64).map(|token| (op::Read::at(&file, vec![0; 512], 0), token)));
        port.submit(op::Read::at(&file, vec![0; 512], 0), 64);
        assert_eq!(port.wait_for(65, &mut Vec::new()), 65);
        lock_it(&file);
        mine.block_on(file.close()).unwrap();
        // A port's ring belongs to its thread, which lets go when it next looks.
        port.poll(&mut Vec::new());
        assert!(!is_locked(&path), "a ring keeps the file open");
    }

    fn the_other_s_end_keeps_nothing_open(rig) {
        let dir = dir();
        let path = dir.path().join("file");
        let (mine, other, file) = used_by_both(rig, &path);
        lock_it(&file);
        drop(other);
        mine.block_on(file.close()).unwrap();
        assert!(!is_locked(&path), "a ring keeps the file open");
    }

    fn the_other_s_end_on_its_own_thread_keeps_nothing_open(rig) {
        let dir = dir();
        let path = dir.path().join("file");
        let other = rig.engine();
        let mine = rig.engine();
        let file = file_of(&mine, &path, &pattern(512, 1));
        file.register();
        let theirs = other.clone();
        let (file, _idle) = thread::spawn(move || {
            for _ in 0..64 {
                theirs.block_on(theirs.submit(op::Read::at(&file, vec![0; 512], 0))).0.unwrap();
            }
            (file, theirs)
        })
        .join()
        .unwrap();
        lock_it(&file);
        drop(other);
        mine.block_on(file.close()).unwrap();
        // The ring of the thread ended with that, and the kernel takes a ring apart in its own time.
        until(|| !is_locked(&path));
    }

    fn the_close_of_a_pipe_ends_a_read_of_the_other(rig) {
        let dir = dir();
        let (mine, other) = (rig.engine(), rig.engine());
        let (pipe, path) = fifo(&mine, dir.path());
        let mut read = other.submit(op::Read::at_position(&pipe, vec![0; 4]));
        assert!(poll_once(&mut read).is_pending());
        mine.block_on(pipe.close()).unwrap();
        assert_eq!(other.block_on(read).0, Err(auraio::Error::Cancelled));
        assert_eq!(descriptors_of(&path), 0);
    }

    fn the_close_of_a_pipe_ends_reads_of_the_other_s_port(rig) {
        let dir = dir();
        let (mine, other) = (rig.engine(), rig.engine());
        let (pipe, path) = fifo(&mine, dir.path());
        let mut port = other.port().unwrap();
        port.submit(op::Read::at_position(&pipe, vec![0; 4]), 1);
        port.submit_batch([(op::Read::at_position(&pipe, vec![0; 4]), 2)]);
        port.flush();
        let close = thread::spawn(move || mine.block_on(pipe.close()));
        let mut completions = Vec::new();
        assert_eq!(port.wait_for(2, &mut completions), 2);
        for completion in completions {
            assert!(completion.into_output::<op::Read<Vec<u8>>>().0.is_err());
        }
        close.join().unwrap().unwrap();
        assert_eq!(descriptors_of(&path), 0);
    }

    fn the_close_of_a_pipe_ends_a_chain_of_the_other(rig) {
        let dir = dir();
        let (mine, other) = (rig.engine(), rig.engine());
        let (pipe, path) = fifo(&mine, dir.path());
        let mut chain = other.chain().then(op::Read::at(&pipe, vec![0; 4], 0)).then(op::Nop).submit().unwrap();
        assert!(Pin::new(&mut chain).poll(&mut Context::from_waker(Waker::noop())).is_pending());
        mine.block_on(pipe.close()).unwrap();
        assert!(!other.block_on(chain).all_succeeded());
        until(|| descriptors_of(&path) == 0);
    }

    fn the_close_of_a_pipe_ends_reads_that_the_other_left_behind(rig) {
        let dir = dir();
        let (mine, other) = (rig.engine(), rig.engine());
        let (pipe, path) = fifo(&mine, dir.path());
        drop(other.submit(op::Read::at_position(&pipe, vec![0; 4])));
        drop(other);
        mine.block_on(pipe.close()).unwrap();
        assert_eq!(descriptors_of(&path), 0);
    }

    fn everything_dropped_at_once(rig) {
        let dir = dir();
        let (mine, other) = (rig.engine(), rig.engine());
        let (pipe, path) = fifo(&mine, dir.path());
        let reads = [other.submit(op::Read::at_position(&pipe, vec![0; 4])), pipe.read(vec![0; 4])];
        drop((mine, other, pipe, reads));
        until(|| descriptors_of(&path) == 0);
    }
}
