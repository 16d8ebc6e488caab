//! Certificates of single registries in Docker's layout: `certs.d/HOST[:PORT]/`, where `*.crt` vouch for the registry, and
//! `*.cert` with a `*.key` of the same name is what we show it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rbuild_image::distribution::OwnTls;

use crate::report::Mistake;
use crate::settings::Settings;

/// The folders in which certificates are looked for, what counts more later.
fn folders(settings: &Settings) -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> =
        ["/etc/containers/certs.d", "/etc/docker/certs.d"].map(PathBuf::from).into();
    if let Some(home) = settings.environment.path("HOME") {
        folders.extend([".config/containers/certs.d", ".config/docker/certs.d"].map(|path| home.join(path)));
    }
    folders
}

/// Reads what lies in all folders.
pub(super) fn read(settings: &Settings) -> anyhow::Result<BTreeMap<String, OwnTls>> {
    let mut all: BTreeMap<String, OwnTls> = BTreeMap::new();
    for folder in folders(settings) {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            if let Ok(name) = entry.file_name().into_string() {
                let tls = all.entry(registry(&name)).or_default();
                of_folder(&entry.path(), tls)?;
            }
        }
    }
    all.retain(|_, tls| !tls.authorities.is_empty() || tls.identity.is_some());
    Ok(all)
}

/// The registry that a folder is for.
fn registry(folder: &str) -> String {
    match folder {
        "registry-1.docker.io" | "index.docker.io" => "docker.io".to_owned(),
        other => other.to_owned(),
    }
}

fn of_folder(folder: &Path, tls: &mut OwnTls) -> anyhow::Result<()> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(()) };
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.sort();
    for file in files {
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("crt") => tls.authorities.push(contents(&file)?),
            Some("cert") => {
                let key = file.with_extension("key");
                if !key.is_file() {
                    return Err(Mistake::new(format!("`{}` has no key", file.display()))
                        .hint(format!("put it into `{}`", key.display()))
                        .into());
                }
                tls.identity = Some((contents(&file)?, contents(&key)?));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Reads a file of certificates.
pub(super) fn contents(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("failed to read `{}`", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities_and_identities_are_told_by_their_endings() {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in
            [("b.crt", "B"), ("a.crt", "A"), ("client.cert", "C"), ("client.key", "K"), ("x.txt", "")]
        {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let mut tls = OwnTls::default();
        of_folder(folder.path(), &mut tls).unwrap();
        assert_eq!(tls.authorities, [b"A".to_vec(), b"B".to_vec()]);
        assert_eq!(tls.identity, Some((b"C".to_vec(), b"K".to_vec())));
        std::fs::remove_file(folder.path().join("client.key")).unwrap();
        let missing = of_folder(folder.path(), &mut OwnTls::default()).unwrap_err();
        assert!(missing.to_string().contains("client.cert` has no key"), "{missing}");
        assert_eq!(registry("registry-1.docker.io"), "docker.io");
    }
}
