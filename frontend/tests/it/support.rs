//! What the tests of this folder share.

use std::fs;
use std::path::{Path, PathBuf};

use rbuild_model::span::{Diagnostic, Severity, Source};

/// Returns the fixtures of a folder: name and text, by name.
pub(crate) fn fixtures(folder: &str) -> Vec<(String, String)> {
    let root: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/fixtures").join(folder);
    let mut found: Vec<(String, String)> = fs::read_dir(&root)
        .unwrap_or_else(|error| panic!("{}: {error}", root.display()))
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            (name, fs::read_to_string(&path).unwrap())
        })
        .collect();
    found.sort();
    assert!(!found.is_empty(), "no fixtures in {}", root.display());
    found
}

/// Writes findings one a line, with their places and hints.
pub(crate) fn findings(diagnostics: &[Diagnostic]) -> String {
    let mut out = String::new();
    for finding in diagnostics {
        let kind = if finding.severity == Severity::Error { "error" } else { "warning" };
        out.push_str(&format!("{kind}: {finding}\n"));
        for label in finding.labels.iter() {
            if let Some(source) = &finding.source {
                let text = &source.text()[label.span.range()];
                out.push_str(&format!("    at {:?}\n", text));
            }
        }
        if let Some(help) = &finding.help {
            out.push_str(&format!("    hint: {help}\n"));
        }
    }
    out
}

/// Replaces spans in the debug form of a tree by the lines and columns they stand for.
pub(crate) fn with_places(debug: &str, source: &Source) -> String {
    let mut out = String::new();
    let mut rest = debug;
    while let Some(at) = rest.find("Span { start: ") {
        out.push_str(&rest[..at]);
        let tail = &rest[at + "Span { start: ".len()..];
        let (start, tail) = tail.split_once(", end: ").unwrap();
        let (end, tail) = tail.split_once(" }").unwrap();
        let start = source.position(start.parse().unwrap());
        let end = source.position(end.parse().unwrap());
        out.push_str(&format!("@{}:{}-{}:{}", start.line, start.column, end.line, end.column));
        rest = tail;
    }
    out.push_str(rest);
    out.replace("Spanned { value: ", "<").replace(", span: @", " @")
}
