//! Configs and secrets: files that a service is given.
//!
//! A file of the host is seen read-only where it lies, so that what is edited there is seen at once; what comes from a
//! variable or from the compose file, and what is to belong to somebody else, is written into the container
//! when it is made or, where it lies in a mount, at each start.

use std::collections::BTreeMap;
use std::path::PathBuf;

use rbuild_model::container::{BindRecursion, MissingSource, MountAsked, Propagation};
use rbuild_model::digest::BlobDigest;
use rbuild_model::project::{FileGrant, FileObject, FileSource, Project, Service};
use rbuild_sandbox::Access;

use crate::containers::{GivenFile, MountKind, MountRequest};
use crate::projects::NotPossible;
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
    pub(super) files: Vec<GivenFile>,
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
        let digest = |file: &GivenFile| (file.name.clone(), BlobDigest::of(&file.content).to_string());
        self.files.iter().map(digest).collect()
    }
}

/// Returns what a service is given.
pub(in crate::projects) fn granted(project: &Project, service: &Service) -> Result<Granted, NotPossible> {
    let mut granted = Granted::default();
    let variables = &project.environment;
    for (number, grant) in service.configs.iter().enumerate() {
        let object = project.configs.get(&grant.source);
        let refused = |why| NotPossible::new(service, format!("configs[{number}]"), why);
        add(&mut granted, Kind::Config, grant, object, variables).map_err(refused)?;
    }
    for (number, grant) in service.secrets.iter().enumerate() {
        let object = project.secrets.get(&grant.source);
        let refused = |why| NotPossible::new(service, format!("secrets[{number}]"), why);
        add(&mut granted, Kind::Secret, grant, object, variables).map_err(refused)?;
    }
    Ok(granted)
}

/// Adds a file; an error says why it cannot be had.
fn add<Key: std::fmt::Display>(
    granted: &mut Granted,
    kind: Kind,
    grant: &FileGrant<Key>,
    object: Option<&FileObject>,
    environment: &BTreeMap<String, String>,
) -> Result<(), String> {
    let (key, word) = (grant.source.to_string(), kind.word());
    let target = kind.target(&key, grant.target.as_deref());
    let is_plain = grant.uid.is_none() && grant.gid.is_none() && grant.mode.is_none();
    let content = match object.map(|object| &object.source) {
        Some(FileSource::File(path)) if !path.exists() => {
            return Err(format!("{word} {key}: bind source path does not exist: {}", path.display()));
        }
        Some(FileSource::File(path)) if is_plain => {
            granted.mounts.push(seen(target, path.clone()));
            return Ok(());
        }
        Some(FileSource::File(path)) => std::fs::read(path)
            .map_err(|error| format!("{word} {key}: cannot read `{}`: {error}", path.display()))?,
        Some(FileSource::Environment(name)) => match environment.get(name) {
            Some(value) => value.clone().into_bytes(),
            None => {
                return Err(format!("environment variable {name:?} required by {word} {key:?} is not set"));
            }
        },
        Some(FileSource::Content(text)) => text.clone().into_bytes(),
        Some(FileSource::External) => {
            return Err(format!("unsupported external {word} {key}: nothing here keeps such, use `file`"));
        }
        Some(FileSource::Driver) => {
            return Err(format!("{word} {key} comes from a driver, and there is none: use `file`"));
        }
        None => return Err(format!("the project does not define the {word} {key}")),
    };
    let id = |text: &Option<String>, what: &str| match text.as_deref() {
        None | Some("") => Ok(0),
        Some(text) => text.parse().map_err(|_| format!("{word} {key}: {what} `{text}` is no number")),
    };
    granted.files.push(GivenFile {
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
        asked: MountAsked::Short { options: "ro".to_owned() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_noted_of_files_is_of_what_is_written() {
        let written = |name: &str, content: &str| GivenFile {
            name: name.to_owned(),
            path: format!("/{name}"),
            content: content.as_bytes().to_vec(),
            mode: MODE,
            uid: 0,
            gid: 0,
        };
        let files = vec![written("config app", "port 1"), written("secret key", "a")];
        let granted = Granted { files, ..Granted::default() };
        let digest = |content: &[u8]| BlobDigest::of(content).to_string();
        let noted = [("config app", digest(b"port 1")), ("secret key", digest(b"a"))];
        assert_eq!(granted.contents(), noted.map(|(name, digest)| (name.to_owned(), digest)).into());
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
