//! A step: one operation on the results of earlier steps.
//!
//! | Operation | Keyed | Not keyed |
//! |---|---|---|
//! | image source | ChainId and platform | the name it was asked by, its manifest digest |
//! | local source | – (it has no key; what is selected of it has) | its name |
//! | git, http source | commit id and options; what was fetched | the ref name, the URL |
//! | exec | argv, environment in order, cwd, user, platform, hostname, network and security mode, rlimits, cgroup parent, names of extra hosts, devices, shm size, script, mounts (see [`crate::mount`]) | proxy variables, addresses of extra hosts |
//! | copy | sources' last names and wildcard-ness through the content hash, dest, owner, mode, parents, exclude, unpacking, inline files | the absolute place of the source tree, times |
//! | make folder (WORKDIR) | path, owner, epoch | |
//! | merge (`--link`) | only its inputs | |
//!
//! [`StepNote`] is what is told of a step and never hashed.

mod exec;
mod file;
mod note;
mod source;

use serde::{Deserialize, Serialize};

use crate::graph::StepId;
use crate::key::{Keyed, PreImage};
use crate::mount::{InputIndex, Mount};

pub use exec::{EnvVar, Exec, ExtraHost, NetworkMode, ProxyEnv, Script, SecurityMode, Ulimit};
pub use file::{Copy, CopySource, FileAction, MakeDir, Owner, PathSource, Unpack};
pub use note::{Limits, StepNote};
pub use source::{ArchiveSource, GitSource, HttpSource, ImagePin, ImageSource, LocalSource, Source};

/// One operation on ordered inputs.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Step {
    /// What is done.
    pub operation: Operation,
    /// The steps whose results it is done with; operations refer to them by [`InputIndex`].
    pub inputs: Vec<StepId>,
}

/// What a step does.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Operation {
    /// Brings a tree in from outside. No inputs.
    Source(Source),
    /// Runs a program in input 0, with further inputs mounted.
    Exec(Box<Exec>),
    /// Changes files of input 0, with further inputs to copy from.
    File(Vec<FileAction>),
    /// Stacks the layers of every further input on those of input 0.
    Merge,
}

/// A part of a tree that a step looks at: what its content key hashes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Selection {
    /// The input.
    pub input: InputIndex,
    /// The path in it, possibly with wildcards.
    pub path: PathSource,
}

impl Operation {
    /// Returns what the step looks at of the given input, or `None` when it depends on the whole of it.
    pub fn selections(&self, input: InputIndex) -> Option<Vec<Selection>> {
        if input == InputIndex::BASE {
            return None;
        }
        let mut found = Vec::new();
        match self {
            Self::Source(_) | Self::Merge => return None,
            Self::Exec(exec) => {
                for mount in &exec.mounts {
                    match mount {
                        Mount::Bind(bind) if bind.from == input => {
                            found.push(Selection { input, path: PathSource::literal(&bind.source) });
                        }
                        // Only an empty cache folder is filled from it, and what caches hold is in no key.
                        _ => {}
                    }
                }
            }
            Self::File(actions) => {
                for action in actions {
                    let FileAction::Copy(copy) = action else { continue };
                    for source in &copy.sources {
                        if let CopySource::Tree { input: from, path } = source
                            && *from == input
                        {
                            found.push(Selection { input, path: path.clone() });
                        }
                    }
                    if let Some(owner) = &copy.owner
                        && owner.lookup == Some(input)
                    {
                        for file in ["/etc/passwd", "/etc/group"] {
                            found.push(Selection { input, path: PathSource::optional(file) });
                        }
                    }
                }
            }
        }
        Some(found)
    }
}

impl Keyed for Operation {
    fn pre_image(&self) -> PreImage {
        match self {
            Self::Source(source) => source.pre_image(),
            Self::Exec(exec) => exec.pre_image(),
            Self::File(actions) => {
                PreImage::fields([("op", PreImage::text("file")), ("actions", actions[..].pre_image())])
            }
            Self::Merge => PreImage::fields([("op", PreImage::text("merge"))]),
        }
    }
}
