//! Pauses between the tries of a call that the file system answers with `EAGAIN`.
//!
//! A FUSE server may answer so for as long as it likes. To ask again at once would keep a processor busy for nothing; to
//! pass the answer on at once would fail an operation that a moment later would have worked. So the call is made again
//! after pauses that grow, off any thread, and after a quarter of a second the answer is the caller's.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_millis(16);

/// How often a call is made before its `EAGAIN` is passed on. The pauses between the tries are 1, 2, 4, 8 and then 16 ms:
/// 255 ms in all.
pub(super) const TRIES_MAX: u32 = 20;

/// The pauses of one call.
#[derive(Debug, Default)]
pub(super) struct Pauses {
    taken: u32,
}

impl Pauses {
    /// The pause before the next try, if there is to be one.
    pub(super) fn next(&mut self) -> Option<Duration> {
        self.taken += 1;
        (self.taken < TRIES_MAX).then(|| (FIRST * (1 << (self.taken - 1).min(4))).min(LONGEST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_end() {
        let mut pauses = Pauses::default();
        let all: Vec<u128> = std::iter::from_fn(|| pauses.next()).map(|pause| pause.as_millis()).collect();
        assert_eq!(all[..6], [1, 2, 4, 8, 16, 16]);
        assert_eq!((all.len(), all.iter().sum::<u128>()), (TRIES_MAX as usize - 1, 255));
    }
}
