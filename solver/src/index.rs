//! What the solver's driver needs of a cache: results by key.

use std::fmt;
use std::time::Duration;

use rbuild_model::key::{CacheKey, PreImage};
use rbuild_model::snapshot::Chain;
use serde::{Deserialize, Serialize};

/// The number of a record in one store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RecordId(pub i64);

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which of a result's keys a key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum KeyKind {
    /// Of its definition.
    Definition,
    /// Of the content of what it selects.
    Content,
}

/// One question to the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LookUp {
    /// The key.
    pub key: CacheKey,
    /// Which kind of key it is.
    pub kind: KeyKind,
}

/// An earlier result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its record.
    pub record: RecordId,
    /// Its canonical key.
    pub canonical: CacheKey,
    /// Where its tree is.
    pub place: Place,
}

impl Found {
    /// Returns its tree, if that is here.
    pub fn chain(&self) -> Option<&Chain> {
        match &self.place {
            Place::Here(chain) => Some(chain),
            Place::Elsewhere | Place::Gone => None,
        }
    }
}

/// Where the tree of an earlier result is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In this store.
    Here(Chain),
    /// In a cache elsewhere: it is fetched once somebody has to read it, and not before.
    Elsewhere,
    /// Nowhere: once somebody has to read it, it is made again.
    Gone,
}

/// A result to be remembered.
#[derive(Clone, Debug)]
pub struct NewRecord {
    /// The display name of the step.
    pub name: String,
    /// The definition key's pre-image, for steps that have such a key.
    pub definition: Option<PreImage>,
    /// The content key's pre-image, for steps that have such a key and whose content was hashed.
    pub content: Option<PreImage>,
    /// The canonical key.
    pub canonical: CacheKey,
    /// The tree.
    pub chain: Chain,
    /// When the step began, in nanoseconds since the Unix epoch; for display.
    pub started: i128,
    /// How long it took.
    pub took: Duration,
    /// What it used.
    pub usage: Usage,
    /// The name of its log file, if it printed anything.
    pub log: Option<String>,
}

/// What a step used of the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Processor time.
    pub cpu: Option<Duration>,
    /// The most memory it had at once, in bytes.
    pub peak_memory: Option<u64>,
    /// The size of its layer on disk, in bytes.
    pub bytes: Option<u64>,
}

/// The index failed; not a miss.
#[derive(Debug, thiserror::Error)]
#[error("failed to use the cache index")]
pub struct IndexError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// Results by key.
///
/// A result is put in once its tree is committed; from then on every look-up with one of its keys finds it, until
/// the store drops it. A found result whose tree is here is leased to the calling process in the same transaction,
/// so that it cannot vanish while it is used. Several records may claim one definition key: the latest wins.
pub trait CacheIndex: Send + Sync {
    /// Looks up a wave of keys in one transaction; one answer for each, in order.
    fn look_up(&self, wave: &[LookUp]) -> Result<Vec<Option<Found>>, IndexError>;

    /// Tells that the looking up is over for now, and work that takes long begins. Repeatable.
    ///
    /// An index may protect more than was found while it is asked for wave after wave; from here on it protects what
    /// was found.
    fn settle(&self) -> Result<(), IndexError> {
        Ok(())
    }

    /// Makes a definition another way to find a record (a content hit of a step with a new definition).
    fn alias(&self, definition: &PreImage, record: RecordId) -> Result<(), IndexError>;

    /// Remembers a result and leases it.
    fn insert(&self, record: &NewRecord) -> Result<RecordId, IndexError>;
}

/// What every [`CacheIndex`] must do; call it from the tests of each implementation.
pub mod conformance {
    use super::{CacheIndex, KeyKind, LookUp, NewRecord, Place, Usage};
    use rbuild_model::key::PreImage;
    use rbuild_model::snapshot::{Chain, SnapshotId};
    use std::time::Duration;

    fn record(definition: Option<&str>, content: Option<&str>, tree: u8) -> NewRecord {
        let definition = definition.map(PreImage::text);
        let content = content.map(PreImage::text);
        let canonical =
            content.as_ref().or(definition.as_ref()).map_or(PreImage::Absent.key(), PreImage::key);
        NewRecord {
            name: "RUN true".to_owned(),
            definition,
            content,
            canonical,
            chain: Chain::new(vec![SnapshotId::from_bytes([tree; 16])]),
            started: 1,
            took: Duration::from_millis(5),
            usage: Usage::default(),
            log: None,
        }
    }

    fn definition(text: &str) -> LookUp {
        LookUp { key: PreImage::text(text).key(), kind: KeyKind::Definition }
    }

    fn content(text: &str) -> LookUp {
        LookUp { key: PreImage::text(text).key(), kind: KeyKind::Content }
    }

    /// Runs the whole suite on an empty index.
    ///
    /// # Panics
    ///
    /// When the index does not do what the trait demands.
    pub fn suite(index: &dyn CacheIndex) {
        let found = |wave: &[LookUp]| {
            index
                .look_up(wave)
                .expect("look_up works")
                .into_iter()
                .map(|f| f.map(|f| f.record))
                .collect::<Vec<_>>()
        };
        assert_eq!(found(&[]), []);
        assert_eq!(found(&[definition("d1"), content("c1")]), [None, None], "an empty index finds nothing");

        let first = index.insert(&record(Some("d1"), Some("c1"), 1)).expect("insert works");
        assert_eq!(
            found(&[content("c1"), definition("x"), definition("d1")]),
            [Some(first), None, Some(first)]
        );
        assert_eq!(found(&[definition("c1"), content("d1")]), [None, None], "kinds are kept apart");
        let hit = index.look_up(&[definition("d1")]).expect("look_up works").remove(0).expect("is there");
        assert_eq!(hit.canonical, PreImage::text("c1").key(), "the canonical key is the content key");
        assert_eq!(hit.place, Place::Here(Chain::new(vec![SnapshotId::from_bytes([1; 16])])));

        index.alias(&PreImage::text("d2"), first).expect("alias works");
        index.alias(&PreImage::text("d2"), first).expect("alias is repeatable");
        assert_eq!(found(&[definition("d2"), definition("d1")]), [Some(first), Some(first)]);

        let second = index.insert(&record(Some("d1"), Some("c2"), 2)).expect("insert works");
        assert_eq!(found(&[definition("d1")]), [Some(second)], "the latest result of a definition wins");
        assert_eq!(found(&[content("c1"), content("c2")]), [Some(first), Some(second)]);

        let only = index.insert(&record(None, Some("c3"), 3)).expect("insert works");
        assert_eq!(found(&[content("c3")]), [Some(only)], "a result may have no definition key");
    }
}
