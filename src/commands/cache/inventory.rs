//! What lies in the store, piece by piece: what it is, who needs it, how much room it takes.
//!
//! Sizes are counted on the disk, and every byte below the root belongs to one piece or to the store itself.

use std::collections::{HashMap, HashSet};

use rbuild_cache::mounts::Mounts;
use rbuild_cache::records::census::Made;
use rbuild_model::digest::BlobDigest;
use rbuild_model::snapshot::SnapshotId;
use rbuild_store::ObjectKind;
use rbuild_store::collect::{Candidate, Counted};
use rbuild_store::usage::Part;

use crate::wiring::{Home, OWNERS};

/// Whom a piece is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Share {
    /// An image or a container needs it.
    Image,
    /// It was pushed to this store as a registry.
    Pushed,
    /// Only the cache has it.
    Cache,
    /// A volume.
    Volume,
    /// What a container wrote.
    Container,
    /// The store's own.
    Store,
}

impl Share {
    /// Whether lists of the cache have it: what others have too is marked there.
    pub(crate) const fn is_listed(self) -> bool {
        matches!(self, Self::Cache | Self::Image | Self::Pushed)
    }
}

/// One piece.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    /// What it is called: an id, a digest, a name.
    pub(crate) id: String,
    /// What kind of thing it is, in the words of `docker buildx du`.
    pub(crate) kind: &'static str,
    /// Whom it is for.
    pub(crate) share: Share,
    /// Its room on the disk.
    pub(crate) bytes: u64,
    /// What it is, for people.
    pub(crate) description: String,
    /// The pieces it stands on.
    pub(crate) parents: Vec<String>,
    /// When it was made, in seconds since 1970.
    pub(crate) created_at: Option<i64>,
    /// When it was last used.
    pub(crate) used_at: Option<i64>,
    /// How often it was used, where that is counted.
    pub(crate) uses: Option<u64>,
    /// Whether somebody uses it now.
    pub(crate) in_use: bool,
    /// Whether it changes.
    pub(crate) mutable: bool,
    /// Whether an image has it too.
    pub(crate) shared: bool,
}

impl Piece {
    /// Whether `prune` may take it.
    pub(crate) fn is_reclaimable(&self) -> bool {
        self.share == Share::Cache && !self.in_use
    }
}

/// All pieces, and how the records of steps belong to them.
pub(crate) struct Inventory {
    pub(crate) pieces: Vec<Piece>,
    /// Records by the piece that they made.
    records: HashMap<Vec<u8>, String>,
}

impl Inventory {
    /// Looks at the whole store.
    pub(crate) fn take(home: &Home) -> anyhow::Result<Self> {
        let store = &home.store;
        let mounts = Mounts::new(store);
        mounts.take_stock()?;
        let counted = store.census(OWNERS)?;
        let made = home.records().census()?;
        let mut known: HashMap<(ObjectKind, String), &Counted> = HashMap::new();
        for one in &counted {
            known.insert((one.kind, id_of(one.kind, &one.candidate.object)), one);
        }
        let mut tops: HashMap<SnapshotId, Vec<&Made>> = HashMap::new();
        for made in &made {
            if let Some(top) = made.top {
                tops.entry(top).or_default().push(made);
            }
        }
        let leased: HashSet<&[u8]> = counted
            .iter()
            .filter(|one| one.kind == ObjectKind::RECORD && one.leased)
            .map(|one| &*one.candidate.object)
            .collect();
        let mount_rows: HashMap<String, _> =
            mounts.list()?.into_iter().map(|mount| (mount.is_for.name.clone(), mount)).collect();
        // Also what an image without a tag has, which may go where room is to be made.
        let of_images: HashSet<(ObjectKind, String)> =
            home.images.holdings()?.iter().map(|(kind, object)| (*kind, id_of(*kind, object))).collect();
        let pushed: HashSet<String> = home
            .images
            .shelved_blobs()?
            .iter()
            .map(|digest| id_of(ObjectKind::BLOB, digest.as_bytes()))
            .collect();
        let mut pieces = Vec::new();
        for part in store.parts()? {
            let Some((kind, id)) = place(&part) else {
                pieces.push(plain(&part));
                continue;
            };
            let one = known.get(&(kind, id.clone())).copied();
            let mut piece = Piece {
                id: id.clone(),
                kind: word(kind, &id),
                share: Share::Cache,
                bytes: part.bytes,
                description: describe(kind, &id),
                parents: Vec::new(),
                created_at: None,
                used_at: one.and_then(|one| one.candidate.used_at),
                uses: None,
                in_use: one.is_some_and(|one| one.leased),
                mutable: !matches!(kind, ObjectKind::SNAPSHOT | ObjectKind::BLOB),
                shared: one.is_some_and(|one| one.needed) || of_images.contains(&(kind, id.clone())),
            };
            if piece.shared {
                let is_pushed = kind == ObjectKind::BLOB && pushed.contains(&id);
                piece.share = if is_pushed { Share::Pushed } else { Share::Image };
            }
            if one.is_none() && matches!(kind, ObjectKind::SNAPSHOT | ObjectKind::BLOB | ObjectKind::PARTIAL)
            {
                // What is just being made, or was left: `doctor` knows.
                piece.share = Share::Store;
            }
            if let Some(row) = mount_rows.get(&id).filter(|_| kind == ObjectKind::MOUNT) {
                piece.description = match &*row.is_for.id {
                    "" => "cache mount".to_owned(),
                    id => format!("cache mount {id} at {}", row.is_for.target),
                };
                (piece.created_at, piece.uses) = (Some(row.created_at), Some(row.uses));
            }
            if let Some(made) = id.parse::<SnapshotId>().ok().and_then(|id| tops.get(&id)) {
                piece.description.clone_from(&made[0].name);
                piece.parents = made[0].below.iter().map(ToString::to_string).collect();
                piece.created_at = Some(made[0].started_at);
                piece.used_at = made.iter().map(|made| made.used_at).max();
                piece.in_use |= made.iter().any(|made| leased.contains(&*made.object()));
            }
            pieces.push(piece);
        }
        let records = made.iter().filter_map(|made| Some((made.object(), made.top?.to_string()))).collect();
        Ok(Self { pieces, records })
    }

    /// Returns which piece an object of a sweep belongs to.
    pub(crate) fn piece_of(&self, kind: ObjectKind, candidate: &Candidate) -> String {
        match kind {
            ObjectKind::RECORD => self.records.get(&candidate.object).cloned().unwrap_or_default(),
            kind => id_of(kind, &candidate.object),
        }
    }
}

/// What logs are described as.
pub(crate) const LOG_OF_STEP: &str = "log of a step";

/// What the ids of blobs that came in part begin with.
const PART: &str = "part-";

fn hex(object: &[u8]) -> String {
    object.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Returns what an object is called.
fn id_of(kind: ObjectKind, object: &[u8]) -> String {
    match kind {
        ObjectKind::MOUNT | ObjectKind::LOG | ObjectKind::INDEX => {
            String::from_utf8_lossy(object).into_owned()
        }
        ObjectKind::PARTIAL => format!("{PART}{}", hex(object)),
        _ => hex(object),
    }
}

/// Returns which object a part of the store is.
fn place(part: &Part) -> Option<(ObjectKind, String)> {
    let names: Vec<&str> = part.path.split('/').collect();
    Some(match names[..] {
        ["snapshots", _, name] => {
            let id = name.parse::<SnapshotId>().ok()?;
            (ObjectKind::SNAPSHOT, id_of(ObjectKind::SNAPSHOT, id.as_bytes()))
        }
        ["blobs", "sha256", name] => {
            let id = format!("sha256:{name}").parse::<BlobDigest>().ok()?;
            (ObjectKind::BLOB, id_of(ObjectKind::BLOB, id.as_bytes()))
        }
        ["blobs", "partial", name] => {
            let id = format!("sha256:{name}").parse::<BlobDigest>().ok()?;
            (ObjectKind::PARTIAL, id_of(ObjectKind::PARTIAL, id.as_bytes()))
        }
        ["mounts", name] => (ObjectKind::MOUNT, name.to_owned()),
        ["logs", name] => (ObjectKind::LOG, name.to_owned()),
        ["index", "git" | "http"] | ["index", _, "known_hosts"] => return None,
        ["index", ref name @ ..] if !name.is_empty() => (ObjectKind::INDEX, name.join("/")),
        _ => return None,
    })
}

/// The kind of a piece in the words of BuildKit.
fn word(kind: ObjectKind, id: &str) -> &'static str {
    match kind {
        ObjectKind::MOUNT => "exec.cachemount",
        ObjectKind::INDEX if id.starts_with("git/") => "source.git.checkout",
        ObjectKind::INDEX if !id.contains('/') => "source.local",
        ObjectKind::INDEX | ObjectKind::LOG => "internal",
        _ => "regular",
    }
}

fn describe(kind: ObjectKind, id: &str) -> String {
    match kind {
        ObjectKind::BLOB => format!("blob sha256:{}", &id[..12.min(id.len())]),
        ObjectKind::PARTIAL => {
            let hex = id.trim_start_matches(PART);
            format!("part of blob sha256:{}", &hex[..12.min(hex.len())])
        }
        ObjectKind::SNAPSHOT => "layer of an image".to_owned(),
        ObjectKind::LOG => LOG_OF_STEP.to_owned(),
        ObjectKind::INDEX if id.starts_with("git/") => "git repository".to_owned(),
        ObjectKind::INDEX if id.starts_with("http/") => "what a server said of a file".to_owned(),
        ObjectKind::INDEX => "hashes of a build context".to_owned(),
        _ => String::new(),
    }
}

/// A part that no sweep takes.
fn plain(part: &Part) -> Piece {
    let share = match part.path.split_once('/') {
        Some(("volumes", _)) => Share::Volume,
        Some(("containers", _)) => Share::Container,
        _ => Share::Store,
    };
    Piece {
        id: part.path.clone(),
        kind: "internal",
        share,
        bytes: part.bytes,
        description: String::new(),
        parents: Vec::new(),
        created_at: None,
        used_at: None,
        uses: None,
        in_use: true,
        mutable: true,
        shared: false,
    }
}
