//! What is generated from the definition of the command line.

use super::{rbuild, told};

#[test]
fn completions_exist_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = rbuild().args(["completion", shell]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && text.contains("rbuild") && text.contains("history"), "{shell}");
        assert!(
            !text.contains("disable-content-trust"),
            "{shell}: flags that are not there yet are not offered"
        );
    }
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
    assert!(!pages.contains(&"rbuild-man.1".to_owned()), "hidden verbs have no page: {pages:?}");
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
