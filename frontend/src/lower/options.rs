//! What a caller says before lowering, what lowering asks back, and the answers.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use rbuild_model::image_config::ImageConfig;
use rbuild_model::platform::Platform;
use rbuild_model::reference::Reference;
use rbuild_model::span::Location;
use rbuild_model::step::{ExtraHost, ImagePin, Limits, LocalSource, NetworkMode, Source, Ulimit};

use super::Target;
use crate::ignore::Ignore;

/// What the one who builds says.
#[derive(Clone, Debug)]
pub struct LowerOptions {
    /// The stage to build, by name or position; `None` for the last.
    pub target: Option<String>,
    /// Whether every stage is looked at, needed or not: a check of the whole file.
    pub all_stages: bool,
    /// `--build-arg`
    pub build_args: BTreeMap<String, String>,
    /// The platforms to build for, at least one.
    pub platforms: Vec<Platform>,
    /// Whether the platforms were chosen; if not, a base image for another one will do.
    pub platforms_chosen: bool,
    /// The platform of the machine that builds.
    pub build_platform: Platform,
    /// `--label`
    pub labels: Vec<(String, String)>,
    /// Which steps must not use earlier results.
    pub no_cache: NoCache,
    /// The tree of the main context.
    pub context: Source,
    /// The ignore file of the main context, where the context is a local folder.
    pub ignore: Option<Arc<Ignore>>,
    /// The names of the named contexts, as given, with `::platform` if given.
    pub named_contexts: BTreeSet<String>,
    /// The network of steps that ask for none.
    pub network: NetworkMode,
    /// `--add-host`
    pub extra_hosts: Vec<ExtraHost>,
    /// `--ulimit`
    pub ulimits: Vec<Ulimit>,
    /// `--shm-size` in bytes.
    pub shm_size: Option<u64>,
    /// The host name of steps.
    pub hostname: Option<String>,
    /// `--cgroup-parent`
    pub cgroup_parent: Option<String>,
    /// What a step may use of the machine.
    pub limits: Limits,
    /// What steps may be allowed.
    pub entitlements: BTreeSet<Entitlement>,
    /// Whether files in layers keep times that are later than the epoch (`rewrite-timestamp=false`).
    pub keep_times: bool,
    /// The time that the result is said to be of, where it is not that of the build (`source-date-epoch` of an output).
    pub result_epoch: Option<i64>,
    /// The time of the main context, where it is known, for `SOURCE_DATE_EPOCH=context`.
    pub context_time: Option<i64>,
}

impl LowerOptions {
    /// Means an ordinary build of a local folder for one platform.
    pub fn new(platform: Platform) -> Self {
        Self {
            target: None,
            all_stages: false,
            build_args: BTreeMap::new(),
            build_platform: platform.clone(),
            platforms: vec![platform],
            platforms_chosen: false,
            labels: Vec::new(),
            no_cache: NoCache::None,
            context: Source::Local(LocalSource { name: "context".to_owned() }),
            ignore: None,
            named_contexts: BTreeSet::new(),
            network: NetworkMode::Default,
            extra_hosts: Vec::new(),
            ulimits: Vec::new(),
            shm_size: None,
            hostname: None,
            cgroup_parent: None,
            limits: Limits::default(),
            entitlements: BTreeSet::new(),
            keep_times: false,
            result_epoch: None,
            context_time: None,
        }
    }

    pub(super) fn distinct_platforms(&self) -> Vec<&Platform> {
        let mut distinct: Vec<&Platform> = Vec::new();
        for platform in &self.platforms {
            if !distinct.contains(&platform) {
                distinct.push(platform);
            }
        }
        distinct
    }

    /// Finds the named context that stands for a name on a platform.
    pub(super) fn named_context(&self, name: &str, platform: &Platform) -> Option<&str> {
        if self.named_contexts.is_empty() || name.eq_ignore_ascii_case("scratch") {
            return None;
        }
        let wanted = plain_name(name);
        let qualified = format!("::{platform}");
        let find = |suffix: &str| {
            self.named_contexts
                .iter()
                .find(|known| known.strip_suffix(suffix).is_some_and(|known| plain_name(known) == wanted))
                .map(String::as_str)
        };
        find(&qualified).or_else(|| find(""))
    }
}

/// Brings a name into the form that named contexts are compared in: without `docker.io/library/` and `:latest`.
fn plain_name(name: &str) -> String {
    match name.parse::<Reference>() {
        Ok(reference) => {
            let familiar = reference.familiar();
            familiar.strip_suffix(":latest").map_or(familiar.clone(), str::to_owned)
        }
        Err(_) => name.to_owned(),
    }
}

/// Which steps must not use earlier results.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum NoCache {
    /// All may.
    #[default]
    None,
    /// No step may.
    All,
    /// Those of the stages of these names may not.
    Stages(Vec<String>),
}

/// Something a step needs a permission for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Entitlement {
    /// `network.host`
    NetworkHost,
    /// `security.insecure`
    SecurityInsecure,
}

/// Something that has to be known before lowering can end.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Question {
    /// What does an image name stand for?
    Image {
        /// The name, with a tag or a digest.
        reference: Reference,
        /// The platform it is wanted for.
        platform: Platform,
        /// Whether it may be for another platform if it is for one only.
        any_platform: bool,
    },
    /// Which time does a source from outside have?
    Time {
        /// The source: a repository, or a file of a server.
        source: Source,
    },
    /// What is a named context?
    Context {
        /// The name it was given by.
        name: String,
        /// The platform it is wanted for, should it be an image.
        platform: Platform,
    },
}

/// A question with the place that makes it one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The question.
    pub question: Question,
    /// The line that needs the answer.
    pub location: Location,
    /// A stage's name that is close to an image's name: what may have been meant should there be no such image.
    pub near: Option<String>,
}

/// An answer.
#[derive(Clone, Debug)]
pub enum Answer {
    /// An image.
    Image(Box<ImageAnswer>),
    /// A tree without a config: a folder, a repository, a file, nothing.
    Tree(Source),
    /// What comes out of another Dockerfile in the same graph.
    Target(Box<Target>),
    /// A time in Unix seconds, of what has one.
    Time(Option<i64>),
    /// That nobody knows: in the place of an answer that cannot be had, for a file that is not built anyway.
    Unknown,
}

/// What an image name stands for.
#[derive(Clone, Debug)]
pub struct ImageAnswer {
    /// The name that displays call it by.
    pub name: String,
    /// What the name resolved to.
    pub pin: ImagePin,
    /// The platform that was chosen.
    pub platform: Platform,
    /// The image's config.
    pub config: ImageConfig,
}

/// The answers so far.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    known: HashMap<Question, Answer>,
}

impl Answers {
    /// Starts with none.
    pub fn new() -> Self {
        Self::default()
    }

    /// Answers a question.
    pub fn insert(&mut self, question: Question, answer: Answer) {
        self.known.insert(question, answer);
    }

    pub(super) fn get(&self, question: &Question) -> Option<&Answer> {
        self.known.get(question)
    }
}
