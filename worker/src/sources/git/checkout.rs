//! The files of a commit in a folder of the caller's, without a store: what is read before one is open, such as projects
//! that other repositories have. They are written as those of a build are, each with an owner of the caller's choice.

use std::io;
use std::path::{Path, PathBuf};

use rbuild_confined::{Owner, Root};
use rbuild_frontend::lower::without_credentials;
use rbuild_image::distribution::Registries;
use rbuild_model::step::GitSource;
use rbuild_snapshotter::extract::Rules;

use super::lookup::{LookUpError, look_up};
use super::program::{Git, GitError};
use super::remote::{Protocol, Remote};
use super::repository::Repository;
use crate::cancel::Cancel;
use crate::error::StepError;

/// What repositories are reached with.
pub struct Access<'a> {
    /// Proxies, and who vouches for servers.
    pub registries: &'a Registries,
    /// The wish to stop.
    pub cancel: &'a Cancel,
    /// The socket of an ssh agent.
    pub agent: Option<PathBuf>,
    /// Who files belong to.
    pub owner: Owner,
}

/// Brings all files of the commit that a source means to `home/<commit>`, unless they are there; returns that folder.
/// Submodules are left out.
pub fn check_out(source: &GitSource, home: &Path, access: &Access<'_>) -> Result<PathBuf, StepError> {
    let failed = |error: Box<dyn std::error::Error + Send + Sync>| StepError::Fetch {
        what: without_credentials(&source.remote),
        source: error,
    };
    let remote = Remote::parse(&source.remote).map_err(|error| failed(error.into()))?;
    let Work(work) = &Work::begin(home).map_err(|error| failed(error.into()))?;
    let mut git = Git::find(access.registries, access.cancel, work, home.join("known_hosts"))
        .map_err(|error| failed(error.into()))?;
    if remote.protocol == Protocol::Ssh {
        git.agent.clone_from(&access.agent);
        if git.agent.is_none() {
            return Err(failed("there is no ssh agent: SSH_AUTH_SOCK is not set".into()));
        }
    }
    let stopped = |error: GitError| match error {
        GitError::Cancelled => StepError::Cancelled,
        error => failed(error.into()),
    };
    let authorization = remote.basic.as_deref();
    let resolved = look_up(&git, &remote, authorization, source).map_err(|error| match error {
        LookUpError::Git(error) => stopped(error),
        error => failed(error.into()),
    })?;
    let place = home.join(&resolved.commit.0);
    if place.is_dir() {
        return Ok(place);
    }
    let repository = Repository::open(&git, &work.join("repository"), &resolved.commit).map_err(stopped)?;
    repository.fetch(&resolved.commit, &remote, authorization).map_err(stopped)?;
    let tree = work.join("tree");
    std::fs::create_dir(&tree).map_err(|error| failed(error.into()))?;
    let root = Root::open(&tree).map_err(|error| failed(error.into()))?;
    let rules = Rules { owner: Some(access.owner), ..Rules::default() };
    repository.write(&resolved.commit, "", &root, rules, &failed)?;
    match published(&tree, &place) {
        Ok(()) => Ok(place),
        Err(error) => Err(failed(error.into())),
    }
}

/// A folder that a commit is brought with; it goes, whatever happens.
struct Work(PathBuf);

impl Work {
    fn begin(home: &Path) -> io::Result<Self> {
        let work = Self(home.join(format!(".new-{}", std::process::id())));
        // One of this name was left by a process that died.
        let _ = std::fs::remove_dir_all(&work.0);
        std::fs::create_dir_all(&work.0)?;
        Ok(work)
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Gives a complete tree its name; who was here first counts.
fn published(tree: &Path, place: &Path) -> io::Result<()> {
    rustix::fs::syncfs(std::fs::File::open(tree)?)?;
    match std::fs::rename(tree, place) {
        Err(_) if place.is_dir() => Ok(()),
        renamed => renamed,
    }
}
