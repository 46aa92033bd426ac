//! What a source file uses, by its tokens: other files of the crate, foreign crates, `unsafe`. No compiler: comments,
//! strings and what is under `#[cfg(test)]` are left out, then paths are read wherever they stand and resolved against
//! the names of the files.

use std::collections::BTreeMap;

/// What a file uses.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Use {
    /// Another file of the crate.
    File(String),
    /// A path whose first name is none of the crate's.
    Foreign(String),
    /// `unsafe`.
    Unsafe,
    /// `#[unsafe(...)]`: an exported symbol.
    Export,
}

/// The files of a crate by name, and what its root shows under another name.
pub(crate) struct Sources<'a> {
    files: &'a BTreeMap<String, String>,
    shown: BTreeMap<String, String>,
}

/// A path as it stands, in this inline module of its file, and the name that a `use` gives it.
struct Path {
    inner: Vec<String>,
    names: Vec<String>,
    alias: Option<String>,
}

impl<'a> Sources<'a> {
    /// Looks through the crate's root for what it shows.
    pub(crate) fn new(files: &'a BTreeMap<String, String>) -> Self {
        let mut sources = Self { files, shown: BTreeMap::new() };
        let root = files.get("lib").map(|text| paths(&without_tests(&tokens(text))));
        for path in root.unwrap_or_default().into_iter().filter(|path| path.inner.is_empty()) {
            if let (Some(file), Some(alias)) = (sources.file_of("lib", &path, &BTreeMap::new()), path.alias) {
                sources.shown.insert(alias, file);
            }
        }
        sources
    }

    /// All that a file uses, outside of its tests.
    pub(crate) fn uses_of(&self, file: &str) -> Vec<Use> {
        let tokens = without_tests(&tokens(&self.files[file]));
        let paths = paths(&tokens);
        let mut aliases = BTreeMap::new();
        for path in &paths {
            // Only a module can be gone on from.
            if let (Some(alias), Some(names)) = (&path.alias, self.absolute(file, path, &BTreeMap::new()))
                && self.files.contains_key(&names.join("/"))
            {
                aliases.insert(alias.clone(), names);
            }
        }
        let mut uses: Vec<_> = paths
            .iter()
            .filter_map(|path| match self.file_of(file, path, &aliases) {
                Some(other) => (other != file).then_some(Use::File(other)),
                None => Some(Use::Foreign(path.names.join("::"))),
            })
            .collect();
        for (n, _) in tokens.iter().enumerate().filter(|(_, token)| *token == "unsafe") {
            let attribute = n > 0 && tokens[n - 1] == "[" && tokens.get(n + 1).is_some_and(|next| next == "(");
            uses.push(if attribute { Use::Export } else { Use::Unsafe });
        }
        uses
    }

    fn module_of(file: &str) -> Vec<String> {
        if file == "lib" { Vec::new() } else { file.split('/').map(str::to_owned).collect() }
    }

    /// A path from the crate's root on; `None` if it leads out of the crate.
    fn absolute(&self, file: &str, path: &Path, aliases: &BTreeMap<String, Vec<String>>) -> Option<Vec<String>> {
        let mut here = Self::module_of(file);
        let mut names = &path.names[..];
        match names.first()?.as_str() {
            "crate" => {
                here.clear();
                names = &names[1..];
            }
            "self" | "super" => {
                here.extend(path.inner.iter().cloned());
                while let Some(name) = names.first().filter(|name| *name == "self" || *name == "super") {
                    if name == "super" {
                        here.pop();
                    }
                    names = &names[1..];
                }
            }
            first => {
                if let Some(target) = aliases.get(first) {
                    here.clone_from(target);
                    names = &names[1..];
                } else {
                    let child = [&here[..], &[first.to_owned()]].concat().join("/");
                    if !self.files.contains_key(&child) {
                        return None;
                    }
                }
            }
        }
        here.extend(names.iter().cloned());
        Some(here)
    }

    /// The file in which a path ends; `None` if it leads out of the crate.
    fn file_of(&self, file: &str, path: &Path, aliases: &BTreeMap<String, Vec<String>>) -> Option<String> {
        let names = self.absolute(file, path, aliases)?;
        let file = (1..=names.len()).rev().map(|n| names[..n].join("/")).find(|name| self.files.contains_key(name));
        let shown = || self.shown.get(names.first()?).cloned();
        Some(file.or_else(shown).unwrap_or_else(|| "lib".to_owned()))
    }
}

/// The tokens of a text that matter here: names, `::`, and single signs; `""` for a string.
fn tokens(text: &str) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    let at = |n: usize| chars.get(n).copied().unwrap_or('\0');
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let mut tokens = Vec::new();
    let mut n = 0;
    while n < chars.len() {
        match (at(n), at(n + 1)) {
            ('/', '/') => n += chars[n..].iter().take_while(|c| **c != '\n').count(),
            ('/', '*') => {
                let mut depth = 0;
                loop {
                    match (at(n), at(n + 1)) {
                        ('/', '*') => (depth, n) = (depth + 1, n + 2),
                        ('*', '/') => (depth, n) = (depth - 1, n + 2),
                        _ => n += 1,
                    }
                    if depth == 0 || n >= chars.len() {
                        break;
                    }
                }
            }
            ('"', _) => {
                n = behind_string(&chars, n);
                tokens.push("\"\"".to_owned());
            }
            ('\'', '\\') => n += 3 + chars[n + 3..].iter().take_while(|c| **c != '\'').count() + 1,
            ('\'', _) => n += if at(n + 2) == '\'' { 3 } else { 1 },
            (':', ':') => {
                tokens.push("::".to_owned());
                n += 2;
            }
            (c, _) if is_name(c) => {
                let name: String = chars[n..].iter().take_while(|c| is_name(**c)).collect();
                n += name.chars().count();
                let hashes = chars[n..].iter().take_while(|c| **c == '#').count();
                if matches!(name.as_str(), "r" | "br" | "cr") && at(n + hashes) == '"' {
                    let end: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
                    let body = n + hashes + 1;
                    n = (body..chars.len()).find(|n| chars[*n..].starts_with(&end)).unwrap_or(chars.len()) + end.len();
                    tokens.push("\"\"".to_owned());
                } else {
                    tokens.push(name);
                }
            }
            (c, _) => {
                if !c.is_whitespace() {
                    tokens.push(c.to_string());
                }
                n += 1;
            }
        }
    }
    tokens
}

fn behind_string(chars: &[char], start: usize) -> usize {
    let mut n = start + 1;
    while n < chars.len() && chars[n] != '"' {
        n += if chars[n] == '\\' { 2 } else { 1 };
    }
    n + 1
}

/// The place behind the bracket that closes the one at `open`.
fn behind_bracket(tokens: &[String], open: usize) -> usize {
    let mut depth = 0;
    for (n, token) in tokens.iter().enumerate().skip(open) {
        match token.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return n + 1;
        }
    }
    tokens.len()
}

/// The tokens without the items that stand under `#[cfg(test)]`.
fn without_tests(tokens: &[String]) -> Vec<String> {
    const TEST: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut kept = Vec::new();
    let mut n = 0;
    while n < tokens.len() {
        if !tokens[n..].iter().map(String::as_str).take(TEST.len()).eq(TEST) {
            kept.push(tokens[n].clone());
            n += 1;
            continue;
        }
        while tokens.get(n).is_some_and(|token| token == "#") {
            n = behind_bracket(tokens, n + 1);
        }
        while n < tokens.len() {
            match tokens[n].as_str() {
                ";" => break,
                "{" => {
                    n = behind_bracket(tokens, n) - 1;
                    break;
                }
                "(" | "[" => n = behind_bracket(tokens, n),
                _ => n += 1,
            }
        }
        n += 1;
    }
    kept
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Every path: what `use` and `extern crate` name, and what stands inline.
fn paths(tokens: &[String]) -> Vec<Path> {
    let token = |n: usize| tokens.get(n).map_or("", String::as_str);
    let mut found = Vec::new();
    let mut inner: Vec<(String, usize)> = Vec::new();
    let mut depth = 0;
    let mut n = 0;
    while n < tokens.len() {
        let inside = || inner.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        match token(n) {
            "mod" if token(n + 2) == "{" => {
                inner.push((token(n + 1).to_owned(), depth));
                depth += 1;
                n += 3;
            }
            "{" => {
                depth += 1;
                n += 1;
            }
            "}" => {
                depth = depth.saturating_sub(1);
                inner.pop_if(|(_, at)| *at == depth);
                n += 1;
            }
            "extern" if token(n + 1) == "crate" => {
                found.push(Path { inner: inside(), names: vec![token(n + 2).to_owned()], alias: None });
                n += 3;
            }
            "use" if token(n + 1) != "<" => {
                let mut tree = Vec::new();
                n = use_tree(tokens, n + 1, &[], &mut tree);
                found.extend(tree.into_iter().map(|(names, alias)| Path { inner: inside(), names, alias }));
            }
            first if is_name(first) && token(n + 1) == "::" => {
                let mut names = vec![first.to_owned()];
                n += 1;
                while token(n) == "::" && is_name(token(n + 1)) {
                    names.push(token(n + 1).to_owned());
                    n += 2;
                }
                found.push(Path { inner: inside(), names, alias: None });
            }
            _ => n += 1,
        }
    }
    found
}

/// One tree of a `use`; returns the place behind it.
fn use_tree(
    tokens: &[String],
    start: usize,
    prefix: &[String],
    found: &mut Vec<(Vec<String>, Option<String>)>,
) -> usize {
    let token = |n: usize| tokens.get(n).map_or("", String::as_str);
    let mut names = prefix.to_vec();
    let mut n = start;
    loop {
        match token(n) {
            "::" => n += 1,
            "{" => {
                n += 1;
                while !matches!(token(n), "}" | "") {
                    n = use_tree(tokens, n, &names, found);
                    n += usize::from(token(n) == ",");
                }
                return n + 1;
            }
            "*" => {
                found.push((names, None));
                return n + 1;
            }
            name if is_name(name) => {
                n += 1;
                if name != "self" || names.is_empty() {
                    names.push(name.to_owned());
                }
                if token(n) != "::" {
                    let (alias, behind) = if token(n) == "as" { (token(n + 1), n + 2) } else { ("", n) };
                    let alias = if alias.is_empty() { names.last().cloned() } else { Some(alias.to_owned()) };
                    found.push((names, alias));
                    return behind;
                }
            }
            _ => return n + 1,
        }
    }
}
