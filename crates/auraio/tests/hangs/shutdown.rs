//! An engine that is drained or shut down: the wait ends, on every executor, and what is new is refused.

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{Arc, mpsc},
    task::{Context, Poll, Wake, Waker},
    thread,
    time::Duration,
};

use auraio::{Engine, Error, OpenOptions, op};

use crate::{
    support::*,
    watch::{poll_once, start_and_drop, until},
};

/// A waker that panics.
struct Panics;

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        panic!("when it is woken")
    }
}

/// Each way to submit answers that the engine is closed, and gives back what it was given.
fn refuses(engine: &Engine, file: &auraio::File) {
    assert_eq!(engine.block_on(engine.submit(op::Nop)), Err(Error::EngineClosed));
    assert_eq!(engine.block_on(file.read_at(vec![7; 4], 0)), (Err(Error::EngineClosed), vec![7; 4]));
    assert_eq!(pollster::block_on(file.write("text")), (Err(Error::EngineClosed), "text"));
    assert_eq!(pollster::block_on(engine.open("/etc/passwd", reading())).map(drop), Err(Error::EngineClosed));
    let mut results = engine.block_on(engine.chain().then(op::Nop).then(op::Sync::all(file)).submit().unwrap());
    assert_eq!(results.take::<op::Nop>(), Err(Error::EngineClosed));
    let mut port = engine.port().unwrap();
    port.submit(op::Nop, 1);
    port.submit_batch((2..4).map(|token| (op::Read::at(file, vec![7; 4], 0), token)));
    let mut completions = Vec::new();
    assert_eq!(port.wait_for(3, &mut completions), 3);
    for completion in completions.drain(..) {
        if completion.token() == 1 {
            assert_eq!(completion.into_output::<op::Nop>(), Err(Error::EngineClosed));
        } else {
            let output = completion.into_output::<op::Read<Vec<u8>>>();
            assert_eq!(output, (Err(Error::EngineClosed), vec![7; 4]));
        }
    }
}

scenarios! {
    fn a_drain_of_an_engine_at_rest(rig) {
        let engine = rig.engine();
        engine.block_on(engine.drain());
        pollster::block_on(engine.drain());
        engine.block_on(engine.submit(op::Nop)).unwrap();
        assert!(poll_once(&mut engine.drain()).is_ready());
        assert_at_rest(&engine);
    }

    fn a_drain_waits_for_what_other_threads_dropped(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let path = dir.path().join("file");
        let file = Arc::new(engine.block_on(engine.open(&path, creating())).unwrap());
        let (tell, told) = mpsc::channel();
        let threads: Vec<_> = (0..4)
            .map(|nth| {
                let (file, tell) = (Arc::clone(&file), tell.clone());
                let (end, ends) = mpsc::channel::<()>();
                let thread = thread::spawn(move || {
                    start_and_drop(file.write_at(vec![1; 1 << 20], nth << 20));
                    start_and_drop(file.write_at(vec![1; 1 << 20], (4 + nth) << 20));
                    tell.send(()).unwrap();
                    let _ = ends.recv();
                });
                (end, thread)
            })
            .collect();
        threads.iter().for_each(|_| told.recv().unwrap());
        pollster::block_on(engine.drain());
        for (end, thread) in threads {
            drop(end);
            thread.join().unwrap();
        }
        assert_at_rest(&engine);
        assert!(fs::read(&path).unwrap() == vec![1; 8 << 20]);
    }

    fn a_drain_waits_for_a_port_of_another_thread(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let (pipe, path) = fifo(&engine, dir.path());
        let (tell, told) = mpsc::channel();
        let theirs = engine.clone();
        let thread = thread::spawn(move || {
            let mut port = theirs.port().unwrap();
            port.submit(op::Read::at_position(&pipe, vec![0; 4]), 1);
            port.flush();
            tell.send(()).unwrap();
            assert_eq!(port.wait_for(1, &mut Vec::new()), 1);
        });
        told.recv().unwrap();
        let mut drain = engine.drain();
        assert!(poll_once(&mut drain).is_pending());
        fill(&path, b"here");
        pollster::block_on(drain);
        thread.join().unwrap();
    }

    fn many_drains_on_every_executor(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let (pipe, path) = fifo(&engine, dir.path());
        let mut read = pipe.read(vec![0; 4]);
        assert!(poll_once(&mut read).is_pending());
        let mut turned = engine.drain();
        assert!(poll_once(&mut turned).is_pending());
        let dropped = engine.drain();
        let threads = [
            thread::spawn({ let engine = engine.clone(); move || engine.block_on(engine.drain()) }),
            thread::spawn({ let engine = engine.clone(); move || pollster::block_on(engine.drain()) }),
        ];
        drop(dropped);
        fill(&path, b"here");
        while poll_once(&mut turned).is_pending() {
            engine.turn(None);
        }
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(engine.block_on(read).1, b"here");
    }

    fn a_drain_whose_waker_panics(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let (pipe, path) = fifo(&engine, dir.path());
        let mut read = pipe.read(vec![0; 4]);
        assert!(poll_once(&mut read).is_pending());
        let mut drain = engine.drain();
        let waker = Waker::from(Arc::new(Panics));
        assert_eq!(Pin::new(&mut drain).poll(&mut Context::from_waker(&waker)), Poll::Pending);
        fill(&path, b"here");
        pollster::block_on(engine.drain());
        assert_eq!(pollster::block_on(read).1, b"here");
        drop(drain);
    }

    fn a_drain_that_a_thread_keeps_to_its_end(rig) {
        std::thread_local! {
            static KEPT: std::cell::RefCell<Option<auraio::Drain>> = const { std::cell::RefCell::new(None) };
        }
        let engine = rig.engine();
        let theirs = engine.clone();
        thread::spawn(move || {
            KEPT.with_borrow_mut(|_| {});
            theirs.block_on(theirs.submit(op::Nop)).unwrap();
            let mut drain = theirs.drain();
            let _ = poll_once(&mut drain);
            KEPT.set(Some(drain));
        })
        .join()
        .unwrap();
        pollster::block_on(engine.drain());
    }

    fn a_shutdown_ends_what_could_wait_for_ever(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let (pipe, path) = fifo(&engine, dir.path());
        let file = file_of(&engine, &dir.path().join("file"), b"text");
        let mut reads: Vec<_> = (0..3).map(|_| pipe.read(vec![0; 4])).collect();
        reads.iter_mut().for_each(|read| assert!(poll_once(read).is_pending()));
        let chain = engine.chain().then(op::Read::at(&pipe, vec![0; 4], 0)).then(op::Nop).submit().unwrap();
        pollster::block_on(engine.shutdown());
        for read in reads {
            assert_eq!(engine.block_on(read).0, Err(Error::Cancelled));
        }
        assert!(!engine.block_on(chain).all_succeeded());
        refuses(&engine, &file);
        // What is open can be given back, and a second shutdown finds nothing to do.
        engine.block_on(file.close()).unwrap();
        pollster::block_on(pipe.close()).unwrap();
        assert_eq!(descriptors_of(&path), 0);
        engine.block_on(engine.shutdown());
        assert_at_rest(&engine);
    }

    fn a_shutdown_ends_opens_and_reads_of_a_port(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let (pipe, _) = fifo(&engine, dir.path());
        let other = dir.path().join("other");
        // SAFETY: the path is a C string.
        assert_eq!(unsafe { libc::mkfifo(c_path(&other).as_ptr(), 0o600) }, 0);
        let mut open = engine.open(&other, OpenOptions::new().write(true));
        // A ring does not wait for a reader, as it should.
        let waits = poll_once(&mut open).is_pending();
        let (tell, told) = mpsc::channel();
        let theirs = engine.clone();
        let thread = thread::spawn(move || {
            let mut port = theirs.port().unwrap();
            port.submit(op::Read::at_position(&pipe, vec![0; 4]), 1);
            port.flush();
            tell.send(()).unwrap();
            let mut completions = Vec::new();
            assert_eq!(port.wait_for(1, &mut completions), 1);
            completions.remove(0).into_output::<op::Read<Vec<u8>>>().0
        });
        told.recv().unwrap();
        engine.block_on(engine.shutdown());
        assert_eq!(thread.join().unwrap(), Err(Error::Cancelled));
        assert!(!waits || engine.block_on(open).is_err());
    }

    fn an_engine_that_was_shut_down_ends_at_once(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let (pipe, path) = fifo(&engine, dir.path());
        let workers: Vec<_> = (0..3)
            .map(|_| {
                let engine = engine.clone();
                thread::spawn(move || engine.block_on(engine.submit(op::Nop)).unwrap())
            })
            .collect();
        workers.into_iter().for_each(|worker| worker.join().unwrap());
        drop(pipe.read(vec![0; 4]));
        pollster::block_on(engine.shutdown());
        drop((engine, pipe));
        until(|| descriptors_of(&path) == 0);
        until(|| crate::watch::threads_named("auraio-reap") == 0);
    }

    fn a_shutdown_while_others_submit(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let file = Arc::new(file_of(&engine, &dir.path().join("file"), &pattern(4096, 1)));
        let workers: Vec<_> = (0..3)
            .map(|_| {
                let file = Arc::clone(&file);
                thread::spawn(move || {
                    while let (Ok(_), _) = pollster::block_on(file.read_at(vec![0; 512], 0)) {}
                })
            })
            .collect();
        engine.turn(Some(Duration::from_millis(1)));
        pollster::block_on(engine.shutdown());
        workers.into_iter().for_each(|worker| worker.join().unwrap());
        assert!(catch_unwind(AssertUnwindSafe(|| refuses(&engine, &file))).is_ok());
    }
}
