//! Programs of the machine that are called for help: they do not outlive who calls them.

use std::process::Command;

/// Has the process of a command killed when the thread that started it ends, however that comes.
pub fn ends_with_caller(command: &mut Command) {
    crate::sys::kill_with_parent(command);
}
