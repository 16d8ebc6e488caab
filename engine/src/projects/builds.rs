//! Which images were built here for which services, and from which build sections: only those are built again without
//! being asked, which costs nothing where nothing has changed.
//!
//! A row that is lost costs a look at an image that was not necessary, and nothing else.

use std::collections::BTreeMap;

use rbuild_model::digest::ImageId;
use rbuild_store::{DatabaseError, Schema};

use crate::engine::Engine;

/// The table; every store is opened with it.
pub const SCHEMA: Schema = Schema {
    name: "projects",
    migrations: &["
        CREATE TABLE project_builds (
            project TEXT NOT NULL,
            service TEXT NOT NULL,
            image TEXT NOT NULL,
            section TEXT NOT NULL,
            PRIMARY KEY (project, service)
        ) STRICT, WITHOUT ROWID;
    "],
    promotable: &[],
};

/// What was built for a project.
#[derive(Clone, Debug, Default)]
pub struct BuildNotes {
    /// By service: the image, and the hash of the build section.
    notes: BTreeMap<String, (String, String)>,
}

impl BuildNotes {
    /// Whether an image was built for a service from this section.
    pub fn has(&self, service: &str, image: ImageId, section: &str) -> bool {
        self.notes.get(service).is_some_and(|(built, from)| *built == image.to_string() && from == section)
    }

    /// Whether an image was built for a service, but from a section that said something else.
    pub fn has_from_another(&self, service: &str, image: ImageId, section: &str) -> bool {
        self.notes.get(service).is_some_and(|(built, from)| *built == image.to_string() && from != section)
    }
}

impl Engine {
    /// Returns what was built for a project.
    pub fn build_notes(&self, project: &str) -> Result<BuildNotes, DatabaseError> {
        self.parts.store.read(|tables| {
            let mut statement = tables
                .prepare_cached("SELECT service, image, section FROM project_builds WHERE project = ?1")?;
            let rows = statement.query_map([project], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?))))?;
            Ok(BuildNotes { notes: rows.collect::<Result<_, _>>()? })
        })
    }

    /// Notes what was built for a service.
    pub fn note_build(
        &self,
        project: &str,
        service: &str,
        image: ImageId,
        section: &str,
    ) -> Result<(), DatabaseError> {
        self.parts.store.write(|tables| {
            tables
                .prepare_cached(
                    "INSERT OR REPLACE INTO project_builds (project, service, image, section) VALUES (?1, ?2, ?3, ?4)",
                )?
                .execute((project, service, image.to_string(), section))?;
            Ok(())
        })
    }
}
