//! What a build is asked for, and what its caller holds for it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use rbuild_confined::Root;
use rbuild_frontend::lower::LowerOptions;
use rbuild_images::{Annotation, Naming, Packing};
use rbuild_model::reference::Reference;
use rbuild_model::span::Source;

use crate::caches::Caches;
use crate::cdi::DeviceGrants;

/// A build.
#[derive(Clone, Debug)]
pub struct BuildRequest {
    /// The Dockerfile, unless `dockerfile_place` says that it is elsewhere.
    pub dockerfile: Arc<Source>,
    /// Where the Dockerfile is.
    pub dockerfile_place: DockerfilePlace,
    /// Where the main context is.
    pub main: MainContext,
    /// How it is lowered: target, arguments, platforms and so on. Its contexts and ignore file are filled in here.
    pub options: LowerOptions,
    /// Named contexts, by name.
    pub contexts: BTreeMap<String, NamedContext>,
    /// Whether images are asked for at their registries although they are here.
    pub pull: PullPolicy,
    /// The names that the image gets in the store.
    pub tags: Vec<Reference>,
    /// What is made of the result.
    pub exports: Vec<Export>,
    /// How many steps run at once; `None` for as many as there are processors.
    pub parallel: Option<std::num::NonZeroUsize>,
    /// Extra certificate authorities that steps trust, in PEM; never in an image or a key.
    pub extra_ca: Option<Vec<u8>>,
    /// The project that the build belongs to, for its history: the absolute path of the context.
    pub project: String,
    /// The caches elsewhere that results are taken from and brought to.
    pub caches: Caches,
    /// What is said about the result.
    pub attestations: Attestations,
    /// Which devices steps may have.
    pub devices: DeviceGrants,
}

/// What is said about a result.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attestations {
    /// What is in them.
    pub materials: Option<Materials>,
    /// How they were made.
    pub provenance: Option<Provenance>,
}

impl Attestations {
    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A bill of materials, from the databases of package managers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Materials;

/// How an image was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Provenance {
    /// How much is said.
    pub detail: Detail,
    /// Who says that it was built: a URI.
    pub builder: Option<String>,
    /// In which version it is said.
    pub version: Slsa,
    /// What the file is called that it becomes beside files; `None` for `provenance.json`.
    pub file: Option<String>,
    /// Whether the caller promises that it can be made again.
    pub reproducible: Reproducible,
    /// Where it goes.
    pub scope: Scope,
}

/// The versions of what SLSA calls a provenance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Slsa {
    /// Version 1.
    #[default]
    V1,
    /// Version 0.2.
    V02,
}

/// Whether a build makes the same again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reproducible {
    /// Nobody says so.
    #[default]
    Unsaid,
    /// The caller says so.
    Promised,
}

/// Where a fact goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// With images and with files.
    #[default]
    Everywhere,
    /// With images that stand in an index anyway (`inline-only`).
    Images,
}

/// How what is said about a result goes with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attached {
    /// What the manifest of it looks like.
    pub form: rbuild_image::attest::Form,
    /// Whether an index is made for what is otherwise said only in one.
    pub always: bool,
    /// What names of its files begin with.
    pub prefix: String,
}

/// How much is said of how an image was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Detail {
    /// Times and sources.
    #[default]
    Min,
    /// Also arguments, labels, ids of secrets, and steps.
    Max,
}

/// One of several targets that are built together.
pub struct TargetRequest<'c> {
    /// What it is called: in displays, in errors, and by [other targets](NamedContext::Target).
    pub name: String,
    /// What is built.
    pub request: BuildRequest,
    /// Who holds the folders and secrets of it.
    pub client: &'c dyn Client,
}

/// When a registry is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PullPolicy {
    /// For images that are not here.
    #[default]
    Missing,
    /// Always, to see whether a name means another image now.
    Always,
    /// Never.
    Never,
}

/// Where the main context is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum MainContext {
    /// Where the options say: a folder of the client, or nowhere.
    #[default]
    Given,
    /// In the client's stream: a tar, packed in any way; or else the stream is a Dockerfile, and there is no context.
    Stream,
    /// In a git repository: a URL with `#ref:folder` or a query.
    Git(String),
    /// Behind a URL: a tar, packed in any way; or else what is there is a Dockerfile.
    Web(String),
}

/// Where the Dockerfile is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DockerfilePlace {
    /// In the request.
    #[default]
    Given,
    /// In a main context that is not a folder of the client: at a path, or under one of the usual names.
    Context(Option<String>),
    /// Behind a URL.
    Web(String),
}

/// A context besides the main one (`--build-context`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NamedContext {
    /// A folder of the client, asked for by the context's name.
    Local,
    /// An image.
    Image(Reference),
    /// The empty tree (`docker-image://scratch`).
    Scratch,
    /// A git repository: a URL with `#ref:folder` or a query.
    Git(String),
    /// What is behind a URL: a file named `context`.
    Web(String),
    /// An image of an OCI layout; its folder is asked of the client by the context's name.
    Layout(rbuild_image::archive::LayoutImage),
    /// What comes out of another target of the same build, by its name.
    Target(String),
}

/// Something that is made of the result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    /// What.
    pub kind: ExportKind,
    /// The names that are written into it.
    pub names: Vec<Reference>,
    /// Whether files go to a folder a platform, and images that leave into an index.
    pub split: Split,
    /// How layers and manifest of an archive are made.
    pub packing: Packing,
    /// What is written on manifests and indexes.
    pub annotations: Vec<Annotation>,
    /// How what is said about the result goes with it.
    pub attached: Attached,
}

/// Whether files of different platforms go to folders of their own, and images that leave into an index. An image in the store is
/// itself in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Split {
    /// If there are several platforms.
    #[default]
    Several,
    /// Also if there is one.
    Always,
    /// Never.
    Never,
}

/// What is made of the result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExportKind {
    /// An image in the store. The default when nothing is asked for.
    Image,
    /// Nothing: the steps are done, and others may use what they made.
    Nothing,
    /// An OCI archive or layout.
    Oci(ArchiveDest),
    /// An archive for `docker load`.
    Docker(ArchiveDest),
    /// An image at the registry that its name says.
    Registry {
        /// Whether it gets its tag there.
        naming: Naming,
        /// Whether the store keeps it too.
        kept: Kept,
    },
    /// A tar of the root file system.
    Tar(FileDest),
    /// The root file system as a folder.
    Local {
        /// The folder; made if it is missing.
        dest: PathBuf,
        /// What becomes of other files in it.
        leftovers: Leftovers,
    },
}

/// What becomes of files that are in a folder already and not in the result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Leftovers {
    /// They stay.
    #[default]
    Keep,
    /// They go, once the result is there.
    Remove,
}

/// Whether the store keeps an image that leaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kept {
    /// Under its names.
    #[default]
    InStore,
    /// No: only its layers stay, for as long as the cache keeps them.
    Nowhere,
}

/// Where an archive goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ArchiveDest {
    /// A tar.
    File(FileDest),
    /// A folder with the layout itself (`tar=false`).
    Folder(PathBuf),
}

/// Where a file goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileDest {
    /// A path.
    Path(PathBuf),
    /// The caller's stream (`dest=-`), asked of the [`Client`].
    Stream,
}

/// What only the caller of a build has: its secrets, its agent, its folders, its output.
pub trait Client: Send + Sync {
    /// Returns the value of a secret, if the caller has it.
    fn secret(&self, id: &str) -> Result<Option<Vec<u8>>, ClientError>;

    /// Returns the path of the socket of an ssh agent, if the caller offers it.
    fn ssh_agent(&self, id: &str) -> Result<Option<PathBuf>, ClientError>;

    /// Opens a folder: `context`, or a named context.
    fn local(&self, name: &str) -> Result<LocalTree, ClientError>;

    /// Opens the stream that a main context comes from.
    fn input(&self) -> Result<Box<dyn std::io::Read + Send>, ClientError>;

    /// Opens the stream that an export with [`FileDest::Stream`] goes to.
    fn output(&self) -> Result<Box<dyn std::io::Write + Send>, ClientError>;
}

/// A folder of the caller.
#[derive(Debug)]
pub struct LocalTree {
    /// The folder.
    pub root: Root,
    /// Its absolute path, for messages and for naming its stat index; in no key.
    pub path: PathBuf,
    /// Its ignore file, if it has one.
    pub ignore: Option<Arc<Source>>,
}

/// The caller could not do what it was asked for.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct ClientError {
    /// What could not be done.
    pub message: String,
    /// Why.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl ClientError {
    /// Says what could not be done, and why.
    pub fn new(message: impl Into<String>, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self { message: message.into(), source: Some(Box::new(source)) }
    }
}
