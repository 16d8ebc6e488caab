use std::collections::BTreeMap;

use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::*;

const ID: ContainerId = ContainerId::from_bytes([0xab; 32]);

fn record(text: &[u8]) -> Record {
    Record { source: Source::Stdout, time: 1_700_000_000_267_116_270, bytes: text.to_vec(), partial: None }
}

fn config(driver: LogDriver, options: &[(&str, &str)]) -> LogConfig {
    let options = options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    LogConfig { driver, options }
}

fn open(folder: &Path, config: &LogConfig) -> Writer {
    let attributes =
        BTreeMap::from([("a".to_owned(), "1".to_owned()), ("name".to_owned(), "web".to_owned())]);
    let env = ["X=<y>".to_owned(), "XX=no".to_owned()];
    Writer::open(folder, &ID, config, &Context { attributes: &attributes, env: &env, id: &ID }).unwrap()
}

fn text_of(folder: &Path, config: &LogConfig, filter: Filter) -> String {
    let mut reader = read(folder, &ID, config, filter).unwrap();
    let mut text = Vec::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        text.extend(entry.bytes);
    }
    String::from_utf8_lossy(&text).into_owned()
}

fn cut(pieces: &[&[u8]]) -> Vec<(String, Option<(u32, bool)>)> {
    let mut lines = Lines::new(Source::Stdout);
    let mut records = Vec::new();
    for (time, piece) in pieces.iter().enumerate() {
        lines.feed(piece, time as i64, |record| records.push(record));
    }
    records.extend(lines.finish(99));
    let show = |record: Record| {
        let partial = record.partial.map(|partial| (partial.ordinal, partial.last));
        (format!("{}:{}", record.time, String::from_utf8_lossy(&record.bytes)), partial)
    };
    records.into_iter().map(show).collect()
}

#[test]
fn output_is_cut_at_line_ends() {
    let line = |text: &str| (text.to_owned(), None);
    assert_eq!(cut(&[b"a\nb\n", b"c", b"d\n\n"]), [line("0:a"), line("0:b"), line("2:cd"), line("2:")]);
    assert_eq!(cut(&[b"rest"]), [("99:rest".to_owned(), Some((1, false)))]);
    assert_eq!(cut(&[b""]), []);
}

#[test]
fn long_lines_are_cut_into_pieces_of_one_time() {
    let long = [&[b'x'; 2 * lines::LONGEST][..], b"end\n", b"next\n"].concat();
    for step in [1000, lines::LONGEST, long.len()] {
        let pieces: Vec<&[u8]> = long.chunks(step).collect();
        let records = cut(&pieces);
        let shapes: Vec<_> = records.iter().map(|(text, partial)| (text.len(), *partial)).collect();
        let first = records[0].0.split_once(':').unwrap().0;
        assert!(records[..3].iter().all(|(text, _)| text.split_once(':').unwrap().0 == first), "one time");
        assert_eq!(shapes.len(), 4);
        assert_eq!(
            [shapes[0].1, shapes[1].1, shapes[2].1, shapes[3].1],
            [Some((1, false)), Some((2, false)), Some((3, true)), None]
        );
    }
}

#[test]
fn lines_of_json_are_dockers() {
    let folder = tempfile::tempdir().unwrap();
    // The image and the name are no labels, whatever their names look like.
    let options =
        [("labels", "none"), ("labels-regex", "a|m"), ("env-regex", "^X$"), ("tag", "{{.Name}}/{{.ID}}")];
    let config = config(LogDriver::JsonFile, &options);
    let mut writer = open(folder.path(), &config);
    writer.write(&record(b"a<b>&c\"\\/\t\r\x01\x7f\xe2\x80\xa8x\xff\x08\x0c\xe2\x82\xac\xe2")).unwrap();
    let mut error = record(b"half");
    error.source = Source::Stderr;
    error.partial = Some(Partial { id: "x".to_owned(), ordinal: 1, last: false });
    writer.write(&error).unwrap();
    drop(writer);
    let path = path(folder.path(), &ID, LogDriver::JsonFile);
    let attrs = "\"attrs\":{\"X\":\"\\u003cy\\u003e\",\"a\":\"1\",\"tag\":\"web/abababababab\"},\"time\":\"2023-11-14T22:13:20.26711627Z\"}\n";
    let expected = [
        "{\"log\":\"a\\u003cb\\u003e\\u0026c\\\"\\\\/\\u0009\\r\\u0001\x7f\\u2028x\\ufffd\\u0008\\u000c€\\ufffd\\n\",\"stream\":\"stdout\",",
        attrs,
        "{\"log\":\"half\",\"stream\":\"stderr\",",
        attrs,
    ];
    assert_eq!(std::fs::read_to_string(path).unwrap(), expected.concat());
}

#[test]
fn compact_records_are_dockers() {
    // Taken from Docker's own: the time, an empty line, and the last piece of a long one.
    let mut empty = record(b"");
    empty.time = 1_763_751_907_567_616_226;
    let mut bytes = Vec::new();
    local::encode(&empty, &mut bytes);
    assert_eq!(bytes[..4], bytes[bytes.len() - 4..]);
    assert_eq!(bytes[..4], [0, 0, 0, 0x12]);
    assert_eq!(bytes[4..12], *b"\x0a\x06stdout");
    assert_eq!(bytes[12], 0x10);
    let mut last = record(b"yy");
    last.partial = Some(Partial { id: "ab".repeat(32), ordinal: 3, last: true });
    let mut bytes = Vec::new();
    local::encode(&last, &mut bytes);
    let body = &bytes[4..bytes.len() - 4];
    assert_eq!(body[18..24], [0x1a, 2, b'y', b'y', 0x20, 1]);
    assert_eq!(body[24..30], [0x2a, 0x46, 8, 1, 0x12, 0x40]);
    assert_eq!(body[body.len() - 2..], [0x18, 3]);
}

#[test]
fn both_forms_are_read_as_they_were_written() {
    for driver in [LogDriver::JsonFile, LogDriver::Local] {
        let folder = tempfile::tempdir().unwrap();
        let config = config(driver, &[]);
        let mut writer = open(folder.path(), &config);
        let mut lines = Lines::new(Source::Stdout);
        let long = "z".repeat(40_000);
        for text in ["one\n", "two\n", &long, "\n", "four\n", "five"] {
            lines.feed(text.as_bytes(), 1_000, |record| writer.add(&record).unwrap());
            writer.flush().unwrap();
        }
        let place = writer.position().unwrap();
        lines.finish(2_000).map(|record| writer.write(&record)).unwrap().unwrap();
        let all = format!("one\ntwo\n{long}\nfour\nfive");
        assert_eq!(text_of(folder.path(), &config, Filter::default()), all, "{driver}");
        let tail =
            |count| text_of(folder.path(), &config, Filter { tail: Tail::Lines(count), ..Filter::default() });
        assert_eq!(tail(0), "");
        assert_eq!(tail(2), "four\nfive");
        assert_eq!(tail(3), format!("{long}\nfour\nfive"));
        assert_eq!(tail(99), all);
        let until = Filter { end: Some(place), ..Filter::default() };
        assert_eq!(text_of(folder.path(), &config, until), format!("one\ntwo\n{long}\nfour\n"));
        let late = Filter { since: Some(1_500), ..Filter::default() };
        assert_eq!(text_of(folder.path(), &config, late), "five");
        let early = Filter { until: Some(1_500), ..Filter::default() };
        assert_eq!(text_of(folder.path(), &config, early), format!("one\ntwo\n{long}\nfour\n"));
        let other = Filter { source: Some(Source::Stderr), ..Filter::default() };
        assert_eq!(text_of(folder.path(), &config, other), "");
    }
    assert!(matches!(
        read(Path::new("/"), &ID, &config(LogDriver::None, &[]), Filter::default()),
        Err(ReadError::Unreadable)
    ));
}

#[test]
fn the_end_of_a_long_log_is_what_reading_all_of_it_finds() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(LogDriver::JsonFile, &[]);
    let mut writer = open(folder.path(), &config);
    let mut streams = [Lines::new(Source::Stdout), Lines::new(Source::Stderr)];
    // Some lines take several records, some of those are interrupted by the other stream, which is rare near the end.
    let mut text = |stream: usize, text: &str, time: i64| {
        streams[stream].feed(text.as_bytes(), time, |record| writer.add(&record).unwrap());
    };
    for number in 0..6_000 {
        text(0, &format!("line {number} {}\n", "x".repeat(number % 90)), number as i64);
        if number % 700 == 3 {
            text(1, &"e".repeat(40_000), number as i64);
        }
        if number % 700 == 9 {
            text(1, "\n", number as i64);
        }
    }
    writer.flush().unwrap();
    let place = writer.position().unwrap();
    let size = std::fs::metadata(super::path(folder.path(), &ID, LogDriver::JsonFile)).unwrap().len();
    assert!(size > 1 << 20, "{size}");
    let entries = |filter: Filter| {
        let mut reader = read(folder.path(), &ID, &config, filter).unwrap();
        std::iter::from_fn(|| reader.next_entry().unwrap()).collect::<Vec<_>>()
    };
    for stream in [None, Some(Source::Stdout), Some(Source::Stderr)] {
        for (since, end) in [(None, None), (Some(5_950), None), (None, Some(place))] {
            let filter = Filter { source: stream, since, end, ..Filter::default() };
            let all = entries(filter.clone());
            for count in [0, 1, 10, 11, 690, 7_000] {
                let begins: Vec<usize> = (0..all.len()).filter(|at| all[*at].begins_line).collect();
                let from = match begins.len().checked_sub(count) {
                    Some(first) => begins.get(first).copied().unwrap_or(all.len()),
                    None => 0,
                };
                let tail = entries(Filter { tail: Tail::Lines(count), ..filter.clone() });
                assert!(tail == all[from..], "{count} of {stream:?} since {since:?}: {} lines", tail.len());
            }
        }
    }
    // What comes later follows what was found.
    let tail = Filter { tail: Tail::Lines(1), ..Filter::default() };
    let mut reader = read(folder.path(), &ID, &config, tail).unwrap();
    assert!(reader.next_entry().unwrap().unwrap().bytes.starts_with(b"line 5999 "));
    assert_eq!(reader.next_entry().unwrap(), None);
    writer.add(&record(b"later")).unwrap();
    writer.flush().unwrap();
    assert_eq!(reader.next_entry().unwrap().unwrap().bytes, b"later\n");
}

#[test]
fn full_files_give_way() {
    for (driver, compress) in
        [(LogDriver::JsonFile, "false"), (LogDriver::JsonFile, "true"), (LogDriver::Local, "true")]
    {
        let folder = tempfile::tempdir().unwrap();
        let config = config(driver, &[("max-size", "1k"), ("max-file", "3"), ("compress", compress)]);
        let mut writer = open(folder.path(), &config);
        let mut reader = read(folder.path(), &ID, &config, Filter::default()).unwrap();
        let mut followed = Vec::new();
        for number in 0..120 {
            writer.add(&record(format!("line {number}").as_bytes())).unwrap();
            // Files also give way in the middle of what is written at once.
            if number % 10 < 3 || number == 119 {
                writer.flush().unwrap();
            }
            while let Some(entry) = reader.next_entry().unwrap() {
                followed.extend(entry.bytes);
            }
        }
        drop(writer);
        let all: String = (0..120).map(|number| format!("line {number}\n")).collect();
        assert_eq!(
            String::from_utf8(followed).unwrap(),
            all,
            "{driver} {compress}: a follower misses nothing"
        );
        let kept = text_of(folder.path(), &config, Filter::default());
        assert!(all.ends_with(&kept) && kept.len() > 200, "{driver} {compress}: {kept}");
        let path = path(folder.path(), &ID, driver);
        let sizes: Vec<bool> = ["", ".1", ".2", ".3", ".1.gz", ".2.gz"]
            .iter()
            .map(|end| PathBuf::from(format!("{}{end}", path.display())).exists())
            .collect();
        let expected = if compress == "true" {
            [true, false, false, false, true, true]
        } else {
            [true, true, true, false, false, false]
        };
        assert_eq!(sizes, expected, "{driver} {compress}");
    }
}

#[test]
fn one_file_begins_anew() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(LogDriver::JsonFile, &[("max-size", "200")]);
    let mut writer = open(folder.path(), &config);
    for number in 0..9 {
        writer.write(&record(format!("line {number}").as_bytes())).unwrap();
    }
    drop(writer);
    let kept = text_of(folder.path(), &config, Filter::default());
    assert!(kept.ends_with("line 8\n") && !kept.contains("line 0"), "{kept}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_writer_goes_on_where_another_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(LogDriver::JsonFile, &[]);
    open(folder.path(), &config).write(&record(b"one")).unwrap();
    open(folder.path(), &config).write(&record(b"two")).unwrap();
    assert_eq!(text_of(folder.path(), &config, Filter::default()), "one\ntwo\n");
}

#[test]
fn damage_hides_only_itself() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(LogDriver::JsonFile, &[]);
    open(folder.path(), &config).write(&record(b"one")).unwrap();
    let path = path(folder.path(), &ID, LogDriver::JsonFile);
    let good = std::fs::read(&path).unwrap();
    std::fs::write(&path, [b"{\"log\":\"half\n".as_slice(), b"\xff\xff\n", &good].concat()).unwrap();
    assert_eq!(text_of(folder.path(), &config, Filter::default()), "one\n");
    for bytes in [&b"\xff\xff\xff\xff"[..], b"\0\0\0\x04\x0a\xff\xff\xff", b"\0\0\0\x02\x08\x80\0\0\0\x02"] {
        let folder = tempfile::tempdir().unwrap();
        let config = super::tests::config(LogDriver::Local, &[]);
        drop(open(folder.path(), &config));
        std::fs::write(super::path(folder.path(), &ID, LogDriver::Local), bytes).unwrap();
        assert_eq!(text_of(folder.path(), &config, Filter::default()), "");
    }
}

#[test]
fn options_are_checked_in_dockers_words() {
    let wrong = |driver, options: &[(&str, &str)]| check(&config(driver, options)).unwrap_err().to_string();
    assert_eq!(wrong(LogDriver::JsonFile, &[("x", "1")]), "unknown log opt 'x' for json-file log driver");
    assert_eq!(wrong(LogDriver::Local, &[("labels", "a")]), "unknown log opt 'labels' for local log driver");
    assert!(
        wrong(LogDriver::JsonFile, &[("labels-regex", "(")])
            .starts_with("invalid value for log opt 'labels-regex': `(`: ")
    );
    assert_eq!(
        wrong(LogDriver::JsonFile, &[("max-size", "1m"), ("max-file", "0")]),
        "max-file cannot be less than 1"
    );
    assert_eq!(
        wrong(LogDriver::JsonFile, &[("compress", "true")]),
        "compress cannot be true when max-size is not set"
    );
    assert!(wrong(LogDriver::JsonFile, &[("max-size", "lots")]).contains("`lots` is no size"));
    for good in [
        &[("max-size", "10m"), ("max-file", "3"), ("compress", "true")][..],
        &[("max-size", "-1")],
        // Without a size nothing gives way.
        &[("max-file", "2")],
        &[("mode", "non-blocking"), ("max-buffer-size", "4m")],
    ] {
        check(&config(LogDriver::JsonFile, good)).unwrap();
    }
    check(&config(LogDriver::Local, &[("max-size", "1.5g")])).unwrap();
    check(&config(LogDriver::None, &[])).unwrap();
}

#[test]
fn what_is_no_file_in_the_place_of_a_log_is_neither_followed_nor_waited_for() {
    for driver in [LogDriver::JsonFile, LogDriver::Local] {
        let folder = tempfile::tempdir().unwrap();
        let config = config(driver, &[]);
        let outside = folder.path().join("outside");
        std::fs::write(&outside, "untouched").unwrap();
        open(folder.path(), &config).write(&record(b"a line\n")).unwrap();
        let path = path(folder.path(), &ID, driver);
        for kind in ["link", "pipe"] {
            std::fs::remove_file(&path).unwrap();
            match kind {
                "link" => std::os::unix::fs::symlink(&outside, &path).unwrap(),
                _ => mknodat(CWD, &path, FileType::Fifo, Mode::RWXU, 0).unwrap(),
            }
            let context = Context { attributes: &BTreeMap::new(), env: &[], id: &ID };
            assert!(Writer::open(folder.path(), &ID, &config, &context).is_err(), "{kind}");
            let entry =
                read(folder.path(), &ID, &config, Filter::default()).and_then(|mut log| log.next_entry());
            assert!(entry.is_err(), "{kind}: {entry:?}");
        }
        assert_eq!(std::fs::read_to_string(&outside).unwrap(), "untouched");
    }
}
