//! Settings to what the client of registries goes by.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use rbuild_image::distribution::{Endpoint, NameService, Proxies, Registries};
use rbuild_worker::AUTHORITY_BUNDLES;

use super::credentials::Caller;
use crate::report::Mistake;
use crate::settings::{Authorities, Settings};

/// Returns how registries are spoken to.
pub(super) fn of(settings: &Settings) -> anyhow::Result<Registries> {
    let mut registries = Registries {
        credentials: Arc::new(Caller::new(settings.docker_config.clone())),
        names: NameService { hosts: text("/etc/hosts"), resolv_conf: text("/etc/resolv.conf") },
        proxies: proxies(settings),
        ..Registries::default()
    };
    match &settings.authorities {
        Authorities::Builtin => {}
        Authorities::Host => registries.system_authorities = host_authorities(settings),
        Authorities::File(path) => {
            registries.system_authorities = host_authorities(settings);
            registries.extra_authorities.push(authorities(path)?);
        }
    }
    for (name, registry) in &settings.registries {
        let mirrors = registry.mirrors.iter().map(|mirror| {
            mirror
                .parse::<Endpoint>()
                .map_err(|error| anyhow::Error::from(Mistake::new(format!("mirror of `{name}`: {error}"))))
        });
        let mirrors = mirrors.collect::<anyhow::Result<Vec<_>>>()?;
        if !mirrors.is_empty() {
            registries.mirrors.insert(name.clone(), mirrors);
        }
        if registry.insecure {
            registries.insecure.push(name.clone());
        }
        if let Some(path) = &registry.ca {
            registries.own_authorities.insert(name.clone(), authorities(path)?);
        }
    }
    Ok(registries)
}

fn text(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn authorities(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path)
        .with_context(|| format!("failed to read the certificate authorities in `{}`", path.display()))
}

fn host_authorities(settings: &Settings) -> Vec<u8> {
    host_bundle(settings).and_then(|path| std::fs::read(path).ok()).unwrap_or_default()
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
