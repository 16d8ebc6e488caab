//! Whether what services refer to is there, and whether what they say fits together.

use std::collections::BTreeMap;

use rbuild_model::span::Location;

use super::fault::{Checked, hinted};
use super::path::Path;
use super::schema::PROJECT;
use super::settle::{Format, settle};
use super::yaml::{Document, Map, Node, Value};

/// A model and what is not enabled in it.
pub(crate) struct Model<'a> {
    /// The enabled services.
    pub(crate) services: &'a Map,
    /// The others.
    pub(crate) disabled: &'a Map,
    /// The top level.
    pub(crate) top: &'a Map,
}

/// Checks a model.
pub(crate) fn check(model: &Model<'_>) -> Checked<()> {
    for (name, node) in model.services.iter() {
        if let Some(map) = node.as_map() {
            let at = model.services.key_at(name).or(node.at.as_ref());
            Service { name, map, at }.check(model)?;
        }
    }
    secrets(model)?;
    cycles(model)?;
    container_names(model.services)
}

struct Service<'a> {
    name: &'a str,
    map: &'a Map,
    at: Option<&'a Location>,
}

fn invalid(at: Option<&Location>, message: &str, help: &str) -> Box<rbuild_model::span::Diagnostic> {
    hinted(at, format!("{message}: invalid compose project"), help)
}

/// What to do where two things say the same.
const ONE_OF_THEM: &str = "leave one of them out";

fn texts(node: Option<&Node>) -> Vec<String> {
    match node.map(|node| &node.value) {
        Some(Value::List(list)) => list.iter().filter_map(Node::scalar).collect(),
        Some(other) => other.scalar().into_iter().collect(),
        None => Vec::new(),
    }
}

impl<'a> Service<'a> {
    fn check(&self, model: &Model<'_>) -> Checked<()> {
        let name = self.name;
        let text = |key: &str| self.map.get(key).and_then(Node::as_str).filter(|text| !text.is_empty());
        if !self.map.contains("build") && text("image").is_none() && !self.map.contains("provider") {
            let message = format!("service {name:?} has neither an image nor a build context specified");
            return Err(invalid(self.at, &message, "give it an `image:` or a `build:`"));
        }
        self.check_build(model)?;
        let networks = self.map.get("networks").and_then(Node::as_map);
        if text("network_mode").is_some() && networks.is_some_and(|networks| !networks.is_empty()) {
            let message = format!("service {name} declares mutually exclusive `network_mode` and `networks`");
            return Err(invalid(self.place("network_mode"), &message, ONE_OF_THEM));
        }
        self.references("networks", "network", model)?;
        let test = self.map.get("healthcheck").and_then(|check| check.get("test"));
        if let Some(first) = test.and_then(Node::as_list).and_then(|list| list.first())
            && !matches!(first.as_str(), Some("CMD" | "CMD-SHELL" | "NONE"))
        {
            let message = "healthcheck.test must start either by \"CMD\", \"CMD-SHELL\" or \"NONE\"";
            let help = "write one text, which a shell runs, or put one of these words before the list";
            return Err(hinted(first.at.as_ref(), message, help));
        }
        self.dependencies(model)?;
        self.references("configs", "config", model)?;
        self.references("models", "model", model)?;
        self.references("secrets", "secret", model)?;
        self.volumes(model)?;
        self.amounts()?;
        self.scale()?;
        self.watch()?;
        self.mounts()
    }

    fn place(&self, key: &str) -> Option<&'a Location> {
        self.map.get(key).and_then(|node| node.at.as_ref()).or(self.map.key_at(key)).or(self.at)
    }

    fn references(&self, key: &str, noun: &str, model: &Model<'_>) -> Checked<()> {
        let Some(node) = self.map.get(key) else { return Ok(()) };
        let known = model.top.get(key).and_then(Node::as_map);
        let mut wanted: Vec<(String, Option<&Location>)> = Vec::new();
        match &node.value {
            Value::Map(map) => {
                wanted.extend(
                    map.iter().map(|(name, node)| (name.to_owned(), map.key_at(name).or(node.at.as_ref()))),
                );
            }
            Value::List(list) => wanted.extend(list.iter().filter_map(|item| {
                let source = item.get("source").unwrap_or(item);
                Some((source.scalar()?, source.at.as_ref()))
            })),
            _ => {}
        }
        for (reference, at) in wanted {
            if known.is_none_or(|known| !known.contains(&reference)) {
                return Err(self.undefined(noun, &reference, at, known));
            }
        }
        Ok(())
    }

    fn undefined(
        &self,
        noun: &str,
        reference: &str,
        at: Option<&Location>,
        known: Option<&Map>,
    ) -> Box<rbuild_model::span::Diagnostic> {
        let message = format!("service {:?} refers to undefined {noun} {reference}", self.name);
        let near = known.and_then(|known| rbuild_model::span::nearest(reference, known.keys()));
        let help = match near {
            Some(near) => format!("did you mean `{near}`?"),
            None => {
                format!("declare it at the top level, below `{}s:`", noun.rsplit(' ').next().unwrap_or(noun))
            }
        };
        invalid(at.or(self.at), &message, &help)
    }

    fn dependencies(&self, model: &Model<'_>) -> Checked<()> {
        let Some(dependencies) = self.map.get("depends_on").and_then(Node::as_map) else { return Ok(()) };
        for (wanted, dependency) in dependencies.iter() {
            if model.services.contains(wanted) {
                continue;
            }
            let is_required = dependency.get("required").is_none_or(|node| node.value != Value::Bool(false));
            let disabled = model.disabled.get(wanted);
            if disabled.is_some() && !is_required {
                continue;
            }
            let at = dependencies.key_at(wanted).or(dependency.at.as_ref()).or(self.at);
            let message = format!("service {:?} depends on undefined service {wanted:?}", self.name);
            let help = match disabled {
                Some(service) => {
                    let profiles = texts(service.get("profiles")).join(", ");
                    format!(
                        "`{wanted}` is there, but its profile is off: `--profile` turns one on ({profiles})"
                    )
                }
                None => other_service(wanted, model),
            };
            return Err(invalid(at, &message, &help));
        }
        Ok(())
    }

    fn check_build(&self, model: &Model<'_>) -> Checked<()> {
        let name = self.name;
        let Some(build) = self.map.get("build").and_then(Node::as_map) else { return Ok(()) };
        let text = |key: &str| build.get(key).and_then(Node::as_str).filter(|text| !text.is_empty());
        if text("dockerfile").is_some() && text("dockerfile_inline").is_some() {
            let message =
                format!("service {name:?} declares mutualy exclusive dockerfile and dockerfile_inline");
            return Err(invalid(build.key_at("dockerfile_inline").or(self.at), &message, ONE_OF_THEM));
        }
        let contexts = build.get("additional_contexts").and_then(Node::as_map);
        for (context, node) in contexts.into_iter().flat_map(Map::iter) {
            let Some(other) = node.as_str().and_then(|text| text.strip_prefix("service:")) else { continue };
            let (problem, help) = match model.services.get(other) {
                None => ("unknown", other_service(other, model)),
                Some(service) if service.get("build").is_none() => {
                    let image = service.get("image").and_then(Node::as_str).unwrap_or("IMAGE");
                    (
                        "non-buildable",
                        format!("give it a `build:`, or take its image: `docker-image://{image}`"),
                    )
                }
                Some(_) => continue,
            };
            let message = format!(
                "service {name:?} declares {problem} service {other:?} as additional contexts {context}"
            );
            return Err(hinted(node.at.as_ref().or(self.at), message, help));
        }
        let platforms = texts(build.get("platforms"));
        if let Some(platform) = self.map.get("platform").and_then(Node::as_str)
            && !platforms.is_empty()
            && !platforms.iter().any(|known| known == platform)
        {
            let message = format!("service.build.platforms MUST include service.platform {platform:?}");
            return Err(invalid(self.place("platform"), &message, "add it to `build.platforms`"));
        }
        let known = model.top.get("secrets").and_then(Node::as_map);
        for secret in build.get("secrets").and_then(Node::as_list).unwrap_or_default() {
            let source = secret.get("source").unwrap_or(secret);
            let reference = source.scalar().unwrap_or_default();
            if known.is_none_or(|known| !known.contains(&reference)) {
                return Err(self.undefined("build secret", &reference, source.at.as_ref(), known));
            }
        }
        Ok(())
    }

    fn volumes(&self, model: &Model<'_>) -> Checked<()> {
        let known = model.top.get("volumes").and_then(Node::as_map);
        for (at, mount) in
            self.map.get("volumes").and_then(Node::as_list).unwrap_or_default().iter().enumerate()
        {
            let kind = mount.get("type").and_then(Node::as_str);
            let source = mount.get("source").and_then(Node::as_str).filter(|source| !source.is_empty());
            match (kind, source) {
                (Some("volume"), Some(source)) if known.is_none_or(|known| !known.contains(source)) => {
                    return Err(self.undefined("volume", source, mount.at.as_ref(), known));
                }
                (Some("bind"), None) => {
                    let message = format!(
                        "services.{}.volumes[{at}]: invalid mount config for type \"bind\": field Source must not be \
                         empty",
                        self.name
                    );
                    let help = "say which folder of this machine: `source: ./FOLDER`";
                    return Err(hinted(mount.at.as_ref().or(self.at), message, help));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Returns a value of the service as it is written in the end.
    fn settled(&self, path: &[&str]) -> Checked<Option<Value>> {
        let parent = Node::new(Value::Map(Map::default()), None);
        let child = |field: &'static super::schema::Field, key: &str| field.shape.child(&parent, key);
        let service = child(&PROJECT, "services").and_then(|services| child(services, self.name));
        let (Some(mut field), Some((first, rest))) = (service, path.split_first()) else { return Ok(None) };
        let Some(mut node) = self.map.get(first) else { return Ok(None) };
        let Some(next) = child(field, first) else { return Ok(None) };
        field = next;
        let mut whole = Path::default().key("services").key(self.name).key(first);
        for key in rest {
            let (Some(next), Some(below)) = (child(field, key), node.get(key)) else { return Ok(None) };
            (field, node, whole) = (next, below, whole.key(key));
        }
        Ok(match settle(node, field, &whole, Format::Yaml)? {
            Some(Document::Scalar(value)) => Some(value),
            _ => None,
        })
    }

    fn amounts(&self) -> Checked<()> {
        for (key, below) in [
            ("cpus", ["limits", "cpus"]),
            ("mem_limit", ["limits", "memory"]),
            ("mem_reservation", ["reservations", "memory"]),
            ("pids_limit", ["limits", "pids"]),
        ] {
            let [kind, item] = below;
            let own = self.settled(&[key])?;
            let deployed = self.settled(&["deploy", "resources", kind, item])?;
            if let (Some(own), Some(deployed)) = (own, deployed)
                && own != deployed
            {
                let message = format!(
                    "services.{}: can't set distinct values on '{key}' and 'deploy.resources.{kind}.{item}'",
                    self.name
                );
                return Err(invalid(self.place(key), &message, ONE_OF_THEM));
            }
        }
        Ok(())
    }

    fn scale(&self) -> Checked<()> {
        let number = |value: Option<Value>| match value {
            Some(Value::Int(number)) => Some(number),
            _ => None,
        };
        let scale = number(self.settled(&["scale"])?);
        let replicas = number(self.settled(&["deploy", "replicas"])?);
        let name = self.name;
        if let (Some(scale), Some(replicas)) = (scale, replicas)
            && scale != replicas
        {
            let message =
                format!("services.{name}: can't set distinct values on 'scale' and 'deploy.replicas'");
            return Err(invalid(self.place("scale"), &message, ONE_OF_THEM));
        }
        if scale.is_some_and(|scale| scale < 0) {
            let message = format!("services.{name}.scale: must be greater than or equal to 0");
            return Err(invalid(self.place("scale"), &message, "0 is the least: no container"));
        }
        let has_name =
            self.map.get("container_name").and_then(Node::as_str).is_some_and(|name| !name.is_empty());
        if has_name && scale.or(replicas).is_some_and(|count| count > 1) {
            let attribute = if scale.is_some() { "scale" } else { "deploy.replicas" };
            let message = format!(
                "services.{attribute}: can't set container_name and {name} as container name must be unique"
            );
            let help = "leave the name out, or have one container";
            return Err(invalid(self.place("container_name"), &message, help));
        }
        Ok(())
    }

    fn watch(&self) -> Checked<()> {
        let rules = self.map.get("develop").and_then(|develop| develop.get("watch")).and_then(Node::as_list);
        for rule in rules.unwrap_or_default() {
            let action = rule.get("action").and_then(Node::as_str).unwrap_or_default();
            let target = rule.get("target").and_then(Node::as_str).unwrap_or_default();
            if target.is_empty() && !matches!(action, "rebuild" | "restart") {
                let message = format!(
                    "services.{}.develop.watch: target is required for non-rebuild actions",
                    self.name
                );
                let help = "say where in the container: `target: /PATH`";
                return Err(invalid(rule.at.as_ref().or(self.at), &message, help));
            }
        }
        Ok(())
    }

    /// Finds two things mounted at one place.
    fn mounts(&self) -> Checked<()> {
        let mut places: BTreeMap<String, String> = BTreeMap::new();
        let mut add = |target: String, place: String, at: Option<&Location>| match places.get(&target) {
            Some(first) => {
                let message = format!("{place}: target {target} already mounted as {first}");
                Err(hinted(at.or(self.at), message, ONE_OF_THEM))
            }
            None => {
                places.insert(target, place);
                Ok(())
            }
        };
        for (at, tmpfs) in texts(self.map.get("tmpfs")).into_iter().enumerate() {
            let target = tmpfs.split(':').next().unwrap_or_default().to_owned();
            add(target, format!("services.{}.tmpfs[{at}]", self.name), self.place("tmpfs"))?;
        }
        for (at, mount) in
            self.map.get("volumes").and_then(Node::as_list).unwrap_or_default().iter().enumerate()
        {
            let target = mount.get("target").and_then(Node::as_str).unwrap_or_default().to_owned();
            add(target, format!("services.{}.volumes[{at}]", self.name), mount.at.as_ref())?;
        }
        Ok(())
    }
}

/// Returns what may have been meant by a service that is not there.
fn other_service(wanted: &str, model: &Model<'_>) -> String {
    match rbuild_model::span::nearest(wanted, model.services.keys()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "declare it below `services:`".to_owned(),
    }
}

/// Finds secrets whose content comes from nowhere.
fn secrets(model: &Model<'_>) -> Checked<()> {
    let Some(secrets) = model.top.get("secrets").and_then(Node::as_map) else { return Ok(()) };
    for (name, secret) in secrets.iter() {
        let has =
            |key: &str| secret.get(key).is_some_and(|node| !node.is_null() && node.as_str() != Some(""));
        let is_external = secret.get("external").is_some_and(|node| node.value == Value::Bool(true));
        if !is_external && !has("file") && !has("environment") {
            let message = format!("secret {name:?} must declare either `file` or `environment`");
            let at = secret.at.as_ref().or(secrets.key_at(name));
            return Err(invalid(at, &message, "say where its content comes from: `file: PATH`"));
        }
    }
    Ok(())
}

/// Finds services that wait for each other.
fn cycles(model: &Model<'_>) -> Checked<()> {
    let needs = |name: &str| -> Vec<String> {
        let dependencies = model.services.get(name).and_then(|service| service.get("depends_on"));
        dependencies
            .and_then(Node::as_map)
            .map(|map| map.keys().filter(|key| model.services.contains(key)).map(str::to_owned).collect())
            .unwrap_or_default()
    };
    let mut done: Vec<String> = Vec::new();
    for name in model.services.keys() {
        let mut trail = vec![(name.to_owned(), needs(name))];
        while let Some((current, open)) = trail.last_mut() {
            let Some(next) = open.pop() else {
                done.push(current.clone());
                trail.pop();
                continue;
            };
            if done.contains(&next) {
                continue;
            }
            if let Some(start) = trail.iter().position(|(name, _)| *name == next) {
                let mut names: Vec<String> = trail[start..].iter().map(|(name, _)| name.clone()).collect();
                names.push(next);
                let at = model.services.key_at(&names[0]);
                let message = format!("dependency cycle detected: {}", names.join(" -> "));
                let help = "one of them has to do without: look at their `depends_on`, `links`, `volumes_from` and the \
                            namespaces that they share";
                return Err(hinted(at, message, help));
            }
            let below = needs(&next);
            trail.push((next, below));
        }
    }
    Ok(())
}

/// Finds two services whose containers would have one name.
fn container_names(services: &Map) -> Checked<()> {
    let mut names: BTreeMap<&str, &str> = BTreeMap::new();
    for (service, node) in services.iter() {
        let Some(name) =
            node.get("container_name").filter(|name| name.as_str().is_some_and(|name| !name.is_empty()))
        else {
            continue;
        };
        let text = name.as_str().unwrap_or_default();
        if let Some(other) = names.insert(text, service) {
            let message = format!(
                "services.{service}.container_name: container name {text:?} is already in use by service {other}"
            );
            return Err(hinted(name.at.as_ref(), message, "each container has a name of its own"));
        }
    }
    Ok(())
}

/// Says in the `deploy` section how many containers there are, where `scale` alone says it.
pub(crate) fn align_replicas(services: &mut Map) {
    for (_, service) in services.iter_mut() {
        let Some(scale) = service.get("scale").cloned() else { continue };
        if let Some(deploy) =
            service.as_map_mut().and_then(|service| service.get_mut("deploy")).and_then(Node::as_map_mut)
            && !deploy.contains("replicas")
        {
            deploy.put("replicas", scale);
        }
    }
}
