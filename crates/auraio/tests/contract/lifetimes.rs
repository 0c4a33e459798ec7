//! Memory that the kernel may touch is kept until the completion, and no longer.

use std::{
    fs,
    pin::Pin,
    sync::{Arc, Barrier, mpsc},
    task::{Context, Waker},
    thread,
    time::Duration,
};

use auraio::{Completion, Error, Routing, op};

use crate::support::*;

const SOON: Duration = Duration::ZERO;

properties! {
    fn a_cancelled_read_of_a_pipe_fails_with_ecanceled_and_gives_its_buffer_back(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let (file, path) = fifo(&engine, dir.path());
        let drops = Drops::default();
        let read = file.read(drops.buffer(100));
        engine.turn(Some(SOON));
        read.cancel();
        let (outcome, buffer) = engine.block_on(read);
        assert_eq!((outcome, drops.count()), (Err(Error::Cancelled), 0));
        drop(buffer);
        // The pipe still works, and no byte is lost to the cancelled read.
        fill(&path, b"next");
        let (read, buffer) = engine.block_on(file.read(vec![0; 100]));
        assert_eq!(&buffer[..read.unwrap()], b"next");
        assert_at_rest(&engine);
    }

    fn one_cancel_ends_one_of_many(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let (file, path) = fifo(&engine, dir.path());
        let (first, second) = (file.read(vec![0; 4]), file.read(vec![0; 4]));
        engine.turn(Some(SOON));
        first.cancel();
        assert_eq!(engine.block_on(first).0, Err(Error::Cancelled));
        fill(&path, b"here");
        assert_eq!(engine.block_on(second).1, b"here");
    }

    fn a_cancel_that_comes_too_late_changes_nothing(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let file = file_of(&engine, &dir.path().join("file"), &pattern(100, 1));
        let reads: Vec<_> = (0..100).map(|_| file.read_at(vec![0; 100], 0)).collect();
        reads.iter().for_each(auraio::OpFuture::cancel);
        for read in reads {
            match engine.block_on(read) {
                (Ok(read), buffer) => assert!(read == 100 && buffer == pattern(100, 1)),
                (Err(error), buffer) => assert_eq!((error, buffer), (Error::Cancelled, vec![0; 100])),
            }
        }
        let done = engine.submit(op::Nop);
        engine.turn(Some(SOON));
        done.cancel();
        done.cancel();
        let _ = engine.block_on(done);
        assert_at_rest(&engine);
    }

    fn a_dropped_future_frees_nothing_early_and_leaks_nothing(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let file = file_of(&engine, &dir.path().join("file"), &pattern(1 << 20, 1));
        let before = completed(&engine);
        let drops = Drops::default();
        for nth in 0..200 {
            drop(file.read_at(drops.buffer(4096), nth * 4096));
            // The statistics are read after the count, so each freed buffer's operation has completed by then.
            let freed = drops.count() as u64;
            assert!(freed <= completed(&engine) - before);
        }
        until(&engine, || drops.count() == 200);
        assert_eq!(completed(&engine) - before, 200);
        assert_at_rest(&engine);
    }

    fn a_dropped_read_of_a_pipe_is_cancelled_and_frees_its_buffer(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let (file, path) = fifo(&engine, dir.path());
        let drops = Drops::default();
        drop(file.read(drops.buffer(64)));
        until(&engine, || drops.count() == 1);
        fill(&path, b"for the next");
        assert_eq!(engine.block_on(file.read(vec![0; 12])).1, b"for the next");
        assert_at_rest(&engine);
    }

    fn a_dropped_future_completes_although_nobody_turns_the_engine(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let (file, _) = fifo(&engine, dir.path());
        let drops = Drops::default();
        drop(file.read(drops.buffer(64)));
        until_elsewhere(|| drops.count() == 1);
    }

    fn a_future_dropped_inside_block_on_leaks_nothing_after_it(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let (file, path) = fifo(&engine, dir.path());
        let drops = Drops::default();
        engine.block_on(async {
            drop(file.read(drops.buffer(64)));
            drop(file);
        });
        drop(engine);
        until_elsewhere(|| drops.count() == 1 && descriptors_of(&path) == 0);
    }

    fn futures_complete_after_their_engine_is_dropped(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let (file, path) = fifo(&engine, dir.path());
        let drops = Drops::default();
        let read = file.read(drops.buffer(4));
        drop(file);
        drop(engine);
        assert_eq!(drops.count(), 0);
        fill(&path, b"late");
        let (read, buffer) = pollster::block_on(read);
        assert_eq!((read, buffer.bytes.as_slice()), (Ok(4), b"late".as_slice()));
        drop(buffer);
        assert_eq!(drops.count(), 1);
        until_elsewhere(|| descriptors_of(&path) == 0);
    }

    fn when_everything_is_dropped_at_once_all_is_freed(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let path = dir.path().join("file");
        let file = file_of(&engine, &path, &pattern(1 << 20, 1));
        let (pipe, fifo) = fifo(&engine, dir.path());
        let drops = Drops::default();
        let mut futures: Vec<_> = (0..64).map(|nth| file.read_at(drops.buffer(16_384), nth * 16_384)).collect();
        futures.extend((0..4).map(|_| pipe.read(drops.buffer(16_384))));
        futures.extend((0..4).map(|_| file.read(drops.buffer(16_384))));
        drop((file, pipe, engine, futures));
        until_elsewhere(|| drops.count() == 72);
        until_elsewhere(|| descriptors_of(&path) == 0 && descriptors_of(&fifo) == 0);
    }

    fn futures_that_a_thread_leaves_behind_when_it_ends_are_freed(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let path = dir.path().join("file");
        let file = Arc::new(file_of(&engine, &path, &pattern(1 << 20, 1)));
        let (pipe, _) = fifo(&engine, dir.path());
        let pipe = Arc::new(pipe);
        let drops = Drops::default();
        for _ in 0..4 {
            let (engine, file, pipe, drops) = (engine.clone(), Arc::clone(&file), Arc::clone(&pipe), drops.clone());
            let left = thread::spawn(move || {
                drop(engine);
                for nth in 0..16 {
                    drop(file.read_at(drops.buffer(4096), nth * 4096));
                }
                drop(pipe.read(drops.buffer(10)));
            });
            left.join().unwrap();
        }
        until_elsewhere(|| drops.count() == 68);
    }

    fn a_file_whose_open_nobody_awaits_any_more_is_closed(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let path = dir.path().join("file");
        fs::write(&path, "x").unwrap();
        for _ in 0..20 {
            let open = engine.open(&path, reading());
            engine.turn(Some(SOON));
            drop(open);
            drop(engine.open(&path, reading()));
        }
        until(&engine, || submitted(&engine) == completed(&engine));
        assert_eq!(descriptors_of(&path), 0);
    }

    fn a_file_that_a_finished_thread_had_asked_for_is_closed(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let path = dir.path().join("file");
        fs::write(&path, "x").unwrap();
        for _ in 0..20 {
            let (engine, path) = (engine.clone(), path.clone());
            thread::spawn(move || drop(engine.open(path, reading()))).join().unwrap();
        }
        until(&engine, || submitted(&engine) == completed(&engine));
        until_elsewhere(|| descriptors_of(&path) == 0);
    }

    fn a_dropped_completion_closes_the_file_that_it_opened(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let path = dir.path().join("file");
        fs::write(&path, "x").unwrap();
        let mut port = engine.port().unwrap();
        port.submit_batch((0..10).map(|token| (op::Open::new(&engine, &path, reading()), token)));
        let mut completions: Vec<Completion> = Vec::new();
        port.wait_for(10, &mut completions);
        assert_eq!(completions.len(), 10);
        drop(completions);
        drop(port);
        assert_eq!(descriptors_of(&path), 0);
    }

    fn dropped_results_of_a_chain_close_the_files_that_they_opened(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let path = dir.path().join("file");
        fs::write(&path, "x").unwrap();
        let chain = || engine.chain().then(op::Nop).then(op::Open::new(&engine, &path, reading())).submit().unwrap();
        drop(chain());
        until(&engine, || submitted(&engine) == completed(&engine));
        assert_eq!(descriptors_of(&path), 0, "the future was dropped");
        drop(engine.block_on(chain()));
        assert_eq!(descriptors_of(&path), 0, "the results were dropped");
    }

    fn a_close_waits_for_operations_in_flight(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let (mine, other) = (dir.path().join("mine"), dir.path().join("other"));
        let bytes = pattern(100 * 100, 1);
        fs::write(&other, vec![0xff; 100 * 100]).unwrap();
        for _ in 0..20 {
            let file = file_of(&engine, &mine, &bytes);
            let reads: Vec<_> = (0..100).map(|nth| file.read_at(vec![0; 100], nth * 100)).collect();
            let close = file.close();
            // This open may get the descriptor's number as soon as it is free.
            let others: Vec<_> = (0..5).map(|_| engine.open(&other, reading())).collect();
            let plain = fs::File::open(&other).unwrap();
            engine.block_on(async {
                for (nth, read) in reads.into_iter().enumerate() {
                    let (read, buffer) = read.await;
                    assert_eq!(read.unwrap(), 100);
                    assert!(buffer == bytes[nth * 100..][..100], "read {nth} hit another file");
                }
                close.await.unwrap();
                for other in others {
                    other.await.unwrap();
                }
            });
            drop(plain);
            assert_eq!(descriptors_of(&mine), 0);
        }
        assert_at_rest(&engine);
    }

    fn a_close_waits_for_operations_that_wait_for_the_files_position(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let path = dir.path().join("file");
        let file = engine.block_on(engine.open(&path, creating())).unwrap();
        let writes: Vec<_> = (0..30).map(|nth| file.write(vec![nth; 10])).collect();
        let close = file.close();
        engine.block_on(async {
            close.await.unwrap();
            for write in writes {
                assert_eq!(write.await.0, Ok(10));
            }
        });
        assert!(fs::read(&path).unwrap().into_iter().eq((0..30).flat_map(|nth| [nth; 10])));
        assert_eq!(descriptors_of(&path), 0);
    }

    fn a_close_that_nobody_waits_for_happens(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let path = dir.path().join("file");
        let file = file_of(&engine, &path, b"x");
        let read = file.read_at(vec![0; 1], 0);
        drop(file.close());
        assert_eq!(engine.block_on(read).0, Ok(1));
        until(&engine, || descriptors_of(&path) == 0);
    }

    fn closing_a_pipe_ends_its_reads(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let (file, path) = fifo(&engine, dir.path());
        let drops = Drops::default();
        let reads: Vec<_> = (0..3).map(|_| file.read(drops.buffer(10))).collect();
        engine.turn(Some(SOON));
        engine.block_on(file.close()).unwrap();
        for read in reads {
            assert_eq!(engine.block_on(read).0.map(drop), Err(Error::Cancelled));
        }
        assert_eq!((drops.count(), descriptors_of(&path)), (3, 0));
        assert_at_rest(&engine);
    }

    fn closing_a_pipe_ends_reads_that_another_core_or_thread_started(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let (file, path) = fifo(&engine, dir.path());
        let file = Arc::new(file);
        let (send, receive) = mpsc::channel();
        let theirs = Arc::clone(&file);
        let reader = thread::spawn(move || {
            assert!(pin(0));
            let mut read = theirs.read(vec![0; 10]);
            drop(theirs);
            // Polled once, so that the kernel has it.
            let pending = Pin::new(&mut read).poll(&mut Context::from_waker(Waker::noop()));
            assert!(pending.is_pending());
            send.send(()).unwrap();
            pollster::block_on(read)
        });
        receive.recv().unwrap();
        if !pin(1) && rig.routing == Routing::Core {
            println!("one core only: the same ring serves both");
        }
        let file = Arc::into_inner(file).unwrap();
        engine.block_on(file.close()).unwrap();
        assert_eq!(reader.join().unwrap().0, Err(Error::Cancelled));
        assert_eq!(descriptors_of(&path), 0);
    }

    fn dropping_a_port_frees_its_operations_under_way(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let (path, other) = (dir.path().join("file"), dir.path().join("other"));
        let file = file_of(&engine, &path, &pattern(1 << 20, 1));
        fs::write(&other, "").unwrap();
        let (pipe, _) = fifo(&engine, dir.path());
        let drops = Drops::default();
        let mut port = engine.port().unwrap();
        for nth in 0..64 {
            port.submit(op::Read::at(&file, drops.buffer(4096), nth * 4096), nth);
            port.submit(op::Read::at_position(&file, drops.buffer(4096)), nth);
        }
        port.submit(op::Read::at_position(&pipe, drops.buffer(10)), 100);
        port.flush();
        port.submit(op::Read::at_position(&pipe, drops.buffer(10)), 101);
        port.submit(op::Open::new(&engine, &other, reading()), 102);
        assert_eq!(port.outstanding(), 131);
        assert_eq!(drops.count(), 0);
        drop(port);
        assert_eq!(drops.count(), 130);
        assert_eq!(descriptors_of(&other), 0);
        assert_at_rest(&engine);
    }

    fn a_port_works_after_its_engine_is_dropped(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let (pipe, path) = fifo(&engine, dir.path());
        let drops = Drops::default();
        let mut port = engine.port().unwrap();
        port.submit(op::Read::at_position(&pipe, drops.buffer(4)), 1);
        port.flush();
        drop((engine, pipe));
        fill(&path, b"here");
        let mut completions = Vec::new();
        assert_eq!(port.wait(&mut completions, None), 1);
        let (read, buffer) = completions.remove(0).into_output::<op::Read<Counted>>();
        assert_eq!((read, buffer.bytes.as_slice()), (Ok(4), b"here".as_slice()));
        drop(port);
        assert_eq!((drops.count(), descriptors_of(&path)), (0, 0));
    }

    fn a_drain_cancels_waits_and_lets_the_port_go_on(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let (pipe, path) = fifo(&engine, dir.path());
        let drops = Drops::default();
        let mut port = engine.port().unwrap();
        port.submit(op::Read::at_position(&pipe, drops.buffer(4)), 1);
        port.flush();
        assert!(port.drain(None));
        assert_eq!((port.outstanding(), drops.count()), (0, 1));
        fill(&path, b"more");
        port.submit(op::Read::at_position(&pipe, drops.buffer(4)), 2);
        let mut completions = Vec::new();
        port.wait(&mut completions, None);
        assert_eq!(completions.remove(0).into_output::<op::Read<Counted>>().1.bytes, b"more");
    }

    fn threads_that_close_while_others_read_never_hit_another_file(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let start = Arc::new(Barrier::new(4));
        let workers: Vec<_> = (0..4u8)
            .map(|mine| {
                let (engine, start, path) = (engine.clone(), Arc::clone(&start), dir.path().join(mine.to_string()));
                fs::write(&path, vec![mine; 4096]).unwrap();
                thread::spawn(move || {
                    start.wait();
                    for _ in 0..50 {
                        engine.block_on(async {
                            let file = engine.open(&path, reading()).await.unwrap();
                            let reads: Vec<_> = (0..8).map(|nth| file.read_at(vec![0xee; 512], nth * 512)).collect();
                            let close = file.close();
                            for read in reads {
                                assert_eq!(read.await, (Ok(512), vec![mine; 512]));
                            }
                            close.await.unwrap();
                        });
                    }
                })
            })
            .collect();
        for worker in workers {
            worker.join().unwrap();
        }
        assert_at_rest(&engine);
    }
}
