//! Things of the engine's that lie in a thread's local storage end with the thread, in whichever order.

use std::{any::Any, cell::RefCell, thread};

use auraio::{Engine, op};

use crate::{
    support::*,
    watch::{poll_once, until},
};

thread_local! {
    static KEPT: RefCell<Vec<Box<dyn Any>>> = const { RefCell::new(Vec::new()) };
}

/// Keeps what `make` answers in a thread's local storage, made before the engine's own and after it, and lets the thread
/// end. Then the engine still works.
fn kept<T: 'static>(rig: Rig, make: impl Fn(&Engine, &std::path::Path) -> T + Send + Sync + Clone + 'static) {
    let (engine, dir) = (rig.engine(), dir());
    for first in [true, false] {
        let (engine, make) = (engine.clone(), make.clone());
        let own = dir.path().join(first.to_string());
        std::fs::create_dir(&own).unwrap();
        let keeps = move || {
            if first {
                KEPT.with_borrow_mut(|_| {});
            }
            // A thing of the engine's own is made in the thread's storage now, if it is not there yet.
            engine.block_on(engine.submit(op::Nop)).unwrap();
            let made = make(&engine, &own);
            KEPT.with_borrow_mut(|kept| kept.push(Box::new(made)));
        };
        thread::spawn(keeps).join().unwrap();
        engine_works(&dir, rig);
    }
    engine.block_on(engine.submit(op::Nop)).unwrap();
    assert_eq!(pollster::block_on(engine.submit(op::Nop)), Ok(()));
}

fn engine_works(dir: &tempfile::TempDir, rig: Rig) {
    let engine = rig.engine();
    let file = file_of(&engine, &dir.path().join("works"), b"x");
    assert_eq!(pollster::block_on(file.read_at(vec![0; 1], 0)).1, b"x");
    engine.block_on(file.close()).unwrap();
}

scenarios! {
    fn a_future_that_was_not_polled(rig) {
        kept(rig, |engine, _| engine.submit(op::Nop));
    }

    fn a_future_that_waits(rig) {
        kept(rig, |engine, dir| {
            let (pipe, _) = fifo(engine, dir);
            let mut read = pipe.read(vec![0; 4]);
            assert!(poll_once(&mut read).is_pending());
            (read, pipe)
        });
    }

    fn a_future_that_waits_while_the_engine_is_gone(rig) {
        let dir = dir();
        for first in [true, false] {
            let own = dir.path().join(first.to_string());
            std::fs::create_dir(&own).unwrap();
            let path = own.join("fifo");
            thread::spawn(move || {
                if first {
                    KEPT.with_borrow_mut(|_| {});
                }
                let engine = rig.engine();
                let (pipe, _) = fifo(&engine, &own);
                let mut read = pipe.read(vec![0; 4]);
                assert!(poll_once(&mut read).is_pending());
                KEPT.with_borrow_mut(|kept| kept.push(Box::new(read)));
            })
            .join()
            .unwrap();
            until(|| descriptors_of(&path) == 0);
        }
    }

    fn a_future_that_is_ready(rig) {
        kept(rig, |engine, _| {
            let nop = engine.submit(op::Nop);
            until(|| { engine.turn(Some(std::time::Duration::ZERO)); completed(engine) == submitted(engine) });
            nop
        });
    }

    fn an_open(rig) {
        kept(rig, |engine, _| engine.open("/etc/passwd", reading()));
    }

    fn a_close(rig) {
        kept(rig, |engine, dir| {
            let file = file_of(engine, &dir.join("file"), b"x");
            let read = op::Read::at(&file, vec![0; 1], 0);
            (file.close(), read)
        });
    }

    fn a_file(rig) {
        kept(rig, |engine, dir| {
            let file = file_of(engine, &dir.join("file"), b"x");
            file.register();
            for _ in 0..64 {
                engine.block_on(file.read_at(vec![0; 1], 0)).0.unwrap();
            }
            file
        });
    }

    fn a_file_with_a_read_at_its_position(rig) {
        kept(rig, |engine, dir| {
            let file = file_of(engine, &dir.join("file"), b"x");
            let (one, two) = (file.read(vec![0; 1]), file.read(vec![0; 1]));
            (one, file, two)
        });
    }

    fn a_chain(rig) {
        kept(rig, |engine, _| engine.chain().then(op::Nop).then(op::Nop));
    }

    fn a_chain_under_way(rig) {
        kept(rig, |engine, dir| {
            let (pipe, _) = fifo(engine, dir);
            let mut chain = engine.chain().then(op::Read::at(&pipe, vec![0; 4], 0)).then(op::Nop).submit().unwrap();
            assert!(poll_once(&mut chain).is_pending());
            chain
        });
    }

    fn a_port(rig) {
        kept(rig, |engine, _| engine.port().unwrap());
    }

    fn a_port_with_operations(rig) {
        kept(rig, |engine, dir| {
            let (pipe, _) = fifo(engine, dir);
            let mut port = engine.port().unwrap();
            port.submit(op::Read::at_position(&pipe, vec![0; 4]), 1);
            port.submit(op::Nop, 2);
            port.flush();
            (port, pipe)
        });
    }

    fn completions(rig) {
        kept(rig, |engine, _| {
            let mut port = engine.port().unwrap();
            let mut completions = Vec::new();
            port.submit(op::Open::new(engine, "/etc/passwd", reading()), 1);
            port.wait_for(1, &mut completions);
            completions
        });
    }

    fn an_engine(rig) {
        kept(rig, move |_, _| {
            let own = rig.engine();
            own.block_on(own.submit(op::Nop)).unwrap();
            own
        });
    }

    fn an_engine_with_a_thread_of_its_own(rig) {
        kept(rig, move |_, _| {
            let own = rig.engine();
            pollster::block_on(own.submit(op::Nop)).unwrap();
            drop(own.submit(op::Nop));
            own
        });
    }

    fn a_block(rig) {
        kept(rig, |engine, _| engine.acquire(4096).unwrap());
    }

    fn a_registered_buffer(rig) {
        kept(rig, |engine, _| engine.register_buffer(vec![0; 4096]).unwrap());
    }

    fn a_wait_at_the_end(rig) {
        /// Uses the engine while its thread ends.
        struct Waits(Engine);
        impl Drop for Waits {
            fn drop(&mut self) {
                self.0.block_on(self.0.submit(op::Nop)).unwrap();
                pollster::block_on(self.0.submit(op::Nop)).unwrap();
                self.0.turn(Some(std::time::Duration::ZERO));
                let mut port = self.0.port().unwrap();
                port.submit(op::Nop, 1);
                assert_eq!(port.wait_for(1, &mut Vec::new()), 1);
                drop(self.0.acquire(4096).unwrap());
                drop(self.0.submit(op::Nop));
            }
        }
        kept(rig, |engine, _| Waits(engine.clone()));
    }

    fn a_block_on_inside_of_block_on(rig) {
        let engine = rig.engine();
        let theirs = engine.clone();
        engine.block_on(async move {
            theirs.block_on(theirs.submit(op::Nop)).unwrap();
            theirs.turn(Some(std::time::Duration::ZERO));
            theirs.submit(op::Nop).await.unwrap();
        });
    }
}
