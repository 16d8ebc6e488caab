//! A root for containers, made of the host's statically linked busybox (Debian's `busybox-static`): no network, no
//! registry, four hundred applets.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where a static busybox may be.
const PLACES: [&str; 3] = ["/bin/busybox", "/usr/bin/busybox", "/usr/local/bin/busybox"];

/// The host's static busybox; nothing if there is none, or if it needs libraries.
pub fn find_busybox() -> Option<PathBuf> {
    PLACES.iter().map(PathBuf::from).find(|place| fs::read(place).is_ok_and(|bytes| is_static(&bytes)))
}

/// Whether a 64-bit ELF program asks for no interpreter.
fn is_static(bytes: &[u8]) -> bool {
    const INTERPRETER: u32 = 3;
    let number = |at: usize, length: usize| -> Option<usize> {
        let mut wide = [0; 8];
        wide[..length].copy_from_slice(bytes.get(at..at + length)?);
        usize::try_from(u64::from_le_bytes(wide)).ok()
    };
    let read = || -> Option<bool> {
        if bytes.get(..5)? != b"\x7fELF\x02" {
            return None;
        }
        let (table, size, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
        let kinds = (0..count).map(|index| number(table + index * size, 4));
        Some(kinds.flatten().all(|kind| kind as u32 != INTERPRETER))
    };
    read().unwrap_or(false)
}

/// Fills a folder with a root that has a shell, its tools, root and nobody.
///
/// # Panics
/// If there is no static busybox (`apt-get install busybox-static`).
pub fn busybox(folder: &Path) {
    let program = find_busybox().expect("no static busybox on this machine: apt-get install busybox-static");
    let make = || -> std::io::Result<()> {
        for name in
            ["bin", "dev", "etc", "home", "proc", "root", "run", "sys", "usr/bin", "usr/sbin", "var/tmp"]
        {
            fs::create_dir_all(folder.join(name))?;
        }
        fs::create_dir_all(folder.join("tmp"))?;
        for open in ["tmp", "var/tmp"] {
            fs::set_permissions(folder.join(open), fs::Permissions::from_mode(0o1777))?;
        }
        fs::copy(&program, folder.join("bin/busybox"))?;
        let applets = Command::new(&program).arg("--list").output()?;
        for applet in String::from_utf8_lossy(&applets.stdout).lines().filter(|name| *name != "busybox") {
            symlink("busybox", folder.join("bin").join(applet))?;
        }
        fs::write(
            folder.join("etc/passwd"),
            "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
        )?;
        fs::write(folder.join("etc/group"), "root:x:0:\nnogroup:x:65534:\n")
    };
    make().unwrap_or_else(|error| panic!("cannot make a busybox root in {}: {error}", folder.display()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_has_a_shell_that_needs_nothing() {
        let Some(program) = find_busybox() else {
            return crate::privilege::missing("a_root_has_a_shell_that_needs_nothing", "no static busybox");
        };
        let folder = tempfile::tempdir().unwrap();
        busybox(folder.path());
        assert_eq!(fs::read(program).unwrap(), fs::read(folder.path().join("bin/sh")).unwrap());
        assert_eq!(fs::read_link(folder.path().join("bin/sh")).unwrap(), Path::new("busybox"));
        let output = Command::new(folder.path().join("bin/busybox")).args(["echo", "hi"]).output().unwrap();
        assert_eq!(output.stdout, b"hi\n");
    }

    #[test]
    fn only_static_programs_count() {
        assert!(!is_static(b"#!/bin/sh"));
        assert!(!is_static(b"\x7fELF\x02 cut short"));
        let shell = fs::read("/bin/sh").unwrap();
        let linked = shell.windows(6).any(|window| window == b"ld-lin" || window == b"ld-mus");
        assert_eq!(is_static(&shell), !linked);
    }
}
