//! Help is a promise: whole texts.

use rbuild_testkit::context::TestContext;

use super::told;
use crate::scene::{assert_clean, scene};

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

/// Every format that help names can be asked for, of the verb whose help it is.
#[test]
fn formats_that_help_names() {
    let Some(context) = scene("formats_that_help_names") else { return };
    let services =
        "services: { web: { image: busybox, command: sleep 1, network_mode: none, volumes: ['d:/d'] } }";
    context.write("compose.yaml", format!("name: shop\n{services}\nvolumes: {{ d: {{}} }}\n"));
    context.rbuild(["compose", "create"]).run().assert_success();
    for (verb, rest) in [
        ("ps", "-a"),
        ("stats", "-a --no-stream"),
        ("images", ""),
        ("history", "busybox"),
        ("inspect", "busybox"),
        ("network ls", ""),
        ("network inspect", "bridge"),
        ("volume ls", ""),
        ("volume inspect", "shop_d"),
        ("system df", ""),
        ("compose ps", "-a"),
        ("compose stats", "-a --no-stream"),
        ("compose volumes", ""),
    ] {
        let help = said(&context, &format!("{verb} --help"), &[]);
        let formats = help.split_once("Formats:\n").unwrap_or_else(|| panic!("{verb} has no formats")).1;
        let mut tried = 0;
        for line in formats.lines().take_while(|line| line.starts_with("  ")) {
            let format = match line.split_once('\'') {
                Some((_, template)) => template.trim_end_matches('\''),
                None => line.split_whitespace().next().unwrap(),
            };
            let shown = said(&context, &format!("{verb} {rest}"), &["--format", format]);
            assert!(!shown.trim().is_empty(), "{verb} shows nothing of {format}");
            tried += 1;
        }
        assert!(tried >= 2, "{formats}");
    }
    context.rbuild(["compose", "down", "-v"]).run().assert_success();
    assert_clean(&context);
}

/// Runs a verb that has to succeed; returns what it printed.
fn said(context: &TestContext, line: &str, more: &[&str]) -> String {
    let output = context.rbuild(line.split_whitespace().chain(more.iter().copied())).run();
    output.assert_success();
    output.stdout
}
