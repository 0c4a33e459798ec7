//! Waiting for memory when the pool is at its ceiling.

use std::{
    future::Future,
    pin::{Pin, pin},
    sync::{Arc, atomic::AtomicUsize},
    task::{Context, Poll, Wake, Waker},
};

use super::*;

/// Counts how often it was woken.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Relaxed);
    }
}

/// A future that was polled once, and the count of its wake-ups.
struct Waiting {
    future: Pin<Box<Acquire>>,
    woken: Arc<Woken>,
}

impl Waiting {
    fn new(pool: &Pool, size: usize) -> Self {
        let mut waiting = Self { future: Box::pin(pool.acquire_async(size, 4096)), woken: Arc::default() };
        assert!(waiting.poll().is_pending());
        waiting
    }

    fn poll(&mut self) -> Poll<Result<Block>> {
        self.future.as_mut().poll(&mut Context::from_waker(&Waker::from(Arc::clone(&self.woken))))
    }

    fn times_woken(&self) -> usize {
        self.woken.0.load(Relaxed)
    }

    /// The block that it got. It must have been woken for it exactly once.
    fn served(&mut self) -> Block {
        assert_eq!(self.times_woken(), 1);
        match self.poll() {
            Poll::Ready(block) => block.unwrap(),
            Poll::Pending => panic!("woken for nothing"),
        }
    }
}

/// A pool of which all memory is in use, in blocks of this size.
fn full(bytes_max: usize, size: usize) -> (Pool, Vec<Block>) {
    let pool = pool(bytes_max);
    let blocks = (0..bytes_max / size).map(|_| pool.acquire(size).unwrap()).collect();
    assert_eq!(pool.acquire(size).unwrap_err(), Error::PoolExhausted { wanted: size });
    (pool, blocks)
}

#[test]
fn several_threads_together_can_acquire_all_of_a_small_pool() {
    let pool = pool(4 * MIB);
    let sleepers: Vec<_> = (0..4).map(|_| Sleeper::after(move || drop(pool.acquire(4096).unwrap()))).collect();
    let blocks: Vec<_> = (0..1024).map(|_| pool.acquire(4096).unwrap()).collect();
    assert_eq!(pool.acquire(4096).unwrap_err(), Error::PoolExhausted { wanted: 4096 });
    adds_up(&pool, 4 * MIB);
    drop((sleepers, blocks));
    adds_up(&pool, 0);
}

#[test]
fn a_released_block_goes_to_the_one_who_waits() {
    let (pool, mut blocks) = full(2 * MIB, 4096);
    let mut waiting = Waiting::new(&pool, 4096);
    assert_eq!(pool.stats().waiting, 1);
    drop(blocks.pop());
    let block = waiting.served();
    assert_eq!(pool.stats().waiting, 0);
    adds_up(&pool, 2 * MIB);
    drop(block);
}

#[test]
fn waiters_are_served_in_order_and_a_large_request_is_not_starved() {
    let (pool, mut blocks) = full(4 * MIB, 4096);
    let mut large = Waiting::new(&pool, MIB);
    let mut small = Waiting::new(&pool, 4096);
    // All but one block of the lower slab are free. That is not enough for the first waiter, and the second must wait for it.
    let last = blocks.remove(0);
    drop(blocks.drain(..511));
    assert_eq!((large.times_woken(), small.times_woken()), (0, 0));
    // A request that does not wait is refused too.
    assert_eq!(pool.acquire(4096).unwrap_err(), Error::PoolExhausted { wanted: 4096 });
    drop(last);
    let large = large.served();
    assert_eq!(small.times_woken(), 0);
    drop(blocks.pop());
    drop(small.served());
    drop(large);
    adds_up(&pool, 511 * 4096);
}

#[test]
fn one_release_serves_as_many_waiters_as_it_has_memory_for() {
    let (pool, mut blocks) = full(4 * MIB, 2 * MIB);
    let mut waiting: Vec<_> = (0..3).map(|_| Waiting::new(&pool, MIB)).collect();
    drop(blocks.pop());
    let served: Vec<_> = waiting.iter_mut().take(2).map(Waiting::served).collect();
    assert_eq!(waiting[2].times_woken(), 0);
    drop(served);
    assert_eq!(waiting[2].served().len(), MIB);
}

#[test]
fn when_the_first_stops_waiting_the_next_is_served() {
    let (pool, mut blocks) = full(4 * MIB, 2 * MIB);
    let large = Waiting::new(&pool, 4 * MIB);
    let mut small = Waiting::new(&pool, 4096);
    drop(blocks.pop());
    assert_eq!(small.times_woken(), 0);
    drop(large);
    drop(small.served());
    assert_eq!(pool.stats().waiting, 0);
    assert!(pool.acquire(4096).is_ok());
}

#[test]
fn a_block_given_to_a_future_that_is_then_dropped_goes_to_the_next() {
    let (pool, mut blocks) = full(2 * MIB, 2 * MIB);
    let first = Waiting::new(&pool, 2 * MIB);
    let mut second = Waiting::new(&pool, 2 * MIB);
    drop(blocks.pop());
    assert_eq!((first.times_woken(), second.times_woken()), (1, 0));
    drop(first);
    drop(second.served());
    adds_up(&pool, 0);
}

#[test]
fn a_future_that_nobody_polls_delays_nobody() {
    let (pool, mut blocks) = full(2 * MIB, MIB);
    let forgotten = Waiting::new(&pool, MIB);
    drop(blocks.pop());
    assert_eq!(forgotten.times_woken(), 1);
    let mut next = Waiting::new(&pool, MIB);
    drop(blocks.pop());
    drop(next.served());
    assert!(pool.acquire(MIB).is_ok());
}

#[test]
fn blocks_in_the_caches_of_sleeping_threads_go_to_waiters() {
    if !crate::sys::memory::barrier_on_all_threads() {
        println!("skipped: the system has no membarrier, or forbids it");
        return;
    }
    let (pool, blocks) = full(2 * MIB, 4096);
    let mut blocks = blocks.into_iter();
    let (one, two) = (blocks.next().unwrap(), blocks.next().unwrap());
    let sleeper = Sleeper::after(move || drop((one, two)));
    assert_eq!(pool.stats().bytes_cached_threads, 2 * 4096);
    let given = pollster::block_on(pool.acquire_async(4096, 4096)).unwrap();
    assert_eq!(pool.acquire(4096).unwrap().len(), 4096);
    adds_up(&pool, 511 * 4096);
    drop((sleeper, given));
}

#[test]
fn memory_of_another_size_goes_to_waiters() {
    let (pool, blocks) = full(4 * MIB, 4096);
    let mut waiting = [8192, MIB, 2 * MIB].map(|size| Waiting::new(&pool, size));
    drop(blocks);
    waiting[..2].iter_mut().for_each(|waiting| drop(waiting.served()));
    drop(waiting[2].served());
}

#[test]
fn a_higher_ceiling_serves_waiters() {
    let (pool, _blocks) = full(2 * MIB, 2 * MIB);
    let mut waiting = Waiting::new(&pool, 4096);
    pool.set_bytes_max(4 << 20);
    drop(waiting.served());
}

#[test]
fn a_request_that_a_lower_ceiling_forbids_is_refused() {
    let (pool, mut blocks) = full(8 * MIB, 2 * MIB);
    let mut waiting = Waiting::new(&pool, 4 * MIB);
    pool.set_bytes_max(2 << 20);
    // The mapped memory stays, and would be enough.
    assert_eq!(waiting.times_woken(), 0);
    let last = blocks.pop();
    let third = blocks.remove(0);
    drop(blocks);
    // Two in a row.
    drop(waiting.served());
    let mut waiting = Waiting::new(&pool, 8 * MIB);
    assert_eq!(waiting.times_woken(), 0);
    let _ = elsewhere(|| pool.trim());
    assert_eq!(waiting.times_woken(), 1);
    assert!(matches!(waiting.poll(), Poll::Ready(Err(Error::InvalidInput(_)))));
    drop((last, third));
}

#[test]
fn after_a_lower_ceiling_mapped_memory_stays_and_no_more_is_mapped() {
    let pool = pool(8 * MIB);
    let blocks = [4096, 8192].map(|size| pool.acquire(size).unwrap());
    pool.set_bytes_max(0);
    assert_eq!(adds_up(&pool, 3 * 4096).bytes_max, 0);
    assert!(pool.acquire(4096).is_ok());
    assert_eq!(pool.acquire(65_536).unwrap_err(), Error::PoolExhausted { wanted: 65_536 });
    assert!(matches!(pool.acquire(5 * MIB), Err(Error::InvalidInput(_))));
    drop(blocks);
    // A slab that is free as a whole serves any size.
    assert!(pool.acquire(65_536).is_ok());
    let _ = pool.trim();
    assert!(matches!(pool.acquire(65_536), Err(Error::InvalidInput(_))));
    pool.set_bytes_max(u64::MAX);
    assert_eq!(pool.stats().bytes_max, 64 << 20);
}

#[test]
fn threads_that_wait_for_each_other_are_all_served() {
    let pool = pool(2 * MIB);
    let held = pool.acquire(MIB).unwrap();
    together(4, |_| {
        for _ in 0..500 {
            drop(pollster::block_on(pool.acquire_async(MIB, 4096)).unwrap());
        }
    });
    drop(held);
    adds_up(&pool, 0);
}

#[test]
fn a_future_that_was_ready_can_be_polled_again_and_sent_to_threads() {
    let pool = pool(2 * MIB);
    let mut future = pin!(pool.acquire_async(4096, 4096));
    let mut context = Context::from_waker(Waker::noop());
    assert!(future.as_mut().poll(&mut context).is_ready());
    assert!(future.as_mut().poll(&mut context).is_ready());
    fn is_send<T: Send>(value: T) -> T {
        value
    }
    drop(is_send(pool.acquire_async(1, 1)));
}
