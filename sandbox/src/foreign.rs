//! Programs for other processors than this machine's: the kernel runs them by interpreters that were registered with
//! `binfmt_misc`.
//!
//! An interpreter has to be opened when it is registered (flag `F`): in the root of a step or a container there is none.

use std::fmt;
use std::path::Path;

use rbuild_model::platform::Platform;

use crate::launcher::LaunchError;
use crate::script::{Cause, ProgramFailure, StageFailure};

/// Where the kernel shows what is registered.
const REGISTERED: &str = "/proc/sys/fs/binfmt_misc";

/// Why no program of a platform can be run here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreign {
    /// The platform.
    pub platform: Platform,
    /// The name under which an interpreter for it is customarily registered (`qemu-aarch64`).
    pub entry: String,
    /// What is wrong with that.
    pub state: EntryState,
}

/// What the kernel knows of an interpreter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryState {
    /// Nothing.
    Missing,
    /// It is switched off.
    Disabled,
    /// It was not opened when it was registered.
    OutsideRoot,
    /// It should work.
    Ready,
}

impl Foreign {
    /// Says why a program did not run, if that is because it is for another platform than this machine.
    pub fn explain(platform: &Platform, failure: &LaunchError) -> Option<Self> {
        let LaunchError::Stage(StageFailure { program: Some(ProgramFailure::NotExecutable), cause, .. }) =
            failure
        else {
            return None;
        };
        let wrong_format = *cause == Cause::Errno(rustix::io::Errno::NOEXEC.raw_os_error());
        if !wrong_format || Platform::host().can_run(platform) {
            return None;
        }
        Some(Self::look(platform, Path::new(REGISTERED)))
    }

    fn look(platform: &Platform, registered: &Path) -> Self {
        let entry = format!("qemu-{}", machine(&platform.architecture));
        let state =
            std::fs::read_to_string(registered.join(&entry)).map_or(EntryState::Missing, |text| state(&text));
        Self { platform: platform.clone(), entry, state }
    }
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { platform, entry, state } = self;
        write!(f, "this machine is {} and runs no programs for {platform}: ", Platform::host())?;
        match state {
            EntryState::Missing => write!(
                f,
                "there is no interpreter `{entry}` in {REGISTERED}; register one, for example by installing the \
                 packages qemu-user-static and binfmt-support"
            ),
            EntryState::Disabled => {
                write!(f, "the interpreter `{entry}` is switched off; write 1 to {REGISTERED}/{entry}")
            }
            EntryState::OutsideRoot => write!(
                f,
                "the interpreter `{entry}` is not in its root; register it with the flag F (fix binary)"
            ),
            EntryState::Ready => {
                write!(f, "the interpreter `{entry}` is registered, but does not know the program's format")
            }
        }
    }
}

impl std::error::Error for Foreign {}

/// Reads an entry of `binfmt_misc`.
fn state(text: &str) -> EntryState {
    let flags = text.lines().find_map(|line| line.strip_prefix("flags:")).unwrap_or_default();
    match text.lines().next() {
        Some("enabled") if flags.contains('F') => EntryState::Ready,
        Some("enabled") => EntryState::OutsideRoot,
        _ => EntryState::Disabled,
    }
}

/// What qemu calls an architecture.
fn machine(architecture: &str) -> &str {
    match architecture {
        "amd64" => "x86_64",
        "386" => "i386",
        "arm64" => "aarch64",
        "mips64le" => "mips64el",
        "loong64" => "loongarch64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_say_whether_they_work_in_any_root() {
        let folder = tempfile::tempdir().unwrap();
        let look = || Foreign::look(&"linux/arm64".parse().unwrap(), folder.path());
        assert_eq!((look().entry.as_str(), look().state), ("qemu-aarch64", EntryState::Missing));
        for (text, state) in [
            ("enabled\ninterpreter /usr/bin/q\nflags: OCF\noffset 0\n", EntryState::Ready),
            ("enabled\ninterpreter /usr/bin/q\nflags: OC\noffset 0\n", EntryState::OutsideRoot),
            ("disabled\ninterpreter /usr/bin/q\nflags: F\n", EntryState::Disabled),
        ] {
            std::fs::write(folder.path().join("qemu-aarch64"), text).unwrap();
            assert_eq!(look().state, state, "{text}");
            assert!(look().to_string().contains("`qemu-aarch64`"));
        }
    }
}
