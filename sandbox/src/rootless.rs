//! Work without root.

/// Tells whether this process may make device nodes: root of the initial user namespace may.
pub(crate) fn may_make_devices() -> bool {
    in_initial_user_namespace() && crate::capabilities::CapabilityMask::held().contains("MKNOD")
}

/// Tells whether this process is in the initial user namespace, by the fixed inode number of that one.
pub fn in_initial_user_namespace() -> bool {
    const INITIAL_USER_NAMESPACE: u64 = 0xEFFF_FFFD;
    rustix::fs::stat("/proc/self/ns/user").is_ok_and(|stat| stat.st_ino == INITIAL_USER_NAMESPACE)
}
