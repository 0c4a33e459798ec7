//! Measures the cost of a block of the pool, beside the cost of aligned memory from other allocators: with one thread, with
//! four threads, and from thread to thread. It also measures how much memory of a burst can be given back, and what a fork
//! costs while slabs are mapped.
//!
//! `cargo bench --bench pool -- [rounds] [milliseconds]`. The peers are the system's allocator and mimalloc. jemalloc takes
//! minutes to build, so it takes part only with `RUSTFLAGS='--cfg auraio_jemalloc'`. All are asked for the same sizes at a
//! multiple of 4,096, in the same order. Rounds alternate, and medians are printed. One operation is an acquisition and its
//! release.
#![expect(clippy::print_stdout, reason = "a bench prints what it found")]

#[cfg(target_os = "linux")]
fn main() {
    linux::main();
}

#[cfg(not(target_os = "linux"))]
fn main() {
    println!("skipped: these benches measure the processor time and the fork of Linux");
}

#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "the peers speak in raw pointers")]
mod linux {
    use std::{
        alloc::{GlobalAlloc, Layout, System},
        collections::VecDeque,
        hint::black_box,
        os::unix::process::CommandExt,
        process::Command,
        ptr::NonNull,
        sync::{Barrier, mpsc},
        thread,
        time::{Duration, Instant},
    };

    use auraio::{Block, Pool, topology};

    const PAGE: usize = 4096;
    const MIB: usize = 1 << 20;

    pub(super) fn main() {
        let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
        let rounds = args.first().and_then(|arg| arg.parse().ok()).unwrap_or(9);
        let round = Duration::from_millis(args.get(1).and_then(|arg| arg.parse().ok()).unwrap_or(150));
        println!("rounds {rounds} of {round:?}; medians, in ns for an acquisition and its release");
        compare("4 KiB, the block just released", rounds, &|peer| peer.one_by_one(round));
        compare("4 to 32 KiB, 16 held at a time", rounds, &|peer| peer.mixed(round));
        compare("four threads, 16 held by each, processor time", rounds, &|peer| peer.threads(16, round));
        compare("four threads, 256 held by each, processor time", rounds, &|peer| peer.threads(256, round));
        compare("from thread to thread, processor time of both", rounds, &|peer| peer.handed_over(round));
        burst();
        forks(rounds);
    }

    /// An allocator.
    trait Peer: Copy + Send + Sync + 'static {
        type Memory: Send;

        fn acquire(self, size: usize) -> Self::Memory;

        /// Uses the memory. Otherwise the compiler could leave out the allocation.
        fn address(memory: &Self::Memory) -> *const u8;

        #[inline]
        fn acquire_used(self, size: usize) -> Self::Memory {
            let memory = self.acquire(size);
            black_box(Self::address(&memory));
            memory
        }
    }

    #[derive(Clone, Copy)]
    struct Ours(Pool);

    impl Peer for Ours {
        type Memory = Block;

        #[inline]
        fn acquire(self, size: usize) -> Block {
            self.0.acquire(size).expect("the pool is large enough")
        }

        #[inline]
        fn address(memory: &Block) -> *const u8 {
            memory.as_ptr()
        }
    }

    /// A global allocator of a Rust program, called directly.
    #[derive(Clone, Copy)]
    struct Allocator<A: 'static>(&'static A);

    struct Allocated<A: GlobalAlloc + 'static> {
        address: NonNull<u8>,
        layout: Layout,
        from: &'static A,
    }

    // SAFETY: an allocator can free its memory on any thread.
    unsafe impl<A: GlobalAlloc> Send for Allocated<A> {}

    impl<A: GlobalAlloc> Drop for Allocated<A> {
        #[inline]
        fn drop(&mut self) {
            // SAFETY: allocated by this allocator with this layout.
            unsafe { self.from.dealloc(self.address.as_ptr(), self.layout) };
        }
    }

    impl<A: GlobalAlloc + Copy + Send + Sync + 'static> Peer for Allocator<A> {
        type Memory = Allocated<A>;

        #[inline]
        fn acquire(self, size: usize) -> Allocated<A> {
            let layout = Layout::from_size_align(size, PAGE).expect("a size that fits");
            // SAFETY: the size is not zero.
            let address = unsafe { self.0.alloc(layout) };
            Allocated { address: NonNull::new(address).expect("memory"), layout, from: self.0 }
        }

        #[inline]
        fn address(memory: &Allocated<A>) -> *const u8 {
            memory.address.as_ptr()
        }
    }

    #[cfg(auraio_jemalloc)]
    #[derive(Clone, Copy)]
    struct Jemalloc;

    #[cfg(auraio_jemalloc)]
    // SAFETY: passes everything on.
    unsafe impl GlobalAlloc for Jemalloc {
        #[inline]
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            // SAFETY: the caller's promise.
            unsafe { tikv_jemallocator::Jemalloc.alloc(layout) }
        }

        #[inline]
        unsafe fn dealloc(&self, address: *mut u8, layout: Layout) {
            // SAFETY: the caller's promise.
            unsafe { tikv_jemallocator::Jemalloc.dealloc(address, layout) };
        }
    }

    #[derive(Clone, Copy)]
    struct Mimalloc;

    // SAFETY: passes everything on.
    unsafe impl GlobalAlloc for Mimalloc {
        #[inline]
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            // SAFETY: the caller's promise.
            unsafe { mimalloc::MiMalloc.alloc(layout) }
        }

        #[inline]
        unsafe fn dealloc(&self, address: *mut u8, layout: Layout) {
            // SAFETY: the caller's promise.
            unsafe { mimalloc::MiMalloc.dealloc(address, layout) };
        }
    }

    /// The measurements of one peer.
    trait Measured {
        fn name(&self) -> &'static str;
        fn one_by_one(&self, round: Duration) -> f64;
        fn mixed(&self, round: Duration) -> f64;
        fn threads(&self, held: usize, round: Duration) -> f64;
        fn handed_over(&self, round: Duration) -> f64;
    }

    struct Named<P>(&'static str, P);

    fn peers() -> Vec<Box<dyn Measured>> {
        vec![
            Box::new(Named("auraio", Ours(Pool::global()))),
            #[cfg(auraio_jemalloc)]
            Box::new(Named("jemalloc", Allocator(&Jemalloc))),
            Box::new(Named("mimalloc", Allocator(&Mimalloc))),
            Box::new(Named("system", Allocator(&System))),
        ]
    }

    impl<P: Peer> Measured for Named<P> {
        fn name(&self) -> &'static str {
            self.0
        }

        fn one_by_one(&self, round: Duration) -> f64 {
            pinned(|| {
                processor(round, || {
                    drop(self.1.acquire_used(black_box(PAGE)));
                    1
                })
            })
        }

        fn mixed(&self, round: Duration) -> f64 {
            let mut random = Random(0x9e37_79b9_7f4a_7c15);
            // Made before the clock starts, because only the allocator is measured.
            let steps: [(u16, u8); 1024] =
                std::array::from_fn(|_| ((PAGE + random.below(28 * 1024 + 1)) as u16, random.below(16) as u8));
            pinned(|| {
                let mut held: [Option<P::Memory>; 16] = [const { None }; 16];
                let mut step = 0;
                processor(round, || {
                    let (size, place) = steps[step % steps.len()];
                    step += 1;
                    held[place as usize % 16] = Some(self.1.acquire_used(size as usize));
                    1
                })
            })
        }

        fn threads(&self, held: usize, round: Duration) -> f64 {
            let (peer, start) = (self.1, &Barrier::new(4));
            let costs = thread::scope(|scope| {
                let work = |_| {
                    scope.spawn(move || {
                        let mut memory = Vec::with_capacity(held);
                        let mut step = || {
                            memory.extend((0..held).map(|_| peer.acquire_used(PAGE)));
                            memory.clear();
                            held as u64
                        };
                        step();
                        start.wait();
                        processor(round, step)
                    })
                };
                let threads: Vec<_> = (0..4).map(work).collect();
                threads.into_iter().map(|thread| thread.join().expect("a thread")).collect::<Vec<_>>()
            });
            costs.iter().sum::<f64>() / costs.len() as f64
        }

        fn handed_over(&self, round: Duration) -> f64 {
            // Blocks are handed over 1,024 at a time: putting a thread to sleep and waking it through a channel costs more than
            // a block.
            const AT_ONCE: usize = 1024;
            const ON_THE_WAY: usize = 8;
            let peer = self.1;
            let (full, fulls) = mpsc::sync_channel::<Vec<P::Memory>>(ON_THE_WAY);
            let (empty, empties) = mpsc::sync_channel::<Vec<P::Memory>>(2 * ON_THE_WAY);
            (0..ON_THE_WAY).for_each(|_| empty.send(Vec::with_capacity(AT_ONCE)).expect("there is room"));
            let consumer = thread::spawn(move || {
                pin(1);
                let before = processor_time();
                for mut memory in fulls {
                    memory.clear();
                    // The producer may have ended.
                    let _ = empty.send(memory);
                }
                processor_time() - before
            });
            let producer = thread::spawn(move || {
                pin(0);
                let (before, begin) = (processor_time(), Instant::now());
                let mut done = 0;
                while begin.elapsed() < round {
                    for _ in 0..16 {
                        let mut memory = empties.recv().expect("the consumer sends them back");
                        memory.extend((0..AT_ONCE).map(|_| peer.acquire_used(PAGE)));
                        full.send(memory).expect("the consumer takes them");
                        done += AT_ONCE;
                    }
                }
                (processor_time() - before, done)
            });
            let (produced, done) = producer.join().expect("the producer");
            let consumed = consumer.join().expect("the consumer");
            (produced + consumed).as_nanos() as f64 / done as f64
        }
    }

    fn compare(title: &str, rounds: usize, measure: &dyn Fn(&dyn Measured) -> f64) {
        let peers = peers();
        let mut found: Vec<Vec<f64>> = vec![Vec::new(); peers.len()];
        for round in 0..=rounds {
            for at in 0..peers.len() {
                // Each peer begins a round in turn, and the first round is a warm-up.
                let at = (at + round) % peers.len();
                let cost = measure(&*peers[at]);
                if round > 0 {
                    found[at].push(cost);
                }
            }
        }
        let medians: Vec<f64> = found.iter_mut().map(|costs| median(costs)).collect();
        print!("{title}: auraio {:.2}", medians[0]);
        for (peer, cost) in peers.iter().zip(&medians).skip(1) {
            print!("; {} {cost:.2}, ratio {:.3}", peer.name(), medians[0] / cost);
        }
        println!();
    }

    /// How much memory of a burst can be given back while a program goes on with 1,000 blocks, 128 at a time.
    fn burst() {
        let pool = Pool::builder().bytes_max(1 << 30).build().expect("a pool");
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        let mut blocks: Vec<Block> = (0..(512 * MIB) / PAGE).map(|_| Ours(pool).acquire(PAGE)).collect();
        let mapped = pool.stats().bytes_mapped;
        while !blocks.is_empty() {
            blocks.swap_remove(random.below(blocks.len()));
        }
        let mut held: VecDeque<Block> = (0..1000).map(|_| Ours(pool).acquire(PAGE)).collect();
        for _ in 0..1000 {
            drop(held.drain(..128));
            held.extend((0..128).map(|_| Ours(pool).acquire(PAGE)));
        }
        let trimmed = pool.trim();
        println!(
            "a burst of {} MiB in 4 KiB blocks, released at random, with 4 MiB in use after it: {} MiB can be trimmed",
            mapped >> 20,
            trimmed >> 20
        );
    }

    /// Starts a child by fork and exec: with slabs, without slabs and, for comparison, with as much ordinary memory.
    fn forks(rounds: usize) {
        let pool = Pool::builder().bytes_max(512 << 20).build().expect("a pool");
        let child = || {
            let begin = Instant::now();
            let mut command = Command::new("true");
            // SAFETY: the closure does nothing. It only makes the standard library use fork.
            unsafe { command.pre_exec(|| Ok(())) };
            assert!(command.status().expect("a child").success());
            begin.elapsed().as_secs_f64() * 1e6
        };
        // Mapping has pushed everything else out of the processor's caches. The first child pays for that, so it is not
        // measured.
        let children = || {
            child();
            median(&mut [(); 9].map(|()| child()))
        };
        let without = || {
            pool.trim();
            children()
        };
        let with = || {
            let _slabs = Ours(pool).acquire(256 * MIB);
            children()
        };
        let (mut ratios, mut ordinary) = (Vec::new(), Vec::new());
        for round in 0..3 * rounds {
            // The two are measured one after the other, and take turns in being first: the other load of the machine changes
            // more slowly than that.
            let (without, with) = if round % 2 == 0 {
                let without = without();
                (without, with())
            } else {
                let with = with();
                (without(), with)
            };
            ratios.push(with / without);
            pool.trim();
            let memory = vec![1u8; 256 * MIB];
            ordinary.push(child() / without);
            drop(black_box(memory));
        }
        println!(
            "fork, exec and wait, against a process without: with 256 MiB of slabs {:.3}, with 256 MiB of ordinary memory {:.1}",
            median(&mut ratios),
            median(&mut ordinary)
        );
    }

    /// Nanoseconds of processor time of this thread for each operation; `step` answers how many it did. On an idle machine that
    /// is the time that passes.
    fn processor(round: Duration, mut step: impl FnMut() -> u64) -> f64 {
        let (before, begin) = (processor_time(), Instant::now());
        let mut done = 0;
        while begin.elapsed() < round {
            for _ in 0..1024 {
                done += step();
            }
        }
        (processor_time() - before).as_nanos() as f64 / done as f64
    }

    fn processor_time() -> Duration {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        Duration::new(time.tv_sec.cast_unsigned(), u32::try_from(time.tv_nsec).unwrap_or(0))
    }

    /// Runs `work` on a thread of its own, which stays on one core.
    fn pinned<T: Send>(work: impl FnOnce() -> T + Send) -> T {
        let work = || {
            pin(0);
            work()
        };
        thread::scope(|scope| scope.spawn(work).join().expect("a thread"))
    }

    fn pin(number: usize) {
        let cpus = topology::Affinity::of_this_thread();
        topology::pin_this_thread(cpus.cpus()[number % cpus.len()]).expect("pins");
    }

    fn median(values: &mut [f64]) -> f64 {
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    }

    /// xorshift64 (Marsaglia 2003).
    struct Random(u64);

    impl Random {
        fn below(&mut self, end: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            (self.0 % end as u64) as usize
        }
    }
}
