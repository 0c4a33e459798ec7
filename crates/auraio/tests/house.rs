//! The rules of the house, read from the sources: imports between modules go one way, and nothing is longer than a reader can
//! hold.
//!
//! The scans know just as much of Rust as this crate uses. Where a scan cannot understand a line, it fails and says so.
#![allow(clippy::unwrap_used, reason = "a test panics where something is not as it should be")]

#[path = "house/imports.rs"]
mod imports;
#[path = "house/matches.rs"]
mod matches;
#[path = "house/sizes.rs"]
mod sizes;
#[path = "house/source.rs"]
mod source;

use source::Source;

/// Lines of code of one file. Documentation, comments, blank lines and tests do not count.
const FILE_LINES_MAX: usize = 500;

/// Lines of code of one function.
const FUNCTION_LINES_MAX: usize = 70;

/// Fields of one struct.
const FIELDS_MAX: usize = 15;

/// Structs that are plain records of numbers, so a reader need not hold all of their fields at once: what a file system
/// reports, what is counted, and the probabilities of a simulated kernel.
const RECORDS: &[&str] = &["LaneStats", "Metadata", "SimCounts", "SimOptions"];

/// The enums that list operations or facts about them. A match over one of them names every variant.
const OPERATIONS: &[&str] =
    &["Call", "CallKind", "Way", "Opcode", "Waits", "Moves", "Transfers", "Files", "Route", "More"];

/// Fails with everything that was found.
fn nothing(found: &[String]) {
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn no_modules_import_each_other_in_a_circle() {
    let graph = imports::graph(&source::all());
    if let Some(cycle) = graph.cycle() {
        panic!("\n{cycle}");
    }
}

#[test]
fn every_module_imports_only_modules_that_stand_above_it_in_the_documented_order() {
    let sources = source::all();
    let order = imports::documented_order();
    nothing(&imports::graph(&sources).against(&order));
}

#[test]
fn no_file_is_too_long() {
    nothing(&source::all().iter().filter_map(|source| sizes::long_file(source, FILE_LINES_MAX)).collect::<Vec<_>>());
}

#[test]
fn no_function_is_too_long() {
    let long = |source: &Source| sizes::long_functions(source, FUNCTION_LINES_MAX);
    nothing(&source::all().iter().flat_map(long).collect::<Vec<_>>());
}

#[test]
fn no_struct_has_too_many_fields() {
    let wide = |source: &Source| sizes::wide_structs(source, FIELDS_MAX, RECORDS);
    nothing(&source::all().iter().flat_map(wide).collect::<Vec<_>>());
}

#[test]
fn every_match_over_operations_names_each_of_them() {
    nothing(&source::all().iter().flat_map(|source| matches::open_ended(source, OPERATIONS)).collect::<Vec<_>>());
}

#[test]
fn a_scan_sees_what_it_looks_for() {
    let text = r#"
        // fn comment() { _ => }
        use crate::{b::{self, C}, d};
        fn long<'a>(text: &'a str) -> char {
            match call {
                Call::Read { fd, .. } => '{',
                _ => "}".len(),
            }
        }
        pub(crate) struct Wide<T: Fn(u8, u8) -> u8> {
            #[allow(dead_code)]
            one: HashMap<u8, T>,
            two: (u8, u8),
        }
        #[cfg(test)]
        mod tests {
            use crate::e;
        }
    "#;
    let source = Source::new("a/mod.rs", text);
    assert_eq!(source.lines(), 12);
    assert!(!source.code.contains("comment") && !source.code.contains("crate::e"));
    let seen: Vec<_> = imports::paths(&source).into_iter().map(|path| path.join("::")).collect();
    assert_eq!(seen, ["b::self", "b::C", "d"]);
    assert_eq!(sizes::long_functions(&source, 5), ["a/mod.rs:4: the function `long` has 6 lines of code, more than 5"]);
    assert_eq!(sizes::wide_structs(&source, 1, &[]), ["a/mod.rs:10: the struct `Wide` has 2 fields, more than 1"]);
    assert_eq!(matches::open_ended(&source, OPERATIONS).len(), 1);
    let b = Source::new("b.rs", "fn f() { super::a::long() }");
    let graph = imports::Graph::of(&[source, b], &["a", "b", "d"].map(String::from), &[]);
    assert_eq!(graph.cycle().unwrap(), "an import cycle:\n  a imports b (a/mod.rs)\n  b imports a (b.rs)\n");
}
