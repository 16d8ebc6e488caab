//! Which namespaces there are, and what only a namespace of its own allows: names of the machine, kernel parameters.

use oci_spec::runtime::{LinuxNamespaceType, Spec};

use super::OrderError;
use crate::slot::Namespaces;

/// Compares the namespaces of the spec with those of the slot.
pub(super) fn check(spec: &Spec, namespaces: &Namespaces) -> Result<(), OrderError> {
    let listed = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_ref());
    let mut seen = Vec::new();
    for namespace in listed.into_iter().flatten() {
        let typ = namespace.typ();
        if seen.contains(&typ) {
            return Err(OrderError::Invalid {
                field: "linux.namespaces",
                why: format!("{typ} is named twice"),
            });
        }
        seen.push(typ);
    }
    for (typ, own) in namespaces.listed() {
        let asked = seen.contains(&typ);
        if asked != own {
            let (spec, slot) =
                if asked { ("asks for one", "shares the host's") } else { ("asks for none", "has one") };
            let why = format!("the spec {spec} of its own for {typ}, the slot {slot}");
            return Err(OrderError::Invalid { field: "linux.namespaces", why });
        }
    }
    if let Some(typ) =
        seen.iter().find(|typ| matches!(typ, LinuxNamespaceType::User | LinuxNamespaceType::Time))
    {
        return Err(OrderError::Unsupported { field: "linux.namespaces", value: typ.to_string() });
    }
    Ok(())
}

/// Returns the namespaces that a program of this spec enters, as flags of `setns`.
pub(super) fn to_enter(spec: &Spec) -> Result<u32, OrderError> {
    let listed = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_ref());
    let mut flags = libc::CLONE_NEWNS as u32;
    for namespace in listed.into_iter().flatten() {
        flags |= match namespace.typ() {
            LinuxNamespaceType::Network => libc::CLONE_NEWNET as u32,
            LinuxNamespaceType::Pid => libc::CLONE_NEWPID as u32,
            LinuxNamespaceType::Ipc => libc::CLONE_NEWIPC as u32,
            LinuxNamespaceType::Uts => libc::CLONE_NEWUTS as u32,
            LinuxNamespaceType::Cgroup => libc::CLONE_NEWCGROUP as u32,
            LinuxNamespaceType::Mount => 0,
            other => {
                return Err(OrderError::Unsupported { field: "linux.namespaces", value: other.to_string() });
            }
        };
    }
    Ok(flags)
}

/// Checks a name that the machine is to have within.
pub(super) fn host_name(
    field: &'static str,
    name: Option<&str>,
    namespaces: &Namespaces,
) -> Result<Option<String>, OrderError> {
    let Some(name) = name.filter(|name| !name.is_empty()) else { return Ok(None) };
    if !namespaces.own_uts() {
        return Err(OrderError::Invalid { field, why: "needs a uts namespace of its own".to_owned() });
    }
    if name.len() > 64 || name.bytes().any(|byte| byte == 0) {
        return Err(OrderError::Invalid { field, why: "must be at most 64 bytes".to_owned() });
    }
    Ok(Some(name.to_owned()))
}

/// Turns kernel parameters into paths below `/proc/sys`; only what is namespaced is allowed.
pub(super) fn sysctls(spec: &Spec, namespaces: &Namespaces) -> Result<Vec<(String, String)>, OrderError> {
    const IPC: [&str; 7] = ["msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni"];
    let mut result = Vec::new();
    for (name, value) in spec.linux().iter().filter_map(|linux| linux.sysctl().as_ref()).flatten() {
        // The first separator decides which form it is.
        let path = match name.find(['.', '/']).map(|place| name.as_bytes()[place]) {
            Some(b'.') => name
                .chars()
                .map(|letter| match letter {
                    '.' => '/',
                    '/' => '.',
                    other => other,
                })
                .collect(),
            _ => name.clone(),
        };
        let safe = !path.is_empty()
            && path.split('/').all(|part| !matches!(part, "" | "." | ".."))
            && !path.contains('\0');
        let ipc =
            path.strip_prefix("kernel/").is_some_and(|name| IPC.contains(&name) || name == "shm_rmid_forced");
        let allowed = namespaces.own_ipc() && (ipc || path.starts_with("fs/mqueue/"))
            || namespaces.own_network() && path.starts_with("net/")
            || namespaces.own_uts() && path == "kernel/domainname";
        if !safe || !allowed {
            let why = format!("`{name}` belongs to no namespace of its own");
            return Err(OrderError::Invalid { field: "linux.sysctl", why });
        }
        result.push((path, value.clone()));
    }
    result.sort();
    Ok(result)
}
