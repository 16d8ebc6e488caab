//! Devices of the host that a container is given: their nodes, and the rights to use them.

use std::fs::Metadata;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxDevice, LinuxDeviceBuilder, LinuxDeviceType};
use rbuild_sandbox::cgroup::{DeviceAccess, DeviceKind, DeviceRule};

use crate::engine::io;
use crate::error::RunError;
use rbuild_model::container::DeviceUse;

/// What is not passed on of `/dev` to a privileged container: it has its own.
const OWN: [&str; 6] = ["pts", "shm", "fd", "mqueue", "console", "ptmx"];

/// Devices and the rules that let them be used.
#[derive(Debug, Default)]
pub(super) struct Granted {
    pub(super) devices: Vec<LinuxDevice>,
    pub(super) rules: Vec<DeviceRule>,
}

/// Looks the devices up that are asked for; of a folder, all that are in it.
pub(super) fn grant(requests: &[DeviceUse]) -> Result<Granted, RunError> {
    let mut granted = Granted::default();
    for DeviceUse { host, container, access } in requests {
        let access = DeviceAccess::parse(access).ok_or_else(|| RunError::Invalid {
            what: "device mode",
            why: format!("{access:?}, only letters of \"rwm\" are allowed"),
        })?;
        if !container.is_absolute() {
            let why = format!("`{}`, it needs to be an absolute path", container.display());
            return Err(RunError::Invalid { what: "device path", why });
        }
        let found =
            std::fs::metadata(host).map_err(|source| RunError::DeviceAway { path: host.clone(), source })?;
        let before = granted.devices.len();
        granted.add(host, container, &found, access, &[])?;
        if granted.devices.len() == before {
            return Err(RunError::NotADevice { path: host.clone() });
        }
    }
    Ok(granted)
}

/// Looks all devices of the host up. That they may be used is the privilege's own.
pub(super) fn all() -> Result<Vec<LinuxDevice>, RunError> {
    let folder = Path::new("/dev");
    let found = std::fs::metadata(folder).map_err(io("look at", folder))?;
    let mut granted = Granted::default();
    granted.add(folder, folder, &found, DeviceAccess::ALL, &OWN)?;
    Ok(granted.devices)
}

impl Granted {
    fn add(
        &mut self,
        host: &Path,
        container: &Path,
        found: &Metadata,
        access: DeviceAccess,
        without: &[&str],
    ) -> Result<(), RunError> {
        let kind = found.file_type();
        if kind.is_dir() {
            let mut entries = std::fs::read_dir(host)
                .and_then(Iterator::collect::<Result<Vec<_>, _>>)
                .map_err(io("list", host))?;
            entries.sort_by_key(std::fs::DirEntry::file_name);
            for entry in entries {
                let name = entry.file_name();
                if without.iter().any(|left_out| name == *left_out) {
                    continue;
                }
                // A link in a folder of devices leads to one of them, or out of it; what vanished is not there.
                if let Ok(found) = entry.metadata() {
                    self.add(&entry.path(), &container.join(&name), &found, access, &[])?;
                }
            }
            return Ok(());
        }
        let (typ, kind) = if kind.is_char_device() {
            (LinuxDeviceType::C, DeviceKind::Character)
        } else if kind.is_block_device() {
            (LinuxDeviceType::B, DeviceKind::Block)
        } else {
            return Ok(());
        };
        let (major, minor) = (rustix::fs::major(found.rdev()), rustix::fs::minor(found.rdev()));
        let device = LinuxDeviceBuilder::default()
            .path(PathBuf::from(container))
            .typ(typ)
            .major(i64::from(major))
            .minor(i64::from(minor))
            .file_mode(found.mode() & 0o777)
            .uid(found.uid())
            .gid(found.gid())
            .build();
        self.devices.push(device.expect("path, kind and numbers of the device are set"));
        self.rules.push(DeviceRule { kind, major: Some(major), minor: Some(minor), access });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(host: &str, container: &str, access: &str) -> Result<Granted, RunError> {
        grant(&[DeviceUse { host: host.into(), container: container.into(), access: access.into() }])
    }

    #[test]
    fn a_device_comes_with_its_numbers_and_a_rule() {
        let granted = ask("/dev/zero", "/dev/nought", "r").unwrap();
        let [device] = &granted.devices[..] else { panic!("{granted:?}") };
        assert_eq!(
            (device.path().as_path(), device.major(), device.minor()),
            (Path::new("/dev/nought"), 1, 5)
        );
        let access = DeviceAccess { read: true, write: false, make: false };
        let kind = DeviceKind::Character;
        assert_eq!(granted.rules, [DeviceRule { kind, major: Some(1), minor: Some(5), access }]);
    }

    #[test]
    fn what_is_no_device_is_refused() {
        assert!(matches!(ask("/dev/null", "/dev/null", "rx"), Err(RunError::Invalid { .. })));
        assert!(matches!(ask("/dev/null", "null", "r"), Err(RunError::Invalid { .. })));
        assert!(matches!(ask("/proc/self/exe", "/dev/x", "r"), Err(RunError::NotADevice { .. })));
        // As with Docker, what is not there has the status of a program that is not there.
        let absent = ask("/dev/none", "/dev/x", "r").unwrap_err();
        assert_eq!(crate::containers::ContainerError::from(absent).exit_status(), 127);
        assert!(matches!(ask("/dev/no such device", "/dev/x", "r"), Err(RunError::DeviceAway { .. })));
        let folder = tempfile::tempdir().unwrap();
        let empty = folder.path().to_str().unwrap();
        assert!(matches!(ask(empty, "/dev/x", "r"), Err(RunError::NotADevice { .. })));
    }

    #[test]
    fn all_devices_of_a_folder_come_along() {
        let all = all().unwrap();
        let paths: Vec<_> = all.iter().map(|device| device.path().as_path()).collect();
        assert!(paths.contains(&Path::new("/dev/null")));
        assert!(!paths.iter().any(|path| path.starts_with("/dev/pts")), "{paths:?}");
    }
}
