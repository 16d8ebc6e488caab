//! Snapshots as layers of overlayfs: each holds only what differs from the stack below it.
//!
//! The plans ask for a kernel overlay; `redirect_dir` and `metacopy` stay off, so that a layer never points elsewhere and
//! its difference can be read off its upper folder. The root folder of a new layer takes the attributes that the root
//! of its parent has, as it is the upper's root that is seen.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use rbuild_confined::{Metadata, Owner, Root, Time};
use rbuild_image::tar::{Limits, Reader};
use rbuild_model::rootfs::{OverlayUpper, OverlayXattr, RootPlan};
use rbuild_model::snapshot::Chain;
use rustix::fs::{Gid, Mode, Timestamps, Uid};

use crate::active::Active;
use crate::diff::{self, Change};
use crate::error::{Error, Result};
use crate::extract::{Extracted, Extractor, ImpliedThroughLinks, Rules, Whiteouts};
use crate::folders::{Folders, Place, make_dir};
use crate::merged::Merged;
use crate::snapshotter::{Snapshotter, Tree, Writes, filled};
use crate::xattr::Marks;

/// Keeps snapshots as layers of overlayfs.
#[derive(Debug, Clone)]
pub struct OverlaySnapshotter {
    place: Place,
    xattr: OverlayXattr,
}

impl OverlaySnapshotter {
    /// Opens the folders and makes those that are missing. The two kinds of marks have a folder each.
    pub fn open(folders: &Folders, xattr: OverlayXattr) -> Result<Self> {
        Ok(Self { place: Place::open(folders, format(xattr))?, xattr })
    }

    fn marks(&self) -> Marks {
        Marks::of(self.xattr)
    }

    /// Returns the folders of the layers, the topmost first; the empty stack has the empty folder.
    fn lowers(&self, chain: &Chain) -> Result<Vec<PathBuf>> {
        if chain.is_empty() {
            return Ok(vec![self.place.empty()]);
        }
        chain
            .layers()
            .iter()
            .rev()
            .map(|&id| {
                let path = self.place.tree(id);
                if path.is_dir() { Ok(path) } else { Err(Error::Missing { id }) }
            })
            .collect()
    }

    /// Makes a new layer ready to be written.
    fn begin(&self, active: &Active, parent: Option<Root>) -> Result<()> {
        make_dir(&self.place.active(active.id()).join("work"), 0o700)?;
        let root = self.place.open_active(active.id())?;
        match parent {
            Some(parent) => set_dir_attributes(&root, &parent.metadata("/")?),
            None => set_empty_root(&root),
        }
    }

    /// Opens the layers of a stack, the topmost first.
    fn roots(&self, chain: &Chain) -> Result<Vec<Root>> {
        chain.layers().iter().rev().map(|&id| self.place.open_tree(id)).collect()
    }
}

const fn format(xattr: OverlayXattr) -> &'static str {
    match xattr {
        OverlayXattr::Trusted => "overlay1",
        OverlayXattr::User => "overlay1-user",
    }
}

impl Snapshotter for OverlaySnapshotter {
    fn place(&self) -> &Place {
        &self.place
    }

    fn format(&self) -> &'static str {
        format(self.xattr)
    }

    fn prepare(&self, parents: &Chain) -> Result<Active> {
        let parent = parents.top().map(|id| self.place.open_tree(id)).transpose()?;
        let active = Active::new(self.place.prepare()?, parents.clone());
        let result = self.begin(&active, parent);
        Ok(filled(self, active, result)?.0)
    }

    fn root(&self, active: &Active, writes: Writes) -> Result<RootPlan> {
        let folder = self.place.active(active.id());
        self.place.open_active(active.id())?;
        Ok(RootPlan::Overlay {
            lowers: self.lowers(active.parents())?,
            upper: Some(OverlayUpper {
                upper: folder.join("fs"),
                work: folder.join("work"),
                volatile: writes == Writes::Volatile,
            }),
            xattr: self.xattr,
        })
    }

    fn view(&self, chain: &Chain) -> Result<RootPlan> {
        let mut lowers = self.lowers(chain)?;
        // The kernel wants two layers where there is no upper one, and one layer needs no overlay.
        Ok(match lowers.len() {
            1 => RootPlan::Directory { path: lowers.remove(0), readonly: true },
            _ => RootPlan::Overlay { lowers, upper: None, xattr: self.xattr },
        })
    }

    fn writes_in_place(&self, active: &Active) -> bool {
        active.parents().is_empty()
    }

    fn changes(
        &self,
        tree: Tree<'_>,
        visit: &mut dyn FnMut(Change, Option<File>) -> Result<()>,
    ) -> Result<()> {
        let (top, parents) = match tree {
            Tree::Committed(chain) => {
                let (top, parents) = chain.top().zip(chain.parent()).ok_or(Error::NoLayer)?;
                (self.place.open_tree(top)?, parents)
            }
            Tree::Active(active) => (self.place.open_active(active.id())?, active.parents().clone()),
        };
        let below = Merged::new(self.roots(&parents)?, Some(self.marks()));
        diff::layer(&top, &below, self.marks(), visit)
    }

    fn apply(&self, parents: &Chain, tar: &mut dyn Read, limits: Limits) -> Result<(Active, Extracted)> {
        let below = self.roots(parents)?;
        let active = self.prepare(parents)?;
        let rules = Rules {
            whiteouts: Whiteouts::Marks,
            implied_through_links: ImpliedThroughLinks::Make,
            ..Rules::default()
        };
        let extracted = self.open_active(&active).and_then(|upper| {
            let extractor = Extractor::onto_layers(upper, below, self.xattr, rules)?;
            Ok(extractor.extract(Reader::new(tar, limits))?)
        });
        filled(self, active, extracted)
    }
}

/// Gives the root folder of a tree the attributes of another folder.
pub(crate) fn set_dir_attributes(root: &Root, meta: &Metadata) -> Result<()> {
    set_attributes(root, Some(meta.owner), meta.mode, meta.mtime)
}

/// Makes an empty root folder as [`Place::prepare`] leaves it look the same on every machine.
pub(crate) fn set_empty_root(root: &Root) -> Result<()> {
    set_attributes(root, None, 0o755, Time::default())
}

fn set_attributes(root: &Root, owner: Option<Owner>, mode: u32, time: Time) -> Result<()> {
    let dir = root.resolve("/")?.open_dir()?;
    let failed = |errno| rbuild_confined::Error::io("set the attributes of", root.host_path(), errno);
    if let Some(Owner { uid, gid }) = owner {
        rustix::fs::fchown(&dir, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))).map_err(failed)?;
    }
    rustix::fs::fchmod(&dir, Mode::from_raw_mode(mode)).map_err(failed)?;
    let times = Timestamps { last_access: time.timespec(), last_modification: time.timespec() };
    Ok(rustix::fs::futimens(&dir, &times).map_err(failed)?)
}
