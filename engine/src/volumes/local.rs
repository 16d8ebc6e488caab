//! The driver `local`: folders of the store, or what is mounted on them.
//!
//! Without options a volume is the folder `_data`. With `type`, `device` and `o` it is what `mount -t TYPE -o O DEVICE`
//! shows, mounted on that folder as long as containers use it, as by Docker: two containers see the same tmpfs.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

use rbuild_model::volume::VolumeDefinition;
use rbuild_sandbox::volume::{VolumeMount, is_mounted, mount_volume, unmount_volume};
use rbuild_store::Store;

use super::driver::{Ownership, VolumeDriver};
use super::error::{VolumesError, io};

/// What is mounted on a volume's folder.
const OPTIONS: [&str; 3] = ["type", "device", "o"];

/// The driver `local`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Local;

impl VolumeDriver for Local {
    fn name(&self) -> &str {
        "local"
    }

    fn check(&self, definition: &VolumeDefinition) -> Result<(), VolumesError> {
        let mistake = |mistake: String| VolumesError::Option { volume: definition.name.clone(), mistake };
        let options = &definition.options;
        if let Some(unknown) = options.keys().find(|name| !OPTIONS.contains(&name.as_str())) {
            // A bound needs project quotas of the file system, which are not set up here.
            return Err(mistake(match unknown.as_str() {
                "size" => "quota size requested but no quota support".to_owned(),
                _ => format!("invalid option: \"{unknown}\""),
            }));
        }
        if options.is_empty() {
            return Ok(());
        }
        for needed in ["device", "type"] {
            if !options.contains_key(needed) {
                return Err(mistake(format!("missing required option: \"{needed}\"")));
            }
        }
        address(definition).map_err(mistake)
    }

    fn mountpoint(&self, store: &Store, definition: &VolumeDefinition) -> PathBuf {
        store.layout().volumes().join(definition.name.as_str()).join("_data")
    }

    fn mount(&self, store: &Store, definition: &VolumeDefinition) -> Result<(), VolumesError> {
        let folder = self.mountpoint(store, definition);
        make(store, &folder)?;
        let Some(what) = what(definition) else { return Ok(()) };
        let failed = |source| VolumesError::Mount { volume: definition.name.clone(), source };
        if is_mounted(&folder).map_err(failed)? {
            return Ok(());
        }
        mount_volume(&what, &folder).map_err(failed)
    }

    fn unmount(&self, store: &Store, definition: &VolumeDefinition) -> Result<(), VolumesError> {
        if what(definition).is_none() {
            return Ok(());
        }
        let folder = self.mountpoint(store, definition);
        unmount_volume(&folder)
            .map_err(|source| VolumesError::Mount { volume: definition.name.clone(), source })
    }

    fn remove(&self, store: &Store, definition: &VolumeDefinition) -> Result<(), VolumesError> {
        self.unmount(store, definition)?;
        let folder = store.layout().volumes().join(definition.name.as_str());
        Ok(store.precious().remove(&folder)?)
    }

    fn holds_bytes(&self, definition: &VolumeDefinition) -> Ownership {
        if definition.options.is_empty() { Ownership::Store } else { Ownership::Elsewhere }
    }
}

/// Makes the folder of a volume, which survives a power loss from then on.
fn make(store: &Store, data: &std::path::Path) -> Result<(), VolumesError> {
    if data.is_dir() {
        return Ok(());
    }
    let own = data.parent().expect("a volume's data lies in a folder of its own");
    store.precious().create_folder(own)?;
    match fs::create_dir(data) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => made.map_err(io("make", data))?,
    }
    // Everybody sees what is in a volume, as far as its files let them.
    fs::set_permissions(data, std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .map_err(io("set the mode of", data))?;
    fs::File::open(own).and_then(|folder| folder.sync_all()).map_err(io("sync", own))
}

fn what(definition: &VolumeDefinition) -> Option<VolumeMount> {
    let option = |name: &str| definition.options.get(name).cloned().unwrap_or_default();
    (!definition.options.is_empty()).then(|| VolumeMount {
        kind: option("type"),
        device: option("device"),
        options: option("o"),
    })
}

/// Network file systems want their server as an address: names are not asked for here.
fn address(definition: &VolumeDefinition) -> Result<(), String> {
    let kind = definition.options.get("type").map_or("", String::as_str);
    if !matches!(kind, "nfs" | "nfs4" | "cifs") {
        return Ok(());
    }
    let options = definition.options.get("o").map_or("", String::as_str);
    let address = options.split(',').find_map(|option| option.strip_prefix("addr="));
    match address {
        None => Err(format!("the type {kind} needs the option addr=ADDRESS in `o`")),
        Some(address) if address.parse::<IpAddr>().is_err() => {
            Err(format!("the server {address} must be given by its address, as in addr=192.0.2.1"))
        }
        Some(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(options: &[(&str, &str)]) -> String {
        let definition = VolumeDefinition {
            name: "data".parse().unwrap(),
            driver: "local".to_owned(),
            options: options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            labels: Default::default(),
            created: String::new(),
        };
        Local.check(&definition).map_or_else(|error| error.to_string(), |()| "fine".to_owned())
    }

    #[test]
    fn options_are_checked_as_docker_checks_them() {
        for (options, said) in [
            (&[][..], "fine"),
            (&[("type", "tmpfs"), ("device", "tmpfs"), ("o", "size=1m")], "fine"),
            (&[("foo", "bar")], "create data: invalid option: \"foo\""),
            (&[("type", "tmpfs")], "create data: missing required option: \"device\""),
            (&[("device", "/x"), ("o", "bind")], "create data: missing required option: \"type\""),
            (
                &[("type", "nfs"), ("device", ":/x")],
                "create data: the type nfs needs the option addr=ADDRESS in `o`",
            ),
            (
                &[("type", "nfs"), ("device", ":/x"), ("o", "addr=server,rw")],
                "create data: the server server must be given by its address, as in addr=192.0.2.1",
            ),
        ] {
            assert_eq!(check(options), said);
        }
    }
}
