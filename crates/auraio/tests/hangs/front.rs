//! Waiting for a port on another thread, and turning the engine.

use std::{fs, os::unix::net::UnixStream, thread, time::Duration};

use auraio::{Port, op};

use crate::{
    support::*,
    watch::{poll_once, threads_named, until},
};

/// The thread that the engine reaps with where nobody else does.
const OWN_THREAD: &str = "auraio-reap";

/// Gives every descriptor that a dropped port had to somebody else, who stays silent.
fn take_numbers(port: Port) -> Vec<(UnixStream, UnixStream)> {
    drop(port);
    (0..16).map(|_| UnixStream::pair().unwrap()).collect()
}

/// Waits until another thread sleeps in a wait for descriptors, or has ended.
fn until_it_sleeps(thread: &thread::JoinHandle<()>, id: i32) {
    let polls = [libc::SYS_poll, libc::SYS_ppoll, libc::SYS_epoll_pwait];
    until(|| {
        let call = fs::read_to_string(format!("/proc/self/task/{id}/syscall")).unwrap_or_default();
        let number = call.split(' ').next().and_then(|number| number.parse().ok());
        thread.is_finished() || number.is_some_and(|number| polls.contains(&number))
    });
}

/// A thread that waits with `wait`, once it does.
fn waits(wait: impl FnOnce() + Send + 'static) -> thread::JoinHandle<()> {
    let (tell, told) = std::sync::mpsc::channel();
    let thread = thread::spawn(move || {
        // SAFETY: it takes nothing.
        tell.send(unsafe { libc::gettid() }).unwrap();
        wait();
    });
    until_it_sleeps(&thread, told.recv().unwrap());
    thread
}

scenarios! {
    fn a_wait_for_a_port_that_is_gone_ends(rig) {
        let engine = rig.engine();
        let port = engine.port().unwrap();
        let waiter = port.waiter();
        let others = take_numbers(port);
        waiter.wait(None);
        waiter.clone().wait(Some(Duration::from_secs(3600)));
        waiter.interrupt();
        drop(others);
    }

    fn a_wait_ends_with_its_port(rig) {
        let engine = rig.engine();
        let mut port = engine.port().unwrap();
        port.submit(op::Nop, 1);
        assert_eq!(port.wait_for(1, &mut Vec::new()), 1);
        let waiter = port.waiter();
        let waiting = waits(move || waiter.wait(None));
        drop(port);
        waiting.join().unwrap();
    }

    fn waits_of_many_threads_end_with_their_port(rig) {
        let engine = rig.engine();
        let port = engine.port().unwrap();
        let waiting: Vec<_> = (0..4)
            .map(|_| {
                let waiter = port.waiter();
                waits(move || waiter.wait(None))
            })
            .collect();
        drop(port);
        waiting.into_iter().for_each(|thread| thread.join().unwrap());
    }

    fn a_waiter_and_a_waker_outlive_everything(rig) {
        let engine = rig.engine();
        let port = engine.port().unwrap();
        let (waiter, waker) = (port.waiter(), port.waker());
        drop(port);
        drop(engine);
        waker.wake_by_ref();
        waiter.interrupt();
        thread::spawn(move || waiter.wait(None)).join().unwrap();
        waker.wake();
    }

    fn a_turn_starts_no_thread(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let file = file_of(&engine, &dir.path().join("file"), b"x");
        let (pipe, _) = fifo(&engine, dir.path());
        let waits = pipe.read(vec![0; 4]);
        let read = file.read_at(vec![0; 1], 0);
        for _ in 0..3 {
            engine.turn(Some(Duration::ZERO));
            engine.turn(Some(Duration::from_millis(1)));
        }
        assert_eq!(threads_named(OWN_THREAD), 0);
        assert_eq!(pollster::block_on(read).0, Ok(1));
        drop(waits);
        engine.block_on(pipe.close()).unwrap();
    }

    fn a_loop_that_drives_here_starts_no_thread(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let file = file_of(&engine, &dir.path().join("file"), b"x");
        let (pipe, path) = fifo(&engine, dir.path());
        let driving = engine.drive_here();
        let mut read = pipe.read(vec![0; 4]);
        drop(file.read_at(vec![0; 1], 0));
        for nth in 0.. {
            if poll_once(&mut read).is_ready() {
                break;
            }
            if nth == 3 {
                fill(&path, b"here");
            }
            engine.turn(Some(Duration::from_millis(1)));
        }
        for mut close in [file.close(), pipe.close()] {
            while poll_once(&mut close).is_pending() {
                engine.turn(None);
            }
        }
        assert_eq!(threads_named(OWN_THREAD), 0);
        drop(driving);
        pollster::block_on(engine.submit(op::Nop)).unwrap();
    }

    fn guards_of_two_engines_end_in_any_order(rig) {
        let (one, two) = (rig.engine(), rig.engine());
        let (first, second) = (one.drive_here(), two.drive_here());
        drop(first);
        let mut nop = two.submit(op::Nop);
        while poll_once(&mut nop).is_pending() {
            two.turn(None);
        }
        assert_eq!(threads_named(OWN_THREAD), 0);
        pollster::block_on(one.submit(op::Nop)).unwrap();
        // It leaves what was begun to the engine's own thread.
        let rest = two.submit(op::Nop);
        drop(second);
        pollster::block_on(rest).unwrap();
    }

    fn what_a_turn_leaves_behind_completes_elsewhere(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let (pipe, path) = fifo(&engine, dir.path());
        let mut read = pipe.read(vec![0; 4]);
        engine.turn(Some(Duration::ZERO));
        assert!(poll_once(&mut read).is_pending());
        engine.turn(Some(Duration::ZERO));
        fill(&path, b"here");
        assert_eq!(pollster::block_on(read).1, b"here");
        drop(pipe.read(vec![0; 4]));
        engine.turn(Some(Duration::ZERO));
        pollster::block_on(pipe.close()).unwrap();
    }
}
