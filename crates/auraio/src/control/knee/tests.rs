//! Tests of the law.
