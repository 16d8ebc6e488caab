//! The house rules, as a test.
//!
//! [`floors`] looks at who depends on whom, [`source`] at each Rust file, [`functions`] at how long its functions are,
//! [`modules`] for files that nobody includes, [`text`] at every tracked text. A remark made twice becomes a rule here. Exceptions stand in the rule's own list, and
//! a list may only shrink.

mod code;
mod floors;
mod functions;
mod modules;
mod source;
mod text;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

/// Something that is against a rule.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    path: String,
    line: usize,
    message: String,
}

impl Finding {
    fn new(file: &File, line: usize, message: impl Into<String>) -> Self {
        Self { path: file.path.clone(), line, message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.message)
    }
}

/// What the check found.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// What is against a rule.
    pub(crate) findings: Vec<Finding>,
    /// What is worth a look.
    pub(crate) hints: Vec<Finding>,
}

/// A tracked text file.
#[derive(Debug)]
struct File {
    /// Its path from the project's folder, with `/`.
    path: String,
    text: String,
}

impl File {
    /// The folder of its crate: empty for the root package.
    fn krate(&self) -> &str {
        let first = self.path.split('/').next().unwrap_or_default();
        if matches!(first, "src" | "tests" | "examples" | "build.rs") { "" } else { first }
    }

    fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Whether it is compiled into a crate's tests, examples and measurements only.
    fn is_test(&self) -> bool {
        let name = self.path.rsplit('/').next().unwrap_or_default();
        name == "tests.rs"
            || name.ends_with("_tests.rs")
            || self.path.split('/').any(|part| matches!(part, "tests" | "examples" | "benches" | "fuzz"))
    }

    /// Whether it belongs to the tools of development, which are never shipped.
    fn is_tool(&self) -> bool {
        matches!(self.krate(), "xtask" | "testkit")
    }
}

/// Checks everything.
pub(crate) fn check(root: &Path) -> Result<Report> {
    let files = files(root)?;
    let mut report = Report::default();
    let metadata = floors::metadata(root)?;
    report.findings.extend(floors::check(&metadata));
    if let Some(document) = files.iter().find(|file| file.path == "docs/dependencies.md") {
        report.hints.extend(floors::undocumented(&metadata, document));
    }
    report.findings.extend(modules::check(&files));
    for file in &files {
        text::check(root, file, &mut report);
        if file.is_rust() && !file.path.starts_with("examples/") {
            source::check(file, &mut report);
        }
    }
    report.findings.sort();
    report.hints.sort();
    Ok(report)
}

/// All text files that are tracked or would be.
fn files(root: &Path) -> Result<Vec<File>> {
    let mut files = Vec::new();
    for path in paths(root)? {
        let Ok(bytes) = fs::read(root.join(&path)) else { continue };
        // Binary fixtures are nobody's prose.
        let Ok(text) = String::from_utf8(bytes) else { continue };
        files.push(File { path, text });
    }
    files.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(files)
}

fn paths(root: &Path) -> Result<Vec<String>> {
    let listed = Command::new("git")
        .args(["-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output();
    if let Ok(output) = listed
        && output.status.success()
    {
        let text = String::from_utf8(output.stdout).context("a tracked path is not UTF-8")?;
        return Ok(text.split('\0').filter(|path| !path.is_empty()).map(str::to_owned).collect());
    }
    // An unpacked release has no git folder.
    let mut paths = Vec::new();
    walk(root, &PathBuf::new(), &mut paths)?;
    Ok(paths)
}

fn walk(root: &Path, folder: &Path, paths: &mut Vec<String>) -> Result<()> {
    for entry in
        fs::read_dir(root.join(folder)).with_context(|| format!("cannot list {}", folder.display()))?
    {
        let entry = entry?;
        let path = folder.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() && path != Path::new("target") {
            walk(root, &path, paths)?;
        } else if kind.is_file() {
            paths.extend(path.to_str().map(str::to_owned));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_project_keeps_the_house_rules() {
        let report = check(&crate::root()).unwrap();
        let list: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
        assert!(list.is_empty(), "\n{}", list.join("\n"));
    }
}
