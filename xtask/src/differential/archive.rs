//! An image archive and the tree its layers make, read by code that shares nothing with rbuild's own.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufReader, Read, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

/// An archive as `save` or an exporter writes it.
pub(super) struct Archive {
    path: PathBuf,
    /// Where each file of the archive lies: offset and length.
    places: HashMap<String, (u64, u64)>,
    /// The image's config document.
    pub(super) config: Value,
    /// The archive's names of the layers, lowest first.
    layers: Vec<String>,
}

/// What a path is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File { size: u64, hash: blake3::Hash },
    Folder,
    Link(String),
    Device { block: bool, major: u32, minor: u32 },
    Fifo,
}

/// A file of the tree; several paths can lead to it.
#[derive(Clone, Debug)]
pub(super) struct Inode {
    pub(super) kind: Kind,
    pub(super) mode: u32,
    pub(super) owner: (u64, u64),
    pub(super) time: u64,
    pub(super) attributes: BTreeMap<String, Vec<u8>>,
}

/// The tree that layers make.
#[derive(Clone, Debug, Default)]
pub(super) struct Tree {
    pub(super) inodes: Vec<Inode>,
    /// From path, without a leading slash, to the place in `inodes`.
    pub(super) paths: BTreeMap<String, usize>,
}

/// What extended headers say of an entry.
type Records = BTreeMap<String, Vec<u8>>;

impl Archive {
    /// Reads the table of contents and the documents.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let mut archive =
            Self { path: path.to_owned(), places: HashMap::new(), config: Value::Null, layers: Vec::new() };
        let mut reader = tar::Archive::new(archive.file()?);
        for entry in reader.entries_with_seek()? {
            let entry = entry.with_context(|| format!("failed to read {}", path.display()))?;
            let name = clean(&entry.path_bytes());
            archive.places.insert(name, (entry.raw_file_position(), entry.size()));
        }
        let config = if archive.places.contains_key("manifest.json") {
            let manifest = archive.document("manifest.json")?;
            archive.layers = strings(&manifest[0]["Layers"], None);
            manifest[0]["Config"].as_str().context("manifest.json names no config")?.to_owned()
        } else {
            let mut manifest = archive.document("index.json")?;
            while let Some(digest) = manifest["manifests"][0]["digest"].as_str() {
                manifest = archive.document(&blob(digest))?;
            }
            archive.layers =
                strings(&manifest["layers"], Some("digest")).iter().map(|digest| blob(digest)).collect();
            blob(manifest["config"]["digest"].as_str().context("the manifest names no config")?)
        };
        archive.config = archive.document(&config)?;
        Ok(archive)
    }

    /// The layers' content, by the digests of their tars.
    pub(super) fn diff_ids(&self) -> Vec<String> {
        strings(&self.config["rootfs"]["diff_ids"], None)
    }

    /// The number of layers.
    pub(super) fn len(&self) -> usize {
        self.layers.len()
    }

    /// Lays the layer at `index` over `tree`.
    pub(super) fn lay(&self, index: usize, tree: &mut Tree) -> Result<()> {
        let name = &self.layers[index];
        self.lay_blob(name, tree).with_context(|| format!("layer {name} of {}", self.path.display()))
    }

    fn lay_blob(&self, name: &str, tree: &mut Tree) -> Result<()> {
        // Whiteouts remove what lower layers hold, never what their own layer brings: two passes.
        let mut upper = Tree::default();
        let mut whiteouts = Vec::new();
        let mut hard = Vec::new();
        let mut reader = tar::Archive::new(self.plain(name)?);
        let mut records = Records::new();
        for entry in reader.entries()?.raw(true) {
            let mut entry = entry?;
            let kind = entry.header().entry_type();
            if take_records(&mut entry, kind, &mut records)? {
                continue;
            }
            let records = std::mem::take(&mut records);
            let path = match records.get("path") {
                Some(path) => clean(path),
                None => clean(&entry.path_bytes()),
            };
            let (parent, last) = path.rsplit_once('/').unwrap_or(("", &path));
            if last == ".wh..wh..opq" {
                whiteouts.push((parent.to_owned(), true));
                continue;
            }
            if let Some(hidden) = last.strip_prefix(".wh.") {
                let path = if parent.is_empty() { hidden.to_owned() } else { format!("{parent}/{hidden}") };
                whiteouts.push((path, false));
                continue;
            }
            if entry.header().entry_type() == tar::EntryType::Link {
                hard.push((path, clean(&target(&entry, &records)?)));
                continue;
            }
            let inode = inode(&mut entry, &records).with_context(|| format!("entry {path}"))?;
            upper.paths.insert(path, upper.inodes.len());
            upper.inodes.push(inode);
        }
        for (path, opaque) in whiteouts {
            tree.remove(&path, opaque);
        }
        for (path, place) in upper.paths {
            tree.put(&path, upper.inodes[place].clone());
        }
        for (path, target) in hard {
            let place =
                *tree.paths.get(&target).with_context(|| format!("hard link {path} to nothing, {target}"))?;
            tree.remove(&path, false);
            tree.paths.insert(path, place);
        }
        Ok(())
    }

    fn file(&self) -> Result<BufReader<File>> {
        let file =
            File::open(&self.path).with_context(|| format!("failed to open {}", self.path.display()))?;
        Ok(BufReader::with_capacity(1 << 20, file))
    }

    fn part(&self, name: &str) -> Result<std::io::Take<BufReader<File>>> {
        let &(offset, length) =
            self.places.get(name).with_context(|| format!("{} holds no {name}", self.path.display()))?;
        let mut file = self.file()?;
        file.seek(SeekFrom::Start(offset))?;
        Ok(file.take(length))
    }

    fn document(&self, name: &str) -> Result<Value> {
        serde_json::from_reader(self.part(name)?).with_context(|| format!("failed to parse {name}"))
    }

    fn plain(&self, name: &str) -> Result<Box<dyn Read>> {
        let mut magic = [0; 4];
        self.part(name)?.read_exact(&mut magic)?;
        Ok(match magic {
            [0x1f, 0x8b, ..] => Box::new(flate2::read::MultiGzDecoder::new(self.part(name)?)),
            [0x28, 0xb5, 0x2f, 0xfd] => bail!("zstd layers are not read here"),
            _ => Box::new(self.part(name)?),
        })
    }
}

impl Tree {
    /// The paths that share each file that several lead to, by path.
    pub(super) fn groups(&self) -> HashMap<&str, Vec<&str>> {
        let mut by_place: HashMap<usize, Vec<&str>> = HashMap::new();
        for (path, &place) in &self.paths {
            by_place.entry(place).or_default().push(path);
        }
        let mut groups = HashMap::new();
        for group in by_place.into_values().filter(|group| group.len() > 1) {
            for &path in &group {
                groups.insert(path, group.clone());
            }
        }
        groups
    }

    fn put(&mut self, path: &str, inode: Inode) {
        if inode.kind != Kind::Folder {
            self.remove(path, false);
        }
        self.paths.insert(path.to_owned(), self.inodes.len());
        self.inodes.push(inode);
    }

    /// Removes what is below `path`, and `path` itself unless only its contents are meant.
    fn remove(&mut self, path: &str, contents: bool) {
        let below = if path.is_empty() { String::new() } else { format!("{path}/") };
        let gone: Vec<String> = self
            .paths
            .range(below.clone()..)
            .take_while(|(name, _)| name.starts_with(&below))
            .filter(|(name, _)| !name.is_empty())
            .map(|(name, _)| name.clone())
            .collect();
        for name in gone {
            self.paths.remove(&name);
        }
        if !contents {
            self.paths.remove(path);
        }
    }
}

/// Takes in an entry that only describes the next one; tells whether it was one.
fn take_records<R: Read>(
    entry: &mut tar::Entry<'_, R>,
    kind: tar::EntryType,
    records: &mut Records,
) -> Result<bool> {
    let mut text = Vec::new();
    if kind.is_pax_local_extensions() || kind.is_gnu_longname() || kind.is_gnu_longlink() {
        entry.read_to_end(&mut text)?;
    }
    if kind.is_pax_local_extensions() {
        records.extend(records_of(&text)?);
        anyhow::ensure!(!records.contains_key("size"), "a file of more than 8 GiB is not read here");
    } else if kind.is_gnu_longname() || kind.is_gnu_longlink() {
        text.truncate(text.iter().position(|&byte| byte == 0).unwrap_or(text.len()));
        let key = if kind.is_gnu_longname() { "path" } else { "linkpath" };
        records.insert(key.to_owned(), text);
    } else {
        return Ok(kind.is_pax_global_extensions());
    }
    Ok(true)
}

/// Where a link leads.
fn target<R: Read>(entry: &tar::Entry<'_, R>, records: &Records) -> Result<Vec<u8>> {
    let target = records.get("linkpath").cloned();
    target
        .or_else(|| entry.link_name_bytes().map(|name| name.into_owned()))
        .context("a link without a target")
}

fn number(records: &Records, key: &str) -> Option<u64> {
    std::str::from_utf8(records.get(key)?).ok()?.parse().ok()
}

/// Reads the records of an extended header by their lengths: values hold any bytes, newlines too.
fn records_of(mut text: &[u8]) -> Result<Records> {
    let mut records = Records::new();
    while !text.is_empty() {
        let blank = text.iter().position(|&byte| byte == b' ').context("a record without a length")?;
        let length: usize = std::str::from_utf8(&text[..blank])?.parse().context("a length that is none")?;
        let record = text.get(blank + 1..length).context("a record that is longer than its header")?;
        let record = record.strip_suffix(b"\n").context("a record without an end")?;
        let sign = record.iter().position(|&byte| byte == b'=').context("a record without a value")?;
        records.insert(String::from_utf8_lossy(&record[..sign]).into_owned(), record[sign + 1..].to_vec());
        text = &text[length..];
    }
    Ok(records)
}

fn inode<R: Read>(entry: &mut tar::Entry<'_, R>, records: &Records) -> Result<Inode> {
    let mut attributes = BTreeMap::new();
    let mut size = entry.size();
    for (key, value) in records {
        if let Some(name) = key.strip_prefix("SCHILY.xattr.") {
            attributes.insert(name.to_owned(), value.clone());
        }
    }
    let header = entry.header().clone();
    let kind = match header.entry_type() {
        tar::EntryType::Regular | tar::EntryType::Continuous => {
            let mut hasher = blake3::Hasher::new();
            size = std::io::copy(entry, &mut hasher)?.max(size);
            Kind::File { size, hash: hasher.finalize() }
        }
        tar::EntryType::Directory => Kind::Folder,
        tar::EntryType::Symlink => Kind::Link(String::from_utf8_lossy(&target(entry, records)?).into_owned()),
        tar::EntryType::Fifo => Kind::Fifo,
        kind @ (tar::EntryType::Char | tar::EntryType::Block) => Kind::Device {
            block: kind == tar::EntryType::Block,
            major: header.device_major()?.unwrap_or(0),
            minor: header.device_minor()?.unwrap_or(0),
        },
        other => bail!("unknown type {other:?}"),
    };
    Ok(Inode {
        kind,
        mode: header.mode()? & 0o7777,
        owner: (
            number(records, "uid").map_or_else(|| header.uid(), Ok)?,
            number(records, "gid").map_or_else(|| header.gid(), Ok)?,
        ),
        time: header.mtime()?,
        attributes,
    })
}

/// A path of an archive without what does not count.
fn clean(path: &[u8]) -> String {
    let path = String::from_utf8_lossy(path);
    let mut path = path.as_ref();
    while let Some(rest) = path.strip_prefix("./").or_else(|| path.strip_prefix('/')) {
        path = rest;
    }
    let path = path.trim_end_matches('/');
    if path == "." { String::new() } else { path.to_owned() }
}

fn blob(digest: &str) -> String {
    format!("blobs/{}", digest.replace(':', "/"))
}

fn strings(list: &Value, key: Option<&str>) -> Vec<String> {
    list.as_array()
        .map(Vec::as_slice)
        .unwrap_or_default()
        .iter()
        .filter_map(|value| key.map_or(value, |key| &value[key]).as_str())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_as_long_as_they_say() {
        let found = records_of(b"16 path=/a\n12=3\n16 SCHILY.x=\xff\n=\n").unwrap();
        assert_eq!(found["path"], b"/a\n12=3");
        assert_eq!(found["SCHILY.x"], b"\xff\n=");
        for text in [&b"9 a=b\n"[..], b"x a=b\n", b"6 a=bc", b"5 ab\n", b"1 a=b\n"] {
            assert!(records_of(text).is_err(), "{text:?}");
        }
    }
}
