//! The operations that JavaScript can ask `perform` for. The number of an operation, which crosses from JavaScript, is
//! its place in the list. lib/operations/native.ts has the same list in the same order; __test__/table.test.mjs
//! compares the two.
//!
//! tests/kinds.rs checks that every kind of call of the core is in one of the three lists of this file.

macro_rules! kinds {
    ($($kind:ident)*) => {
        /// An operation that `perform` begins.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Kind {
            $($kind),*
        }

        impl Kind {
            /// All of them, in the order of their numbers.
            pub(crate) const ALL: &[Self] = &[$(Self::$kind),*];
        }
    };
}

kinds! {
    Sync SyncData StatFile StatPath Truncate Rename RemoveFile RemoveDir CreateDir HardLink Symlink SetMode SetOwner SetTimes
    CopyFileRange
}

/// Operations that have methods of their own, because they are called often, or because they make or end a handle.
#[allow(dead_code, reason = "for tests/kinds.rs")]
pub(crate) const METHODS: &[&str] = &["Read", "Write", "ReadVectored", "WriteVectored", "Open", "Close"];

/// Operations of the core that JavaScript cannot ask for.
#[allow(dead_code, reason = "for tests/kinds.rs")]
pub(crate) const NOT_OFFERED: &[&str] = &["Nop", "WriteBuffered", "SyncRange", "ReadPath", "Allocate", "Advise"];
