//! Layers and archives, honest and hostile.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;
use rbuild_confined::{Owner, Root};
use rbuild_image::tar::{Limits, Reader, Xattr};
use rbuild_model::snapshot::Chain;
use rbuild_snapshotter::extract::{ExtractError, Extracted, Extractor, Rules};
use rustix::fs::RenameFlags;

use crate::fixture::{Store, apply, archive, can_mount, dump, entry, leftovers, show, show_with_times, tar};

/// Applies layers with every implementation and returns the names and contents that they agree on.
fn applied(layers: &[&[&str]]) -> Result<Vec<String>, String> {
    let store = Store::new();
    let mut results = store.all().into_iter().map(|snapshotter| {
        let mut chain = Chain::empty();
        for lines in layers {
            chain = apply(&*snapshotter, &chain, &archive(lines)).map_err(|error| error.to_string())?;
        }
        Ok(show(&*snapshotter, &chain))
    });
    let first: Result<_, String> = results.next().expect("one implementation at least");
    for other in results {
        assert_eq!(other, first, "implementations differ on {layers:?}");
    }
    assert_eq!(leftovers(&store).len(), 0);
    Ok(first?
        .into_iter()
        .filter(|(path, _)| !path.as_os_str().is_empty())
        .map(|(path, what)| {
            let what = what.split(' ').skip(2).filter(|word| !word.starts_with('@')).collect::<Vec<_>>();
            format!("{} {}", path.display(), what.join(" "))
        })
        .collect())
}

#[test]
fn layers_merge() {
    if !can_mount() {
        return;
    }
    type Case<'a> = (&'a [&'a [&'a str]], &'a [&'a str]);
    let cases: &[Case<'_>] = &[
        // Whiteouts act on the layers below only, wherever they stand.
        (&[&["f a=1", "f b=1"], &["w a"]], &["b file 1"]),
        (&[&["f a=1"], &["f a=2", "w a"]], &["a file 2"]),
        (&[&["f a=1"], &["w a", "f a=2"]], &["a file 2"]),
        (&[&["f d/a=1", "f d/b=1"], &["f d/c=2", "w d"]], &["d dir", "d/c file 2"]),
        (&[&["f d/a=1", "f d/b=1"], &["w d", "f d/c=2"]], &["d dir", "d/c file 2"]),
        (&[&["f d/a=1", "f d/b=1"], &["f d/c=2", "o d"]], &["d dir", "d/c file 2"]),
        (&[&["f d/a=1", "f d/b=1"], &["o d", "f d/b=2"]], &["d dir", "d/b file 2"]),
        (&[&["f d/e/a=1"], &["f d/e/b=2", "o d"]], &["d dir", "d/e dir", "d/e/b file 2"]),
        (&[&["f d/a=1", "f b=1"], &["f c=2", "o /", "f d/b=2"]], &["c file 2", "d dir", "d/b file 2"]),
        (&[&["f d/a=1"], &["w d"], &["f d/b=3"]], &["d dir", "d/b file 3"]),
        (&[&["f d/a=1"], &["o d"], &["f d/b=3"]], &["d dir", "d/b file 3"]),
        (&[&["f a=1"], &["w none", "w no/ne", "o none"]], &["a file 1"]),
        (&[&["f a=1"], &["f .wh..wh.plnk/1=x", "f .wh..wh.aufs=x"]], &["a file 1"]),
        (&[&["f a/x=1", "f a/s/y=1"], &["w a/x", "w a/s/y", "o a"]], &["a dir"]),
        (&[&["f a/x=1", "f a/s/y=1"], &["w a/x", "w a/s/y", "w a"]], &[]),
        (
            &[&["f a/x=1", "f a/s/y=1"], &["w a/s/y", "f a/s/z=2", "w a"]],
            &["a dir", "a/s dir", "a/s/z file 2"],
        ),
        // One kind onto another.
        (&[&["f a=1"], &["d a", "f a/b=2"]], &["a dir", "a/b file 2"]),
        (&[&["f a/b=1"], &["f a=2"]], &["a file 2"]),
        (&[&["f a/b=1"], &["f a=2", "d a"]], &["a dir"]),
        (&[&["f a/b=1"], &["f a=2"], &["f a2=3", "d a"]], &["a dir", "a2 file 3"]),
        (&[&["l a=b", "d b"], &["d a", "f a/x=2"]], &["a dir", "a/x file 2", "b dir"]),
        (&[&["d a", "l a=b", "d b", "f a/x=1"]], &["a -> b", "b dir", "b/x file 1"]),
        (&[&["f a=1", "f a=2", "d a", "f a=3"]], &["a file 3"]),
        // Links on the way stay inside, and are followed through layers.
        (
            &[&["d run", "l var/run=/run"], &["f var/run/x=1"]],
            &["run dir", "run/x file 1", "var dir", "var/run -> /run"],
        ),
        (&[&["l l=../../..", "f l/x=1"]], &["l -> ../../..", "x file 1"]),
        (
            &[&["l l=/tmp/not/there", "f l/x=1"]],
            &["l -> /tmp/not/there", "tmp dir", "tmp/not dir", "tmp/not/there dir", "tmp/not/there/x file 1"],
        ),
        (&[&["f t/a=1", "l l=/t"], &["w l/a"]], &["l -> /t", "t dir"]),
        (&[&["f t/a=1", "l l=/t"], &["o l"]], &["l -> /t", "t dir"]),
        (&[&["f t/a=1", "l l=/t"], &["w l"]], &["t dir", "t/a file 1"]),
        // Hard links.
        (&[&["f a=1", "h b=a"]], &["a file 1", "b file 1"]),
        (&[&["f a=1"], &["h b=a", "h c=a", "f b=2"]], &["a file 1", "b file 2", "c file 1"]),
        (&[&["f a=1"], &["h b=a", "f a=2"]], &["a file 2", "b file 1"]),
        (&[&["l a=x", "h b=a"]], &["a -> x", "b -> x"]),
        (&[&["f t/a=1", "l l=t", "h b=l/a"]], &["b file 1", "l -> t", "t dir", "t/a file 1"]),
        (&[&["f a=1", "h a=a"]], &["a file 1"]),
        (&[&["p a"], &["h b=a"]], &["a fifo", "b fifo"]),
    ];
    for (layers, expected) in cases {
        let shown = applied(layers).unwrap_or_else(|error| panic!("{layers:?}: {error}"));
        assert_eq!(shown, *expected, "{layers:?}");
    }
}

#[test]
fn bad_layers_are_refused_and_leave_nothing() {
    if !can_mount() {
        return;
    }
    let cases: &[(&[&str], &str)] = &[
        (&["f a=1", "f a/b=2"], "cannot extract the layer"),
        (&["p a", "f a/b=2"], "cannot extract the layer"),
        (&["l a=a", "f a/b=2"], "cannot extract the layer"),
        (&["h a=none"], "cannot extract the layer"),
        (&["d d", "h a=d"], "cannot extract the layer"),
        (&["f a/b=1", "h a=a/b"], "cannot extract the layer"),
        (&["h a=../../etc"], ""),
        (&["f .wh.=x"], "cannot extract the layer"),
        (&["f .wh..=x"], "cannot extract the layer"),
        (&["f .wh...=x"], "cannot extract the layer"),
        (&["f .wh.a/b=x"], "cannot extract the layer"),
    ];
    for (lines, expected) in cases {
        if expected.is_empty() {
            // Such a name is not even an entry's.
            assert!(std::panic::catch_unwind(|| entry(lines[0])).is_err());
            continue;
        }
        assert_eq!(applied(&[lines]).expect_err("refused"), *expected, "{lines:?}");
    }
}

#[test]
fn nothing_outside_is_touched() {
    if !can_mount() {
        return;
    }
    let outside = tempfile::tempdir().expect("a temp dir");
    let canary = outside.path().join("canary");
    fs::write(&canary, "alive").expect("writes");
    let before = dump(outside.path());
    let target = outside.path().display();
    let lines = [
        format!("l a={target}"),
        "f a/f=1".to_owned(),
        "d a/d".to_owned(),
        "l up=../../../../../../../../../..".to_owned(),
        format!("f up{target}/f=1"),
        format!("w up{target}/canary"),
        format!("o up{target}"),
        format!("l d={target}"),
        "d d".to_owned(),
        "f d/f=1".to_owned(),
        format!("l file={}", canary.display()),
        "f file=2".to_owned(),
        format!("l again={}", canary.display()),
        "h linked=again".to_owned(),
        "f linked=3".to_owned(),
        "l magic=/proc/self/root".to_owned(),
        format!("f magic{target}/f=1"),
    ];
    applied(&[&lines.iter().map(String::as_str).collect::<Vec<_>>()]).expect("applies inside");
    assert_eq!(dump(outside.path()), before);
    assert_eq!(fs::metadata(&canary).expect("metadata").nlink(), 1);
}

#[test]
fn lower_layers_never_change() {
    if !can_mount() {
        return;
    }
    let store = Store::new();
    for snapshotter in store.all() {
        let base = apply(&*snapshotter, &Chain::empty(), &archive(&["f d/a=1", "f d/b=2"])).expect("applies");
        let folder = snapshotter.open(base.top().expect("a layer")).expect("opens").host_path().to_owned();
        let before = dump(&folder);
        let lines = ["h x=d/a", "f x=changed", "h y=d/b", "f d/a=new", "w d/b", "d d"];
        apply(&*snapshotter, &base, &archive(&lines)).expect("applies");
        assert_eq!(dump(&folder), before, "{}", snapshotter.format());
    }
}

#[test]
fn sparse_files_take_the_space_of_what_they_hold() {
    if !can_mount() {
        return;
    }
    let store = Store::new();
    let folder = tempfile::tempdir().expect("a folder");
    let file = fs::File::create(folder.path().join("big")).expect("a file");
    // What it holds stands before the hole, and is more than one piece of it.
    rustix::io::pwrite(&file, &[7; 200 << 10], 0).expect("writes");
    file.set_len(64 << 20).expect("grows");
    let packed = std::process::Command::new("tar")
        .args(["--sparse", "-cf", "-", "big"])
        .current_dir(folder.path())
        .output()
        .expect("there is a tar program");
    assert!(packed.status.success() && packed.stdout.len() < 1 << 20, "{packed:?}");
    for snapshotter in store.all() {
        let (active, _) =
            snapshotter.apply(&Chain::empty(), &mut &packed.stdout[..], Limits::default()).expect("applies");
        let root = snapshotter.open_active(&active).expect("opens").host_path().to_owned();
        let made = fs::metadata(root.join("big")).expect("metadata");
        assert_eq!(made.len(), 64 << 20);
        assert!(made.blocks() * 512 < 1 << 20, "{} blocks", made.blocks());
    }
}

#[test]
fn attributes_are_the_entries() {
    if !can_mount() {
        return;
    }
    let store = Store::new();
    for snapshotter in store.all() {
        let mut closed = entry("d closed").0;
        closed.mode = 0;
        closed.mtime.seconds = 1_000;
        let mut file = entry("f closed/suid=12").0;
        (file.mode, file.uid, file.gid, file.mtime.seconds) = (0o6755, 12, 1 << 20, -5);
        let capability = vec![1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let mut foreign = capability.clone();
        foreign[3] = 3;
        foreign.extend([0, 0, 1, 0]);
        let xattr = |name: &str, value: &[u8]| Xattr { name: name.into(), value: value.to_vec() };
        file.xattrs = vec![
            xattr("security.capability", &capability),
            xattr("security.selinux", b"x"),
            xattr("trusted.overlay.opaque", b"y"),
            xattr("trusted.overlay.redirect", b"/etc"),
            xattr("user.note", b"n"),
            xattr("user.overlay.opaque", b"y"),
        ];
        let mut bound = entry("f bound=").0;
        bound.xattrs = vec![xattr("security.capability", &foreign)];
        let tar = tar(&[(closed, b""), (file, b"12"), (bound, b"")]);
        let mut stream = &tar[..];
        let (active, extracted) =
            snapshotter.apply(&Chain::empty(), &mut stream, Limits::default()).expect("applies");
        assert_eq!((extracted.entries, extracted.dropped_attributes), (3, 5));
        let root = snapshotter.open_active(&active).expect("opens").host_path().to_owned();
        let dir = fs::metadata(root.join("closed")).expect("metadata");
        assert_eq!((dir.mode() & 0o7777, dir.mtime()), (0, 1_000), "set after what is below");
        let path = root.join("closed/suid");
        let meta = fs::metadata(&path).expect("metadata");
        assert_eq!((meta.mode() & 0o7777, meta.uid(), meta.gid(), meta.mtime()), (0o6755, 12, 1 << 20, -5));
        let get = |path: &Path, name: &str| {
            let mut value = [0_u8; 64];
            rustix::fs::getxattr(path, name, &mut value[..]).map(|length| value[..length].to_vec()).ok()
        };
        assert_eq!(get(&path, "security.capability"), Some(capability));
        assert_eq!(get(&path, "user.note"), Some(b"n".to_vec()));
        for name in ["trusted.overlay.opaque", "trusted.overlay.redirect", "user.overlay.opaque"] {
            assert_eq!(get(&path, name), None, "{name}");
        }
        assert_eq!(get(&root.join("bound"), "security.capability"), None);
        snapshotter.discard(active).expect("discards");
    }
}

fn unpack(dest: &Path, lines: &[&str], rules: Rules) -> Result<Extracted, ExtractError> {
    let tar = archive(lines);
    let root = Root::open(dest).expect("opens");
    Extractor::onto_tree(root, rules)?.extract(Reader::new(&tar[..], Limits::default()))
}

#[test]
fn an_archive_is_unpacked_as_if_its_destination_were_the_root() {
    let dir = tempfile::tempdir().expect("a temp dir");
    let dest = dir.path().join("x");
    for path in ["tgt", "old", "becomes_file/full"] {
        fs::create_dir_all(dest.join(path)).expect("a folder");
    }
    fs::write(dest.join("becomes_dir"), "").expect("a file");
    symlink("/tgt", dest.join("l")).expect("a link");
    symlink("/missing", dest.join("broken")).expect("a link");
    symlink(dir.path().join("outside"), dest.join("file")).expect("a link");
    let before = fs::metadata(&dest).expect("metadata");
    let error = unpack(&dest, &["f becomes_dir/x=1"], Rules::default()).expect_err("a file is in the way");
    assert!(matches!(error, ExtractError::BelowFile { .. }), "{error}");
    let owner = Some(Owner::new(5, 6));
    unpack(
        &dest,
        &["d .", "f l/in=1", "f file=2", "f .wh.old=3", "f new/f=4", "d becomes_dir", "f becomes_file=6"],
        Rules { owner, ..Rules::default() },
    )
    .expect("unpacks");
    let shown = dump(&dest);
    let got = |path: &str| shown[Path::new(path)].as_str();
    assert_eq!(got("tgt/in"), "640 5:6 file 1 @0");
    assert_eq!(got("file"), "640 5:6 file 2 @0");
    assert_eq!(got(".wh.old"), "640 5:6 file 3 @0", "an archive is no layer");
    assert_eq!(got("old"), "755 0:0 dir");
    assert_eq!(got("new"), "755 0:0 dir", "implied, so root's");
    assert_eq!(got("becomes_dir"), "751 5:6 dir");
    assert_eq!(got("becomes_file"), "640 5:6 file 6 @0");
    let after = fs::metadata(&dest).expect("metadata");
    assert_eq!((after.mode(), after.uid()), (before.mode(), before.uid()), "the destination keeps its own");
    assert!(!dir.path().join("outside").exists());
    let error = unpack(&dest, &["f broken/x=1"], Rules::default()).expect_err("leads nowhere");
    assert!(matches!(error, ExtractError::Link { .. }), "{error}");
}

/// The directory whose attributes are still to be set is not looked for through the link that came in its place.
#[test]
fn a_link_in_the_place_of_a_directory_leads_nobody_astray() {
    if !can_mount() {
        return;
    }
    for snapshotter in Store::new().all() {
        let below =
            apply(&*snapshotter, &Chain::empty(), &archive(&["d other/a", "l loop=loop", "l way=other"]))
                .expect("applies");
        for (link, text) in [("loop", "loop"), ("way", "other")] {
            let layer = archive(&["d c/a", &format!("h c={link}")]);
            let chain = apply(&*snapshotter, &below, &layer).expect("applies");
            let shown = show(&*snapshotter, &chain);
            assert!(shown[Path::new("c")].ends_with(&format!("-> {text}")), "{shown:?}");
        }
    }
}

/// What a program in a container can do while files are copied to it: folders and pipes turn into links at any time.
#[test]
fn what_others_exchange_leads_nobody_out() {
    let (dir, outside) = (tempfile::tempdir().expect("a temp dir"), tempfile::tempdir().expect("a temp dir"));
    let canary = outside.path().join("canary");
    fs::write(&canary, "alive").expect("a file");
    fs::set_permissions(&canary, fs::Permissions::from_mode(0o755)).expect("a mode");
    // Who looks here, in the place of the tree's own folder, goes where only this link leads.
    symlink("/misled", outside.path().join("d")).expect("a link");
    let before = dump(outside.path());
    let dest = dir.path().join("x");
    for path in ["a", "misled"] {
        fs::create_dir_all(dest.join(path)).expect("a folder");
    }
    symlink(outside.path(), dest.join("evil")).expect("a link");
    let tree = fs::File::open(&dest).expect("opens");
    let exchange = |one: &str, other: &str| {
        let _ = rustix::fs::renameat_with(&tree, one, &tree, other, RenameFlags::EXCHANGE);
    };
    let stop = AtomicBool::new(false);
    let unpacked = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                exchange("a", "evil");
                let _ = fs::remove_file(dest.join("link"));
                symlink(&canary, dest.join("link")).expect("a link");
                exchange("pipe", "link");
            }
        });
        let lines = ["p pipe", "f a/f=1", "f a/d/f=1", "h a/d/linked=a/f", "p a/d/pipe"];
        let rounds = (0..1_000).map(|_| unpack(&dest, &lines, Rules::default()));
        let unpacked = rounds.filter(Result::is_ok).count();
        stop.store(true, Ordering::Relaxed);
        unpacked
    });
    assert_eq!(dump(outside.path()), before);
    let misled: Vec<_> = fs::read_dir(dest.join("misled")).expect("reads").collect();
    assert!(misled.is_empty(), "a folder outside was looked at: {misled:?}");
    assert_ne!(unpacked, 0, "what is exchanged in time does no harm");
}

fn name() -> impl Strategy<Value = String> {
    prop::collection::vec("[abc]", 1..4).prop_map(|parts| parts.join("/"))
}

fn line() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => (name(), 0..9_u8).prop_map(|(path, content)| format!("f {path}={content}")),
        3 => name().prop_map(|path| format!("d {path}")),
        2 => (name(), "(/|\\.\\./)?[abc](/[abc])?").prop_map(|(path, target)| format!("l {path}={target}")),
        1 => (name(), name()).prop_map(|(path, target)| format!("h {path}={target}")),
        3 => name().prop_map(|path| format!("w {path}")),
        1 => name().prop_map(|path| format!("o {path}")),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    /// A stack of overlays shows what the same layers make of one plain tree, for layers of any content.
    #[test]
    fn overlays_show_what_plain_trees_have(
        layers in prop::collection::vec(prop::collection::vec(line(), 1..8), 1..4),
    ) {
        if !can_mount() {
            return Ok(());
        }
        let store = Store::new();
        let results: Vec<_> = store.all().into_iter().map(|snapshotter| {
            let mut chain = Chain::empty();
            for lines in &layers {
                let lines: Vec<_> = lines.iter().map(String::as_str).collect();
                match apply(&*snapshotter, &chain, &archive(&lines)) {
                    Ok(next) => chain = next,
                    // The rest of the stack goes on top of what there is.
                    Err(_) => continue,
                }
            }
            show_with_times(&*snapshotter, &chain)
        }).collect();
        for other in &results[1..] {
            prop_assert_eq!(other, &results[0], "{:?}", &layers);
        }
    }
}

#[test]
fn depth_and_width_are_no_problem() {
    let dir = tempfile::tempdir().expect("a temp dir");
    let deep = vec!["d"; 1_500].join("/");
    let mut lines = vec![format!("f {deep}/f=1")];
    lines.extend((0..2_000).map(|n| format!("f wide/{n}=x")));
    let lines: Vec<_> = lines.iter().map(String::as_str).collect();
    let extracted = unpack(dir.path(), &lines, Rules::default()).expect("unpacks");
    assert_eq!(extracted.entries, 2_001);
    assert_eq!(fs::read(dir.path().join(deep).join("f")).expect("reads"), b"1");
    assert_eq!(fs::read_dir(dir.path().join("wide")).expect("reads").count(), 2_000);
    let paths: Vec<PathBuf> = extracted.devices;
    assert!(paths.is_empty());
}
