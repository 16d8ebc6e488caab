//! Where credentials are kept: Docker's `config.json`, or the helper program that it names.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rbuild_image::distribution::{Credential, Credentials as _, Logins, Registries, helper_input};
use rbuild_images::{ImagesError, Remote};

use super::credentials::{self, Caller};
use super::registries;
use crate::report::Mistake;
use crate::settings::Settings;

/// Returns how registries and other servers are spoken to.
pub(crate) fn registries(settings: &Settings) -> anyhow::Result<Registries> {
    registries::of(settings)
}

/// Returns what speaks to registries without a store.
pub(crate) fn remote(settings: &Settings) -> anyhow::Result<Remote> {
    Ok(Remote::new(&registries::of(settings)?)?)
}

/// As [`remote`], and plain HTTP is spoken to registries of these names.
pub(crate) fn remote_in_the_clear(settings: &Settings, names: Vec<String>) -> anyhow::Result<Remote> {
    let mut registries = registries::of(settings)?;
    registries.insecure.extend(names);
    Ok(Remote::new(&registries)?)
}

/// Asks a registry whether it takes a credential; returns what is to be kept of it.
pub(crate) fn verify(
    settings: &Settings,
    registry: &str,
    credential: Credential,
) -> anyhow::Result<Credential> {
    let registries = registries::of(settings)?;
    Remote::log_in(&registries, registry, credential).map_err(|error| match &error {
        ImagesError::Registry { source, .. } | ImagesError::Client(source) if source.is_denied() => {
            Mistake::new(format!("the registry {registry} does not take this user and password")).into()
        }
        _ => error.into(),
    })
}

/// Keeps credentials.
pub(crate) struct Keeper {
    folder: PathBuf,
}

impl Keeper {
    /// Finds the folder of the file.
    pub(crate) fn open(settings: &Settings) -> anyhow::Result<Self> {
        let folder = settings.docker_config.clone().ok_or_else(|| {
            Mistake::new("HOME is not set, so there is no place for credentials")
                .hint("set DOCKER_CONFIG to a folder")
        })?;
        Ok(Self { folder })
    }

    fn file(&self) -> PathBuf {
        let path = self.folder.join("config.json");
        // A link is followed to the file that it names.
        std::fs::canonicalize(&path).unwrap_or(path)
    }

    /// Returns what is kept for a registry.
    pub(crate) fn known(&self, registry: &str) -> anyhow::Result<Option<Credential>> {
        Ok(Caller::new(Some(self.folder.clone())).for_registry(registry)?)
    }

    /// Waits for other programs of ours that change the file, and keeps them from it until what is returned is dropped: what
    /// is written down is what was read, and a change.
    fn turn(&self) -> anyhow::Result<File> {
        std::fs::create_dir_all(&self.folder)
            .with_context(|| format!("failed to make `{}`", self.folder.display()))?;
        let locked = File::open(&self.folder).and_then(|folder| {
            rustix::fs::flock(&folder, rustix::fs::FlockOperation::LockExclusive)?;
            Ok(folder)
        });
        locked.with_context(|| format!("failed to lock `{}`", self.folder.display()))
    }

    fn read(&self) -> anyhow::Result<Logins> {
        let path = self.file();
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => {
                return Err(error).with_context(|| format!("failed to read `{}`", path.display()));
            }
        };
        Logins::parse(&text).with_context(|| format!("`{}` is not to be written to", path.display()))
    }

    /// Keeps a credential; returns the file if it stands there for everybody who can read that.
    pub(crate) fn keep(&self, registry: &str, credential: &Credential) -> anyhow::Result<Option<PathBuf>> {
        let _turn = self.turn()?;
        let mut logins = self.read()?;
        if let Some((helper, server)) = logins.helper(registry) {
            credentials::run(&helper.program(), "store", &helper_input(&server, credential))?;
            logins.note_kept(registry);
            self.write(&logins)?;
            return Ok(None);
        }
        logins.keep(registry, credential);
        self.write(&logins)?;
        Ok(Some(self.file()))
    }

    /// Forgets what is kept for a registry; tells whether there was something.
    pub(crate) fn forget(&self, registry: &str) -> anyhow::Result<bool> {
        if !self.folder.exists() {
            return Ok(false);
        }
        let _turn = self.turn()?;
        let mut logins = self.read()?;
        let mut found = false;
        if let Some((helper, server)) = logins.helper(registry) {
            found = self.known(registry)?.is_some();
            if found {
                credentials::run(&helper.program(), "erase", server.as_bytes())?;
            }
        }
        if logins.forget(registry) {
            found = true;
            self.write(&logins)?;
        }
        Ok(found)
    }

    /// Replaces the file: nobody else may read it, unless it was shared before.
    fn write(&self, logins: &Logins) -> anyhow::Result<()> {
        let path = self.file();
        let failed = || format!("failed to write `{}`", path.display());
        let mode = std::fs::metadata(&path).map_or(0o600, |meta| meta.permissions().mode() & 0o777);
        let fresh = beside(&path);
        let written = (|| {
            let mut options = OpenOptions::new();
            let mut file: File = options.write(true).create_new(true).mode(mode & 0o600).open(&fresh)?;
            file.write_all(&logins.to_text())?;
            file.set_permissions(std::fs::Permissions::from_mode(mode))?;
            file.sync_all()?;
            std::fs::rename(&fresh, &path)
        })();
        if written.is_err() {
            let _ = std::fs::remove_file(&fresh);
        }
        written.with_context(failed)
    }
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logins_at_once_are_all_kept() {
        let folder = tempfile::tempdir().unwrap();
        let keeper = || Keeper { folder: folder.path().join("docker") };
        assert!(!keeper().forget("r0.test").unwrap());
        assert!(!folder.path().join("docker").exists(), "who forgets makes nothing");
        let credential = Credential::Password { username: "me".into(), password: "p".into() };
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let credential = &credential;
                scope.spawn(move || {
                    for number in 0..8 {
                        keeper().keep(&format!("r{thread}-{number}.test"), credential).unwrap();
                    }
                });
            }
        });
        let text = std::fs::read(folder.path().join("docker/config.json")).unwrap();
        let value: serde_json::Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(value["auths"].as_object().unwrap().len(), 32);
        assert_eq!(std::fs::read_dir(folder.path().join("docker")).unwrap().count(), 1);
    }
}
