//! Shapes of Dockerfiles as people write them, and inputs that nobody should write.

use std::fs;
use std::path::{Path, PathBuf};

use rbuild_frontend::dockerfile::parse;
use rbuild_frontend::lint::Checks;
use rbuild_frontend::lower::LowerOptions;
use rbuild_model::span::Source;

use crate::support::findings;
use crate::targets;

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path, found) } else { found.push(path) }
    }
}

fn corpus() -> Vec<PathBuf> {
    let mut found = Vec::new();
    files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/corpus"), &mut found);
    found.sort();
    found
}

#[test]
fn what_people_write_is_read_checked_and_lowered() {
    let files = corpus();
    assert!(files.len() >= 200, "{} files", files.len());
    for path in files {
        let name = path.display().to_string();
        let text = fs::read_to_string(&path).unwrap();
        let parsed = parse(&Source::new(name.as_str(), text.as_str()));
        assert_eq!(findings(&parsed.diagnostics), "", "{name}");
        let checks = Checks::new(&parsed.dockerfile, None).unwrap();
        for platforms in [vec!["linux/amd64"], vec!["linux/amd64", "linux/arm/v7"]] {
            let mut options = LowerOptions::new("linux/amd64".parse().unwrap());
            options.platforms = platforms.iter().map(|platform| platform.parse().unwrap()).collect();
            options.all_stages = true;
            let lowered =
                targets::lowered(&parsed, &options).unwrap_or_else(|error| panic!("{name}: {error}"));
            checks.apply(&parsed.dockerfile, &lowered.warnings);
            assert_eq!(lowered.targets.len(), platforms.len(), "{name}");
            assert!(!lowered.graph.is_empty(), "{name}");
        }
        targets::dockerfile(text.as_bytes());
    }
}

#[test]
fn ignore_files_and_pieces_of_them_do_no_harm() {
    let mut found = Vec::new();
    files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/ignore"), &mut found);
    assert!(!found.is_empty());
    for path in found {
        let bytes = fs::read(&path).unwrap();
        for length in 0..=bytes.len() {
            targets::ignore_file(&bytes[..length]);
            targets::ignore_file(&bytes[length..]);
        }
    }
}

#[test]
fn pieces_of_what_people_write_do_no_harm() {
    for path in corpus().iter().step_by(7) {
        let bytes = fs::read(path).unwrap();
        for length in (0..bytes.len()).step_by(37) {
            targets::dockerfile(&bytes[..length]);
            targets::dockerfile(&bytes[length..]);
        }
        for line in bytes.split(|byte| *byte == b'\n') {
            targets::word(line);
            targets::mount_value(line);
            targets::ignore_file(line);
        }
    }
}
