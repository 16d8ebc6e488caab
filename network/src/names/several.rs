//! The files of all networks together: who reads them waits for nobody, and one that cannot be read stands in the way only of
//! those whom it may be about.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::de::IgnoredAny;

use super::{
    EndpointId, EndpointRecord, LARGEST_FILE, LOCK, NamesError, NetworkFile, NetworkId, NetworkState,
    WITH_IPV4, WITHOUT_IPV4, folder, read_bounded,
};
use crate::error::FileError;

/// What the files of a folder come to.
pub(crate) struct Readable {
    /// What can be read, by id.
    pub(crate) states: Vec<NetworkState>,
    /// What cannot be.
    unreadable: Vec<(NetworkFile, NamesError)>,
}

impl Readable {
    /// Why not everything could be read, if so.
    pub(crate) fn error(self) -> Option<NamesError> {
        self.unreadable.into_iter().next().map(|(_, error)| error)
    }
}

/// All networks that are set up in a runtime folder, by id.
pub fn all(runtime: &Path) -> Result<Vec<NetworkState>, NamesError> {
    let Readable { states, unreadable } = readable(runtime)?;
    match unreadable.into_iter().next() {
        Some((_, error)) => Err(error),
        None => Ok(states),
    }
}

/// All networks of a runtime folder whose files can be read: for what is as good for each of them without the others.
pub(crate) fn readable(runtime: &Path) -> Result<Readable, NamesError> {
    let mut readable = Readable { states: Vec::new(), unreadable: Vec::new() };
    for id in ids(runtime)? {
        let file = NetworkFile::new(runtime, id);
        match file.read() {
            Ok(state) => readable.states.extend(state),
            Err(error) => readable.unreadable.push((file, error)),
        }
    }
    Ok(readable)
}

/// Removes the locks that killed processes left of networks that are not set up.
pub(crate) fn remove_lone_locks(runtime: &Path) -> Result<(), NamesError> {
    let known = ids(runtime)?;
    for id in ids_of(runtime, &|extension| extension == LOCK)? {
        if !known.contains(&id) {
            // Looked at under the lock; whoever has it now removes it, or sets the network up.
            NetworkFile::new(runtime, id).try_update(|_| Ok::<_, NamesError>(()))?;
        }
    }
    Ok(())
}

/// The networks that have files in a runtime folder, in order.
fn ids(runtime: &Path) -> Result<Vec<NetworkId>, NamesError> {
    ids_of(runtime, &|extension| extension == WITH_IPV4 || extension == WITHOUT_IPV4)
}

/// The networks that have files of certain kinds in a runtime folder, in order.
fn ids_of(runtime: &Path, kind: &dyn Fn(&str) -> bool) -> Result<Vec<NetworkId>, NamesError> {
    let folder = folder(runtime);
    let failed = |source| NamesError::File(FileError::new("list", &folder, source));
    let entries = match fs::read_dir(&folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut ids = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        let is_one = path.extension().and_then(|extension| extension.to_str()).is_some_and(kind);
        let stem = path.file_stem().and_then(|stem| stem.to_str()).filter(|_| is_one);
        ids.extend(stem.and_then(|stem| NetworkId::new(stem).ok()));
    }
    ids.sort();
    // One that had IPv4 a moment ago and has none now may be met twice.
    ids.dedup();
    Ok(ids)
}

/// The networks that can be read, if those that cannot be are none of an endpoint's. A whole file says so itself, whatever
/// its form: the endpoint does not stand in it. Of any other it is so if the endpoint was not in it before.
fn around(
    runtime: &Path,
    endpoint: &EndpointId,
    before: Option<&[NetworkId]>,
) -> Result<Vec<NetworkState>, NamesError> {
    let Readable { states, unreadable } = readable(runtime)?;
    for (file, error) in unreadable {
        let bytes = read_bounded(&file.path(), LARGEST_FILE).ok().flatten();
        let whole = bytes.filter(|bytes| serde_json::from_slice::<IgnoredAny>(bytes).is_ok());
        let may_be_in = match whole {
            Some(bytes) => {
                let id = endpoint.as_str().as_bytes();
                bytes.windows(id.len()).any(|part| part == id)
            }
            None => before.is_none_or(|before| before.contains(&file.id)),
        };
        if may_be_in {
            return Err(error);
        }
    }
    Ok(states)
}

fn with_record(states: Vec<NetworkState>, endpoint: &EndpointId) -> Vec<(NetworkState, EndpointRecord)> {
    let record = |state: &NetworkState| state.endpoints.iter().find(|record| record.id == *endpoint).cloned();
    states.into_iter().filter_map(|state| record(&state).map(|record| (state, record))).collect()
}

/// The networks that an endpoint is in, each with its record there.
pub fn of_endpoint(
    runtime: &Path,
    endpoint: &EndpointId,
) -> Result<Vec<(NetworkState, EndpointRecord)>, NamesError> {
    Ok(with_record(around(runtime, endpoint, None)?, endpoint))
}

/// Networks, each with the record of one endpoint there.
pub(crate) type Records = Vec<(NetworkState, EndpointRecord)>;

/// Whether what was read stays true until the packet filter tells of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Settled {
    /// Nobody changed a network meanwhile.
    Yes,
    /// Somebody changes a network: elements of the packet filter come before the record of their endpoint.
    NotYet,
}

/// As [`of_endpoint`], and says whether somebody who changes a network now may be about to add to it. Never waits: whoever
/// holds the lock of a network may be stopped, and of one that the endpoint never was in.
pub(crate) fn known_of_endpoint(
    runtime: &Path,
    endpoint: &EndpointId,
) -> Result<(Records, Settled), NamesError> {
    // Locks before files: who lets go between the two has written its record, who takes one later has elements to tell of.
    let mut settled = Settled::Yes;
    for id in ids(runtime)? {
        if NetworkFile::new(runtime, id).is_changing()? {
            settled = Settled::NotYet;
        }
    }
    Ok((of_endpoint(runtime, endpoint)?, settled))
}

/// Something that is made of the files of all networks for one endpoint, and made again when one of them changed.
///
/// A file is replaced by a rename, which changes the time of the folder; so one look at the folder tells whether
/// anything changed. The kernel counts that time in ticks of up to ten milliseconds: what was made within a tick or
/// two of the last change may lack what came later in the same tick, and is not believed next time.
#[derive(Debug)]
pub(crate) struct Watched<T> {
    runtime: PathBuf,
    endpoint: EndpointId,
    value: Option<T>,
    /// The networks that the endpoint was in when the value was made.
    own: Option<Vec<NetworkId>>,
    /// The folder's time when the value was made, if it may be believed as long as that stays.
    settled: Option<SystemTime>,
}

/// Longer than any tick of a kernel's clock.
const SETTLED_AFTER: Duration = Duration::from_millis(25);

impl<T> Watched<T> {
    /// Watches the networks of a runtime folder for one endpoint.
    pub(crate) fn new(runtime: PathBuf, endpoint: EndpointId) -> Self {
        Self { runtime, endpoint, value: None, own: None, settled: None }
    }

    /// Returns what the files come to now.
    pub(crate) fn current(
        &mut self,
        make: impl FnOnce(Vec<NetworkState>, &EndpointId) -> T,
    ) -> Result<&mut T, NamesError> {
        let changed = fs::metadata(folder(&self.runtime)).and_then(|meta| meta.modified()).ok();
        if changed.is_none() || changed != self.settled {
            let now = SystemTime::now();
            let states = around(&self.runtime, &self.endpoint, self.own.as_deref())?;
            let is_in =
                |state: &&NetworkState| state.endpoints.iter().any(|record| record.id == self.endpoint);
            self.own = Some(states.iter().filter(is_in).map(|state| state.id.clone()).collect());
            self.value = Some(make(states, &self.endpoint));
            self.settled = changed.filter(|changed| {
                // A time to come is a clock that was set back: not believed either.
                now.duration_since(*changed).is_ok_and(|age| age >= SETTLED_AFTER)
            });
        }
        Ok(self.value.as_mut().expect("nothing is settled before a value is made"))
    }
}
