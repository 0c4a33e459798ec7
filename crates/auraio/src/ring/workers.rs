//! The kernel's workers (`io-wq`), and what is done when calls hold them for long.
//!
//! The kernel hands a call that would block to a worker. It has few of them for a thread's calls, so that one program does
//! not take a whole machine, and four opens on a mount that does not answer would hold all of them. So the ring counts the
//! calls in flight that may need a worker. While there are as many as workers, an alarm rings every 50 ms, and the ring
//! looks how many of the calls were in flight at the alarm before. Those count as stuck, and the limit on workers becomes
//! four more than there are stuck calls.
//!
//! A worker costs a stack of the kernel's (16 KiB), and there are at most 512. The kernel starts another worker only when
//! none of them runs on a processor, so a high limit does not mean many busy threads.

/// Workers that the kernel may have at most for calls of one ring.
const WORKERS_BOUND: u32 = 512;

/// What the ring knows of its calls that may need a worker.
#[derive(Debug)]
pub(super) struct Workers {
    /// Workers for calls that do not hold them for long; 0 where the backend has no workers.
    base: u32,
    /// The limit that the kernel was told last.
    limit: u32,
    /// Calls in flight that may need a worker.
    pub(super) in_flight: u32,
    /// The alarm is set.
    is_watching: bool,
}

impl Workers {
    pub(super) const fn new(base: u32) -> Self {
        Self { base, limit: base, in_flight: 0, is_watching: false }
    }

    /// Whether the calls in flight could hold all workers, or could when somebody looked last.
    #[inline]
    pub(super) const fn need_a_look(&self) -> bool {
        self.is_watching || self.base > 0 && self.in_flight >= self.base
    }

    /// Whether an alarm is to be set, because the calls in flight could hold all workers. It counts as set from now on.
    pub(super) const fn wants_alarm(&mut self) -> bool {
        let wants = self.base > 0 && self.in_flight >= self.base && !self.is_watching;
        self.is_watching |= wants;
        wants
    }

    /// Whether the alarm is set: then something besides a completion may end a wait.
    pub(super) const fn is_watching(&self) -> bool {
        self.is_watching
    }

    /// The alarm has rung, with so many calls stuck. Answers the limit to tell the kernel, if it is a new one.
    pub(super) fn on_alarm(&mut self, stuck: u32) -> Option<u32> {
        self.is_watching = false;
        let limit = if stuck == 0 { self.base } else { stuck.saturating_add(self.base).min(WORKERS_BOUND) };
        (std::mem::replace(&mut self.limit, limit) != limit).then_some(limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stuck_calls_do_not_count_against_the_limit() {
        let mut workers = Workers::new(4);
        workers.in_flight = 3;
        assert!(!workers.wants_alarm());
        workers.in_flight = 4;
        assert!(workers.wants_alarm() && workers.is_watching() && !workers.wants_alarm());
        assert_eq!(workers.on_alarm(0), None);
        assert_eq!(workers.on_alarm(4), Some(8));
        assert_eq!(workers.on_alarm(4), None);
        assert_eq!(workers.on_alarm(5000), Some(WORKERS_BOUND));
        assert_eq!(workers.on_alarm(0), Some(4));
    }

    #[test]
    fn a_backend_without_workers_needs_no_alarm() {
        let mut workers = Workers::new(0);
        workers.in_flight = 1000;
        assert!(!workers.wants_alarm());
    }
}
