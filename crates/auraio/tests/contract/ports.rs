//! Ports: operations are submitted, and their completions are taken.

use std::{
    sync::{Arc, Barrier, mpsc},
    thread,
    time::Duration,
};

use auraio::{Completion, Engine, Error, Port, Routing, op};

use crate::support::*;

fn tokens(completions: &[Completion]) -> Vec<u64> {
    let mut tokens: Vec<u64> = completions.iter().map(Completion::token).collect();
    tokens.sort_unstable();
    tokens
}

fn port_completed(port: &Port) -> u64 {
    port.ring_stats().iter().map(|ring| ring.completed).sum()
}

properties! {
    fn every_token_comes_out_once_with_its_result(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let file = file_of(&engine, &dir.path().join("file"), &pattern(64_000, 1));
        let mut port = engine.port().unwrap();
        for token in 0..500 {
            port.submit(op::Read::at(&file, vec![0; 64], token * 128), token);
        }
        port.submit_batch((500..1000).map(|token| (op::Nop, token)));
        assert_eq!(port.outstanding(), 1000);
        let mut completions = Vec::new();
        assert_eq!(port.wait_for(1000, &mut completions), 1000);
        assert_eq!(port.outstanding(), 0);
        assert_eq!(tokens(&completions), (0..1000).collect::<Vec<_>>());
        for completion in completions {
            let token = completion.token();
            if token >= 500 {
                assert_eq!((completion.raw_result(), completion.into_output::<op::Nop>()), (0, Ok(())));
                continue;
            }
            assert_eq!(completion.raw_result(), 64);
            let (read, buffer) = completion.into_output::<op::Read<Vec<u8>>>();
            assert_eq!(read, Ok(64));
            assert!(buffer == pattern(64_000, 1)[token as usize * 128..][..64]);
        }
        assert_eq!(port.wait(&mut Vec::new(), None), 0, "nothing is under way");
        assert_eq!(port.backend(), engine.backend());
        assert_at_rest(&engine);
    }

    fn a_port_reports_the_same_errors_as_a_future(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let mut port = engine.port().unwrap();
        port.submit(op::Open::new(&engine, dir.path().join("none"), reading()), 1);
        port.submit(op::Open::new(&engine, "a\0b", reading()), 2);
        port.submit_batch([(op::CreateDir::new("a\0b"), 3), (op::CreateDir::new(dir.path()), 4)]);
        let mut completions = Vec::new();
        port.wait_for(4, &mut completions);
        completions.sort_by_key(Completion::token);
        let raw: Vec<i64> = completions.iter().map(Completion::raw_result).collect();
        assert_eq!(raw, [libc::ENOENT, libc::EINVAL, libc::EINVAL, libc::EEXIST].map(|errno| i64::from(-errno)));
        let last = completions.pop().unwrap().into_output::<op::CreateDir>();
        assert!(matches!(last, Err(Error::Os { errno: libc::EEXIST, call: "mkdir", path: Some(_) })));
        assert_eq!(completions.pop().unwrap().into_output::<op::CreateDir>(), Err(Error::NulInPath("a\0b".into())));
        let refused = completions.pop().unwrap().into_output::<op::Open>();
        assert_eq!(refused.map(drop), Err(Error::NulInPath("a\0b".into())));
    }

    fn a_port_never_has_more_in_flight_than_the_queue_depth(rig) {
        let dir = dir();
        let engine = rig.builder().queue_depth(4).build().unwrap();
        let file = file_of(&engine, &dir.path().join("file"), &pattern(4096, 1));
        assert!(pin(0));
        let mut port = engine.port().unwrap();
        let mut completions = Vec::new();
        let within = |port: &Port| assert!(port.ring_stats().iter().all(|ring| ring.in_flight <= 4), "{port:?}");
        port.submit_batch((0..200).map(|token| (op::Read::at(&file, vec![0; 16], token), token)));
        within(&port);
        while completions.len() < 200 {
            port.wait(&mut completions, None);
            within(&port);
        }
        assert_eq!(tokens(&completions), (0..200).collect::<Vec<_>>());
    }

    fn queued_operations_stay_until_they_are_flushed(rig) {
        let engine = rig.builder().submit_batch(32).build().unwrap();
        assert!(pin(0));
        let mut port = engine.port().unwrap();
        let mut completions = Vec::new();
        port.submit_batch((0..10).map(|token| (op::Nop, token)));
        assert_eq!(port.reap(&mut completions), 0);
        assert_eq!(port.ring_stats().iter().map(|ring| ring.queued).sum::<u64>(), 10);
        port.flush();
        while completions.len() < 10 {
            port.wait(&mut completions, None);
        }
        assert_eq!(tokens(&completions), (0..10).collect::<Vec<_>>());
    }

    fn a_wait_without_operations_ends_when_its_time_is_over(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let (pipe, _) = fifo(&engine, dir.path());
        let mut port = engine.port().unwrap();
        let ticket = port.submit(op::Read::at(&pipe, vec![0; 8], 0), 1);
        let mut completions = Vec::new();
        assert_eq!(port.wait(&mut completions, Some(Duration::ZERO)), 0);
        assert_eq!(port.wait(&mut completions, Some(Duration::from_millis(5))), 0);
        port.cancel(ticket);
        assert_eq!(port.wait(&mut completions, None), 1);
        assert_eq!(completions.remove(0).into_output::<op::Read<Vec<u8>>>(), (Err(Error::Cancelled), vec![0; 8]));
        // An operation whose completion was taken cannot be cancelled.
        port.cancel(ticket);
        port.submit(op::Nop, 2);
        port.cancel(ticket);
        port.wait(&mut completions, None);
        assert_eq!(completions.remove(0).into_output::<op::Nop>(), Ok(()));
        assert_at_rest(&engine);
    }

    fn waiting_for_some_counts_completions_that_needed_no_kernel(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let file = file_of(&engine, &dir.path().join("file"), b"x");
        let (pipe, _) = fifo(&engine, dir.path());
        let mut port = engine.port().unwrap();
        let mut completions = Vec::new();
        port.submit(op::Read::at(&pipe, vec![0; 8], 0), 1);
        port.flush();
        // The results of a transfer of nothing and of a refused operation are known at once. A stat of a local file is performed
        // at once.
        port.submit(op::Read::at(&file, Vec::new(), 0), 2);
        port.submit(op::CreateDir::new("a\0b"), 3);
        assert!(port.has_early());
        assert_eq!(port.wait_for(2, &mut completions), 2);
        port.submit(op::Stat::file(&file), 4);
        port.wait_for(1, &mut completions);
        assert_eq!(tokens(&completions), [2, 3, 4]);
    }

    fn a_port_that_waits_makes_a_submission_again_that_the_kernel_refuses_for_now(rig) {
        let Some(engine) = rig.reluctant() else { return };
        assert!(pin(0));
        let mut port = engine.port().unwrap();
        for round in 0..20 {
            let mut completions = Vec::new();
            port.submit(op::Nop, round);
            assert_eq!(port.wait(&mut completions, None), 1);
            port.submit(op::Nop, round);
            assert_eq!(port.wait_for(1, &mut completions), 1);
        }
        assert_at_rest(&engine);
    }

    fn completions_that_another_thread_finds_reach_the_port_that_submitted(rig) {
        if rig.routing == Routing::Thread {
            println!("skipped: with Routing::Thread no two ports share a ring");
            return;
        }
        let engine = rig.engine();
        let both = Arc::new(Barrier::new(2));
        let (theirs, other) = (Arc::clone(&both), engine.clone());
        let finder = thread::spawn(move || {
            assert!(pin(0));
            let mut port = other.port().unwrap();
            theirs.wait();
            port.submit_batch((100..110).map(|token| (op::Nop, token)));
            let mut completions = Vec::new();
            while port_completed(&port) < 20 {
                port.poll(&mut completions);
            }
            port.poll(&mut completions);
            assert_eq!(tokens(&completions), (100..110).collect::<Vec<_>>());
            theirs.wait();
        });
        assert!(pin(0));
        let mut port = engine.port().unwrap();
        port.submit_batch((0..10).map(|token| (op::Nop, token)));
        port.flush();
        both.wait();
        both.wait();
        assert_eq!(engine.stats().rings.len(), 1, "pinned to one core, so on one ring");
        assert!(port.has_early());
        let mut completions = Vec::new();
        assert_eq!(port.reap(&mut completions), 10);
        assert_eq!(tokens(&completions), (0..10).collect::<Vec<_>>());
        finder.join().unwrap();
        assert_at_rest(&engine);
    }

    fn a_port_that_sleeps_is_woken_by_completions_that_another_thread_finds(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let (pipe, path) = fifo(&engine, dir.path());
        let other = engine.clone();
        let (send, receive) = mpsc::channel::<()>();
        let finder = thread::spawn(move || {
            assert!(pin(0));
            receive.recv().unwrap();
            let mut port = other.port().unwrap();
            fill(&path, b"up");
            for round in 0..100 {
                port.submit_batch((0..10).map(|token| (op::Nop, token)));
                port.wait_for(10, &mut Vec::new());
                other.turn(Some(Duration::ZERO));
                assert!(round < 100);
            }
        });
        assert!(pin(0));
        let mut port = engine.port().unwrap();
        port.submit(op::Read::at(&pipe, vec![0; 2], 0), 9);
        port.flush();
        send.send(()).unwrap();
        let mut completions = Vec::new();
        assert_eq!(port.wait(&mut completions, None), 1);
        assert_eq!(completions.remove(0).into_output::<op::Read<Vec<u8>>>(), (Ok(2), b"up".to_vec()));
        finder.join().unwrap();
    }

    fn ports_of_many_threads_keep_apart(rig) {
        let engine = rig.engine();
        let threads: Vec<_> = (0..8u64)
            .map(|mine| {
                let engine = engine.clone();
                thread::spawn(move || {
                    let mut port = engine.port().unwrap();
                    let mut completions = Vec::new();
                    for batch in 0..25 {
                        port.submit_batch((0..20).map(|nth| (op::Nop, mine << 32 | (batch * 20 + nth))));
                        if batch % 3 == 0 {
                            port.wait_for(20, &mut completions);
                        } else {
                            port.poll(&mut completions);
                        }
                    }
                    while port.outstanding() > 0 {
                        port.wait(&mut completions, None);
                    }
                    assert_eq!(tokens(&completions), (0..500).map(|nth| mine << 32 | nth).collect::<Vec<_>>());
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        assert_at_rest(&engine);
    }

    fn another_thread_can_wait_for_a_port(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let (pipe, path) = fifo(&engine, dir.path());
        assert!(pin(0));
        let mut port = engine.port().unwrap();
        port.submit(op::Read::at(&pipe, vec![0; 2], 0), 1);
        port.flush();
        let waiter = port.waiter();
        let (ask, asked) = mpsc::channel::<()>();
        let (tell, told) = mpsc::channel::<()>();
        let watcher = thread::spawn(move || {
            while asked.recv().is_ok() {
                waiter.wait(None);
                tell.send(()).unwrap();
            }
        });
        fill(&path, b"in");
        let mut completions = Vec::new();
        while completions.is_empty() {
            ask.send(()).unwrap();
            told.recv().unwrap();
            port.poll(&mut completions);
        }
        assert_eq!(completions.remove(0).into_output::<op::Read<Vec<u8>>>(), (Ok(2), b"in".to_vec()));
        ask.send(()).unwrap();
        port.waiter().interrupt();
        told.recv().unwrap();
        drop(ask);
        watcher.join().unwrap();
        // A poll clears the interruption, and a wait for nothing ends when its time is over.
        port.poll(&mut completions);
        port.waiter().wait(Some(Duration::from_millis(1)));
    }

    fn the_descriptors_that_a_loop_watches_are_readable_when_an_operation_has_completed(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let (pipe, path) = fifo(&engine, dir.path());
        assert!(pin(0));
        let mut port = engine.port().unwrap();
        port.submit(op::Read::at(&pipe, vec![0; 2], 0), 1);
        port.flush();
        let watched = port.descriptors();
        fill(&path, b"ab");
        let mut completions = Vec::new();
        while completions.is_empty() {
            let mut polls: Vec<_> =
                watched.iter().map(|&fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 }).collect();
            // SAFETY: the list has this many entries.
            let ready = unsafe { libc::poll(polls.as_mut_ptr(), polls.len() as libc::nfds_t, -1) };
            assert!(ready > 0);
            port.poll(&mut completions);
        }
        assert_eq!(port.descriptors(), watched, "they do not change");
    }

    fn a_close_through_a_port_waits_for_futures_of_the_file(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let path = dir.path().join("file");
        let file = file_of(&engine, &path, b"contents");
        let mut port = engine.port().unwrap();
        let read = file.read_at(vec![0; 8], 0);
        port.submit(op::Read::at(&file, vec![0; 8], 0), 1);
        port.submit(op::Close::new(file), 2);
        let mut completions = Vec::new();
        let read = thread::spawn(move || pollster::block_on(read));
        while completions.len() < 2 {
            port.wait(&mut completions, None);
        }
        assert_eq!(tokens(&completions), [1, 2]);
        assert_eq!(read.join().unwrap(), (Ok(8), b"contents".to_vec()));
        assert_eq!(descriptors_of(&path), 0);
    }

    fn futures_and_ports_share_a_thread(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let file = file_of(&engine, &dir.path().join("file"), b"contents");
        let mut port = engine.port().unwrap();
        let mut completions = Vec::new();
        for round in 0..50 {
            port.submit(op::Read::at(&file, vec![0; 8], 0), round);
            engine.block_on(async {
                assert_eq!(file.read_at(vec![0; 4], 4).await.1, b"ents");
            });
            if round % 10 == 9 {
                port.wait_for(1, &mut completions);
            }
        }
        while port.outstanding() > 0 {
            port.wait(&mut completions, None);
        }
        assert_eq!(tokens(&completions), (0..50).collect::<Vec<_>>());
        assert_at_rest(&engine);
    }
}

#[test]
fn the_types_that_cross_threads_are_send_and_the_shared_ones_sync() {
    fn crosses<T: Send>() {}
    crosses::<Completion>();
    crosses::<auraio::PortWaiter>();
    crosses::<auraio::OpFuture<op::Read<Vec<u8>>>>();
    crosses::<auraio::ChainFuture>();
    crosses::<auraio::File>();
    fn shared<T: Send + Sync>() {}
    shared::<Engine>();
    shared::<auraio::File>();
}
