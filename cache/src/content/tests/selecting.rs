//! What paths mean.

use std::sync::Arc;

use super::super::{Decision, Error};
use super::*;

fn check(tree: &[&str], path: PathSource, expected: &str) {
    let tree = Tree::of(tree);
    let got = match tree.client().hash_selection(&path) {
        Ok(selection) => told(&selection),
        Err(error) => format!("error: {error}"),
    };
    assert_eq!(got, expected, "{path:?}");
}

#[test]
fn literal_paths_are_files_or_directories() {
    let tree = &["a=1", "d/x=2", "d/e/"];
    check(tree, literal("/a"), "a=a:");
    check(tree, literal("a"), "a=a:");
    check(tree, literal("/d"), "d=d: e x");
    check(tree, literal("/d/"), "d=d: e x");
    check(tree, literal("/"), "=: a d d/e d/x");
    check(tree, literal("/../../a"), "a=a:");
    check(tree, literal("/nope"), "error: \"/nope\": not found");
    check(tree, literal("/d/nope"), "error: \"/d/nope\": not found");
    check(tree, literal("/a/x"), "error: \"/a/x\": not found");
    check(tree, literal("/*"), "error: \"/*\": not found");
}

#[test]
fn an_optional_path_may_be_missing() {
    let with = Tree::of(&["etc/passwd=root"]);
    let without = Tree::of(&["other=1"]);
    let path = PathSource::optional("/etc/passwd");
    let missing = without.snapshot().hash_selection(&path).unwrap();
    assert!(missing.matches().is_empty());
    assert_eq!(missing.hash(), Tree::new().snapshot().hash_selection(&path).unwrap().hash());
    let present = with.snapshot().hash_selection(&path).unwrap();
    assert_ne!(present.hash(), missing.hash());
    assert_eq!(present.hash(), with.snapshot().hash_selection(&literal("/etc/passwd")).unwrap().hash());
}

#[test]
fn wildcards_select_in_walk_order() {
    let tree = &["b.c=1", "a.c=2", ".h.c=3", "s/x.c=4", "t/x.c=5", "[x=6", "s/u/x.c=7"];
    check(tree, wild("/*.c"), ".h.c=.h.c:\na.c=a.c:\nb.c=b.c:");
    check(tree, wild("/*/x.c"), "x.c=s/x.c:\nx.c=t/x.c:");
    check(tree, wild("/**/x.c"), "x.c=s/x.c:\nx.c=t/x.c:");
    check(tree, wild("/?"), "s=s: u u/x.c x.c\nt=t: x.c");
    check(tree, wild("/[[]x"), "[x=[x:");
    check(tree, wild("/\\[x"), "[x=[x:");
    check(tree, wild("/s/u*"), "u=s/u: x.c");
    check(tree, wild("/nothing*"), "");
    check(tree, wild("/a.c/*"), "error: lstat /a.c: no such file or directory");
    check(tree, wild("/nodir/*.x"), "error: lstat /nodir: no such file or directory");
    check(tree, wild("/nope"), "error: \"/nope\": not found");
    check(tree, wild("/[x,/t]"), "t=t: x.c");
    check(tree, wild("/s/[u,/v]/x.c"), "x.c=s/u/x.c:");
    check(tree, wild("/a["), "error: invalid pattern `/a[`: syntax error in pattern");
}

#[test]
fn links_are_followed_inside_the_tree() {
    let tree = &[
        "dir/x=1",
        "file=2",
        "etc/shadow=ours",
        "to-file>file",
        "to-dir>dir",
        "to-shadow>/etc/shadow",
        "to-passwd>/etc/passwd",
        "up>../../../../../../file",
        "dir/up>../file",
        "top>/",
        "chain>to-dir/../up",
        "loop>loop",
        "dangling>nowhere",
    ];
    check(tree, literal("/to-file"), "to-file=file:");
    check(tree, literal("/to-dir"), "to-dir=dir: up x");
    check(tree, literal("/to-dir/x"), "x=dir/x:");
    check(tree, literal("/to-shadow"), "to-shadow=etc/shadow:");
    check(tree, literal("/to-passwd"), "error: \"/to-passwd\": not found");
    check(tree, literal("/up"), "up=file:");
    check(tree, literal("/to-dir/up"), "up=file:");
    check(tree, literal("/top/dir"), "dir=dir: up x");
    check(tree, literal("/chain"), "chain=file:");
    check(tree, literal("/loop"), "error: too many symbolic links in `/loop`");
    check(tree, literal("/dangling"), "error: \"/dangling\": not found");
    check(tree, wild("/to-?i*"), "to-dir=dir: up x\nto-file=file:");
    check(tree, wild("/dang*"), "error: \"/dangling\": not found");
    check(tree, wild("/to-dir/x*"), "x=dir/x:");
    check(tree, wild("/to-*/x"), "");
    check(tree, PathSource::optional("/dangling"), "");
}

#[test]
fn a_copied_link_counts_as_its_target() {
    let tree = Tree::of(&["file=same", "link>file"]);
    let scan = tree.client();
    let hash = |path: &str| scan.hash_selection(&literal(path)).unwrap().hash();
    assert_eq!(hash("/file"), hash("/link"));
}

struct Ignore(&'static [(&'static str, Decision)]);

impl super::super::Filter for Ignore {
    fn decision(&self, path: &[u8], _is_dir: bool) -> Decision {
        let found = self.0.iter().find(|(name, _)| name.as_bytes() == path);
        found.map_or(Decision::Include, |(_, decision)| *decision)
    }
}

#[test]
fn what_is_ignored_is_not_there() {
    let tree = Tree::of(&["a=1", "secret=2", "link>secret", "part/keep=3", "part/drop=4", "empty/drop=5"]);
    let ignore = Ignore(&[
        ("secret", Decision::Exclude),
        ("part", Decision::ExcludeButDescend),
        ("part/drop", Decision::Exclude),
        ("empty", Decision::ExcludeButDescend),
        ("empty/drop", Decision::Exclude),
    ]);
    let scan = ContextScan::new(TreeSource::client(tree.root()).with_filter(Arc::new(ignore)));
    let check = |path: PathSource, expected: &str| {
        assert_eq!(told(&scan.hash_selection(&path).unwrap()), expected);
    };
    check(literal("/"), "=: a link part part/keep");
    check(literal("/part"), "part=part: keep");
    check(wild("/*a*"), "a=a:\npart=part: keep");
    check(wild("/e*"), "");
    check(wild("/s*"), "");
    let ignored = |path: &str| match scan.hash_selection(&literal(path)) {
        Err(Error::NotFound { ignored, .. }) => ignored,
        other => panic!("{other:?}"),
    };
    assert!(ignored("/secret"));
    assert!(ignored("/link"));
    assert!(ignored("/part/drop"));
    assert!(ignored("/empty"));
    assert!(!ignored("/absent"));
    // What is ignored does not count, and neither does how much of it there is.
    let other = Tree::of(&["a=1", "link>secret", "part/keep=3"]);
    assert_eq!(whole(&scan), whole(&other.client()));
}

#[test]
fn exclude_narrows_directories() {
    let tree = &["f=0", "d/a.txt=1", "d/b.go=2", "d/s/a.txt=3", "d/s/c=4"];
    check(tree, without(literal("/d"), &["*.txt"]), "d=d: b.go s s/a.txt s/c");
    check(tree, without(literal("/d"), &["**/*.txt"]), "d=d: b.go s s/c");
    check(tree, without(literal("/d"), &["s/**"]), "d=d: a.txt b.go s");
    check(tree, without(literal("/d"), &["s", "!s/c"]), "d=d: a.txt b.go s s/c");
    check(tree, without(literal("/d"), &["*"]), "d=d:");
    check(tree, without(literal("/f"), &["*"]), "f=f:");
    check(tree, without(wild("/?"), &["*.txt", "s"]), "d=d: b.go\nf=f:");
    check(
        tree,
        without(literal("/d"), &["!"]),
        "error: invalid pattern `!`: nothing follows the exclamation mark",
    );
    check(tree, without(literal("/f"), &["["]), "error: invalid pattern `[`: syntax error in pattern");
}

#[test]
fn parents_keep_paths() {
    let tree = &["a/b/x.go=1", "a/b/y=2", "a/z.go=3", "c/d/", "l>a", "a/b/l>y", "e/drop/f=4"];
    check(tree, kept("/a/b/x.go"), "=: a a/b a/b/x.go");
    check(tree, kept("/**/*.go"), "=: a a/b a/b/x.go a/z.go");
    check(tree, kept("/a/./b/y"), "a=a: b b/y");
    check(tree, kept("/a/./**/*.go"), "a=a: b b/x.go z.go");
    check(tree, kept("/c"), "=: c c/d");
    check(tree, kept("/a/b/l"), "=: a a/b a/b/l");
    check(tree, kept("/l"), "=: l");
    check(tree, kept("/l/z.go"), "error: \"/l/z.go\": not found");
    check(tree, kept("/l/./z.go"), "l=a: z.go");
    check(tree, kept("/nope"), "error: \"/nope\": not found");
    check(tree, kept("/no*"), "=:");
    check(tree, without(kept("/a/b"), &["a/b/x.go"]), "=: a a/b a/b/l a/b/y");
    check(tree, without(kept("/a/z.go"), &["**/*.go"]), "=:");
    check(tree, without(kept("/e/./drop/f"), &["drop/f"]), "e=e:");
}

#[test]
fn kept_parents_count_with_their_modes() {
    let tree = Tree::of(&["a/b/x=1"]);
    let hash = || tree.client().hash_selection(&kept("/a/b/x")).unwrap().hash();
    let before = hash();
    tree.chmod("a", 0o700);
    assert_ne!(hash(), before);
}

#[test]
fn only_what_is_selected_is_looked_at() {
    let tree = Tree::of(&["package.json={}", "big/a=1", "big/b=2", "big/c/d=3"]);
    let scan = tree.client();
    scan.hash_selection(&literal("/package.json")).unwrap();
    assert_eq!(scan.effort().hashed, 1);
    scan.hash_selection(&literal("/big/c")).unwrap();
    assert_eq!(scan.effort().hashed, 2);
    scan.hash_selection(&wild("/big/[ab]")).unwrap();
    assert_eq!(scan.effort().hashed, 4);
    whole(&scan);
    assert_eq!(scan.effort().hashed, 4, "nothing is hashed twice");
}

#[test]
fn threads_share_a_scan() {
    let lines: Vec<String> = (0..3000).map(|at| format!("d{}/f{at}={at}", at % 7)).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let tree = Tree::of(&lines);
    let expected = whole(&tree.client().with_threads(1));
    let scan = tree.client().with_threads(4);
    std::thread::scope(|scope| {
        let asked: Vec<_> = (0..4).map(|_| scope.spawn(|| whole(&scan))).collect();
        for answer in asked {
            assert_eq!(answer.join().unwrap(), expected);
        }
    });
}

#[test]
fn a_tree_deeper_than_a_path_is_refused() {
    let tree = Tree::new();
    let mut dir = std::fs::File::open(tree.path("")).unwrap();
    let name = "n".repeat(200);
    for _ in 0..25 {
        rustix::fs::mkdirat(&dir, &*name, rustix::fs::Mode::RWXU).unwrap();
        let flags = rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
        dir = rustix::fs::openat(&dir, &*name, flags, rustix::fs::Mode::empty()).unwrap().into();
    }
    assert!(
        failure(tree.client().hash_selection(&literal("/"))).starts_with("path is longer than 4095 bytes")
    );
    // The helper's own clean-up cannot go that deep by path.
    let root = Root::open(tree.folder.path()).unwrap();
    rbuild_confined::remove_contents(root.resolve("tree").unwrap()).unwrap();
}
