//! Settings to what the client of registries goes by.
//!
//! Our own config file counts most; beside it `daemon.json` of Docker, `registries.conf` of podman and its relatives, and
//! the folders of certificates that both know are read, where they are there.

mod certificates;
mod containers;
mod docker;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use rbuild_image::distribution::{Endpoint, NameService, Proxies, Registries};
use rbuild_worker::AUTHORITY_BUNDLES;

use self::containers::{Lies, Said};
use self::docker::Daemon;
use super::credentials::Caller;
use crate::report::Mistake;
use crate::settings::{Authorities, Registry, Settings};

/// Returns how registries are spoken to.
pub(super) fn of(settings: &Settings) -> anyhow::Result<Registries> {
    let mut registries = Registries {
        credentials: Arc::new(Caller::new(settings.docker_config.clone())),
        names: NameService { hosts: text("/etc/hosts"), resolv_conf: text("/etc/resolv.conf") },
        proxies: proxies(settings),
        offline: settings.offline,
        ..Registries::default()
    };
    match &settings.authorities {
        Authorities::Builtin => {}
        Authorities::Host => registries.system_bundle = host_bundle(settings),
        Authorities::File(path) => {
            registries.system_bundle = host_bundle(settings);
            registries.extra_authorities.push(authorities(path)?);
        }
    }
    others(settings, &mut registries)?;
    for (name, registry) in &settings.registries {
        own(name, registry, &mut registries)?;
    }
    Ok(registries)
}

/// Takes in what other programs' files say.
fn others(settings: &Settings, registries: &mut Registries) -> anyhow::Result<()> {
    let Daemon { mirrors, insecure } = Daemon::read(settings)?;
    // Their own programs have told what is wrong with an entry.
    let mirrors: Vec<Endpoint> = mirrors.iter().filter_map(|mirror| mirror.parse().ok()).collect();
    if !mirrors.is_empty() {
        registries.mirrors.insert("docker.io".to_owned(), mirrors);
    }
    registries.insecure.extend(insecure);
    for Said { name, insecure, blocked, mirrors, lies } in containers::read(settings)? {
        let mirrors: Vec<Endpoint> = mirrors.iter().filter_map(|mirror| mirror.parse().ok()).collect();
        if !mirrors.is_empty() {
            registries.mirrors.insert(name.clone(), mirrors);
        }
        if insecure {
            registries.insecure.push(name.clone());
        }
        match lies {
            Lies::Here => {}
            Lies::At(endpoint) => match endpoint.parse() {
                Ok(endpoint) => registries.relocate(&name, endpoint),
                Err(_) => registries.elsewhere.push(name.clone()),
            },
            Lies::NotFollowed => registries.elsewhere.push(name.clone()),
        }
        if blocked {
            registries.blocked.push(name);
        }
    }
    registries.own_tls = certificates::read(settings)?;
    Ok(())
}

/// Takes in what our own file says: what it says of a registry replaces what others say, and what it leaves open stays.
fn own(name: &str, registry: &Registry, registries: &mut Registries) -> anyhow::Result<()> {
    let mirrors = registry.mirrors.iter().map(|mirror| {
        mirror
            .parse::<Endpoint>()
            .map_err(|error| anyhow::Error::from(Mistake::new(format!("mirror of `{name}`: {error}"))))
    });
    let mirrors = mirrors.collect::<anyhow::Result<Vec<_>>>()?;
    if !mirrors.is_empty() {
        registries.mirrors.insert(name.to_owned(), mirrors);
    }
    set(&mut registries.insecure, name, registry.insecure);
    set(&mut registries.blocked, name, registry.blocked);
    if let Some(path) = &registry.ca {
        registries.own_tls.entry(name.to_owned()).or_default().authorities = vec![authorities(path)?];
    }
    match (&registry.cert, &registry.key) {
        (None, None) => {}
        (Some(cert), Some(key)) => {
            let identity = (certificates::contents(cert)?, certificates::contents(key)?);
            registries.own_tls.entry(name.to_owned()).or_default().identity = Some(identity);
        }
        _ => {
            return Err(Mistake::new(format!("registry `{name}`: `cert` and `key` go together")).into());
        }
    }
    Ok(())
}

/// Puts a name into a list, or takes it out, if either is said.
fn set(names: &mut Vec<String>, name: &str, said: Option<bool>) {
    let Some(listed) = said else { return };
    names.retain(|other| other != name);
    if listed {
        names.push(name.to_owned());
    }
}

/// Reads another program's file; nothing if it is not there. What cannot be read may forbid something, and is not passed over.
fn others_file(path: &Path) -> anyhow::Result<Option<String>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("failed to read `{}`", path.display())),
    }
}

fn text(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn authorities(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path)
        .with_context(|| format!("failed to read the certificate authorities in `{}`", path.display()))
}

/// Finds the machine's certificate authorities: the file that the caller names, or the distribution's.
pub(super) fn host_bundle(settings: &Settings) -> Option<PathBuf> {
    let own = settings.environment.path("SSL_CERT_FILE");
    own.into_iter().chain(AUTHORITY_BUNDLES.iter().map(PathBuf::from)).find(|path| path.is_file())
}

fn proxies(settings: &Settings) -> Proxies {
    let first = |names: &[&str]| {
        names.iter().find_map(|name| settings.environment.text(name).filter(|value| !value.is_empty()))
    };
    Proxies {
        http: first(&["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"]),
        https: first(&["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]),
        none_for: first(&["no_proxy", "NO_PROXY"]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_our_own_file_leaves_open_stays_as_others_say() {
        let said = |insecure, blocked| Registry { insecure, blocked, ..Registry::default() };
        for (registry, insecure, blocked) in [
            (Registry { mirrors: vec!["m.test".to_owned()], ..Registry::default() }, true, true),
            (said(None, Some(false)), true, false),
            (said(Some(false), None), false, true),
            (said(Some(true), Some(true)), true, true),
        ] {
            let mut registries = Registries {
                insecure: vec!["r.test".to_owned()],
                blocked: vec!["r.test".to_owned()],
                ..Registries::default()
            };
            own("r.test", &registry, &mut registries).unwrap();
            let expected = |listed| if listed { vec!["r.test".to_owned()] } else { Vec::new() };
            assert_eq!(registries.insecure, expected(insecure), "{registry:?}");
            assert_eq!(registries.blocked, expected(blocked), "{registry:?}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_is_not_one_that_is_not_there() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(others_file(&folder.path().join("none")).unwrap(), None);
        let refused = others_file(folder.path()).unwrap_err();
        assert!(refused.to_string().contains("failed to read"), "{refused}");
    }
}
