//! The properties of a block, and the requests that the pool refuses.

use super::*;

#[test]
fn a_block_is_as_large_and_as_aligned_as_was_asked() {
    let pool = pool(256 * MIB);
    let sizes = [1, 4095, 4096, 4097, 65_536, 65_537, MIB, MIB + 1, 2 * MIB, 2 * MIB + 1, 9 * MIB];
    let alignments = [1, 2, 512, 4096, 8192, 65_536, MIB, 2 * MIB];
    let mut blocks = Vec::new();
    for size in sizes {
        for alignment in alignments {
            let block = pool.acquire_aligned(size, alignment).unwrap();
            assert_eq!(block.len(), size);
            assert!(block.capacity() >= size.max(alignment));
            assert!(block.as_ptr().addr().is_multiple_of(alignment.max(4096)), "{size} at {alignment}");
            blocks.push(block);
        }
    }
    adds_up(&pool, blocks.iter().map(Block::capacity).sum());
    let mut ranges: Vec<_> = blocks.iter().map(|block| (block.as_ptr().addr(), block.capacity())).collect();
    ranges.sort_unstable();
    assert!(ranges.windows(2).all(|pair| pair[0].0 + pair[0].1 <= pair[1].0));
    drop(blocks);
    adds_up(&pool, 0);
}

#[test]
fn impossible_sizes_and_alignments_are_refused_and_change_nothing() {
    let pool = pool(8 * MIB);
    drop(pool.acquire(4096).unwrap());
    let before = format!("{:?}", PoolStats { hits_thread: 0, ..pool.stats() });
    for size in [0, 8 * MIB + 1, 64 << 30, usize::MAX, usize::MAX - 4095] {
        for alignment in [1, 4096, 2 * MIB] {
            assert!(
                matches!(pool.acquire_aligned(size, alignment), Err(Error::InvalidInput(_))),
                "{size} at {alignment}"
            );
        }
        assert!(matches!(pool.acquire(size), Err(Error::InvalidInput(_))), "{size}");
        assert!(matches!(pollster::block_on(pool.acquire_async(size, 1)), Err(Error::InvalidInput(_))), "{size}");
    }
    for alignment in [0, 3, 4095, 4097, 4 * MIB, 1 << 63, usize::MAX] {
        for size in [1, 4096, MIB, 2 * MIB] {
            assert!(
                matches!(pool.acquire_aligned(size, alignment), Err(Error::InvalidInput(_))),
                "{size} at {alignment}"
            );
        }
    }
    assert_eq!(format!("{:?}", PoolStats { hits_thread: 0, ..pool.stats() }), before);
    assert!(matches!(Pool::builder().bytes_max(2 * MIB as u64 - 1).build(), Err(Error::InvalidInput(_))));
}

#[test]
fn a_block_is_small() {
    assert_eq!(size_of::<Block>(), 24);
    assert_eq!(size_of::<Option<Block>>(), 24);
}

#[test]
fn a_thread_gets_back_what_it_gave_back_last() {
    let pool = pool(64 * MIB);
    let address = |block: &Block| block.as_ptr().addr();
    let (one, two) = (pool.acquire(4096).unwrap(), pool.acquire(4096).unwrap());
    let (first, second) = (address(&one), address(&two));
    drop(one);
    drop(two);
    assert_eq!(address(&pool.acquire(100).unwrap()), second);
    let two = pool.acquire(1).unwrap();
    assert_eq!((address(&two), address(&pool.acquire(1).unwrap())), (second, first));
    let stats = pool.stats();
    assert_eq!((stats.hits_thread, stats.hits_shared, stats.misses), (4, 0, 1));
}

#[test]
fn blocks_in_a_threads_cache_come_back_when_it_ends() {
    let pool = pool(64 * MIB);
    let kept = elsewhere(|| {
        drop((pool.acquire(4096).unwrap(), pool.acquire(65_536).unwrap()));
        pool.stats().bytes_cached_threads
    });
    assert!(kept >= 4096 + 65_536);
    assert_eq!(adds_up(&pool, 0).bytes_cached_threads, 0);
}

#[test]
fn a_hundred_threads_that_acquire_and_end_leave_no_more_mapped_than_before() {
    let pool = pool(64 * MIB);
    let work = || elsewhere(|| drop([4096, 9000, MIB].map(|size| pool.acquire(size).unwrap())));
    work();
    let mapped = adds_up(&pool, 0).bytes_mapped;
    (0..100).for_each(|_| work());
    assert_eq!(adds_up(&pool, 0).bytes_mapped, mapped);
}

#[test]
fn a_block_may_outlive_its_thread_and_go_back_on_any_other() {
    let pool = pool(64 * MIB);
    let mut block = elsewhere(|| pool.acquire(4096).unwrap());
    block.fill(7);
    adds_up(&pool, 4096);
    elsewhere(move || {
        assert!(block.iter().all(|byte| *byte == 7));
        drop(block);
    });
    adds_up(&pool, 0);
}

#[test]
fn a_block_that_dies_with_its_thread_goes_back() {
    thread_local! {
        static LAST: std::cell::RefCell<Option<Block>> = const { std::cell::RefCell::new(None) };
    }
    let pool = pool(64 * MIB);
    // Both orders: the thread-local block is dropped before the thread's cache, or after it.
    for cache_first in [false, true] {
        elsewhere(|| {
            if cache_first {
                drop(pool.acquire(4096).unwrap());
            }
            LAST.with(|last| last.replace(Some(pool.acquire(4096).unwrap())));
            adds_up(&pool, 4096);
        });
        adds_up(&pool, 0);
    }
}

#[test]
fn a_thread_that_changes_pools_keeps_nothing_of_the_one_it_left() {
    let (one, two) = (pool(64 * MIB), pool(64 * MIB));
    let of_two = two.acquire(4096).unwrap();
    drop(one.acquire(4096).unwrap());
    assert!(adds_up(&one, 0).bytes_cached_threads > 0);
    assert_eq!(adds_up(&two, 4096).bytes_cached_threads, 0);
    // A release does not change the pool of the cache: it still serves the other one.
    drop(of_two);
    assert!(adds_up(&one, 0).bytes_cached_threads > 0);
    assert_eq!(adds_up(&two, 0).bytes_cached_threads, 0);
    drop(two.acquire(4096).unwrap());
    assert_eq!(adds_up(&one, 0).bytes_cached_threads, 0);
}

#[test]
fn a_producer_and_a_consumer_pass_the_same_memory_round() {
    let pool = pool(1024 * MIB);
    let (send, receive) = std::sync::mpsc::sync_channel::<Block>(64);
    thread::scope(|scope| {
        let consumer = scope.spawn(move || receive.into_iter().for_each(drop));
        for _ in 0..100_000 {
            send.send(pool.acquire(4096).unwrap()).unwrap();
        }
        drop(send);
        consumer.join().unwrap();
    });
    // At most 64 blocks are on the way, one is in each thread's hands, and the rest are in two caches. A slab has 512.
    assert_eq!(adds_up(&pool, 0).bytes_mapped, 2 << 20);
}

#[test]
fn foreign_memory_is_in_no_slab() {
    let pool = pool(8 * MIB);
    let mine = [0u8; 100];
    assert_eq!(pool.slab_of(mine.as_ptr().addr()), None);
    let block = pool.acquire(8192).unwrap();
    let slab = pool.slab_of(block.as_ptr().addr());
    assert_eq!(pool.slab_of(block.as_ptr().addr() + 8191), slab);
    assert!(slab.is_some());
    for address in [0, 1, mine.as_ptr().addr(), usize::MAX, Pool::global().acquire(1).unwrap().as_ptr().addr()] {
        assert_eq!(pool.slab_of(address), None);
    }
}

#[test]
fn late_writes_are_counted_by_a_pool_for_debugging() {
    let pool = Pool::builder().bytes_max(64 << 20).debug(true).build_with(Pace::Never).unwrap();
    for size in [4096, 3 << 20] {
        let mut block = pool.acquire(size).unwrap();
        block.fill(1);
        let kept = block.as_mut_ptr();
        drop(block);
        assert_eq!(pool.stats().damaged, 0);
        #[expect(unsafe_code, reason = "the mistake that is looked for")]
        // SAFETY: this breaks the rules on purpose. It does no harm: the pool keeps the memory mapped, and no other thread
        // uses it.
        unsafe {
            kept.add(100).write(2);
        }
        // The lowest block is handed out first.
        assert_eq!(pool.acquire(size).unwrap().as_ptr(), kept);
        assert_eq!(std::mem::take(&mut pool.stats().damaged), 1);
        pool.inner.damaged.store(0, Relaxed);
    }
    assert_eq!(adds_up(&pool, 0).bytes_cached_threads, 0);
}
