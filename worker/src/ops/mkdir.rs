//! WORKDIR: a folder with its parents.

use rbuild_confined::users::{UserSpec, Users};
use rbuild_confined::{NewDir, Owner, Root, Time};
use rbuild_model::snapshot::Chain;
use rbuild_model::step::MakeDir;

use crate::error::StepError;

/// Makes the folder over a base, unless it is there.
pub(crate) fn run(make: &MakeDir, root: &Root, base: &Chain) -> Result<(), StepError> {
    let owner = if make.owner.is_empty() {
        Owner::ROOT
    } else {
        let fail = |source| StepError::User { user: make.owner.clone(), source };
        let users = if base.is_empty() { Users::none() } else { Users::load(root) };
        users.owner(&UserSpec::of_file(&make.owner)).map_err(fail)?
    };
    let mtime = make.epoch.map(Time::from_seconds);
    root.mkdir_all(&make.path, NewDir { mode: 0o755, owner: Some(owner), mtime })
        .map(drop)
        .map_err(|error| StepError::Copy { path: make.path.clone(), source: error.into() })
}
