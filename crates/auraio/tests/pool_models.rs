//! Runs the parts of the pool that threads share in every order in which their threads can take steps.
//!
//! The tested files are the product's own, compiled over loom's mutexes and atomics instead of the standard library's. Loom
//! runs each model once for every order, with every value that a relaxed load may give, and fails on a data race, a deadlock
//! or an assertion. The product uses membarrier; the models use a full fence on both sides instead, which promises the same.

#[path = "../src/pool/class.rs"]
#[allow(dead_code, reason = "a model uses a part of it")]
mod class;
#[path = "../src/pool/door.rs"]
#[allow(dead_code, reason = "a model uses a part of it")]
mod door;
#[path = "../src/pool/shard.rs"]
#[allow(dead_code, reason = "a model uses a part of it")]
mod shard;
#[path = "../src/pool/slab.rs"]
#[allow(dead_code, reason = "a model uses a part of it")]
mod slab;
#[path = "../src/pool/waiters.rs"]
#[allow(dead_code, reason = "a model uses a part of it")]
mod waiters;

/// Loom's versions of the names in `pool/sync.rs`.
mod sync {
    use std::cell::Cell;

    use loom::sync::atomic::{Ordering, fence};

    thread_local! {
        /// If set, there are no barriers; a test checks that a model then fails. All threads of a model run on one thread of
        /// the system, so one thread-local value is enough.
        pub(super) static WITHOUT_BARRIERS: Cell<bool> = const { Cell::new(false) };
    }
    pub(super) use loom::sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize},
    };

    pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock().unwrap_or_else(|_| panic!("another thread of the model panicked"))
    }

    pub(super) fn light_barrier() {
        if !WITHOUT_BARRIERS.get() {
            fence(Ordering::SeqCst);
        }
    }

    pub(super) fn heavy_barrier() -> bool {
        light_barrier();
        true
    }

    pub(super) fn pause() {
        loom::thread::yield_now();
    }
}

use std::{
    ptr::NonNull,
    sync::atomic::Ordering::Relaxed,
    task::{Poll, Wake, Waker},
};

use loom::{
    cell::UnsafeCell,
    sync::{
        Arc, Notify,
        atomic::{AtomicBool, AtomicU32, AtomicUsize},
    },
    thread,
};

use class::{CLASSES, SLAB_BYTES};
use door::Door;
use shard::{Batch, Homes, Shard};
use slab::{Arena, Memory};
use waiters::Waiters;

/// The class of which a slab has two blocks.
const CLASS: usize = CLASSES - 1;

const POOL: usize = 1;

/// Checks a model in all orders with at most this many preemptions. Musuvathi and Qadeer (PLDI 2007) found that two suffice
/// for nearly all mistakes.
fn model(preemptions: usize, work: impl Fn() + Send + Sync + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(preemptions);
    model.check(work);
}

/// L2 with one slab, and a thread's cache in front of it, as `cache.rs` puts them together.
struct Model {
    shard: Shard,
    homes: Homes,
    door: Door,
    /// The stack of the cache. Loom fails the model if two threads use it at once.
    stack: UnsafeCell<Vec<usize>>,
    waiters: Waiters<(), usize>,
}

// SAFETY: only the `UnsafeCell` is not `Sync` by itself, and loom fails the model if two threads access it at once.
#[expect(unsafe_code, reason = "loom checks what the compiler cannot")]
unsafe impl Sync for Model {}

impl Model {
    fn new() -> Self {
        let door = Door { open_for: AtomicUsize::new(POOL), inside: AtomicBool::new(false) };
        let (shard, homes) = (Shard::new(0, 0), Homes::new(1));
        shard.add(0, CLASS, &homes, 0, &mut Batch::new());
        Self { shard, homes, door, stack: UnsafeCell::new(Vec::new()), waiters: Waiters::new() }
    }

    fn at_stack<T>(&self, work: impl FnOnce(&mut Vec<usize>) -> T) -> T {
        // SAFETY: callers are inside the door, or have shut it. Loom fails the model if that does not keep others out.
        #[expect(unsafe_code, reason = "loom checks what the compiler cannot")]
        self.stack.with_mut(|stack| work(unsafe { &mut *stack }))
    }

    fn inside<T>(&self, work: impl FnOnce(&mut Vec<usize>) -> T) -> Option<T> {
        self.door.enter(POOL).then(|| {
            let outcome = self.at_stack(work);
            self.door.leave();
            outcome
        })
    }

    fn take(&self) -> Option<usize> {
        let mut batch = Batch::new();
        self.shard.take(CLASS, 1, &mut batch);
        batch.pop()
    }

    fn put(&self, block: usize) {
        let mut batch = Batch::new();
        batch.push(block);
        let _ = self.shard.put(CLASS, &mut batch, &self.homes);
        assert!(batch.is_empty());
    }

    /// The owner acquires a block: from its cache, else from the shard.
    fn acquire(&self) -> Option<usize> {
        self.inside(Vec::pop).flatten().or_else(|| self.take())
    }

    /// The owner releases a block: to its cache, or to the shard if somebody waits.
    fn release(&self, block: usize) {
        if self.waiters.any() || self.inside(|stack| stack.push(block)).is_none() {
            self.put(block);
            if self.waiters.any() {
                self.serve();
            }
        }
    }

    /// Another thread empties the cache of a thread that sleeps.
    fn close(&self) {
        assert!(Door::shut_all([&self.door].into_iter(), POOL));
        for block in self.at_stack(std::mem::take) {
            self.put(block);
        }
    }

    fn serve(&self) {
        self.waiters.serve(|()| self.take());
    }
}

/// A waker for a thread of a model, which sleeps until it is woken.
struct Bed(Notify);

impl Wake for Bed {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.notify();
    }
}

#[test]
fn a_cache_that_is_emptied_by_another_thread_loses_nothing_and_doubles_nothing() {
    a_cache_is_emptied();
}

#[test]
#[should_panic(expected = "Causality violation")]
fn without_the_barriers_the_model_finds_two_threads_in_a_cache() {
    sync::WITHOUT_BARRIERS.set(true);
    a_cache_is_emptied();
}

fn a_cache_is_emptied() {
    model(3, || {
        let pool = Arc::new(Model::new());
        let owner = {
            let pool = Arc::clone(&pool);
            thread::spawn(move || {
                for _ in 0..2 {
                    if let Some(block) = pool.acquire() {
                        pool.release(block);
                    }
                }
            })
        };
        pool.close();
        let mine = pool.take();
        owner.join().expect("a thread of the model");
        // The door is shut, so the owner's blocks are in the shard; the shard would panic if a block had come back twice.
        let others: Vec<_> = std::iter::from_fn(|| pool.take()).collect();
        assert_eq!(others.len() + mine.iter().len(), 2);
        assert!(others.iter().all(|block| Some(*block) != mine));
    });
}

#[test]
fn blocks_change_hands_between_threads_without_being_lost() {
    model(3, || {
        let pool = Arc::new(Model::new());
        let threads = [(); 2].map(|()| {
            let pool = Arc::clone(&pool);
            thread::spawn(move || {
                for _ in 0..2 {
                    if let Some(block) = pool.take() {
                        pool.put(block);
                    }
                }
            })
        });
        if let Some(block) = pool.take() {
            pool.put(block);
        }
        for thread in threads {
            thread.join().expect("a thread of the model");
        }
        assert_eq!(pool.shard.idle(), 1);
        assert_eq!(std::iter::from_fn(|| pool.take()).count(), 2);
    });
}

#[test]
fn whoever_waits_is_woken_by_whoever_releases() {
    model(3, || {
        let pool = Arc::new(Model::new());
        let both = [pool.acquire(), pool.acquire()].map(|block| block.expect("two blocks in a slab"));
        let owner = {
            let pool = Arc::clone(&pool);
            thread::spawn(move || both.into_iter().for_each(|block| pool.release(block)))
        };
        let bed = std::sync::Arc::new(Bed(Notify::new()));
        let waiter = pool.waiters.join(());
        pool.close();
        pool.serve();
        loop {
            match waiter.poll(&Waker::from(std::sync::Arc::clone(&bed))) {
                Poll::Ready(block) => break pool.put(block),
                // If the wake-up were lost, this thread would sleep for ever, and loom would report a deadlock.
                Poll::Pending => bed.0.wait(),
            }
        }
        owner.join().expect("a thread of the model");
        assert!(!pool.waiters.any());
        assert_eq!(std::iter::from_fn(|| pool.take()).count(), 2);
    });
}

#[test]
fn memory_given_to_a_waiter_that_leaves_is_not_lost() {
    model(3, || {
        let pool = Arc::new(Model::new());
        let first = pool.take().expect("two blocks in a slab");
        let second = pool.take().expect("two blocks in a slab");
        let (leaves, stays) = (pool.waiters.join(()), pool.waiters.join(()));
        pool.door.shut_own();
        let owner = {
            let pool = Arc::clone(&pool);
            thread::spawn(move || pool.release(first))
        };
        // A future that is dropped leaves, and gives back what it was given.
        if pool.waiters.leave(&leaves) {
            pool.serve();
        }
        if let Poll::Ready(block) = leaves.poll(Waker::noop()) {
            pool.release(block);
        }
        owner.join().expect("a thread of the model");
        let Poll::Ready(given) = stays.poll(Waker::noop()) else { panic!("the next was not served") };
        assert_eq!(given, first);
        assert_ne!(given, second);
        assert_eq!(pool.waiters.len(), 0);
    });
}

/// Fake memory: it only notes which slabs are mapped.
struct Fake {
    mapped: [AtomicBool; 2],
    /// How many users each slab has: registrations with the kernel, and blocks.
    used: [AtomicU32; 2],
}

impl Memory for Arc<Fake> {
    fn base(&self) -> NonNull<u8> {
        NonNull::new(std::ptr::without_provenance_mut(SLAB_BYTES)).expect("not null")
    }

    fn slabs(&self) -> u32 {
        2
    }

    fn map(&self, first: u32, slabs: u32, _: u32) -> bool {
        for slab in first..first + slabs {
            assert!(!self.mapped[slab as usize].swap(true, Relaxed), "mapped twice");
        }
        true
    }

    #[expect(unsafe_code, reason = "as the trait has it")]
    unsafe fn unmap(&self, first: u32, slabs: u32) -> bool {
        for slab in first..first + slabs {
            assert_eq!(self.used[slab as usize].load(Relaxed), 0, "unmapped while it was in use");
            assert!(self.mapped[slab as usize].swap(false, Relaxed), "unmapped twice");
        }
        true
    }
}

/// An arena with one free slab, and its memory.
fn arena() -> (Arc<Arena<Arc<Fake>>>, Arc<Fake>) {
    let fake = || std::array::from_fn(|_| AtomicU32::new(0));
    let memory = Arc::new(Fake { mapped: [AtomicBool::new(false), AtomicBool::new(false)], used: fake() });
    let arena = Arena::new(Arc::clone(&memory));
    assert_eq!(arena.map_one(0, 2), Some(0));
    arena.give_free(0, false);
    (Arc::new(arena), memory)
}

/// Holds a slab as a ring does, while the kernel knows it. True if it could hold it.
fn register_for_a_while(arena: &Arena<Arc<Fake>>, memory: &Fake, slab: u32) -> bool {
    let Some(extent) = arena.hold(slab) else { return false };
    memory.used[slab as usize].fetch_add(1, Relaxed);
    assert!(memory.mapped[slab as usize].load(Relaxed), "held, and not mapped");
    memory.used[slab as usize].fetch_sub(1, Relaxed);
    arena.let_go(extent);
    true
}

#[test]
fn no_slab_is_unmapped_while_it_is_held_and_the_last_holder_unmaps_it() {
    model(3, || {
        let (arena, memory) = arena();
        let holders = [(); 2].map(|()| {
            let (arena, memory) = (Arc::clone(&arena), Arc::clone(&memory));
            thread::spawn(move || register_for_a_while(&arena, &memory, 0))
        });
        let before = arena.retirements();
        let retired = arena.retire(1, false);
        assert_eq!(retired.unmapped + retired.held, 1);
        assert_eq!(arena.retirements(), before + 1);
        for holder in holders {
            holder.join().expect("a thread of the model");
        }
        assert!(!memory.mapped[0].load(Relaxed));
        assert!(!arena.is_retiring(0) && arena.hold(0).is_none());
        let counts = arena.counts();
        assert_eq!((counts.mapped, counts.free, counts.retiring), (0, 0, 0));
    });
}

#[test]
fn no_slab_is_unmapped_while_a_block_is_in_it() {
    model(3, || {
        let (arena, memory) = arena();
        let user = {
            let (arena, memory) = (Arc::clone(&arena), Arc::clone(&memory));
            thread::spawn(move || {
                let Some(slab) = arena.take_free(None).or_else(|| arena.map_one(0, 2)) else { return };
                memory.used[slab as usize].fetch_add(1, Relaxed);
                assert!(memory.mapped[slab as usize].load(Relaxed), "in use, and not mapped");
                register_for_a_while(&arena, &memory, slab);
                memory.used[slab as usize].fetch_sub(1, Relaxed);
                arena.give_free(slab, false);
            })
        };
        let _ = arena.retire(2, false);
        register_for_a_while(&arena, &memory, 0);
        user.join().expect("a thread of the model");
        let _ = arena.retire(2, false);
        assert_eq!(arena.counts().mapped, 0);
        assert!(memory.mapped.iter().all(|mapped| !mapped.load(Relaxed)));
    });
}

#[test]
fn a_block_of_several_slabs_is_acquired_whole_or_not_at_all() {
    model(3, || {
        let (arena, memory) = arena();
        let user = {
            let arena = Arc::clone(&arena);
            thread::spawn(move || {
                let Some(first) = arena.plan_run(2, 0, 2).and_then(|plan| arena.finish_run(plan)) else { return };
                assert_eq!(first, 0);
                arena.release_run(first);
            })
        };
        if let Some(extent) = arena.hold(0) {
            // Either one free slab, or all slabs of the block.
            for slab in 0..extent.slabs {
                memory.used[slab as usize].fetch_add(1, Relaxed);
                assert!(memory.mapped[slab as usize].load(Relaxed));
            }
            let _ = arena.retire(2, false);
            for slab in 0..extent.slabs {
                memory.used[slab as usize].fetch_sub(1, Relaxed);
            }
            arena.let_go(extent);
        }
        user.join().expect("a thread of the model");
        let _ = arena.retire(2, false);
        assert_eq!(arena.counts().mapped, 0);
    });
}
