//! The client's folders as one build sees them: opened once, filtered by their ignore files, looked at once.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use rbuild_cache::content::{ContextScan, Decision, Filter, TreeSource};
use rbuild_frontend::ignore::{Ignore, IgnoreError};
use rbuild_model::span::{Diagnostic, Source, Span};

use crate::error::{BuildError, StepError};
use crate::request::Client;

/// The client's folders of one build.
pub(crate) struct Contexts<'a> {
    client: &'a dyn Client,
    /// Where stat indexes lie.
    indexes: PathBuf,
    scans: Mutex<HashMap<String, Arc<ContextScan>>>,
}

/// An ignore file as the scan asks it.
struct IgnoreFilter(Arc<Ignore>);

impl Filter for IgnoreFilter {
    fn decision(&self, path: &[u8], is_dir: bool) -> Decision {
        let path = String::from_utf8_lossy(path);
        match (self.0.ignores(&path), is_dir) {
            (false, _) => Decision::Include,
            (true, true) if !self.0.prunes(&path) => Decision::ExcludeButDescend,
            (true, _) => Decision::Exclude,
        }
    }
}

impl<'a> Contexts<'a> {
    /// Opens nothing yet.
    pub(crate) fn new(client: &'a dyn Client, indexes: PathBuf) -> Self {
        Self { client, indexes, scans: Mutex::default() }
    }

    pub(crate) fn client(&self) -> &'a dyn Client {
        self.client
    }

    /// Returns the one look at a folder that all steps share.
    pub(crate) fn scan(&self, name: &str) -> Result<Arc<ContextScan>, StepError> {
        let mut scans = self.scans.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(scan) = scans.get(name) {
            return Ok(Arc::clone(scan));
        }
        let tree = self.client.local(name).map_err(StepError::Client)?;
        let index = blake3_name(&tree.path);
        let mut source = TreeSource::client(tree.root).with_index(self.indexes.join(index));
        if let Some(text) = &tree.ignore {
            let ignore = parse(text).map_err(|error| StepError::Hash(error.into()))?;
            if !ignore.is_empty() {
                source = source.with_filter(Arc::new(IgnoreFilter(Arc::new(ignore))));
            }
        }
        let scan = Arc::new(ContextScan::new(source));
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
        let (IgnoreError::EmptyException { line } | IgnoreError::Syntax { line, .. }) = &error;
        let start: usize = text.text().split_inclusive('\n').take(line - 1).map(str::len).sum();
        let length = text.line(*line).map_or(0, str::len);
        let message = error.to_string();
        let message = message.split_once(": ").map_or(message.clone(), |(_, rest)| rest.to_owned());
        BuildError::Dockerfile(vec![Diagnostic::error(text, Span::new(start, start + length), message)])
    })
}
