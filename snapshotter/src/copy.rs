//! Snapshots as whole trees: the parent's copied, then changed.
//!
//! A file system with reflinks makes this cheap, any other pays with disk space and time. It needs nothing of the
//! kernel, so it works where no overlay can be mounted, and it is simple, so that the overlay is tested against it.
//! What a snapshot changed is found by comparing two whole trees. Contents are compared only of files that were touched
//! since the copy was done: a file `mark` beside the tree has the time of that, and whatever is written, renamed or linked
//! later has a later `ctime`.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use rbuild_confined::{Root, Time};
use rbuild_image::tar::{Limits, Reader};
use rbuild_model::rootfs::RootPlan;
use rbuild_model::snapshot::Chain;

use crate::active::Active;
use crate::copier::{Capabilities, Copier, CopyRules};
use crate::diff::{self, Change};
use crate::error::{Error, Result};
use crate::extract::{Extracted, Extractor, ImpliedThroughLinks, Rules, Whiteouts};
use crate::folders::{Folders, Place};
use crate::merged::Merged;
use crate::overlay::{set_dir_attributes, set_empty_root};
use crate::snapshotter::{Snapshotter, Tree, Writes, filled};

/// Keeps snapshots as whole trees.
#[derive(Debug, Clone)]
pub struct CopySnapshotter {
    place: Place,
}

impl CopySnapshotter {
    /// Opens the folders and makes those that are missing.
    pub fn open(folders: &Folders) -> Result<Self> {
        Ok(Self { place: Place::open(folders, "copy1")? })
    }

    fn fill(&self, active: &Active) -> Result<()> {
        let root = self.place.open_active(active.id())?;
        let Some(parent) = active.parents().top() else { return set_empty_root(&root) };
        let parent = self.place.open_tree(parent)?;
        let rules = CopyRules { capabilities: Capabilities::All, ..CopyRules::default() };
        Copier::new(rules)
            .copy_dir(&parent.resolve("/")?, root.resolve("/")?)
            .map_err(|error| error.into_tree(root.host_path()))?;
        set_dir_attributes(&root, &parent.metadata("/")?)?;
        self.place.set_mark(active.id())
    }
}

impl Snapshotter for CopySnapshotter {
    fn place(&self) -> &Place {
        &self.place
    }

    fn format(&self) -> &'static str {
        "copy1"
    }

    fn prepare(&self, parents: &Chain) -> Result<Active> {
        let active = Active::new(self.place.prepare()?, parents.clone());
        let result = self.fill(&active);
        Ok(filled(self, active, result)?.0)
    }

    fn root(&self, active: &Active, _writes: Writes) -> Result<RootPlan> {
        self.place.open_active(active.id())?;
        Ok(RootPlan::Directory { path: self.place.active(active.id()).join("fs"), readonly: false })
    }

    fn view(&self, chain: &Chain) -> Result<RootPlan> {
        let path = match chain.top() {
            Some(id) if self.contains(id) => self.place.tree(id),
            Some(id) => return Err(Error::Missing { id }),
            None => self.place.empty(),
        };
        Ok(RootPlan::Directory { path, readonly: true })
    }

    fn writes_in_place(&self, _active: &Active) -> bool {
        true
    }

    fn changes(
        &self,
        tree: Tree<'_>,
        visit: &mut dyn FnMut(Change, Option<File>) -> Result<()>,
    ) -> Result<()> {
        let (top, folder, parents) = match tree {
            Tree::Committed(chain) => {
                let (top, parents) = chain.top().zip(chain.parent()).ok_or(Error::NoLayer)?;
                (self.place.open_tree(top)?, self.place.committed(top), parents)
            }
            Tree::Active(active) => {
                let id = active.id();
                (self.place.open_active(id)?, self.place.active(id), active.parents().clone())
            }
        };
        let below = parents.top().map(|id| self.place.open_tree(id)).transpose()?;
        let below = Merged::new(below.into_iter().collect(), None);
        diff::whole_tree(&top, &below, mark(&folder)?, visit)
    }

    fn apply(&self, parents: &Chain, tar: &mut dyn Read, limits: Limits) -> Result<(Active, Extracted)> {
        let active = self.prepare(parents)?;
        let rules = Rules {
            whiteouts: Whiteouts::Remove,
            implied_through_links: ImpliedThroughLinks::Make,
            ..Rules::default()
        };
        let extracted = self
            .open_active(&active)
            .and_then(|root| Ok(Extractor::onto_tree(root, rules)?.extract(Reader::new(tar, limits))?));
        filled(self, active, extracted)
    }
}

/// Reads when the copy in `folder` was done; without that, every file counts as touched.
fn mark(folder: &Path) -> Result<Option<Time>> {
    let mark = Root::open(folder)?.find_nofollow("mark")?;
    Ok(mark.map(|mark| mark.metadata()).transpose()?.map(|meta| meta.ctime))
}
