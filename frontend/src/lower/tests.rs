//! The small parts of lowering: paths, Go's formats, remote sources.

use super::{go, parse_git_url, path, remote};

#[test]
fn paths_are_cleaned_and_joined() {
    for (folder, text, joined) in [
        ("/a", "b", "/a/b"),
        ("/a", "../..", "/"),
        ("/a/b", "../c", "/a/c"),
        ("", "b", "/b"),
        ("/a", "/c//d/./e/", "/c/d/e"),
        ("/a", "", "/a"),
        ("/a", ".", "/a"),
        ("/", "..", "/"),
    ] {
        assert_eq!(path::join(folder, text), joined, "{folder} {text}");
    }
    for (text, clean) in [("", "."), ("a/..", "."), ("../a", "../a"), ("a/../../b", "../b"), ("/..", "/")] {
        assert_eq!(path::clean(text), clean, "{text}");
    }
}

#[test]
fn durations_are_read_and_written_as_go_does() {
    for (text, nanoseconds, written) in [
        ("0", 0, "0s"),
        ("30s", 30_000_000_000, "30s"),
        ("1m30s", 90_000_000_000, "1m30s"),
        ("1.5h", 5_400_000_000_000, "1h30m0s"),
        ("1500ms", 1_500_000_000, "1.5s"),
        ("2h", 7_200_000_000_000, "2h0m0s"),
        ("10us", 10_000, "10µs"),
        ("1.25ms", 1_250_000, "1.25ms"),
        ("7ns", 7, "7ns"),
        ("-1s", -1_000_000_000, "-1s"),
        (".5s", 500_000_000, "500ms"),
    ] {
        assert_eq!(go::parse_duration(text), Some(nanoseconds), "{text}");
        assert_eq!(go::duration(nanoseconds), written, "{text}");
    }
    for wrong in ["", "1", "s", "1x", "1.2.3s", ".s", "99999999999h", "1s x"] {
        assert_eq!(go::parse_duration(wrong), None, "{wrong}");
    }
}

#[test]
fn strings_are_quoted_as_go_does() {
    let items = ["a\"b".to_owned(), "c\\d".to_owned(), "\t\n\u{1}ü".to_owned()];
    assert_eq!(go::quoted_list(&items), r#"["a\"b" "c\\d" "\t\n\x01ü"]"#);
    assert_eq!(go::quoted_list(&[]), "[]");
}

#[test]
fn remote_sources_are_told_apart() {
    for (text, git) in [
        ("git://h/r", true),
        ("ssh://git@h/r", true),
        ("git@github.com:u/r.git", true),
        ("user@host:path#ref", true),
        ("https://h/r.git", true),
        ("https://h/r.git#main:sub", true),
        ("https://h/r.git?ref=x", true),
        ("https://h/r", false),
        ("http://h/r.git.txt", false),
        ("github.com/u/r", false),
        ("./a@b:c", false),
        ("a/b@c:d", false),
        ("file", false),
    ] {
        assert_eq!(super::is_git_url(text), git, "{text}");
    }
    assert!(remote::is_http_url("HTTPS://h/"));
    for (url, name) in [
        ("http://h/a/b.txt?x=/y#f", "b.txt"),
        ("http://h/a%20b", "a b"),
        ("http://h/", "__unnamed__"),
        ("http://h", "__unnamed__"),
        ("http://h/..", "__unnamed__"),
        ("http://h/a%2fb", "b"),
        ("http://h/..%2f..%2fetc%2fx", "x"),
        ("http://h/a%2f..", "__unnamed__"),
        ("http://h/dir/", "dir"),
    ] {
        assert_eq!(remote::http_source(url).file_name, name, "{url}");
    }
}

#[test]
fn git_references_are_taken_apart() {
    let git = parse_git_url("https://h/r.git#v1:sub/dir").unwrap();
    assert_eq!(
        (git.remote.as_str(), git.reference.as_deref(), git.subdir.as_deref()),
        ("https://h/r.git", Some("v1"), Some("sub/dir"))
    );
    let git = parse_git_url("https://h/r.git?tag=v1&submodules=false&keep-git-dir&commit=abc").unwrap();
    assert_eq!(git.reference.as_deref(), Some("refs/tags/v1"));
    assert!(git.keep_git_dir && !git.submodules);
    assert_eq!(git.checksum.as_deref(), Some("abc"));
    for mtime in ["checkout", "commit"] {
        assert!(parse_git_url(&format!("https://h/r.git?mtime={mtime}")).is_ok(), "{mtime}");
    }
    for (text, error) in [
        ("https://h/r.git?x=1", "unexpected query \"x\""),
        ("https://h/r.git?ref=a#b", "ref conflicts: \"b\" and \"a\""),
        ("https://h/r.git?submodules=q", "invalid value \"q\" for submodules"),
        ("https://h/r.git?mtime=never", "invalid value \"never\" for mtime"),
    ] {
        assert_eq!(parse_git_url(text).unwrap_err().to_string(), error, "{text}");
    }
}
