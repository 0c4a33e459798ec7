//! A thread ends, and with it its ring, while operations are in flight whose futures were dropped. Whoever waits for a
//! file of theirs is told all the same.

use std::{
    fs,
    path::Path,
    sync::{Arc, mpsc},
    thread,
};

use auraio::{Engine, File, OpenOptions, op};

use crate::{
    support::*,
    watch::{poll_once, start_and_drop, until},
};

/// A read of so many bytes of a hole takes the kernel far longer than a thread needs to end.
const LONG: usize = 64 << 20;

/// A file whose whole takes a while to read.
fn long_file(engine: &Engine, path: &Path) -> File {
    fs::File::create(path).unwrap().set_len(LONG as u64).unwrap();
    engine.block_on(engine.open(path, OpenOptions::new().read(true).write(true))).unwrap()
}

fn long_buffer() -> Vec<u8> {
    vec![0; LONG]
}

/// A thread leaves something behind on a file; meanwhile `then` begins something that waits for it. The thread ends, and
/// what `then` answered is for the caller to wait for.
fn left_behind<T>(file: File, leave: impl FnOnce(&File) + Send + 'static, then: impl FnOnce(File) -> T) -> T {
    let file = Arc::new(file);
    let theirs = Arc::clone(&file);
    let (left, has_left) = mpsc::channel();
    let (begun, has_begun) = mpsc::channel();
    let thread = thread::spawn(move || {
        leave(&theirs);
        drop(theirs);
        left.send(()).unwrap();
        has_begun.recv().unwrap();
    });
    has_left.recv().unwrap();
    let waits = then(Arc::into_inner(file).unwrap());
    begun.send(()).unwrap();
    thread.join().unwrap();
    waits
}

/// Begins to close.
fn closing(file: File) -> auraio::OpFuture<op::Close> {
    let mut close = file.close();
    assert!(poll_once(&mut close).is_pending(), "the read takes longer than this");
    close
}

scenarios! {
    fn a_close_after_a_read(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let path = dir.path().join("file");
        let file = long_file(&engine, &path);
        let close = left_behind(file, |file| start_and_drop(file.read_at(long_buffer(), 0)), closing);
        engine.block_on(close).unwrap();
        assert_eq!(descriptors_of(&path), 0);
    }

    fn a_close_on_a_foreign_executor_after_a_read(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let file = long_file(&engine, &dir.path().join("file"));
        let close = left_behind(file, |file| start_and_drop(file.read_at(long_buffer(), 0)), closing);
        pollster::block_on(close).unwrap();
    }

    fn a_close_that_nobody_waits_for_after_a_read(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let path = dir.path().join("file");
        let file = long_file(&engine, &path);
        left_behind(file, |file| start_and_drop(file.read_at(long_buffer(), 0)), |file| drop(file.close()));
        until(|| descriptors_of(&path) == 0);
    }

    fn a_close_by_a_port_after_a_read(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let path = dir.path().join("file");
        let file = long_file(&engine, &path);
        let mut port = engine.port().unwrap();
        left_behind(file, |file| start_and_drop(file.read_at(long_buffer(), 0)), |file| {
            port.submit(op::Close::new(file), 7);
            port.flush();
        });
        let mut completions = Vec::new();
        assert_eq!(port.wait_for(1, &mut completions), 1);
        completions.remove(0).into_output::<op::Close>().unwrap();
        assert_eq!(descriptors_of(&path), 0);
    }

    fn a_close_after_a_write(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let file = long_file(&engine, &dir.path().join("file"));
        let close = left_behind(file, |file| start_and_drop(file.write_at(vec![1; 32 << 20], 0)), closing);
        engine.block_on(close).unwrap();
    }

    fn a_close_after_a_chain(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let file = long_file(&engine, &dir.path().join("file"));
        let theirs = engine.clone();
        let leave = move |file: &File| {
            let chain = theirs.chain().then(op::Read::at(file, long_buffer(), 0)).then(op::Sync::data(file));
            start_and_drop(chain.submit().unwrap());
        };
        engine.block_on(left_behind(file, leave, closing)).unwrap();
    }

    fn closes_of_several_files(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let files: Vec<_> = (0..3).map(|nth| long_file(&engine, &dir.path().join(nth.to_string()))).collect();
        let files = Arc::new(files);
        let theirs = Arc::clone(&files);
        let (left, has_left) = mpsc::channel();
        let (begun, has_begun) = mpsc::channel();
        let thread = thread::spawn(move || {
            theirs.iter().for_each(|file| start_and_drop(file.read_at(long_buffer(), 0)));
            drop(theirs);
            left.send(()).unwrap();
            has_begun.recv().unwrap();
        });
        has_left.recv().unwrap();
        let closes: Vec<_> = Arc::into_inner(files).unwrap().into_iter().map(File::close).collect();
        engine.turn(Some(std::time::Duration::ZERO));
        begun.send(()).unwrap();
        thread.join().unwrap();
        for close in closes {
            engine.block_on(close).unwrap();
        }
    }

    fn a_close_in_flight_itself(rig) {
        let (engine, dir) = (rig.engine(), dir());
        for nth in 0..20 {
            let path = dir.path().join(nth.to_string());
            let file = long_file(&engine, &path);
            thread::spawn(move || {
                start_and_drop(file.write_at(vec![1; 4096], 0));
                start_and_drop(file.close());
            })
            .join()
            .unwrap();
            until(|| descriptors_of(&path) == 0);
        }
    }

    fn a_close_in_flight_behind_a_read(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let path = dir.path().join("file");
        let file = long_file(&engine, &path);
        thread::spawn(move || {
            start_and_drop(file.read_at(long_buffer(), 0));
            start_and_drop(file.close());
        })
        .join()
        .unwrap();
        until(|| descriptors_of(&path) == 0);
    }

    fn the_next_read_at_the_position(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let file = long_file(&engine, &dir.path().join("file"));
        let file = left_behind(file, |file| start_and_drop(file.read(long_buffer())), |file| file);
        let (read, _) = engine.block_on(file.read(vec![0; 16]));
        assert_eq!(read, Ok(0), "the first read came to the end of the file");
    }

    fn reads_at_the_position_that_wait_already(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let file = long_file(&engine, &dir.path().join("file"));
        let (file, reads) = left_behind(file, |file| start_and_drop(file.read(long_buffer())), |file| {
            let mut reads: Vec<_> = (0..3).map(|_| file.read(vec![0; 16])).collect();
            reads.iter_mut().for_each(|read| assert!(poll_once(read).is_pending()));
            (file, reads)
        });
        for read in reads {
            assert_eq!(engine.block_on(read).0, Ok(0));
        }
        engine.block_on(file.close()).unwrap();
    }

    fn reads_at_the_position_that_two_threads_leave(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let file = long_file(&engine, &dir.path().join("file"));
        let leave = |file: &File| start_and_drop(file.read(long_buffer()));
        let file = left_behind(file, leave, |file| left_behind(file, leave, |file| file));
        assert_eq!(engine.block_on(file.read(vec![0; 16])).0, Ok(0));
        engine.block_on(file.close()).unwrap();
    }

    fn a_port_that_is_dropped_with_a_read_at_the_position(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let file = long_file(&engine, &dir.path().join("file"));
        let theirs = engine.clone();
        let leave = move |file: &File| {
            let mut port = theirs.port().unwrap();
            port.submit(op::Read::at_position(file, long_buffer()), 1);
            port.submit(op::Read::at_position(file, vec![0; 16]), 2);
            port.flush();
        };
        let file = left_behind(file, leave, |file| file);
        // The port cancelled what it could, so the position may be anywhere.
        assert!(engine.block_on(file.read(vec![0; 16])).0.is_ok());
        engine.block_on(file.close()).unwrap();
    }

    fn writes_that_nobody_waits_for_are_performed(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let path = dir.path().join("file");
        let file = Arc::new(engine.block_on(engine.open(&path, creating())).unwrap());
        let theirs = Arc::clone(&file);
        let writes = move || (0..16).for_each(|nth| start_and_drop(theirs.write_at(vec![1; 1 << 20], nth << 20)));
        thread::spawn(writes).join().unwrap();
        engine.block_on(Arc::into_inner(file).unwrap().close()).unwrap();
        assert!(fs::read(&path).unwrap() == vec![1; 16 << 20], "the end of a thread cancels no write");
    }

    fn a_close_of_a_pipe_that_a_port_of_another_thread_waits_for(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let (pipe, path) = fifo(&engine, dir.path());
        let mut port = engine.port().unwrap();
        port.submit(op::Read::at_position(&pipe, vec![0; 4]), 1);
        port.flush();
        let close = thread::spawn(move || engine.block_on(pipe.close()));
        assert_eq!(port.wait_for(1, &mut Vec::new()), 1);
        close.join().unwrap().unwrap();
        assert_eq!(descriptors_of(&path), 0);
    }

    fn an_open_that_nobody_waits_for(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let path = dir.path().join("file");
        fs::write(&path, "x").unwrap();
        for _ in 0..50 {
            let (engine, path) = (engine.clone(), path.clone());
            thread::spawn(move || start_and_drop(engine.open(path, reading()))).join().unwrap();
        }
        until(|| descriptors_of(&path) == 0);
    }
}
