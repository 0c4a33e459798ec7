//! Who imports whom, among the top-level modules.

use std::{collections::BTreeMap, fmt::Write};

use super::source::{self, Source, first_of};

/// The imports of the top-level modules: who, whom, and a file where.
pub(crate) struct Graph(BTreeMap<String, BTreeMap<String, String>>);

/// The graph of the crate.
pub(crate) fn graph(sources: &[Source]) -> Graph {
    let lib = Source::new("lib.rs", &source::lib());
    let modules: Vec<String> = lib
        .words("mod")
        .map(|at| lib.name_at(at + "mod".len()))
        .filter(|&(_, end)| lib.code.as_bytes()[end] == b';')
        .map(|(name, _)| name.to_owned())
        .collect();
    let mut exports = Vec::new();
    for at in lib.words("use").filter(|&at| lib.code[..at].ends_with("pub ")) {
        for path in tree(&lib, at + "use".len()) {
            exports.push((path.last().unwrap().clone(), path[0].clone()));
        }
    }
    // Items of lib.rs itself belong to no module.
    for at in lib.words("fn") {
        exports.push((lib.name_at(at + "fn".len()).0.to_owned(), "lib".to_owned()));
    }
    Graph::of(sources, &modules, &exports)
}

/// The modules in the order of the list in `lib.rs`.
pub(crate) fn documented_order() -> Vec<String> {
    let lib = source::lib();
    let rows = lib.lines().filter_map(|line| line.strip_prefix("//! | `"));
    let cells = rows.filter_map(|row| row.split('|').next());
    cells
        .flat_map(|cell| cell.split('`').step_by(2))
        .map(str::to_owned)
        .filter(|name| !name.trim().is_empty())
        .collect()
}

impl Graph {
    /// `exports` says in which module a name of the crate's root is defined.
    pub(crate) fn of(sources: &[Source], modules: &[String], exports: &[(String, String)]) -> Self {
        let mut edges: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        for source in sources.iter().filter(|source| source.path != "lib.rs") {
            for path in paths(source) {
                let first = &path[0];
                let defined = |(name, _): &&(String, String)| name == first;
                let module = match exports.iter().find(defined) {
                    _ if modules.contains(first) => first,
                    Some((_, module)) => module,
                    None => panic!("{}: nobody knows where `crate::{}` is defined", source.path, path.join("::")),
                };
                if module != source.module() && modules.contains(module) {
                    let from = edges.entry(source.module().to_owned()).or_default();
                    from.entry(module.clone()).or_insert_with(|| source.path.clone());
                }
            }
        }
        Self(edges)
    }

    /// Imports of modules that do not stand above the importer in `order`.
    pub(crate) fn against(&self, order: &[String]) -> Vec<String> {
        let rank = |module: &str| order.iter().position(|name| name == module);
        let mut found = Vec::new();
        for (from, to, file) in self.edges() {
            match (rank(from), rank(to)) {
                (Some(from_rank), Some(to_rank)) if to_rank < from_rank => {}
                (None, _) => found.push(format!("`{from}` is missing in the list of modules in lib.rs")),
                (_, None) => found.push(format!("`{to}` is missing in the list of modules in lib.rs")),
                _ => found.push(format!("{file}: `{from}` imports `{to}`, which stands below it in lib.rs")),
            }
        }
        found
    }

    fn edges(&self) -> impl Iterator<Item = (&str, &str, &str)> {
        self.0.iter().flat_map(|(from, to)| to.iter().map(move |(to, file)| (&**from, &**to, &**file)))
    }

    /// The first cycle, in words.
    pub(crate) fn cycle(&self) -> Option<String> {
        self.0.keys().find_map(|start| self.way_back(start)).map(|way| {
            let mut words = "an import cycle:\n".to_owned();
            for pair in way.windows(2) {
                let file = &self.0[pair[0]][pair[1]];
                writeln!(words, "  {} imports {} ({file})", pair[0], pair[1]).unwrap();
            }
            words
        })
    }

    /// A way from a module to itself, of the fewest steps.
    fn way_back<'a>(&'a self, start: &'a str) -> Option<Vec<&'a str>> {
        let mut ways = vec![vec![start]];
        let mut seen = Vec::new();
        while !ways.is_empty() {
            let mut longer = Vec::new();
            for way in ways {
                let next = self.0.get(*way.last().unwrap()).into_iter().flat_map(BTreeMap::keys);
                for module in next {
                    let way = [&way[..], &[module.as_str()]].concat();
                    if module == start {
                        return Some(way);
                    }
                    if !seen.contains(&module) {
                        seen.push(module);
                        longer.push(way);
                    }
                }
            }
            ways = longer;
        }
        None
    }
}

/// Every path from the crate's root that a file names, without the `crate`.
pub(crate) fn paths(source: &Source) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for at in source.words("crate") {
        if source.code[at..].starts_with("crate::") {
            found.extend(tree(source, at + "crate::".len()));
        }
    }
    for at in source.words("super") {
        let rest = &source.code[at..];
        let ups = (rest.len() - rest.trim_start_matches("super::").len()) / "super::".len();
        // In `super::super::x` only the first counts.
        if !source.code[..at].ends_with("super::") && ups == depth(source, at) {
            found.extend(tree(source, at + ups * "super::".len()));
        }
    }
    found
}

/// How many modules a byte of a file is in.
fn depth(source: &Source, at: usize) -> usize {
    let file = source.path.strip_suffix("/mod.rs").unwrap_or(&source.path).split('/').count();
    let inline = source.words("mod").filter(|&module| {
        let (_, end) = source.name_at(module + "mod".len());
        let open = end + source.code[end..].bytes().take_while(u8::is_ascii_whitespace).count();
        source.code.as_bytes().get(open) == Some(&b'{') && source.inside(open).contains(&at)
    });
    file + inline.count()
}

/// The paths of a tree of imports that begins at a byte. What is renamed has its new name.
fn tree(source: &Source, at: usize) -> Vec<Vec<String>> {
    let code = source.code.as_bytes();
    let start = at + code[at..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    if code[start] == b'{' {
        let inside = source.inside(start);
        let mut found = Vec::new();
        let mut from = inside.start;
        while from < inside.end {
            let to = first_of(&code[..inside.end], from, b",").unwrap_or(inside.end);
            if !source.code[from..to].trim().is_empty() {
                found.extend(tree(source, from));
            }
            from = to + 1;
        }
        return found;
    }
    // In a macro, the rest of the path is a name that its caller gives.
    if code[start] == b'$' {
        return vec![Vec::new()];
    }
    let (name, end) = source.name_at(start);
    assert!(!name.is_empty(), "{}: no name to import", source.place(start));
    if source.code[end..].starts_with("::") && !source.code[end..].starts_with("::<") {
        let rest = tree(source, end + "::".len());
        return rest.into_iter().map(|path| [vec![name.to_owned()], path].concat()).collect();
    }
    let renamed = source.code[end..].strip_prefix(" as ").map(|_| source.name_at(end + " as ".len()).0);
    match renamed {
        Some(new) => vec![vec![name.to_owned(), new.to_owned()]],
        None => vec![vec![name.to_owned()]],
    }
}
