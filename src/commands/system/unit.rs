//! `rbuild system enable` and `disable`: a unit of systemd that calls `rbuild system boot`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;
use rbuild_store::Store;

use crate::cli::system::Enable;
use crate::commands::{Context, Outcome};
use crate::report::{Mistake, Status};
use crate::settings::Settings;
use crate::wiring::Home;

/// There where systemd runs the machine.
const SYSTEMD: &str = "/run/systemd/system";

/// A unit, and where it is kept.
#[derive(Debug)]
struct Unit {
    path: PathBuf,
    name: String,
    text: String,
    manager: Manager,
}

/// Which systemd it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manager {
    System,
    /// The user's own.
    User,
}

pub(super) fn enable(arguments: &Enable, context: &Context) -> Outcome {
    let unit = unit(context)?;
    if arguments.dry_run {
        context.terminal.print(&format!("{}\n\n{}", unit.path.display(), unit.text))?;
        return Ok(Status::Done);
    }
    check()?;
    let folder = unit.path.parent().unwrap_or(Path::new("/"));
    std::fs::create_dir_all(folder).with_context(|| format!("failed to make `{}`", folder.display()))?;
    std::fs::write(&unit.path, &unit.text)
        .with_context(|| format!("failed to write `{}`", unit.path.display()))?;
    systemctl(&unit, &["daemon-reload"])?;
    systemctl(&unit, &["enable", &unit.name])?;
    context.terminal.print(&format!("{}\n", unit.path.display()))?;
    if unit.manager == Manager::User {
        context.terminal.tell(
            "note: units of users are started when they log in; `loginctl enable-linger` starts them at boot\n",
        );
    }
    Ok(Status::Done)
}

pub(super) fn disable(context: &Context) -> Outcome {
    let unit = unit(context)?;
    if !unit.path.exists() {
        context.terminal.tell(&format!("note: `{}` is not there\n", unit.path.display()));
        return Ok(Status::Done);
    }
    check()?;
    systemctl(&unit, &["disable", &unit.name])?;
    std::fs::remove_file(&unit.path)
        .with_context(|| format!("failed to remove `{}`", unit.path.display()))?;
    systemctl(&unit, &["daemon-reload"])?;
    context.terminal.print(&format!("{}\n", unit.path.display()))?;
    Ok(Status::Done)
}

/// Makes sure that there is a systemd to tell.
fn check() -> anyhow::Result<()> {
    if Path::new(SYSTEMD).is_dir() {
        return Ok(());
    }
    Err(Mistake::new(format!("systemd does not run this machine: there is no `{SYSTEMD}`"))
        .hint(
            "call `rbuild system boot` from what runs at boot here; `--dry-run` shows what systemd would do",
        )
        .into())
}

/// Whether containers of a store would not come back after a reboot, although systemd runs the machine.
pub(crate) fn is_missing(settings: &Settings, store: &Store) -> bool {
    let place = place(settings, || Ok(store.id().short()));
    Path::new(SYSTEMD).is_dir() && place.is_ok_and(|(folder, name)| !folder.join(name).exists())
}

/// Makes the unit of a store.
fn unit(context: &Context) -> anyhow::Result<Unit> {
    let settings = &context.settings;
    let (folder, name) =
        place(settings, || Ok(Home::open(settings, "rbuild system enable")?.store.id().short()))?;
    let program = std::env::current_exe().context("failed to find this program")?;
    let manager = manager(settings);
    let text = text(&program, &settings.root, manager);
    Ok(Unit { path: folder.join(&name), name, text, manager })
}

fn manager(settings: &Settings) -> Manager {
    if settings.rootless.is_some() { Manager::User } else { Manager::System }
}

/// Returns the folder and the name of a store's unit; its id is asked for where there may be several.
fn place(
    settings: &Settings,
    id: impl FnOnce() -> anyhow::Result<String>,
) -> anyhow::Result<(PathBuf, String)> {
    let manager = manager(settings);
    let folder = match manager {
        Manager::System => PathBuf::from("/etc/systemd/system"),
        Manager::User => settings
            .environment
            .path("XDG_CONFIG_HOME")
            .filter(|path| path.is_absolute())
            .or_else(|| settings.environment.path("HOME").map(|home| home.join(".config")))
            .map(|config| config.join("systemd/user"))
            .ok_or_else(|| {
                Mistake::new("HOME is not set, so there is no folder for the unit").hint("set HOME")
            })?,
    };
    let name = if settings.root == Path::new("/var/lib/rbuild") || manager == Manager::User {
        "rbuild-boot.service".to_owned()
    } else {
        // Several stores may come back, each by a unit of its own.
        format!("rbuild-boot-{}.service", id()?)
    };
    Ok((folder, name))
}

/// Writes the unit.
fn text(program: &Path, root: &Path, manager: Manager) -> String {
    let target = match manager {
        Manager::System => "multi-user.target",
        Manager::User => "default.target",
    };
    let (program, root) = (quoted(program), quoted(root));
    format!(
        "[Unit]\n\
         Description=Containers of rbuild that come back after a reboot\n\
         Wants=network-online.target\n\
         After=network-online.target\n\
         RequiresMountsFor={root}\n\
         \n\
         [Service]\n\
         Type=oneshot\n\
         RemainAfterExit=yes\n\
         ExecStart={program} --root {root} system boot\n\
         \n\
         [Install]\n\
         WantedBy={target}\n"
    )
}

/// Writes a path so that systemd reads it as one word, and as it is.
fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy();
    let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%").replace('$', "$$");
    format!("\"{text}\"")
}

fn systemctl(unit: &Unit, arguments: &[&str]) -> anyhow::Result<()> {
    let mut command = Command::new("systemctl");
    if unit.manager == Manager::User {
        command.arg("--user");
    }
    let output = command.args(arguments).output().context("failed to run `systemctl`")?;
    if output.status.success() {
        return Ok(());
    }
    let why = String::from_utf8_lossy(&output.stderr);
    let what = format!("`systemctl {}` failed: {}", arguments.join(" "), crate::text::one_line(why.trim()));
    Err(Mistake::new(what).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_one_word_whatever_is_in_them() {
        assert_eq!(quoted(Path::new("/a b/100%$\"\\")), "\"/a b/100%%$$\\\"\\\\\"");
    }

    #[test]
    fn the_unit_starts_this_program_on_this_store() {
        let text = text(Path::new("/usr/bin/rbuild"), Path::new("/srv/store"), Manager::System);
        assert!(
            text.contains("\nExecStart=\"/usr/bin/rbuild\" --root \"/srv/store\" system boot\n"),
            "{text}"
        );
        assert!(
            text.contains("\nRequiresMountsFor=\"/srv/store\"\n") && text.contains("=multi-user.target\n")
        );
    }
}
