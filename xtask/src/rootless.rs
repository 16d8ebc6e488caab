//! `cargo xtask rootless`: root and an ordinary user build the same project, and get the same image.
//!
//! The two of them are in another machine, as one that is fit for this is rarely at hand: a user with subordinate
//! ids, `newuidmap`, a kernel that lets users have namespaces. What runs commands there is the caller's: a program
//! that copies a folder in, runs a shell command in it as root, and brings the sub-folder `out` back.
//!
//! ```text
//! cargo build
//! cargo xtask rootless --user NAME -- PROGRAM [ARG]...      called as: PROGRAM [ARG]... FOLDER COMMAND
//! ```

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

const SCRIPT: &str = include_str!("rootless/machine.sh");
const DOCKERFILE: &str = include_str!("rootless/Dockerfile");
/// Where a statically linked busybox may be: all of the image that the builds begin with.
const BUSYBOX: [&str; 3] = ["/bin/busybox", "/usr/bin/busybox", "/usr/local/bin/busybox"];

/// Runs the comparison.
pub(crate) fn rootless(root: &Path, arguments: &[String]) -> Result<()> {
    let (user, machine) = match arguments {
        [flag, user, dashes, machine @ ..] if flag == "--user" && dashes == "--" => (user.as_str(), machine),
        [dashes, machine @ ..] if dashes == "--" => ("rb", machine),
        _ => bail!("usage: cargo xtask rootless [--user NAME] -- PROGRAM [ARG]..."),
    };
    let [program, prefix @ ..] = machine else { bail!("nothing that runs commands in a machine is named") };
    let folder = root.join("target/rootless");
    let _ = fs::remove_dir_all(&folder);
    prepare(root, &folder, user).context("failed to prepare the folder for the machine")?;
    let status = Command::new(program).args(prefix).arg(&folder).arg("sh ./machine.sh").status()?;
    let read = |name: &str| fs::read_to_string(folder.join("out").join(name)).unwrap_or_default();
    print!("{}", read("report"));
    ensure!(status.success(), "the machine ended with {status}");
    for project in ["result", "hello"] {
        let (of_root, of_user) = (read(&format!("root.{project}")), read(&format!("user.{project}")));
        ensure!(
            !of_root.is_empty() && !of_user.is_empty(),
            "a build of {project} did not tell its image's id"
        );
        let (of_root, of_user) = (of_root.trim(), of_user.trim());
        ensure!(of_root == of_user, "different images of {project}: {of_root} by root, {of_user} by {user}");
        println!("the same image of {project} by root and by {user}: {of_root}");
    }
    Ok(())
}

fn prepare(root: &Path, folder: &Path, user: &str) -> Result<()> {
    let base = folder.join("base/bin");
    fs::create_dir_all(&base)?;
    fs::create_dir_all(folder.join("base/etc"))?;
    fs::create_dir_all(folder.join("base/tmp"))?;
    fs::create_dir_all(folder.join("project"))?;
    let busybox = BUSYBOX.iter().find(|place| Path::new(place).exists()).context("no busybox here")?;
    fs::copy(busybox, base.join("busybox"))?;
    fs::write(folder.join("base/etc/passwd"), "root:x:0:0:root:/:/bin/sh\nguest:x:1000:1000::/:/bin/sh\n")?;
    fs::write(folder.join("base/etc/group"), "root:x:0:\nguest:x:1000:\n")?;
    fs::write(folder.join("project/Dockerfile"), DOCKERFILE)?;
    let bases = root.join("target/bases");
    let made = Command::new(root.join("scripts/bases")).arg(&bases).status()?;
    ensure!(made.success(), "the bases of examples/hello could not be made");
    for name in ["busybox", "debian"] {
        let archive = folder.join(format!("{name}.tar"));
        let packed =
            Command::new("tar").arg("-C").arg(bases.join(name)).arg("-cf").arg(archive).arg(".").status()?;
        ensure!(packed.success(), "tar failed");
    }
    let copied = Command::new("cp").arg("-r").arg(root.join("examples/hello")).arg(folder).status()?;
    ensure!(copied.success(), "cp failed");
    fs::write(folder.join("machine.sh"), SCRIPT.replace("@USER@", user))?;
    // A cargo in a cargo would build half of it anew, for other variables: the program is built before.
    let target = root.join(format!("target/{}-unknown-linux-gnu/debug/rbuild", std::env::consts::ARCH));
    ensure!(target.exists(), "there is no {}: run `cargo build` first", target.display());
    let stripped = Command::new("strip").arg("-o").arg(folder.join("rbuild")).arg(target).status()?;
    ensure!(stripped.success(), "strip failed");
    Ok(())
}
