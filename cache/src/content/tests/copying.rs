//! Whether what is copied is what was hashed.

use super::super::{CopyCheck, Mismatch};
use super::*;

/// Copies the selected files as COPY does, by feeding bytes.
fn feed(tree: &Tree, selection: &SelectionHash, files: &[&str]) -> std::result::Result<(), Mismatch> {
    let mut check = CopyCheck::new(selection, 0).unwrap();
    for file in files {
        let path = selection.matches()[0].path().join(file);
        check.file(Path::new(file), &tree.root().metadata(&path).unwrap());
        for chunk in tree.root().read(&path, 1 << 30).unwrap().chunks(3) {
            check.bytes(chunk);
        }
    }
    check.finish()
}

#[test]
fn unchanged_bytes_match() {
    let tree = Tree::of(&["d/a=hello", "d/e/b=world", "d/empty="]);
    let selection = tree.client().hash_selection(&literal("/d")).unwrap();
    assert_eq!(feed(&tree, &selection, &["a", "e/b", "empty"]), Ok(()));
    let single = tree.client().hash_selection(&literal("/d/a")).unwrap();
    let mut check = CopyCheck::new(&single, 0).unwrap();
    check.file(Path::new(""), &tree.root().metadata("d/a").unwrap());
    check.bytes(b"hello");
    assert_eq!(check.finish(), Ok(()));
    assert!(CopyCheck::new(&single, 1).is_none());
}

#[test]
fn a_change_between_hash_and_copy_is_found() {
    for change in ["hellO", "hello!", "hell", ""] {
        let tree = Tree::of(&["d/a=hello", "d/b=world"]);
        let selection = tree.client().hash_selection(&literal("/d")).unwrap();
        tree.write("d/a", change);
        let mismatch = feed(&tree, &selection, &["a", "b"]).unwrap_err();
        assert_eq!(mismatch.to_string(), "`a` changed during the build");
    }
    let tree = Tree::of(&["d/a=hello"]);
    let selection = tree.client().hash_selection(&literal("/d")).unwrap();
    tree.write("d/new", "x");
    assert!(feed(&tree, &selection, &["a", "new"]).is_err());
}

#[test]
fn a_stat_vouches_only_for_settled_files() {
    let tree = Tree::of(&["a=hello"]);
    tree.settle();
    let selection = tree.client().hash_selection(&literal("/")).unwrap();
    let vouches = || {
        let metadata = tree.root().metadata("a").unwrap();
        let mut check = CopyCheck::new(&selection, 0).unwrap();
        check.file(Path::new("a"), &metadata);
        let vouched = check.vouches(&metadata);
        assert_eq!(check.finish().is_ok(), vouched, "what is neither fed nor vouched for is no match");
        vouched
    };
    assert!(vouches());
    tree.write("a", "jello");
    assert!(!vouches());
}
