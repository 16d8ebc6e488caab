//! Rights and limits of the program: what is given up, in the order in which it is last needed.

use rustix::fs::{Gid, Uid};
use rustix::io::Errno;
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::{Act, Doing, refuse};
use crate::script::{CapabilityMasks, ScriptProgram};

/// The highest capability number that any kernel may ever have.
const CAPABILITY_BITS: u32 = 64;

/// Sets resource limits.
pub(super) fn limit(limits: &[(u32, u64, u64)]) -> Act {
    for &(resource, soft, hard) in limits {
        crate::sys::setrlimit(resource, soft, hard)
            .doing(|| format!("set the limit `{}` to {soft}:{hard}", crate::limits::name(resource)))?;
    }
    Ok(())
}

/// Takes capabilities out of the bounding set, over the whole range of the kernel's own numbers.
pub(super) fn bound(bounding: u64) -> Act {
    for number in 0..CAPABILITY_BITS {
        if bounding & (1 << number) != 0 {
            continue;
        }
        let set = CapabilitySet::from_bits_retain(1 << number);
        match rustix::thread::remove_capability_from_bounding_set(set) {
            Ok(()) => {}
            // The kernel knows no capability of this number, nor of a higher one.
            Err(Errno::INVAL) => break,
            Err(errno) => return Err(errno).doing(|| format!("drop capability {number}")),
        }
    }
    Ok(())
}

/// Becomes the program's user; capabilities survive until [`grant`].
pub(super) fn become_user(program: &ScriptProgram, setgroups_denied: bool) -> Act {
    rustix::thread::set_keep_capabilities(true).doing(|| "keep capabilities".to_owned())?;
    let groups: Vec<Gid> = program.groups.iter().map(|&gid| Gid::from_raw(gid)).collect();
    match rustix::thread::set_thread_groups(&groups) {
        // Denied for good in a user namespace with a single id; what groups there were are not mapped.
        Err(Errno::PERM) if setgroups_denied => {}
        Err(Errno::INVAL) => return unmapped("groups", &format!("{:?}", program.groups)),
        result => result.doing(|| format!("set the groups {:?}", program.groups))?,
    }
    let (uid, gid) = (Uid::from_raw(program.uid), Gid::from_raw(program.gid));
    match rustix::thread::set_thread_res_gid(gid, gid, gid) {
        Err(Errno::INVAL) => return unmapped("group", &program.gid.to_string()),
        result => result.doing(|| format!("become group {}", program.gid))?,
    }
    match rustix::thread::set_thread_res_uid(uid, uid, uid) {
        Err(Errno::INVAL) => unmapped("user", &program.uid.to_string()),
        result => result.doing(|| format!("become user {}", program.uid)),
    }
}

fn unmapped(what: &str, id: &str) -> Act {
    refuse(format!("become {what} {id}"), "the id is not mapped in this user namespace")
}

/// Gives up the capabilities that the program of an ordinary user loses when it is executed: for a process of that user
/// that executes nothing.
pub(super) fn lose_as_executed(program: &ScriptProgram) -> Act {
    if program.uid == 0 {
        return Ok(());
    }
    let kept = CapabilitySet::from_bits_retain(program.capabilities.ambient);
    let inheritable = CapabilitySet::from_bits_retain(program.capabilities.inheritable);
    rustix::thread::set_capabilities(None, CapabilitySets { effective: kept, permitted: kept, inheritable })
        .doing(|| "give up capabilities".to_owned())
}

/// Takes on exactly the capabilities of the program; returns a note if the ambient ones were refused.
pub(super) fn grant(masks: &CapabilityMasks) -> Act<Option<String>> {
    rustix::thread::set_keep_capabilities(false).doing(|| "keep capabilities no longer".to_owned())?;
    let sets = CapabilitySets {
        effective: CapabilitySet::from_bits_retain(masks.effective),
        permitted: CapabilitySet::from_bits_retain(masks.permitted),
        inheritable: CapabilitySet::from_bits_retain(masks.inheritable),
    };
    rustix::thread::set_capabilities(None, sets).doing(|| "set capabilities".to_owned())?;
    rustix::thread::clear_ambient_capability_set().doing(|| "clear ambient capabilities".to_owned())?;
    for number in (0..CAPABILITY_BITS).filter(|number| masks.ambient & (1 << number) != 0) {
        let set = CapabilitySet::from_bits_retain(1 << number);
        if rustix::thread::configure_capability_in_ambient_set(set, true).is_err() {
            return Ok(Some(format!("ambient capability {number} was refused")));
        }
    }
    Ok(None)
}
