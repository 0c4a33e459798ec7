//! The operations that `perform` can be asked for, by the numbers that cross. lib/ has the same list in the same order.
//!
//! tests/kinds.rs sees to it that every kind of call of the core is in one of the three lists of this file.

macro_rules! kinds {
    ($($kind:ident)*) => {
        /// An operation that `perform` begins.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Kind {
            $($kind),*
        }

        impl Kind {
            /// By number.
            pub(crate) const ALL: &[Self] = &[$(Self::$kind),*];
        }
    };
}

kinds! {
    Sync SyncData StatFile StatPath Truncate Rename RemoveFile RemoveDir CreateDir HardLink Symlink SetMode SetOwner SetTimes
    CopyFileRange
}

/// Operations that are methods of their own, because they are called often or hand over files.
#[allow(dead_code, reason = "for tests/kinds.rs")]
pub(crate) const METHODS: &[&str] = &["Read", "Write", "ReadVectored", "WriteVectored", "Open", "Close"];

/// Operations of the core that JavaScript cannot ask for.
#[allow(dead_code, reason = "for tests/kinds.rs")]
pub(crate) const NOT_OFFERED: &[&str] = &["Nop", "WriteBuffered", "SyncRange", "ReadPath", "Allocate", "Advise"];
