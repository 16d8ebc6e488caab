//! What is in a root: the databases of packages that lie in it.

use std::path::Path;

use rbuild_confined::{Kind, Root, Step, Walk};
use rbuild_image::attest::packages::{Database, Inventory, Opened};

use crate::exporters::ExportError;

/// Files of one root that are read for its bill of materials, besides programs.
const MOST_DATABASES: usize = 200_000;

/// Looks for databases of packages in a root, and reads them.
pub(super) fn inventory(view: &Root) -> Result<Inventory, ExportError> {
    let mut inventory = Inventory::default();
    let mut count = 0;
    let top = view.resolve("/").map_err(ExportError::tree)?;
    let mut walk = Walk::new(top.open_dir().map_err(ExportError::tree)?).map_err(ExportError::tree)?;
    while let Some(step) = walk.next().map_err(ExportError::tree)? {
        let Step::Entry(_) = step else { continue };
        let meta = walk.metadata().map_err(ExportError::tree)?;
        if meta.kind == Kind::Directory {
            walk.enter().map_err(ExportError::tree)?;
            continue;
        }
        // A path that is no text is no database.
        let Some(path) = walk.path().to_str().map(str::to_owned) else { continue };
        if meta.kind != Kind::File {
            continue;
        }
        let database = match Database::at(&path) {
            Some(database) => database,
            // Most programs tell nothing of what they are made of; only those of Go are looked into.
            None if meta.mode & 0o111 != 0 => Database::Program,
            None => continue,
        };
        if database != Database::Program {
            count += 1;
        }
        if count > MOST_DATABASES {
            inventory.leave_out(&path, "too many databases");
            continue;
        }
        let file = view.open_file(Path::new("/").join(&path)).map_err(ExportError::tree)?;
        let read = Opened::new(file).and_then(|file| inventory.read(database, &path, &file));
        read.map_err(|error| ExportError::Tree(error.into()))?;
    }
    Ok(inventory)
}
