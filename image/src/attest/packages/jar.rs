//! Archives of Java: what Maven wrote into them when it made them, else what their names and manifests say. Archives within
//! archives are read as well, since that is how applications come.
//!
//! An archive is a ZIP, whose list of entries stands at its end.

use std::io::{self, Read as _};

use super::pieces::{Pieces, Trouble, exactly, le16, le32};
use super::{Ecosystem, Found, More};

/// Bytes of the record at the end, without the remark that may follow it.
const END: usize = 22;
/// Bytes of the longest remark.
const MOST_REMARK: usize = 0xffff;
/// Bytes of the list of entries.
const MOST_LIST: u32 = 32 << 20;
/// Bytes of a description.
const MOST_DESCRIPTION: u32 = 1 << 20;
/// Bytes of an archive within an archive that is compressed, and so has to be in memory.
const MOST_INNER: u32 = 32 << 20;
/// Bytes that are read of one archive: entries may be one in the other, over and over.
const MOST_READ: u64 = 1 << 30;
/// How deep archives in archives are read: a library in an application in a bundle of applications.
const MOST_DEPTH: usize = 3;

/// Whether a file is called as archives of Java are.
pub(super) fn is_called_so(name: &str) -> bool {
    [".jar", ".war", ".ear"].iter().any(|ending| name.ends_with(ending))
}

/// Takes in what an archive says that it is, and what it says of those within it.
pub(super) fn archive(file: &dyn Pieces, found: &mut Found<'_>) -> Result<(), Trouble> {
    let mut left = MOST_READ;
    within(file, found, &mut left, 0)
}

fn within(file: &dyn Pieces, found: &mut Found<'_>, left: &mut u64, depth: usize) -> Result<(), Trouble> {
    let list = List::read(file, left)?;
    let mut is_known = false;
    let mut manifest = None;
    for entry in list.entries() {
        let Some(entry) = entry else {
            found.damaged += 1;
            break;
        };
        if entry.name.starts_with("META-INF/maven/") && entry.name.ends_with("/pom.properties") {
            match entry.contents(file, MOST_DESCRIPTION, left) {
                Ok(bytes) => is_known |= maven(&bytes, found),
                Err(Trouble::Form(_)) => found.damaged += 1,
                Err(error) => return Err(error),
            }
        } else if entry.name == "META-INF/MANIFEST.MF" {
            manifest = Some(entry);
        } else if is_called_so(&entry.name) {
            inner(file, &entry, found, left, depth)?;
        }
    }
    if !is_known {
        let manifest = manifest.map(|entry| entry.contents(file, MOST_DESCRIPTION, left)).transpose();
        let manifest = match manifest {
            Ok(bytes) => bytes.unwrap_or_default(),
            Err(Trouble::Form(_)) => Vec::new(),
            Err(error) => return Err(error),
        };
        by_name(&String::from_utf8_lossy(&manifest), found);
    }
    Ok(())
}

/// Reads an archive that lies in another one.
fn inner(
    file: &dyn Pieces,
    entry: &Entry,
    found: &mut Found<'_>,
    left: &mut u64,
    depth: usize,
) -> Result<(), Trouble> {
    let path = format!("{}!/{}", found.path, entry.name);
    if depth + 1 >= MOST_DEPTH {
        found.inventory.leave_out(&path, "too deep in other archives");
        return Ok(());
    }
    let mut within_it = Found { path: &path, inventory: &mut *found.inventory, damaged: 0 };
    let read = if entry.is_stored() {
        entry.place(file).and_then(|at| {
            within(&Part { file, at, length: entry.packed.into() }, &mut within_it, left, depth + 1)
        })
    } else {
        entry
            .contents(file, MOST_INNER, left)
            .and_then(|bytes| within(&bytes.as_slice(), &mut within_it, left, depth + 1))
    };
    found.damaged += within_it.damaged;
    match read {
        Err(Trouble::Form(why)) => {
            found.inventory.leave_out(&path, why);
            Ok(())
        }
        read => read,
    }
}

/// A part of a file.
struct Part<'a> {
    file: &'a dyn Pieces,
    at: u64,
    length: u64,
}

impl Pieces for Part<'_> {
    fn length(&self) -> u64 {
        self.length
    }

    fn piece(&self, at: u64, most: usize) -> io::Result<Vec<u8>> {
        let left = usize::try_from(self.length.saturating_sub(at)).unwrap_or(usize::MAX);
        self.file.piece(self.at.saturating_add(at), most.min(left))
    }
}

/// The list of the entries of an archive.
struct List {
    bytes: Vec<u8>,
    /// How many bytes stand before the archive: a program that unpacks it, perhaps.
    before: u64,
}

/// An entry: what it is called, how it is packed and where it stands.
struct Entry {
    name: String,
    method: u16,
    packed: u32,
    size: u32,
    at: u64,
}

impl List {
    fn read(file: &dyn Pieces, left: &mut u64) -> Result<Self, Trouble> {
        let tail_at = file.length().saturating_sub((END + MOST_REMARK) as u64);
        let tail = file.piece(tail_at, END + MOST_REMARK)?;
        let end = tail.windows(END).rposition(|window| window.starts_with(b"PK\x05\x06"));
        let end = end.ok_or(Trouble::Form("no archive: it has no list of entries"))?;
        let (Some(size), Some(at)) = (le32(&tail, end + 12), le32(&tail, end + 16)) else {
            return Err(Trouble::Form("cut short"));
        };
        if at == u32::MAX || size > MOST_LIST {
            return Err(Trouble::Form("its list of entries is too large"));
        }
        let list_at = (tail_at + end as u64).checked_sub(size.into());
        let before = list_at.and_then(|list_at| list_at.checked_sub(at.into()));
        let (Some(list_at), Some(before)) = (list_at, before) else {
            return Err(Trouble::Form("its list of entries is not where it says"));
        };
        spend(left, size)?;
        Ok(Self { bytes: exactly(file, list_at, size as usize)?, before })
    }

    /// The entries in order; nothing in the place of the first one that cannot be read.
    fn entries(&self) -> impl Iterator<Item = Option<Entry>> + '_ {
        let mut at = 0;
        let mut is_over = false;
        std::iter::from_fn(move || {
            if is_over || at >= self.bytes.len() {
                return None;
            }
            let read = self.entry(at);
            is_over = read.is_none();
            Some(read.map(|(entry, next)| {
                at = next;
                entry
            }))
        })
    }

    fn entry(&self, at: usize) -> Option<(Entry, usize)> {
        let bytes = self.bytes.get(at..)?;
        if !bytes.starts_with(b"PK\x01\x02") {
            return None;
        }
        let length = |at| le16(bytes, at).map(usize::from);
        let name_end = 46 + length(28)?;
        let entry = Entry {
            name: String::from_utf8_lossy(bytes.get(46..name_end)?).into_owned(),
            method: le16(bytes, 10)?,
            packed: le32(bytes, 20)?,
            size: le32(bytes, 24)?,
            at: self.before + u64::from(le32(bytes, 42)?),
        };
        Some((entry, at + name_end + length(30)? + length(32)?))
    }
}

impl Entry {
    fn is_stored(&self) -> bool {
        self.method == 0
    }

    /// Finds where the contents begin: behind a head that repeats the name.
    fn place(&self, file: &dyn Pieces) -> Result<u64, Trouble> {
        let head = exactly(file, self.at, 30)?;
        let (Some(name), Some(extra)) = (le16(&head, 26), le16(&head, 28)) else {
            return Err(Trouble::Form("cut short"));
        };
        if !head.starts_with(b"PK\x03\x04") {
            return Err(Trouble::Form("an entry is not where its list says"));
        }
        Ok(self.at + 30 + u64::from(name) + u64::from(extra))
    }

    fn contents(&self, file: &dyn Pieces, most: u32, left: &mut u64) -> Result<Vec<u8>, Trouble> {
        if self.size > most || self.packed > most {
            return Err(Trouble::Form("too large"));
        }
        spend(left, self.size.max(self.packed))?;
        let packed = exactly(file, self.place(file)?, self.packed as usize)?;
        match self.method {
            0 => Ok(packed),
            8 => {
                let mut bytes = Vec::new();
                let mut inflated =
                    flate2::read::DeflateDecoder::new(&packed[..]).take(u64::from(self.size) + 1);
                match inflated.read_to_end(&mut bytes) {
                    Ok(count) if count as u64 == u64::from(self.size) => Ok(bytes),
                    _ => Err(Trouble::Form("damaged")),
                }
            }
            _ => Err(Trouble::Form("packed in a way that is not read")),
        }
    }
}

/// Takes bytes from what may still be read.
fn spend(left: &mut u64, bytes: u32) -> Result<(), Trouble> {
    *left = left.checked_sub(bytes.into()).ok_or(Trouble::Form("there is too much in it"))?;
    Ok(())
}

/// Takes in what Maven wrote; tells whether it says what this is.
fn maven(bytes: &[u8], found: &mut Found<'_>) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let field = |name: &str| {
        let mut pairs = text.lines().filter_map(|line| line.split_once('='));
        pairs.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim())
    };
    let (Some(group), Some(artifact), Some(version)) =
        (field("groupId"), field("artifactId"), field("version"))
    else {
        found.damaged += 1;
        return false;
    };
    found.add(Ecosystem::Maven, &format!("{group}:{artifact}"), version, More::default());
    true
}

/// Takes in a library of which only the name of its file, and perhaps its manifest, says what it is: `NAME-1.2.jar`. What
/// has no version is no library that others know.
fn by_name(manifest: &str, found: &mut Found<'_>) {
    let field = |name: &str| {
        let mut pairs = manifest.lines().filter_map(|line| line.split_once(": "));
        pairs.find(|(key, _)| *key == name).map(|(_, value)| value.trim()).filter(|value| !value.is_empty())
    };
    let file = found.path.rsplit('/').next().unwrap_or_default();
    let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
    let dash = stem.match_indices('-').map(|(at, _)| at);
    let named = dash.clone().find(|at| stem[at + 1..].starts_with(|c: char| c.is_ascii_digit()));
    let (artifact, version) = match named {
        Some(at) => (&stem[..at], Some(&stem[at + 1..])),
        None => (stem, field("Implementation-Version").or_else(|| field("Bundle-Version"))),
    };
    let Some(version) = version else { return };
    let group = field("Implementation-Vendor-Id").unwrap_or(artifact).to_owned();
    let (name, version) = (format!("{group}:{artifact}"), version.to_owned());
    found.add(Ecosystem::Maven, &name, &version, More::default());
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::super::{Database, Inventory};

    /// Writes an archive as `zip` does; what is called `*.txt` or is a description is compressed.
    fn zip(files: &[(&str, &[u8])]) -> Vec<u8> {
        let (mut out, mut list) = (b"#!/bin/sh\n".to_vec(), Vec::new());
        let before = out.len();
        for (name, bytes) in files {
            let deflated = !name.contains("/stored/");
            let packed = if deflated {
                let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(bytes).unwrap();
                encoder.finish().unwrap()
            } else {
                bytes.to_vec()
            };
            let at = (out.len() - before) as u32;
            let method = if deflated { 8_u16 } else { 0 };
            let mut common = Vec::new();
            common.extend([20, 0, 0, 0]);
            common.extend(method.to_le_bytes());
            common.extend([0; 8]);
            common.extend((packed.len() as u32).to_le_bytes());
            common.extend((bytes.len() as u32).to_le_bytes());
            common.extend((name.len() as u16).to_le_bytes());
            common.extend([0; 2]);
            out.extend(b"PK\x03\x04");
            out.extend(&common);
            out.extend(name.as_bytes());
            out.extend(&packed);
            list.extend(b"PK\x01\x02\x14\x00");
            list.extend(&common);
            list.extend([0; 10]);
            list.extend(at.to_le_bytes());
            list.extend(name.as_bytes());
        }
        let at = (out.len() - before) as u32;
        out.extend(&list);
        out.extend(b"PK\x05\x06\0\0\0\0\0\0\0\0");
        out.extend((list.len() as u32).to_le_bytes());
        out.extend(at.to_le_bytes());
        out.extend([2, 0, b'o', b'k']);
        out
    }

    fn read(path: &str, bytes: &[u8]) -> (Vec<String>, Vec<String>) {
        let mut inventory = Inventory::default();
        inventory.read(Database::at(path).unwrap(), path, &bytes).unwrap();
        let urls = inventory.packages().map(|package| inventory.url(package)).collect();
        (urls, inventory.left_out().map(str::to_owned).collect())
    }

    const POM: &[u8] = b"#made by Maven\r\nversion=2.17.1\r\ngroupId=org.example\r\nartifactId=log\r\n";

    #[test]
    fn archives_say_what_they_are_and_what_is_in_them() {
        let log = zip(&[("META-INF/maven/org.example/log/pom.properties", POM), ("a.class", b"x")]);
        let named = zip(&[("META-INF/MANIFEST.MF", b"Manifest-Version: 1.0\r\n")]);
        let told = zip(&[(
            "META-INF/MANIFEST.MF",
            b"Implementation-Version: 3.1\r\nImplementation-Vendor-Id: com.example\r\n",
        )]);
        let app = zip(&[
            ("BOOT-INF/stored/log.jar", &log),
            ("BOOT-INF/lib/some-lib-1.0-rc2.jar", &named),
            ("BOOT-INF/lib/told.jar", &told),
            ("BOOT-INF/lib/none.jar", b"no archive"),
        ]);
        let (urls, left_out) = read("opt/app.jar", &app);
        assert_eq!(
            urls,
            [
                "pkg:maven/com.example/told@3.1",
                "pkg:maven/org.example/log@2.17.1",
                "pkg:maven/some-lib/some-lib@1.0-rc2",
            ]
        );
        assert_eq!(left_out, ["opt/app.jar!/BOOT-INF/lib/none.jar: no archive: it has no list of entries"]);
        assert_eq!(read("opt/log-9.jar", &log).0, ["pkg:maven/org.example/log@2.17.1"], "Maven knows better");
    }

    #[test]
    fn damaged_and_endless_archives_are_left_out() {
        let mut deep = zip(&[("META-INF/maven/org.example/log/pom.properties", POM)]);
        for _ in 0..5 {
            deep = zip(&[("lib/stored/inner-1.jar", &deep)]);
        }
        assert!(read("a.jar", &deep).1[0].ends_with("too deep in other archives"));
        let good = zip(&[("META-INF/maven/org.example/log/pom.properties", POM), ("b.jar", &deep)]);
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0xff;
            read("a.jar", &bad);
            read("a.jar", &good[..at]);
        }
    }
}
