//! Help is a promise: whole texts.

use super::told;

fn snapshot(name: &str, line: &str) {
    let folder = tempfile::tempdir().unwrap();
    let text = told(line.split_whitespace(), folder.path()).replace(env!("CARGO_PKG_VERSION"), "VERSION");
    insta::assert_snapshot!(name, text, line);
}

#[test]
fn the_program() {
    snapshot("short", "-h");
    snapshot("long", "--help");
    snapshot("version-flag", "--version");
    snapshot("nothing", "");
}

#[test]
fn every_verb() {
    for verb in [
        "build",
        "check",
        "context",
        "run",
        "images",
        "inspect",
        "history",
        "tag",
        "rmi",
        "pull",
        "push",
        "login",
        "logout",
        "copy",
        "imagetools",
        "manifest",
        "registry",
        "search",
        "save",
        "load",
        "import",
        "du",
        "prune",
        "version",
        "info",
        "doctor",
        "completion",
    ] {
        snapshot(verb, &format!("{verb} --help"));
    }
    snapshot("build-short", "build -h");
}

#[test]
fn mistakes() {
    snapshot("unknown-verb", "frob");
    snapshot("near-verb", "imags");
    snapshot("later-verb", "serve");
    snapshot("unknown-flag", "build --targt x .");
    snapshot("later-flag", "build --sbom=true .");
    snapshot("bad-value", "run --memory 1x busybox");
    snapshot("missing-value", "run -h");
    snapshot("no-such-config", "--config /does/not/exist.toml images");
}
