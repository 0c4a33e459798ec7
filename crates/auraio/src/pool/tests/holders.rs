//! The protocol of holders, which register slabs with the kernel: a slab that is held is never unmapped.

use std::{
    future::Future,
    sync::{Arc, atomic::AtomicUsize},
    task::{Context, Waker},
};

use super::*;

/// Takes the part of a ring: the slabs that it holds are registered.
struct Ring {
    pool: Pool,
    held: Mutex<Vec<Extent>>,
    asked: AtomicUsize,
    /// Lets go at once, or only when the test says so.
    obliging: bool,
}

impl Ring {
    fn of(pool: &Pool, obliging: bool) -> Arc<Self> {
        let ring = Arc::new(Self { pool: *pool, held: Mutex::default(), asked: AtomicUsize::new(0), obliging });
        let holder: Arc<dyn SlabHolder> = Arc::<Self>::clone(&ring);
        pool.add_holder(Arc::downgrade(&holder));
        ring
    }

    fn register(&self, block: &Block) {
        let extent = self.pool.hold(slab_of(&self.pool, block)).unwrap();
        self.pool.note_registered(extent.len as i64);
        lock(&self.held).push(extent);
    }

    fn unregister_retiring(&self) {
        let mut held = lock(&self.held);
        let (going, staying) = held.drain(..).partition(|extent| {
            (extent.first_slab..extent.first_slab + extent.slabs).any(|slab| self.pool.is_retiring(slab))
        });
        *held = staying;
        drop(held);
        let going: Vec<Extent> = going;
        for extent in going {
            self.pool.note_registered(-(extent.len as i64));
            self.pool.let_go(extent);
        }
    }
}

impl SlabHolder for Ring {
    fn let_go_of_retiring(&self) {
        self.asked.fetch_add(1, Relaxed);
        if self.obliging {
            self.unregister_retiring();
        }
    }
}

fn mapped(pool: &Pool) -> usize {
    pool.stats().bytes_mapped as usize
}

#[test]
fn a_slab_that_is_held_retires_and_goes_when_it_is_let_go() {
    let pool = pool(64 * MIB);
    let ring = Ring::of(&pool, false);
    let mut block = pool.acquire(4096).unwrap();
    block.fill(7);
    let (slab, offset) = (slab_of(&pool, &block), pool.inner.arena().unwrap().offset_of(NonNull::from(&block[0])));
    ring.register(&block);
    assert_eq!(pool.stats().bytes_registered, 2 << 20);
    drop(block);
    assert!(!pool.is_retiring(slab));
    let before = pool.retirements();

    assert_eq!(pool.trim(), 0);
    assert_eq!(ring.asked.load(Relaxed), 1);
    assert!(pool.is_retiring(slab) && pool.retirements() == before + 1);
    // The memory is still mapped and has the bytes that were last written: the kernel may be writing to it.
    assert_eq!(mapped(&pool), 2 * MIB);
    assert!(pool.inner.arena().unwrap().is_filled(offset, 4096, 7));
    adds_up(&pool, 0);
    // No acquisition gets a block of it, and nobody can begin to hold it.
    assert_ne!(slab_of(&pool, &pool.acquire(4096).unwrap()), slab);
    assert_eq!(pool.hold(slab), None);
    assert_eq!(pool.trim(), 2 << 20);

    ring.unregister_retiring();
    assert!(!pool.is_retiring(slab));
    assert_eq!((mapped(&pool), pool.stats().bytes_registered), (0, 0));
    assert_eq!(pool.hold(slab), None);
    // When it is mapped again, it can be acquired and held again.
    let block = pool.acquire(4096).unwrap();
    assert_eq!(slab_of(&pool, &block), slab);
    ring.register(&block);
}

#[test]
fn trimming_asks_every_holder_and_the_last_to_let_go_unmaps() {
    let pool = pool(64 * MIB);
    let (obliging, busy) = (Ring::of(&pool, true), Ring::of(&pool, false));
    let blocks = [4096, 8192].map(|size| pool.acquire(size).unwrap());
    blocks.iter().for_each(|block| obliging.register(block));
    busy.register(&blocks[1]);
    drop(blocks);
    assert_eq!(pool.trim(), 2 << 20);
    assert_eq!((obliging.asked.load(Relaxed), busy.asked.load(Relaxed)), (1, 1));
    assert!(lock(&obliging.held).is_empty());
    assert_eq!(mapped(&pool), 2 * MIB);
    busy.unregister_retiring();
    assert_eq!(mapped(&pool), 0);
}

#[test]
fn a_large_block_is_held_as_a_whole_and_its_slabs_are_unmapped_one_by_one() {
    let pool = pool(64 * MIB);
    let block = pool.acquire(5 * MIB).unwrap();
    let first = slab_of(&pool, &block);
    for slab in first..first + 3 {
        let extent = pool.hold(slab).unwrap();
        assert_eq!((extent.address, extent.len), (block.as_ptr().addr(), 6 * MIB));
        assert_eq!((extent.first_slab, extent.slabs), (first, 3));
        pool.let_go(extent);
    }
    let held = pool.hold(first).unwrap();
    drop(block);
    // While it is held as a whole, one of its slabs serves small blocks, and is held for them too.
    let small = pool.acquire(4096).unwrap();
    let again = pool.hold(slab_of(&pool, &small)).unwrap();
    assert_eq!((again.first_slab, again.slabs), (first, 1));
    assert_eq!(pool.trim(), 0);
    assert_eq!(mapped(&pool), 6 * MIB);
    pool.let_go(held);
    assert_eq!(mapped(&pool), 2 * MIB);
    drop(small);
    assert_eq!(pool.trim(), 0);
    pool.let_go(again);
    assert_eq!(mapped(&pool), 0);
}

#[test]
fn memory_that_is_not_mapped_cannot_be_held() {
    let pool = pool(64 * MIB);
    assert_eq!(pool.hold(0), None);
    drop(pool.acquire(1).unwrap());
    assert_eq!(pool.hold(u32::MAX), None);
    assert_eq!(pool.hold(1), None);
    assert!(!pool.is_retiring(u32::MAX));
}

#[test]
fn at_the_ceiling_a_large_block_gets_the_slabs_that_holders_let_go() {
    let pool = pool(8 * MIB);
    let ring = Ring::of(&pool, true);
    // Free slabs that are not in a row: they have to go before others can be mapped.
    let blocks = [(); 4].map(|()| pool.acquire(2 * MIB).unwrap());
    blocks.iter().for_each(|block| ring.register(block));
    let [first, second, third, fourth] = blocks;
    drop((first, third));
    assert_eq!(pool.acquire(6 * MIB).unwrap_err(), Error::PoolExhausted { wanted: 6 * MIB });
    assert_eq!(pool.acquire(4 * MIB).unwrap().len(), 4 * MIB);
    adds_up(&pool, 4 * MIB);
    assert!(ring.asked.load(Relaxed) >= 1);
    drop((second, fourth));
}

#[test]
fn a_release_never_calls_a_holder() {
    // A ring releases blocks while it has its own lock, and its `let_go_of_retiring` needs the same lock.
    struct Locked {
        ring: Arc<Ring>,
        lock: Mutex<()>,
    }
    impl SlabHolder for Locked {
        fn let_go_of_retiring(&self) {
            let _locked = lock(&self.lock);
            self.ring.unregister_retiring();
        }
    }
    // The trimmer's thread asks instead of the releasing one.
    let pace = Pace::Period(std::time::Duration::from_secs(3600));
    let pool = Pool::builder().bytes_max(8 << 20).build_with(pace).unwrap();
    let holder = Arc::new(Locked { ring: Ring::of(&pool, false), lock: Mutex::new(()) });
    let as_dyn: Arc<dyn SlabHolder> = Arc::<Locked>::clone(&holder);
    pool.add_holder(Arc::downgrade(&as_dyn));
    let blocks = [(); 4].map(|()| pool.acquire(2 * MIB).unwrap());
    blocks.iter().for_each(|block| holder.ring.register(block));
    let [first, second, third, fourth] = blocks;
    drop(first);
    let mut waiting = Box::pin(pool.acquire_async(4 * MIB, 4096));
    let mut context = Context::from_waker(Waker::noop());
    // It asks, but one free slab is not enough.
    assert!(waiting.as_mut().poll(&mut context).is_pending());
    {
        let _locked = lock(&holder.lock);
        drop(third);
    }
    assert_eq!(pollster::block_on(waiting).unwrap().len(), 4 * MIB);
    drop((second, fourth));
}

#[test]
fn a_holder_that_was_dropped_is_not_asked() {
    let pool = pool(64 * MIB);
    for _ in 0..100 {
        drop(Ring::of(&pool, true));
    }
    assert_eq!(lock(&pool.inner.holders).len(), 1);
    drop(pool.acquire(4096).unwrap());
    assert_eq!(pool.trim(), 2 << 20);
}
