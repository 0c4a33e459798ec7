//! Several threads acquire, write, pass on, check and release blocks at random.

use std::sync::atomic::AtomicUsize;

use super::*;

/// xorshift64 (Marsaglia 2003).
pub(super) struct Random(pub(super) u64);

/// A new seed for each run. It is printed, so that a run can be repeated with `AURAIO_SEED`.
pub(super) fn seed() -> u64 {
    let seed = std::env::var("AURAIO_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| {
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(1, |now| now.as_nanos() as u64)
    });
    println!("AURAIO_SEED={seed}");
    seed.max(1)
}

impl Random {
    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// A block that is filled with a number of its own.
struct Marked {
    block: Block,
    mark: u64,
}

impl Marked {
    /// Fills the block with its number. If two blocks overlap, one of them later finds the other's number.
    fn new(mut block: Block, mark: u64) -> Self {
        let len = block.len();
        block.chunks_mut(8).for_each(|chunk| chunk.copy_from_slice(&mark.to_le_bytes()[..chunk.len()]));
        assert_eq!(block.len(), len);
        Self { block, mark }
    }

    fn check(&self) {
        let mark = self.mark.to_le_bytes();
        assert!(self.block.chunks(8).all(|chunk| chunk == &mark[..chunk.len()]), "two blocks overlap");
    }
}

/// The state that all threads of the test share.
struct Shared {
    pool: Pool,
    shelf: Mutex<Vec<Marked>>,
    next: AtomicUsize,
    refused: AtomicUsize,
}

impl Shared {
    /// The work of one thread.
    fn work(&self, mut random: Random) {
        let mut mine: Vec<Marked> = Vec::new();
        for _ in 0..4000 {
            match random.below(100) {
                0..50 => mine.extend(self.acquire(&mut random)),
                50..85 if !mine.is_empty() => {
                    let at = random.below(mine.len() as u64) as usize;
                    mine.swap_remove(at).check();
                }
                85..92 => lock(&self.shelf).extend(mine.pop()),
                92..99 => {
                    let other = lock(&self.shelf).pop();
                    other.iter().for_each(Marked::check);
                    mine.extend(other);
                }
                99 => {
                    shards::pretended::CPU.set(Some(random.below(4) as u32));
                    if random.below(4) == 0 {
                        let _ = self.pool.trim();
                    }
                }
                _ => {}
            }
        }
        mine.iter().for_each(Marked::check);
        lock(&self.shelf).extend(mine);
    }

    /// A random size: mostly small, sometimes larger than a slab.
    fn acquire(&self, random: &mut Random) -> Option<Marked> {
        let most = 1 << (8 + random.below(15));
        let size = 1 + random.below(most) as usize;
        let alignment = 1 << random.below(22);
        match self.pool.acquire_aligned(size, alignment) {
            Ok(block) => {
                assert!(block.as_ptr().addr().is_multiple_of(alignment.max(4096)));
                Some(Marked::new(block, self.next.fetch_add(1, Relaxed) as u64))
            }
            Err(error) => {
                assert_eq!(error, Error::PoolExhausted { wanted: size });
                self.refused.fetch_add(1, Relaxed);
                None
            }
        }
    }
}

#[test]
fn no_two_blocks_overlap_and_the_statistics_count_every_byte() {
    let seed = seed();
    let machine = Topology::builder().node(0, 0..2).node(1, 2..4).build().unwrap();
    let pool = Pool::builder().bytes_max(96 << 20).topology(machine).build_with(Pace::Never).unwrap();
    let shared = Shared { pool, shelf: Mutex::default(), next: AtomicUsize::new(1), refused: AtomicUsize::new(0) };
    together(4, |thread| shared.work(Random((seed ^ (thread as u64) << 32).max(1))));
    let left = shared.shelf.into_inner().unwrap();
    left.iter().for_each(Marked::check);
    let stats = adds_up(&pool, left.iter().map(|marked| marked.block.capacity()).sum());
    println!("{} were refused; {stats:?}", shared.refused.into_inner());
    assert_eq!(stats.bytes_cached_threads, 0);
    drop(left);
    adds_up(&pool, 0);
    let _ = pool.trim();
    assert_eq!(adds_up(&pool, 0).bytes_mapped, 0);
}
