//! The two languages, in tables and by chance.

use super::*;
use proptest::prelude::*;

#[test]
fn a_component_matches_as_in_go() {
    let cases: &[(&str, &str, Option<bool>)] = &[
        ("abc", "abc", Some(true)),
        ("*", "abc", Some(true)),
        ("*", ".hidden", Some(true)),
        ("**", "abc", Some(true)),
        ("*c", "abc", Some(true)),
        ("a*", "a", Some(true)),
        ("a*b*c*d*e*", "axbxcxdxe", Some(true)),
        ("a*b?c*x", "abxbbxdbxebxczzx", Some(true)),
        ("a*b?c*x", "abxbbxdbxebxczzy", Some(false)),
        ("ab[c]", "abc", Some(true)),
        ("ab[b-d]", "abc", Some(true)),
        ("ab[e-g]", "abc", Some(false)),
        ("ab[^c]", "abc", Some(false)),
        ("ab[^e-g]", "abc", Some(true)),
        ("ab[!c]", "ab!", Some(true)),
        ("a\\*b", "a*b", Some(true)),
        ("a\\*b", "ab", Some(false)),
        ("a?b", "a☺b", Some(true)),
        ("a[^a]b", "a☺b", Some(true)),
        ("a???b", "a☺b", Some(false)),
        ("[a-ζ]*", "α", Some(true)),
        ("[[]x", "[x", Some(true)),
        ("[\\]a]", "]", Some(true)),
        ("[\\-x]", "-", Some(true)),
        ("[]a]", "]", None),
        ("[-]", "-", None),
        ("[x-]", "x", None),
        ("[", "a", None),
        ("[^", "a", None),
        ("[^bc", "a", None),
        ("a[", "ab", None),
        ("\\", "a", None),
        ("*x", "xxx", Some(true)),
        ("", "", Some(true)),
        ("", "a", Some(false)),
        ("*", "a/b", Some(false)),
        ("*/*", "a/b", Some(true)),
        ("*/*", "a/b/c", Some(false)),
        ("a*/b", "a/c/b", Some(false)),
        ("a*/b", "abc/b", Some(true)),
        ("?", "/", Some(false)),
        ("*box:1.?", "busybox:1.3", Some(true)),
        ("busy", "busybox", Some(false)),
    ];
    for (pattern, name, expected) in cases {
        let got = Glob::new(pattern.as_bytes()).ok().map(|glob| glob.matches(name.as_bytes()));
        assert_eq!(got, *expected, "{pattern} on {name}");
    }
}

#[test]
fn a_path_matches_across_levels() {
    // (pattern, path, matched, below)
    let cases = [
        ("a", "a", true, true),
        ("a", "a/b/c", true, true),
        ("a", "ab", false, false),
        ("a/b", "a", false, true),
        ("a/*", "a/b", true, true),
        ("a/*", "a", false, true),
        ("*.go", "x.go", true, true),
        ("*.go", "sub/x.go", false, false),
        ("**/*.go", "x.go", true, true),
        ("**/*.go", "a/b/x.go", true, true),
        ("**/*.go", "a/b", false, true),
        ("**/*.go", "a/b/x.gob", false, true),
        ("a/**", "a", false, true),
        ("a/**", "a/b/c", true, true),
        ("a/**/b", "a/b", true, true),
        ("a/**/b", "a/x/y/b", true, true),
        ("a/**/b", "a/xb", false, true),
        ("**", "x/y", true, true),
        ("a**b", "ab", true, true),
        ("a**b", "ax/b", true, true),
        ("a**b", "axb", false, true),
        ("/f", "f", false, false),
    ];
    for (pattern, path, matched, below) in cases {
        let got = DeepGlob::new(pattern.as_bytes()).unwrap().check(path.as_bytes());
        assert_eq!(got, Verdict { matched, below }, "{pattern} on {path}");
    }
}

#[test]
fn a_hostile_pattern_takes_linear_time() {
    let pattern = "*a".repeat(200) + "b";
    let path = "a".repeat(4000);
    assert!(!Glob::new(pattern.as_bytes()).unwrap().matches(path.as_bytes()));
    let deep = "**/a".repeat(100) + "b";
    assert!(!DeepGlob::new(deep.as_bytes()).unwrap().check("a/".repeat(2000).as_bytes()).matched);
}

proptest! {
    #[test]
    fn nothing_panics(pattern in prop::collection::vec(any::<u8>(), 0..12), path in prop::collection::vec(any::<u8>(), 0..12)) {
        if let Ok(glob) = Glob::new(&pattern) {
            glob.matches(&path);
        }
        if let Ok(glob) = DeepGlob::new(&pattern) {
            glob.check(&path);
        }
    }

    #[test]
    fn both_languages_agree_within_a_component(pattern in "[ab*?]{0,5}", name in "[ab]{1,5}") {
        prop_assume!(!pattern.contains("**"));
        let one = Glob::new(pattern.as_bytes()).unwrap().matches(name.as_bytes());
        prop_assert_eq!(one, DeepGlob::new(pattern.as_bytes()).unwrap().check(name.as_bytes()).matched);
    }

    #[test]
    fn what_matches_below_was_announced(pattern in "[ab*/?]{1,6}", path in "[ab]{1,2}(/[ab]{1,2}){1,3}") {
        let glob = DeepGlob::new(pattern.as_bytes()).unwrap();
        if glob.check(path.as_bytes()).matched {
            let parent = path.rsplit_once('/').unwrap().0;
            prop_assert!(glob.check(parent.as_bytes()).below);
        }
    }
}
