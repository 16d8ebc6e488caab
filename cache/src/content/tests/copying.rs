//! Whether what is copied is what was hashed.

use super::super::node::{Content, TreeEntry};
use super::super::{FileCheck, find};
use super::*;

/// Tells whether a file of the selected folder still has the bytes that were hashed, as COPY does.
fn is_as_hashed(tree: &Tree, selection: &SelectionHash, file: &str) -> bool {
    let matched = &selection.matches()[0];
    let Some(Content::File(facts)) = find(matched.entry(), Path::new(file)).map(TreeEntry::content) else {
        return false;
    };
    let mut check = FileCheck::new(facts);
    let path = if file.is_empty() { matched.path().to_owned() } else { matched.path().join(file) };
    for chunk in tree.root().read(path, 1 << 30).unwrap().chunks(3) {
        check.update(chunk);
    }
    check.matches()
}

#[test]
fn unchanged_bytes_match() {
    let tree = Tree::of(&["d/a=hello", "d/e/b=world", "d/empty="]);
    let selection = tree.client().hash_selection(&literal("/d")).unwrap();
    for file in ["a", "e/b", "empty"] {
        assert!(is_as_hashed(&tree, &selection, file), "{file}");
    }
    let single = tree.client().hash_selection(&literal("/d/a")).unwrap();
    assert!(is_as_hashed(&tree, &single, ""));
}

#[test]
fn a_change_between_hash_and_copy_is_found() {
    for change in ["hellO", "hello!", "hell", ""] {
        let tree = Tree::of(&["d/a=hello", "d/b=world"]);
        let selection = tree.client().hash_selection(&literal("/d")).unwrap();
        tree.write("d/a", change);
        assert!(!is_as_hashed(&tree, &selection, "a"), "{change}");
        assert!(is_as_hashed(&tree, &selection, "b"));
    }
    let tree = Tree::of(&["d/a=hello"]);
    let selection = tree.client().hash_selection(&literal("/d")).unwrap();
    tree.write("d/new", "x");
    assert!(!is_as_hashed(&tree, &selection, "new"));
}
