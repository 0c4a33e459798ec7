//! Size classes: the powers of two from 4 KiB to 1 MiB. Larger blocks take whole slabs.
//!
//! A slab serves one class, and begins at a multiple of its own size. So a block begins at a multiple of its size too, and
//! a block of the class of an alignment has that alignment.

/// The smallest block, and the alignment of every block.
pub(crate) const BLOCK_BYTES_MIN: usize = 1 << BLOCK_SHIFT_MIN;

const BLOCK_SHIFT_MIN: u32 = 12;

/// Bytes of a slab, and the largest alignment. It is the size of a huge page on x86-64, and on ARM with pages of 4 KiB.
pub(crate) const SLAB_BYTES: usize = 1 << SLAB_SHIFT;

pub(super) const SLAB_SHIFT: u32 = 21;

/// How many classes there are. Used as a class, this number stands for whole slabs.
pub(super) const CLASSES: usize = 9;

/// How many blocks of one class a thread's cache may hold at most.
pub(super) const CACHED_MAX: usize = 64;

/// The class of blocks that hold this many bytes; [`CLASSES`] or more for 0, and for sizes that take whole slabs.
#[inline]
pub(super) const fn class_of(bytes: usize) -> usize {
    // How many bits the index of the last byte has beyond the bits of an index in the smallest block.
    (usize::BITS - (bytes.wrapping_sub(1) >> BLOCK_SHIFT_MIN).leading_zeros()) as usize
}

/// Bytes of a block of this class.
#[inline]
pub(super) const fn bytes_of(class: usize) -> usize {
    BLOCK_BYTES_MIN << class
}

/// Blocks in a slab of this class.
pub(super) const fn blocks_of_slab(class: usize) -> u32 {
    (SLAB_BYTES >> BLOCK_SHIFT_MIN >> class) as u32
}

/// Where block number `index` of a slab begins, from the slab's beginning.
pub(super) const fn offset_of(class: usize, index: u32) -> usize {
    (index as usize) << (BLOCK_SHIFT_MIN as usize + class)
}

/// The inverse of [`offset_of`].
pub(super) const fn index_of(class: usize, offset: usize) -> u32 {
    (offset >> (BLOCK_SHIFT_MIN as usize + class)) as u32
}

/// How many slabs this many bytes take.
pub(super) const fn slabs_of(bytes: usize) -> usize {
    bytes.div_ceil(SLAB_BYTES)
}

/// How many blocks of a class a thread's cache may hold, in a pool that may map `bytes_max`: at most 64, at most 2 MiB, and
/// at most a 64th of the pool, so that the caches of threads cannot hold most of a small pool. With 32 blocks, a thread that
/// takes 64 and gives them back pays 14 ns for each instead of 8; with 128 no bench got faster by more than its noise
/// (`cargo bench --bench pool`).
pub(super) const fn cached_max(class: usize, bytes_max: u64) -> usize {
    let bytes = bytes_of(class);
    let by_class = if (2 << 20) / bytes < CACHED_MAX { (2 << 20) / bytes } else { CACHED_MAX };
    let by_pool = bytes_max / 64 / bytes as u64;
    if by_pool < by_class as u64 { by_pool as usize } else { by_class }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_class_of_a_size_holds_it_and_the_class_below_does_not() {
        for bytes in
            (1..=SLAB_BYTES).step_by(511).chain((12..=20).flat_map(|bit| [(1 << bit) - 1, 1 << bit, (1 << bit) + 1]))
        {
            let class = class_of(bytes);
            assert!(bytes_of(class) >= bytes, "{bytes}");
            assert!(class == 0 || bytes_of(class - 1) < bytes, "{bytes}");
        }
        assert_eq!((class_of(1 << 20), class_of((1 << 20) + 1)), (CLASSES - 1, CLASSES));
        assert!(class_of(0) >= CLASSES && class_of(usize::MAX) >= CLASSES);
    }

    #[test]
    fn the_blocks_of_a_slab_fill_it() {
        for class in 0..CLASSES {
            let blocks = blocks_of_slab(class);
            assert_eq!(blocks as usize * bytes_of(class), SLAB_BYTES);
            assert_eq!(offset_of(class, blocks), SLAB_BYTES);
            assert!((0..blocks).all(|index| index_of(class, offset_of(class, index)) == index));
        }
    }

    #[test]
    fn a_thread_keeps_less_of_a_small_pool() {
        let all = |bytes_max| [0, 1, 4, 8].map(|class| cached_max(class, bytes_max));
        assert_eq!(all(u64::MAX), [64, 64, 32, 2]);
        assert_eq!(all(64 << 20), [64, 64, 16, 1]);
        assert_eq!(all(2 << 20), [8, 4, 0, 0]);
        assert_eq!(all(0), [0; 4]);
    }
}
