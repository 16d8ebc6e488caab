//! What is built from: the clients' folders as one build sees them (opened once, filtered by their ignore files, looked at
//! once), and main contexts that have to be brought in before the Dockerfile in them can be read.
//!
//! Ignore files count for folders of the client only: what lies in a repository or an archive was chosen by who made it.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use rbuild_cache::content::{ContextScan, Decision, Filter, TreeSource};
use rbuild_confined::Root;
use rbuild_frontend::ignore::{Ignore, IgnoreError, text_of};
use rbuild_frontend::lower::{GitUrlError, parse_git_url, without_credentials};
use rbuild_image::hash::HashingReader;
use rbuild_model::event::Events;
use rbuild_model::snapshot::Chain;
use rbuild_model::span::{Diagnostic, Source, Span};
use rbuild_model::step::{ArchiveSource, GitSource, HttpSource, LocalSource, Source as Tree};

use crate::cancel::Cancel;
use crate::error::{BuildError, StepError};
use crate::request::{BuildRequest, Client, ClientError, DockerfilePlace, LocalTree, MainContext};
use crate::sources::{Fetcher, archive, git, http};
use crate::tasks::Tasks;
use crate::worker::Worker;

/// The most bytes of a Dockerfile.
pub const MAX_DOCKERFILE: u64 = 16 << 20;
/// The name of the only file of a context that is a file.
const FILE_NAME: &str = "context";

/// The clients of one build, and their folders.
pub(crate) struct Contexts<'a> {
    /// One a target.
    clients: Vec<&'a dyn Client>,
    /// The folders by what the graph calls them.
    folders: Mutex<BTreeMap<String, Folder>>,
    /// Where stat indexes lie.
    indexes: PathBuf,
    scans: Mutex<HashMap<String, Arc<ContextScan>>>,
    /// The switch of who looks at them now.
    cancel: Arc<Mutex<Cancel>>,
}

/// A folder of a client.
struct Folder {
    /// The position of the client.
    client: usize,
    /// What the client calls it.
    name: String,
    path: PathBuf,
    ignore: Option<Arc<Source>>,
}

/// One of the clients of a build.
#[derive(Clone, Copy)]
pub(crate) struct Seat<'s, 'a> {
    contexts: &'s Contexts<'a>,
    at: usize,
}

impl<'a> Seat<'_, 'a> {
    pub(crate) fn client(&self) -> &'a dyn Client {
        self.contexts.clients[self.at]
    }

    /// Names a folder of the client among those of all: the same folder with the same ignore file is one.
    pub(crate) fn folder(&self, name: &str) -> Result<LocalSource, ClientError> {
        let LocalTree { path, ignore, root: _ } = self.client().local(name)?;
        let text = |ignore: &Option<Arc<Source>>| ignore.as_ref().map(|text| text.text().to_owned());
        let mut folders = self.contexts.folders.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |folder: &Folder| folder.path == path && text(&folder.ignore) == text(&ignore);
        if let Some((known, _)) = folders.iter().find(|(_, folder)| same(folder)) {
            return Ok(LocalSource { name: known.clone() });
        }
        let numbered = (1_u32..).map(|number| format!("{name}#{number}"));
        let free = std::iter::once(name.to_owned()).chain(numbered).find(|name| !folders.contains_key(name));
        let graph_name = free.expect("numbers do not run out");
        folders.insert(graph_name.clone(), Folder { client: self.at, name: name.to_owned(), path, ignore });
        Ok(LocalSource { name: graph_name })
    }
}

/// The clients of all who want the same: what one does not have, another may.
pub(crate) struct AnyOf<'a>(pub(crate) Vec<&'a dyn Client>);

impl AnyOf<'_> {
    fn first(&self) -> Result<&dyn Client, ClientError> {
        let nobody = || ClientError { message: "nobody asked for it".to_owned(), source: None };
        self.0.first().copied().ok_or_else(nobody)
    }
}

impl Client for AnyOf<'_> {
    fn secret(&self, id: &str) -> Result<Option<Vec<u8>>, ClientError> {
        self.0
            .iter()
            .map(|client| client.secret(id))
            .find(|found| !matches!(found, Ok(None)))
            .unwrap_or(Ok(None))
    }

    fn ssh_agent(&self, id: &str) -> Result<Option<PathBuf>, ClientError> {
        self.0
            .iter()
            .map(|client| client.ssh_agent(id))
            .find(|found| !matches!(found, Ok(None)))
            .unwrap_or(Ok(None))
    }

    fn local(&self, name: &str) -> Result<LocalTree, ClientError> {
        self.first()?.local(name)
    }

    fn input(&self) -> Result<Box<dyn std::io::Read + Send>, ClientError> {
        self.first()?.input()
    }

    fn output(&self) -> Result<Box<dyn std::io::Write + Send>, ClientError> {
        self.first()?.output()
    }
}

/// An ignore file as the scan asks it.
struct IgnoreFilter(Arc<Ignore>);

impl Filter for IgnoreFilter {
    fn decision(&self, path: &[u8], is_dir: bool) -> Decision {
        let path = text_of(path);
        match (self.0.ignores(&path), is_dir) {
            (false, _) => Decision::Include,
            (true, true) if !self.0.prunes(&path) => Decision::ExcludeButDescend,
            (true, _) => Decision::Exclude,
        }
    }
}

impl<'a> Contexts<'a> {
    /// Opens nothing yet.
    pub(crate) fn new(clients: Vec<&'a dyn Client>, indexes: PathBuf) -> Self {
        let folders = Mutex::default();
        Self { clients, folders, indexes, scans: Mutex::default(), cancel: Arc::default() }
    }

    /// Returns the client at a position.
    pub(crate) fn seat(&self, at: usize) -> Seat<'_, 'a> {
        Seat { contexts: self, at }
    }

    /// Returns what the client calls a folder of the graph.
    pub(crate) fn written_name(&self, name: &str) -> String {
        let folders = self.folders.lock().unwrap_or_else(PoisonError::into_inner);
        folders.get(name).map_or_else(|| name.to_owned(), |folder| folder.name.clone())
    }

    /// Opens a folder of the graph.
    fn open(&self, name: &str) -> Result<LocalTree, ClientError> {
        let folders = self.folders.lock().unwrap_or_else(PoisonError::into_inner);
        let Folder { client, name, .. } = folders
            .get(name)
            .ok_or_else(|| ClientError { message: format!("there is no context {name}"), source: None })?;
        self.clients[*client].local(name)
    }

    /// From now on the folders are looked at for somebody with this switch.
    pub(crate) fn look_for(&self, cancel: &Cancel) {
        *self.cancel.lock().unwrap_or_else(PoisonError::into_inner) = cancel.clone();
    }

    /// Returns the one look at a folder that all steps share.
    pub(crate) fn scan(&self, name: &str) -> Result<Arc<ContextScan>, StepError> {
        let mut scans = self.scans.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(scan) = scans.get(name) {
            return Ok(Arc::clone(scan));
        }
        let tree = self.open(name).map_err(StepError::Client)?;
        let index = blake3_name(&tree.path);
        let mut source = TreeSource::client(tree.root).with_index(self.indexes.join(index));
        if let Some(text) = &tree.ignore {
            let ignore = parse(text).map_err(|error| StepError::Hash(error.into()))?;
            if !ignore.is_empty() {
                source = source.with_filter(Arc::new(IgnoreFilter(Arc::new(ignore))));
            }
        }
        let cancel = Arc::clone(&self.cancel);
        let stop = move || cancel.lock().unwrap_or_else(PoisonError::into_inner).is_cancelled();
        let scan = Arc::new(ContextScan::new(source).until(Arc::new(stop)));
        scans.insert(name.to_owned(), Arc::clone(&scan));
        Ok(scan)
    }

    /// Forgets what was seen: files changed.
    pub(crate) fn forget(&self) {
        self.scans.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Writes down what was hashed, so that the next build need not read it again; a failure only costs time.
    pub(crate) fn save(&self) -> Vec<String> {
        let scans = self.scans.lock().unwrap_or_else(PoisonError::into_inner);
        scans.values().filter_map(|scan| scan.save_index().err()).map(|error| error.to_string()).collect()
    }

    /// Lets go of what was seen: of ten thousand files that takes longer than a millisecond, for which nobody waits.
    pub(crate) fn let_go(&self) {
        let scans = std::mem::take(&mut *self.scans.lock().unwrap_or_else(PoisonError::into_inner));
        // Fewer are gone before another thread begins.
        if scans.values().any(|scan| scan.effort().inspected > 1000) {
            // Without a thread they go here.
            let _ = std::thread::Builder::new().name("let go".to_owned()).spawn(|| drop(scans));
        }
    }
}

fn blake3_name(path: &std::path::Path) -> String {
    use std::os::unix::ffi::OsStrExt as _;
    blake3::hash(path.as_os_str().as_bytes()).to_hex()[..32].to_owned()
}

fn parse(text: &Source) -> Result<Ignore, IgnoreError> {
    Ignore::parse(text.text())
}

/// Reads an ignore file; what is wrong with it is told with its line.
pub(crate) fn ignore(text: &Arc<Source>) -> Result<Ignore, BuildError> {
    parse(text).map_err(|error| {
        let line = error.line();
        let start: usize = text.text().split_inclusive('\n').take(line - 1).map(str::len).sum();
        let length = text.line(line).map_or(0, str::len);
        let message = error.to_string();
        let message = message.split_once(": ").map_or(message.clone(), |(_, rest)| rest.to_owned());
        BuildError::Dockerfile(vec![Diagnostic::error(text, Span::new(start, start + length), message)])
    })
}

/// Brings in what has to be there before the Dockerfile can be read, and writes into the request what it came to.
pub(crate) fn bring(
    worker: &Worker,
    request: &mut BuildRequest,
    client: &dyn Client,
    tasks: &Tasks,
    cancel: &Cancel,
) -> Result<(), BuildError> {
    let tree = tree(worker, request, client, tasks, cancel)?;
    match (request.dockerfile_place.clone(), tree) {
        (DockerfilePlace::Given, _) | (DockerfilePlace::Context(_), None) => Ok(()),
        (DockerfilePlace::Context(path), Some(chain)) => {
            let text = dockerfile_in(worker, &chain, path.as_deref());
            let what = path.unwrap_or_else(|| "Dockerfile".to_owned());
            request.dockerfile = text.map_err(|source| BuildError::Context { what, source })?;
            Ok(())
        }
        (DockerfilePlace::Web(url), _) => {
            let name = without_credentials(&url);
            let task = format!("[internal] load build definition from {name}");
            request.dockerfile = brought(&name, &task, worker, client, tasks, cancel, |fetcher| {
                let chain = http::fetch(fetcher, &web_source(&url))?.chain;
                let file = worker.view(&chain)?.read(FILE_NAME, MAX_DOCKERFILE);
                let bytes = file.map_err(|error| fetcher.failed(error))?;
                text(&name, bytes).map_err(|error| fetcher.failed(error))
            })?;
            Ok(())
        }
    }
}

/// Brings in the main context, if it is no folder of the client; a Dockerfile alone has none.
fn tree(
    worker: &Worker,
    request: &mut BuildRequest,
    client: &dyn Client,
    tasks: &Tasks,
    cancel: &Cancel,
) -> Result<Option<Chain>, BuildError> {
    match request.main.clone() {
        MainContext::Given => Ok(None),
        MainContext::Stream => {
            let what = "the context from the input";
            let input = client.input()?;
            brought(what, "[internal] load remote build context", worker, client, tasks, cancel, |fetcher| {
                from_stream(fetcher, request, input)
            })
        }
        MainContext::Git(url) => {
            let name = without_credentials(&url);
            let task = format!("[internal] load git source {name}");
            brought(&name, &task, worker, client, tasks, cancel, |fetcher| {
                from_git(fetcher, request, &url).map(Some)
            })
        }
        MainContext::Web(url) => {
            let name = without_credentials(&url);
            let task = format!("[internal] load remote build context {name}");
            brought(&name, &task, worker, client, tasks, cancel, |fetcher| from_web(fetcher, request, &url))
        }
    }
}

impl Worker {
    /// Brings in the main context of a request, if it is no folder of the client, and returns its root; a Dockerfile that comes
    /// alone has none. The worker is to live for as long as the root is looked at.
    pub fn main_context(
        &self,
        request: &mut BuildRequest,
        client: &dyn Client,
        events: Events,
        cancel: &Cancel,
    ) -> Result<Option<Root>, BuildError> {
        let tasks = Tasks::new(events);
        let Some(chain) = tree(self, request, client, &tasks, cancel)? else { return Ok(None) };
        let failed =
            |source: StepError| BuildError::Context { what: "the context".to_owned(), source: source.into() };
        self.view(&chain).map(Some).map_err(failed)
    }
}

/// Does something with a task of its own, and says what it was for if it fails.
fn brought<T>(
    what: &str,
    task: &str,
    worker: &Worker,
    client: &dyn Client,
    tasks: &Tasks,
    cancel: &Cancel,
    bring: impl FnOnce(&Fetcher<'_>) -> Result<T, StepError>,
) -> Result<T, BuildError> {
    let task = tasks.begin(task);
    let result = bring(&Fetcher { worker, client, cancel, task: &task, name: what, kept_name: what });
    task.finish_by(&result);
    result.map_err(|error| match error {
        StepError::Cancelled => BuildError::Cancelled,
        StepError::Snapshot(rbuild_snapshotter::Error::Missing { id }) => BuildError::LostSnapshot(id),
        StepError::Fetch { what, source } => BuildError::Context { what, source },
        other => BuildError::Context { what: what.to_owned(), source: other.into() },
    })
}

/// Takes a stream for what it is: an archive, or a Dockerfile.
fn from_stream(
    fetcher: &Fetcher<'_>,
    request: &mut BuildRequest,
    input: Box<dyn std::io::Read + Send>,
) -> Result<Option<Chain>, StepError> {
    let (file, digest) = archive::spool(fetcher.worker, input).map_err(|error| fetcher.failed(error))?;
    let again = file.try_clone().map_err(|error| fetcher.failed(error))?;
    if let Some(archive) = archive::open(file).map_err(|error| fetcher.failed(error))? {
        let source = ArchiveSource { digest };
        let tree = archive::unpack(fetcher, &source, archive)?;
        request.options.context = Tree::Archive(source);
        return Ok(Some(tree.chain));
    }
    if request.dockerfile_place != DockerfilePlace::Context(None) {
        return Err(fetcher
            .failed("it is no archive, and another Dockerfile is named: a Dockerfile alone has no context"));
    }
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut std::io::Read::take(again, MAX_DOCKERFILE + 1), &mut bytes)
        .map_err(|error| fetcher.failed(error))?;
    request.dockerfile = text("Dockerfile", bytes).map_err(|error| fetcher.failed(error))?;
    request.options.context = Tree::Scratch;
    Ok(None)
}

fn from_git(fetcher: &Fetcher<'_>, request: &mut BuildRequest, url: &str) -> Result<Chain, StepError> {
    let mut source = git_source(url).map_err(|error| fetcher.failed(error))?;
    let build_args = &request.options.build_args;
    let is_on = |value: &String| rbuild_model::truth::parse_bool(value) == Some(true);
    source.keep_git_dir |= build_args.get("BUILDKIT_CONTEXT_KEEP_GIT_DIR").is_some_and(is_on);
    // From here on the repository may move: this build stays where it began.
    let resolved = git::resolve(fetcher, &source)?;
    let pinned = resolved.pinned(&source);
    let tree = git::fetch(fetcher, &pinned)?;
    request.options.context = Tree::Git(pinned);
    Ok(tree.chain)
}

fn from_web(
    fetcher: &Fetcher<'_>,
    request: &mut BuildRequest,
    url: &str,
) -> Result<Option<Chain>, StepError> {
    let source = web_source(url);
    let tree = http::fetch(fetcher, &source)?;
    let view = fetcher.worker.view(&tree.chain)?;
    let open = || view.open_file(FILE_NAME).map_err(|error| fetcher.failed(error));
    let Some(archive) = archive::open(open()?).map_err(|error| fetcher.failed(error))? else {
        let bytes = view.read(FILE_NAME, MAX_DOCKERFILE).map_err(|error| fetcher.failed(error))?;
        let name = without_credentials(url);
        if request.dockerfile_place == DockerfilePlace::Context(None) {
            request.dockerfile = text(&name, bytes).map_err(|error| fetcher.failed(error))?;
            request.dockerfile_place = DockerfilePlace::Given;
        }
        request.options.context = Tree::Http(source);
        return Ok(Some(tree.chain));
    };
    request.options.context_time = http::time(fetcher, &source)?;
    let mut reader = HashingReader::new(open()?);
    std::io::copy(&mut reader, &mut std::io::sink()).map_err(|error| fetcher.failed(error))?;
    let source = ArchiveSource { digest: reader.summary().blob() };
    let unpacked = archive::unpack(fetcher, &source, archive)?;
    request.options.context = Tree::Archive(source);
    Ok(Some(unpacked.chain))
}

/// Tells which time a source from outside has, in Unix seconds.
pub(crate) fn time(
    worker: &Worker,
    source: &Tree,
    client: &dyn Client,
    tasks: &Tasks,
    cancel: &Cancel,
) -> Result<Option<i64>, BuildError> {
    let (name, task) = match source {
        Tree::Git(git) => (without_credentials(&git.remote), "git source"),
        Tree::Http(file) => (without_credentials(&file.url), "file"),
        _ => return Ok(None),
    };
    let task = format!("[internal] load the time of {task} {name}");
    brought(&name, &task, worker, client, tasks, cancel, |fetcher| match source {
        Tree::Git(source) => {
            let resolved = git::resolve(fetcher, source)?;
            git::time(fetcher, &resolved.pinned(source), &resolved).map(Some)
        }
        Tree::Http(file) => http::time(fetcher, file),
        _ => Ok(None),
    })
}

/// Reads the address of a context in a repository; `github.com/...` is one too.
pub(crate) fn git_source(url: &str) -> Result<GitSource, GitUrlError> {
    if url.starts_with("github.com/") { parse_git_url(&format!("https://{url}")) } else { parse_git_url(url) }
}

/// The source of a context that is a file.
pub(crate) fn web_source(url: &str) -> HttpSource {
    HttpSource { url: url.to_owned(), checksum: None, file_name: FILE_NAME.to_owned(), mode: 0o600 }
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Reads the Dockerfile in a tree: at a path, or under the usual names.
fn dockerfile_in(worker: &Worker, chain: &Chain, path: Option<&str>) -> Result<Arc<Source>, BoxError> {
    let view = worker.view(chain)?;
    let names = path.map_or_else(|| vec!["Dockerfile", "dockerfile"], |path| vec![path]);
    for name in &names {
        match view.read(name, MAX_DOCKERFILE) {
            Ok(bytes) => return text(name, bytes),
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(format!("failed to read dockerfile: open {}: no such file or directory", names[0]).into())
}

/// Takes bytes for the text of a Dockerfile.
fn text(name: &str, bytes: Vec<u8>) -> Result<Arc<Source>, BoxError> {
    if bytes.len() as u64 > MAX_DOCKERFILE {
        return Err(format!("the Dockerfile has more than {MAX_DOCKERFILE} bytes").into());
    }
    let has_from = || bytes.windows(4).any(|word| word.eq_ignore_ascii_case(b"FROM"));
    if std::str::from_utf8(&bytes).is_err() && !has_from() {
        return Err("it is neither an archive nor a Dockerfile: not UTF-8 text".into());
    }
    Ok(Source::from_bytes(name, bytes))
}
