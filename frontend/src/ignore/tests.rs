//! The tables of the reference on ignore files.

use proptest::prelude::*;

use super::*;

fn ignored<'p>(file: &str, paths: &[&'p str]) -> Vec<&'p str> {
    let ignore = Ignore::parse(file).unwrap();
    paths.iter().copied().filter(|path| ignore.ignores(path)).collect()
}

#[test]
fn patterns_match_from_the_root() {
    let paths = ["foo", "foo/x", "sub/foo", "foobar", "a/b/c", "a.log", "d/a.log", ".git", ".git/x"];
    for (file, expected) in [
        ("foo", vec!["foo", "foo/x"]),
        ("/foo", vec!["foo", "foo/x"]),
        ("./foo/", vec!["foo", "foo/x"]),
        ("x/../foo", vec!["foo", "foo/x"]),
        ("**/foo", vec!["foo", "foo/x", "sub/foo"]),
        ("*/foo", vec!["sub/foo"]),
        ("foo*", vec!["foo", "foo/x", "foobar"]),
        ("*.log", vec!["a.log"]),
        ("**/*.log", vec!["a.log", "d/a.log"]),
        ("a/**", vec!["a/b/c"]),
        ("a/**/c", vec!["a/b/c"]),
        ("a/b/**/c", vec!["a/b/c"]),
        ("**/c", vec!["a/b/c"]),
        ("f??", vec!["foo", "foo/x"]),
        ("[e-g]oo", vec!["foo", "foo/x"]),
        ("[^e-g]oo", vec![]),
        ("\\.git", vec![".git", ".git/x"]),
        ("\\foo", vec![]),
        ("f\\wo", vec!["foo", "foo/x"]),
        ("f\\Do*", vec!["foo", "foo/x", "foobar"]),
        ("fo\\W", vec![]),
        (".*", vec![".git", ".git/x"]),
        (".", vec![]),
        ("/", vec![]),
        ("../foo", vec![]),
        ("..", vec![]),
        ("", vec![]),
        ("# foo\n  foo  ", vec!["foo", "foo/x"]),
        ("\u{feff}foo", vec!["foo", "foo/x"]),
        ("*", paths.to_vec()),
        ("**", paths.to_vec()),
        ("**/*", paths.to_vec()),
    ] {
        assert_eq!(ignored(file, &paths), expected, "file {file:?}");
    }
}

#[test]
fn the_last_rule_that_matches_decides() {
    let paths = ["a", "a/b", "a/b/c", "a/d", "x.md", "README.md"];
    for (file, expected) in [
        ("a\n!a/b", vec!["a", "a/d"]),
        ("a\n!a/b\na/b/c", vec!["a", "a/b/c", "a/d"]),
        ("*.md\n!README.md", vec!["x.md"]),
        ("!README.md\n*.md", vec!["x.md", "README.md"]),
        ("*\n! a", vec!["x.md", "README.md"]),
        ("*\n!a/b/c", vec!["a", "a/b", "a/d", "x.md", "README.md"]),
    ] {
        assert_eq!(ignored(file, &paths), expected, "file {file:?}");
    }
    let ignore = Ignore::parse("# c\n*.md\n\n!README.md\n").unwrap();
    assert_eq!(ignore.verdict("x.md").rule.unwrap().line, 2);
    let readme = ignore.verdict("README.md");
    assert_eq!((readme.ignored, readme.rule.unwrap().line), (false, 4));
    assert_eq!(readme.rule.unwrap().to_string(), "!README.md");
    assert_eq!(ignore.verdict("a").rule, None);
}

#[test]
fn two_stars_inside_an_element() {
    let paths = ["ab", "axb", "a/b", "ax/b", "a/x/b", "xfoo", "y/xfoo", "foo"];
    for (file, expected) in [
        ("a**b", vec!["ab", "a/b", "ax/b", "a/x/b"]),
        ("**foo", vec!["xfoo", "y/xfoo", "foo"]),
        ("**fo?", vec!["foo"]),
        ("a**", vec!["ab", "axb", "a/b", "ax/b", "a/x/b"]),
    ] {
        assert_eq!(ignored(file, &paths), expected, "file {file:?}");
    }
}

#[test]
fn malformed_lines_are_refused() {
    for (file, error) in [
        ("a\n!", "line 2: illegal exclusion pattern: \"!\""),
        ("!  ", "line 1: illegal exclusion pattern: \"!\""),
        ("[", "line 1: syntax error in pattern: \"[\""),
        ("a[]b", "line 1: syntax error in pattern: \"a[]b\""),
        ("a\\", "line 1: syntax error in pattern: \"a\\\\\""),
        ("\\bfoo", "line 1: syntax error in pattern: \"\\\\bfoo\""),
        ("\\x41", "line 1: syntax error in pattern: \"\\\\x41\""),
        ("[\\d]", "line 1: syntax error in pattern: \"[\\\\d]\""),
        ("[-a]", "line 1: syntax error in pattern: \"[-a]\""),
    ] {
        assert_eq!(Ignore::parse(file).unwrap_err().to_string(), error, "file {file:?}");
    }
}

#[test]
fn walks_stay_out_of_folders_that_nothing_brings_back() {
    let ignore = Ignore::parse("node_modules\ntarget\n!target/keep\n**/tmp\n").unwrap();
    assert!(ignore.prunes("node_modules"));
    assert!(ignore.prunes("node_modules/x"));
    assert!(!ignore.prunes("target"));
    assert!(ignore.prunes("target/debug"));
    assert!(!ignore.prunes("target/keep"));
    assert!(ignore.prunes("a/tmp"));
    assert!(!ignore.prunes("src"));
    let anywhere = Ignore::parse("node_modules\n!**/README.md\n").unwrap();
    assert!(!anywhere.prunes("node_modules"));
    assert!(!Ignore::parse("a/*").unwrap().prunes("a"));
}

#[test]
fn exclude_patterns_never_match_absolute_paths() {
    let ignore = Ignore::from_patterns(["/f", "./g", "sub/**"]).unwrap();
    assert!(!ignore.ignores("f"));
    assert!(ignore.ignores("g"));
    assert!(!ignore.ignores("sub"));
    assert!(ignore.ignores("sub/x"));
}

#[test]
fn cost_does_not_explode() {
    let ignore = Ignore::parse(&"**/*a".repeat(300)).unwrap();
    assert!(!ignore.ignores(&"a/".repeat(3000)[..5999].replace('a', "b")));
}

/// Says the same by trying everything: the definition of matching, without the set of places.
fn matches_slowly(pattern: &[char], path: &[char]) -> bool {
    match pattern {
        [] => path.is_empty(),
        ['*', '*'] => true,
        ['*', '*', rest @ ..] => {
            let rest = rest.strip_prefix(&['/']).unwrap_or(rest);
            if rest.is_empty() {
                return true;
            }
            matches_slowly(rest, path)
                || path.iter().enumerate().any(|(at, ch)| *ch == '/' && matches_slowly(rest, &path[at + 1..]))
        }
        ['*', rest @ ..] => {
            let run = path.iter().take_while(|ch| **ch != '/').count();
            (0..=run).any(|taken| matches_slowly(rest, &path[taken..]))
        }
        ['?', rest @ ..] => path.first().is_some_and(|ch| *ch != '/') && matches_slowly(rest, &path[1..]),
        [ch, rest @ ..] => path.first() == Some(ch) && matches_slowly(rest, &path[1..]),
    }
}

fn ignores_slowly(file: &str, path: &str) -> bool {
    let mut ignored = false;
    for line in file.lines() {
        let (exception, pattern) = match line.strip_prefix('!') {
            Some(rest) => (true, rest),
            None => (false, line),
        };
        let pattern: Vec<char> = crate::path::clean(pattern).chars().collect();
        let above = path.match_indices('/').map(|(at, _)| &path[..at]).chain([path]);
        for path in above {
            if matches_slowly(&pattern, &path.chars().collect::<Vec<_>>()) {
                ignored = !exception;
            }
        }
    }
    ignored
}

proptest! {
    #[test]
    fn the_matcher_agrees_with_the_definition(
        lines in prop::collection::vec("!?([ab]|[ab*?]{1,3})(/[ab*]{1,3}|/\\*\\*){0,3}", 1..5),
        path in "[ab]{1,2}(/[ab]{1,2}){0,3}",
    ) {
        // Two stars before plain text are a case of their own.
        prop_assume!(lines.iter().all(|line| !line.trim_start_matches('!').starts_with("**")));
        let file = lines.join("\n");
        let ignore = Ignore::parse(&file).unwrap();
        prop_assert_eq!(ignore.ignores(&path), ignores_slowly(&file, &path), "file {:?}", file);
        for (at, _) in path.match_indices('/') {
            if ignore.prunes(&path[..at]) {
                prop_assert!(ignore.ignores(&path), "pruned above {:?} of {:?}", path, file);
            }
        }
    }

    #[test]
    fn no_text_is_too_odd(file in "\\PC{0,80}", path in "[^\\x00]{0,40}") {
        if let Ok(ignore) = Ignore::parse(&file) {
            ignore.verdict(&path);
            ignore.prunes(&path);
        }
    }
}

proptest! {
    #[test]
    fn looking_rules_up_finds_what_trying_every_rule_finds(
        lines in prop::collection::vec("!?(\\*\\*/)?[ab*?.]{1,4}(/[ab*.]{1,3}){0,2}", 0..12),
        paths in prop::collection::vec("[ab.]{1,4}(/[ab.]{1,3}){0,3}", 1..8),
    ) {
        let ignore = Ignore::parse(&lines.join("\n")).unwrap();
        for path in &paths {
            let tried = ignore.rules.iter().rev().find(|rule| rule.pattern.matches_or_above(path));
            prop_assert_eq!(ignore.verdict(path).rule, tried, "{:?} in {:?}", path, lines);
        }
    }
}

#[test]
fn bytes_that_are_not_text_match_themselves() {
    let ignore = Ignore::parse(&text_of(b"# gr\xfc\xdfe\ngr\xfc\nx?\n!x\xe4\n")).unwrap();
    for (path, is_ignored) in [
        (&b"gr\xfc"[..], true),
        (b"gr\xfc/below", true),
        (b"gr\xfd", false),
        ("gr\u{fffd}".as_bytes(), false),
        ("grü".as_bytes(), false),
        (b"x\xfc", true),
        (b"x\xe4", false),
    ] {
        assert_eq!(ignore.ignores(&text_of(path)), is_ignored, "{path:?}");
    }
    assert_eq!(ignore.rules()[0].text, "gr\\xfc");
    assert_eq!(ignore.rules()[2].text, "!x\\xe4");
    assert_eq!(shown(&text_of(b"a\xff/\xc3\xa4")), "a\\xff/ä");
}

#[test]
fn a_file_in_another_encoding_is_refused() {
    // A pattern that is read wrong leaves nothing out, and what it was to keep back would leave the machine.
    let wide: Vec<u8> = "# x\n*.key\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let marked = [&b"\xff\xfe"[..], &wide].concat();
    for (bytes, line) in [(&wide[..], 2), (&marked, 1), (b"a\nb\0\n", 2)] {
        let error = Ignore::parse(&text_of(bytes)).unwrap_err();
        assert_eq!(error, IgnoreError::Nul { line }, "{bytes:?}");
        assert_eq!(error.line(), line);
    }
    assert!(Ignore::parse("# a\0\nb\n").unwrap().ignores("b"));
}
