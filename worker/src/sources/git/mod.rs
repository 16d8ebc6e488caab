//! A commit of a git repository.
//!
//! [`resolve`] asks the server what a reference means, unless it is a commit; [`fetch`] brings the commit into a bare
//! repository of the store and writes its files. They are written by our own extraction from `git archive`, so nothing of a
//! repository is ever checked out by git: no hook, no filter and no link in it does anything.
//!
//! | What | How it departs from a checkout |
//! |---|---|
//! | times | every file has the time of the commit, so that a tree is the same wherever it is made |
//! | attributes | line endings are converted; those of folders above the one that is wanted do not count |
//! | submodules | fetched with everything below them, from the protocols that repositories are fetched over; `.git` of none is kept |

mod checkout;
mod lookup;
mod program;
mod remote;
mod repository;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use rbuild_confined::{Owner, Root};
use rbuild_model::key::{CacheKey, PreImage};
use rbuild_model::step::GitSource;
use rbuild_snapshotter::copier::{Copier, CopyRules};
use rbuild_snapshotter::extract::Rules;

pub use self::checkout::{Access, check_out};
pub(crate) use self::lookup::Resolved;
use self::lookup::{LookUpError, look_up};
use self::program::{Git, GitError};
pub(super) use self::remote::basic;
pub(crate) use self::remote::is_commit;
use self::remote::{Protocol, Remote, RemoteError};
use self::repository::{Commit, Repository};
use super::http::secret;
use super::{Fetched, Fetcher};
use crate::error::StepError;
use crate::room;

/// How deep submodules may lie in one another, and how many there may be in all.
const MAX_DEPTH: usize = 8;
const MAX_SUBMODULES: usize = 512;

/// Fetches the commit that a source means, or finds that it is here.
pub(crate) fn fetch(fetcher: &Fetcher<'_>, source: &GitSource) -> Result<Fetched, StepError> {
    // A commit that is stated in full needs no asking.
    if let Some(commit) = stated(source)
        && let Some(found) = fetcher.found(&definition(source, &commit))?
    {
        return Ok(found);
    }
    Checkout::begin(fetcher, source)?.fetch(source)
}

/// Finds out what a source means today.
pub(crate) fn resolve(fetcher: &Fetcher<'_>, source: &GitSource) -> Result<Resolved, StepError> {
    Checkout::begin(fetcher, source)?.resolve(source)
}

/// Returns when a commit was made that was fetched before, in Unix seconds.
pub(crate) fn time(fetcher: &Fetcher<'_>, source: &GitSource, at: &Resolved) -> Result<i64, StepError> {
    let checkout = Checkout::begin(fetcher, source)?;
    let scope = fetcher.worker.store.locks().scope();
    let _lock = fetcher.alone(&scope, checkout.address())?;
    let repository = checkout.repository(&at.commit)?;
    checkout.bring(&repository, &at.commit, &checkout.remote, checkout.authorization.as_deref())?;
    checkout.git_result(repository.time(&at.commit))
}

/// The commit that a source states in full.
fn stated(source: &GitSource) -> Option<Commit> {
    let texts = [source.checksum.as_ref(), source.reference.as_ref()];
    let full = texts.into_iter().flatten().find(|text| remote::is_commit(text))?;
    Some(Commit(full.to_ascii_lowercase()))
}

/// What the files of a commit are known by. Where they come from counts only where it is among them, or where what lies below
/// them is found by it.
fn definition(source: &GitSource, commit: &Commit) -> PreImage {
    let GitSource { remote, reference, checksum: _, subdir, keep_git_dir, submodules } = source;
    let remote = rbuild_frontend::lower::without_credentials(remote);
    PreImage::fields([
        ("op", PreImage::text("git")),
        ("commit", PreImage::text(&commit.0)),
        ("subdir", PreImage::text(subdir.as_deref().and_then(remote::folder).unwrap_or_default())),
        ("keep-git-dir", PreImage::Flag(*keep_git_dir)),
        ("reference", PreImage::optional(reference.as_ref().filter(|_| *keep_git_dir), PreImage::text)),
        ("submodules", PreImage::Flag(*submodules)),
        ("remote", PreImage::optional(Some(remote).filter(|_| *submodules || *keep_git_dir), PreImage::text)),
    ])
}

/// One fetch, with what it needs.
struct Checkout<'a> {
    fetcher: &'a Fetcher<'a>,
    git: Git<'a>,
    remote: Remote,
    authorization: Option<String>,
    /// Where the bare repository is.
    folder: PathBuf,
    /// Where the program works.
    work: rbuild_store::TempTree,
}

impl<'a> Checkout<'a> {
    fn begin(fetcher: &'a Fetcher<'a>, source: &GitSource) -> Result<Self, StepError> {
        let remote = Remote::parse(&source.remote).map_err(|error| fetcher.failed(error))?;
        let home = fetcher.worker.store.layout().index().join("git");
        std::fs::create_dir_all(&home).map_err(|error| fetcher.failed(error))?;
        let work = fetcher.worker.store.temp_tree()?;
        let registries = fetcher.worker.images.registries();
        let mut git = Git::find(registries, fetcher.cancel, work.path(), home.join("known_hosts"))
            .map_err(|error| fetcher.failed(error))?;
        if remote.protocol == Protocol::Ssh {
            let agent = fetcher.client.ssh_agent("default").map_err(StepError::Client)?;
            git.agent = Some(agent.ok_or_else(|| StepError::SshMissing { id: "default".to_owned() })?);
        }
        let authorization = authorization(fetcher, &remote)?;
        let folder = home.join(address(&remote).hex());
        Ok(Self { fetcher, git, remote, authorization, folder, work })
    }

    fn address(&self) -> CacheKey {
        address(&self.remote)
    }

    fn git_result<T>(&self, result: Result<T, GitError>) -> Result<T, StepError> {
        result.map_err(|error| match error {
            GitError::Cancelled => StepError::Cancelled,
            error => self.fetcher.failed(error),
        })
    }

    fn repository(&self, commit: &Commit) -> Result<Repository<'_>, StepError> {
        self.git_result(Repository::open(&self.git, &self.folder, commit))
    }

    /// Fetches a commit. What the repository grows to is counted as it is there, so it is looked now and then whether there
    /// is room for it, and once more when it has come; without that it goes.
    fn bring(
        &self,
        repository: &Repository<'_>,
        commit: &Commit,
        remote: &Remote,
        authorization: Option<&str>,
    ) -> Result<(), StepError> {
        let store = &self.fetcher.worker.store;
        let fetch = || repository.fetch(commit, remote, authorization);
        if !store.has_budget() {
            return self.git_result(fetch());
        }
        let room = store.reserve_room(0).map_err(StepError::Room)?;
        let (fetched, full) = room::watch(|| room.hold_with(0), || self.git.stop(), fetch);
        let full = full.or_else(|| room.hold_with(0).err());
        if let Some(full) = full {
            // What there is no room for does not lie there until somebody else needs some.
            let _ = std::fs::remove_dir_all(&self.folder);
            return Err(StepError::Room(full));
        }
        self.git_result(fetched)
    }

    fn resolve(&self, source: &GitSource) -> Result<Resolved, StepError> {
        let found = look_up(&self.git, &self.remote, self.authorization.as_deref(), source);
        found.map_err(|error| match error {
            LookUpError::Git(GitError::Cancelled) => StepError::Cancelled,
            error => self.fetcher.failed(error),
        })
    }

    fn fetch(&self, source: &GitSource) -> Result<Fetched, StepError> {
        let fetcher = self.fetcher;
        let scope = fetcher.worker.store.locks().scope();
        let _lock = fetcher.alone(&scope, self.address())?;
        let resolved = self.resolve(source)?;
        let definition = definition(source, &resolved.commit);
        if let Some(found) = fetcher.found(&definition)? {
            return Ok(found);
        }
        let folder = match &source.subdir {
            Some(text) => remote::folder(text)
                .ok_or_else(|| fetcher.failed(format!("the folder {text:?} leads out of the repository")))?,
            None => String::new(),
        };
        let repository = self.repository(&resolved.commit)?;
        self.bring(&repository, &resolved.commit, &self.remote, self.authorization.as_deref())?;
        let failed = |error: Box<dyn std::error::Error + Send + Sync>| fetcher.failed(error);
        fetcher.make(|root, _| {
            repository.write(&resolved.commit, &folder, root, Rules::default(), &failed)?;
            if source.submodules {
                let mut left = MAX_SUBMODULES;
                self.submodules(
                    &repository,
                    &self.remote,
                    &resolved.commit,
                    &folder,
                    root,
                    MAX_DEPTH,
                    &mut left,
                )?;
            }
            if source.keep_git_dir && folder.is_empty() {
                self.keep_git_dir(&repository, &resolved, root)?;
            }
            Ok(definition)
        })
    }

    /// Writes the submodules of a commit, and theirs.
    #[expect(clippy::too_many_arguments, reason = "where it is, and how far it may go")]
    fn submodules(
        &self,
        repository: &Repository<'_>,
        remote: &Remote,
        commit: &Commit,
        folder: &str,
        root: &Root,
        depth: usize,
        left: &mut usize,
    ) -> Result<(), StepError> {
        let fetcher = self.fetcher;
        for submodule in self.git_result(repository.submodules(commit, folder))? {
            let failed = |why: Box<dyn std::error::Error + Send + Sync>| {
                fetcher.failed(Within { path: submodule.path.clone(), source: why })
            };
            let url = submodule.url.as_deref();
            let url = url.ok_or_else(|| failed("it has no address in .gitmodules".into()))?;
            *left = left.checked_sub(1).filter(|_| depth > 0).ok_or_else(|| {
                failed(
                    format!("more than {MAX_SUBMODULES} submodules, or more than {MAX_DEPTH} in one another")
                        .into(),
                )
            })?;
            let own = remote.submodule(url).map_err(|error: RemoteError| failed(error.into()))?;
            if own.protocol == Protocol::Ssh && self.git.agent.is_none() {
                return Err(failed(StepError::SshMissing { id: "default".to_owned() }.into()));
            }
            // What opens the repository is shown to its own server only.
            let authorization = if own.origin() == self.remote.origin() {
                self.authorization.clone()
            } else {
                authorization_for_host(fetcher, &own)?
            };
            self.bring(repository, &submodule.commit, &own, authorization.as_deref()).map_err(|error| {
                match error {
                    StepError::Fetch { source, .. } => failed(source),
                    other => other,
                }
            })?;
            let place = root
                .resolve_nofollow(&submodule.path)
                .and_then(rbuild_confined::Handle::into_root)
                .map_err(|error| failed(error.into()))?;
            repository.write(&submodule.commit, "", &place, Rules::default(), &failed)?;
            self.submodules(repository, &own, &submodule.commit, "", &place, depth - 1, left)?;
        }
        Ok(())
    }

    fn keep_git_dir(
        &self,
        repository: &Repository<'_>,
        resolved: &Resolved,
        root: &Root,
    ) -> Result<(), StepError> {
        let fetcher = self.fetcher;
        let folder = self.work.path().join("clone");
        let reference = resolved.reference.as_deref().map(|name| match name.strip_prefix("refs/heads/") {
            Some(branch) => format!("refs/remotes/origin/{branch}"),
            None => name.to_owned(),
        });
        self.git_result(repository.clone_into(
            &folder,
            &resolved.commit,
            &self.remote,
            reference.as_deref(),
        ))?;
        copy_git_dir(&folder, root).map_err(|error| fetcher.failed(error))
    }
}

/// Copies `.git` of a fresh clone into a tree.
fn copy_git_dir(folder: &Path, root: &Root) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let source = Root::open(folder)?.resolve_nofollow(".git")?;
    // What a commit holds under that name would become hooks and settings of the repository.
    if root.find_nofollow(".git")?.is_some() {
        return Err("the commit has a `.git` of its own".into());
    }
    let new = rbuild_confined::NewDir { mode: 0o755, owner: Some(Owner::ROOT), mtime: None };
    let dest = root.mkdir_all(".git", new)?.dir;
    Copier::new(CopyRules { owner: Some(Owner::ROOT), ..CopyRules::default() }).copy_dir(&source, dest)?;
    Ok(())
}

/// The key that everything of one address is kept under.
fn address(remote: &Remote) -> CacheKey {
    PreImage::fields([("git repository", PreImage::text(&remote.url))]).key()
}

/// Finds what opens a repository: its own address, a secret for its host, a secret for all hosts.
fn authorization(fetcher: &Fetcher<'_>, remote: &Remote) -> Result<Option<String>, StepError> {
    if let Some(found) = authorization_for_host(fetcher, remote)? {
        return Ok(Some(found));
    }
    if remote.protocol != Protocol::Http {
        return Ok(None);
    }
    if let Some(header) = secret(fetcher, "GIT_AUTH_HEADER")? {
        return Ok(Some(header));
    }
    Ok(secret(fetcher, "GIT_AUTH_TOKEN")?.map(|token| with_token(&token)))
}

fn authorization_for_host(fetcher: &Fetcher<'_>, remote: &Remote) -> Result<Option<String>, StepError> {
    if remote.protocol != Protocol::Http || remote.basic.is_some() {
        return Ok(remote.basic.clone());
    }
    for host in [&*remote.host, remote.host_name()] {
        if let Some(header) = secret(fetcher, &format!("GIT_AUTH_HEADER.{host}"))? {
            return Ok(Some(header));
        }
        if let Some(token) = secret(fetcher, &format!("GIT_AUTH_TOKEN.{host}"))? {
            return Ok(Some(with_token(&token)));
        }
    }
    Ok(None)
}

fn with_token(token: &str) -> String {
    basic(&format!("x-access-token:{token}"))
}

/// What went wrong in a submodule.
#[derive(Debug, thiserror::Error)]
#[error("submodule {path:?}")]
struct Within {
    path: String,
    #[source]
    source: Box<dyn std::error::Error + Send + Sync>,
}
