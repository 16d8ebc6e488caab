//! Configs and secrets: files that a service is given.
//!
//! A file of the host is seen read-only where it lies, so that what is edited there is seen at once; what comes from a
//! variable or from the compose file, and what is to belong to somebody else, is written into the container once.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::PathBuf;

use rbuild_image::tar::{Entry, EntryKind, EntryPath, Options, Timestamp, Writer};
use rbuild_model::container::{BindRecursion, MissingSource, Propagation};
use rbuild_model::digest::BlobDigest;
use rbuild_model::project::{FileGrant, FileObject, FileSource, Project, Service};
use rbuild_sandbox::Access;

use super::error::OperationError;
use crate::containers::{ContainerError, MountKind, MountRequest, ROOT};
use crate::projects::content::Contents;

/// The folder of secrets that say nothing of their place.
const SECRETS: &str = "/run/secrets";

/// The permissions of a file that says nothing of them.
const MODE: u32 = 0o444;

/// What a service is given.
#[derive(Clone, Debug, Default)]
pub(in crate::projects) struct Granted {
    /// Files of the host.
    pub(super) mounts: Vec<MountRequest>,
    /// Files that are written.
    files: Vec<Written>,
}

#[derive(Clone, Debug)]
struct Written {
    /// What people call it: its kind and its key.
    name: String,
    path: String,
    content: Vec<u8>,
    mode: u32,
    uid: u32,
    gid: u32,
}

/// Which kind a file is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Config,
    Secret,
}

impl Kind {
    const fn word(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Secret => "secret",
        }
    }

    /// Where a file is put.
    fn target(self, key: &str, target: Option<&str>) -> String {
        match (self, target.filter(|target| !target.is_empty())) {
            (_, Some(target)) if target.starts_with('/') => target.to_owned(),
            (Self::Secret, target) => format!("{SECRETS}/{}", target.unwrap_or(key)),
            (Self::Config, target) => format!("/{}", target.unwrap_or(key)),
        }
    }
}

impl Granted {
    /// The digests of what is written into a container, by what it is called.
    pub(in crate::projects) fn contents(&self) -> Contents {
        let digest = |file: &Written| (file.name.clone(), BlobDigest::of(&file.content).to_string());
        self.files.iter().map(digest).collect()
    }

    /// The files as archives, by the folder they are for: the root, or the target of the mount that they lie in.
    pub(super) fn archives(
        &self,
        mounts: &[MountRequest],
    ) -> Result<BTreeMap<String, Vec<u8>>, ContainerError> {
        let mut folders: BTreeMap<String, Vec<(&str, &Written)>> = BTreeMap::new();
        for file in &self.files {
            let (folder, path) = lying(&file.path, mounts);
            folders.entry(folder.to_owned()).or_default().push((path, file));
        }
        let archives = folders.into_iter().map(|(folder, files)| Ok((folder, archive(&files)?)));
        archives
            .collect::<Result<_, Box<dyn Error>>>()
            .map_err(|why| ContainerError::Invalid(why.to_string()))
    }
}

/// Returns the mount that a path lies in and the path in it, or the root: what begins empty with each start is not written
/// into.
fn lying<'a>(path: &'a str, mounts: &'a [MountRequest]) -> (&'a str, &'a str) {
    let inside = |target: &str| path.strip_prefix(target.trim_end_matches('/'))?.strip_prefix('/');
    let covering = mounts.iter().filter_map(|mount| Some((mount, inside(&mount.target)?)));
    match covering.max_by_key(|(mount, _)| mount.target.len()) {
        Some((mount, path)) if matches!(mount.kind, MountKind::Volume { .. } | MountKind::Bind { .. }) => {
            (&mount.target, path)
        }
        _ => (ROOT, path.trim_start_matches('/')),
    }
}

/// Returns what a service is given.
pub(in crate::projects) fn granted(project: &Project, service: &Service) -> Result<Granted, OperationError> {
    let mut granted = Granted::default();
    for grant in &service.configs {
        let object = project.configs.get(&grant.source);
        add(&mut granted, service, Kind::Config, grant, object, &project.environment)?;
    }
    for grant in &service.secrets {
        let object = project.secrets.get(&grant.source);
        add(&mut granted, service, Kind::Secret, grant, object, &project.environment)?;
    }
    if let (Some(first), true) = (granted.files.first(), service.read_only) {
        let name = first.path.clone();
        let why = "a container whose root is read-only can only be given files of the host: use `file`, without \
                   uid, gid and mode";
        return Err(OperationError::Grant {
            service: service.name.clone(),
            kind: "file",
            name,
            why: why.to_owned(),
        });
    }
    Ok(granted)
}

fn add<Key: std::fmt::Display>(
    granted: &mut Granted,
    service: &Service,
    kind: Kind,
    grant: &FileGrant<Key>,
    object: Option<&FileObject>,
    environment: &BTreeMap<String, String>,
) -> Result<(), OperationError> {
    let key = grant.source.to_string();
    let refused = |why: String| OperationError::Grant {
        service: service.name.clone(),
        kind: kind.word(),
        name: key.clone(),
        why,
    };
    let target = kind.target(&key, grant.target.as_deref());
    let is_plain = grant.uid.is_none() && grant.gid.is_none() && grant.mode.is_none();
    let content = match object.map(|object| &object.source) {
        Some(FileSource::File(path)) if is_plain => {
            granted.mounts.push(seen(target, path.clone()));
            return Ok(());
        }
        Some(FileSource::File(path)) => std::fs::read(path)
            .map_err(|error| refused(format!("cannot read `{}`: {error}", path.display())))?,
        Some(FileSource::Environment(name)) => match environment.get(name) {
            Some(value) => value.clone().into_bytes(),
            None => return Err(refused(format!("the environment variable {name} is not set"))),
        },
        Some(FileSource::Content(text)) => text.clone().into_bytes(),
        Some(FileSource::External) => {
            return Err(refused("it is external, and nothing here keeps such: use `file`".to_owned()));
        }
        Some(FileSource::Driver) => {
            return Err(refused("it comes from a driver, and there is none: use `file`".to_owned()));
        }
        None => return Err(refused("the project does not define it".to_owned())),
    };
    let id = |text: &Option<String>, what: &str| match text.as_deref() {
        None | Some("") => Ok(0),
        Some(text) => text.parse().map_err(|_| refused(format!("{what} `{text}` is no number"))),
    };
    granted.files.push(Written {
        name: format!("{} {key}", kind.word()),
        path: target,
        content,
        mode: grant.mode.unwrap_or(MODE),
        uid: id(&grant.uid, "uid")?,
        gid: id(&grant.gid, "gid")?,
    });
    Ok(())
}

fn seen(target: String, source: PathBuf) -> MountRequest {
    MountRequest {
        target,
        access: Access::ReadOnly,
        kind: MountKind::Bind {
            source,
            missing: MissingSource::Refuse,
            recursion: BindRecursion::All,
            propagation: Propagation::RPrivate,
        },
    }
}

/// Makes an archive of files; the folders above them are made where they are missing.
fn archive(files: &[(&str, &Written)]) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut writer = Writer::new(Vec::new(), Options::default());
    for (path, file) in files {
        let path = EntryPath::new(path)?;
        let kind = EntryKind::File { size: file.content.len() as u64 };
        let mut entry = Entry::new(path, kind, file.mode);
        (entry.uid, entry.gid, entry.mtime) = (file.uid, file.gid, Timestamp::from_seconds(0));
        writer.append_bytes(&entry, &file.content)?;
    }
    Ok(writer.finish()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_noted_of_files_is_of_what_is_written() {
        let written = |name: &str, content: &str| Written {
            name: name.to_owned(),
            path: format!("/{name}"),
            content: content.as_bytes().to_vec(),
            mode: MODE,
            uid: 0,
            gid: 0,
        };
        let files = vec![written("config app", "port 1"), written("secret key", "a")];
        let granted = Granted { files, ..Granted::default() };
        let archives = granted.archives(&[]).unwrap();
        let holds = |content: &[u8]| archives[ROOT].windows(content.len()).any(|window| window == content);
        assert!(holds(b"port 1"));
        let digest = |content: &[u8]| BlobDigest::of(content).to_string();
        let noted = [("config app", digest(b"port 1")), ("secret key", digest(b"a"))];
        assert_eq!(granted.contents(), noted.map(|(name, digest)| (name.to_owned(), digest)).into());
        assert!(Granted::default().archives(&[]).unwrap().is_empty());
    }

    #[test]
    fn files_below_a_mount_are_written_into_it() {
        let image = MountKind::Image { reference: "x".to_owned(), subpath: None };
        let mounts = [
            seen("/srv".to_owned(), PathBuf::from("/host")),
            MountRequest { target: "/srv/image".to_owned(), access: Access::ReadOnly, kind: image },
            seen("/srv/data/".to_owned(), PathBuf::from("/other")),
        ];
        assert_eq!(lying("/srv/a/b", &mounts), ("/srv", "a/b"));
        assert_eq!(lying("/srv/data/b", &mounts), ("/srv/data/", "b"));
        assert_eq!(lying("/srvx/b", &mounts), (ROOT, "srvx/b"));
        assert_eq!(lying("/srv/image/b", &mounts), (ROOT, "srv/image/b"));
    }

    #[test]
    fn files_go_where_their_kind_has_them() {
        assert_eq!(Kind::Secret.target("db", None), "/run/secrets/db");
        assert_eq!(Kind::Secret.target("db", Some("password")), "/run/secrets/password");
        assert_eq!(Kind::Secret.target("db", Some("/etc/db")), "/etc/db");
        assert_eq!(Kind::Config.target("app", None), "/app");
        assert_eq!(Kind::Config.target("app", Some("etc/app.conf")), "/etc/app.conf");
    }
}
