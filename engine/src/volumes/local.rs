//! The driver `local`: folders of the store, or what is mounted on them.
//!
//! Without options a volume is the folder `_data`. With `type`, `device` and `o` it is what `mount -t TYPE -o O DEVICE`
//! shows, mounted on that folder as long as containers use it, as by Docker: two containers see the same tmpfs.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

use rbuild_image::distribution::{NameService, addresses_of};
use rbuild_model::volume::{VolumeDefinition, VolumeName};
use rbuild_sandbox::volume::{VolumeMount, is_mounted, mount_volume, unmount_volume};
use rbuild_store::Store;

use super::driver::{DEFAULT, Foreign, Ownership, Scope, VolumeDriver};
use super::error::{VolumesError, io};

/// What is mounted on a volume's folder.
const OPTIONS: [&str; 3] = ["type", "device", "o"];

/// The driver `local`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Local;

impl VolumeDriver for Local {
    fn name(&self) -> &str {
        DEFAULT
    }

    fn scope(&self) -> Scope {
        Scope::Local
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
        match server(&what(definition).unwrap_or_default()) {
            Server::Missing(kind) => {
                Err(mistake(format!("the type {kind} needs the option addr=SERVER in `o`")))
            }
            _ => Ok(()),
        }
    }

    fn create(&self, _store: &Store, _definition: &VolumeDefinition) -> Result<(), VolumesError> {
        // The row is the volume; its folder is made when it is first used.
        Ok(())
    }

    fn path(&self, store: &Store, definition: &VolumeDefinition) -> Result<Option<PathBuf>, VolumesError> {
        Ok(Some(data(store, definition)))
    }

    fn mount(&self, store: &Store, definition: &VolumeDefinition) -> Result<PathBuf, VolumesError> {
        let folder = data(store, definition);
        make(store, &folder)?;
        let Some(mut what) = what(definition) else { return Ok(folder) };
        let told = told(&what);
        let failed = |source| VolumesError::Mount {
            volume: definition.name.clone(),
            act: "mount",
            what: told.clone(),
            source: Box::new(source),
        };
        if is_mounted(&folder).map_err(failed)? {
            return Ok(folder);
        }
        ask_for_server(&mut what, names_of_host).map_err(|(server, source)| VolumesError::Server {
            volume: definition.name.clone(),
            server,
            source,
        })?;
        mount_volume(&what, &folder).map_err(failed)?;
        Ok(folder)
    }

    fn unmount(&self, store: &Store, definition: &VolumeDefinition) -> Result<(), VolumesError> {
        if what(definition).is_none() {
            return Ok(());
        }
        unmount_volume(&data(store, definition)).map_err(|source| VolumesError::Mount {
            volume: definition.name.clone(),
            act: "unmount",
            what: String::new(),
            source: Box::new(source),
        })
    }

    fn remove(&self, store: &Store, definition: &VolumeDefinition) -> Result<(), VolumesError> {
        self.unmount(store, definition)?;
        let folder = store.layout().volumes().join(definition.name.as_str());
        Ok(store.precious().remove(&folder)?)
    }

    fn find(&self, _store: &Store, _name: &VolumeName) -> Result<Option<Foreign>, VolumesError> {
        // Nobody else makes any.
        Ok(None)
    }

    fn others(&self, _store: &Store) -> Result<Vec<Foreign>, VolumesError> {
        Ok(Vec::new())
    }

    fn holds_bytes(&self, definition: &VolumeDefinition) -> Ownership {
        if definition.options.is_empty() { Ownership::Store } else { Ownership::Elsewhere }
    }
}

/// The folder of what is in a volume.
fn data(store: &Store, definition: &VolumeDefinition) -> PathBuf {
    store.layout().volumes().join(definition.name.as_str()).join("_data")
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

/// Says what is mounted as people wrote it, without passwords.
fn told(what: &VolumeMount) -> String {
    let shown = |option: &str| match option.split_once('=') {
        Some((name @ ("password" | "pass"), _)) => format!("{name}=********"),
        _ => option.to_owned(),
    };
    let options = what.options.split(',').map(shown).collect::<Vec<_>>().join(",");
    let options = if options.is_empty() { options } else { format!(", options {options}") };
    format!(" (`{}` of type {}{options})", what.device, what.kind)
}

/// The server of a network file system.
#[derive(Debug, PartialEq, Eq)]
enum Server<'w> {
    /// There is none, or its address is given.
    Known,
    /// It is given by a name in the option `addr`.
    Named(&'w str),
    /// It is given by a name in what is mounted.
    InDevice(&'w str),
    /// It is not said.
    Missing(&'w str),
}

fn server(what: &VolumeMount) -> Server<'_> {
    let is_address = |text: &str| text.parse::<IpAddr>().is_ok();
    let kind = what.kind.as_str();
    let given = what.options.split(',').find_map(|option| option.strip_prefix("addr="));
    match (kind, given.filter(|server| !server.is_empty())) {
        ("nfs" | "nfs4" | "cifs", Some(server)) if is_address(server) => Server::Known,
        ("nfs" | "nfs4" | "cifs", Some(server)) => Server::Named(server),
        ("nfs" | "nfs4", None) => Server::Missing(kind),
        ("cifs", None) => {
            let host = what.device.strip_prefix("//").and_then(|path| path.split('/').next());
            host.filter(|host| !host.is_empty()).map_or(Server::Missing(kind), Server::InDevice)
        }
        _ => Server::Known,
    }
}

/// What this machine knows of names.
fn names_of_host() -> NameService {
    let text = |path| fs::read_to_string(path).unwrap_or_default();
    NameService { hosts: text("/etc/hosts"), resolv_conf: text("/etc/resolv.conf") }
}

/// Puts the address of the server where the kernel looks for it, as it looks up no names.
fn ask_for_server(
    what: &mut VolumeMount,
    names: impl FnOnce() -> NameService,
) -> Result<(), (String, io::Error)> {
    let (name, is_said) = match server(what) {
        Server::Named(name) => (name.to_owned(), true),
        Server::InDevice(name) => (name.to_owned(), false),
        Server::Known | Server::Missing(_) => return Ok(()),
    };
    let addresses = addresses_of(&names(), &name).map_err(|source| (name.clone(), source))?;
    let Some(address) = addresses.iter().find(|one| one.is_ipv4()).or(addresses.first()) else {
        return Err((name, io::ErrorKind::NotFound.into()));
    };
    if is_said {
        what.options = what.options.replace(&format!("addr={name}"), &format!("addr={address}"));
    } else {
        let comma = if what.options.is_empty() { "" } else { "," };
        what.options = format!("addr={address}{comma}{}", what.options);
    }
    Ok(())
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
                "create data: the type nfs needs the option addr=SERVER in `o`",
            ),
            (&[("type", "nfs"), ("device", ":/x"), ("o", "addr=server,rw")], "fine"),
        ] {
            assert_eq!(check(options), said);
        }
    }

    #[test]
    fn servers_are_asked_for_by_name_where_the_kernel_wants_an_address() {
        let mount = |kind: &str, device: &str, options: &str| VolumeMount {
            kind: kind.to_owned(),
            device: device.to_owned(),
            options: options.to_owned(),
        };
        for (kind, device, options, expected) in [
            ("nfs", ":/x", "addr=localhost,rw", "addr=127.0.0.1,rw"),
            ("nfs4", ":/x", "rw,addr=192.0.2.1", "rw,addr=192.0.2.1"),
            ("nfs4", ":/x", "addr=2001:db8::1", "addr=2001:db8::1"),
            ("cifs", "//localhost/share", "username=me", "addr=127.0.0.1,username=me"),
            ("cifs", "//other/share", "addr=192.0.2.7,ro", "addr=192.0.2.7,ro"),
            ("tmpfs", "tmpfs", "addr=localhost", "addr=localhost"),
        ] {
            let mut what = mount(kind, device, options);
            let hosts = "127.0.0.1 localhost\n".to_owned();
            ask_for_server(&mut what, || NameService { hosts, ..NameService::default() }).unwrap();
            assert_eq!(what.options, expected, "{kind} {device}");
        }
        let secret = mount("cifs", "//server/share", "username=me,password=hush,ro");
        assert_eq!(
            told(&secret),
            " (`//server/share` of type cifs, options username=me,password=********,ro)"
        );
    }
}
