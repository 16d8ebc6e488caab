//! The lineage of builds: which records a build consisted of, in order.
//!
//! `why` compares the lineage of two builds line by line. The last fifty builds of each project are kept, and with
//! them the tombstones of their records.

use std::time::Duration;

use rbuild_model::event::Hit;
use rbuild_model::key::{CacheKey, PreImage};
use rbuild_model::snapshot::SnapshotId;
use rbuild_solver::{Miss, Origin, StepKeys};
use rbuild_store::{DatabaseError, ObjectKind};
use rusqlite::{OptionalExtension as _, Transaction};

use super::pre_images::Prepared;
use super::trees::to_row;
use super::{RecordError, RecordId, Records, look_up};

/// So many builds of each project are kept.
pub const KEPT_BUILDS: usize = 50;

/// The number of a build in one store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BuildId(pub i64);

/// Whether a build came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BuildResult {
    /// It did.
    Succeeded,
    /// Something could not be done.
    Failed,
    /// Somebody stopped it.
    Cancelled,
}

/// How origins are written down.
const ORIGINS: [Origin; 7] = [
    Origin::Found(Hit::Definition),
    Origin::Found(Hit::Content),
    Origin::Found(Hit::InFlight),
    Origin::Ran(Miss::Ignored),
    Origin::Ran(Miss::Unknown),
    Origin::Ran(Miss::TreeGone),
    Origin::Ran(Miss::Source),
];

/// Returns the number that stands for an origin; those that were given stay.
fn origin_row(origin: Origin) -> i64 {
    match origin {
        Origin::Found(Hit::Definition) => 0,
        Origin::Found(Hit::Content) => 1,
        Origin::Found(Hit::InFlight) => 2,
        Origin::Ran(Miss::Ignored) => 3,
        Origin::Ran(Miss::Unknown) => 4,
        Origin::Ran(Miss::TreeGone) => 5,
        Origin::Ran(Miss::Source) => 6,
    }
}

fn origin_of(row: i64) -> Option<Origin> {
    usize::try_from(row).ok().and_then(|at| ORIGINS.get(at)).copied()
}

/// One step of a build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineageLine {
    /// The stage it belongs to, empty for what belongs to none.
    pub stage: String,
    /// What the step is called: the text of its instruction.
    pub note: String,
    /// Its record; `None` when it did not come to one, or that was forgotten since.
    pub record: Option<RecordId>,
    /// How it came to the record, or was to come to it when the build ended; `None` when it was not reached, or needed
    /// nothing.
    pub origin: Option<Origin>,
}

/// A build to be remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewBuild {
    /// The project: whatever tells builds of one thing from those of another.
    pub project: String,
    /// The target stage, empty for the last one.
    pub target: String,
    /// When it began, in nanoseconds since the Unix epoch.
    pub started: i128,
    /// How long it took.
    pub took: Duration,
    /// How it ended.
    pub result: BuildResult,
    /// Its steps, in order.
    pub lineage: Vec<LineageLine>,
    /// The step that it failed at, if that had keys.
    pub tried: Option<Tried>,
}

/// The step that a build failed at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tried {
    /// Its place in the lineage.
    pub line: usize,
    /// What its keys are made of.
    pub keys: StepKeys,
}

/// The step that a build failed at, as it is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Its place in the lineage.
    pub line: usize,
    /// Its definition key.
    pub definition: Option<CacheKey>,
    /// Its content key.
    pub content: Option<CacheKey>,
}

/// A build as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Build {
    /// Its number.
    pub id: BuildId,
    /// The target stage, empty for the last one.
    pub target: String,
    /// When it began, in nanoseconds since the Unix epoch.
    pub started: i128,
    /// How long it took.
    pub took: Duration,
    /// How it ended.
    pub result: BuildResult,
}

impl Records {
    /// Remembers a build, and forgets what is older than the last fifty of its project.
    pub fn remember_build(&self, build: &NewBuild) -> Result<BuildId, RecordError> {
        let started = i64::try_from(build.started).unwrap_or(0);
        let took = i64::try_from(build.took.as_nanos()).unwrap_or(i64::MAX);
        let tried = build.tried.as_ref().map(PreparedFailure::new).transpose()?;
        // The uses of a build that ran nothing are written down with it, in one transaction.
        let seen = self.end_looking();
        self.with_lease(|lease| {
            self.store.write(|transaction| {
                let id: i64 = transaction
                    .prepare_cached(
                        "INSERT INTO builds (project, target, started_ns, took_ns, succeeded, cancelled) \
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6) RETURNING id",
                    )?
                    .query_row(
                        (
                            &build.project,
                            &build.target,
                            started,
                            took,
                            build.result == BuildResult::Succeeded,
                            build.result == BuildResult::Cancelled,
                        ),
                        |row| row.get(0),
                    )?;
                let mut line = transaction.prepare_cached(
                    // A record may have been swept since; the line stays.
                    "INSERT INTO lineage VALUES (?1, ?2, ?3, ?4, (SELECT id FROM records WHERE id = ?5), ?6)",
                )?;
                for (ordinal, LineageLine { stage, note, record, origin }) in build.lineage.iter().enumerate()
                {
                    let record = record.map(|record| record.0);
                    line.execute((id, to_row(ordinal as u64), stage, note, record, origin.map(origin_row)))?;
                }
                if let Some(tried) = &tried {
                    tried.store(transaction, id)?;
                }
                forget_outdated(transaction, &build.project)?;
                look_up::keep(transaction, lease, &seen)?;
                lease.end_all(transaction, ObjectKind::RECORD)?;
                Ok(BuildId(id))
            })
        })
    }

    /// Forgets all builds, and with them the tombstones that only they named.
    pub fn forget_builds(&self) -> Result<(), RecordError> {
        self.store.write(|transaction| {
            transaction.prepare_cached("DELETE FROM builds")?.execute([])?;
            bury(transaction).map(drop)?;
            drop_loose(transaction)?;
            Ok(())
        })
    }

    /// Lists the projects of the builds that are remembered.
    pub fn projects(&self) -> Result<Vec<String>, RecordError> {
        self.store.read(|transaction| {
            let mut statement =
                transaction.prepare_cached("SELECT DISTINCT project FROM builds ORDER BY project")?;
            let rows = statement.query_map([], |row| row.get(0))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// Returns the project of the latest build whose last step came to a snapshot.
    pub fn project_of(&self, result: SnapshotId) -> Result<Option<String>, RecordError> {
        self.store.read(|transaction| {
            let mut statement = transaction.prepare_cached(
                "SELECT builds.project FROM chains \
                 JOIN records ON records.chain = chains.id \
                 JOIN lineage ON lineage.record = records.id \
                 JOIN builds ON builds.id = lineage.build \
                 WHERE chains.snapshot = ?1 AND records.chain <> 0 \
                 AND lineage.ordinal = (SELECT MAX(ordinal) FROM lineage AS last WHERE last.build = builds.id) \
                 ORDER BY builds.id DESC LIMIT 1",
            )?;
            Ok(statement.query_row([result.as_bytes()], |row| row.get(0)).optional()?)
        })
    }

    /// Lists the builds of a project, the latest first.
    pub fn builds(&self, project: &str) -> Result<Vec<Build>, RecordError> {
        self.store.read(|transaction| {
            let mut statement = transaction.prepare_cached(
                "SELECT id, target, started_ns, took_ns, succeeded, cancelled FROM builds WHERE project = ?1 \
                 ORDER BY id DESC",
            )?;
            let rows = statement.query_map([project], |row| {
                Ok(Build {
                    id: BuildId(row.get(0)?),
                    target: row.get(1)?,
                    started: i128::from(row.get::<_, i64>(2)?),
                    took: Duration::from_nanos(row.get::<_, i64>(3)?.unsigned_abs()),
                    result: match (row.get(4)?, row.get(5)?) {
                        (true, _) => BuildResult::Succeeded,
                        (false, true) => BuildResult::Cancelled,
                        (false, false) => BuildResult::Failed,
                    },
                })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// Returns the step that a build failed at, if that had keys.
    pub fn failure(&self, build: BuildId) -> Result<Option<Failure>, RecordError> {
        self.store.read(|transaction| {
            let mut statement = transaction
                .prepare_cached("SELECT ordinal, definition, content FROM failures WHERE build = ?1")?;
            let key = |key: Option<[u8; 32]>| key.map(CacheKey::from_bytes);
            let read = |row: &rusqlite::Row<'_>| {
                let line = usize::try_from(row.get::<_, i64>(0)?).unwrap_or(usize::MAX);
                Ok(Failure { line, definition: key(row.get(1)?), content: key(row.get(2)?) })
            };
            Ok(statement.query_row([build.0], read).optional()?)
        })
    }

    /// Lists the steps of a build in order.
    pub fn lineage(&self, build: BuildId) -> Result<Vec<LineageLine>, RecordError> {
        self.store.read(|transaction| {
            let mut statement = transaction.prepare_cached(
                "SELECT stage, note, record, origin FROM lineage WHERE build = ?1 ORDER BY ordinal",
            )?;
            let rows = statement.query_map([build.0], |row| {
                Ok(LineageLine {
                    stage: row.get(0)?,
                    note: row.get(1)?,
                    record: row.get::<_, Option<i64>>(2)?.map(RecordId),
                    origin: row.get::<_, Option<i64>>(3)?.and_then(origin_of),
                })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }
}

/// The step that a build failed at, ready to be stored.
struct PreparedFailure<'a> {
    line: usize,
    definition: Option<Prepared<'a>>,
    content: Option<Prepared<'a>>,
}

impl<'a> PreparedFailure<'a> {
    fn new(Tried { line, keys }: &'a Tried) -> Result<Self, RecordError> {
        let prepared = |image: &'a Option<PreImage>| {
            image.as_ref().map(|image| Prepared::new(image, "failed")).transpose()
        };
        let (definition, content) = (prepared(&keys.definition)?, prepared(&keys.content)?);
        Ok(Self { line: *line, definition, content })
    }

    fn store(&self, transaction: &Transaction<'_>, build: i64) -> Result<(), DatabaseError> {
        let Self { line, definition, content } = self;
        for image in [definition, content].into_iter().flatten() {
            image.store(transaction)?;
        }
        let key = |image: &Option<Prepared<'_>>| image.as_ref().map(|image| *image.key.as_bytes());
        transaction.prepare_cached("INSERT INTO failures VALUES (?1, ?2, ?3, ?4)")?.execute((
            build,
            to_row(*line as u64),
            key(definition),
            key(content),
        ))?;
        Ok(())
    }
}

/// Forgets what is older than the last fifty builds of a project.
fn forget_outdated(transaction: &Transaction<'_>, project: &str) -> Result<(), DatabaseError> {
    const OUTDATED: &str = "project = ?1 AND id <= (SELECT id FROM builds WHERE project = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)";
    let outdated = (project, to_row(KEPT_BUILDS as u64));
    let failures = transaction
        .prepare_cached(&format!(
            "DELETE FROM failures WHERE build IN (SELECT id FROM builds WHERE {OUTDATED})"
        ))?
        .execute(outdated)?;
    let builds =
        transaction.prepare_cached(&format!("DELETE FROM builds WHERE {OUTDATED}"))?.execute(outdated)?;
    if builds > 0 && bury(transaction)? == 0 && failures > 0 {
        drop_loose(transaction)?;
    }
    Ok(())
}

/// Forgets the tombstones that no build names, and what only they needed.
pub(super) fn bury(transaction: &Transaction<'_>) -> Result<usize, DatabaseError> {
    let buried = transaction
        .prepare_cached(
            "DELETE FROM records WHERE tree = 0 AND NOT EXISTS (SELECT 1 FROM lineage WHERE record = records.id)",
        )?
        .execute([])?;
    if buried > 0 {
        drop_loose(transaction)?;
    }
    Ok(buried)
}

/// Drops pre-images that no key, no record and no failure has, then the values and folders that only those led to.
pub(super) fn drop_loose(transaction: &Transaction<'_>) -> Result<(), DatabaseError> {
    transaction
        .prepare_cached(
            "DELETE FROM pre_images WHERE NOT EXISTS (SELECT 1 FROM keys WHERE keys.key = pre_images.key) \
             AND NOT EXISTS (SELECT 1 FROM records WHERE records.definition = pre_images.key) \
             AND NOT EXISTS (SELECT 1 FROM records WHERE records.content = pre_images.key) \
             AND NOT EXISTS (SELECT 1 FROM failures WHERE failures.definition = pre_images.key) \
             AND NOT EXISTS (SELECT 1 FROM failures WHERE failures.content = pre_images.key)",
        )?
        .execute([])?;
    transaction
        .prepare_cached(
            "DELETE FROM guarded_values \
             WHERE NOT EXISTS (SELECT 1 FROM value_uses WHERE value_uses.hash = guarded_values.hash)",
        )?
        .execute([])?;
    super::nodes::drop_loose(transaction)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_of_an_origin_is_read_as_the_same() {
        for origin in ORIGINS {
            assert_eq!(origin_of(origin_row(origin)), Some(origin));
        }
        assert_eq!(origin_of(7), None);
    }
}
