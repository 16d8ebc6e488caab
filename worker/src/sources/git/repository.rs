//! A bare repository in the store: what was fetched of one address, of its submodules too.
//!
//! A commit that is complete is held by `refs/rbuild/<commit>`. History is not fetched where the server lets us. The repository
//! only saves traffic: it can be thrown away whenever nobody works on it.

use std::io;
use std::path::{Path, PathBuf};

use rbuild_confined::Root;
use rbuild_image::tar::{Limits, Reader};
use rbuild_snapshotter::extract::{Extractor, Rules};

use super::program::{Call, Git, GitError, SOURCE};
use super::remote::Remote;
use crate::error::StepError;

/// A commit's name in full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Commit(pub(super) String);

/// A submodule of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Submodule {
    pub(super) path: String,
    pub(super) commit: Commit,
    /// Its address as written, if it has one.
    pub(super) url: Option<String>,
}

/// A bare repository in the store.
pub(super) struct Repository<'g> {
    git: &'g Git<'g>,
    folder: PathBuf,
}

/// What `git archive` must not leave out or fill in: a build wants the files as a checkout has them.
const ATTRIBUTES: &str = "* -export-ignore -export-subst\n";

impl<'g> Repository<'g> {
    /// Opens the repository of an address, and makes it if it is not there. The caller holds its lock.
    pub(super) fn open(git: &'g Git<'g>, folder: &Path, commit: &Commit) -> Result<Self, GitError> {
        let format = commit.format();
        let folder = folder.join(format);
        let ready = folder.join("info/attributes");
        if !ready.exists() {
            // One that is not complete was left by a process that died.
            match std::fs::remove_dir_all(&folder) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(GitError::Run(error)),
                _ => {}
            }
            std::fs::create_dir_all(&folder).map_err(GitError::Run)?;
            git.call(None, "init")
                .args(["--quiet", "--bare", "--template=", &format!("--object-format={format}")])
                .args([&folder])
                .output()?;
            std::fs::create_dir_all(folder.join("info")).map_err(GitError::Run)?;
            std::fs::write(&ready, ATTRIBUTES).map_err(GitError::Run)?;
        }
        Ok(Self { git, folder })
    }

    fn call(&self, verb: &str) -> Call<'g> {
        self.git.call(Some(&self.folder), verb)
    }

    /// Says whether a commit is here with all of its files.
    pub(super) fn has(&self, commit: &Commit) -> Result<bool, GitError> {
        let kept = format!("{}^{{commit}}", commit.kept());
        match self.call("rev-parse").args(["--verify", "--quiet", &kept]).output() {
            Ok(_) => Ok(true),
            Err(GitError::Failed { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Fetches a commit: alone, or with all branches and tags where the server does not give out single commits.
    pub(super) fn fetch(
        &self,
        commit: &Commit,
        remote: &Remote,
        authorization: Option<&str>,
    ) -> Result<(), GitError> {
        if self.has(commit)? {
            return Ok(());
        }
        let fetch = |extra: &[&str]| {
            self.call("fetch")
                .source(remote, authorization)
                .args(["--quiet", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules"])
                .args(["--no-auto-maintenance", "--force"])
                .args(extra)
                .output()
        };
        let Commit(name) = commit;
        let one = format!("{name}:{}", commit.kept());
        let alone = match fetch(&["--depth=1", SOURCE, &one]) {
            Ok(_) => return Ok(()),
            Err(error @ GitError::Failed { .. }) => error,
            Err(other) => return Err(other),
        };
        if fetch(&[SOURCE, "refs/heads/*:refs/rbuild-heads/*", "refs/tags/*:refs/rbuild-tags/*"]).is_err() {
            // A server that says no to everything said so the first time.
            return Err(alone);
        }
        match self.call("update-ref").args([&commit.kept(), name]).output() {
            Ok(_) => Ok(()),
            Err(GitError::Failed { .. }) => Err(GitError::Failed {
                verb: "fetch".to_owned(),
                complaint: format!("the repository has no commit {name} in any branch or tag"),
            }),
            Err(other) => Err(other),
        }
    }

    /// Returns when a commit was made, in Unix seconds.
    pub(super) fn time(&self, commit: &Commit) -> Result<i64, GitError> {
        let output = self.call("show").args(["--no-patch", "--format=%ct", &commit.0]).output()?;
        Ok(String::from_utf8_lossy(&output).trim().parse().unwrap_or(0))
    }

    /// Writes the files of a commit, or of a folder in it, as a checkout has them; their time is the commit's.
    pub(super) fn write(
        &self,
        commit: &Commit,
        folder: &str,
        into: &Root,
        rules: Rules,
        failed: &dyn Fn(Box<dyn std::error::Error + Send + Sync>) -> StepError,
    ) -> Result<(), StepError> {
        let Commit(name) = commit;
        let mut from = name.clone();
        if !folder.is_empty() {
            // The tree of a folder has no time: it gets a commit of its own.
            let kind = self.call("cat-file").args(["-t", &format!("{name}:{folder}")]).output();
            if !kind.is_ok_and(|kind| kind == b"tree\n") {
                return Err(failed(format!("there is no folder {folder:?} in commit {name}").into()));
            }
            let time = format!("{} +0000", self.time(commit).map_err(|error| failed(error.into()))?);
            let mut call = self.call("commit-tree").args(["-m", folder, &format!("{name}:{folder}")]);
            for (role, value) in [("NAME", "rbuild"), ("EMAIL", "rbuild"), ("DATE", &time)] {
                call = call
                    .env(&format!("GIT_AUTHOR_{role}"), value)
                    .env(&format!("GIT_COMMITTER_{role}"), value);
            }
            let made = call.output().map_err(|error| failed(error.into()))?;
            from = String::from_utf8_lossy(&made).trim().to_owned();
        }
        let into = into.try_clone().map_err(|error| failed(error.into()))?;
        self.call("archive")
            .args(["--format=tar", &from])
            .stream(|tar| {
                let extractor = Extractor::onto_tree(into, rules)?;
                extractor.extract(Reader::new(tar, Limits::default()))?;
                Ok(())
            })
            .map_err(|error: WriteError| match error {
                WriteError::Git(GitError::Cancelled) => StepError::Cancelled,
                WriteError::Git(error) => failed(error.into()),
                WriteError::Tree(error) => failed(error.into()),
            })
    }

    /// Lists the submodules of a commit that lie in a folder, with the addresses that `.gitmodules` gives them.
    pub(super) fn submodules(&self, commit: &Commit, folder: &str) -> Result<Vec<Submodule>, GitError> {
        let Commit(name) = commit;
        let listed = self.call("ls-tree").args(["-r", "-z", "--full-tree", name]).output()?;
        let listed = String::from_utf8_lossy(&listed);
        let links = listed.split('\0').filter_map(|line| {
            let (meta, path) = line.split_once('\t')?;
            let commit = meta.strip_prefix("160000 commit ")?;
            Some((path, commit))
        });
        let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        let mut submodules: Vec<Submodule> = links
            .filter_map(|(path, commit)| {
                let _below = path.strip_prefix(&prefix)?;
                Some(Submodule { path: path.to_owned(), commit: Commit(commit.to_owned()), url: None })
            })
            .collect();
        if submodules.is_empty() {
            return Ok(submodules);
        }
        let blob = format!("{name}:.gitmodules");
        let settings = match self.call("config").args(["--blob", &blob, "-z", "--list"]).output() {
            Ok(settings) => settings,
            // There is no such file.
            Err(GitError::Failed { .. }) => Vec::new(),
            Err(error) => return Err(error),
        };
        let settings = String::from_utf8_lossy(&settings);
        let entries: Vec<(&str, &str, &str)> = settings
            .split('\0')
            .filter_map(|entry| {
                let (key, value) = entry.split_once('\n')?;
                let (name, key) = key.strip_prefix("submodule.")?.rsplit_once('.')?;
                Some((name, key, value))
            })
            .collect();
        let value = |name: &str, key: &str| {
            entries.iter().rev().find(|entry| entry.0 == name && entry.1 == key).map(|entry| entry.2)
        };
        for submodule in &mut submodules {
            let named = entries.iter().find(|entry| entry.1 == "path" && entry.2 == submodule.path);
            submodule.url = named.and_then(|entry| value(entry.0, "url")).map(str::to_owned);
        }
        for submodule in &mut submodules {
            submodule.path.replace_range(..prefix.len(), "");
        }
        Ok(submodules)
    }

    /// Makes a repository that has one commit checked out, as far as `.git` goes, in an empty folder.
    pub(super) fn clone_into(
        &self,
        folder: &Path,
        commit: &Commit,
        remote: &Remote,
        reference: Option<&str>,
    ) -> Result<(), GitError> {
        let Commit(name) = commit;
        let format = format!("--object-format={}", commit.format());
        self.git.call(None, "init").args(["--quiet", "--template=", &format]).args([folder]).output()?;
        let own = folder.join(".git");
        let call = |verb: &str| self.git.call(Some(&own), verb);
        // The only time that something is fetched from this machine: from the repository next door.
        call("fetch")
            .env("GIT_ALLOW_PROTOCOL", "file")
            .args(["--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance", "--depth=1"])
            .args([&self.folder])
            .args([commit.kept()])
            .output()?;
        call("update-ref").args(["--no-deref", "HEAD", name]).output()?;
        if let Some(reference) = reference {
            call("update-ref").args([reference, name]).output()?;
        }
        call("config").args(["remote.origin.url", &remote.url]).output()?;
        call("config").args(["remote.origin.fetch", "+refs/heads/*:refs/remotes/origin/*"]).output()?;
        call("read-tree").args(["HEAD"]).output()?;
        Ok(())
    }
}

impl Commit {
    /// The kind of names that its repository has.
    fn format(&self) -> &'static str {
        if self.0.len() == 64 { "sha256" } else { "sha1" }
    }

    /// The reference that holds it.
    fn kept(&self) -> String {
        format!("refs/rbuild/{}", self.0)
    }
}

/// Why the files of a commit could not be written.
enum WriteError {
    Git(GitError),
    Tree(rbuild_snapshotter::extract::ExtractError),
}

impl From<GitError> for WriteError {
    fn from(error: GitError) -> Self {
        Self::Git(error)
    }
}

impl From<rbuild_snapshotter::extract::ExtractError> for WriteError {
    fn from(error: rbuild_snapshotter::extract::ExtractError) -> Self {
        Self::Tree(error)
    }
}
