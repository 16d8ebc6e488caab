//! Projects that repositories and registries have: brought into the caller's cache folder, once per commit or manifest, and
//! asked about before they are started with variables, rights and files of this machine.
//!
//! | Named | Lies below `$XDG_CACHE_HOME/rbuild/projects` in |
//! |---|---|
//! | `https://HOST/PATH.git#REF:SUBDIR`, `git@HOST:PATH#REF:SUBDIR` | `git/COMMIT/SUBDIR` |
//! | `oci://REGISTRY/NAME:TAG` | `oci/DIGEST` |
//!
//! What a tag or a branch means is asked every time. Their folders stay: containers may have them mounted.

mod artifact;
mod consent;
mod rights;

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rbuild_confined::Owner;
use rbuild_frontend::compose::FILE_NAMES;
use rbuild_frontend::lower::parse_git_url;
use rbuild_worker::{Cancel, GitAccess, check_out};

pub(super) use self::artifact::{EMPTY, ENV_FILE, FILE, OLD_CONFIG, PROJECT};
pub(super) use self::consent::agreed;
use crate::report::Mistake;
use crate::settings::Settings;

/// Returns where the file of a project lies here, having brought it.
pub(super) fn bring(name: &str, settings: &Settings) -> anyhow::Result<PathBuf> {
    let environment = &settings.environment;
    let cache = environment.path("XDG_CACHE_HOME").filter(|path| path.is_absolute());
    let cache = cache.or_else(|| environment.path("HOME").map(|home| home.join(".cache")));
    let cache = cache.ok_or_else(|| {
        Mistake::new(format!("there is no place to keep {name}: HOME is not set"))
            .hint("set XDG_CACHE_HOME to a folder")
    })?;
    let kept = cache.join("rbuild/projects");
    let (what, switch) = match name.strip_prefix("oci://") {
        Some(_) => ("OCI", "COMPOSE_EXPERIMENTAL_OCI_REMOTE"),
        None => ("git", "COMPOSE_EXPERIMENTAL_GIT_REMOTE"),
    };
    let is_off = |text: &String| matches!(&*text.to_lowercase(), "0" | "f" | "false");
    if environment.text(switch).as_ref().is_some_and(is_off) {
        return Err(Mistake::new(format!("{what} remote resource is disabled by {switch:?}")).into());
    }
    match name.strip_prefix("oci://") {
        Some(reference) => artifact::bring(reference, &kept.join("oci"), settings),
        None => checked_out(name, &kept.join("git"), settings),
    }
}

fn checked_out(name: &str, folder: &Path, settings: &Settings) -> anyhow::Result<PathBuf> {
    let full = if name.starts_with("github.com/") { format!("https://{name}") } else { name.to_owned() };
    let source = parse_git_url(&full).with_context(|| format!("failed to read {name}"))?;
    let registries = crate::wiring::logins::registries(settings)?;
    if registries.offline {
        return Err(Mistake::new(format!("{name} is not asked for: `--offline` is given")).into());
    }
    let access = GitAccess {
        registries: &registries,
        cancel: &Cancel::new(),
        agent: settings.environment.path("SSH_AUTH_SOCK"),
        owner: Owner { uid: rustix::process::geteuid().as_raw(), gid: rustix::process::getegid().as_raw() },
    };
    let mut place = check_out(&source, folder, &access)?;
    if let Some(subdir) = &source.subdir {
        let below = Path::new(subdir.trim_start_matches('/'));
        if below.components().any(|part| !matches!(part, std::path::Component::Normal(_))) {
            return Err(Mistake::new(format!("the folder {subdir:?} leads out of {name}")).into());
        }
        place.push(below);
    }
    if place.is_file() {
        return Ok(place);
    }
    let found = FILE_NAMES.iter().map(|file| place.join(file)).find(|file| file.is_file());
    let missing = || Mistake::new(format!("{name} has no configuration file: not found"));
    Ok(found.ok_or_else(|| missing().hint("name its folder behind `#REF:`"))?)
}
