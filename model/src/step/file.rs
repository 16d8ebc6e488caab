//! Changing files without running a program: `COPY`, `ADD`, `WORKDIR`.

use serde::{Deserialize, Serialize};

use crate::key::{Keyed, PreImage};
use crate::mount::InputIndex;

/// One change of the files of a step's base.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileAction {
    /// Copies files in.
    Copy(Copy),
    /// Makes a folder with its parents (`WORKDIR`).
    MakeDir(MakeDir),
}

/// Files to copy in (`COPY`, `ADD`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Copy {
    /// What is copied, in order; later ones win.
    pub sources: Vec<CopySource>,
    /// Where to: an absolute path of the base, lexically clean, with a `/` at its end if it was written as a folder.
    pub dest: String,
    /// The owner that everything gets; without it trees keep theirs (but see `reset_owner`).
    pub owner: Option<Owner>,
    /// The permission bits that files and folders get: octal or symbolic, checked by the front end.
    pub mode: Option<String>,
    /// Whether the paths of the sources are kept below `dest` (`--parents`).
    pub parents: bool,
    /// Patterns of what is left out (`--exclude`).
    pub exclude: Vec<String>,
    /// Whether archives among the sources are unpacked.
    pub unpack: Unpack,
    /// Whether links in `dest` are left alone because the base is empty (`--link`): folders are then made as needed.
    pub link: bool,
}

/// What is copied.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CopySource {
    /// Files of another tree.
    Tree {
        /// Which tree.
        input: InputIndex,
        /// Which of its files.
        path: PathSource,
    },
    /// A file whose content stands in the Dockerfile (a heredoc): mode 0644, owner 0:0.
    Inline {
        /// The file's name.
        name: String,
        /// What it holds.
        body: String,
    },
}

/// Which files of a tree are meant.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PathSource {
    /// A path from the root of the tree, lexically clean; with `--parents`, `/./` marks the pivot.
    pub path: String,
    /// Whether `* ? [] \` have a meaning in it, component by component.
    pub wildcard: bool,
    /// Whether the path may be missing.
    pub optional: bool,
    /// Whether the tree is a client's folder: owners count as 0:0, sockets become files, `security.capability` is lost.
    pub from_client: bool,
    /// Whether the selection keeps links and parents as `--parents` does.
    pub parents: bool,
    /// Patterns of what is left out.
    pub exclude: Vec<String>,
}

impl PathSource {
    /// Means one path that must exist.
    pub fn literal(path: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            wildcard: false,
            optional: false,
            from_client: false,
            parents: false,
            exclude: Vec::new(),
        }
    }

    /// Means one path that may be missing.
    pub fn optional(path: impl Into<String>) -> Self {
        Self { optional: true, ..Self::literal(path) }
    }
}

/// The owner that copied files get (`--chown`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Owner {
    /// `user[:group]`, names or numbers, as written after expansion.
    pub spec: String,
    /// The tree whose `/etc/passwd` and `/etc/group` explain names, when that is not the base.
    pub lookup: Option<InputIndex>,
}

/// Whether archives are unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unpack {
    /// Never: `COPY`, `ADD --unpack=false`, and files from the web.
    Never,
    /// Files that are archives by their content: `ADD` of local files, `--unpack`.
    Archives,
}

/// A folder to make with its parents (`WORKDIR`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MakeDir {
    /// Its absolute path, lexically clean.
    pub path: String,
    /// The owner of what is made; empty for 0:0. By the rules of `--chown`, though it comes from `USER`.
    pub owner: String,
    /// The time of what is made, in Unix seconds (`SOURCE_DATE_EPOCH`).
    pub epoch: Option<i64>,
}

impl Keyed for FileAction {
    fn pre_image(&self) -> PreImage {
        match self {
            Self::Copy(copy) => copy.pre_image(),
            Self::MakeDir(MakeDir { path, owner, epoch }) => PreImage::fields([
                ("action", PreImage::text("mkdir")),
                ("path", PreImage::text(path)),
                ("owner", PreImage::text(owner)),
                ("epoch", PreImage::optional(*epoch, PreImage::Number)),
            ]),
        }
    }
}

impl Keyed for Copy {
    fn pre_image(&self) -> PreImage {
        let Self { sources, dest, owner, mode, parents, exclude, unpack, link } = self;
        PreImage::fields([
            ("action", PreImage::text("copy")),
            ("sources", sources[..].pre_image()),
            ("dest", PreImage::text(dest)),
            ("owner", PreImage::optional(owner.as_ref(), |owner| PreImage::text(&owner.spec))),
            ("mode", PreImage::optional(mode.as_ref(), PreImage::text)),
            ("parents", PreImage::Flag(*parents)),
            ("exclude", PreImage::texts(exclude)),
            ("unpack", PreImage::Flag(*unpack == Unpack::Archives)),
            ("link", PreImage::Flag(*link)),
        ])
    }
}

impl Keyed for CopySource {
    fn pre_image(&self) -> PreImage {
        match self {
            // The names that the path selects are in its content hash; where the tree's root lies is not a matter.
            Self::Tree { input, path } => PreImage::fields([
                ("from", PreImage::Number(input.0.into())),
                ("name", PreImage::text(path.path.rsplit('/').next().unwrap_or_default())),
                ("from-client", PreImage::Flag(path.from_client)),
            ]),
            Self::Inline { name, body } => {
                PreImage::fields([("name", PreImage::text(name)), ("body", PreImage::text(body))])
            }
        }
    }
}
