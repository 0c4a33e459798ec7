//! Wakers are code of the caller's: to clone one, to wake it and to drop it may use the engine, and may panic. Nobody
//! else's operation suffers.

use std::{
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, RawWaker, RawWakerVTable, Wake, Waker},
    time::Duration,
};

use auraio::{Engine, File, OpFuture, op};

use crate::{
    support::*,
    watch::{poll_once, until},
};

type Call = Box<dyn FnMut() + Send>;

/// A waker that calls something when it is woken and when its last clone is dropped.
struct Calls {
    on_wake: Mutex<Option<Call>>,
    on_drop: Mutex<Option<Call>>,
}

impl Calls {
    fn on_wake(call: impl FnMut() + Send + 'static) -> Waker {
        Waker::from(Arc::new(Self { on_wake: Mutex::new(Some(Box::new(call))), on_drop: Mutex::default() }))
    }

    fn on_drop(call: impl FnMut() + Send + 'static) -> Waker {
        Waker::from(Arc::new(Self { on_wake: Mutex::default(), on_drop: Mutex::new(Some(Box::new(call))) }))
    }
}

impl Wake for Calls {
    fn wake(self: Arc<Self>) {
        // Taken out, so that a panic leaves nothing poisoned.
        let call = self.on_wake.lock().unwrap().take();
        call.into_iter().for_each(|mut call| call());
    }
}

impl Drop for Calls {
    fn drop(&mut self) {
        let call = self.on_drop.get_mut().unwrap().take();
        call.into_iter().for_each(|mut call| call());
    }
}

/// A waker that panics when it is cloned.
fn panics_when_cloned() -> Waker {
    fn clone(_: *const ()) -> RawWaker {
        panic!("a waker that cannot be cloned")
    }
    fn nothing(_: *const ()) {}
    const TABLE: RawWakerVTable = RawWakerVTable::new(clone, nothing, nothing, nothing);
    // SAFETY: no function looks at the data.
    unsafe { Waker::from_raw(RawWaker::new(std::ptr::null(), &TABLE)) }
}

fn pend<O: op::Operation>(future: &mut OpFuture<O>, waker: &Waker) {
    assert!(Pin::new(future).poll(&mut Context::from_waker(waker)).is_pending());
}

/// A read of an empty pipe that waits with this waker.
fn waits_with(pipe: &File, waker: Waker) -> OpFuture<op::Read<Vec<u8>>> {
    let mut read = pipe.read(vec![0; 4]);
    // The first poll wakes the future, so that the second hands it over. Nothing but the pipe wakes it from then on.
    assert!(poll_once(&mut read).is_pending() && poll_once(&mut read).is_pending());
    pend(&mut read, &waker);
    read
}

/// Reads of other files, and other ways to wait, go on as ever.
fn others_go_on(engine: &Engine) {
    let dir = dir();
    let file = file_of(engine, &dir.path().join("other"), b"other");
    assert_eq!(engine.block_on(file.read_at(vec![0; 5], 0)).1, b"other");
    assert_eq!(pollster::block_on(file.read_at(vec![0; 5], 0)).1, b"other");
    // One that waits already, so that somebody has to wake it.
    let (pipe, path) = fifo(engine, dir.path());
    let woken = Arc::new(AtomicUsize::new(0));
    let told = Arc::clone(&woken);
    let read = waits_with(
        &pipe,
        Calls::on_wake(move || {
            told.fetch_add(1, Ordering::SeqCst);
        }),
    );
    fill(&path, b"woke");
    until(|| woken.load(Ordering::SeqCst) == 1);
    assert_eq!(pollster::block_on(read).1, b"woke");
    let mut port = engine.port().unwrap();
    port.submit(op::Nop, 1);
    assert_eq!(port.wait_for(1, &mut Vec::new()), 1);
    drop(port);
    pollster::block_on(file.close()).unwrap();
}

scenarios! {
    fn one_that_owns_a_future_and_is_replaced(rig) {
        assert!(pin(0));
        let (engine, dir) = (rig.engine(), dir());
        let (pipe, _) = fifo(&engine, dir.path());
        let mut owned = Some(engine.submit(op::Nop));
        let mut read = waits_with(&pipe, Calls::on_drop(move || drop(owned.take())));
        // Now the first waker is dropped.
        let _ = poll_once(&mut read);
        others_go_on(&engine);
    }

    fn one_that_owns_its_own_future_s_neighbour_and_is_abandoned(rig) {
        assert!(pin(0));
        let (engine, dir) = (rig.engine(), dir());
        let (pipe, _) = fifo(&engine, dir.path());
        let mut owned = Some(pipe.read(vec![0; 4]));
        drop(waits_with(&pipe, Calls::on_drop(move || drop(owned.take()))));
        others_go_on(&engine);
    }

    fn one_that_owns_a_future_and_is_woken(rig) {
        assert!(pin(0));
        let (engine, dir) = (rig.engine(), dir());
        let (pipe, path) = fifo(&engine, dir.path());
        let mut owned = Some(engine.submit(op::Nop));
        let read = waits_with(&pipe, Calls::on_drop(move || drop(owned.take())));
        fill(&path, b"here");
        assert_eq!(pollster::block_on(read).1, b"here");
        others_go_on(&engine);
    }

    fn one_that_owns_a_future_of_a_chain_that_is_dropped(rig) {
        assert!(pin(0));
        let (engine, dir) = (rig.engine(), dir());
        let (pipe, _) = fifo(&engine, dir.path());
        let mut chain = engine.chain().then(op::Read::at(&pipe, vec![0; 4], 0)).then(op::Nop).submit().unwrap();
        for _ in 0..2 {
            let mut owned = Some(engine.submit(op::Nop));
            let waker = Calls::on_drop(move || drop(owned.take()));
            assert!(Pin::new(&mut chain).poll(&mut Context::from_waker(&waker)).is_pending());
        }
        drop(chain);
        others_go_on(&engine);
    }

    fn one_that_uses_the_engine_when_it_is_dropped(rig) {
        assert!(pin(0));
        let (engine, dir) = (rig.engine(), dir());
        let (pipe, _) = fifo(&engine, dir.path());
        let theirs = engine.clone();
        let mut read = waits_with(&pipe, Calls::on_drop(move || theirs.block_on(theirs.submit(op::Nop)).unwrap()));
        let _ = poll_once(&mut read);
        others_go_on(&engine);
    }

    fn one_that_panics_when_it_is_dropped(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let (pipe, path) = fifo(&engine, dir.path());
        let mut read = waits_with(&pipe, Calls::on_drop(|| panic!("when it is dropped")));
        let _ = catch_unwind(AssertUnwindSafe(|| poll_once(&mut read)));
        others_go_on(&engine);
        fill(&path, b"here");
        assert_eq!(engine.block_on(read).1, b"here");
    }

    fn one_that_panics_when_the_engine_s_thread_wakes_it(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let (pipe, path) = fifo(&engine, dir.path());
        let woken = Arc::new(AtomicUsize::new(0));
        let told = Arc::clone(&woken);
        let read = waits_with(&pipe, Calls::on_wake(move || {
            told.fetch_add(1, Ordering::SeqCst);
            panic!("when it is woken")
        }));
        fill(&path, b"here");
        until(|| woken.load(Ordering::SeqCst) == 1);
        others_go_on(&engine);
        assert_eq!(pollster::block_on(read).1, b"here");
    }

    fn one_that_panics_when_the_first_poll_wakes_it(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let (pipe, path) = fifo(&engine, dir.path());
        let woken = Arc::new(AtomicUsize::new(0));
        let told = Arc::clone(&woken);
        let mut read = pipe.read(vec![0; 4]);
        pend(&mut read, &Calls::on_wake(move || {
            told.fetch_add(1, Ordering::SeqCst);
            panic!("when it is woken")
        }));
        assert_eq!(woken.load(Ordering::SeqCst), 1);
        others_go_on(&engine);
        fill(&path, b"here");
        assert_eq!(pollster::block_on(read).1, b"here");
    }

    fn one_that_cannot_be_cloned_loses_no_operation(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let file = file_of(&engine, &dir.path().join("file"), b"here");
        let waker = panics_when_cloned();
        let mut context = Context::from_waker(&waker);
        let mut read = file.read_at(vec![0; 4], 0);
        assert!(catch_unwind(AssertUnwindSafe(|| Pin::new(&mut read).poll(&mut context).is_ready())).is_err());
        assert_eq!(pollster::block_on(read).1, b"here");
        let mut chain = engine.chain().then(op::Read::at(&file, vec![0; 4], 0)).then(op::Nop).submit().unwrap();
        assert!(catch_unwind(AssertUnwindSafe(|| Pin::new(&mut chain).poll(&mut context).is_ready())).is_err());
        assert!(pollster::block_on(chain).all_succeeded());
        pollster::block_on(file.close()).unwrap();
    }

    fn many_that_panic_when_they_are_woken(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let (pipe, path) = fifo(&engine, dir.path());
        let woken = Arc::new(AtomicUsize::new(0));
        let reads: Vec<_> = (0..8)
            .map(|nth| {
                let told = Arc::clone(&woken);
                waits_with(&pipe, Calls::on_wake(move || {
                    told.fetch_add(1, Ordering::SeqCst);
                    assert_eq!(nth % 2, 0, "every other one panics");
                }))
            })
            .collect();
        for nth in 0..8 {
            fill(&path, b"here");
            until(|| woken.load(Ordering::SeqCst) > nth);
        }
        for read in reads {
            assert_eq!(pollster::block_on(read).1, b"here");
        }
        others_go_on(&engine);
    }

    fn one_that_panics_when_block_on_wakes_it(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let (pipe, path) = fifo(&engine, dir.path());
        let (other, other_path) = fifo_at(&engine, &dir.path().join("other"));
        // Begun inside, so that the engine's own thread is not needed and block_on is who wakes.
        let begin = |_: &mut Context<'_>| Poll::Ready(waits_with(&pipe, Calls::on_wake(|| panic!("when it is woken"))));
        let panics = engine.block_on(poll_fn(begin));
        let waiting = other.read(vec![0; 4]);
        fill(&path, b"here");
        fill(&other_path, b"more");
        let outcome = catch_unwind(AssertUnwindSafe(|| engine.block_on(waiting)));
        if let Ok((read, buffer)) = outcome {
            assert_eq!((read, buffer.as_slice()), (Ok(4), b"more".as_slice()));
        }
        others_go_on(&engine);
        assert_eq!(engine.block_on(panics).1, b"here");
    }

    fn one_that_panics_when_a_port_wakes_it(rig) {
        assert!(pin(0));
        let (engine, dir) = (rig.engine(), dir());
        let (pipe, path) = fifo(&engine, dir.path());
        let read = waits_with(&pipe, Calls::on_wake(|| panic!("when it is woken")));
        let mut port = engine.port().unwrap();
        for token in 0..3 {
            port.submit(op::Nop, token);
        }
        fill(&path, b"here");
        let mut completions = Vec::new();
        while port.outstanding() > 0 {
            let _ = catch_unwind(AssertUnwindSafe(|| port.wait(&mut completions, None)));
        }
        assert_eq!(completions.len(), 3, "a panic of somebody else's loses no completion");
        drop(port);
        others_go_on(&engine);
        assert_eq!(pollster::block_on(read).1, b"here");
    }

    fn one_that_panics_when_it_is_cloned(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let (pipe, path) = fifo(&engine, dir.path());
        let mut read = pipe.read(vec![0; 4]);
        let waker = panics_when_cloned();
        let poll = |read: &mut OpFuture<_>| Pin::new(read).poll(&mut Context::from_waker(&waker)).is_ready();
        let _ = catch_unwind(AssertUnwindSafe(|| poll(&mut read)));
        others_go_on(&engine);
        fill(&path, b"here");
        drop(read);
        others_go_on(&engine);
    }

    fn one_that_panics_when_a_chain_clones_it(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let (pipe, path) = fifo(&engine, dir.path());
        let mut chain = engine.chain().then(op::Read::at(&pipe, vec![0; 4], 0)).then(op::Nop).submit().unwrap();
        let waker = panics_when_cloned();
        let mut context = Context::from_waker(&waker);
        let _ = catch_unwind(AssertUnwindSafe(|| Pin::new(&mut chain).poll(&mut context).is_ready()));
        others_go_on(&engine);
        fill(&path, b"here");
        drop(chain);
        others_go_on(&engine);
    }

    fn one_that_submits_when_it_is_woken(rig) {
        assert!(pin(0));
        let (engine, dir) = (rig.engine(), dir());
        let (pipe, path) = fifo(&engine, dir.path());
        let (theirs, submitted) = (engine.clone(), Arc::new(Mutex::new(None)));
        let told = Arc::clone(&submitted);
        let read = waits_with(&pipe, Calls::on_wake(move || *told.lock().unwrap() = Some(theirs.submit(op::Nop))));
        fill(&path, b"here");
        until(|| submitted.lock().unwrap().is_some());
        let nop = submitted.lock().unwrap().take().unwrap();
        pollster::block_on(nop).unwrap();
        assert_eq!(pollster::block_on(read).1, b"here");
        others_go_on(&engine);
    }

    fn one_that_blocks_when_it_is_woken(rig) {
        assert!(pin(0));
        let (engine, dir) = (rig.engine(), dir());
        let (pipe, path) = fifo(&engine, dir.path());
        let (theirs, done) = (engine.clone(), Arc::new(AtomicUsize::new(0)));
        let told = Arc::clone(&done);
        let read = waits_with(&pipe, Calls::on_wake(move || {
            theirs.block_on(theirs.submit(op::Nop)).unwrap();
            theirs.turn(Some(Duration::ZERO));
            assert!(!theirs.stats().rings.is_empty());
            told.fetch_add(1, Ordering::SeqCst);
        }));
        fill(&path, b"here");
        until(|| done.load(Ordering::SeqCst) == 1);
        assert_eq!(pollster::block_on(read).1, b"here");
        others_go_on(&engine);
    }

    fn one_that_drops_the_last_handle_of_the_engine(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let (pipe, path) = fifo(&engine, dir.path());
        let mut theirs = Some((engine.clone(), pipe.read(vec![0; 4])));
        let dropped = Arc::new(AtomicUsize::new(0));
        let told = Arc::clone(&dropped);
        let read = waits_with(&pipe, Calls::on_wake(move || {
            drop(theirs.take());
            told.fetch_add(1, Ordering::SeqCst);
        }));
        drop((engine, pipe));
        // Enough for both reads, whichever the kernel serves first.
        fill(&path, b"herehere");
        until(|| dropped.load(Ordering::SeqCst) == 1);
        drop(read);
        until(|| descriptors_of(&path) == 0);
    }
}

fn fifo_at(engine: &Engine, dir: &std::path::Path) -> (File, std::path::PathBuf) {
    std::fs::create_dir(dir).unwrap();
    fifo(engine, dir)
}
