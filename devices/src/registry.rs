//! All devices of a machine, and what requests come to.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use rbuild_model::truth::parse_bool;
use rustix::fs::{Mode, OFlags};

use super::file::{self, Device, Document, is_kind};
use super::{DeviceError, Given};

/// The annotation by which a device belongs to a class besides its own kind.
const CLASS: &str = "org.mobyproject.buildkit.device.class";

/// The annotation by which whoever wrote the file lets every build have a device.
const ALLOWED: &str = "org.mobyproject.buildkit.device.autoallow";

/// The devices of a machine.
#[derive(Debug, Default)]
pub struct Registry {
    files: Vec<File>,
    /// By full name: the file, and the device in it.
    devices: BTreeMap<String, (usize, usize)>,
    /// What is wrong with files that were left out.
    problems: Vec<String>,
}

#[derive(Debug)]
struct File {
    path: PathBuf,
    /// The place of its folder: what a later folder says of a device counts.
    folder: usize,
    document: Document,
}

impl Registry {
    /// Reads the files of folders; those that are not there have none. A file that cannot be read is left out.
    pub fn load(folders: &[PathBuf]) -> Self {
        let mut registry = Self::default();
        for (number, folder) in folders.iter().enumerate() {
            for path in registry.list(folder) {
                match read(&path) {
                    Ok(document) => registry.files.push(File { path, folder: number, document }),
                    Err(why) => registry.problem(format!("`{}` is left out: {why}", path.display())),
                }
            }
        }
        registry.index();
        registry
    }

    fn list(&mut self, folder: &Path) -> Vec<PathBuf> {
        let entries = match std::fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Vec::new(),
            Err(error) => {
                self.problem(format!("cannot list `{}`: {error}", folder.display()));
                return Vec::new();
            }
        };
        let mut paths: Vec<PathBuf> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|ending| ending == "json" || ending == "yaml"))
            .collect();
        paths.sort();
        paths
    }

    fn index(&mut self) {
        let mut doubtful = BTreeSet::new();
        for (at, file) in self.files.iter().enumerate() {
            for (position, device) in file.document.devices.iter().enumerate() {
                let name = format!("{}={}", file.document.kind, device.name);
                match self.devices.get(&name) {
                    Some((other, _)) if self.files[*other].folder == file.folder => {
                        let other = self.files[*other].path.display();
                        self.problems.push(format!(
                            "device {name} is left out: both `{other}` and `{}` have it",
                            file.path.display()
                        ));
                        doubtful.insert(name);
                    }
                    _ => {
                        self.devices.insert(name, (at, position));
                    }
                }
            }
        }
        self.devices.retain(|name, _| !doubtful.contains(name));
    }

    fn problem(&mut self, text: String) {
        self.problems.push(text);
    }

    /// Returns what is wrong with files that were left out.
    pub fn problems(&self) -> &[String] {
        &self.problems
    }

    /// Returns the full names of what a request means; none if there is no such device.
    pub fn find(&self, request: &str) -> Result<Vec<String>, DeviceError> {
        let (kind, name) = request.split_once('=').unwrap_or((request, ""));
        if !is_kind(kind) {
            return Err(DeviceError::Name { name: request.to_owned() });
        }
        let prefix = format!("{kind}=");
        let mut of_kind = self.devices.keys().filter(|known| known.starts_with(&prefix));
        Ok(match name {
            "" => of_kind.next().cloned().into_iter().collect(),
            "*" => of_kind.cloned().collect(),
            _ if self.devices.contains_key(request) => vec![request.to_owned()],
            class => of_kind.filter(|known| self.annotation(known, CLASS) == Some(class)).cloned().collect(),
        })
    }

    /// Whether there is a device of this full name.
    pub fn has(&self, name: &str) -> bool {
        self.devices.contains_key(name)
    }

    /// Whether every build may have a device, as its file says.
    pub fn is_free(&self, name: &str) -> bool {
        self.annotation(name, ALLOWED).and_then(parse_bool).unwrap_or(false)
    }

    fn annotation(&self, name: &str, key: &str) -> Option<&str> {
        let (file, device) = self.get(name)?;
        device.annotations.get(key).or_else(|| file.document.annotations.get(key)).map(String::as_str)
    }

    fn get(&self, name: &str) -> Option<(&File, &Device)> {
        let (file, device) = self.devices.get(name)?;
        let file = &self.files[*file];
        Some((file, &file.document.devices[*device]))
    }

    /// Returns what a process is given that gets devices. What a file says of all its devices comes once, before them.
    pub fn given(&self, names: &[String]) -> Result<Given, DeviceError> {
        let mut given = Given::default();
        let mut begun: Vec<&Path> = Vec::new();
        for name in names {
            let Some((file, device)) = self.get(name) else { continue };
            if !begun.contains(&&*file.path) {
                begun.push(&file.path);
                given.add(name, &file.path, &file.document.edits)?;
            }
            given.add(name, &file.path, &device.edits)?;
        }
        Ok(given)
    }
}

fn read(path: &Path) -> Result<Document, String> {
    use std::io::Read as _;
    let open = || {
        // A pipe in its place is not waited for.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = std::fs::File::from(rustix::fs::open(path, flags, Mode::empty())?);
        if !file.metadata()?.is_file() {
            return Err(std::io::Error::other("it is no file"));
        }
        let mut text = String::new();
        file.take(file::MAX_BYTES + 1).read_to_string(&mut text)?;
        Ok(text)
    };
    let text = open().map_err(|error: std::io::Error| error.to_string())?;
    if text.len() as u64 > file::MAX_BYTES {
        return Err(format!("it is larger than {} MiB", file::MAX_BYTES >> 20));
    }
    file::read(&path.display().to_string(), &text)
}
