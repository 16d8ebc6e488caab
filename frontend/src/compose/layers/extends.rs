//! `extends`: services that begin as another one.

use std::path::{Path as FilePath, PathBuf};

use super::super::bounds;
use super::super::discover::{self, folder};
use super::super::merge::{Marks, merge};
use super::super::path::Path;
use super::super::paths::{self, Base};
use super::super::request::Loads;
use super::super::schema::{Field, PROJECT};
use super::super::unique;
use super::super::yaml::{Map, Node, Value, compose};
use super::{Layers, Scope, relative_to, wrong, wrong_with};

/// A service on the way from one that extends to one that does not.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Link {
    file: PathBuf,
    service: String,
}

impl Layers<'_> {
    /// Completes the services of a document that extend others.
    pub(super) fn extend_services(
        &mut self,
        document: &mut Node,
        file: &FilePath,
        scope: &Scope,
    ) -> Loads<()> {
        let Some(services) =
            document.as_map_mut().and_then(|map| map.get_mut("services")).and_then(Node::as_map_mut)
        else {
            return Ok(());
        };
        let names: Vec<String> = services.keys().map(str::to_owned).collect();
        for name in names {
            self.extend(services, &name, file, scope, &[])?;
        }
        Ok(())
    }

    /// Completes one service in its place, and whatever it extends before it.
    fn extend(
        &mut self,
        services: &mut Map,
        name: &str,
        file: &FilePath,
        scope: &Scope,
        chain: &[Link],
    ) -> Loads<()> {
        let Some(service) = services.get(name).filter(|node| node.as_map().is_some()).cloned() else {
            return Ok(());
        };
        let Some(extends) = service.get("extends").filter(|node| !node.is_null()).cloned() else {
            return Ok(());
        };
        let link = Link { file: file.to_owned(), service: name.to_owned() };
        if chain.contains(&link) {
            return Err(wrong_with(&extends, circle(chain, &link), "leave one of these `extends` out"));
        }
        if chain.len() >= bounds::CHAIN {
            return Err(wrong(&extends, bounds::too_deep("extends")));
        }
        let mut chain = chain.to_vec();
        chain.push(link);
        let (wanted, other) = match &extends.value {
            Value::String(wanted) => (wanted.clone(), None),
            Value::Map(map) => match map.get("service").and_then(Node::as_str) {
                Some(wanted) => {
                    let file = map.get("file").filter(|file| !file.is_null());
                    if let Some(file) = file.filter(|file| file.as_str().is_none()) {
                        let message = format!("services.{name}.extends.file must be a string");
                        return Err(wrong_with(file, message, "write the path of the file"));
                    }
                    (wanted.to_owned(), file.and_then(Node::as_str))
                }
                None => {
                    let message = format!("extends.{name}.service is required");
                    return Err(wrong_with(&extends, message, "name the service: `service: NAME`"));
                }
            },
            _ => {
                let message = format!("services.{name}.extends must be a mapping or string");
                let help = "write the name of a service, or `service: NAME` and `file: FILE` below it";
                return Err(wrong_with(&extends, message, help));
            }
        };
        let shown = file.display();
        let mut base = match other {
            None => {
                if !services.contains(&wanted) {
                    let message =
                        format!("cannot extend service {name:?} in {shown}: service {wanted:?} not found");
                    return Err(wrong_with(&extends, message, meant(&wanted, services)));
                }
                self.extend(services, &wanted, file, scope, &chain)?;
                services.get(&wanted).cloned()
            }
            Some(other) => {
                let place = extends.get("file").and_then(|file| file.at.as_ref());
                let path = self.located(other, place, scope).map_err(|stop| stop.at(place))?;
                let relative = match discover::is_remote(other) {
                    true => folder(&path),
                    false => relative_to(&scope.directory, &folder(&path)),
                };
                let others = self.read_extended(&path, &relative, name, &extends, scope);
                let mut others = others.map_err(|stop| stop.at(place))?;
                if !others.contains(&wanted) {
                    let message = format!(
                        "cannot extend service {name:?} in {shown}: service {wanted:?} not found in {other}"
                    );
                    return Err(wrong_with(&extends, message, meant(&wanted, &others)));
                }
                self.extend(&mut others, &wanted, &path, scope, &chain)?;
                others.remove(&wanted)
            }
        };
        let Some(mut base) = base.take().filter(|node| !node.is_null()) else { return Ok(()) };
        self.bounds.nodes(base.count(), extends.at.as_ref())?;
        base.settle_marks();
        let path = Path::default().key("services").key(name);
        let Some(field) = service_field() else { return Ok(()) };
        let mut merged = merge(base, service, field, &path, Marks::Keep)?;
        if let Some(map) = merged.as_map_mut() {
            map.remove("extends");
        }
        services.insert(name.to_owned(), None, merged);
        Ok(())
    }

    /// Reads the services of another file as they stand there, their paths seen from this project.
    fn read_extended(
        &mut self,
        path: &FilePath,
        relative: &FilePath,
        name: &str,
        extends: &Node,
        scope: &Scope,
    ) -> Loads<Map> {
        let source = self.files.read(path)?;
        self.bounds.read(source.text().len(), extends.at.as_ref())?;
        let mut model = Node::new(Value::Map(Map::default()), None);
        for mut document in compose(&source)? {
            self.check_top(&document)?;
            self.interpolate(&mut document, &scope.environment)?;
            model = merge(model, document, &PROJECT, &Path::default(), Marks::Keep)?;
            unique::enforce(&mut model, Some(&PROJECT), &Path::default())?;
            self.spell(&mut model)?;
            unique::enforce(&mut model, Some(&PROJECT), &Path::default())?;
        }
        let home = self.request.home.as_deref();
        let followed = std::collections::BTreeMap::new();
        paths::resolve(&mut model, Some(&PROJECT), &Base { folder: relative, home, followed: &followed });
        let services = model.as_map_mut().and_then(|map| map.remove("services"));
        match services.map(|node| node.value) {
            Some(Value::Map(services)) => Ok(services),
            _ => Err(wrong(
                extends,
                format!("cannot extend service {name:?} in {}: no services section", path.display()),
            )),
        }
    }
}

/// Returns what may have been meant by a service that is not there.
fn meant(wanted: &str, services: &Map) -> String {
    match rbuild_model::span::nearest(wanted, services.keys()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if services.is_empty() => "there is no service in it".to_owned(),
        None => {
            let names: Vec<&str> = services.keys().take(8).collect();
            let more = if services.len() > names.len() { ", …" } else { "" };
            format!("there are: {}{more}", names.join(", "))
        }
    }
}

fn service_field() -> Option<&'static Field> {
    let map = Node::new(Value::Map(Map::default()), None);
    PROJECT.shape.child(&map, "services")?.shape.child(&map, "")
}

fn circle(chain: &[Link], again: &Link) -> String {
    let mut lines = vec!["Circular reference:".to_owned()];
    for (at, link) in chain.iter().chain([again]).enumerate() {
        let verb = if at == 0 { "" } else { "extends " };
        lines.push(format!("  {verb}{} in {}", link.service, link.file.display()));
    }
    lines.join("\n")
}
