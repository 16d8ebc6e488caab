//! `include`: other projects, read with their own folder and variables, and copied in.

use std::path::{Path as FilePath, PathBuf};

use super::super::bounds;
use super::super::discover::{self, Wanted, absolute, folder, read_env_file, read_env_files};
use super::super::environment::Environment;
use super::super::fault::{fault, remark};
use super::super::path::Path;
use super::super::request::{Answer, Loads, Question};
use super::super::schema::INCLUDED;
use super::super::validate;
use super::super::yaml::{Map, Node, Value};
use super::{Layers, Scope, relative_to, wrong, wrong_with};

/// One entry of `include`.
struct Included {
    files: Vec<PathBuf>,
    directory: PathBuf,
    relative: PathBuf,
    env_files: Option<Vec<PathBuf>>,
}

impl Layers<'_> {
    /// Copies in what a document includes.
    pub(super) fn include(&mut self, document: &mut Node, scope: &Scope) -> Loads<()> {
        let entries = document.as_map_mut().and_then(|map| map.remove("include"));
        let Some(entries) = entries.filter(|node| !node.is_null()) else { return Ok(()) };
        let Some(list) = entries.as_list() else {
            return Err(wrong_with(&entries, "`include` must be a list", "write `- FILE` on lines below it"));
        };
        self.check_entries(list)?;
        let Some(map) = document.as_map_mut() else { return Ok(()) };
        self.bounds.files(list.len(), entries.at.as_ref())?;
        // All are asked for at once, those that lie here.
        let mut wanted = Vec::new();
        for entry in list {
            let Ok(included) = self.read_entry(entry, scope) else { continue };
            wanted.extend(included.files.into_iter().map(Question::File));
            if included.env_files.is_none() {
                wanted.push(Question::File(included.directory.join(".env")));
            }
        }
        self.files.want(wanted)?;
        for entry in list {
            let place = entry.get("path").unwrap_or(entry).at.as_ref();
            let included = self.read_entry(entry, scope).map_err(|stop| stop.at(place))?;
            if let Some(main) = included.files.first().filter(|main| scope.chain.contains(main)) {
                let shown: Vec<String> =
                    scope.chain.iter().chain([main]).map(|path| path.display().to_string()).collect();
                let message = format!("include cycle detected:\n{}", shown.join("\n include "));
                return Err(wrong_with(entry, message, "leave one of these out"));
            }
            if scope.chain.len() > bounds::CHAIN {
                return Err(wrong(entry, bounds::too_deep("include")));
            }
            self.bounds.files(included.files.len().saturating_sub(1), place)?;
            let environment = self.included_variables(&included, entry, scope)?;
            let inner = Scope {
                directory: included.directory,
                relative: included.relative,
                environment,
                chain: scope.chain.clone(),
                resolve_paths: true,
            };
            let model = self.load(&included.files, &inner).map_err(|stop| stop.at(place))?;
            if let Value::Map(model) = model.value {
                import(map, model)?;
            }
        }
        Ok(())
    }

    /// Checks the kinds of what entries say; what they say beside it is somebody else's.
    fn check_entries(&mut self, list: &[Node]) -> Loads<()> {
        for (at, entry) in list.iter().enumerate() {
            let Some(map) = entry.as_map() else { continue };
            for (key, node) in map.iter() {
                match INCLUDED.field(key) {
                    Some(field) => {
                        let path = Path::default().key("include").item(at).key(key);
                        validate::validate_at(node, field, &path)?;
                    }
                    None if key.starts_with("x-") => {}
                    None => {
                        let message = format!("include.{at}: nothing is known of {key:?}, it is ignored");
                        self.warnings.push(remark(map.key_at(key), message));
                    }
                }
            }
        }
        Ok(())
    }

    /// Reads the variables that an entry is read with, behind those of the including project.
    fn included_variables(&mut self, included: &Included, entry: &Node, scope: &Scope) -> Loads<Environment> {
        let mut environment = scope.environment.clone();
        let Some(files) = &included.env_files else {
            let near = included.directory.join(".env");
            read_env_file(&near, Wanted::IfThere, &mut environment, self.files, &mut self.warnings)?;
            if included.files.first().is_some_and(|main| self.elsewhere.has(main)) {
                self.elsewhere.add(&near, self.files);
            }
            return Ok(environment);
        };
        let files: Vec<_> = files.iter().filter(|file| file.as_os_str() != "/dev/null").cloned().collect();
        for file in &files {
            if matches!(self.files.look(file)?, Answer::Missing) {
                let message = format!("stat {}: no such file or directory", file.display());
                return Err(wrong_with(entry, message, "`/dev/null` in its place stands for no file"));
            }
            if self.elsewhere.wrote(entry.at.as_ref()) {
                self.elsewhere.add(file, self.files);
            }
        }
        let read = read_env_files(&files, &mut environment, self.files, &mut self.warnings);
        read.map_err(|stop| stop.at(entry.at.as_ref()))?;
        Ok(environment)
    }

    fn read_entry(&mut self, entry: &Node, scope: &Scope) -> Loads<Included> {
        let path = match &entry.value {
            Value::Map(map) => map.get("path").unwrap_or(entry),
            _ => entry,
        };
        let Some(paths) = texts(path).filter(|paths| !paths.is_empty()) else {
            let message = "include entries are paths, or mappings with a `path`";
            return Err(wrong_with(entry, message, "write `path: FILE`"));
        };
        let below = |path: &str| absolute(&scope.directory, FilePath::new(path));
        let located = paths.iter().map(|name| self.located(name, path.at.as_ref(), scope));
        let files = located.collect::<Loads<Vec<PathBuf>>>()?;
        let given = entry.get("project_directory").and_then(Node::as_str);
        let directory = match given {
            Some(directory) => below(directory),
            None => files.first().map_or_else(|| scope.directory.clone(), |file| folder(file)),
        };
        let is_elsewhere =
            given.map_or_else(|| discover::is_remote(&paths[0]), |given| given.starts_with('/'));
        let relative =
            if is_elsewhere { directory.clone() } else { relative_to(&scope.directory, &directory) };
        let env_files = entry
            .get("env_file")
            .and_then(texts)
            .filter(|files| !files.is_empty())
            .map(|files| files.iter().map(|file| below(file)).collect());
        Ok(Included { files, directory, relative, env_files })
    }
}

/// Reads a text, or a list of texts.
fn texts(node: &Node) -> Option<Vec<String>> {
    match &node.value {
        Value::String(text) => Some(vec![text.clone()]),
        Value::List(list) => list.iter().map(|node| node.as_str().map(str::to_owned)).collect(),
        _ => None,
    }
}

/// Copies resources in; the same one may come twice.
fn import(target: &mut Map, source: Map) -> Loads<()> {
    for (section, _, resources) in source.into_entries() {
        if !matches!(section.as_str(), "services" | "volumes" | "networks" | "secrets" | "configs" | "models")
        {
            continue;
        }
        let Value::Map(resources) = resources.value else { continue };
        if target.get(&section).is_none_or(|node| node.as_map().is_none()) {
            target.put(&section, Node::new(Value::Map(Map::default()), None));
        }
        let Some(own) = target.get_mut(&section).and_then(Node::as_map_mut) else { continue };
        for (key, at, node) in resources.into_entries() {
            match own.get(&key) {
                Some(known) if known.same(&node) => {}
                Some(known) => {
                    let place = node.at.as_ref().map(discover::place);
                    let mut error = fault(
                        own.key_at(&key).or(known.at.as_ref()),
                        format!("{section}.{key} conflicts with imported resource"),
                    );
                    error.help = place.map(|place| {
                        format!(
                            "it is defined at {place} too; write the change in a file of its own and give both with `-f`"
                        )
                    });
                    return Err(error.into());
                }
                None => own.insert(key, at, node),
            }
        }
    }
    Ok(())
}
