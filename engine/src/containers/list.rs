//! `ps`: all containers with their states, by one read of the rows and one state file each.

use jiff::Timestamp;
use rbuild_model::container::{Definition, MountWhat, State, Status};

use super::error::ContainerError;
use super::observe::Observed;
use super::reap::is_gone;
use super::rows;
use crate::engine::Engine;

/// A container as lists show it.
#[derive(Clone, Debug)]
pub struct Listed {
    /// What it is.
    pub definition: Definition,
    /// What has become of it.
    pub observed: Observed,
    /// Bytes that it wrote, and bytes of all that it sees, where sizes were asked for.
    pub size: Option<(u64, u64)>,
}

/// What a look at all containers found.
#[derive(Debug, Default)]
pub struct Listing {
    /// Those that fit, the newest first.
    pub containers: Vec<Listed>,
    /// Why others could not be looked at.
    pub damaged: Vec<ContainerError>,
}

impl Listed {
    /// Returns the names of the networks that it is in.
    pub fn networks(&self) -> Vec<String> {
        networks(&self.definition)
    }
}

/// Which containers are listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    /// The id begins so.
    Id(String),
    /// The name has this in it; anchors `^` and `$` hold it to the ends.
    Name(String),
    /// The label is there, with this value if one is said.
    Label(String, Option<String>),
    /// It ended with this status.
    Exited(i32),
    /// It is in this state.
    Status(Status),
    /// It is made of this image or of one that builds on it.
    Ancestor(String),
    /// It was made before this container.
    Before(String),
    /// It was made after this container.
    Since(String),
    /// It has this volume, by name or target.
    Volume(String),
    /// It is in this network, by name or id.
    Network(String),
    /// It publishes one of these ports of the host.
    Publish(PortFilter),
    /// It listens on one of these ports.
    Expose(PortFilter),
    /// Its health is this: `starting`, `healthy`, `unhealthy`, `none`.
    Health(String),
    /// It belongs to a cluster's task; none does.
    IsTask(bool),
    /// It was made before this moment (for `prune`).
    Until(Timestamp),
    /// The label is not there, or not with this value (for `prune`).
    LabelNot(String, Option<String>),
}

/// A port or a range of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortFilter {
    /// The first.
    pub first: u16,
    /// The last.
    pub last: u16,
    /// The protocol (`tcp`).
    pub protocol: String,
}

impl PortFilter {
    /// Reads `80`, `80/udp`, `8000-8010/tcp`.
    pub fn parse(text: &str) -> Option<Self> {
        let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
        let (first, last) = (first.parse().ok()?, last.parse().ok()?);
        let known = matches!(protocol, "tcp" | "udp" | "sctp") && first <= last;
        known.then(|| Self { first, last, protocol: protocol.to_owned() })
    }

    fn fits(&self, port: u16, protocol: &str) -> bool {
        (self.first..=self.last).contains(&port) && self.protocol == protocol
    }
}

/// Which containers a list is of.
#[derive(Clone, Debug, Default)]
pub struct ListRequest {
    /// Whether those that do not run are there too.
    pub all: bool,
    /// So many at most, the newest; implies `all`.
    pub last: Option<usize>,
    /// Filters: of one kind, one has to fit (labels: all); of each kind.
    pub filters: Vec<Filter>,
    /// Whether sizes are counted.
    pub sizes: bool,
}

impl Engine {
    /// Lists containers, the newest first. One that removes itself and has ended is gone already; one that nobody removed
    /// is removed here. What cannot be read is left out.
    pub fn list(&self, request: &ListRequest) -> Result<Vec<Listed>, ContainerError> {
        Ok(self.listing(request)?.containers)
    }

    /// As [`list`](Self::list), with what could not be read.
    pub fn listing(&self, request: &ListRequest) -> Result<Listing, ContainerError> {
        let all = request.all
            || request.last.is_some()
            || request.filters.iter().any(|filter| matches!(filter, Filter::Status(_) | Filter::Exited(_)));
        let definitions = self.parts.store.read(rows::all)?;
        let mut listed = Vec::with_capacity(definitions.len());
        let mut damaged = Vec::new();
        for definition in definitions {
            match definition.and_then(|definition| Ok((self.observe(&definition)?, definition))) {
                Ok((observed, definition)) if is_gone(&definition, &observed.state) => {
                    // Who cannot remove it now leaves it to the next one.
                    let _ = self.reap_left(&definition);
                }
                Ok((observed, definition)) => listed.push(Listed { definition, observed, size: None }),
                Err(error) => damaged.push(error),
            }
        }
        let context = Context::of(self, request, &listed)?;
        let mut chosen: Vec<Listed> = listed
            .into_iter()
            .filter(|one| (all || one.observed.state.is_active()) && context.fits(one, &request.filters))
            .collect();
        if let Some(last) = request.last {
            chosen.truncate(last);
        }
        for Listed { definition, observed, .. } in &mut chosen {
            self.follow_networks(definition, observed)?;
        }
        if request.sizes {
            let mut sized = Vec::with_capacity(chosen.len());
            for mut one in chosen {
                match self.sizes(&one.definition) {
                    Ok(size) => one.size = Some(size),
                    // Its tree went with it: it is removed since it was listed, or just now.
                    Err(_) if self.is_going(&one.definition)? => continue,
                    Err(error) => return Err(error),
                }
                sized.push(one);
            }
            chosen = sized;
        }
        Ok(Listing { containers: chosen, damaged })
    }

    /// Whether a container is removed, or just being so.
    fn is_going(&self, definition: &Definition) -> Result<bool, ContainerError> {
        match self.find(&definition.id.to_string()) {
            Ok(definition) => Ok(matches!(self.observe(&definition)?.state, State::Removing { .. })),
            Err(ContainerError::NotFound(_)) => Ok(true),
            Err(error) => Err(error),
        }
    }
}

/// What filters refer to, looked up once.
struct Context {
    /// Images that `ancestor` names, with the snapshots on top of them.
    ancestors:
        Vec<(String, rbuild_model::digest::ImageId, usize, Option<rbuild_model::snapshot::SnapshotId>)>,
    /// Times that `before` and `since` name.
    moments: Vec<(String, Timestamp)>,
}

impl Context {
    fn of(engine: &Engine, request: &ListRequest, listed: &[Listed]) -> Result<Self, ContainerError> {
        let mut context = Self { ancestors: Vec::new(), moments: Vec::new() };
        for filter in &request.filters {
            match filter {
                Filter::Ancestor(name) => {
                    // An image that is not there is nobody's ancestor.
                    if let Ok(id) = engine.parts.images.find_id(name) {
                        let lease = engine.parts.store.lease("ps")?;
                        let chain = engine
                            .parts
                            .images
                            .ready(id, None, &lease, &rbuild_images::Quiet)
                            .map(|resolved| resolved.chain)
                            .unwrap_or_default();
                        context.ancestors.push((name.clone(), id, chain.len(), chain.top()));
                    }
                }
                Filter::Before(name) | Filter::Since(name) => {
                    let found = engine.find(name)?;
                    let known = listed.iter().any(|one| one.definition.id == found.id);
                    if !known {
                        return Err(ContainerError::NotFound(name.clone()));
                    }
                    context.moments.push((name.clone(), found.created));
                }
                _ => {}
            }
        }
        Ok(context)
    }

    fn fits(&self, one: &Listed, filters: &[Filter]) -> bool {
        filters.iter().all(|filter| match filter {
            // Every label has to be there; of all other kinds one is enough.
            Filter::Label(..) | Filter::LabelNot(..) => self.fits_one(one, filter),
            _ => {
                let kind = std::mem::discriminant(filter);
                filters
                    .iter()
                    .filter(|other| std::mem::discriminant(*other) == kind)
                    .any(|other| self.fits_one(one, other))
            }
        })
    }

    fn fits_one(&self, one: &Listed, filter: &Filter) -> bool {
        let Listed { definition, observed, .. } = one;
        let label = |name: &String, value: &Option<String>| {
            definition.labels.get(name).is_some_and(|own| value.as_ref().is_none_or(|value| value == own))
        };
        let moment = |name: &String| self.moments.iter().find(|(known, _)| known == name).map(|(_, at)| *at);
        match filter {
            Filter::Id(prefix) => definition.id.to_string().starts_with(prefix.as_str()),
            Filter::Name(pattern) => fits_name(definition.name.as_str(), pattern),
            Filter::Label(name, value) => label(name, value),
            Filter::LabelNot(name, value) => !label(name, value),
            Filter::Exited(code) => match &observed.state {
                State::Exited(ended) => ended.code == *code,
                _ => false,
            },
            Filter::Status(status) => observed.state.status() == *status,
            Filter::Ancestor(name) => self.ancestors.iter().any(|(known, id, length, top)| {
                known == name
                    && (definition.image.id == *id
                        || top
                            .is_some_and(|top| definition.image.chain.layers().get(length - 1) == Some(&top)))
            }),
            Filter::Before(name) => moment(name).is_some_and(|at| definition.created < at),
            Filter::Since(name) => moment(name).is_some_and(|at| definition.created > at),
            Filter::Volume(text) => definition.host.mounts.iter().any(|mount| {
                mount.target == *text
                    || match &mount.what {
                        MountWhat::Volume { name, .. } => name.as_str() == text,
                        MountWhat::Bind { source, .. } => source.as_os_str() == text.as_str(),
                        _ => false,
                    }
            }),
            Filter::Network(text) => {
                networks(definition).iter().any(|name| name == text)
                    || observed.note.endpoints.iter().any(|endpoint| {
                        endpoint.network == *text || endpoint.network_id.starts_with(text.as_str())
                    })
            }
            Filter::Publish(ports) => {
                observed.state.run().is_some()
                    && observed
                        .note
                        .published()
                        .iter()
                        .any(|port| ports.fits(port.host_port, port.protocol.word()))
            }
            Filter::Expose(ports) => {
                observed.state.run().is_some()
                    && definition.exposed.iter().any(|exposed| {
                        let (port, protocol) = exposed.split_once('/').unwrap_or((exposed, "tcp"));
                        port.parse().is_ok_and(|port| ports.fits(port, protocol))
                    })
            }
            Filter::Health(wanted) => {
                let health = observed.state.run().and_then(|run| run.health.as_ref());
                health.map_or("none", |health| health.status.word()) == wanted
            }
            Filter::IsTask(wanted) => !wanted,
            Filter::Until(moment) => definition.created < *moment,
        }
    }
}

/// Returns the names of the networks that a container is in.
pub(crate) fn networks(definition: &Definition) -> Vec<String> {
    let host = &definition.host;
    let main = host.network.network().filter(|_| !host.left_network);
    let others = host.endpoints.iter().map(|wish| wish.network.as_str()).filter(|name| Some(*name) != main);
    main.into_iter().chain(others).map(str::to_owned).collect()
}

/// Compares a name with what `--filter name=` says: a part of it, with anchors.
pub fn fits_name(name: &str, pattern: &str) -> bool {
    let (pattern, from_start) = match pattern.strip_prefix('^') {
        Some(rest) => (rest.strip_prefix('/').unwrap_or(rest), true),
        None => (pattern.strip_prefix('/').unwrap_or(pattern), pattern.starts_with('/')),
    };
    match (from_start, pattern.strip_suffix('$')) {
        (true, Some(whole)) => name == whole,
        (true, None) => name.starts_with(pattern),
        (false, Some(end)) => name.ends_with(end),
        (false, None) => name.contains(pattern),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_in_part_and_whole() {
        for (pattern, fits) in [
            ("eb", true),
            ("^web", true),
            ("^/web-1$", true),
            ("^eb", false),
            ("1$", true),
            ("b$", false),
            ("/web", true),
        ] {
            assert_eq!(fits_name("web-1", pattern), fits, "{pattern}");
        }
    }

    #[test]
    fn ports_are_numbers_or_ranges() {
        let range = PortFilter::parse("80-90/udp").unwrap();
        assert!(range.fits(85, "udp") && !range.fits(85, "tcp") && !range.fits(91, "udp"));
        assert!(PortFilter::parse("80").unwrap().fits(80, "tcp"));
        assert!(PortFilter::parse("90-80").is_none() && PortFilter::parse("x").is_none());
    }
}
