//! What one file does not answer holds up nobody else: a pipe that stays empty, a socket, a queue that is full of such.

use std::{
    fs,
    os::fd::OwnedFd,
    os::unix::net::UnixStream,
    pin::Pin,
    sync::{Arc, mpsc},
    thread,
};

use auraio::{Engine, File, OpFuture, OpenOptions, op};

use crate::{support::*, watch::poll_once};

/// Large enough to be copied by a worker of the kernel.
const LARGE: usize = 1 << 20;

/// More large reads than may be copied at once.
const MANY: usize = 64;

type Reads = Vec<OpFuture<op::Read<Vec<u8>>>>;

/// Large reads that nobody answers.
fn large_waits(file: &File) -> Reads {
    let mut reads: Reads = (0..MANY).map(|_| file.read(vec![0; LARGE])).collect();
    reads.iter_mut().for_each(|read| assert!(poll_once(read).is_pending()));
    reads
}

/// Large transfers of other files complete, and their closes do.
fn others_complete(engine: &Engine, dir: &std::path::Path) {
    let file = file_of(engine, &dir.join("other"), &pattern(4 * LARGE, 1));
    let reads: Vec<_> = (0..8).map(|nth| file.read_at(vec![0; LARGE], nth % 4 * LARGE as u64)).collect();
    for read in reads {
        assert_eq!(engine.block_on(read).0, Ok(LARGE));
    }
    let (read, _) = engine.block_on(file.readv_at(vec![vec![0; LARGE]; 4], 0));
    assert_eq!(read, Ok(4 * LARGE));
    assert_eq!(engine.block_on(file.write_at(vec![1; LARGE], 0)).0, Ok(LARGE));
    let chain = engine.chain().then(op::Read::at(&file, vec![0; LARGE], 0)).then(op::Nop).submit().unwrap();
    assert!(engine.block_on(chain).all_succeeded());
    let mut port = engine.port().unwrap();
    port.submit(op::Read::at(&file, vec![0; LARGE], 0), 1);
    assert_eq!(port.wait_for(1, &mut Vec::new()), 1);
    engine.block_on(engine.metadata(dir)).unwrap();
    engine.block_on(file.close()).unwrap();
}

/// Fills the one ring of a core with reads of an empty pipe, from a thread that goes on until `done`.
fn full_of_waits(engine: &Engine, pipe: File, reads: usize) -> (mpsc::Sender<()>, thread::JoinHandle<()>) {
    let (full, is_full) = mpsc::channel();
    let (done, is_done) = mpsc::channel();
    let engine = engine.clone();
    let thread = thread::spawn(move || {
        assert!(pin(0));
        let mut reads: Vec<_> = (0..reads).map(|_| engine.submit(op::Read::at_position(&pipe, vec![0; 4]))).collect();
        reads.iter_mut().for_each(|read| assert!(poll_once(read).is_pending()));
        full.send(()).unwrap();
        let _ = is_done.recv();
        engine.block_on(pipe.close()).unwrap();
        drop(reads);
    });
    is_full.recv().unwrap();
    (done, thread)
}

scenarios! {
    fn large_reads_of_a_pipe_hold_up_no_others(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let (pipe, _) = fifo(&engine, dir.path());
        let reads = large_waits(&pipe);
        others_complete(&engine, dir.path());
        engine.block_on(pipe.close()).unwrap();
        for read in reads {
            assert!(engine.block_on(read).0.is_err());
        }
    }

    fn large_reads_of_a_pipe_by_a_port_hold_up_no_others(rig) {
        assert!(pin(0));
        let (engine, dir) = (rig.engine(), dir());
        let (pipe, _) = fifo(&engine, dir.path());
        let mut port = engine.port().unwrap();
        for token in 0..MANY as u64 {
            port.submit(op::Read::at_position(&pipe, vec![0; LARGE]), token);
        }
        port.flush();
        let file = file_of(&engine, &dir.path().join("mine"), &pattern(LARGE, 1));
        port.submit(op::Read::at(&file, vec![0; LARGE], 0), 1000);
        port.submit(op::Close::new(file), 1001);
        let mut completions = Vec::new();
        assert_eq!(port.wait_for(2, &mut completions), 2);
        assert_eq!(completions.iter().map(auraio::Completion::token).max(), Some(1001));
        others_complete(&engine, dir.path());
    }

    fn large_reads_of_a_socket_hold_up_no_others(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let (one, _other) = UnixStream::pair().unwrap();
        let socket = engine.adopt(OwnedFd::from(one)).unwrap();
        let reads = large_waits(&socket);
        others_complete(&engine, dir.path());
        drop(reads);
        engine.block_on(socket.close()).unwrap();
    }

    fn large_reads_into_many_buffers_hold_up_no_others(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let (pipe, _) = fifo(&engine, dir.path());
        let mut reads: Vec<_> = (0..MANY).map(|_| pipe.readv_at(vec![vec![0; LARGE / 4]; 4], 0)).collect();
        reads.iter_mut().for_each(|read| assert!(poll_once(read).is_pending()));
        others_complete(&engine, dir.path());
        drop(reads);
        engine.block_on(pipe.close()).unwrap();
    }

    fn chains_that_wait_for_a_pipe_hold_up_no_others(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let (pipe, _) = fifo(&engine, dir.path());
        let waits = || engine.chain().then(op::Read::at(&pipe, vec![0; LARGE], 0)).then(op::Nop).submit().unwrap();
        let mut chains: Vec<_> = (0..MANY).map(|_| waits()).collect();
        for chain in &mut chains {
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            assert!(Pin::new(chain).poll(&mut context).is_pending());
        }
        others_complete(&engine, dir.path());
    }

    fn a_wait_holds_up_no_chain_on_a_foreign_executor(rig) {
        assert!(pin(0));
        let (engine, dir) = (rig.engine(), dir());
        let (pipe, _) = fifo(&engine, dir.path());
        let mut read = pipe.read(vec![0; 4]);
        // Handed over, so that the engine's own thread sleeps until the pipe has something.
        assert!(poll_once(&mut read).is_pending() && poll_once(&mut read).is_pending());
        for _ in 0..20 {
            let chain = engine.chain().then(op::Nop).then(op::Nop).submit().unwrap();
            assert!(pollster::block_on(chain).all_succeeded());
        }
        engine.block_on(pipe.close()).unwrap();
    }

    fn opens_of_a_pipe_without_a_reader_hold_up_no_others(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let paths: Vec<_> = (0..MANY).map(|nth| dir.path().join(format!("fifo{nth}"))).collect();
        for path in &paths {
            // SAFETY: the path is a C string.
            assert_eq!(unsafe { libc::mkfifo(c_path(path).as_ptr(), 0o600) }, 0);
        }
        let mut opens: Vec<_> = paths.iter().map(|path| engine.open(path, OpenOptions::new().write(true))).collect();
        opens.iter_mut().for_each(|open| assert!(poll_once(open).is_pending()));
        others_complete(&engine, dir.path());
        // Each of them ends when somebody reads.
        for (path, open) in paths.iter().zip(opens) {
            let reader = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
            drop(engine.block_on(open).unwrap());
            drop(reader);
        }
    }

    fn reads_that_are_dropped_while_they_wait_for_room_hold_up_no_close(rig) {
        assert!(pin(0));
        let (engine, dir) = (rig.builder().queue_depth(64).build().unwrap(), dir());
        let (pipe, path) = fifo(&engine, dir.path());
        let mut reads: Vec<_> = (0..80).map(|_| pipe.read(vec![0; 4])).collect();
        reads.iter_mut().for_each(|read| assert!(poll_once(read).is_pending()));
        drop(reads);
        engine.block_on(pipe.close()).unwrap();
        assert_eq!(descriptors_of(&path), 0);
    }

    fn large_reads_that_are_dropped_while_they_wait_hold_up_no_close(rig) {
        assert!(pin(0));
        let (engine, dir) = (rig.engine(), dir());
        let (pipe, path) = fifo(&engine, dir.path());
        drop(large_waits(&pipe));
        engine.block_on(pipe.close()).unwrap();
        assert_eq!(descriptors_of(&path), 0);
    }

    fn a_full_queue_of_waits_holds_up_no_close(rig) {
        let (engine, dir) = (rig.builder().queue_depth(64).build().unwrap(), dir());
        let path = dir.path().join("file");
        let file = engine.block_on(engine.open(&path, creating())).unwrap();
        let (pipe, _) = fifo(&engine, dir.path());
        let (done, waits) = full_of_waits(&engine, pipe, 80);
        assert!(pin(0));
        engine.block_on(file.close()).unwrap();
        assert_eq!(descriptors_of(&path), 0);
        drop(done);
        waits.join().unwrap();
    }

    fn a_full_queue_of_waits_holds_up_no_close_of_what_was_written(rig) {
        let (engine, dir) = (rig.builder().queue_depth(64).build().unwrap(), dir());
        let path = dir.path().join("file");
        let file = engine.block_on(engine.open(&path, creating())).unwrap();
        engine.block_on(file.write_at("written", 0)).0.unwrap();
        let (pipe, _) = fifo(&engine, dir.path());
        let (done, waits) = full_of_waits(&engine, pipe, 80);
        assert!(pin(0));
        engine.block_on(file.close()).unwrap();
        assert_eq!(descriptors_of(&path), 0);
        drop(done);
        waits.join().unwrap();
    }

    fn a_full_queue_of_waits_holds_up_no_close_by_a_port(rig) {
        let (engine, dir) = (rig.builder().queue_depth(64).build().unwrap(), dir());
        let path = dir.path().join("file");
        let file = engine.block_on(engine.open(&path, creating())).unwrap();
        engine.block_on(file.write_at("written", 0)).0.unwrap();
        let (pipe, _) = fifo(&engine, dir.path());
        let (done, waits) = full_of_waits(&engine, pipe, 80);
        assert!(pin(0));
        let mut port = engine.port().unwrap();
        port.submit(op::Close::new(file), 1);
        assert_eq!(port.wait_for(1, &mut Vec::new()), 1);
        assert_eq!(descriptors_of(&path), 0);
        drop(done);
        waits.join().unwrap();
    }

    fn a_full_queue_of_waits_holds_up_no_end_of_a_port(rig) {
        let (engine, dir) = (rig.builder().queue_depth(64).build().unwrap(), dir());
        let file = Arc::new(file_of(&engine, &dir.path().join("file"), b"x"));
        let (mine, _) = fifo(&engine, dir.path());
        let other = dir.path().join("other");
        fs::create_dir(&other).unwrap();
        let (pipe, _) = fifo(&engine, &other);
        let (done, waits) = full_of_waits(&engine, pipe, 80);
        assert!(pin(0));
        let mut port = engine.port().unwrap();
        port.submit(op::Read::at(&file, vec![0; 1], 0), 1);
        port.submit(op::Read::at_position(&mine, vec![0; 1]), 2);
        port.submit(op::Close::new(Arc::into_inner(file).unwrap()), 3);
        port.flush();
        drop(port);
        drop(done);
        waits.join().unwrap();
    }

    fn a_full_queue_of_one_port_holds_up_no_other_port(rig) {
        let (engine, dir) = (rig.builder().queue_depth(64).build().unwrap(), dir());
        let path = dir.path().join("file");
        let file = engine.block_on(engine.open(&path, OpenOptions::new().write(true).create(true))).unwrap();
        engine.block_on(file.write_at("written", 0)).0.unwrap();
        let (pipe, _) = fifo(&engine, dir.path());
        assert!(pin(0));
        let mut full = engine.port().unwrap();
        full.submit_batch((0..80).map(|token| (op::Read::at_position(&pipe, vec![0; 4]), token)));
        full.flush();
        let mut port = engine.port().unwrap();
        port.submit(op::Close::new(file), 1);
        assert_eq!(port.wait_for(1, &mut Vec::new()), 1);
        drop(port);
        drop(full);
    }
}
