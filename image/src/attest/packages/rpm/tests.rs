use proptest::prelude::*;

use super::super::{Database, Inventory};

const PATH: &str = "var/lib/rpm/Packages";

/// A header as rpm writes it: its tags, then what they point into.
fn header_of(name: &str, version: &str, release: &str, epoch: Option<u32>, filler: usize) -> Vec<u8> {
    let mut tags: Vec<[u32; 4]> = Vec::new();
    let mut data = Vec::new();
    // Other tags come before, as the list of files does.
    tags.push([63, 7, 0, filler as u32]);
    data.extend(vec![b'f'; filler]);
    for (tag, text) in [(1000, name), (1001, version), (1002, release), (1014, "MIT"), (1022, "x86_64")] {
        tags.push([tag, 6, data.len() as u32, 1]);
        data.extend(text.as_bytes());
        data.push(0);
    }
    if let Some(epoch) = epoch {
        data.resize(data.len().next_multiple_of(4), 0);
        tags.push([1003, 4, data.len() as u32, 1]);
        data.extend(epoch.to_be_bytes());
    }
    let numbers = [tags.len() as u32, data.len() as u32].into_iter().chain(tags.into_iter().flatten());
    let mut bytes: Vec<u8> = numbers.flat_map(u32::to_be_bytes).collect();
    bytes.extend(data);
    bytes
}

/// Packages of all sizes: some of one page, one of many, and enough of them for pages of pages.
fn headers() -> Vec<Vec<u8>> {
    let mut all = vec![
        header_of("bash", "5.2.26", "3.fc40", None, 0),
        header_of("shadow-utils", "4.15.1", "3.fc40", Some(2), 3_900),
        header_of("kernel", "6.8", "1", Some(0), 300_000),
        header_of("gpg-pubkey", "a15b79cc", "63d04c2c", None, 10),
    ];
    all.extend((0..600).map(|number| header_of(&format!("lib{number}"), "1", "1", None, number * 7)));
    all
}

fn sqlite(headers: &[Vec<u8>]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rpmdb.sqlite");
    let database = rusqlite::Connection::open(&path).unwrap();
    database
        .execute_batch(
            "CREATE TABLE 'Name' (key 'TEXT' NOT NULL, hnum INTEGER NOT NULL);
             CREATE TABLE 'Packages' (hnum INTEGER PRIMARY KEY AUTOINCREMENT, blob BLOB NOT NULL);
             CREATE INDEX 'n' ON 'Name'(key ASC);",
        )
        .unwrap();
    for header in headers {
        database.execute("INSERT INTO Packages (blob) VALUES (?1)", [header]).unwrap();
        database.execute("INSERT INTO Name VALUES ('x', 1)", []).unwrap();
    }
    database.close().unwrap();
    std::fs::read(path).unwrap()
}

fn ndb(headers: &[Vec<u8>]) -> Vec<u8> {
    let pages = (headers.len() + 3).div_ceil(256);
    let mut file = vec![0; pages * 4096];
    for place in 0..pages * 256 {
        file[place * 16..place * 16 + 4].copy_from_slice(b"Slot");
    }
    let put = |file: &mut Vec<u8>, at: usize, numbers: &[u32]| {
        for (step, number) in numbers.iter().enumerate() {
            file[at + step * 4..at + step * 4 + 4].copy_from_slice(&number.to_le_bytes());
        }
    };
    file[..4].copy_from_slice(b"RpmP");
    put(&mut file, 4, &[0, 7, pages as u32, headers.len() as u32 + 1, 0, 0, 0]);
    for (number, header) in headers.iter().enumerate() {
        let (at, package) = (file.len(), number as u32 + 1);
        let units = (16 + header.len() + 12).div_ceil(16);
        file.resize(at + units * 16, 0);
        file[at..at + 4].copy_from_slice(b"BlbS");
        put(&mut file, at + 4, &[package, 7, header.len() as u32]);
        file[at + 16..at + 16 + header.len()].copy_from_slice(header);
        // A slot that is free stands between the others.
        let slot = (number + 3) * 16;
        put(&mut file, slot + 4, &[package, (at / 16) as u32, units as u32]);
    }
    file
}

fn bdb(headers: &[Vec<u8>]) -> Vec<u8> {
    const PAGE: usize = 4096;
    let mut file = vec![0_u8; PAGE];
    file[12..16].copy_from_slice(&0x0006_1561_u32.to_le_bytes());
    file[20..24].copy_from_slice(&(PAGE as u32).to_le_bytes());
    file[25] = 8;
    for (number, header) in headers.iter().enumerate() {
        let first = (file.len() / PAGE) as u32;
        let chunks: Vec<_> = header.chunks(PAGE - 26).collect();
        for (at, chunk) in chunks.iter().enumerate() {
            let mut page = vec![0; PAGE];
            let next = if at + 1 < chunks.len() { first + at as u32 + 1 } else { 0 };
            page[16..20].copy_from_slice(&next.to_le_bytes());
            page[22..24].copy_from_slice(&(chunk.len() as u16).to_le_bytes());
            page[25] = 7;
            page[26..26 + chunk.len()].copy_from_slice(chunk);
            file.extend(page);
        }
        // A pair a page: the key's four bytes at the end, the value before them; the first page has the counter as well.
        let mut page = vec![0; PAGE];
        let counter = number == 0;
        page[20..22].copy_from_slice(&(if counter { 4_u16 } else { 2 }).to_le_bytes());
        page[25] = if counter { 13 } else { 2 };
        let mut at = PAGE;
        let mut items: Vec<Vec<u8>> = vec![vec![1, 1, 0, 0, 0], {
            let mut value = vec![3, 0, 0, 0];
            value.extend(first.to_le_bytes());
            value.extend((header.len() as u32).to_le_bytes());
            value
        }];
        if counter {
            items.extend([vec![1, 0, 0, 0, 0], vec![1, 9, 0, 0, 0]]);
        }
        for (place, item) in items.iter().enumerate() {
            at -= item.len();
            page[at..at + item.len()].copy_from_slice(item);
            page[26 + place * 2..28 + place * 2].copy_from_slice(&(at as u16).to_le_bytes());
        }
        file.extend(page);
    }
    file
}

fn read(database: Database, file: &[u8]) -> Inventory {
    let mut inventory = Inventory::default();
    inventory.read(Database::OsRelease, "etc/os-release", &&b"ID=fedora\nVERSION_ID=40\n"[..]).unwrap();
    inventory.read(database, PATH, &file).unwrap();
    inventory
}

#[test]
fn every_form_has_the_same_packages() {
    let headers = headers();
    let forms = [
        (Database::RpmSqlite, sqlite(&headers)),
        (Database::RpmNdb, ndb(&headers)),
        (Database::RpmBdb, bdb(&headers)),
    ];
    for (form, file) in forms {
        let inventory = read(form, &file);
        assert_eq!(inventory.left_out().collect::<Vec<_>>(), [""; 0], "{form:?}");
        // All but the key.
        assert_eq!(inventory.packages().count(), headers.len() - 1, "{form:?}");
        let url = |name: &str| {
            let package = inventory.packages().find(|package| package.name == name).unwrap();
            assert_eq!(package.licence.as_deref(), Some("MIT"));
            inventory.url(package)
        };
        assert_eq!(url("bash"), "pkg:rpm/fedora/bash@5.2.26-3.fc40?arch=x86_64&distro=fedora-40");
        assert_eq!(
            url("shadow-utils"),
            "pkg:rpm/fedora/shadow-utils@4.15.1-3.fc40?arch=x86_64&distro=fedora-40&epoch=2"
        );
        assert_eq!(url("kernel"), "pkg:rpm/fedora/kernel@6.8-1?arch=x86_64&distro=fedora-40");
    }
}

#[test]
fn what_is_damaged_is_told_and_the_rest_is_read() {
    let mut headers = headers();
    headers.truncate(3);
    headers.insert(1, header_of("cut", "1", "1", None, 90)[..60].to_vec());
    headers.insert(1, vec![0xff; 40]);
    for (form, file) in [(Database::RpmSqlite, sqlite(&headers)), (Database::RpmNdb, ndb(&headers))] {
        let inventory = read(form, &file);
        assert_eq!(inventory.packages().count(), 3, "{form:?}");
        let told = format!("{PATH}: 2 entries that cannot be read");
        assert_eq!(inventory.left_out().collect::<Vec<_>>(), [told], "{form:?}");
    }
    for form in [Database::RpmSqlite, Database::RpmNdb, Database::RpmBdb] {
        for file in [&b""[..], b"SQLite format 3\0", &[b'x'; 5000]] {
            let inventory = read(form, file);
            assert_eq!((inventory.packages().count(), inventory.left_out().count()), (0, 1), "{form:?}");
        }
    }
}

#[test]
fn pages_that_name_each_other_in_a_ring_end() {
    // The root of the table is a page of pages; all its children become itself.
    let mut file = sqlite(&headers());
    let size = usize::from(u16::from_be_bytes([file[16], file[17]]));
    let rings: Vec<usize> = (1..file.len() / size).filter(|page| file[page * size] == 0x05).collect();
    assert!(!rings.is_empty());
    for page in rings {
        let number = (page as u32 + 1).to_be_bytes();
        file[page * size + 8..page * size + 12].copy_from_slice(&number);
    }
    let left: Vec<_> = read(Database::RpmSqlite, &file).left_out().map(str::to_owned).collect();
    assert_eq!(left, [format!("{PATH}: a page is named twice")]);

    // A chain whose first page is also its next.
    let mut file = bdb(&headers()[2..3]);
    file[4096 + 16..4096 + 20].copy_from_slice(&1_u32.to_le_bytes());
    let left: Vec<_> = read(Database::RpmBdb, &file).left_out().map(str::to_owned).collect();
    assert_eq!(left, [format!("{PATH}: a page is named twice")]);

    // Slots that all name the same large header.
    let mut file = ndb(&headers());
    let kernel = file[(2 + 3) * 16..(2 + 4) * 16].to_vec();
    for slot in 3..600 {
        file[slot * 16..slot * 16 + 16].copy_from_slice(&kernel);
    }
    let left: Vec<_> = read(Database::RpmNdb, &file).left_out().map(str::to_owned).collect();
    assert_eq!(left, [format!("{PATH}: headers overlap")]);
}

proptest! {
    #[test]
    fn databases_with_wrong_bytes_are_read_without_harm(
        wrong in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..24),
        near in proptest::collection::vec((0_usize..300, any::<u8>()), 0..6),
        cut in any::<prop::sample::Index>(),
        whole in any::<bool>(),
    ) {
        thread_local! {
            static FILES: [(Database, Vec<u8>); 3] = {
                let headers = &headers()[..80];
                [
                    (Database::RpmSqlite, sqlite(headers)),
                    (Database::RpmNdb, ndb(headers)),
                    (Database::RpmBdb, bdb(headers)),
                ]
            };
        }
        let files = FILES.with(Clone::clone);
        for (form, mut file) in files {
            for (at, byte) in &wrong {
                let at = at.index(file.len());
                file[at] = *byte;
            }
            for (at, byte) in &near {
                file[*at] = *byte;
            }
            if !whole {
                file.truncate(cut.index(file.len()));
            }
            let inventory = read(form, &file);
            prop_assert!(inventory.packages().count() <= 80);
        }
    }
}
