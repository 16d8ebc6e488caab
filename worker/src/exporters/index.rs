//! What a build for several platforms becomes: an index of images, or a folder for each of them.

use rbuild_images::{IndexId, Member};
use rbuild_model::event::Outcome;
use rbuild_model::platform::Platform;
use rbuild_model::reference::Reference;

use super::ExportError;
use crate::attest::Indexed;
use crate::attest::files::Naming;
use crate::build::{Built, BuiltPlatform};
use crate::describe::Finished;
use crate::request::{Export, Split};
use crate::tasks::Tasks;
use crate::worker::Worker;

impl Built {
    /// Returns what the images are known by together; nothing for one image, which has its own id.
    pub fn index(&self) -> Option<IndexId> {
        (self.images.len() > 1).then(|| IndexId::of(&members(&self.images)))
    }
}

/// Points names to the images: to the only one, or to all of them.
pub(super) fn name(
    worker: &Worker,
    images: &[BuiltPlatform],
    names: &[&Reference],
    tasks: &Tasks,
) -> Result<(), ExportError> {
    for name in names {
        let task = tasks.begin(format!("naming to {}", (*name).clone().with_default_tag()));
        match images {
            [] => {}
            [only] => drop(worker.images.tag(only.id, name)?),
            several => drop(worker.images.tag_index(&members(several), name)?),
        }
        task.finish(Outcome::Done);
    }
    Ok(())
}

fn members(images: &[BuiltPlatform]) -> Vec<Member> {
    images.iter().map(|built| Member { platform: built.platform.clone(), image: built.id }).collect()
}

/// Says whether images stand in an index also without what is said about them.
pub(super) fn indexed(export: &Export, results: &[Finished]) -> Indexed {
    let listed = results.len() > 1 || export.split == Split::Always;
    if listed || export.attached.always { Indexed::Anyway } else { Indexed::OnlyIfNeeded }
}

impl Export {
    /// Says how files are called that say something about a platform's result.
    pub(super) fn files_of<'a>(&'a self, platform: &'a str) -> Naming<'a> {
        Naming { prefix: &self.attached.prefix, split: self.split, platform }
    }
}

/// Says which folder each result goes to: its platform's, or none.
pub(super) fn folders<'r>(
    what: &'static str,
    results: &'r [Finished],
    split: Split,
) -> Result<Vec<(Option<String>, &'r Finished)>, ExportError> {
    let folders = match (split, results) {
        (Split::Several, [only]) | (Split::Never, [only]) => vec![(None, only)],
        (Split::Never, _) => return Err(ExportError::OnePlatform { what, count: results.len() }),
        _ => results.iter().map(|result| (Some(folder(&result.platform)), result)).collect(),
    };
    Ok(folders)
}

/// The folder of a platform: `linux_arm_v7`.
fn folder(platform: &Platform) -> String {
    platform.to_string().replace('/', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_called_by_platforms() {
        for (platform, name) in [("linux/amd64", "linux_amd64"), ("linux/arm/v7", "linux_arm_v7")] {
            assert_eq!(folder(&platform.parse().unwrap()), name);
        }
    }
}
