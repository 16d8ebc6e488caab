//! The folders that pre-images stand for.

use std::fs;
use std::path::Path;

use rbuild_confined::Root;
use rbuild_model::key::ContentHash;
use rbuild_model::step::PathSource;

use super::super::nodes::{NewNodes, Selected, Tree};
use super::*;
use crate::content::{ContextScan, HashedNode, TreeSource};

/// A record whose content key selects all of a folder, as it is now.
fn remember_folder(records: &Records, folder: &Path, name: &str, tree: u8) -> (RecordId, ContentHash) {
    let scan = ContextScan::new(TreeSource::client(Root::open(folder).unwrap()));
    let selection = scan.hash_selection(&PathSource::literal(".")).unwrap();
    let content = PreImage::fields([
        ("name", PreImage::text(name)),
        ("selected", PreImage::List(vec![PreImage::Content(selection.hash())])),
    ]);
    let new = NewRecord { canonical: content.key(), content: Some(content), ..record(name, &[tree]) };
    let selected = [Selected { path: "src", content: &selection }];
    let id = records.remember_in(&new, &selected, &Room::default()).unwrap();
    assert_eq!(records.selected_paths(new.canonical).unwrap(), ["src"]);
    (id, selection.hash())
}

#[test]
fn folders_of_trees_are_kept_once_and_as_long_as_a_pre_image_leads_to_them() {
    let (_folder, store) = place();
    let records = Records::new(&store, "test1");
    let tree = tempfile::tempdir().unwrap();
    let at = |name: &str| tree.path().join(name);
    for folder in ["a/b/c", "other/deep"] {
        fs::create_dir_all(at(folder)).unwrap();
        fs::write(at(folder).join("file"), folder).unwrap();
    }
    let (first, old) = remember_folder(&records, tree.path(), "first", 1);
    // The selection, its root, and five folders.
    assert_eq!((count(&store, "nodes"), count(&store, "node_children")), (7, 6));
    remember_folder(&records, tree.path(), "again", 2);
    assert_eq!((count(&store, "nodes"), count(&store, "node_children")), (7, 6), "nothing is written twice");
    fs::write(at("a/b/c/file"), "changed").unwrap();
    let (_, new) = remember_folder(&records, tree.path(), "second", 3);
    // The selection, its root, a, b and c are new; what is in `other` is what it was.
    assert_eq!((count(&store, "nodes"), count(&store, "node_children")), (12, 11));
    assert!(records.node(old).unwrap().is_some());
    let body = records.node(new).unwrap().unwrap();
    assert_eq!(blake3::hash(&body).as_bytes(), new.as_bytes(), "what is kept is what was hashed");
    let mut open = vec![new];
    while let Some(hash) = open.pop() {
        open.extend(HashedNode::decode(&records.node(hash).unwrap().unwrap()).unwrap().directories());
    }
    let again = find(&records, &record("again", &[2])).unwrap().record;
    for gone in [first, again] {
        records.forget_tree(gone).unwrap();
    }
    store.write(builds::bury).unwrap();
    assert_eq!((count(&store, "nodes"), count(&store, "node_children")), (7, 6));
    assert_eq!((records.node(old).unwrap(), count(&store, "selections")), (None, 1));
    assert!(records.node(new).unwrap().is_some());
}

#[test]
fn folders_that_went_between_the_look_and_the_writing_are_written_again() {
    let (_folder, store) = place();
    let records = Records::new(&store, "test1");
    let tree = tempfile::tempdir().unwrap();
    fs::create_dir_all(tree.path().join("a/b")).unwrap();
    let (first, hash) = remember_folder(&records, tree.path(), "first", 1);
    let scan = ContextScan::new(TreeSource::client(Root::open(tree.path()).unwrap()));
    let selection = scan.hash_selection(&PathSource::literal(".")).unwrap();
    let trees = || [Tree::Selection(&selection)];
    let new = store.read(|transaction| NewNodes::of(transaction, trees())).unwrap();
    records.forget_tree(first).unwrap();
    store.write(builds::bury).unwrap();
    assert_eq!((count(&store, "nodes"), records.node(hash).unwrap()), (0, None));
    store.write(|transaction| new.store(transaction)).unwrap();
    assert_eq!(count(&store, "nodes"), 4);
}
