//! x
use std::os::fd::{BorrowedFd, OwnedFd};
use crate::running::Usage;
use crate::script::ScriptSource;
/// x
#[derive(Debug, thiserror::Error)]
#[error("x")]
pub struct CgroupError;
/// x
#[derive(Debug)]
pub struct Cgroup;
#[allow(missing_docs)]
impl Cgroup {
    pub(crate) fn entries(&self) -> Result<Vec<OwnedFd>, CgroupError> { Ok(Vec::new()) }
    pub(crate) fn unified(&self) -> Option<BorrowedFd<'_>> { None }
    pub(crate) fn controls_devices(&self) -> bool { false }
    pub fn kill(&self) -> Result<(), CgroupError> { Ok(()) }
    pub fn remove(self) -> Result<(), CgroupError> { Ok(()) }
    pub fn oom_killed(&self) -> bool { false }
    pub fn usage(&self, u: Usage) -> Usage { u }
}
pub(crate) fn visible() -> ScriptSource { ScriptSource::Cgroup { v1: Vec::new(), v2: Some(String::new()) } }
