//! COPY and ADD: files of other trees into the tree that is written.
//!
//! What a source selects is known already, with its content: the selection that made the step's key is copied, name
//! by name, and for a client's folder the bytes are compared with those that were hashed while they pass. Where they
//! go is decided here (Dockerfile reference, "COPY", rules of the destination); how two trees merge is the copier's.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rbuild_cache::content::{Content, ContextScan, FileCheck, Matched, SelectionHash, TreeEntry, find};
use rbuild_confined::users::{UserSpec, Users};
use rbuild_confined::{Error as TreeError, Handle, Kind, Metadata, NewDir, Owner, Root};
use rbuild_model::file_mode::FileMode;
use rbuild_model::key::ContentHash;
use rbuild_model::mount::InputIndex;
use rbuild_model::snapshot::Chain;
use rbuild_model::step::{Copy, CopySource, PathSource, Unpack};
use rbuild_snapshotter::copier::{
    Below, Capabilities, Copier, CopyError, CopyRules, Filter, Sockets, Verdict, Watch, WatchFile,
};
use rbuild_snapshotter::extract::{Extractor, ImpliedThroughLinks, Rules};
use rbuild_solver::{RunAsk, Tree};

use crate::cancel::Cancel;
use crate::error::StepError;
use crate::runner::Runner;
use crate::sources::archive;

/// How many links a destination may lead through.
const MAX_LINKS: usize = 40;

/// The tree that is written, and what is needed to write it as asked.
struct Target<'a> {
    /// The merged tree, or the upper folder of the layer that is written.
    root: &'a Root,
    /// Where to, as `copy` says or with its links resolved.
    dest: String,
    /// The merged tree below, where `root` is an upper folder.
    view: Option<&'a Root>,
    copy: &'a Copy,
    owner: Option<Owner>,
    mode: Option<FileMode>,
    cancel: &'a Cancel,
}

/// Copies everything that the action names into `root`, the tree of a snapshot over a base.
pub(crate) fn run(
    runner: &Runner<'_>,
    ask: &RunAsk,
    copy: &Copy,
    root: &Root,
    base: &Chain,
) -> Result<(), StepError> {
    let fail = |error: BoxError| StepError::Copy { path: copy.dest.clone(), source: error };
    let mode = copy.mode.as_deref().map(parse_mode).transpose().map_err(fail)?;
    let owner = owner(runner, ask, copy, root, base)?;
    let target =
        Target { root, dest: copy.dest.clone(), view: None, copy, owner, mode, cancel: runner.cancel() };
    target.all(runner, ask)
}

/// Copies everything that the action names straight into the upper folder of the layer that is written, with nothing
/// mounted; `false` if that cannot be done and nothing was done.
pub(crate) fn run_on_upper(
    runner: &Runner<'_>,
    ask: &RunAsk,
    copy: &Copy,
    base: &Chain,
    upper: &Root,
    view: &Root,
) -> Result<bool, StepError> {
    let fail = |error: BoxError| StepError::Copy { path: copy.dest.clone(), source: error };
    if copy.unpack == Unpack::Archives {
        return Ok(false);
    }
    let Some(place) = resolve(view, &copy.dest).map_err(|error| fail(error.into()))? else {
        return Ok(false);
    };
    mirror_folders(view, upper, &place.existing).map_err(|error| fail(error.into()))?;
    let mode = copy.mode.as_deref().map(parse_mode).transpose().map_err(fail)?;
    let owner = owner(runner, ask, copy, view, base)?;
    let target = Target {
        root: upper,
        dest: place.dest,
        view: Some(view),
        copy,
        owner,
        mode,
        cancel: runner.cancel(),
    };
    target.all(runner, ask)?;
    Ok(true)
}

/// A destination without links.
struct Place {
    /// The whole of it, with a `/` at its end if it was written so.
    dest: String,
    /// The part of it that is there, as folders.
    existing: PathBuf,
}

/// Resolves the links of a destination in the merged tree; `None` where one leads nowhere, or a file is in the way: the
/// mounted tree then tells what that comes to.
fn resolve(view: &Root, dest: &str) -> Result<Option<Place>, rbuild_confined::Error> {
    let mut existing = PathBuf::new();
    let mut components = Path::new(dest).components().filter_map(|component| match component {
        std::path::Component::Normal(name) => Some(name),
        _ => None,
    });
    let mut missing = PathBuf::new();
    while let Some(name) = components.next() {
        let place = existing.join(name);
        match view.find_nofollow(&place)?.map(|found| found.metadata()).transpose()?.map(|meta| meta.kind) {
            None => {
                missing.push(name);
                missing.extend(components);
                break;
            }
            Some(Kind::Directory) => existing = place,
            Some(Kind::Symlink) => match view.find(&place)?.map(|found| found.metadata()).transpose()? {
                Some(meta) if meta.is_dir() => existing = view.canonicalize(&place)?,
                _ => return Ok(None),
            },
            Some(_) => return Ok(None),
        }
    }
    let slash = if dest.ends_with('/') && dest != "/" { "/" } else { "" };
    let Some(whole) =
        Path::new("/").join(&existing).join(&missing).to_str().map(|path| format!("{path}{slash}"))
    else {
        return Ok(None);
    };
    Ok(Some(Place { dest: whole, existing }))
}

/// Makes the folders of a path in an upper folder as they are in the merged tree: they then merge with those.
fn mirror_folders(view: &Root, upper: &Root, path: &Path) -> Result<(), rbuild_confined::Error> {
    let mut place = PathBuf::new();
    for name in path.components() {
        place.push(name);
        let meta = view.symlink_metadata(&place)?;
        upper.mkdir_all(
            &place,
            NewDir { mode: meta.mode, owner: Some(meta.owner), mtime: Some(meta.mtime) },
        )?;
    }
    // Making a folder in another moved the other's time; only that of the last one is to move.
    let mut place = path.to_owned();
    while place.pop() {
        let seen = if place.as_os_str().is_empty() { Path::new("/") } else { &place };
        let time = view.symlink_metadata(seen)?.mtime.timespec();
        let folder = upper.resolve_nofollow(seen)?.open_dir()?;
        rustix::fs::futimens(&folder, &rustix::fs::Timestamps { last_access: time, last_modification: time })
            .map_err(|errno| rbuild_confined::Error::io("set the time of", seen, errno))?;
    }
    Ok(())
}

fn parse_mode(text: &str) -> Result<FileMode, BoxError> {
    Ok(text.parse()?)
}

/// Copies a path of a tree to the same path below `root`: a client's folder as far as its ignore file shows it.
pub(crate) fn mirror(
    runner: &Runner<'_>,
    tree: &Tree,
    path: &str,
    root: &Root,
    hashes: &[ContentHash],
) -> Result<(), StepError> {
    let source = PathSource { from_client: true, ..PathSource::literal(path) };
    let is_dir =
        runner.selection(tree, &source)?.matches().iter().any(|matched| matched.kind() == Kind::Directory);
    let dest = if is_dir { format!("{}/", path.trim_end_matches('/')) } else { path.to_owned() };
    plain(runner, tree, &source, dest, root, hashes)
}

/// Copies what is in a folder of a tree into `root` itself.
pub(crate) fn contents(runner: &Runner<'_>, tree: &Tree, path: &str, root: &Root) -> Result<(), StepError> {
    let from_client = matches!(tree, Tree::Local(_));
    let source = PathSource { from_client, ..PathSource::literal(path) };
    plain(runner, tree, &source, "/".to_owned(), root, &[])
}

fn plain(
    runner: &Runner<'_>,
    tree: &Tree,
    path: &PathSource,
    dest: String,
    root: &Root,
    hashes: &[ContentHash],
) -> Result<(), StepError> {
    let copy = Copy {
        sources: Vec::new(),
        dest,
        owner: None,
        mode: None,
        parents: false,
        exclude: Vec::new(),
        unpack: Unpack::Never,
        link: false,
    };
    let (dest, cancel) = (copy.dest.clone(), runner.cancel());
    Target { root, dest, view: None, copy: &copy, owner: None, mode: None, cancel }
        .copy_from_tree(runner, tree, path, hashes)
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Looks the owner up: in the tree that is written, or in the one that `--link` names.
fn owner(
    runner: &Runner<'_>,
    ask: &RunAsk,
    copy: &Copy,
    root: &Root,
    base: &Chain,
) -> Result<Option<Owner>, StepError> {
    let Some(asked) = &copy.owner else { return Ok(None) };
    let fail = |source| StepError::User { user: asked.spec.clone(), source };
    let spec = UserSpec::of_file(&asked.spec);
    let owner = match asked.lookup {
        Some(input) => {
            let tree = ask.input(input).expect("the front end names inputs that are there");
            Users::load(runner.scan(tree)?.root()).owner(&spec)
        }
        None if base.is_empty() => Users::owner_without_tree(&spec),
        None => Users::load(root).owner(&spec),
    };
    owner.map(Some).map_err(fail)
}

impl Target<'_> {
    fn all(&self, runner: &Runner<'_>, ask: &RunAsk) -> Result<(), StepError> {
        let (target, copy) = (self, self.copy);
        let fail = |error: BoxError| StepError::Copy { path: copy.dest.clone(), source: error };
        if copy.parents {
            target.folder(&target.dest).map_err(|error| fail(error.into()))?;
        }
        for source in &copy.sources {
            match source {
                CopySource::Tree { input, path } => target.tree(runner, ask, *input, path)?,
                CopySource::Inline { name, body } => target
                    .inline(runner, name, body)
                    .map_err(|source| StepError::Copy { path: format!("<<{name}"), source })?,
            }
        }
        Ok(())
    }

    fn tree(
        &self,
        runner: &Runner<'_>,
        ask: &RunAsk,
        input: InputIndex,
        path: &PathSource,
    ) -> Result<(), StepError> {
        let tree = ask.input(input).expect("the front end names inputs that are there");
        self.copy_from_tree(runner, tree, path, &ask.hashes)
    }

    /// Copies what a path selects. `hashes` are those that the step's key was made of; what a client's folder gives must
    /// be among them, or another step has seen that the folder changed and made everybody look again.
    fn copy_from_tree(
        &self,
        runner: &Runner<'_>,
        tree: &Tree,
        path: &PathSource,
        hashes: &[ContentHash],
    ) -> Result<(), StepError> {
        let scan = runner.scan(tree)?;
        let selection = runner.selection(tree, path)?;
        if path.from_client && !hashes.is_empty() && !hashes.contains(&selection.hash()) {
            return Err(StepError::Changing { path: path.path.clone() });
        }
        for (index, matched) in selection.matches().iter().enumerate() {
            let is_archive = self.copy.unpack == Unpack::Archives && matched.kind() == Kind::File;
            let check = path.from_client.then(|| Check::new(&selection, index)).flatten();
            self.matched(&scan, matched, path, check.as_ref())
                .map_err(|source| StepError::Copy { path: path.path.clone(), source })?;
            // What is unpacked does not pass file by file.
            if let Some(check) = check
                && (!is_archive || check.saw_anything())
                && !check.holds()
            {
                return Err(StepError::Changing { path: path.path.clone() });
            }
        }
        Ok(())
    }

    fn matched(
        &self,
        scan: &ContextScan,
        matched: &Matched,
        path: &PathSource,
        check: Option<&Check<'_>>,
    ) -> Result<(), BoxError> {
        let place = if matched.path().as_os_str().is_empty() { Path::new("/") } else { matched.path() };
        let source = scan.root().resolve_nofollow(place)?;
        if matched.kind() == Kind::Directory {
            let dest = self.folder(&self.dest).map_err(|error| match error {
                TreeError::Io { path, source, .. }
                    if source.kind() == std::io::ErrorKind::NotADirectory
                        && path == Path::new(&self.dest) =>
                {
                    CopyError::OntoFile { path }.into()
                }
                other => BoxError::from(other),
            })?;
            return self.directory(&source, matched, dest, path, check);
        }
        if self.copy.unpack == Unpack::Archives
            && matched.kind() == Kind::File
            && let Some(archive) = archive::open(source.open_file()?)?
        {
            // `--chmod` is not for archives, nor for the folder that one needs.
            let dest = self.folder_with(&self.copy.dest, 0o755)?;
            let implied_through_links = ImpliedThroughLinks::Make;
            let rules = Rules { owner: self.owner, implied_through_links, ..Rules::default() };
            Extractor::onto_tree(dest.into_root()?, rules)?.extract(archive)?;
            return Ok(());
        }
        let (dest, name) = self.file_place(matched.name())?;
        let below = self.below(dest.path())?;
        self.with_copier(path, check, None, below, |copier| Ok(copier.copy_entry(&source, &dest, &name)?))
    }

    fn directory(
        &self,
        source: &Handle,
        matched: &Matched,
        dest: Handle,
        path: &PathSource,
        check: Option<&Check<'_>>,
    ) -> Result<(), BoxError> {
        let entry = matched.entry();
        let mut filter = |path: &Path, _kind: Kind| match find(entry, path) {
            Some(_) => Verdict::Take,
            None => Verdict::Skip,
        };
        let below = self.below(Path::new(&self.dest))?;
        self.with_copier(path, check, Some(&mut filter), below, |copier| Ok(copier.copy_dir(source, dest)?))
    }

    /// Makes a copier that does what the step says and hands it on.
    fn with_copier(
        &self,
        path: &PathSource,
        check: Option<&Check<'_>>,
        filter: Option<Filter<'_>>,
        below: Option<Below>,
        work: impl FnOnce(&mut Copier<'_>) -> Result<(), BoxError>,
    ) -> Result<(), BoxError> {
        let apply = |kind: Kind, old: u32| match &self.mode {
            Some(mode) => mode.apply(old, kind == Kind::Directory),
            None => old,
        };
        let rules = CopyRules {
            owner: self.owner.or(path.from_client.then_some(Owner::ROOT)),
            mode: if self.mode.is_some() { Some(&apply) } else { None },
            mtime: None,
            capabilities: if path.from_client { Capabilities::Drop } else { Capabilities::Keep },
            sockets: if path.from_client { Sockets::EmptyFiles } else { Sockets::Skip },
        };
        let stop = || self.cancel.is_cancelled();
        let mut copier = Copier::new(rules).until(&stop);
        if let Some(filter) = filter {
            copier = copier.with_filter(filter);
        }
        if let Some(check) = check {
            copier = copier.with_watch(check);
        }
        if let Some(below) = below {
            copier = copier.with_below(below);
        }
        work(&mut copier)
    }

    /// Makes a folder of the destination, with what is missing on the way.
    fn folder(&self, path: &str) -> Result<Handle, TreeError> {
        self.folder_with(path, self.mode.as_ref().map_or(0o755, FileMode::for_new_parents))
    }

    fn folder_with(&self, path: &str, mode: u32) -> Result<Handle, TreeError> {
        let owner = Some(self.owner.unwrap_or(Owner::ROOT));
        Ok(self.root.mkdir_all(path, NewDir { mode, owner, mtime: None })?.dir)
    }

    /// Says what lies below a folder of the destination, where an upper folder is written and something does.
    fn below(&self, folder: &Path) -> Result<Option<Below>, BoxError> {
        let Some(view) = self.view else { return Ok(None) };
        let is_there = view.find_nofollow(folder)?.map(|found| found.metadata()).transpose()?;
        if !is_there.is_some_and(|meta| meta.is_dir()) {
            return Ok(None);
        }
        Ok(Some(Below { root: view.try_clone()?, path: folder.to_owned() }))
    }

    /// Finds where a file goes: the folder, and the name in it.
    fn file_place(&self, name: &OsStr) -> Result<(Handle, OsString), BoxError> {
        let dest = self.dest.as_str();
        let as_folder = dest.ends_with('/') || self.copy.parents;
        let is_folder = |root: &Root| -> Result<bool, BoxError> {
            Ok(root.find(dest)?.map(|found| found.metadata()).transpose()?.is_some_and(|meta| meta.is_dir()))
        };
        if as_folder || is_folder(self.root)? || self.view.map(is_folder).transpose()?.unwrap_or(false) {
            return Ok((self.folder(dest)?, name.to_owned()));
        }
        // The destination as written is followed if it is a link, also where that leads to nothing yet.
        let mut place = PathBuf::from(dest);
        for _ in 0..MAX_LINKS {
            let parent = place.parent().map_or("/".into(), Path::to_path_buf);
            let last = place.file_name().ok_or("the destination has no name")?.to_owned();
            let folder = self.folder(parent.to_str().ok_or("the destination is not UTF-8")?)?;
            match self.root.find_nofollow(&place)? {
                Some(found) if found.metadata()?.kind == Kind::Symlink => {
                    let link = found.read_link()?;
                    place = parent.join(link);
                }
                _ => return Ok((folder, last)),
            }
        }
        Err(format!("too many links on the way to {dest}").into())
    }

    fn inline(&self, runner: &Runner<'_>, name: &str, body: &str) -> Result<(), BoxError> {
        let (dest, name) = self.file_place(OsStr::new(name))?;
        let folder = runner.temp_folder()?;
        let file = folder.path().join("body");
        std::fs::write(&file, body)?;
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644))?;
        let source = Root::open(folder.path())?.resolve_nofollow("body")?;
        let path = PathSource { from_client: true, ..PathSource::literal("/") };
        let below = self.below(dest.path())?;
        self.with_copier(&path, None, None, below, |copier| Ok(copier.copy_entry(&source, &dest, &name)?))
    }
}

/// Compares what passes with what was hashed: names, kinds, modes, link targets, bytes, and that nothing is missing.
struct Check<'a> {
    entry: &'a TreeEntry,
    /// How many entries have passed, the match itself included.
    passed: AtomicU64,
    /// Whether something was not as it was hashed.
    differs: AtomicBool,
}

impl<'a> Check<'a> {
    fn new(selection: &'a SelectionHash, index: usize) -> Option<Self> {
        let entry = selection.matches().get(index)?.entry();
        Some(Self { entry, passed: AtomicU64::new(0), differs: AtomicBool::new(false) })
    }

    /// Returns whether anything has passed.
    fn saw_anything(&self) -> bool {
        self.passed.load(Ordering::Relaxed) > 0
    }

    /// Returns whether everything that was hashed has passed, as it was.
    fn holds(self) -> bool {
        !self.differs.into_inner() && self.passed.into_inner() == count(self.entry)
    }

    /// Finds what was hashed of an entry that passes.
    fn hashed(&self, path: &Path) -> Option<&'a TreeEntry> {
        self.passed.fetch_add(1, Ordering::Relaxed);
        find(self.entry, path)
    }

    fn note(&self, is_as_hashed: bool) {
        if !is_as_hashed {
            self.differs.store(true, Ordering::Relaxed);
        }
    }
}

/// Counts an entry and all that is below it.
fn count(entry: &TreeEntry) -> u64 {
    match entry.content() {
        Content::Directory(node) => 1 + node.entries().iter().map(count).sum::<u64>(),
        _ => 1,
    }
}

impl Watch for Check<'_> {
    fn entry(&self, path: &Path, meta: &Metadata, target: Option<&Path>) {
        let is_as_hashed = self.hashed(path).is_some_and(|entry| match entry.content() {
            // A socket counts as an empty file.
            Content::File(facts) => {
                meta.kind == Kind::Socket && entry.mode() == meta.mode && FileCheck::new(facts).matches()
            }
            // The top folder's own attributes are never copied.
            Content::Directory(_) => {
                meta.is_dir() && (path.as_os_str().is_empty() || entry.mode() == meta.mode)
            }
            Content::Symlink(text) => target.is_some_and(|target| target.as_os_str().as_bytes() == &text[..]),
            Content::Special(kind, _) => meta.kind == *kind && entry.mode() == meta.mode,
        });
        self.note(is_as_hashed);
    }

    fn file<'w>(&'w self, path: &Path, meta: &Metadata) -> Box<dyn WatchFile + 'w> {
        let bytes = self.hashed(path).and_then(|entry| match entry.content() {
            Content::File(facts) if entry.mode() == meta.mode => Some(FileCheck::new(facts)),
            _ => None,
        });
        Box::new(Bytes { check: self, bytes })
    }
}

/// Compares the bytes of one file.
struct Bytes<'w, 'a> {
    check: &'w Check<'a>,
    bytes: Option<FileCheck<'a>>,
}

impl WatchFile for Bytes<'_, '_> {
    fn data(&mut self, bytes: &[u8]) {
        if let Some(check) = &mut self.bytes {
            check.update(bytes);
        }
    }

    fn end(self: Box<Self>) {
        self.check.note(self.bytes.is_some_and(|check| check.matches()));
    }
}
