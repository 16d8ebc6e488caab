//! The images that a project names: what they are called, where that stands, and other names for them.
//!
//! | Where | Shown by `config --images` | Pinned | Pinned by a file that lies over others |
//! |---|---|---|---|
//! | `image` of a service | yes, or as it is built | yes | yes |
//! | `volumes` of type `image` | no, as with Compose | unless a service is built under the name | yes: mounts merge by their target |
//! | `image` in `pre_start` | yes | unless a service is built under the name | no: such lists grow at their ends |

use std::collections::{BTreeMap, BTreeSet};

use super::Loaded;
use super::yaml::{Map, Node, Value};

/// Where a project names an image.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ImagePlace {
    /// The service.
    pub service: String,
    /// What of it.
    pub at: ImageAt,
}

/// What of a service names an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ImageAt {
    /// The service itself.
    Service,
    /// What runs before it starts, in this place.
    PreStart(usize),
    /// The mount in this place.
    Mount(usize),
}

impl ImageAt {
    /// The list of the service that it stands in, the place there, and the key.
    const fn keys(self) -> (Option<(&'static str, usize)>, &'static str) {
        match self {
            Self::Service => (None, "image"),
            Self::PreStart(number) => (Some(("pre_start", number)), "image"),
            Self::Mount(number) => (Some(("volumes", number)), "source"),
        }
    }
}

impl Loaded {
    /// Returns the images that services run: each service's, named or as it is built, and behind it those of what runs
    /// before it starts. `separator` stands between the names of the project and the service where an image is built.
    pub fn images(&self, separator: char) -> Vec<String> {
        let mut images = Vec::new();
        for (name, service) in self.services().iter() {
            let own = image_of(service).unwrap_or_else(|| format!("{}{separator}{name}", self.name));
            let steps = steps(service).filter_map(|(_, step)| image_of(step)).filter(|image| *image != own);
            let steps: Vec<String> = steps.collect();
            images.push(own);
            images.extend(steps);
        }
        images
    }

    /// Returns the images that registries have: those that services name, and what services mount or run before they start
    /// unless a service is built under that name. `separator` is as with [`images`](Self::images).
    pub fn named_images(&self, separator: char) -> BTreeMap<ImagePlace, String> {
        let all = self.services().iter().chain(self.disabled.iter());
        let built: BTreeSet<String> = all
            .filter(|(_, service)| service.get("build").is_some_and(|build| !build.is_null()))
            .map(|(name, service)| {
                image_of(service).unwrap_or_else(|| format!("{}{separator}{name}", self.name))
            })
            .collect();
        let mut images = BTreeMap::new();
        for (name, service) in self.services().iter() {
            let place = |at| ImagePlace { service: name.to_owned(), at };
            images.extend(image_of(service).map(|image| (place(ImageAt::Service), image)));
            let steps =
                steps(service).filter_map(|(at, step)| Some((ImageAt::PreStart(at), image_of(step)?)));
            let mounts = mounts(service)
                .filter_map(|(at, mount)| Some((ImageAt::Mount(at), text_of(mount, "source")?)));
            let beside = steps.chain(mounts).filter(|(_, image)| !built.contains(image));
            images.extend(beside.map(|(at, image)| (place(at), image)));
        }
        images
    }

    /// Gives images other names.
    pub fn rename_images(&mut self, images: &BTreeMap<ImagePlace, String>) {
        let Some(services) = self.top.get_mut("services").and_then(Node::as_map_mut) else { return };
        for (place, image) in images {
            let Some(service) = services.get_mut(&place.service) else { continue };
            let (list, key) = place.at.keys();
            let holder = match list {
                None => Some(service),
                Some((list, number)) => {
                    let list = service.as_map_mut().and_then(|service| service.get_mut(list));
                    match list.map(|list| &mut list.value) {
                        Some(Value::List(items)) => items.get_mut(number),
                        _ => None,
                    }
                }
            };
            if let Some(holder) = holder.and_then(Node::as_map_mut) {
                holder.put(key, Node::new(Value::String(image.clone()), None));
            }
        }
    }

    /// Leaves of the project nothing but the images of its services and of their mounts: a file that lies over others and
    /// pins them. Returns what such a file cannot say.
    pub fn keep_images(&mut self) -> Vec<ImagePlace> {
        let mut left = Vec::new();
        let mut kept = Vec::new();
        for (name, service) in self.services().iter() {
            let mut own = Map::default();
            if let Some(image) = image_of(service) {
                own.put("image", Node::new(Value::String(image), None));
            }
            let mounts: Vec<Node> = mounts(service).map(|(_, mount)| mount.clone()).collect();
            if !mounts.is_empty() {
                own.put("volumes", Node::new(Value::List(mounts), None));
            }
            let steps = steps(service).filter(|(_, step)| image_of(step).is_some());
            left.extend(
                steps.map(|(at, _)| ImagePlace { service: name.to_owned(), at: ImageAt::PreStart(at) }),
            );
            if !own.is_empty() {
                kept.push((name.to_owned(), Node::new(Value::Map(own), None)));
            }
        }
        let services = Node::new(Value::Map(Map::from_iter(kept)), None);
        self.top = Map::default();
        self.top.put("name", Node::new(Value::String(String::new()), None));
        self.top.put("services", services);
        left
    }
}

fn image_of(node: &Node) -> Option<String> {
    text_of(node, "image")
}

fn text_of(node: &Node, key: &str) -> Option<String> {
    node.get(key).and_then(Node::scalar).filter(|text| !text.is_empty())
}

fn steps(service: &Node) -> impl Iterator<Item = (usize, &Node)> {
    service.get("pre_start").and_then(Node::as_list).unwrap_or_default().iter().enumerate()
}

fn mounts(service: &Node) -> impl Iterator<Item = (usize, &Node)> {
    let all = service.get("volumes").and_then(Node::as_list).unwrap_or_default().iter().enumerate();
    all.filter(|(_, mount)| mount.get("type").and_then(Node::as_str) == Some("image"))
}
