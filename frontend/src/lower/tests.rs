//! The small parts of lowering: remote sources.

use super::{parse_git_url, remote};

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
        ("https://h/r.git?ref=a#b", "ref conflicts: \"b\" vs \"a\""),
        ("https://h/r.git?submodules=q", "invalid value \"q\" for submodules"),
        ("https://h/r.git?mtime=never", "invalid value \"never\" for mtime"),
    ] {
        assert_eq!(parse_git_url(text).unwrap_err().to_string(), error, "{text}");
    }
}
