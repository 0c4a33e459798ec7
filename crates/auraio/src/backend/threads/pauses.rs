//! Pauses between the tries of a call that the file system answers with `EAGAIN`.
//!
//! A FUSE server may give this answer for as long as it likes. If the call were made again at once, it would keep a
//! processor busy for nothing. If the answer were passed on at once, an operation would fail that would have worked a moment
//! later. So the call is made again after pauses that grow, and occupies no thread meanwhile. After a quarter of a second
//! the caller gets the answer.

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
    /// The pause before the next try. `None` if there is no further try.
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
