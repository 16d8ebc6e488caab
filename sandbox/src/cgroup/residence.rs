//! A place for processes of ours that outlive the command that starts them.
//!
//! A session, a unit or a job that started a command ends everything in its group when it ends. What is to stay leaves
//! that group: on version 2, where it is born in another one, and in systemd's own hierarchy where systemd runs. Hierarchies
//! with controllers are not left, nor is systemd's without it: nothing is ended there.

use std::io;
use std::os::fd::AsFd as _;
use std::path::Path;

use rustix::process::getpid;

use super::CgroupError;
use super::find::Layout;
use super::folder::{Folder, OWN_THREAD, Version, make_folder};
use super::group::base_of;
use crate::process::{self, Side};

/// A place in a group, for as long as this lives: groups that somebody is in are not reclaimed.
#[derive(Debug)]
pub struct Residence {
    folders: Vec<Folder>,
}

impl Residence {
    /// Makes the groups ready, as far as there are rights to.
    fn open(layout: &Layout, prefix: &str, name: &str) -> Self {
        let v2 = layout.v2.as_ref().map(|unified| (Version::Two, base_of(unified)));
        let systemd = layout.v1.iter().find(|hierarchy| hierarchy.option == "name=systemd");
        let systemd = systemd.filter(|_| is_systemd_there());
        let systemd = systemd.map(|hierarchy| (Version::One, hierarchy.base.clone()));
        let places = v2.into_iter().chain(systemd);
        let folders = places.filter_map(|(version, base)| occupy(version, &base.join(prefix), name).ok());
        Self { folders: folders.collect() }
    }

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

/// A process that [`copy_into`] returns in.
#[derive(Debug)]
pub enum Copied {
    /// The one that called.
    Original,
    /// Its copy, with its place.
    Copy(Residence),
}

/// [Copies](process::copy) this process. The copy leaves the groups of the original: it lives in a group below a prefix, shared by
/// all that say the same name.
///
/// Where there are no rights to do so it stays in the groups of its maker.
pub fn copy_into(layout: &Layout, prefix: &str, name: &str) -> io::Result<Copied> {
    // The copy has the holds of the groups, which go with the last descriptor: each has its own, opened here.
    let mut residence = Residence::open(layout, prefix, name);
    let unified = residence.folders.iter().find(|folder| folder.version == Version::Two);
    let born = unified.and_then(|folder| process::copy_born_in(folder.fd.as_fd()).ok());
    let side = born.map_or_else(process::copy, Ok)?;
    if side == Side::Original {
        return Ok(Copied::Original);
    }
    let enter = |folder: &Folder| match folder.version {
        Version::One => folder.write(OWN_THREAD, "0"),
        Version::Two if born.is_some() => Ok(()),
        // Before Linux 5.7 nobody is born in another group than its maker's.
        Version::Two => folder.write("cgroup.procs", "0"),
    };
    residence.folders.retain(|folder| enter(folder).is_ok());
    Ok(Copied::Copy(residence))
}

/// Whether systemd is the manager of this machine, as sd_booted(3) has it.
fn is_systemd_there() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

/// Makes a group that may be there, and holds it.
fn occupy(version: Version, parent: &Path, name: &str) -> Result<Folder, CgroupError> {
    let path = parent.join(name);
    // Who takes remains away may take an empty group between its making and our holding it: make it again.
    for attempt in 0.. {
        let made = make_folder(parent).and_then(|()| make_folder(&path));
        match made.and_then(|()| Folder::open(version, path.clone())) {
            Ok(folder) if attempt == 16 || folder.hold() => return Ok(folder),
            Ok(_) => {}
            Err(error) if attempt < 16 && error.is_absence() => {}
            Err(error) => return Err(error),
        }
    }
    unreachable!("the last attempt returns")
}
