//! What a spec can ask for and nobody does here: it is an error, never dropped.

use oci_spec::runtime::Spec;

use super::OrderError;

/// Refuses a spec with such a field.
pub(super) fn refuse(spec: &Spec) -> Result<(), OrderError> {
    let unsupported = |field, value: String| Err(OrderError::Unsupported { field, value });
    if let Some(process) = spec.process() {
        if let Some(profile) =
            process.apparmor_profile().as_deref().filter(|name| !matches!(*name, "" | "unconfined"))
        {
            return unsupported("process.apparmorProfile", profile.to_owned());
        }
        if let Some(label) = process.selinux_label().as_deref().filter(|label| !label.is_empty()) {
            return unsupported("process.selinuxLabel", label.to_owned());
        }
        if process.io_priority().is_some() {
            return unsupported("process.ioPriority", "set".to_owned());
        }
        if process.scheduler().is_some() {
            return unsupported("process.scheduler", "set".to_owned());
        }
        if process.exec_cpu_affinity().is_some() {
            return unsupported("process.execCPUAffinity", "set".to_owned());
        }
    }
    if spec.hooks().is_some() {
        return unsupported("hooks", "set".to_owned());
    }
    let Some(linux) = spec.linux() else { return Ok(()) };
    if linux.uid_mappings().iter().chain(linux.gid_mappings()).any(|mappings| !mappings.is_empty()) {
        return unsupported("linux.uidMappings", "a user namespace of its own".to_owned());
    }
    if let Some(label) = linux.mount_label().as_deref().filter(|label| !label.is_empty()) {
        return unsupported("linux.mountLabel", label.to_owned());
    }
    if linux.intel_rdt().is_some() {
        return unsupported("linux.intelRdt", "set".to_owned());
    }
    if linux.memory_policy().is_some() {
        return unsupported("linux.memoryPolicy", "set".to_owned());
    }
    if linux.net_devices().as_ref().is_some_and(|devices| !devices.is_empty()) {
        return unsupported("linux.netDevices", "set".to_owned());
    }
    if linux.time_offsets().as_ref().is_some_and(|offsets| !offsets.is_empty()) {
        return unsupported("linux.timeOffsets", "set".to_owned());
    }
    Ok(())
}
