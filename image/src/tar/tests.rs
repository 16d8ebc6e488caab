use std::io::Read as _;

use proptest::prelude::*;

use super::*;
use crate::hash::{HashingReader, HashingWriter};

fn path(text: &str) -> EntryPath {
    EntryPath::new(text).unwrap()
}

fn file(name: &str, size: u64) -> Entry {
    Entry::new(path(name), EntryKind::File { size }, 0o644)
}

fn write(entries: &[(Entry, Vec<u8>)], options: Options) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), options);
    for (entry, contents) in entries {
        writer.append(entry, &mut &contents[..]).unwrap();
    }
    writer.finish().unwrap()
}

fn read(bytes: &[u8]) -> Result<Vec<(Entry, Vec<u8>)>, TarError> {
    let mut reader = Reader::new(bytes, Limits::default());
    let mut entries = Vec::new();
    while let Some(entry) = reader.next_entry()? {
        let contents = reader.contents(1 << 20)?;
        entries.push((entry, contents));
    }
    assert_eq!(reader.finish()?.1, End::Marked);
    Ok(entries)
}

/// Entries of all kinds, with all that needs PAX records.
fn all_kinds() -> Vec<(Entry, Vec<u8>)> {
    let long = format!("{}/{}", "d".repeat(90), "f".repeat(90));
    let longer = format!("{}/{}", "d".repeat(120), "é".repeat(120));
    let mut attributed = file("attributed", 3);
    attributed.xattrs = vec![
        Xattr { name: b"security.capability".to_vec(), value: vec![1, 0, 0, 2, 0, 4, 0, 0] },
        Xattr { name: b"user.a=b c".to_vec(), value: vec![0, 255, 10] },
    ];
    let mut owned = Entry::new(path("owned"), EntryKind::Directory, 0o7755);
    (owned.uid, owned.gid, owned.mtime) = (3_000_000, u32::MAX - 1, Timestamp::from_seconds(-5));
    let mut late = file("late", 0);
    late.mtime = Timestamp::from_seconds(1 << 40);
    vec![
        (Entry::new(EntryPath::root(), EntryKind::Directory, 0o755), vec![]),
        (file("exact", 512), vec![7; 512]),
        (file("odd", 513), vec![8; 513]),
        (file(&long, 1), vec![1]),
        (file(&longer, 1), vec![2]),
        (Entry::new(path("link"), EntryKind::Symlink { target: b"/usr/../x".to_vec() }, 0o777), vec![]),
        (Entry::new(path("far"), EntryKind::Symlink { target: vec![b'x'; 300] }, 0o777), vec![]),
        (Entry::new(path("again"), EntryKind::Hardlink { target: path(&longer) }, 0o644), vec![]),
        (Entry::new(path("null"), EntryKind::CharDevice(Device { major: 1, minor: 3 }), 0o666), vec![]),
        (Entry::new(path("sda"), EntryKind::BlockDevice(Device { major: 8, minor: 0xfffff }), 0o660), vec![]),
        (Entry::new(path("pipe"), EntryKind::Fifo, 0o600), vec![]),
        (attributed, b"abc".to_vec()),
        (owned, vec![]),
        (late, vec![]),
    ]
}

#[test]
fn what_is_written_is_read_back() {
    let entries = all_kinds();
    assert_eq!(read(&write(&entries, Options::default())).unwrap(), entries);
}

/// The form of [`TAR_VERSION`] 1: if this digest changes, the version must.
#[test]
fn the_form_is_pinned_by_a_golden_digest() {
    let mut writer = Writer::new(HashingWriter::new(std::io::sink()), Options::default());
    for (entry, contents) in all_kinds() {
        writer.append(&entry, &mut &contents[..]).unwrap();
    }
    let summary = writer.finish().unwrap().summary();
    assert_eq!(TAR_VERSION, 1);
    assert_eq!(
        (summary.diff_id().to_string().as_str(), summary.size),
        ("sha256:89e7de6b9ac7069513d7610956302e47562a27546e0751385245679ba5a0bca7", 17408)
    );
}

#[test]
fn the_empty_archive_is_two_zero_blocks() {
    assert_eq!(write(&[], Options::default()), [0; 1024]);
}

#[test]
fn names_may_begin_with_a_dot() {
    let link = Entry::new(path("b"), EntryKind::Hardlink { target: path("a") }, 0o644);
    let mut writer = Writer::new(Vec::new(), Options::default()).from_here();
    for entry in [Entry::new(path(""), EntryKind::Directory, 0o755), file("a", 0), link] {
        writer.append(&entry, &mut std::io::empty()).unwrap();
    }
    let bytes = writer.finish().unwrap();
    let texts = |at: usize| String::from_utf8_lossy(&bytes[at..at + 100]).trim_end_matches('\0').to_owned();
    assert_eq!([0, 512, 1024, 1024 + 157].map(texts), ["./", "./a", "./b", "./a"]);
}

#[test]
fn times_are_whole_seconds_and_clamped_down_to_the_epoch() {
    let mut entry = file("f", 0);
    entry.mtime = Timestamp { seconds: 100, nanoseconds: 999_999_999 };
    let at = |epoch| read(&write(&[(entry.clone(), vec![])], Options { epoch })).unwrap()[0].0.mtime;
    assert_eq!(at(None), Timestamp::from_seconds(100));
    assert_eq!(at(Some(50)), Timestamp::from_seconds(50));
    assert_eq!(at(Some(150)), Timestamp::from_seconds(100));
}

#[test]
fn contents_that_changed_are_refused() {
    for contents in [&b"ab"[..], b"abcd"] {
        let mut writer = Writer::new(Vec::new(), Options::default());
        let refused = writer.append(&file("f", 3), &mut &contents[..]).unwrap_err();
        assert!(matches!(refused, TarError::SizeMismatch { expected: 3, .. }), "{refused}");
    }
}

#[test]
fn the_hash_covers_what_stands_behind_the_end() {
    let mut bytes = write(&all_kinds(), Options::default());
    bytes.extend(write(&[(file("hidden", 0), vec![])], Options::default()));
    let mut reader = Reader::new(HashingReader::new(&bytes[..]), Limits::default());
    let mut names = 0;
    while let Some(entry) = reader.next_entry().unwrap() {
        assert_ne!(entry.path, path("hidden"));
        names += 1;
    }
    assert_eq!(names, all_kinds().len());
    let (hashed, end) = reader.finish().unwrap();
    assert_eq!(end, End::Marked);
    assert_eq!(hashed.summary().size, bytes.len() as u64);
    assert_eq!(hashed.summary().blob(), rbuild_model::digest::BlobDigest::of(&bytes));
}

#[test]
fn contents_can_be_passed_over_or_read_in_part() {
    let bytes =
        write(&[(file("a", 2000), vec![1; 2000]), (file("b", 5), b"hello".to_vec())], Options::default());
    let mut reader = Reader::new(&bytes[..], Limits::default());
    reader.next_entry().unwrap().unwrap();
    reader.read_exact(&mut [0; 700]).unwrap();
    reader.next_entry().unwrap().unwrap();
    assert_eq!(reader.contents(5).unwrap(), b"hello");
    assert_eq!(reader.next_entry().unwrap(), None);
}

#[test]
fn names_mean_the_same_however_they_are_spelled() {
    for name in ["a", "./a", "a/", "/a", "//a", "/./a", "./././a/.", "a//"] {
        assert_eq!(path(name), path("a"), "{name}");
    }
    for name in ["", "/", "//", ".", "./", "/./."] {
        assert!(path(name).is_root(), "{name}");
    }
    for name in ["..", "../x", "a/../x", "a/../../x", "./../x", "a/./../../x", "/.."] {
        assert_eq!(EntryPath::new(name), Err(PathProblem::Parent), "{name}");
    }
    assert_eq!(path("a/b/c").split_last(), Some((path("a/b"), &b"c"[..])));
    assert_eq!(path("a//b/./c"), path("a/b/c"));
    assert_eq!(EntryPath::new(b"a\0"), Err(PathProblem::Nul));
    assert_eq!(EntryPath::new("x".repeat(256)), Err(PathProblem::ComponentTooLong(255)));
    assert!(EntryPath::new("x".repeat(255)).is_ok());
    assert!(EntryPath::new(format!(".wh.{}", "x".repeat(255))).is_ok());
    assert_eq!(EntryPath::new("x/".repeat(2049)), Err(PathProblem::TooLong(4096)));
}

#[test]
fn foreign_names_are_shown_escaped() {
    let name = EntryPath::new(b"a\x1b[31m\n\xff\xe2\x80\xaeb c\xc3\xa9").unwrap();
    assert_eq!(name.to_string(), "a\\u{1b}[31m\\n\\xff\\u{202e}b cé");
    let long = EntryPath::new("x/".repeat(300)).unwrap().to_string();
    assert!(long.ends_with('…') && long.len() < 300);
}

fn arbitrary_path() -> impl Strategy<Value = EntryPath> {
    prop::collection::vec(prop::collection::vec(any::<u8>(), 1..60), 1..6).prop_filter_map(
        "no path",
        |parts| {
            let joined = parts.join(&b'/');
            EntryPath::new(joined).ok().filter(|path| !path.is_root())
        },
    )
}

fn arbitrary_kind() -> impl Strategy<Value = EntryKind> {
    prop_oneof![
        (0..3000_u64).prop_map(|size| EntryKind::File { size }),
        Just(EntryKind::Directory),
        prop::collection::vec(1..=255_u8, 1..250).prop_map(|target| EntryKind::Symlink { target }),
        arbitrary_path().prop_map(|target| EntryKind::Hardlink { target }),
        (1..4096_u32, 0..1_048_576_u32)
            .prop_map(|(major, minor)| EntryKind::CharDevice(Device { major, minor })),
        Just(EntryKind::Fifo),
    ]
}

prop_compose! {
    fn arbitrary_entry()(
        path in arbitrary_path(),
        kind in arbitrary_kind(),
        mode in 0..=0o7777_u32,
        uid in 0..u32::MAX,
        gid in 0..u32::MAX,
        seconds in any::<i64>(),
        xattrs in prop::collection::btree_map(prop::collection::vec(1..=255_u8, 1..30), prop::collection::vec(any::<u8>(), 0..300), 0..3),
    ) -> Entry {
        let xattrs = xattrs.into_iter().map(|(name, value)| Xattr { name, value }).collect();
        Entry { path, kind, mode, uid, gid, mtime: Timestamp::from_seconds(seconds), xattrs }
    }
}

proptest! {
    #[test]
    fn every_entry_survives(entries in prop::collection::vec(arbitrary_entry(), 0..5)) {
        let entries: Vec<_> = entries.into_iter().map(|entry| {
            let contents = vec![entry.mode as u8; entry.size() as usize];
            (entry, contents)
        }).collect();
        prop_assert_eq!(read(&write(&entries, Options::default())).unwrap(), entries);
    }

    #[test]
    fn no_bytes_make_the_reader_panic(
        entries in prop::collection::vec(arbitrary_entry(), 1..3),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let entries: Vec<_> = entries.into_iter().map(|entry| {
            let contents = vec![0; entry.size() as usize];
            (entry, contents)
        }).collect();
        let mut bytes = write(&entries, Options::default());
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        bytes.truncate(cut.index(bytes.len()) + 1);
        let mut reader = Reader::new(&bytes[..], Limits::default());
        while let Ok(Some(_)) = reader.next_entry() {
            let _ = reader.contents(1 << 20);
        }
    }

    #[test]
    fn a_cut_archive_is_never_complete(cut in 1..1024_usize) {
        let bytes = write(&[(file("f", 1000), vec![1; 1000])], Options::default());
        // Within the header or the contents; between entries it is an unmarked end instead.
        prop_assume!(cut != 512);
        let mut reader = Reader::new(&bytes[..cut], Limits::default());
        let first = reader.next_entry();
        prop_assert!(first.is_err() || reader.finish().is_err());
    }
}

/// GNU tar and this reader agree on archives that GNU tar wrote, in all its formats.
#[test]
fn archives_of_gnu_tar_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    std::fs::create_dir_all(root.join("d".repeat(120))).unwrap();
    std::fs::write(root.join("d".repeat(120)).join("f".repeat(120)), "deep").unwrap();
    std::os::unix::fs::symlink("t".repeat(200), root.join("link")).unwrap();
    std::fs::hard_link(root.join("d".repeat(120)).join("f".repeat(120)), root.join("other")).unwrap();
    let sparse = std::fs::File::create(root.join("sparse")).unwrap();
    sparse.set_len(1 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"data", 300_000).unwrap();
    drop(sparse);

    for options in [
        &["--format=gnu"][..],
        &["--format=gnu", "--sparse"],
        &["--format=pax", "--sparse", "--sparse-version=0.0"],
        &["--format=pax", "--sparse", "--sparse-version=0.1"],
        &["--format=pax", "--sparse", "--sparse-version=1.0"],
        &["--format=pax"],
    ] {
        let archive = folder.path().join("archive.tar");
        let made = std::process::Command::new("tar")
            .args(options)
            .arg("--sort=name")
            .arg("-cf")
            .arg(&archive)
            .arg("-C")
            .arg(&root)
            .arg(".")
            .status();
        let Ok(made) = made else {
            panic!("GNU tar is needed to compare with and is not installed");
        };
        assert!(made.success());
        let entries = read(&std::fs::read(&archive).unwrap()).unwrap();
        let names: Vec<_> = entries.iter().map(|(entry, _)| entry.path.to_string()).collect();
        let (d, f) = ("d".repeat(120), "f".repeat(120));
        assert_eq!(names, ["./", &d, &format!("{d}/{f}"), "link", "other", "sparse"], "{options:?}");
        assert_eq!(entries[2].1, b"deep");
        assert_eq!(entries[3].0.kind, EntryKind::Symlink { target: vec![b't'; 200] });
        assert_eq!(entries[4].0.kind, EntryKind::Hardlink { target: path(&format!("{d}/{f}")) });
        assert!(entries[5].1 == std::fs::read(root.join("sparse")).unwrap(), "{options:?}");
    }
}

/// GNU tar lists and extracts what this writer wrote.
#[test]
fn gnu_tar_reads_what_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let long = format!("{}/{}", "d".repeat(120), "é".repeat(120));
    let split = format!("{}/{}", "s".repeat(90), "f".repeat(90));
    let entries = [
        (Entry::new(path(&"d".repeat(120)), EntryKind::Directory, 0o755), vec![]),
        (file(&long, 4), b"long".to_vec()),
        (Entry::new(path("h"), EntryKind::Hardlink { target: path(&long) }, 0o644), vec![]),
        (Entry::new(path("l"), EntryKind::Symlink { target: vec![b'x'; 300] }, 0o777), vec![]),
        (Entry::new(path(&"s".repeat(90)), EntryKind::Directory, 0o755), vec![]),
        (file(&split, 5), b"split".to_vec()),
    ];
    let archive = folder.path().join("archive.tar");
    std::fs::write(&archive, write(&entries, Options::default())).unwrap();
    let out = folder.path().join("out");
    std::fs::create_dir(&out).unwrap();
    let done =
        std::process::Command::new("tar").arg("-xf").arg(&archive).arg("-C").arg(&out).output().unwrap();
    assert!(done.status.success() && done.stderr.is_empty(), "{}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(std::fs::read(out.join(long)).unwrap(), b"long");
    assert_eq!(std::fs::read(out.join("h")).unwrap(), b"long");
    assert_eq!(std::fs::read(out.join(split)).unwrap(), b"split");
    assert_eq!(std::fs::read_link(out.join("l")).unwrap().as_os_str().len(), 300);
}
