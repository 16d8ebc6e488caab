//! Bringing tables to the versions that this binary knows.

use rusqlite::{Connection, OptionalExtension};

use super::{Database, DatabaseError, Inside, Schema};

/// Whether the process may have the store for itself.
pub(crate) trait Alone {
    /// Tries to become the only user of the store.
    fn become_alone(&self) -> Result<bool, DatabaseError>;
    /// Lets others in again.
    fn admit_others(&self) -> Result<(), DatabaseError>;
}

impl Database {
    /// Brings every schema to its latest version; tells whether anything had to be done.
    ///
    /// New tables may appear while others use the store; changing existing ones needs the store alone.
    pub(crate) fn migrate(&self, schemas: &[&Schema], alone: &dyn Alone) -> Result<bool, DatabaseError> {
        let _inside = Inside::enter()?;
        let wanted = stamp(schemas);
        let mut connection = self.take()?;
        let found: i64 = connection
            .query_row("PRAGMA user_version", [], |row| row.get(0))
            .map_err(self.failed("read the version of"))?;
        if found == wanted {
            connection.give_back();
            return Ok(false);
        }
        // The pragma is a stamp of one binary's list: another list is no reason to write.
        let steps = self.plan(&connection, schemas)?;
        if steps.is_empty() {
            connection.give_back();
            return Ok(false);
        }
        let mut is_alone = false;
        if let Some(changed) = steps.iter().find(|step| step.from > 0) {
            if !alone.become_alone()? {
                return Err(DatabaseError::InUse { schema: changed.schema.name, path: self.path.clone() });
            }
            is_alone = true;
        }
        let done = self.run(&mut connection, schemas, wanted);
        if is_alone {
            alone.admit_others()?;
        }
        done?;
        connection.give_back();
        Ok(true)
    }

    fn run(&self, connection: &mut Connection, schemas: &[&Schema], stamp: i64) -> Result<(), DatabaseError> {
        let _turn = self.turn()?;
        connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(())).map_err(self.failed("set up"))?;
        let transaction = connection
            .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)
            .map_err(self.failed("begin to migrate"))?;
        transaction
            .execute_batch(
                "CREATE TABLE IF NOT EXISTS schema_versions (name TEXT PRIMARY KEY, version INTEGER NOT NULL) \
                 STRICT, WITHOUT ROWID",
            )
            .map_err(self.failed("migrate"))?;
        // Planned again: another process may have been first.
        for step in self.plan(&transaction, schemas)? {
            for migration in &step.schema.migrations[step.from..] {
                transaction.execute_batch(migration).map_err(self.failed("migrate"))?;
            }
            transaction
                .execute(
                    "INSERT OR REPLACE INTO schema_versions VALUES (?1, ?2)",
                    (step.schema.name, step.schema.migrations.len() as i64),
                )
                .map_err(self.failed("migrate"))?;
        }
        transaction.pragma_update(None, "user_version", stamp).map_err(self.failed("migrate"))?;
        transaction.commit().map_err(self.failed("migrate"))
    }

    /// Lists the schemas that are behind; refuses those that are ahead.
    fn plan<'a>(
        &self,
        connection: &Connection,
        schemas: &[&'a Schema],
    ) -> Result<Vec<Step<'a>>, DatabaseError> {
        let has_versions = connection
            .query_row("SELECT 1 FROM sqlite_master WHERE name = 'schema_versions'", [], |_| Ok(()))
            .optional()
            .map_err(self.failed("read the versions of"))?
            .is_some();
        let mut steps = Vec::new();
        for schema in schemas {
            let known = schema.migrations.len();
            let found: i64 = if has_versions {
                connection
                    .query_row("SELECT version FROM schema_versions WHERE name = ?1", [schema.name], |row| {
                        row.get(0)
                    })
                    .optional()
                    .map_err(self.failed("read the versions of"))?
                    .unwrap_or(0)
            } else {
                0
            };
            match usize::try_from(found) {
                Ok(found) if found == known => {}
                Ok(found) if found < known => steps.push(Step { schema, from: found }),
                _ => {
                    return Err(DatabaseError::Future {
                        schema: schema.name,
                        path: self.path.clone(),
                        found,
                        known: known as i64,
                    });
                }
            }
        }
        Ok(steps)
    }
}

/// One schema that is behind.
struct Step<'a> {
    schema: &'a Schema,
    from: usize,
}

/// A positive 31-bit number that stands for a list of schemas at their latest versions.
fn stamp(schemas: &[&Schema]) -> i64 {
    let mut hasher = blake3::Hasher::new();
    for schema in schemas {
        hasher.update(schema.name.as_bytes());
        hasher.update(&[0]);
        hasher.update(&(schema.migrations.len() as u64).to_le_bytes());
    }
    let bytes = hasher.finalize();
    let word = u32::from_le_bytes([
        bytes.as_bytes()[0],
        bytes.as_bytes()[1],
        bytes.as_bytes()[2],
        bytes.as_bytes()[3],
    ]);
    i64::from((word >> 1).max(1))
}
