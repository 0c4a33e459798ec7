//! Code of the caller's runs inside of a submission: iterators, methods of buffers, their ends. It may use the engine,
//! and it may panic.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use auraio::{Engine, IoBuf, IoBufMut, Port, op};

use crate::{
    support::*,
    watch::{poll_once, until},
};

/// A batch of three operations; before each of them `meanwhile` is called. All of them complete.
fn batch(rig: Rig, meanwhile: impl FnMut(&Engine, u64)) {
    batch_by(
        rig,
        |_, port, mut each| {
            port.submit_batch((0..3).map(|token| {
                each(token);
                (op::Nop, token)
            }));
        },
        meanwhile,
    );
}

fn batch_by(
    rig: Rig,
    submit: impl FnOnce(&Engine, &mut Port, Box<dyn FnMut(u64) + '_>),
    mut meanwhile: impl FnMut(&Engine, u64),
) {
    // One core, so that routing by core has one ring for everything.
    assert!(pin(0));
    let engine = rig.engine();
    let mut port = engine.port().unwrap();
    submit(&engine, &mut port, Box::new(|token| meanwhile(&engine, token)));
    assert_eq!(port.outstanding(), 3);
    let mut completions = Vec::new();
    assert_eq!(port.wait_for(3, &mut completions), 3);
    assert_eq!(port.outstanding(), 0);
}

/// What a panicking call left: each operation that was accepted completes, and the port's drop ends.
fn still_works(mut port: Port) {
    let accepted = port.outstanding();
    let mut completions = Vec::new();
    assert_eq!(port.wait_for(accepted, &mut completions), accepted);
    port.submit(op::Nop, 9);
    assert_eq!(port.wait_for(1, &mut completions), 1);
    drop(port);
}

/// A buffer whose methods and end call something.
struct Meddles {
    bytes: Vec<u8>,
    on_look: Option<Box<dyn FnMut() + Send>>,
    on_drop: Option<Box<dyn FnMut() + Send>>,
}

impl Meddles {
    fn on_look(call: impl FnMut() + Send + 'static) -> Self {
        Self { bytes: vec![0; 16], on_look: Some(Box::new(call)), on_drop: None }
    }

    fn on_drop(call: impl FnMut() + Send + 'static) -> Self {
        Self { bytes: vec![0; 16], on_look: None, on_drop: Some(Box::new(call)) }
    }
}

impl Drop for Meddles {
    fn drop(&mut self) {
        self.on_drop.iter_mut().for_each(|call| call());
    }
}

// SAFETY: the bytes lie on the heap, and nothing resizes them.
unsafe impl IoBuf for Meddles {
    fn as_slice(&self) -> &[u8] {
        &self.bytes
    }
}

// SAFETY: as above.
unsafe impl IoBufMut for Meddles {
    fn as_mut_slice(&mut self) -> &mut [u8] {
        self.on_look.iter_mut().for_each(|call| call());
        &mut self.bytes
    }
}

/// An iterator whose end calls something.
struct Ends<F: FnMut()>(std::ops::Range<u64>, F);

impl<F: FnMut()> Iterator for Ends<F> {
    type Item = (op::Nop, u64);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(|token| (op::Nop, token))
    }
}

impl<F: FnMut()> Drop for Ends<F> {
    fn drop(&mut self) {
        (self.1)();
    }
}

scenarios! {
    fn an_iterator_that_submits(rig) {
        let mut kept = Vec::new();
        batch(rig, |engine, _| kept.push(engine.submit(op::Nop)));
        for nop in kept {
            pollster::block_on(nop).unwrap();
        }
    }

    fn an_iterator_that_drops_a_future(rig) {
        batch(rig, |engine, _| drop(engine.submit(op::Nop)));
    }

    fn an_iterator_that_polls(rig) {
        batch(rig, |engine, _| {
            let _ = poll_once(&mut engine.submit(op::Nop));
        });
    }

    fn an_iterator_that_cancels(rig) {
        batch(rig, |engine, _| {
            let nop = engine.submit(op::Nop);
            nop.cancel();
            let _ = engine.block_on(nop);
        });
    }

    fn an_iterator_that_blocks_on_an_open(rig) {
        batch(rig, |engine, _| drop(engine.block_on(engine.open("/etc/passwd", reading())).unwrap()));
    }

    fn an_iterator_that_submits_a_chain(rig) {
        batch(rig, |engine, _| {
            let chain = engine.chain().then(op::Nop).then(op::Nop).submit().unwrap();
            assert!(engine.block_on(chain).all_succeeded());
        });
    }

    fn an_iterator_that_looks_at_statistics(rig) {
        batch(rig, |engine, _| assert!(!engine.stats().rings.is_empty()));
    }

    fn an_iterator_that_turns(rig) {
        batch(rig, |engine, _| engine.turn(Some(Duration::ZERO)));
    }

    fn an_iterator_that_uses_another_port(rig) {
        batch(rig, |engine, token| {
            let mut other = engine.port().unwrap();
            other.submit(op::Nop, token);
            assert_eq!(other.wait_for(1, &mut Vec::new()), 1);
            other.submit(op::Nop, token);
        });
    }

    fn an_iterator_that_waits_for_another_thread(rig) {
        batch(rig, |engine, _| {
            let engine = engine.clone();
            thread::spawn(move || engine.block_on(engine.submit(op::Nop)).unwrap()).join().unwrap();
        });
    }

    fn an_iterator_that_drops_files_of_its_own_port(rig) {
        let dir = dir();
        batch_by(rig, |engine, port, _| {
            let open = |nth: u64| file_of(engine, &dir.path().join(nth.to_string()), b"x");
            let files: Vec<_> = (0..3).map(open).collect();
            for file in &files {
                file.register();
                for _ in 0..64 {
                    port.submit(op::Read::at(file, vec![0; 1], 0), 0);
                }
            }
            port.wait_for(3 * 64, &mut Vec::new());
            port.submit_batch(files.into_iter().zip(0..).map(|(_file, token)| (op::Nop, token)));
        }, |_, _| {});
    }

    fn an_iterator_that_drops_files_of_the_engine(rig) {
        let dir = dir();
        batch(rig, |engine, token| {
            let file = file_of(engine, &dir.path().join(token.to_string()), b"x");
            file.register();
            for _ in 0..64 {
                engine.block_on(file.read_at(vec![0; 1], 0)).0.unwrap();
            }
        });
    }

    fn an_iterator_whose_end_uses_the_engine(rig) {
        batch_by(rig, |engine, port, _| {
            port.submit_batch(Ends(0..3, || engine.block_on(engine.submit(op::Nop)).unwrap()));
        }, |_, _| {});
    }

    fn an_iterator_that_panics(rig) {
        let engine = rig.engine();
        let mut port = engine.port().unwrap();
        let panicking = (0..3).map(|token| { assert!(token < 2, "midway"); (op::Nop, token) });
        assert!(catch_unwind(AssertUnwindSafe(|| port.submit_batch(panicking))).is_err());
        assert_eq!(port.outstanding(), 2);
        still_works(port);
    }

    fn an_iterator_that_panics_and_then_the_port_is_dropped(rig) {
        let engine = rig.engine();
        let mut port = engine.port().unwrap();
        let panicking = (0..3).map(|token| { assert!(token < 2, "midway"); (op::Nop, token) });
        assert!(catch_unwind(AssertUnwindSafe(|| port.submit_batch(panicking))).is_err());
        drop(port);
        engine.block_on(engine.submit(op::Nop)).unwrap();
    }

    fn an_iterator_that_panics_behind_refused_operations(rig) {
        let engine = rig.engine();
        let mut port = engine.port().unwrap();
        let panicking = (0..3).map(|token| { assert!(token < 2, "midway"); (op::CreateDir::new("a\0b"), token) });
        assert!(catch_unwind(AssertUnwindSafe(|| port.submit_batch(panicking))).is_err());
        assert_eq!(port.outstanding(), 2);
        still_works(port);
    }

    fn an_iterator_whose_end_panics(rig) {
        let engine = rig.engine();
        let mut port = engine.port().unwrap();
        let panicking = Ends(0..3, || assert_eq!(1, 2, "at the end"));
        assert!(catch_unwind(AssertUnwindSafe(|| port.submit_batch(panicking))).is_err());
        assert_eq!(port.outstanding(), 3);
        still_works(port);
    }

    fn a_buffer_of_a_batch_that_uses_the_engine(rig) {
        assert!(pin(0));
        let (engine, dir) = (rig.engine(), dir());
        let file = file_of(&engine, &dir.path().join("file"), &pattern(16, 1));
        let mut port = engine.port().unwrap();
        port.submit_batch((0..3).map(|token| {
            let engine = engine.clone();
            let buffer = Meddles::on_look(move || engine.block_on(engine.submit(op::Nop)).unwrap());
            (op::Read::at(&file, buffer, 0), token)
        }));
        let mut completions = Vec::new();
        assert_eq!(port.wait_for(3, &mut completions), 3);
        for completion in completions {
            let (read, buffer) = completion.into_output::<op::Read<Meddles>>();
            assert!(read == Ok(16) && buffer.as_slice() == pattern(16, 1));
        }
    }

    fn a_buffer_of_a_batch_that_panics(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let file = file_of(&engine, &dir.path().join("file"), b"x");
        let mut port = engine.port().unwrap();
        let reads = (0..3).map(|token| {
            (op::Read::at(&file, Meddles::on_look(move || assert!(token < 2, "midway")), 0), token)
        });
        assert!(catch_unwind(AssertUnwindSafe(|| port.submit_batch(reads))).is_err());
        assert_eq!(port.outstanding(), 2);
        still_works(port);
        engine.block_on(file.close()).unwrap();
    }

    fn a_buffer_that_panics_in_a_submission(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let file = file_of(&engine, &dir.path().join("file"), b"x");
        let mut port = engine.port().unwrap();
        let read = || op::Read::at(&file, Meddles::on_look(|| panic!("when it is looked at")), 0);
        assert!(catch_unwind(AssertUnwindSafe(|| port.submit(read(), 1))).is_err());
        assert!(catch_unwind(AssertUnwindSafe(|| engine.submit(read()))).is_err());
        assert!(catch_unwind(AssertUnwindSafe(|| engine.chain().then(read()))).is_err());
        assert_eq!(port.outstanding(), 0);
        still_works(port);
        engine.block_on(file.close()).unwrap();
    }

    fn a_buffer_that_uses_the_engine_when_it_is_dropped(rig) {
        assert!(pin(0));
        let (engine, dir) = (rig.engine(), dir());
        let file = file_of(&engine, &dir.path().join("file"), b"x");
        let dropped = Arc::new(AtomicUsize::new(0));
        let buffer = || {
            let (engine, dropped) = (engine.clone(), Arc::clone(&dropped));
            Meddles::on_drop(move || {
                engine.block_on(engine.submit(op::Nop)).unwrap();
                dropped.fetch_add(1, Ordering::SeqCst);
            })
        };
        drop(file.read_at(buffer(), 0));
        let mut port = engine.port().unwrap();
        port.submit(op::Read::at(&file, buffer(), 0), 1);
        drop(port);
        drop(engine.chain().then(op::Read::at(&file, buffer(), 0)).then(op::Nop).submit().unwrap());
        until(|| dropped.load(Ordering::SeqCst) == 3);
        engine.block_on(file.close()).unwrap();
    }

    fn a_buffer_that_uses_the_engine_at_the_end_of_a_thread(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let file = Arc::new(file_of(&engine, &dir.path().join("file"), b"x"));
        let dropped = Arc::new(AtomicUsize::new(0));
        for _ in 0..20 {
            let (engine, dropped, file) = (engine.clone(), Arc::clone(&dropped), Arc::clone(&file));
            thread::spawn(move || {
                let buffer = Meddles::on_drop(move || {
                    engine.block_on(engine.submit(op::Nop)).unwrap();
                    dropped.fetch_add(1, Ordering::SeqCst);
                });
                drop(file.read_at(buffer, 0));
            })
            .join()
            .unwrap();
        }
        until(|| dropped.load(Ordering::SeqCst) == 20);
    }

    fn a_buffer_that_panics_when_it_is_dropped(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let file = file_of(&engine, &dir.path().join("file"), b"x");
        let (pipe, path) = fifo(&engine, dir.path());
        // A future that waits on a foreign executor needs the engine's own thread, which may be what drops the buffer.
        let waiting = thread::spawn(move || pollster::block_on(pipe.read(vec![0; 4])).1);
        for _ in 0..20 {
            let buffer = Meddles::on_drop(|| panic!("when it is dropped"));
            let _ = catch_unwind(AssertUnwindSafe(|| drop(file.read_at(buffer, 0))));
        }
        until(|| completed(&engine) >= 20);
        fill(&path, b"here");
        assert_eq!(waiting.join().unwrap(), b"here");
        pollster::block_on(file.close()).unwrap();
    }
}
