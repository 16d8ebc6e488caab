//! What is generated from the definition of the command line.

use std::path::Path;
use std::process::Command;

use super::told;
use rbuild_testkit::context::TestContext;

use crate::scene::{assert_clean, scene};

/// Runs a command that succeeds.
#[track_caller]
fn done<const N: usize>(context: &TestContext, arguments: [&str; N]) {
    context.rbuild(arguments).run().assert_success();
}

/// What bash offers at the end of a line, with what `completion bash` writes.
fn offered(line: &str, root: &Path) -> Vec<String> {
    let folder = Path::new(env!("CARGO_BIN_EXE_rbuild")).parent().unwrap();
    let script = "source <(rbuild completion bash)
        COMP_LINE=$1 COMP_POINT=${#1}
        _rbuild
        printf '%s\\n' \"${COMPREPLY[@]}\"";
    let path = format!("{}:/usr/bin:/bin", folder.display());
    let mut bash = Command::new("bash");
    let bash = bash.args(["-c", script, "bash", line]).env_clear().env("PATH", path).env("RBUILD_ROOT", root);
    let output = bash.current_dir(root).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn shells_offer_what_may_follow() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let text = told(["completion", shell], folder.path());
        assert!(text.starts_with("status: 0\n") && text.contains("complete -- "), "{shell}: {text}");
    }
    for (line, wanted) in [
        ("rbuild ima", &["images", "imagetools"][..]),
        ("rbuild build --progress=pl", &["plain"]),
        ("rbuild image prune --f", &["--filter", "--force"]),
        // Flags that are not there yet are not offered.
        ("rbuild build --squ", &[""]),
        ("rbuild run busybox --r", &[""]),
    ] {
        assert_eq!(offered(line, folder.path()), wanted, "{line}");
    }
}

#[test]
fn shells_offer_names_of_what_is_there() {
    let Some(context) = scene("shells_offer_names_of_what_is_there") else { return };
    let root = &context.root();
    done(&context, ["tag", "busybox", "registry.example:5000/app:one"]);
    done(&context, ["create", "--name", "web", "busybox", "true"]);
    context.write("compose.yaml", "services: {front: {image: busybox}, back: {image: busybox}}\n");
    for (line, wanted) in [
        ("rbuild rmi busy", &["busybox"][..]),
        // What is offered stands behind the last colon: bash takes it for the end of a word.
        ("rbuild rmi registry.example:5000/app:", &["one"]),
        ("rbuild rm ", &["web"]),
        ("rbuild exec ", &[""]),
        ("rbuild network inspect n", &["none"]),
    ] {
        assert_eq!(offered(line, root), wanted, "{line}");
    }
    let file = context.project().join("compose.yaml");
    let line = format!("rbuild compose -f {} up ", file.display());
    assert_eq!(offered(&line, root), ["back", "front"]);
    done(&context, ["rm", "web"]);
    assert_clean(&context);
}

#[test]
fn every_verb_has_a_manual_page() {
    let folder = tempfile::tempdir().unwrap();
    let text = told(["man".as_ref(), folder.path().as_os_str()], folder.path());
    assert!(text.starts_with("status: 0\n"), "{text}");
    let mut pages: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    pages.sort();
    assert!(
        ["rbuild.1", "rbuild-build.1", "rbuild-compose-up.1"]
            .iter()
            .all(|page| pages.contains(&page.to_string())),
        "{pages:?}"
    );
    assert!(!pages.contains(&"rbuild-promote.1".to_owned()), "hidden verbs have no page: {pages:?}");
    for page in &pages {
        let text = std::fs::read_to_string(folder.path().join(page)).unwrap();
        for named in text.lines().filter_map(|line| line.strip_suffix("(1)")?.strip_prefix("rbuild\\-")) {
            let named = format!("rbuild-{}.1", named.replace('\\', ""));
            assert!(pages.contains(&named), "{page} names {named}");
        }
    }
    let build = std::fs::read_to_string(folder.path().join("rbuild-build.1")).unwrap();
    for part in ["\\-\\-build\\-arg", "Dockerfile", "rbuild build"] {
        assert!(build.contains(part), "{part}: {build}");
    }
}
