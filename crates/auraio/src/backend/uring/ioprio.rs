//! Tells the kernel's I/O schedulers an operation's priority.
//!
//! Linux takes a class and a level in an entry's `ioprio` (Documentation/block/ioprio.rst; the layout is that of
//! include/uapi/linux/ioprio.h). BFQ uses class and level, mq-deadline the class alone. A device without a scheduler, which
//! most NVMe disks are, uses neither. So this is a hint beside the order that the core itself keeps, and does not replace it.
//!
//! Two classes are not used. Real-time needs CAP_SYS_ADMIN or CAP_SYS_NICE; without these the kernel fails the operation with
//! EPERM. Idle needs nothing since Linux 2.6.25, but is served only while the disk has nothing else to do: a bulk operation
//! could wait for ever, and keep its buffer and its place in flight meanwhile.

use crate::control::Priority;

/// IOPRIO_CLASS_NONE: the kernel goes by the thread's own priority.
const CLASS_NONE: u16 = 0;
/// IOPRIO_CLASS_BE, "best effort", which every thread may use.
const CLASS_BEST_EFFORT: u16 = 2;
/// The levels of best effort: 0 is served before 7. A thread that asked for nothing has level 4.
const LEVEL_FIRST: u16 = 0;
const LEVEL_LAST: u16 = 7;

/// IOPRIO_PRIO_VALUE of the kernel's header.
const fn value(class: u16, level: u16) -> u16 {
    class << 13 | level
}

/// The `ioprio` of an entry. It is for reads and writes only: io_uring refuses most other operations with EINVAL if they have
/// one, and in some it takes the number as flags.
pub(super) const fn ioprio_of(priority: Priority) -> u16 {
    match priority {
        Priority::High => value(CLASS_BEST_EFFORT, LEVEL_FIRST),
        Priority::Normal => value(CLASS_NONE, 0),
        Priority::Low => value(CLASS_BEST_EFFORT, LEVEL_LAST),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_normal_operation_has_no_ioprio() {
        assert_eq!(ioprio_of(Priority::Normal), 0);
    }

    #[test]
    fn no_class_is_used_that_needs_a_capability_or_may_starve() {
        for (priority, expected) in [(Priority::High, 0x4000), (Priority::Low, 0x4007)] {
            assert_eq!(ioprio_of(priority), expected);
        }
    }
}
