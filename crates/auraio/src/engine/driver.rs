//! The driver: a thread that reaps for futures while their executor sleeps. It is started when the first future on a foreign
//! executor has to wait. It sleeps on the descriptors of the rings that it was asked to watch, and on a bell. A ring is no
//! longer watched once nothing is under way on it: a thread that polls often enough reaps by itself, and is not disturbed.
//! The driver holds the engine only while it works.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use super::{Shared, waiters};
use crate::{
    lanes,
    ring::Ring,
    sys::{self, Bell, Descriptor},
};

pub(crate) struct Driver {
    thread: Option<JoinHandle<()>>,
    control: Option<Arc<Control>>,
}

struct Control {
    stop: AtomicBool,
    bell: Bell,
}

impl Driver {
    /// Starts the thread. If the system has none, futures still complete when they are polled.
    pub(crate) fn start(engine: Weak<Shared>) -> Self {
        let Ok(bell) = Bell::new() else { return Self { thread: None, control: None } };
        let control = Arc::new(Control { stop: AtomicBool::new(false), bell });
        let theirs = Arc::clone(&control);
        let thread = thread::Builder::new().name("auraio-reap".into()).spawn(move || run(&engine, &theirs)).ok();
        Self { thread, control: Some(control) }
    }

    /// Makes the thread look at the rings again: there is a new one, or something waits that no completion will move on.
    pub(crate) fn look_again(&self) {
        if let Some(control) = &self.control {
            control.bell.ring();
        }
    }

    /// Ends the thread, and waits for its end. If the driver's own thread calls this, it does not wait.
    pub(crate) fn stop(self) {
        if let Some(control) = &self.control {
            control.stop.store(true, Ordering::SeqCst);
            control.bell.ring();
        }
        if let Some(thread) = self.thread
            && thread.thread().id() != thread::current().id()
        {
            // If the thread panicked, that was reported when it happened.
            let _ = thread.join();
        }
    }
}

fn run(engine: &Weak<Shared>, control: &Control) {
    while !control.stop.load(Ordering::SeqCst) {
        control.bell.quiet();
        let Some(engine) = engine.upgrade() else { return };
        engine.reap_all();
        let rings = engine.rings();
        let stuck = rings.iter().any(|ring| ring.counters.is_stuck());
        let descriptors: Vec<Descriptor> = rings
            .iter()
            .filter(|ring| ring.may_submit() && ring.is_watched())
            .flat_map(|ring| ring.descriptors().iter().copied())
            .chain(control.bell.descriptor())
            .collect();
        let working: Vec<Weak<Ring>> =
            rings.iter().filter(|ring| ring.is_working() && ring.is_watched()).map(Arc::downgrade).collect();
        // Nothing rings for what the kernel could not take, nor for what another thread reaps last.
        let look = if stuck { Some(Duration::from_millis(1)) } else { engine.waiters().any().then_some(waiters::LOOK) };
        // The engine must be able to end while this thread sleeps; its rings' descriptors are then no longer ours to
        // look at, but the bell has been rung before they are closed.
        drop(engine);
        drop(rings);
        let began = lanes::now();
        for ring in working.iter().filter_map(Weak::upgrade) {
            ring.falls_asleep(began);
        }
        let _ = sys::poll_readable(&descriptors, look);
        let ended = lanes::now();
        for ring in working.iter().filter_map(Weak::upgrade) {
            ring.woke(began, ended);
        }
    }
}
