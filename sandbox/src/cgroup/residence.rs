//! A place for processes of ours that outlive the command that starts them.
//!
//! A session, a unit or a job that started a command ends everything in its group when it ends. What is to stay leaves
//! that group: on version 2, and in systemd's own hierarchy where systemd runs. Hierarchies with controllers are not
//! left, nor is systemd's without it: nothing is ended there, and entering costs a grace period of the kernel.

use std::path::Path;

use rustix::process::getpid;

use super::CgroupError;
use super::find::Layout;
use super::folder::{Folder, Version, make_folder};
use super::group::base_of;

/// A place in a group, for as long as this lives: groups that somebody is in are not reclaimed.
#[derive(Debug)]
pub struct Residence {
    folders: Vec<Folder>,
}

impl Residence {
    /// Leaves the group for the one that its prefix is in, and takes it away if nobody else is in it: for a process that is
    /// about to end. What does not work out stays for the next who resides there.
    pub fn leave(self) {
        for folder in self.folders {
            let (Some(prefix), Some(base)) =
                (folder.path.parent(), folder.path.parent().and_then(Path::parent))
            else {
                continue;
            };
            // Who enters meanwhile waits for this, finds the group gone, and makes it again.
            if !folder.is_free() {
                continue;
            }
            if std::fs::write(base.join("cgroup.procs"), getpid().as_raw_nonzero().to_string()).is_ok() {
                let _ = rustix::fs::rmdir(&folder.path);
                let _ = rustix::fs::rmdir(prefix);
            }
        }
    }
}

/// Moves this process into a group of its own below a prefix, shared by all that say the same name.
///
/// Where there are no rights to do so it stays where it is.
pub fn reside(layout: &Layout, prefix: &str, name: &str) -> Result<Residence, CgroupError> {
    let v2 = layout.v2.as_ref().map(|unified| (Version::Two, base_of(unified)));
    let systemd =
        layout.v1.iter().find(|hierarchy| hierarchy.option == "name=systemd").filter(|_| is_systemd_there());
    let systemd = systemd.map(|hierarchy| (Version::One, hierarchy.base.clone()));
    let mut folders = Vec::new();
    for (version, base) in v2.into_iter().chain(systemd) {
        match enter(version, &base.join(prefix), name) {
            Ok(folder) => folders.push(folder),
            Err(error) if error.is_refusal() || error.is_absence() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Residence { folders })
}

/// Whether systemd is the manager of this machine, as sd_booted(3) has it.
fn is_systemd_there() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

fn enter(version: Version, parent: &Path, name: &str) -> Result<Folder, CgroupError> {
    let path = parent.join(name);
    // Who takes remains away may take an empty group between its making and our entering it: make it again.
    for attempt in 0.. {
        let made = make_folder(parent).and_then(|()| make_folder(&path));
        match made.and_then(|()| Folder::open(version, path.clone())) {
            Ok(folder) if attempt == 16 || folder.hold() => {
                folder.write("cgroup.procs", &getpid().as_raw_nonzero().to_string())?;
                return Ok(folder);
            }
            Ok(_) => {}
            Err(error) if attempt < 16 && error.is_absence() => {}
            Err(error) => return Err(error),
        }
    }
    unreachable!("the last attempt returns")
}
