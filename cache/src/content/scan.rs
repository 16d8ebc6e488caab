//! One look at a tree that serves all selections of a build.
//!
//! A [`ContextScan`] is a lazy copy of the tree's names and stats in memory: a directory is listed when a selection
//! passes through it, an entry is inspected and hashed when a selection contains it. Everything is filled in once and
//! never changed, so one scan can be shared by threads, and two selections agree about the files they share.
//!
//! System calls: per directory openat2, fstat, getdents, close; per other entry one fstatat, for links also readlinkat;
//! per file that the stat index does not vouch for openat, fstat, read, fstat, close.

use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use rbuild_confined::{Kind, Metadata, Owner, Root};
use rustix::fs::AtFlags;
use rustix::io::Errno;

use super::error::{Error, Result};
use super::file::{self, Capabilities, Clocks, Reading};
use super::filter::{Decision, Filter};
use super::index::{Known, StatIndex};
use super::node::{FileFacts, Name, Stamp, TreeNode, Trust};
use super::pattern::Narrowing;
use super::pool::{self, Queue};
use super::source::{Origin, TreeSource, open_dir, read_names};
use super::view::{Ownership, View};

/// How many entries of one directory are one job.
const ENTRIES_PER_JOB: usize = 512;
/// How many files are hashed as one job, unless their bytes are enough already.
const FILES_PER_JOB: usize = 64;
/// How many bytes are hashed as one job.
const BYTES_PER_JOB: u64 = 1 << 20;
/// The most threads that walk one tree: more only wait for each other in the kernel.
const MAX_THREADS: usize = 8;

/// A tree as one build sees it; see the module's documentation.
pub struct ContextScan {
    pub(crate) source: TreeSource,
    pub(crate) top: Dir,
    index: OnceLock<StatIndex>,
    pub(super) clocks: Clocks,
    threads: usize,
    stop: Option<Stop>,
    inspected: AtomicU64,
    hashed: AtomicU64,
    pub(super) settled: AtomicU64,
}

/// Says whether a scan is to stop; asked for every directory and every file that is read, and while large ones are.
pub type Stop = Arc<dyn Fn() -> bool + Send + Sync>;

/// What a scan has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScanEffort {
    /// Entries other than directories that were inspected.
    pub inspected: u64,
    /// Files whose bytes were read.
    pub hashed: u64,
}

/// A directory of the tree, free of links and dots.
pub(crate) struct Dir {
    pub(crate) path: Box<[u8]>,
    pub(crate) presence: Presence,
    pub(super) listing: OnceLock<Option<Listing>>,
    /// The node of all that is below, for trees that are and are not from a client.
    pub(crate) nodes: [OnceLock<Arc<TreeNode>>; 2],
}

/// When a directory is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    Always,
    /// The ignore file hides it, but not all that is in it.
    IfFilled,
}

pub(crate) struct Listing {
    pub(crate) metadata: Metadata,
    pub(crate) entries: Box<[Entry]>,
}

pub(crate) struct Entry {
    pub(crate) name: Name,
    found: OnceLock<Found>,
}

/// What an entry turned out to be.
pub(crate) enum Found {
    /// It went away between two looks.
    Gone,
    Directory(Box<Dir>),
    File {
        metadata: Metadata,
        hashed: OnceLock<Option<HashedFile>>,
    },
    Symlink {
        metadata: Metadata,
        target: Arc<[u8]>,
    },
    Special(Metadata),
}

/// A file with its content; mode and owner are of the same moment, for it may have been replaced since it was found.
pub(crate) struct HashedFile {
    pub(crate) mode: u32,
    pub(crate) owner: Owner,
    pub(crate) facts: Arc<FileFacts>,
}

impl Dir {
    fn new(path: Vec<u8>, presence: Presence) -> Self {
        Self { path: path.into(), presence, listing: OnceLock::new(), nodes: Default::default() }
    }

    /// Returns the path of an entry.
    pub(crate) fn join(&self, name: &[u8]) -> Vec<u8> {
        let mut path = Vec::with_capacity(self.path.len() + 1 + name.len());
        self.start_path(&mut path);
        path.extend_from_slice(name);
        path
    }

    /// Writes the part of an entry's path that comes before its name.
    fn start_path(&self, path: &mut Vec<u8>) {
        path.clear();
        if !self.path.is_empty() {
            path.extend_from_slice(&self.path);
            path.push(b'/');
        }
    }

    /// Returns what the directory holds, if it was listed and was still there.
    pub(crate) fn known_listing(&self) -> Option<&Listing> {
        self.listing.get()?.as_ref()
    }
}

impl HashedFile {
    /// Takes the index's word for a file that looks the same.
    fn remembered(known: &Known<'_>, metadata: &Metadata) -> Self {
        let Known { name: _, stamp, digest } = *known;
        let linked = metadata.nlink > 1;
        let facts = FileFacts { digest, stamp, trust: Trust::Settled, capability: None, linked };
        Self { mode: metadata.mode, owner: metadata.owner, facts: Arc::new(facts) }
    }
}

impl Entry {
    /// Returns what the entry was found to be, if it was looked at.
    pub(crate) fn known(&self) -> Option<&Found> {
        self.found.get()
    }
}

impl Listing {
    /// Whether nothing in the directory is a directory, and all of it was looked at and hashed.
    fn is_filled_leaf(&self) -> bool {
        self.entries.iter().all(|entry| match entry.known() {
            None | Some(Found::Directory(_)) => false,
            Some(Found::File { hashed, .. }) => hashed.get().is_some(),
            Some(Found::Gone | Found::Symlink { .. } | Found::Special(_)) => true,
        })
    }

    pub(crate) fn entry(&self, name: &[u8]) -> Option<&Entry> {
        let found = self.entries.binary_search_by(|entry| (*entry.name).cmp(name));
        found.ok().map(|at| &self.entries[at])
    }
}

/// What a scan is to fill in.
#[derive(Clone, Copy)]
pub(crate) enum Target<'a> {
    /// All of a directory that the narrowing lets through.
    Directory(&'a Dir, Option<&'a Narrowing>),
    /// One file.
    File(&'a Dir, &'a Entry),
}

enum Job<'a> {
    Target(Target<'a>),
    Entries {
        dir: &'a Dir,
        entries: &'a [Entry],
        fd: Arc<OwnedFd>,
        known: Arc<Vec<Known<'a>>>,
        narrowing: Option<&'a Narrowing>,
    },
    Files {
        dir: &'a Dir,
        files: Vec<&'a Entry>,
        fd: Arc<OwnedFd>,
    },
}

type Jobs<'a> = Queue<Job<'a>, Error>;

thread_local! {
    /// What files are read into, and nodes are encoded into.
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl ContextScan {
    /// Starts with nothing looked at.
    pub fn new(source: TreeSource) -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
        Self {
            source,
            top: Dir::new(Vec::new(), Presence::Always),
            index: OnceLock::new(),
            clocks: Clocks::default(),
            threads,
            stop: None,
            inspected: AtomicU64::new(0),
            hashed: AtomicU64::new(0),
            settled: AtomicU64::new(0),
        }
    }

    /// Chooses how many threads walk and hash; by default as many as there are processors, up to eight.
    #[must_use]
    pub fn with_threads(mut self, threads: usize) -> Self {
        self.threads = threads.max(1);
        self
    }

    /// Lets somebody stop it: selections that are not hashed by then fail with [`Error::Stopped`].
    #[must_use]
    pub fn until(mut self, stop: Stop) -> Self {
        self.stop = Some(stop);
        self
    }

    fn check_stop(&self) -> Result<()> {
        if self.stop.as_ref().is_some_and(|stop| stop()) { Err(Error::Stopped) } else { Ok(()) }
    }

    /// Returns the tree's root.
    pub fn root(&self) -> &Root {
        &self.source.root
    }

    /// Returns what has been done so far.
    pub fn effort(&self) -> ScanEffort {
        ScanEffort {
            inspected: self.inspected.load(Ordering::Relaxed),
            hashed: self.hashed.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn is_client(&self) -> bool {
        matches!(self.source.origin, Origin::Client { .. })
    }

    fn filter(&self) -> Option<&dyn Filter> {
        match &self.source.origin {
            Origin::Client { filter, .. } => filter.as_deref(),
            Origin::Snapshot => None,
        }
    }

    /// Returns the index, if there is one that can be believed.
    pub(super) fn index(&self) -> Option<&StatIndex> {
        let Origin::Client { index: Some(path), .. } = &self.source.origin else { return None };
        let index = self.index.get_or_init(|| StatIndex::load(path));
        (file::now() >= index.mark()).then_some(index)
    }

    /// Lists a directory; `None` if it is gone.
    pub(crate) fn listing<'a>(&self, dir: &'a Dir) -> Result<Option<&'a Listing>> {
        if let Some(listing) = dir.listing.get() {
            return Ok(listing.as_ref());
        }
        let fd = open_dir(&self.source.root, &dir.path)?;
        self.list(dir, fd.as_ref().map(AsFd::as_fd))
    }

    fn list<'a>(&self, dir: &'a Dir, fd: Option<BorrowedFd<'_>>) -> Result<Option<&'a Listing>> {
        if let Some(listing) = dir.listing.get() {
            return Ok(listing.as_ref());
        }
        let listing = match fd {
            Some(fd) => Some(self.read_listing(dir, fd)?),
            None => None,
        };
        Ok(dir.listing.get_or_init(|| listing).as_ref())
    }

    fn read_listing(&self, dir: &Dir, fd: BorrowedFd<'_>) -> Result<Listing> {
        let stat = rustix::fs::fstat(fd).map_err(|errno| Error::io("inspect", &dir.path, errno))?;
        let names = read_names(fd).map_err(|errno| Error::io("read directory", &dir.path, errno))?;
        make_headroom(names.len());
        let mut path = Vec::new();
        dir.start_path(&mut path);
        let start = path.len();
        let mut entries = Vec::with_capacity(names.len());
        for (name, kind) in names {
            path.truncate(start);
            path.extend_from_slice(&name);
            let found = OnceLock::new();
            let kind = match kind {
                Some(kind) => kind,
                None => match self.inspect(fd, &name, &path)? {
                    Some(metadata) => metadata.kind,
                    None => continue,
                },
            };
            let is_dir = kind == Kind::Directory;
            let decision = self.filter().map_or(Decision::Include, |filter| filter.decision(&path, is_dir));
            let presence = match decision {
                Decision::Include => Presence::Always,
                Decision::ExcludeButDescend if is_dir => Presence::IfFilled,
                Decision::ExcludeButDescend | Decision::Exclude => continue,
            };
            if is_dir {
                let child = Dir::new(path.clone(), presence);
                found.get_or_init(|| Found::Directory(Box::new(child)));
            }
            entries.push(Entry { name, found });
        }
        Ok(Listing { metadata: Metadata::from_stat(&stat), entries: entries.into() })
    }

    /// Whether there is a file at this place, though the listing does not have it.
    pub(crate) fn is_hidden(&self, dir: &Dir, name: &[u8]) -> bool {
        self.filter().is_some()
            && open_dir(&self.source.root, &dir.path).is_ok_and(|fd| {
                fd.is_some_and(|fd| self.inspect(fd.as_fd(), name, name).is_ok_and(|found| found.is_some()))
            })
    }

    fn inspect(&self, dir: BorrowedFd<'_>, name: &[u8], path: &[u8]) -> Result<Option<Metadata>> {
        match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(Metadata::from_stat(&stat))),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(Error::io("inspect", path, errno)),
        }
    }

    /// Tells what an entry is.
    pub(crate) fn find<'a>(&self, dir: &Dir, entry: &'a Entry) -> Result<&'a Found> {
        if let Some(found) = entry.found.get() {
            return Ok(found);
        }
        match open_dir(&self.source.root, &dir.path)? {
            Some(fd) => self.find_at(dir, fd.as_fd(), entry),
            None => Ok(&Found::Gone),
        }
    }

    fn find_at<'a>(&self, dir: &Dir, fd: BorrowedFd<'_>, entry: &'a Entry) -> Result<&'a Found> {
        if let Some(found) = entry.found.get() {
            return Ok(found);
        }
        let path = || dir.join(&entry.name);
        let found = match rustix::fs::statat(fd, &*entry.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => {
                let metadata = Metadata::from_stat(&stat);
                match metadata.kind {
                    // The listing said that it was none, and the ignore file was asked about that.
                    Kind::Directory => return Err(Error::changed(&path())),
                    Kind::File => Found::File { metadata, hashed: OnceLock::new() },
                    Kind::Symlink => {
                        match rustix::fs::readlinkat(fd, &*entry.name, Vec::with_capacity(256)) {
                            Ok(target) => Found::Symlink { metadata, target: target.into_bytes().into() },
                            Err(Errno::NOENT) => Found::Gone,
                            Err(Errno::INVAL) => return Err(Error::changed(&path())),
                            Err(errno) => return Err(Error::io("read link", &path(), errno)),
                        }
                    }
                    _ => Found::Special(metadata),
                }
            }
            Err(Errno::NOENT) => Found::Gone,
            Err(errno) => return Err(Error::io("inspect", &path(), errno)),
        };
        Ok(entry.found.get_or_init(|| found))
    }

    /// Fills in all targets, in parallel.
    pub(crate) fn fill<'a>(&'a self, targets: impl IntoIterator<Item = Target<'a>>) -> Result<()> {
        let jobs: Vec<Job<'a>> = targets.into_iter().map(Job::Target).collect();
        if jobs.is_empty() {
            return Ok(());
        }
        pool::run(self.threads, jobs, |job, queue: &Jobs<'a>| match job {
            Job::Target(Target::Directory(dir, narrowing)) => self.do_directory(dir, narrowing, queue),
            Job::Target(Target::File(dir, entry)) => self.do_file(dir, entry),
            Job::Entries { dir, entries, fd, known, narrowing } => {
                self.do_entries(dir, entries, &fd, &known, narrowing, queue)
            }
            Job::Files { dir, files, fd } => {
                files.iter().try_for_each(|entry| self.hash(dir, fd.as_fd(), entry))
            }
        })
    }

    fn do_directory<'a>(
        &'a self,
        dir: &'a Dir,
        narrowing: Option<&'a Narrowing>,
        queue: &Jobs<'a>,
    ) -> Result<()> {
        self.check_stop()?;
        let fd = open_dir(&self.source.root, &dir.path)?;
        let Some(listing) = self.list(dir, fd.as_ref().map(AsFd::as_fd))? else { return Ok(()) };
        let Some(fd) = fd.map(Arc::new) else { return Ok(()) };
        let known = match self.index() {
            Some(index) if self.clocks.is_local(fd.as_fd(), listing.metadata.dev) => {
                index.directory(&dir.path)
            }
            _ => Vec::new(),
        };
        let known = Arc::new(known);
        let (first, rest) = listing.entries.split_at(listing.entries.len().min(ENTRIES_PER_JOB));
        queue.push(rest.chunks(ENTRIES_PER_JOB).map(|entries| Job::Entries {
            dir,
            entries,
            fd: Arc::clone(&fd),
            known: Arc::clone(&known),
            narrowing,
        }));
        self.do_entries(dir, first, &fd, &known, narrowing, queue)?;
        // Nodes that need no others are made by all threads here, and not by one in the end.
        if narrowing.is_none() && self.is_client() && rest.is_empty() && listing.is_filled_leaf() {
            let view = View { ownership: Ownership::Client, narrowing: None };
            BUFFER.with_borrow_mut(|scratch| {
                view.whole_node(dir, listing, scratch);
            });
        }
        Ok(())
    }

    fn do_entries<'a>(
        &'a self,
        dir: &'a Dir,
        entries: &'a [Entry],
        fd: &Arc<OwnedFd>,
        known: &[Known<'a>],
        narrowing: Option<&'a Narrowing>,
        queue: &Jobs<'a>,
    ) -> Result<()> {
        let mut path = Vec::new();
        dir.start_path(&mut path);
        let start = path.len();
        let mut known = entries
            .first()
            .map_or(&[][..], |first| &known[known.partition_point(|known| known.name < &*first.name)..]);
        let mut directories = Vec::new();
        let mut unknown: Vec<(&'a Entry, u64)> = Vec::new();
        let mut inspected = 0;
        for entry in entries {
            if let Some(narrowing) = narrowing {
                path.truncate(start);
                path.extend_from_slice(&entry.name);
                let is_dir = matches!(entry.known(), Some(Found::Directory(_)));
                match narrowing.decision(&path, is_dir) {
                    Decision::Include => {}
                    Decision::ExcludeButDescend if is_dir => {}
                    Decision::ExcludeButDescend | Decision::Exclude => continue,
                }
            }
            match self.find_at(dir, fd.as_fd(), entry)? {
                Found::Directory(child) => {
                    directories.push(Job::Target(Target::Directory(child, narrowing)));
                    continue;
                }
                Found::File { metadata, hashed } if hashed.get().is_none() => {
                    while let [first, rest @ ..] = known
                        && first.name < &*entry.name
                    {
                        known = rest;
                    }
                    match known.first() {
                        Some(known) if known.name == &*entry.name && known.stamp == Stamp::of(metadata) => {
                            hashed.get_or_init(|| Some(HashedFile::remembered(known, metadata)));
                        }
                        _ => unknown.push((entry, metadata.size)),
                    }
                }
                _ => {}
            }
            inspected += 1;
        }
        self.inspected.fetch_add(inspected, Ordering::Relaxed);
        // The last pushed is done first: files, while their directory is open anyway.
        queue.push(directories);
        let mut batches = batches(&unknown);
        let own = batches.pop();
        queue.push(batches.into_iter().map(|range| Job::Files {
            dir,
            files: unknown[range].iter().map(|(entry, _)| *entry).collect(),
            fd: Arc::clone(fd),
        }));
        unknown[own.unwrap_or_default()].iter().try_for_each(|(entry, _)| self.hash(dir, fd.as_fd(), entry))
    }

    fn do_file(&self, dir: &Dir, entry: &Entry) -> Result<()> {
        let Some(fd) = open_dir(&self.source.root, &dir.path)? else { return Ok(()) };
        let Found::File { metadata, hashed } = self.find_at(dir, fd.as_fd(), entry)? else { return Ok(()) };
        if hashed.get().is_some() {
            return Ok(());
        }
        self.inspected.fetch_add(1, Ordering::Relaxed);
        if let Some(index) = self.index()
            && let Some(listing) = dir.known_listing()
            && self.clocks.is_local(fd.as_fd(), listing.metadata.dev)
        {
            let known = index.directory(&dir.path);
            if let Ok(at) = known.binary_search_by(|known| known.name.cmp(&entry.name))
                && known[at].stamp == Stamp::of(metadata)
            {
                hashed.get_or_init(|| Some(HashedFile::remembered(&known[at], metadata)));
                return Ok(());
            }
        }
        self.hash(dir, fd.as_fd(), entry)
    }

    fn hash(&self, dir: &Dir, fd: BorrowedFd<'_>, entry: &Entry) -> Result<()> {
        let Some(Found::File { hashed, .. }) = entry.known() else { return Ok(()) };
        if hashed.get().is_some() {
            return Ok(());
        }
        let capabilities = if self.is_client() { Capabilities::Ignore } else { Capabilities::Read };
        // A snapshot does not change, and nothing is remembered of it by its stats.
        let mark = match dir.known_listing() {
            Some(listing) if self.is_client() => self.clocks.mark(fd, listing.metadata.dev),
            _ => None,
        };
        let stop = || self.check_stop().is_err();
        let reading = Reading { mark, capabilities, threads: self.threads, stop: &stop };
        let path = || dir.join(&entry.name);
        let result = BUFFER.with_borrow_mut(|buffer| file::hash(fd, &entry.name, &path, reading, buffer))?;
        self.hashed.fetch_add(1, Ordering::Relaxed);
        let file = result.map(|file::Hashed { metadata, facts }| {
            if facts.trust == Trust::Settled {
                self.settled.fetch_add(1, Ordering::Relaxed);
            }
            HashedFile { mode: metadata.mode, owner: metadata.owner, facts: Arc::new(facts) }
        });
        hashed.get_or_init(|| file);
        Ok(())
    }
}

/// How much the heap of a thread grows at once.
const HEADROOM: usize = 96 << 10;
/// How many entries find room in that, with all that is known of them.
const ENTRIES_PER_HEADROOM: usize = 256;

/// Lets the heap of this thread grow, where so many entries more may need it.
///
/// The C library lets the heaps of threads grow page by page, each with a system call: a thousand for what is known of
/// ten thousand files. A block that is taken and given back leaves its room at the top of the heap, where the
/// entries then find it.
fn make_headroom(entries: usize) {
    thread_local! {
        static LEFT: Cell<usize> = const { Cell::new(0) };
    }
    LEFT.with(|left| match left.get().checked_sub(entries) {
        Some(rest) => left.set(rest),
        None => {
            drop(std::hint::black_box(Vec::<u8>::with_capacity(HEADROOM)));
            left.set(ENTRIES_PER_HEADROOM);
        }
    });
}

/// Cuts a list of files into jobs, by number and by bytes.
fn batches(files: &[(&Entry, u64)]) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let (mut start, mut bytes) = (0, 0_u64);
    for (at, (_, size)) in files.iter().enumerate() {
        bytes = bytes.saturating_add(*size);
        if at + 1 - start == FILES_PER_JOB || bytes >= BYTES_PER_JOB {
            found.push(start..at + 1);
            (start, bytes) = (at + 1, 0);
        }
    }
    if start < files.len() {
        found.push(start..files.len());
    }
    found
}
