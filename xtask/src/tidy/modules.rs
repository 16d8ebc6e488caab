//! No file is forgotten: each Rust file is a target or is included by one.

use std::collections::{BTreeMap, BTreeSet};

use super::{File, Finding, code};

pub(super) fn check(files: &[File]) -> Vec<Finding> {
    let rust: BTreeMap<&str, &File> =
        files.iter().filter(|file| file.is_rust()).map(|file| (file.path.as_str(), file)).collect();
    let mut included: BTreeSet<String> = BTreeSet::new();
    for file in rust.values() {
        included.extend(inclusions(file));
    }
    let forgotten = rust.values().filter(|file| !is_target(&file.path) && !included.contains(&file.path));
    forgotten
        .map(|file| Finding::new(file, 1, "no module includes this file: it is never compiled"))
        .collect()
}

/// Whether cargo compiles a file by its place.
pub(super) fn is_target(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    // Projects that are built by tests and demonstrations are not ours.
    if matches!(parts[0], "examples" | "testdata") || parts.contains(&"fixtures") {
        return true;
    }
    // What a fuzzer runs is a package of its own in the crate's folder.
    if parts.get(1) == Some(&"fuzz") {
        return matches!(parts[2..], ["src", "lib.rs"] | ["src", "bin", _]);
    }
    let start = usize::from(!matches!(parts[0], "src" | "tests" | "build.rs"));
    matches!(
        parts[start..],
        ["src", "lib.rs" | "main.rs"]
            | ["build.rs"]
            | ["src", "bin", ..]
            | ["tests" | "examples" | "benches", _]
            | ["tests" | "examples" | "benches", _, "main.rs"]
    )
}

/// The files that a file's `mod` lines may mean.
fn inclusions(file: &File) -> Vec<String> {
    let (folder, name) = file.path.rsplit_once('/').unwrap_or(("", &file.path));
    let stem = name.trim_end_matches(".rs");
    let own_folder =
        if is_target(&file.path) || stem == "mod" { folder.to_owned() } else { format!("{folder}/{stem}") };
    let split = code::split(&file.text);
    let mut found = Vec::new();
    let mut path_attribute = None;
    // Modules written in place: their names are folders on the way to those they include.
    let mut nesting: Vec<(String, i64)> = Vec::new();
    let mut depth = 0;
    for (line, original) in split.code.iter().zip(file.text.lines()) {
        let trimmed = line.trim();
        if trimmed.starts_with("#[path") {
            path_attribute = original.split('"').nth(1).map(str::to_owned);
        }
        if let Some(name) = module_name(trimmed) {
            if trimmed.ends_with(';') {
                let inner: Vec<&str> = nesting.iter().map(|entry| entry.0.as_str()).collect();
                let base = [&[own_folder.as_str()], inner.as_slice()].concat().join("/");
                match path_attribute.take() {
                    Some(path) => found.push(join(folder, &path)),
                    None => found.extend([format!("{base}/{name}.rs"), format!("{base}/{name}/mod.rs")]),
                }
            } else if trimmed.contains('{') && !trimmed.contains('}') {
                nesting.push((name.to_owned(), depth));
            }
        }
        depth += line.matches('{').count() as i64 - line.matches('}').count() as i64;
        nesting.retain(|entry| entry.1 < depth);
        // `include!` of generated or shared code.
        if line.contains("include!(") {
            found.extend(original.split('"').nth(1).map(|path| join(folder, path)));
        }
    }
    found
}

fn module_name(line: &str) -> Option<&str> {
    let mut rest = line;
    if let Some(after) = rest.strip_prefix("pub") {
        rest = after.trim_start();
        if rest.starts_with('(') {
            rest = rest.split_once(')')?.1.trim_start();
        }
    }
    let name = rest.strip_prefix("mod ")?.trim_start();
    let end = name.find(|character: char| !character.is_alphanumeric() && character != '_')?;
    Some(&name[..end])
}

fn join(folder: &str, path: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').collect();
    for part in path.split('/') {
        match part {
            "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> File {
        File { path: path.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn forgotten_files_are_found() {
        let files = [
            file(
                "a/src/lib.rs",
                "pub mod one;\n#[cfg(test)]\n#[path = \"x_tests.rs\"]\nmod tests;\npub(crate) mod two;\n",
            ),
            file("a/src/one.rs", "mod inner;\nmod nest {\n    mod deep;\n}\nmod after;\n"),
            file("a/src/one/inner.rs", ""),
            file("a/src/one/nest/deep.rs", ""),
            file("a/src/one/after.rs", ""),
            file("a/src/two/mod.rs", "// mod lost;\n"),
            file("a/src/two/lost.rs", ""),
            file("a/src/x_tests.rs", ""),
            file("a/tests/it.rs", "mod helper;\n"),
            file("a/tests/helper/mod.rs", ""),
            file("a/tests/forgotten/case.rs", ""),
            file("a/fuzz/src/lib.rs", ""),
            file("a/fuzz/src/bin/target.rs", ""),
            file("a/fuzz/src/lost.rs", ""),
            file("src/main.rs", "mod cli;"),
            file("src/cli.rs", ""),
        ];
        let found: Vec<String> = check(&files).into_iter().map(|finding| finding.path).collect();
        assert_eq!(found, ["a/fuzz/src/lost.rs", "a/src/two/lost.rs", "a/tests/forgotten/case.rs"]);
    }
}
