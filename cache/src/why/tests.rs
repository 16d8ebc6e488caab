//! Builds that are laid beside each other, on real folders and a real store.

use std::fs;
use std::time::Duration;

use rbuild_confined::Root;
use rbuild_model::key::{CacheKey, PreImage};
use rbuild_model::snapshot::{Chain, SnapshotId};
use rbuild_model::step::PathSource;
use rbuild_solver::index::NewRecord;
use rbuild_solver::{Miss, Origin, RecordId, StepKeys, Usage};
use rbuild_store::{Room, Store, StoreOptions};

use super::files::FileChange;
use super::*;
use crate::content::{ContextScan, SelectionHash, TreeSource};
use crate::records::SCHEMA;
use crate::records::builds::{BuildResult, KEPT_BUILDS, NewBuild, Tried};
use crate::records::nodes::Selected;

struct Scene {
    records: Records,
    context: tempfile::TempDir,
    made: u8,
    builds: i128,
    _folder: tempfile::TempDir,
}

/// A step as a build does it.
struct Done(LineageLine, CacheKey);

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = StoreOptions::new(folder.path().join("root"), folder.path().join("run"), "rbuild test");
        let store = Store::open(StoreOptions { schemas: &[&SCHEMA], reserve: 0, ..options }).unwrap();
        let records = Records::new(&store, "test1");
        let scene =
            Self { records, context: tempfile::tempdir().unwrap(), made: 0, builds: 0, _folder: folder };
        scene.write("src/main.c", "int main;");
        scene.write("src/deep/other.c", "int other;");
        scene.write("README", "read me");
        scene
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.context.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), text).unwrap();
    }

    fn remember(
        &mut self,
        definition: Option<PreImage>,
        content: Option<(PreImage, &str, &SelectionHash)>,
    ) -> (RecordId, CacheKey) {
        self.made += 1;
        let image = content.as_ref().map(|(image, ..)| image.clone());
        let canonical = image.as_ref().or(definition.as_ref()).unwrap().key();
        let new = NewRecord {
            name: "a step".to_owned(),
            definition,
            content: image,
            canonical,
            chain: Chain::new(vec![SnapshotId::from_bytes([self.made; 16])]),
            started: 1,
            took: Duration::from_millis(5),
            usage: Usage::default(),
            log: None,
        };
        let selected: Vec<Selected<'_>> =
            content.iter().map(|(_, path, content)| Selected { path, content }).collect();
        (self.records.remember_in(&new, &selected, &Room::default()).unwrap(), canonical)
    }

    fn copy(&mut self, note: &str, path: &str) -> Done {
        let scan = ContextScan::new(TreeSource::client(Root::open(self.context.path()).unwrap()));
        let source = PathSource { wildcard: true, ..PathSource::literal(path) };
        let selection = scan.hash_selection(&source).unwrap();
        let image = PreImage::fields([
            ("kind", PreImage::text("content")),
            ("operation", PreImage::fields([("op", PreImage::text("file"))])),
            ("selected", PreImage::List(vec![PreImage::Content(selection.hash())])),
        ]);
        let (record, key) = self.remember(None, Some((image, path, &selection)));
        Done(ran(note, Some(record)), key)
    }

    fn run(&mut self, note: &str, argv: &[&str], env: &[(&str, &str)], on: CacheKey) -> Done {
        let (record, key) = self.remember(Some(Self::definition(argv, env, on)), None);
        Done(ran(note, Some(record)), key)
    }

    fn definition(argv: &[&str], env: &[(&str, &str)], on: CacheKey) -> PreImage {
        let variable = |(name, value): &(&str, &str)| {
            PreImage::fields([("name", PreImage::text(*name)), ("value", PreImage::guarded(*value))])
        };
        PreImage::fields([
            ("kind", PreImage::text("definition")),
            (
                "operation",
                PreImage::fields([
                    ("op", PreImage::text("exec")),
                    ("argv", PreImage::texts(argv.iter().copied())),
                    ("env", PreImage::List(env.iter().map(variable).collect())),
                ]),
            ),
            ("inputs", PreImage::List(vec![PreImage::Key(on)])),
        ])
    }

    fn build(&mut self, lines: Vec<LineageLine>) {
        self.end_build(lines, None);
    }

    /// Remembers a build, which failed at its last step if there is something that it tried.
    fn end_build(&mut self, lines: Vec<LineageLine>, tried: Option<PreImage>) {
        self.builds += 1;
        let build = NewBuild {
            project: "/p".to_owned(),
            target: String::new(),
            started: self.builds,
            took: Duration::ZERO,
            result: if tried.is_some() { BuildResult::Failed } else { BuildResult::Succeeded },
            tried: tried.map(|definition| Tried {
                line: lines.len() - 1,
                keys: StepKeys { definition: Some(definition), content: None },
            }),
            lineage: lines,
        };
        self.records.remember_build(&build).unwrap();
    }

    /// Why each step of the last build ran.
    fn why(&self) -> Vec<Vec<Reason>> {
        let builds = self.records.builds("/p").unwrap();
        let explained = self.records.why(&builds[0], &builds).unwrap();
        explained.into_iter().map(|explained| explained.reasons).collect()
    }
}

fn ran(note: &str, record: Option<RecordId>) -> LineageLine {
    let origin = Some(Origin::Ran(Miss::Unknown));
    LineageLine { stage: "build".to_owned(), note: note.to_owned(), record, origin }
}

fn file(path: &str, change: FileChange) -> Reason {
    Reason::File(FileDifference { path: path.to_owned(), change })
}

#[test]
fn the_file_that_changed_is_named() {
    let mut scene = Scene::new();
    let Done(copied, base) = scene.copy("[build 2/3] COPY . .", ".");
    let Done(made, _) = scene.run("[build 3/3] RUN make", &["make"], &[], base);
    scene.build(vec![copied, made]);
    assert_eq!(scene.why(), [[Reason::New], [Reason::New]]);

    scene.write("src/main.c", "int main();");
    scene.write("src/new/x", "");
    fs::remove_file(scene.path("README")).unwrap();
    fs::set_permissions(scene.path("src/deep/other.c"), std::os::unix::fs::PermissionsExt::from_mode(0o600))
        .unwrap();
    let Done(copied, base) = scene.copy("[build 2/3] COPY . .", ".");
    let Done(made, _) = scene.run("[build 3/3] RUN make", &["make"], &[], base);
    scene.build(vec![copied, made]);
    let expected = vec![
        file("src/deep/other.c", FileChange::Mode { before: 0o644, after: 0o600 }),
        file("src/main.c", FileChange::Bytes { before: 9, after: 11 }),
        file("src/new/", FileChange::Added),
        file("README", FileChange::Removed),
    ];
    let upon = vec![Reason::Input { step: Some("[build 2/3] COPY . .".to_owned()) }];
    assert_eq!(scene.why(), [expected, upon]);
}

#[test]
fn paths_are_those_of_the_tree() {
    let mut scene = Scene::new();
    for (path, name) in [("src/", "src/main.c"), ("src/main.c", "src/main.c"), ("src/*.c", "src/main.c")] {
        scene.write("src/main.c", "old");
        let Done(first, _) = scene.copy("COPY x y", path);
        scene.write("src/main.c", "changed");
        let Done(second, _) = scene.copy("COPY x y", path);
        scene.build(vec![first]);
        scene.build(vec![second]);
        assert_eq!(scene.why(), [[file(name, FileChange::Bytes { before: 3, after: 7 })]], "{path}");
    }
}

#[test]
fn values_and_words_are_told_before_and_after() {
    let mut scene = Scene::new();
    let base = PreImage::text("base").key();
    let Done(first, _) = scene.run("[2/2] RUN get $V", &["sh", "get"], &[("PATH", "/bin"), ("V", "1")], base);
    scene.build(vec![first]);
    let Done(second, _) =
        scene.run("[2/2] RUN get $V", &["sh", "get"], &[("NEW", "x"), ("PATH", "/bin"), ("V", "2")], base);
    scene.build(vec![second]);
    let text = |text: &str| fields::Value::Text(text.to_owned());
    let field = |field: &[&str], before, after| {
        let field = field.iter().map(|&name| name.to_owned()).collect();
        Reason::Field(Difference { field, before, after })
    };
    let expected = vec![
        field(&["operation", "env", "NEW"], fields::Value::Absent, text("x")),
        field(&["operation", "env", "V", "value"], text("1"), text("2")),
    ];
    assert_eq!(scene.why(), [expected]);

    // An instruction that was edited, after a build in which it failed.
    scene.build(vec![ran("[2/2] RUN get $V", None)]);
    assert_eq!(scene.why(), [[Reason::NoResult]]);
    let Done(third, _) =
        scene.run("[2/2] RUN put", &["sh", "put"], &[("NEW", "x"), ("PATH", "/bin"), ("V", "2")], base);
    scene.build(vec![third]);
    let expected = vec![
        Reason::Text { before: "RUN get $V".to_owned() },
        field(&["operation", "argv", "1"], text("get"), text("put")),
    ];
    assert_eq!(scene.why(), [expected]);
}

#[test]
fn a_step_that_failed_is_laid_beside_its_last_success() {
    let mut scene = Scene::new();
    let base = PreImage::text("base").key();
    let note = "[2/2] RUN get $V";
    let Done(first, _) = scene.run(note, &["get"], &[("V", "1")], base);
    scene.build(vec![first]);
    // It fails twice, for a value that came in between.
    for value in ["2", "3"] {
        let tried = Scene::definition(&["get"], &[("V", value)], base);
        scene.end_build(vec![ran(note, None)], Some(tried));
        let text = |text: &str| fields::Value::Text(text.to_owned());
        let field = ["operation", "env", "V", "value"].map(str::to_owned).to_vec();
        let expected = Difference { field, before: text("1"), after: text(value) };
        assert_eq!(scene.why(), [[Reason::Field(expected)]]);
    }
    // What they tried goes with them.
    let kept = |scene: &Scene| -> i64 {
        let count = |transaction: &rusqlite::Transaction<'_>| -> Result<i64, rbuild_store::DatabaseError> {
            Ok(transaction.query_row("SELECT count(*) FROM pre_images", [], |row| row.get(0))?)
        };
        scene.records.store().read(count).unwrap()
    };
    assert_eq!(kept(&scene), 3);
    for _ in 0..KEPT_BUILDS {
        scene.build(vec![]);
    }
    assert_eq!(kept(&scene), 1, "only that of the record is left");
}

#[test]
fn what_is_no_longer_kept_is_said_to_be_unknown() {
    let mut scene = Scene::new();
    let Done(first, _) = scene.copy("COPY . .", ".");
    scene.write("src/main.c", "changed");
    let Done(second, _) = scene.copy("COPY . .", ".");
    scene.build(vec![first]);
    scene.build(vec![second]);
    let cleared = |transaction: &rusqlite::Transaction<'_>| -> Result<(), rbuild_store::DatabaseError> {
        transaction.execute("DELETE FROM nodes", [])?;
        Ok(())
    };
    scene.records.store().write(cleared).unwrap();
    assert_eq!(scene.why(), [[Reason::Files { path: ".".to_owned() }]]);
}

#[test]
fn a_path_is_shown_from_the_root_of_its_tree() {
    for (path, expected) in [("", "."), (".", "."), ("/", "."), ("/a/b/", "a/b"), ("a/./b", "a/b")] {
        assert_eq!(files::shown(path), expected);
    }
}
