//! Which disk a file lies on.
