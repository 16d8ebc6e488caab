//! A place for processes of ours that outlive the command that starts them.
//!
//! A session, a unit or a job that started a command ends everything in its group when it ends. What is to stay leaves
//! that group: on version 2, and in systemd's own hierarchy where there is one. Hierarchies with controllers are not
//! left: nothing is ended there, and entering costs a grace period.

use rustix::process::getpid;

use super::CgroupError;
use super::find::Layout;
use super::group::{base_of, make_folder};

/// Moves this process into a group of its own below a prefix, shared by all that say the same name.
///
/// Where there are no rights to do so it stays where it is; returns whether it moved.
pub fn reside(layout: &Layout, prefix: &str, name: &str) -> Result<bool, CgroupError> {
    let mut bases = Vec::new();
    bases.extend(layout.v2.as_ref().map(base_of));
    let systemd = layout.v1.iter().find(|hierarchy| hierarchy.option == "name=systemd");
    bases.extend(systemd.map(|hierarchy| hierarchy.base.clone()));
    let mut moved = false;
    for base in bases {
        let folder = base.join(prefix).join(name);
        let enter = || -> Result<(), CgroupError> {
            make_folder(&base.join(prefix))?;
            make_folder(&folder)?;
            let procs = folder.join("cgroup.procs");
            let own = getpid().as_raw_nonzero().to_string();
            std::fs::write(&procs, own).map_err(|source| CgroupError::file("write to", &procs, source))
        };
        match enter() {
            Ok(()) => moved = true,
            Err(error) if error.is_refusal() || error.is_absence() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(moved)
}
