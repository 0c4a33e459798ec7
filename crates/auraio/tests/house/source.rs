//! The crate's source files, without what is no code.

use std::{fs, ops::Range, path::Path};

/// One source file.
pub(crate) struct Source {
    /// Relative to `src`.
    pub(crate) path: String,
    /// The text. Comments and tests are blank; what is inside string and character literals is replaced by quotation marks. Every
    /// byte and every line is where it was.
    pub(crate) code: String,
}

/// The folder of the sources.
fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))
}

/// The text of `lib.rs` as it stands.
pub(crate) fn lib() -> String {
    fs::read_to_string(root().join("lib.rs")).unwrap()
}

/// All source files but those of tests.
pub(crate) fn all() -> Vec<Source> {
    let mut sources = Vec::new();
    gather(root(), "", &mut sources);
    assert!(sources.len() > 50, "the sources are not where they were");
    sources
}

fn gather(folder: &Path, prefix: &str, sources: &mut Vec<Source>) {
    let mut entries: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() && name != "tests" {
            gather(&path, &format!("{prefix}{name}/"), sources);
        } else if name.ends_with(".rs") && name != "tests.rs" {
            sources.push(Source::new(&format!("{prefix}{name}"), &fs::read_to_string(&path).unwrap()));
        }
    }
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let mut code = without_comments_and_texts(text);
        while let Some(test) = test_item(&code) {
            blank(&mut code, test);
        }
        Self { path: path.to_owned(), code: String::from_utf8(code).unwrap() }
    }

    /// The name of the top-level module that the file is a part of.
    pub(crate) fn module(&self) -> &str {
        let first = self.path.split('/').next().unwrap();
        first.strip_suffix(".rs").unwrap_or(first)
    }

    /// Lines that have code.
    pub(crate) fn lines(&self) -> usize {
        lines_of(&self.code)
    }

    /// The file and line of a byte, for a message.
    pub(crate) fn place(&self, at: usize) -> String {
        format!("{}:{}", self.path, self.code[..at].matches('\n').count() + 1)
    }

    /// Where a word stands, in all places.
    pub(crate) fn words<'a>(&'a self, word: &'a str) -> impl Iterator<Item = usize> + 'a {
        let bytes = self.code.as_bytes();
        let is_part = |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(|&byte| is_of_name(byte));
        self.code
            .match_indices(word)
            .map(|(at, _)| at)
            .filter(move |&at| !is_part(at.checked_sub(1)) && !is_part(Some(at + word.len())))
    }

    /// The name that begins behind spaces at a byte, and where it ends.
    pub(crate) fn name_at(&self, at: usize) -> (&str, usize) {
        let start = at + self.code[at..].len() - self.code[at..].trim_start().len();
        let len = self.code[start..].bytes().take_while(|&byte| is_of_name(byte)).count();
        (&self.code[start..start + len], start + len)
    }

    /// What is inside the bracket that opens at a byte.
    pub(crate) fn inside(&self, open: usize) -> Range<usize> {
        open + 1..closing(self.code.as_bytes(), open)
    }
}

/// Lines that are not blank.
pub(crate) fn lines_of(code: &str) -> usize {
    code.lines().filter(|line| !line.trim().is_empty()).count()
}

pub(crate) const fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Where the bracket that opens at a byte is closed.
fn closing(code: &[u8], open: usize) -> usize {
    let mut depth = 0;
    for (at, byte) in code.iter().enumerate().skip(open) {
        match byte {
            b'{' | b'(' | b'[' => depth += 1,
            b'}' | b')' | b']' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at;
        }
    }
    panic!("a bracket is not closed")
}

/// The first of some bytes that stands in no bracket, from a byte on.
pub(crate) fn first_of(code: &[u8], from: usize, wanted: &[u8]) -> Option<usize> {
    let mut at = from;
    while at < code.len() {
        match code[at] {
            byte if wanted.contains(&byte) => return Some(at),
            b'{' | b'(' | b'[' => at = closing(code, at),
            _ => {}
        }
        at += 1;
    }
    None
}

fn blank(code: &mut [u8], range: Range<usize>) {
    code[range].iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
}

/// The first item that only tests have, with its attributes.
fn test_item(code: &[u8]) -> Option<Range<usize>> {
    let text = std::str::from_utf8(code).unwrap();
    let starts = ["#[cfg(test)]", "#[cfg(all(test"].map(|attribute| text.find(attribute));
    let start = starts.into_iter().flatten().min()?;
    let mut at = start;
    while code[at..].starts_with(b"#[") {
        at = closing(code, at + 1) + 1;
        at += code[at..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    }
    if is_field(&code[at..]) {
        let end = first_of(code, at, b",}").unwrap();
        return Some(start..end + usize::from(code[end] == b','));
    }
    let end = first_of(code, at, b";{").unwrap();
    let end = if code[end] == b'{' { closing(code, end) } else { end };
    // A list of imports ends behind its bracket.
    let end = if code[at..].starts_with(b"use ") { first_of(code, end, b";").unwrap() } else { end };
    Some(start..end + 1)
}

/// Whether a field of a struct stands here: a name and a colon.
fn is_field(code: &[u8]) -> bool {
    let name = code.iter().take_while(|byte| is_of_name(**byte)).count();
    name > 0 && code[name] == b':' && code[name + 1] != b':'
}

/// Blanks comments, and fills texts and characters with quotation marks.
fn without_comments_and_texts(text: &str) -> Vec<u8> {
    let mut code = text.as_bytes().to_vec();
    let mut at = 0;
    while at < code.len() {
        let rest = &text.as_bytes()[at..];
        let in_name = at > 0 && is_of_name(code[at - 1]);
        let end = if rest.starts_with(b"//") {
            rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len())
        } else if rest.starts_with(b"/*") {
            end_of(rest, b"*/")
        } else if !in_name && (rest.starts_with(b"r\"") || rest.starts_with(b"r#\"") || rest.starts_with(b"br\"")) {
            let hash = rest.starts_with(b"r#");
            let open = rest.iter().position(|&byte| byte == b'"').unwrap() + 1;
            open + end_of(&rest[open..], if hash { b"\"#" } else { b"\"" })
        } else if rest[0] == b'"' {
            end_of_text(rest, b'"')
        } else if rest[0] == b'\'' && (rest[1] == b'\\' || text[at + 1..].chars().nth(1) == Some('\'')) {
            end_of_text(rest, b'\'')
        } else {
            at += 1;
            continue;
        };
        let comment = rest[0] == b'/';
        for byte in code[at..at + end].iter_mut().filter(|byte| **byte != b'\n') {
            *byte = if comment { b' ' } else { b'"' };
        }
        at += end;
    }
    code
}

fn end_of(rest: &[u8], mark: &[u8]) -> usize {
    rest.windows(mark.len()).position(|window| window == mark).unwrap() + mark.len()
}

/// The length of a text with its quotation marks.
fn end_of_text(rest: &[u8], mark: u8) -> usize {
    let mut at = 1;
    while rest[at] != mark {
        at += if rest[at] == b'\\' { 2 } else { 1 };
    }
    at + 1
}
