//! Archives as an attacker would write them, made by a writer that checks nothing.

use super::*;

/// Writes headers field by field, right or wrong.
#[derive(Default)]
struct Forge {
    bytes: Vec<u8>,
}

#[derive(Clone)]
struct Header {
    name: Vec<u8>,
    flag: u8,
    link: Vec<u8>,
    size: Vec<u8>,
    uid: Vec<u8>,
    mtime: Vec<u8>,
    device: (Vec<u8>, Vec<u8>),
    magic: [u8; 8],
}

fn header(name: &str, flag: u8) -> Header {
    Header {
        name: name.into(),
        flag,
        link: b"target".to_vec(),
        size: b"0".to_vec(),
        uid: b"0".to_vec(),
        mtime: b"0".to_vec(),
        device: (b"1".to_vec(), b"3".to_vec()),
        magic: *b"ustar\x0000",
    }
}

const GNU: [u8; 8] = *b"ustar  \0";

impl Header {
    fn size(mut self, size: impl Into<Vec<u8>>) -> Self {
        self.size = size.into();
        self
    }

    fn link(mut self, link: &[u8]) -> Self {
        self.link = link.to_vec();
        self
    }

    fn block(&self) -> [u8; 512] {
        let mut block = [0; 512];
        let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &self.name[..self.name.len().min(100)]);
        put(100, b"644");
        put(108, &self.uid);
        put(116, b"0");
        put(124, &self.size);
        put(136, &self.mtime);
        put(156, &[self.flag]);
        put(157, &self.link[..self.link.len().min(100)]);
        put(257, &self.magic);
        put(329, &self.device.0);
        put(337, &self.device.1);
        block
    }
}

fn sealed(mut block: [u8; 512]) -> [u8; 512] {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    block
}

impl Forge {
    fn header(mut self, header: Header) -> Self {
        self.bytes.extend(sealed(header.block()));
        self
    }

    fn block(mut self, block: [u8; 512]) -> Self {
        self.bytes.extend(block);
        self
    }

    fn contents(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend(bytes);
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
        self
    }

    fn extension(self, flag: u8, bytes: &[u8]) -> Self {
        self.header(header("x", flag).size(format!("{:o}", bytes.len()))).contents(bytes)
    }

    fn pax(self, records: &[(&str, &str)]) -> Self {
        let mut block = Vec::new();
        for (key, value) in records {
            pax::write_record(&mut block, key.as_bytes(), value.as_bytes());
        }
        self.extension(b'x', &block)
    }

    fn read(self) -> Result<Vec<(Entry, Vec<u8>)>, TarError> {
        self.read_within(Limits::default())
    }

    fn read_within(mut self, limits: Limits) -> Result<Vec<(Entry, Vec<u8>)>, TarError> {
        self.bytes.extend([0; 1024]);
        let mut reader = Reader::new(&self.bytes[..], limits);
        let mut entries = Vec::new();
        while let Some(entry) = reader.next_entry()? {
            let contents = reader.contents(1 << 20)?;
            entries.push((entry, contents));
        }
        Ok(entries)
    }

    fn problem(self) -> EntryProblem {
        match self.read() {
            Err(TarError::Entry { problem, .. }) => problem,
            other => panic!("not refused as an entry: {other:?}"),
        }
    }

    fn only(self) -> (Entry, Vec<u8>) {
        let mut entries = self.read().unwrap();
        assert_eq!(entries.len(), 1);
        entries.remove(0)
    }
}

fn forge() -> Forge {
    Forge::default()
}

#[test]
fn names_that_climb_are_refused_in_every_type() {
    for name in ["../../x", "a/../../x", "..", "./../x", "a/./../../x"] {
        for flag in *b"01234567" {
            let problem = forge().header(header(name, flag)).problem();
            assert_eq!(problem, EntryProblem::Path(PathProblem::Parent), "{name} {flag}");
        }
        let hardlink = forge().header(header("h", b'1').link(name.as_bytes())).problem();
        assert_eq!(hardlink, EntryProblem::Target(PathProblem::Parent));
        let pax = forge().pax(&[("path", name)]).header(header("fine", b'0')).problem();
        assert_eq!(pax, EntryProblem::Path(PathProblem::Parent));
        let gnu = forge().extension(b'L', name.as_bytes()).header(header("fine", b'0')).problem();
        assert_eq!(gnu, EntryProblem::Path(PathProblem::Parent));
    }
}

#[test]
fn the_root_is_a_folder_or_nothing() {
    for name in ["./", "/", ".", ""] {
        assert!(forge().header(header(name, b'5')).only().0.path.is_root());
        assert_eq!(forge().header(header(name, b'2')).problem(), EntryProblem::RootNotDirectory);
    }
    assert_eq!(forge().header(header(".", b'0')).problem(), EntryProblem::RootNotDirectory);
    assert_eq!(forge().header(header("h", b'1').link(b"/")).problem(), EntryProblem::EmptyTarget);
}

#[test]
fn links_without_end_or_beginning_are_refused() {
    assert_eq!(forge().header(header("l", b'2').link(b"")).problem(), EntryProblem::EmptyTarget);
    let long = "x/".repeat(2048);
    let problem = forge().pax(&[("linkpath", &long)]).header(header("l", b'2')).problem();
    assert_eq!(problem, EntryProblem::Target(PathProblem::TooLong(4095)));
    let problem = forge().extension(b'K', b"a\0b").header(header("l", b'2')).problem();
    assert_eq!(problem, EntryProblem::Target(PathProblem::Nul));
}

#[test]
fn pax_size_wins_and_hides_no_header() {
    let hidden = sealed(header("hidden", b'0').block());
    let (entry, contents) =
        forge().pax(&[("size", "512")]).header(header("f", b'0').size("0")).block(hidden).only();
    assert_eq!((entry.size(), &contents[..]), (512, &hidden[..]));

    let entries =
        forge().pax(&[("size", "0")]).header(header("f", b'0').size("1000")).block(hidden).read().unwrap();
    assert_eq!(entries.iter().map(|(entry, _)| entry.path.to_string()).collect::<Vec<_>>(), ["f", "hidden"]);
}

#[test]
fn only_files_have_a_size() {
    for flag in *b"123456" {
        let problem = forge().header(header("e", flag).size("1000")).contents(&[1; 512]).problem();
        assert_eq!(problem, EntryProblem::UnexpectedSize, "{}", char::from(flag));
    }
    let folder = header("d/", b'0').size("10");
    assert_eq!(forge().header(folder).problem(), EntryProblem::UnexpectedSize);
}

#[test]
fn sizes_beyond_reason_are_refused_without_allocating() {
    for size in [
        &b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"[..],
        b"\x80\0\0\0\x80\0\0\0\0\0\0\0",
        b"12345678x",
        b"-1",
    ] {
        assert_eq!(forge().header(header("f", b'0').size(size)).problem(), EntryProblem::Number("size"));
    }
    for size in ["18446744073709551615", "9223372036854775808"] {
        let refused = forge().pax(&[("size", size)]).header(header("f", b'0')).problem();
        assert_eq!(refused, EntryProblem::Number("size"));
    }
    let refused = forge().pax(&[("size", "9223372036854775807")]).header(header("f", b'0')).read();
    assert!(matches!(refused, Err(TarError::TooLarge(_))));
    let refused = forge().header(header("f", b'0').size("77777777")).read();
    assert!(matches!(refused, Err(TarError::Truncated(_))));
}

#[test]
fn extended_headers_are_bounded_and_belong_to_one_entry() {
    let huge = "7".repeat(11);
    for (flag, limit) in [(b'L', 64 << 10), (b'K', 64 << 10), (b'x', 1 << 20), (b'g', 1 << 20)] {
        let problem = forge().header(header("x", flag).size(&huge[..])).problem();
        assert_eq!(problem, EntryProblem::ExtensionTooLarge(limit));
    }
    let doubled = forge().extension(b'L', b"a").extension(b'L', b"b").header(header("f", b'0'));
    assert_eq!(doubled.problem(), EntryProblem::ExtensionOrder);
    let doubled = forge().pax(&[("uid", "1")]).pax(&[("uid", "2")]).header(header("f", b'0'));
    assert_eq!(doubled.problem(), EntryProblem::ExtensionOrder);
    assert_eq!(forge().pax(&[("uid", "1")]).problem(), EntryProblem::ExtensionOrder);
    let many = (0..100).fold(forge(), |forge, _| forge.extension(b'g', b""));
    let refused = many.read_within(Limits { entries: 50, ..Limits::default() });
    assert!(matches!(refused, Err(TarError::TooManyEntries(50))));
}

#[test]
fn pax_names_win_over_gnu_names() {
    let (entry, _) =
        forge().extension(b'L', b"gnu\0").pax(&[("path", "pax")]).header(header("raw", b'0')).only();
    assert_eq!(entry.path.to_string(), "pax");
    let (entry, _) = forge().extension(b'L', b"gnu\0").header(header("raw", b'0')).only();
    assert_eq!(entry.path.to_string(), "gnu");
}

#[test]
fn global_records_change_nothing() {
    let mut records = Vec::new();
    for (key, value) in [("path", "/etc/shadow"), ("size", "99"), ("uid", "7"), ("SCHILY.xattr.user.a", "b")]
    {
        pax::write_record(&mut records, key.as_bytes(), value.as_bytes());
    }
    let (entry, _) = forge().extension(b'g', &records).header(header("f", b'0')).only();
    assert_eq!(entry, Entry::new(EntryPath::new("f").unwrap(), EntryKind::File { size: 0 }, 0o644));
    assert_eq!(forge().extension(b'g', b"garbage").problem(), EntryProblem::PaxRecord);
}

#[test]
fn whiteout_devices_and_unknown_types_are_refused() {
    let mut device = header("w", b'3');
    device.device = (b"0".to_vec(), b"0".to_vec());
    assert_eq!(forge().header(device).problem(), EntryProblem::WhiteoutDevice);
    for flag in *b"VMNDAsX\xff" {
        assert_eq!(forge().header(header("e", flag)).problem(), EntryProblem::Type(char::from(flag)));
    }
}

#[test]
fn owners_that_mean_nobody_are_refused() {
    for uid in ["4294967295", "4294967296"] {
        let problem = forge().pax(&[("uid", uid)]).header(header("f", b'0')).problem();
        assert_eq!(problem, EntryProblem::Number("uid"));
    }
    let mut negative = header("f", b'0');
    negative.uid = b"\xff\xff\xff\xff\xff\xff\xff\xff".to_vec();
    assert_eq!(forge().header(negative).problem(), EntryProblem::Number("uid"));
    let mut large = header("f", b'0');
    large.uid = b"\x80\0\0\0\0\x20\0\0".to_vec();
    assert_eq!(forge().header(large).only().0.uid, 1 << 21);
}

#[test]
fn times_before_and_far_after_are_kept() {
    let mut old = header("f", b'0');
    old.mtime = vec![0xff; 12];
    assert_eq!(forge().header(old).only().0.mtime, Timestamp::from_seconds(-1));
    let (entry, _) = forge().pax(&[("mtime", "-1.5")]).header(header("f", b'0')).only();
    assert_eq!(entry.mtime, Timestamp { seconds: -2, nanoseconds: 500_000_000 });
    let problem = forge().pax(&[("mtime", "1e9")]).header(header("f", b'0')).problem();
    assert_eq!(problem, EntryProblem::Number("mtime"));
}

#[test]
fn headers_are_checked_before_they_are_believed() {
    let mut wrong = sealed(header("f", b'0').block());
    wrong[0] ^= 1;
    assert_eq!(forge().block(wrong).problem(), EntryProblem::Checksum);

    let mut alien = header("f", b'0');
    alien.magic = *b"notustar";
    assert_eq!(forge().header(alien).problem(), EntryProblem::Magic);

    // Historic programs summed signed bytes.
    let mut block = header("f\u{e9}", b'0').block();
    block[148..156].fill(b' ');
    let sum: i32 = block.iter().map(|&byte| i32::from(byte as i8)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    assert_eq!(forge().block(block).only().0.path.to_string(), "fé");

    let mut v7 = header("dir/", 0);
    v7.magic = [0; 8];
    assert_eq!(forge().header(v7).only().0.kind, EntryKind::Directory);

    let lone = forge().block([0; 512]).header(header("f", b'0'));
    assert_eq!(lone.problem(), EntryProblem::LoneZeroBlock);
}

#[test]
fn an_archive_may_lack_its_end_but_not_a_part_of_an_entry() {
    let bytes = forge().header(header("f", b'0').size("5")).contents(b"hello").bytes;
    let end = |bytes: &[u8]| Reader::new(bytes, Limits::default()).finish().map(|(_, end)| end);
    assert_eq!(end(&bytes).unwrap(), End::Unmarked);
    assert_eq!(end(&[]).unwrap(), End::Unmarked);
    assert_eq!(end(&[0; 512]).unwrap(), End::Unmarked);
    for cut in 1..bytes.len() {
        if cut != 512 {
            assert!(end(&bytes[..cut]).is_err(), "{cut}");
        }
    }
    assert!(end(&bytes[..512]).is_err());
}

fn old_gnu(regions: &[(u64, u64)], real_size: u64, stored: u64) -> Header2 {
    let mut base = header("s", b'S').size(format!("{stored:o}"));
    base.magic = GNU;
    let mut block = base.block();
    for (index, (offset, length)) in regions.iter().take(4).enumerate() {
        let at = 386 + index * 24;
        block[at..at + 11].copy_from_slice(format!("{offset:011o}").as_bytes());
        block[at + 12..at + 23].copy_from_slice(format!("{length:011o}").as_bytes());
    }
    block[483..494].copy_from_slice(format!("{real_size:011o}").as_bytes());
    let mut more = Vec::new();
    let rest = regions.get(4..).unwrap_or_default();
    block[482] = u8::from(!rest.is_empty());
    let mut chunks = rest.chunks(21).peekable();
    while let Some(chunk) = chunks.next() {
        let mut extra = [0; 512];
        for (index, (offset, length)) in chunk.iter().enumerate() {
            let at = index * 24;
            extra[at..at + 11].copy_from_slice(format!("{offset:011o}").as_bytes());
            extra[at + 12..at + 23].copy_from_slice(format!("{length:011o}").as_bytes());
        }
        extra[504] = u8::from(chunks.peek().is_some());
        more.push(extra);
    }
    Header2 { first: sealed(block), more }
}

struct Header2 {
    first: [u8; 512],
    more: Vec<[u8; 512]>,
}

impl Header2 {
    fn forge(self, contents: &[u8]) -> Forge {
        let start = forge().block(self.first);
        self.more.into_iter().fold(start, Forge::block).contents(contents)
    }
}

#[test]
fn sparse_files_of_all_forms_are_filled_with_zeros() {
    let mut wanted = vec![0; 3000];
    wanted[512..515].copy_from_slice(b"abc");
    wanted[2000..2002].copy_from_slice(b"de");
    let check = |form: &str, forge: Forge| {
        let (entry, contents) = forge.header(header("after", b'0')).read().unwrap().remove(0);
        assert_eq!((entry.path.to_string(), entry.size()), ("s".to_owned(), 3000), "{form}");
        assert!(contents == wanted, "{form}");
    };
    let regions = [(512, 3), (2000, 2), (3000, 0)];
    check("old", old_gnu(&regions, 3000, 5).forge(b"abcde"));
    let plain = || header("ignored", b'0').size("5");
    check(
        "0.0",
        forge()
            .pax(&[
                ("path", "s"),
                ("GNU.sparse.size", "3000"),
                ("GNU.sparse.numblocks", "2"),
                ("GNU.sparse.offset", "512"),
                ("GNU.sparse.numbytes", "3"),
                ("GNU.sparse.offset", "2000"),
                ("GNU.sparse.numbytes", "2"),
            ])
            .header(plain())
            .contents(b"abcde"),
    );
    check(
        "0.1",
        forge()
            .pax(&[
                ("GNU.sparse.name", "s"),
                ("GNU.sparse.size", "3000"),
                ("GNU.sparse.numblocks", "2"),
                ("GNU.sparse.map", "512,3,2000,2"),
            ])
            .header(plain())
            .contents(b"abcde"),
    );
    let one = [
        ("GNU.sparse.major", "1"),
        ("GNU.sparse.minor", "0"),
        ("GNU.sparse.name", "s"),
        ("GNU.sparse.realsize", "3000"),
    ];
    let stored = format!("{:o}", 512 + 5);
    check(
        "1.0",
        forge().pax(&one).header(plain().size(stored)).contents(b"2\n512\n3\n2000\n2\n").contents(b"abcde"),
    );
}

#[test]
fn long_old_maps_go_on_in_more_blocks() {
    let regions: Vec<_> = (0..60).map(|index| (index * 10, 1)).collect();
    let (entry, contents) = old_gnu(&regions, 600, 60).forge(&[7; 60]).only();
    assert_eq!(entry.size(), 600);
    assert!(contents.iter().enumerate().all(|(at, &byte)| byte == if at % 10 == 0 { 7 } else { 0 }));
}

#[test]
fn bad_maps_are_refused() {
    for (regions, real_size, stored) in [
        (vec![(10, 5), (0, 5)], 100, 10),
        (vec![(0, 6), (5, 5)], 100, 11),
        (vec![(96, 5)], 100, 5),
        (vec![(0, 5)], 100, 6),
    ] {
        let refused = old_gnu(&regions, real_size, stored).forge(&[0; 512]).problem();
        assert_eq!(refused, EntryProblem::SparseMap);
    }
    let many: Vec<_> = (0..100).map(|index| (index * 10, 1)).collect();
    let refused = old_gnu(&many, 1000, 100)
        .forge(&[0; 512])
        .read_within(Limits { sparse_regions: 50, ..Limits::default() });
    assert!(matches!(refused, Err(TarError::Entry { problem: EntryProblem::SparseMap, .. })));
    // Ten terabytes of holes are one header in the archive and too large outside, and so are 8 EiB.
    let mut holes = old_gnu(&[(0, 0)], 0, 0);
    holes.first[483..495]
        .copy_from_slice(&[&[0x80, 0, 0, 0], &10_000_000_000_000_u64.to_be_bytes()[..]].concat());
    holes.first = sealed(holes.first);
    let refused = holes.forge(b"").read();
    assert!(matches!(refused, Err(TarError::TooLarge(_))), "{refused:?}");
    let refused = forge()
        .pax(&[("GNU.sparse.size", "9223372036854775807"), ("GNU.sparse.map", "0,0")])
        .header(header("s", b'0'))
        .read();
    assert!(matches!(refused, Err(TarError::TooLarge(_))), "{refused:?}");
    for records in [
        &[("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0"), ("GNU.sparse.realsize", "9")][..],
        &[("GNU.sparse.major", "2"), ("GNU.sparse.size", "9")],
        &[("GNU.sparse.size", "9"), ("GNU.sparse.numbytes", "9")],
        &[("GNU.sparse.size", "9"), ("GNU.sparse.offset", "9")],
        &[("GNU.sparse.size", "9"), ("GNU.sparse.map", "1,2,3")],
        &[("GNU.sparse.map", "0,0")],
        &[("GNU.sparse.size", "9"), ("GNU.sparse.what", "9")],
    ] {
        assert_eq!(forge().pax(records).header(header("s", b'0')).problem(), EntryProblem::SparseMap);
    }
    let counted = forge()
        .pax(&[("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0"), ("GNU.sparse.realsize", "9")])
        .header(header("s", b'0').size("1000"))
        .contents(b"10000000\n");
    assert_eq!(counted.problem(), EntryProblem::SparseMap);
}

/// An archive that has no end and lies nowhere.
struct Endless {
    block: [u8; 512],
    at: usize,
}

impl std::io::Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = buffer.len().min(self.block.len() - self.at);
        buffer[..count].copy_from_slice(&self.block[self.at..self.at + count]);
        self.at = (self.at + count) % self.block.len();
        Ok(count)
    }
}

#[test]
fn entries_without_end_are_read_one_by_one_and_no_more_than_the_bound() {
    let endless = Endless { block: sealed(header("f", b'0').block()), at: 0 };
    let mut reader = Reader::new(endless, Limits { entries: 50_000, ..Limits::default() });
    let mut read = 0;
    let refused = loop {
        match reader.next_entry() {
            Ok(Some(_)) => read += 1,
            Ok(None) => panic!("it ended"),
            Err(error) => break error,
        }
    };
    assert_eq!(read, 50_000);
    assert!(matches!(refused, TarError::TooManyEntries(50_000)), "{refused}");
}

/// Different entries, each made when it is read.
struct Many {
    next: u32,
    count: u32,
    block: [u8; 512],
    at: usize,
}

impl std::io::Read for Many {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.at == self.block.len() {
            let number = self.next;
            self.next += 1;
            self.at = 0;
            self.block = match number {
                number if number < self.count => {
                    sealed(header(&format!("d{:04}/f{number:07}", number / 1000), b'0').block())
                }
                number if number < self.count + 2 => [0; 512],
                _ => {
                    self.at = self.block.len();
                    return Ok(0);
                }
            };
        }
        let count = buffer.len().min(self.block.len() - self.at);
        buffer[..count].copy_from_slice(&self.block[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

/// The most memory that this process ever had.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn a_million_entries_take_no_more_memory_than_one() {
    const COUNT: u32 = 1_000_000;
    // What other tests take at the same time is not to count: a process of its own reads them, which is asked for this one alone.
    let name = "tar::hostile::a_million_entries_take_no_more_memory_than_one";
    let asked = std::fs::read("/proc/self/cmdline").unwrap();
    let asked: Vec<_> = asked.split(|byte| *byte == 0).collect();
    if !(asked.contains(&&b"--exact"[..]) && asked.contains(&name.as_bytes())) {
        let alone = std::process::Command::new("/proc/self/exe").args(["--exact", name]).output().unwrap();
        let told = String::from_utf8_lossy(&alone.stdout);
        assert!(alone.status.success() && told.contains("1 passed"), "{told}");
        return;
    }
    let first = |count: u32| {
        let mut reader = Reader::new(Many { next: 0, count, block: [0; 512], at: 512 }, Limits::default());
        let mut read = 0;
        while let Some(entry) = reader.next_entry().unwrap() {
            assert!(read % 1000 != 0 || entry.path.to_string() == format!("d{:04}/f{read:07}", read / 1000));
            read += 1;
        }
        reader.finish().unwrap();
        read
    };
    assert_eq!(first(1), 1);
    let before = peak_kib();
    assert_eq!(first(COUNT), COUNT);
    let more = peak_kib() - before;
    assert!(more < 2 << 10, "{more} KiB more");
}
