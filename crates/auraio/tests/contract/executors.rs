//! Futures work on every executor, and on any thread.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::{Arc, mpsc},
    task::{Context, Poll, Waker},
    thread,
    time::Duration,
};

use auraio::{Engine, op};

use crate::support::*;

/// Writes and reads a range of its own, a few times.
async fn work(engine: Engine, file: Arc<auraio::File>, mine: u64, rounds: u64) {
    for round in 0..rounds {
        let bytes = pattern(64, (mine * 1000 + round) as usize);
        assert_eq!(file.write_at(bytes.clone(), mine * 64).await.0, Ok(64));
        assert_eq!(file.read_at(vec![0; 64], mine * 64).await, (Ok(64), bytes));
        engine.submit(op::Nop).await.unwrap();
    }
}

fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

properties! {
    fn futures_work_on_tokio(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let file = Arc::new(file_of(&engine, &dir.path().join("file"), b""));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(3).build().unwrap();
        let tasks: Vec<_> =
            (0..32).map(|mine| runtime.spawn(work(engine.clone(), Arc::clone(&file), mine, 10))).collect();
        runtime.block_on(async {
            for task in tasks {
                task.await.unwrap();
            }
        });
        drop(runtime);
        assert_eq!(completed(&engine), submitted(&engine));
        assert_at_rest(&engine);
    }

    fn futures_work_on_pollster(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let file = Arc::new(file_of(&engine, &dir.path().join("file"), b""));
        pollster::block_on(work(engine.clone(), Arc::clone(&file), 3, 50));
        let (pipe, path) = fifo(&engine, dir.path());
        let writer = thread::spawn(move || fill(&path, b"late"));
        assert_eq!(pollster::block_on(pipe.read(vec![0; 4])).1, b"late");
        writer.join().unwrap();
        let chain = engine.chain().then(op::Nop).then(op::Sync::all(&file)).submit().unwrap();
        assert!(pollster::block_on(chain).all_succeeded());
        assert_at_rest(&engine);
    }

    fn a_future_may_move_to_another_thread_between_polls(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let (pipe, path) = fifo(&engine, dir.path());
        let mut read = pipe.read(vec![0; 4]);
        assert!(poll_once(&mut read).is_pending());
        let (send, receive) = mpsc::channel();
        let other = thread::spawn(move || {
            let mut read = read;
            assert!(poll_once(&mut read).is_pending());
            send.send(()).unwrap();
            pollster::block_on(read).1
        });
        receive.recv().unwrap();
        fill(&path, b"over");
        assert_eq!(other.join().unwrap(), b"over");
        assert_at_rest(&engine);
    }

    fn the_waker_of_the_last_poll_is_the_one_that_is_woken(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let (pipe, path) = fifo(&engine, dir.path());
        let mut read = pipe.read(vec![0; 4]);
        // First inside this engine's own block_on. That has ended afterwards, so no thread drives the ring.
        engine.block_on(poll_fn(|context| {
            assert!(Pin::new(&mut read).poll(context).is_pending());
            Poll::Ready(())
        }));
        let writer = thread::spawn(move || fill(&path, b"away"));
        assert_eq!(pollster::block_on(read).1, b"away");
        writer.join().unwrap();
    }

    fn block_on_makes_a_submission_again_that_the_kernel_refuses_for_now(rig) {
        let Some(engine) = rig.reluctant() else { return };
        for _ in 0..20 {
            engine.block_on(engine.submit(op::Nop)).unwrap();
        }
        assert_at_rest(&engine);
    }

    fn under_a_foreign_executor_a_submission_is_made_again_that_the_kernel_refuses_for_now(rig) {
        let Some(engine) = rig.reluctant() else { return };
        assert!(pin(0));
        for _ in 0..200 {
            pollster::block_on(engine.submit(op::Nop)).unwrap();
        }
        assert_at_rest(&engine);
    }

    fn block_on_may_be_nested(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let file = file_of(&engine, &dir.path().join("file"), b"inner and outer");
        let (outer, inner) = engine.block_on(async {
            let outer = file.read_at(vec![0; 5], 10);
            let inner = engine.block_on(async {
                engine.block_on(engine.submit(op::Nop)).unwrap();
                file.read_at(vec![0; 5], 0).await.1
            });
            (outer.await.1, inner)
        });
        assert_eq!((inner.as_slice(), outer.as_slice()), (b"inner".as_slice(), b"outer".as_slice()));
        assert_at_rest(&engine);
    }

    fn one_engine_serves_futures_inside_the_block_on_of_another(rig) {
        let (engine, other, dir) = (rig.engine(), rig.engine(), dir());
        let (pipe, path) = fifo(&engine, dir.path());
        let read = pipe.read(vec![0; 4]);
        let (send, receive) = mpsc::channel();
        let writer = thread::spawn(move || {
            receive.recv().unwrap();
            fill(&path, b"both");
        });
        let (read, buffer) = other.block_on(async {
            let mut read = read;
            assert!(poll_once(&mut read).is_pending());
            other.submit(op::Nop).await.unwrap();
            send.send(()).unwrap();
            read.await
        });
        assert_eq!((read, buffer), (Ok(4), b"both".to_vec()));
        writer.join().unwrap();
    }

    fn a_future_of_another_kind_wakes_block_on(rig) {
        let engine = rig.engine();
        let (send, receive) = mpsc::channel::<Waker>();
        let other = thread::spawn(move || receive.recv().unwrap().wake());
        let mut polls = 0;
        engine.block_on(poll_fn(|context| {
            polls += 1;
            if polls > 1 {
                return Poll::Ready(());
            }
            send.send(context.waker().clone()).unwrap();
            Poll::Pending
        }));
        assert_eq!(polls, 2);
        other.join().unwrap();
    }

    fn operations_that_another_thread_starts_while_this_one_blocks_are_served(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let (pipe, path) = fifo(&engine, dir.path());
        let theirs = engine.clone();
        let other = thread::spawn(move || {
            theirs.block_on(theirs.submit(op::Nop)).unwrap();
            pollster::block_on(theirs.submit(op::Nop)).unwrap();
            fill(&path, b"done");
        });
        assert_eq!(engine.block_on(pipe.read(vec![0; 4])).1, b"done");
        other.join().unwrap();
    }

    fn calls_of_turn_alone_complete_a_future(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let file = file_of(&engine, &dir.path().join("file"), &pattern(1000, 1));
        let mut read = file.read_at(vec![0; 1000], 0);
        let (outcome, buffer) = loop {
            match poll_once(&mut read) {
                Poll::Ready(done) => break done,
                Poll::Pending => engine.turn(Some(Duration::from_millis(10))),
            }
        };
        assert_eq!(outcome, Ok(1000));
        assert!(buffer == pattern(1000, 1));
        // When there is nothing to do, it does not wait longer than it is told to.
        engine.turn(Some(Duration::ZERO));
        engine.turn(Some(Duration::from_millis(1)));
        assert_at_rest(&engine);
    }

    fn a_turn_hands_queued_operations_over(rig) {
        let engine = rig.builder().submit_batch(32).build().unwrap();
        let nops: Vec<_> = (0..10).map(|_| engine.submit(op::Nop)).collect();
        until(&engine, || completed(&engine) == 10);
        engine.block_on(async {
            for nop in nops {
                nop.await.unwrap();
            }
        });
    }

    fn many_threads_share_an_engine(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let file = Arc::new(file_of(&engine, &dir.path().join("file"), &[0; 512]));
        let before = completed(&engine);
        let threads: Vec<_> = (0..8)
            .map(|mine| {
                let (engine, file) = (engine.clone(), Arc::clone(&file));
                thread::spawn(move || {
                    engine.block_on(async {
                        for batch in 0..10 {
                            let reads: Vec<_> = (0..24).map(|_| file.read_at(vec![0; 8], mine * 64)).collect();
                            let nops: Vec<_> = (0..25).map(|_| engine.submit(op::Nop)).collect();
                            for read in reads {
                                assert_eq!(read.await.0, Ok(8));
                            }
                            for nop in nops {
                                nop.await.unwrap();
                            }
                            assert_eq!(file.write_at(vec![batch; 64], mine * 64).await.0, Ok(64));
                        }
                    });
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        if rig.routing == auraio::Routing::Core {
            assert_eq!(completed(&engine) - before, 8 * 500);
        }
        assert_at_rest(&engine);
    }

    fn many_threads_share_an_engine_on_foreign_executors(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let file = Arc::new(file_of(&engine, &dir.path().join("file"), &[0; 512]));
        let threads: Vec<_> = (0..8)
            .map(|mine| {
                let work = work(engine.clone(), Arc::clone(&file), mine, 60);
                thread::spawn(move || pollster::block_on(work))
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        assert_at_rest(&engine);
    }
}
