//! Matches that do not name every operation.

use super::source::{Source, first_of};

/// Matches over one of some enums that have an arm for all the rest.
pub(crate) fn open_ended(source: &Source, enums: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for at in source.words("match") {
        let Some(open) = first_of(source.code.as_bytes(), at, b"{;") else { continue };
        if source.code.as_bytes()[open] == b';' {
            continue;
        }
        let patterns = patterns(source, open);
        let names = |pattern: &str| enums.iter().any(|name| names(pattern, name));
        let rest = |pattern: &&str| *pattern == "_" || pattern.starts_with("_ if ");
        if patterns.iter().any(|pattern| names(pattern)) && patterns.iter().any(rest) {
            found.push(format!("{}: a match over operations has an arm for all the rest", source.place(at)));
        }
    }
    found
}

/// Whether a pattern names a variant of an enum.
fn names(pattern: &str, name: &str) -> bool {
    let mut places = pattern.match_indices(name);
    places.any(|(at, _)| {
        let before = pattern[..at].bytes().last();
        pattern[at + name.len()..].starts_with("::") && !before.is_some_and(super::source::is_of_name)
    })
}

/// The patterns of a match whose arms begin at a byte.
fn patterns(source: &Source, open: usize) -> Vec<&str> {
    let code = source.code.as_bytes();
    let inside = source.inside(open);
    let code = &code[..inside.end];
    let mut patterns = Vec::new();
    let mut from = inside.start;
    // An arm's arrow is the first `=>` that stands in no bracket.
    while let Some(mut arrow) = first_of(code, from, b"=") {
        while code[arrow + 1] != b'>' {
            match first_of(code, arrow + 1, b"=") {
                Some(next) => arrow = next,
                None => return patterns,
            }
        }
        patterns.push(source.code[from..arrow].trim());
        let body = arrow + 2 + code[arrow + 2..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        // An arm ends with its bracket, or at the comma.
        let end = match code.get(body) {
            Some(b'{') => source.inside(body).end + 1,
            _ => first_of(code, body, b",").unwrap_or(code.len()),
        };
        from = end + code[end..].iter().take_while(|byte| byte.is_ascii_whitespace() || **byte == b',').count();
    }
    patterns
}
