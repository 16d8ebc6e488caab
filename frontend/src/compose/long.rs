//! Short forms spelled out.

use rbuild_model::span::{Diagnostic, Location};

use super::bounds::Bounds;
use super::fault::{Checked, fault, hinted, remark};
use super::merge::{keyed, started};
use super::path::Path;
use super::schema::{Field, Long};
use super::values::{mount, port};
use super::yaml::{Map, Node, Value};
use crate::path::clean;

/// How mounts are written in one line.
pub(crate) const MOUNTS: &str = "a mount is `TARGET`, `SOURCE:TARGET` or `SOURCE:TARGET:OPTIONS`";
/// How ports are written in one line.
const PORTS: &str = "a port is `CONTAINER`, `HOST:CONTAINER` or `ADDRESS:HOST:CONTAINER`: numbers from 1 to 65535, or as many \
                     in a row (`90-99`), with `/udp` behind them or without, and IPv6 in brackets";

/// Whether variables were filled in, so that what is not understood is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Strictness {
    /// They were.
    Strict,
    /// They were not: what is not understood stays as it is.
    Lenient,
}

/// Spells out the short forms of a tree.
pub(crate) struct Speller<'a> {
    /// What becomes of what is not understood.
    pub(crate) strictness: Strictness,
    /// What people should know.
    pub(crate) warnings: &'a mut Vec<Diagnostic>,
    /// How much they stand for.
    pub(crate) bounds: &'a mut Bounds,
}

impl Speller<'_> {
    /// Spells out a node and what is below it.
    pub(crate) fn spell(&mut self, node: &mut Node, field: &'static Field, path: &Path) -> Checked<()> {
        self.spell_one(node, field.long, path)?;
        let children: Vec<Option<&'static Field>> = match &node.value {
            Value::Map(map) => map.keys().map(|key| field.shape.child(node, key)).collect(),
            Value::List(list) => list.iter().map(|_| field.shape.child(node, "")).collect(),
            _ => return Ok(()),
        };
        match &mut node.value {
            Value::Map(map) => {
                for ((key, child), field) in map.iter_mut().zip(children) {
                    if let Some(field) = field {
                        self.spell(child, field, &path.key(key))?;
                    }
                }
            }
            Value::List(list) => {
                for (at, (child, field)) in list.iter_mut().zip(children).enumerate() {
                    if let Some(field) = field {
                        self.spell(child, field, &path.item(at))?;
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn spell_one(&mut self, node: &mut Node, long: Long, path: &Path) -> Checked<()> {
        let at = node.at.clone();
        let value = match (long, &node.value) {
            (Long::List, Value::String(_)) => Value::List(vec![node.clone()]),
            (Long::Text, Value::Bool(value)) => Value::String(value.to_string()),
            (Long::Build, Value::String(text)) => map_of(&at, &[("context", text)]),
            (Long::DependsOn, Value::List(list)) => Value::Map(keyed(list, started)),
            (Long::DependsOn, Value::Map(_)) => return require_dependencies(node, path),
            (Long::EnvFiles, Value::String(_)) => Value::List(vec![env_file(node)]),
            (Long::EnvFiles, Value::List(list)) => Value::List(list.iter().map(env_file).collect()),
            (Long::Gpus, Value::String(text)) if text == "all" => {
                Value::List(vec![Node::new(map_of(&at, &[("count", "all")]), at.clone())])
            }
            (Long::Keyed, Value::List(list)) => Value::Map(keyed(list, |_| Value::Null)),
            (Long::KeyValue, Value::List(list)) => key_values(list, path)?,
            (Long::Ssh, Value::List(list)) => ssh(list)?,
            (Long::Mount, Value::String(text)) => match self.mount(text, &at)? {
                Some(value) => value,
                None => return Ok(()),
            },
            (Long::Device, Value::String(text)) => device(text, &at)?,
            (Long::File, Value::String(text)) => map_of(&at, &[("source", text)]),
            (Long::Ports, Value::List(list)) => match self.ports(list)? {
                Some(ports) => Value::List(ports),
                None => return Ok(()),
            },
            (Long::External, Value::Map(_)) => return self.external(node, path),
            _ => return Ok(()),
        };
        node.value = value;
        Ok(())
    }

    fn mount(&self, text: &str, at: &Option<Location>) -> Checked<Option<Value>> {
        let short = match mount::parse(text) {
            Ok(short) => short,
            Err(_) if self.strictness == Strictness::Lenient => return Ok(None),
            Err(error) => return Err(hinted(at.as_ref(), error, MOUNTS)),
        };
        let bind = short.is_bind();
        let mut map = Map::default();
        let mut put = |key: &str, value: Value| map.put(key, Node::new(value, at.clone()));
        put("type", Value::String(if bind { "bind" } else { "volume" }.to_owned()));
        if let Some(source) = &short.source {
            put("source", Value::String(source.clone()));
        }
        put("target", Value::String(clean(&short.target)));
        if short.read_only {
            put("read_only", Value::Bool(true));
        }
        let option = |value: Value| Node::new(value, at.clone());
        let mut of_bind = Map::default();
        for (key, value) in [("selinux", &short.selinux), ("propagation", &short.propagation)] {
            if let Some(value) = value {
                of_bind.put(key, option(Value::String(value.clone())));
            }
        }
        if bind {
            of_bind.put("create_host_path", option(Value::Bool(true)));
        }
        let mut of_volume = Map::default();
        if short.nocopy {
            of_volume.put("nocopy", option(Value::Bool(true)));
        }
        // Options of the other kind are shown, and mean nothing.
        if !of_bind.is_empty() {
            put("bind", Value::Map(of_bind));
        }
        if !of_volume.is_empty() || (!bind && text.len() > 2) {
            put("volume", Value::Map(of_volume));
        }
        Ok(Some(Value::Map(map)))
    }

    fn ports(&mut self, list: &[Node]) -> Checked<Option<Vec<Node>>> {
        let mut ports = Vec::new();
        for node in list {
            let spec = match &node.value {
                Value::Map(_) => {
                    ports.push(node.clone());
                    continue;
                }
                Value::Float(_) => {
                    let shown = node.scalar().unwrap_or_default();
                    return Err(hinted(node.at.as_ref(), format!("Invalid containerPort: {shown}"), PORTS));
                }
                scalar => scalar.scalar().unwrap_or_default(),
            };
            let parsed = match port::parse(&spec) {
                Ok(parsed) => parsed,
                Err(_) if self.strictness == Strictness::Lenient => return Ok(None),
                Err(error) => return Err(hinted(node.at.as_ref(), error, PORTS)),
            };
            self.bounds.nodes(parsed.len() * 6, node.at.as_ref())?;
            for port in parsed {
                let mut map = Map::default();
                let mut put = |key: &str, value: Value| map.put(key, Node::new(value, node.at.clone()));
                put("mode", Value::String("ingress".to_owned()));
                put("target", Value::Int(i64::from(port.target)));
                put("protocol", Value::String(port.protocol));
                if !port.host_ip.is_empty() {
                    put("host_ip", Value::String(port.host_ip));
                }
                if !port.published.is_empty() {
                    put("published", Value::String(port.published));
                }
                ports.push(Node::new(Value::Map(map), node.at.clone()));
            }
        }
        Ok(Some(ports))
    }

    fn external(&mut self, node: &mut Node, path: &Path) -> Checked<()> {
        let Some(map) = node.as_map_mut() else { return Ok(()) };
        let Some(external) = map.get("external").filter(|node| node.as_map().is_some()).cloned() else {
            return Ok(());
        };
        map.put("external", Node::new(Value::Bool(true), external.at.clone()));
        let Some(name) = external.get("name") else { return Ok(()) };
        let message = format!("{path}: external.name is deprecated. Please set name and external: true");
        self.warnings.push(remark(external.at.as_ref(), message));
        match map.get("name") {
            Some(known) if !known.same(name) => Err(hinted(
                name.at.as_ref(),
                format!("{path}: name and external.name conflict; only use name"),
                "write `external: true`",
            )),
            Some(_) => Ok(()),
            None => {
                map.put("name", name.clone());
                Ok(())
            }
        }
    }
}

fn map_of(at: &Option<Location>, entries: &[(&str, &str)]) -> Value {
    let node = |text: &str| Node::new(Value::String(text.to_owned()), at.clone());
    Value::Map(entries.iter().map(|(key, text)| ((*key).to_owned(), node(text))).collect())
}

fn require_dependencies(node: &mut Node, path: &Path) -> Checked<()> {
    let Some(map) = node.as_map_mut() else { return Ok(()) };
    for (key, dependency) in map.iter_mut() {
        let at = dependency.at.clone();
        let Some(dependency) = dependency.as_map_mut() else {
            let message = format!("{} unsupported value", path.key(key));
            return Err(fault(at.as_ref(), message));
        };
        if !dependency.contains("required") {
            dependency.put("required", Node::new(Value::Bool(true), at));
        }
    }
    Ok(())
}

fn env_file(node: &Node) -> Node {
    let mut map = match &node.value {
        Value::Map(map) => map.clone(),
        Value::String(_) => Map::from_iter([("path".to_owned(), node.clone())]),
        _ => return node.clone(),
    };
    if !map.contains("required") {
        map.put("required", Node::new(Value::Bool(true), node.at.clone()));
    }
    Node::new(Value::Map(map), node.at.clone())
}

fn key_values(list: &[Node], path: &Path) -> Checked<Value> {
    let mut map = Map::default();
    for node in list {
        let text = node.scalar().unwrap_or_default();
        let Some((key, value)) = text.split_once('=') else {
            let message = format!("{}: invalid value {text}, expected key=value", path.pattern());
            return Err(hinted(node.at.as_ref(), message, format!("write `{text}=VALUE`")));
        };
        map.insert(key.to_owned(), node.at.clone(), Node::text(value, node));
    }
    Ok(Value::Map(map))
}

fn ssh(list: &[Node]) -> Checked<Value> {
    let mut map = Map::default();
    for node in list {
        let text = node.scalar().unwrap_or_default();
        let (id, value) = match text.split_once('=') {
            Some((id, path)) => (id, Value::String(path.to_owned())),
            None if text == "default" => ("default", Value::Null),
            None => {
                return Err(Box::new(
                    fault(node.at.as_ref(), format!("invalid ssh key {text:?}"))
                        .with_help("write `default`, or `ID=PATH`"),
                ));
            }
        };
        map.insert(id.to_owned(), node.at.clone(), Node::new(value, node.at.clone()));
    }
    Ok(Value::Map(map))
}

fn device(text: &str, at: &Option<Location>) -> Checked<Value> {
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, permissions) = match parts.as_slice() {
        [source] => (*source, *source, "rwm"),
        [source, target] => (*source, *target, "rwm"),
        [source, target, permissions] => (*source, *target, *permissions),
        _ => {
            let message = format!("confusing device mapping, please use long syntax: {text}");
            let help = "a device is `SOURCE`, `SOURCE:TARGET` or `SOURCE:TARGET:PERMISSIONS`";
            return Err(hinted(at.as_ref(), message, help));
        }
    };
    Ok(map_of(at, &[("source", source), ("target", target), ("permissions", permissions)]))
}
