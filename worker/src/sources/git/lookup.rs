//! What a reference to a repository means today: a commit.

use rbuild_model::step::GitSource;

use super::program::{Git, GitError, SOURCE};
use super::remote::{self, Remote};
use super::repository::Commit;

/// What a reference means.
pub(crate) struct Resolved {
    pub(super) commit: Commit,
    /// The reference in full, where it is a branch or a tag.
    pub(super) reference: Option<String>,
}

/// Why a reference means nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum LookUpError {
    #[error(transparent)]
    Git(#[from] GitError),
    #[error("{0:?} is no name of a branch or a tag")]
    Name(String),
    #[error("repository does not contain ref {0}")]
    Reference(String),
    #[error("repository has no default branch: it is empty")]
    Empty,
    #[error("expected checksum to match {expected}, got {found}")]
    Checksum { expected: String, found: String },
}

impl Resolved {
    /// Returns the source with the commit in place of the reference.
    pub(crate) fn pinned(&self, source: &GitSource) -> GitSource {
        GitSource { reference: Some(self.commit.0.clone()), checksum: None, ..source.clone() }
    }
}

/// Finds out what a source means: a commit that is named is that, for anything else the server is asked.
pub(super) fn look_up(
    git: &Git<'_>,
    remote: &Remote,
    authorization: Option<&str>,
    source: &GitSource,
) -> Result<Resolved, LookUpError> {
    let resolved = match &source.reference {
        Some(commit) if remote::is_commit(commit) => {
            Resolved { commit: Commit(commit.to_ascii_lowercase()), reference: None }
        }
        reference => ask(git, remote, authorization, reference.as_deref())?,
    };
    match &source.checksum {
        Some(expected) if !resolved.commit.0.starts_with(&expected.to_ascii_lowercase()) => {
            Err(LookUpError::Checksum { expected: expected.clone(), found: resolved.commit.0 })
        }
        _ => Ok(resolved),
    }
}

/// Asks the server for a branch, a tag, another reference, or the default branch.
fn ask(
    git: &Git<'_>,
    remote: &Remote,
    authorization: Option<&str>,
    reference: Option<&str>,
) -> Result<Resolved, LookUpError> {
    let patterns = match reference {
        None => vec!["HEAD".to_owned()],
        Some(name) if remote::is_reference(name) => {
            let bare = name.strip_prefix("refs/").unwrap_or(name);
            let tag = format!("refs/tags/{}", name.strip_prefix("refs/tags/").unwrap_or(name));
            let branch = format!("refs/heads/{}", name.strip_prefix("refs/heads/").unwrap_or(name));
            // A branch goes before a tag of its name, as it does for git-checkout; a tag means its commit.
            vec![format!("refs/{bare}^{{}}"), format!("refs/{bare}"), branch, format!("{tag}^{{}}"), tag]
        }
        Some(name) => return Err(LookUpError::Name(name.to_owned())),
    };
    let asked = git.call(None, "ls-remote").source(remote, authorization);
    let listed = asked.args([SOURCE]).args(&patterns).output()?;
    let listed = String::from_utf8_lossy(&listed);
    let refs: Vec<(&str, &str)> = listed.lines().filter_map(|line| line.split_once('\t')).collect();
    let found = patterns.iter().find_map(|wanted| refs.iter().find(|(_, name)| name == wanted));
    match found {
        Some((commit, name)) if remote::is_commit(commit) => {
            let name = name.strip_suffix("^{}").unwrap_or(name);
            let reference = Some(name).filter(|name| *name != "HEAD").map(str::to_owned);
            Ok(Resolved { commit: Commit((*commit).to_owned()), reference })
        }
        _ => Err(reference.map_or(LookUpError::Empty, |name| LookUpError::Reference(name.to_owned()))),
    }
}
