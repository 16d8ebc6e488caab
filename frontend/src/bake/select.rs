//! Which targets are meant, and what each comes to with all that it takes over.

use std::collections::{BTreeMap, BTreeSet};

use rbuild_model::span::{Diagnostic, nearest};

use super::read::unplaced;
use super::set::{self, Override};
use super::target::Target;
use super::{Config, Group, Plan};
use crate::path;

/// The name of what is built when nothing is named.
const DEFAULT: &str = "default";

/// What stands before a path that is a path here, wherever the files came from.
pub const HERE: &str = "cwd://";

/// The argument that every target has, if the environment does.
const EPOCH: &str = "SOURCE_DATE_EPOCH";

/// How many targets one may take attributes over from, directly or not.
const MAX_PARENTS: usize = 10_000;

type Stop = Box<Diagnostic>;

/// What targets are chosen with.
pub(super) struct Selection<'s> {
    pub(super) config: &'s Config,
    pub(super) overrides: &'s [Override],
    pub(super) environment: &'s dyn Fn(&str) -> Option<String>,
    pub(super) located: &'s dyn Fn(&str) -> String,
}

impl Selection<'_> {
    /// Chooses the targets of names and patterns, and those that they are made from.
    pub(super) fn plan(&self, names: &[String]) -> Result<Plan, Stop> {
        for over in self.overrides {
            if !self.config.targets.iter().any(|target| over.is_for(&target.name)) {
                let message = format!("could not find any target matching '{}'", over.pattern);
                return Err(Box::new(unplaced(message)));
            }
        }
        // Names of services may have dots, and targets have none.
        let names: Vec<String> = names.iter().map(|name| name.replace('.', "_")).collect();
        let names = if names.is_empty() { vec![DEFAULT.to_owned()] } else { self.expand(&names) };
        let mut plan = Plan::default();
        for name in &names {
            let (targets, groups) = self.members(name, &mut BTreeMap::new());
            for target in targets {
                if !plan.targets.contains_key(&target) {
                    let resolved = self.resolve(&target)?;
                    plan.order.push(target.clone());
                    plan.targets.insert(target, resolved);
                }
            }
            for group in groups {
                if let Some(found) = self.config.group(&group) {
                    plan.groups.insert(group, found.clone());
                }
            }
        }
        for name in &names {
            // What is named behind another name does not say that it is the default.
            if name == DEFAULT && plan.groups.contains_key(DEFAULT) {
                continue;
            }
            plan.groups.entry(DEFAULT.to_owned()).or_default().targets.push(name.clone());
        }
        if let Some(default) = plan.groups.get_mut(DEFAULT) {
            default.targets.sort();
            default.targets.dedup();
        }
        for name in plan.order.clone() {
            self.link(&name, &mut plan, &mut vec![name.clone()])?;
        }
        for target in plan.targets.values_mut() {
            let context = target.context.take().unwrap_or_default();
            target.context = Some(match context.strip_prefix(HERE) {
                Some(path) => clean(path),
                None => (self.located)(&context),
            });
        }
        let epoch = (self.environment)(EPOCH).filter(|epoch| !epoch.is_empty());
        if let Some(epoch) = epoch {
            for target in plan.targets.values_mut() {
                target.args.entry(EPOCH.to_owned()).or_insert_with(|| epoch.clone());
            }
        }
        Ok(plan)
    }

    /// Replaces patterns by the targets and groups that fit.
    fn expand(&self, names: &[String]) -> Vec<String> {
        let mut expanded = Vec::new();
        for name in names {
            if !name.contains(['*', '?', '[', ']']) {
                expanded.push(name.clone());
                continue;
            }
            let all = self.config.targets.iter().map(|target| &target.name);
            let fitting: BTreeSet<&String> = all
                .chain(self.config.groups.iter().map(|(group, _)| group))
                .filter(|known| set::matches(name, known))
                .collect();
            if fitting.is_empty() {
                expanded.push(name.clone());
            }
            expanded.extend(fitting.into_iter().cloned());
        }
        let mut seen = BTreeSet::new();
        expanded.retain(|name| seen.insert(name.clone()));
        expanded
    }

    /// Returns the targets and groups of a name.
    fn members(
        &self,
        name: &str,
        visited: &mut BTreeMap<String, (Vec<String>, Vec<String>)>,
    ) -> (Vec<String>, Vec<String>) {
        if let Some(known) = visited.get(name) {
            return known.clone();
        }
        let Some(Group { targets, .. }) = self.config.group(name) else {
            return (vec![name.to_owned()], Vec::new());
        };
        visited.insert(name.to_owned(), (Vec::new(), Vec::new()));
        let mut found = (Vec::new(), vec![name.to_owned()]);
        for target in targets {
            let (inner, groups) = self.members(target, visited);
            let inner = if inner.is_empty() { vec![target.clone()] } else { inner };
            for name in inner {
                if !found.0.contains(&name) {
                    found.0.push(name);
                }
            }
            found.1.extend(groups);
        }
        visited.insert(name.to_owned(), found.clone());
        found
    }

    fn missing(&self, name: &str) -> Stop {
        let known: Vec<&str> = self.config.targets.iter().map(|target| &*target.name).collect();
        let groups = self.config.groups.iter().map(|(group, _)| &**group);
        let near = nearest(name, known.iter().copied().chain(groups));
        let hint = near.map(|near| format!(" (did you mean {near}?)")).unwrap_or_default();
        let error = unplaced(format!("failed to find target {name}{hint}"));
        Box::new(if known.is_empty() {
            error
        } else {
            error.with_help(format!("the targets are {}", known.join(", ")))
        })
    }

    /// Puts a target together with all that it takes over.
    fn resolve(&self, name: &str) -> Result<Target, Stop> {
        let mut seen = 0;
        let mut target =
            self.inherited(name, &mut Vec::new(), &mut seen)?.ok_or_else(|| self.missing(name))?;
        target.inherits.clear();
        name.clone_into(&mut target.name);
        let context = target.context.get_or_insert_with(|| ".".to_owned());
        *context = clean(context);
        let dockerfile = target.dockerfile.take().filter(|path| !path.is_empty());
        let dockerfile = dockerfile.unwrap_or_else(|| "Dockerfile".to_owned());
        for (what, path) in [("context", &*context), ("dockerfile", &dockerfile)] {
            if path == "-" {
                return Err(Box::new(unplaced(format!(
                    "target {name}: {what} from standard input not allowed in bake"
                ))));
            }
        }
        target.dockerfile = Some(dockerfile);
        Ok(target)
    }

    /// `None` if the target stands on the way already: whoever takes over from itself takes over nothing more.
    fn inherited(
        &self,
        name: &str,
        path: &mut Vec<String>,
        seen: &mut usize,
    ) -> Result<Option<Target>, Stop> {
        if path.iter().any(|before| before == name) {
            return Ok(None);
        }
        *seen += 1;
        if *seen > MAX_PARENTS {
            return Err(Box::new(unplaced(format!(
                "target {name} takes over from more than {MAX_PARENTS} others"
            ))));
        }
        let own = self.config.target(name).ok_or_else(|| self.missing(name))?;
        path.push(name.to_owned());
        let mut target = Target::new(name);
        for parent in &own.inherits {
            if let Some(parent) = self.inherited(parent, path, seen)? {
                target.merge(&parent);
            }
        }
        path.pop();
        target.merge(own);
        let overrides: Vec<&Override> = self.overrides.iter().filter(|over| over.is_for(name)).collect();
        set::apply(&mut target, &overrides, self.environment).map_err(unplaced)?;
        target.settle();
        Ok(Some(target))
    }

    /// Adds the targets that a target has contexts from.
    fn link(&self, name: &str, plan: &mut Plan, path: &mut Vec<String>) -> Result<(), Stop> {
        let contexts = plan.targets.get(name).map(|target| target.contexts.clone()).unwrap_or_default();
        for place in contexts.values() {
            let Some(wanted) = place.strip_prefix("target:") else { continue };
            if path.iter().any(|on_path| on_path == wanted) {
                return Err(Box::new(unplaced(format!("infinite loop from {name} to {wanted}"))));
            }
            if !plan.targets.contains_key(wanted) {
                let mut linked = self.resolve(wanted)?;
                linked.output = vec![[("type".to_owned(), "cacheonly".to_owned())].into()];
                linked.is_linked = true;
                plan.order.push(wanted.to_owned());
                plan.targets.insert(wanted.to_owned(), linked);
            }
            path.push(wanted.to_owned());
            self.link(wanted, plan, path)?;
            path.pop();
            let Target { platforms: others, entitlements: rights, .. } = plan.targets[wanted].clone();
            let Some(own) = plan.targets.get_mut(name) else { continue };
            for right in rights {
                if !own.entitlements.contains(&right) {
                    own.entitlements.push(right);
                }
            }
            let platforms = &own.platforms;
            let fit = platforms.len() < 2
                || others.len() < 2
                || platforms.iter().all(|platform| others.contains(platform));
            if !fit {
                let message =
                    format!("target {wanted:?} can't be used by {name:?} because its platforms do not match");
                return Err(Box::new(unplaced(message)));
            }
        }
        Ok(())
    }
}

/// Tells whether a place is somewhere else, or stands for something else: no path.
pub fn is_address(place: &str) -> bool {
    place.contains("://")
        || place.starts_with("git@")
        || place.starts_with("github.com/")
        || place.starts_with("target:")
}

/// Cleans the path of a folder; an address stays as it is.
pub fn clean(path: &str) -> String {
    if is_address(path) || path == "-" { path.to_owned() } else { path::clean(path) }
}
