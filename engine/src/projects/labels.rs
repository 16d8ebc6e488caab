//! The labels that say what belongs to a project (spec "Names and labels put on resources").

use std::collections::BTreeMap;

use rbuild_model::project::{Project, Service};

/// The labels' common beginning.
pub const PREFIX: &str = "com.docker.compose.";

/// Names of labels.
pub mod key {
    /// The project.
    pub const PROJECT: &str = "com.docker.compose.project";
    /// The service.
    pub const SERVICE: &str = "com.docker.compose.service";
    /// The number of a container in its service.
    pub const NUMBER: &str = "com.docker.compose.container-number";
    /// `True` for containers of `run`.
    pub const ONE_OFF: &str = "com.docker.compose.oneoff";
    /// The id of a container of `run`.
    pub const SLUG: &str = "com.docker.compose.slug";
    /// `pre_start` for containers that run before a service starts.
    pub const HOOK: &str = "com.docker.compose.hook";
    /// The hash of the definition.
    pub const CONFIG_HASH: &str = "com.docker.compose.config-hash";
    /// The image that a container was made from.
    pub const IMAGE: &str = "com.docker.compose.image";
    /// The images that a container mounts: `target=digest`, joined by commas.
    pub const MOUNTED_IMAGES: &str = "com.docker.compose.image-volume-digest";
    /// What a service depends on: `service:condition:restart`, joined by commas.
    pub const DEPENDS_ON: &str = "com.docker.compose.depends_on";
    /// The name of the container that another one took the place of.
    pub const REPLACE: &str = "com.docker.compose.replace";
    /// The version of the tool.
    pub const VERSION: &str = "com.docker.compose.version";
    /// The key of a network.
    pub const NETWORK: &str = "com.docker.compose.network";
    /// The key of a volume.
    pub const VOLUME: &str = "com.docker.compose.volume";
    /// The folder of the project.
    pub const WORKING_DIR: &str = "com.docker.compose.project.working_dir";
    /// The files of the project, joined by commas.
    pub const CONFIG_FILES: &str = "com.docker.compose.project.config_files";
    /// The env files named on the command line, joined by commas.
    pub const ENVIRONMENT_FILE: &str = "com.docker.compose.project.environment_file";
}

/// Which containers of a service one is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Number so and so, from 1.
    Numbered(u64),
    /// Made by `run`.
    OneOff {
        /// Its id.
        slug: String,
        /// Whether the service's names lead to it too.
        aliases: Aliases,
    },
    /// Runs to its end before the service starts.
    PreStart {
        /// Where it stands among those.
        at: usize,
    },
}

/// Whether a service's names lead to a container of `run`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aliases {
    /// Only its own name does.
    Own,
    /// They do.
    Service,
}

impl Place {
    /// Whether the service's names lead to the container.
    pub(super) fn has_aliases(&self) -> bool {
        matches!(self, Self::Numbered(_) | Self::OneOff { aliases: Aliases::Service, .. })
    }
}

/// Returns the labels of a container: the service's own, then those that no user can set.
pub fn of_container(
    project: &Project,
    service: &Service,
    place: &Place,
    image: &str,
    version: &str,
) -> BTreeMap<String, String> {
    let mut labels = service.labels.clone();
    // What only some containers have says what they are: a service cannot say it of its own.
    for own in [key::HOOK, key::REPLACE, key::SLUG] {
        labels.remove(own);
    }
    let files: Vec<String> = project.files.iter().map(|file| file.display().to_string()).collect();
    let mut set = |key: &str, value: String| labels.insert(key.to_owned(), value);
    set(key::PROJECT, project.name.to_string());
    set(key::SERVICE, service.name.to_string());
    set(key::CONFIG_HASH, service.config_hash.clone());
    set(key::IMAGE, image.to_owned());
    set(key::DEPENDS_ON, depends_on(service));
    set(key::VERSION, version.to_owned());
    set(key::WORKING_DIR, project.directory.display().to_string());
    set(key::CONFIG_FILES, files.join(","));
    if !project.env_files.is_empty() {
        let files: Vec<String> = project.env_files.iter().map(|file| file.display().to_string()).collect();
        set(key::ENVIRONMENT_FILE, files.join(","));
    }
    match place {
        Place::Numbered(number) => {
            set(key::NUMBER, number.to_string());
            set(key::ONE_OFF, "False".to_owned());
        }
        Place::OneOff { slug, .. } => {
            set(key::NUMBER, "1".to_owned());
            set(key::ONE_OFF, "True".to_owned());
            set(key::SLUG, slug.clone());
        }
        // Whoever counts containers and does not know the label of hooks leaves it out as one of `run`.
        Place::PreStart { at } => {
            set(key::NUMBER, at.to_string());
            set(key::ONE_OFF, "True".to_owned());
            set(key::HOOK, "pre_start".to_owned());
        }
    }
    labels
}

/// What a service depends on, as its label says it.
fn depends_on(service: &Service) -> String {
    let parts: Vec<String> = service
        .depends_on
        .iter()
        .map(|(name, dependency)| format!("{name}:{}:{}", dependency.condition.as_str(), dependency.restart))
        .collect();
    parts.join(",")
}

/// Reads the names of what a service depends on from its label.
pub fn dependencies(label: &str) -> impl Iterator<Item = &str> {
    label.split(',').filter_map(|part| part.split(':').next()).filter(|name| !name.is_empty())
}

/// Returns the labels of a network or volume: the user's, then those that no user can set.
pub fn of_resource(
    project: &Project,
    labels: &BTreeMap<String, String>,
    kind: &str,
    name: &str,
    hash: &str,
    version: &str,
) -> BTreeMap<String, String> {
    let mut labels = labels.clone();
    labels.insert(key::PROJECT.to_owned(), project.name.to_string());
    labels.insert(kind.to_owned(), name.to_owned());
    labels.insert(key::CONFIG_HASH.to_owned(), hash.to_owned());
    labels.insert(key::VERSION.to_owned(), version.to_owned());
    labels
}
