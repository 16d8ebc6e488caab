//! Addresses, references and folders of repositories.

use super::remote::{self, Protocol, Remote, RemoteError};

#[test]
fn addresses_are_read_and_give_no_password_away() {
    for (text, url, host) in [
        ("https://example.com/team/app.git", "https://example.com/team/app.git", "example.com"),
        ("http://example.com:81/app.git", "http://example.com:81/app.git", "example.com:81"),
        ("git://example.com/app", "git://example.com/app", "example.com"),
        ("ssh://git@example.com:2222/app", "ssh://git@example.com:2222/app", "example.com:2222"),
        ("ssh://git:pw@example.com/app", "ssh://git@example.com/app", "example.com"),
        ("git@example.com:team/app", "git@example.com:team/app", "example.com"),
    ] {
        let remote = Remote::parse(text).unwrap();
        assert_eq!((remote.url.as_str(), remote.host.as_str()), (url, host), "{text}");
        assert_eq!(remote.basic, None, "{text}");
    }
    let remote = Remote::parse("https://me:p%40ss@example.com/app.git").unwrap();
    assert_eq!(remote.url, "https://example.com/app.git");
    assert_eq!(remote.basic.as_deref(), Some(remote::basic("me:p@ss").as_str()));
    assert_eq!(format!("{remote:?}"), "Remote(https://example.com/app.git)");
    assert_eq!(remote.origin().as_deref(), Some("https://example.com/"));
}

#[test]
fn what_could_run_something_is_no_address() {
    for text in
        ["", "-x", "--upload-pack=touch /x", "https://", "https:///app.git", "https://host", "https://-x/a"]
    {
        assert!(matches!(Remote::parse(text), Err(RemoteError::Malformed(_))), "{text:?}");
    }
    for text in
        ["https://host/a\n.git", "https://host/a b.git", "git@-x:a", "git@host:-x", "/etc", "../x", "x:y"]
    {
        assert!(matches!(Remote::parse(text), Err(RemoteError::Malformed(_))), "{text:?}");
    }
    for text in ["file:///etc/passwd", "ext::sh -c x", "ext://x/y", "ftp://host/a"] {
        let refused = Remote::parse(text);
        assert!(refused.is_err(), "{text:?}: {refused:?}");
    }
}

#[test]
fn addresses_of_submodules_stay_on_their_host() {
    let https = Remote::parse("https://me:pw@example.com/team/app.git").unwrap();
    let scp = Remote::parse("git@example.com:team/app").unwrap();
    for (base, text, url) in [
        (&https, "../lib.git", "https://example.com/team/lib.git"),
        (&https, "../../other/lib.git", "https://example.com/other/lib.git"),
        (&https, "./lib.git", "https://example.com/team/app.git/lib.git"),
        (&https, "git://other.example/lib", "git://other.example/lib"),
        (&scp, "../lib", "git@example.com:team/lib"),
        (&scp, "../../lib", "git@example.com:lib"),
    ] {
        assert_eq!(base.submodule(text).unwrap().url, url, "{text}");
    }
    assert_eq!(https.submodule("../lib.git").unwrap().basic, https.basic);
    assert_eq!(https.submodule("https://other.example/lib.git").unwrap().basic, None);
    for text in ["../../../evil.example/x", "../../../../x", "ext::sh -c x", "file:///etc", "/etc"] {
        assert!(https.submodule(text).is_err(), "{text}: {:?}", https.submodule(text));
    }
    assert_eq!(https.protocol, Protocol::Http);
}

#[test]
fn references_and_folders_have_a_grammar() {
    for name in ["main", "feature/x", "refs/pull/1/head", "v1.0"] {
        assert!(remote::is_reference(name), "{name}");
    }
    for name in
        ["", "-x", "--upload-pack=x", "a..b", "a b", "a:b", "x.lock", "/x", "x/", "a~1", "a^", "a\nb", "@{u}"]
    {
        assert!(!remote::is_reference(name), "{name:?}");
    }
    for (text, plain) in [("", ""), (".", ""), ("/a/b/", "a/b"), ("a/./b", "a/b"), ("a/../b", "b")] {
        assert_eq!(remote::folder(text).as_deref(), Some(plain), "{text:?}");
    }
    for text in ["..", "a/../..", "../x", ".git", ".git/config", ".GIT/hooks", "a\0b"] {
        assert_eq!(remote::folder(text), None, "{text:?}");
    }
}
