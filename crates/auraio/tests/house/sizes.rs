//! How long files and functions are, and how many fields structs have.

use super::source::{Source, first_of, lines_of};

pub(crate) fn long_file(source: &Source, max: usize) -> Option<String> {
    let lines = source.lines();
    (lines > max).then(|| format!("{}: {lines} lines of code, more than {max}", source.path))
}

pub(crate) fn long_functions(source: &Source, max: usize) -> Vec<String> {
    let code = source.code.as_bytes();
    let mut found = Vec::new();
    for at in source.words("fn") {
        let (name, end) = source.name_at(at + "fn".len());
        let Some(open) = first_of(code, end, b";{").filter(|_| !name.is_empty()) else { continue };
        if code[open] == b';' {
            continue;
        }
        let lines = lines_of(&source.code[at..=source.inside(open).end]);
        if lines > max {
            found.push(format!(
                "{}: the function `{name}` has {lines} lines of code, more than {max}",
                source.place(at)
            ));
        }
    }
    found
}

pub(crate) fn wide_structs(source: &Source, max: usize, records: &[&str]) -> Vec<String> {
    let code = source.code.as_bytes();
    let mut found = Vec::new();
    for at in source.words("struct") {
        let (name, end) = source.name_at(at + "struct".len());
        // What is generic stands in angle brackets, which may have round ones in them.
        let end = if code[end] == b'<' { end_of_generics(code, end) } else { end };
        let Some(open) = first_of(code, end, b";{(") else { continue };
        if code[open] == b';' || code[end] == b':' {
            continue;
        }
        let fields = parts(&code[source.inside(open)]);
        if fields > max && !records.contains(&name) {
            found.push(format!("{}: the struct `{name}` has {fields} fields, more than {max}", source.place(at)));
        }
    }
    found
}

fn end_of_generics(code: &[u8], open: usize) -> usize {
    let mut depth = 0;
    for at in open..code.len() {
        match code[at] {
            b'<' => depth += 1,
            b'>' if code[at - 1] != b'-' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    panic!("a list of generics is not closed")
}

/// How many parts there are between commas that stand in no bracket.
fn parts(code: &[u8]) -> usize {
    let (mut count, mut depth, mut any) = (0, 0, false);
    for (at, byte) in code.iter().enumerate() {
        match byte {
            b'<' | b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth -= 1,
            b'>' if at > 0 && code[at - 1] != b'-' => depth -= 1,
            b',' if depth == 0 => {
                count += usize::from(any);
                any = false;
                continue;
            }
            _ => {}
        }
        any |= !byte.is_ascii_whitespace();
    }
    count + usize::from(any)
}
