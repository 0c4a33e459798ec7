//! The arena over fake memory, which maps nothing and can refuse.

use std::cell::{Cell, RefCell};

use super::{
    random::{Random, seed},
    slab::{Counts, Memory, Retired},
    *,
};

const SLABS: u32 = 16;

/// Memory that only notes of each slab whether it is mapped, and refuses when a test wants it to. Its tests have one thread.
#[derive(Default)]
struct Fake {
    mapped: RefCell<[bool; SLABS as usize]>,
    /// How many more calls succeed.
    patience: Cell<Option<u32>>,
}

// SAFETY: used by one thread; the trait asks for more.
#[expect(unsafe_code, reason = "a stand-in for one thread")]
unsafe impl Sync for Fake {}

impl Fake {
    fn agrees(&self) -> bool {
        let left = self.patience.get();
        self.patience.set(left.map(|left| left.saturating_sub(1)));
        left != Some(0)
    }

    fn change(&self, first: u32, slabs: u32, mapped: bool) -> bool {
        if !self.agrees() {
            return false;
        }
        for slab in first..first + slabs {
            let before = std::mem::replace(&mut self.mapped.borrow_mut()[slab as usize], mapped);
            assert_ne!(before, mapped, "slab {slab}");
        }
        true
    }
}

impl Memory for &'static Fake {
    fn base(&self) -> NonNull<u8> {
        NonNull::new(ptr::without_provenance_mut(SLAB_BYTES)).unwrap()
    }

    fn slabs(&self) -> u32 {
        SLABS
    }

    fn map(&self, first: u32, slabs: u32, _: u32) -> bool {
        self.change(first, slabs, true)
    }

    #[expect(unsafe_code, reason = "as the trait has it")]
    unsafe fn unmap(&self, first: u32, slabs: u32) -> bool {
        self.change(first, slabs, false)
    }
}

fn arena() -> (Arena<&'static Fake>, &'static Fake) {
    let memory: &'static Fake = Box::leak(Box::default());
    (Arena::new(memory), memory)
}

fn counts(arena: &Arena<&'static Fake>) -> [u32; 4] {
    let Counts { mapped, free, in_runs, retiring } = arena.counts();
    [mapped, free, in_runs, retiring]
}

fn run(arena: &Arena<&'static Fake>, slabs: u32, max: u32) -> Option<u32> {
    arena.plan_run(slabs, 0, max).and_then(|plan| arena.finish_run(plan))
}

#[test]
fn a_refused_mapping_changes_nothing() {
    let (arena, memory) = arena();
    memory.patience.set(Some(0));
    assert_eq!(arena.map_one(0, SLABS), None);
    assert_eq!(run(&arena, 3, SLABS), None);
    assert_eq!(counts(&arena), [0; 4]);
    memory.patience.set(None);
    assert_eq!(arena.map_one(0, SLABS), Some(0));
    assert_eq!(run(&arena, 3, SLABS), Some(1));
}

#[test]
fn slabs_that_were_mapped_for_a_refused_block_are_free() {
    let (arena, memory) = arena();
    // Two slabs are unmapped, one is free, two are unmapped. That takes two mappings, and the second is refused.
    let (two, one) = (run(&arena, 2, SLABS).unwrap(), run(&arena, 1, SLABS).unwrap());
    arena.release_run(one);
    arena.release_run(two);
    assert_eq!(arena.retire(3, false), Retired { unmapped: 3, held: 0 });
    let _ = run(&arena, 2, SLABS);
    let _ = run(&arena, 1, SLABS);
    arena.release_run(0);
    assert_eq!(arena.retire(2, false).unmapped, 2);
    arena.release_run(2);
    memory.patience.set(Some(1));
    assert_eq!(run(&arena, 5, SLABS), None);
    assert_eq!(counts(&arena), [3, 3, 0, 0]);
    memory.patience.set(None);
    assert_eq!(run(&arena, 5, SLABS), Some(0));
    assert_eq!(counts(&arena), [5, 0, 5, 0]);
}

#[test]
fn a_refused_unmapping_leaves_the_slab_to_be_used() {
    let (arena, memory) = arena();
    let first = run(&arena, 2, SLABS).unwrap();
    arena.release_run(first);
    let held = arena.hold(first).unwrap();
    memory.patience.set(Some(0));
    assert_eq!(arena.retire(2, false), Retired { unmapped: 0, held: 1 });
    assert_eq!(arena.let_go(held), 0);
    assert_eq!(counts(&arena), [2, 2, 0, 0]);
    assert_eq!(run(&arena, 2, SLABS), Some(first));
}

#[test]
fn a_block_takes_the_first_row_that_is_free_before_any_that_has_to_be_mapped() {
    let (arena, _) = arena();
    let [one, two, four] = [1, 2, 4].map(|slabs| run(&arena, slabs, SLABS).unwrap());
    assert_eq!([one, two, four], [0, 1, 3]);
    arena.release_run(four);
    arena.release_run(one);
    assert_eq!(run(&arena, 2, SLABS), Some(3));
    // Two slabs behind it are free, and two more can be mapped: a row of four.
    assert_eq!(run(&arena, 4, SLABS), Some(5));
    assert_eq!(counts(&arena), [9, 1, 8, 0]);
    // One is free and one may be mapped, but not in a row.
    assert_eq!(run(&arena, 2, 10), None);
    assert_eq!(run(&arena, SLABS, SLABS), None);
}

#[test]
fn memory_in_use_stays_mapped_through_any_sequence_of_steps() {
    let (arena, memory) = arena();
    let mut random = Random(seed());
    let (mut runs, mut classes, mut held) = (Vec::<(u32, u32)>::new(), Vec::<u32>::new(), Vec::<Extent>::new());
    for _ in 0..20_000 {
        let max = 1 + random.below(u64::from(SLABS)) as u32;
        let any = |len: usize, random: &mut Random| (len > 0).then(|| random.below(len as u64) as usize);
        memory.patience.set((random.below(10) == 0).then_some(0));
        match random.below(8) {
            0 => {
                let slabs = 1 + random.below(4) as u32;
                runs.extend(run(&arena, slabs, max).map(|first| (first, slabs)));
            }
            1 => classes.extend(arena.take_free(None).or_else(|| arena.map_one(0, max))),
            2 => any(runs.len(), &mut random).into_iter().for_each(|at| arena.release_run(runs.swap_remove(at).0)),
            3 => {
                let seen = random.below(2) == 0;
                any(classes.len(), &mut random)
                    .into_iter()
                    .for_each(|at| arena.give_free(classes.swap_remove(at), seen));
            }
            4 => held.extend(arena.hold(random.below(u64::from(SLABS)) as u32)),
            5 => any(held.len(), &mut random).into_iter().for_each(|at| _ = arena.let_go(held.swap_remove(at))),
            6 => arena.mark_seen(),
            _ => drop(arena.retire(random.below(4) as u32, random.below(2) == 0)),
        }
        let mapped = *memory.mapped.borrow();
        assert_eq!(arena.counts().mapped, mapped.iter().map(|mapped| u32::from(*mapped)).sum());
        assert_eq!(arena.counts().in_runs, runs.iter().map(|(_, slabs)| slabs).sum());
        let in_use = runs.iter().flat_map(|(first, slabs)| *first..first + slabs).chain(classes.iter().copied());
        let known = held.iter().flat_map(|extent| extent.first_slab..extent.first_slab + extent.slabs);
        assert!(in_use.clone().chain(known).all(|slab| mapped[slab as usize]));
        let mut in_use: Vec<u32> = in_use.collect();
        in_use.sort_unstable();
        assert!(in_use.windows(2).all(|pair| pair[0] < pair[1]), "a slab is in two blocks");
    }
    memory.patience.set(None);
    runs.into_iter().for_each(|(first, _)| arena.release_run(first));
    classes.into_iter().for_each(|slab| arena.give_free(slab, false));
    let _ = arena.retire(u32::MAX, false);
    held.into_iter().for_each(|extent| _ = arena.let_go(extent));
    assert_eq!(counts(&arena), [0; 4]);
}
