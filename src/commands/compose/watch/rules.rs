//! What a change means: which rules it falls under, and what is done for which service. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rbuild_frontend::ignore::{Ignore, IgnoreError, text_of};
use rbuild_model::project::{Hook, ServiceName, WatchAction, WatchRule};

/// What editors and version control write beside what people mean.
const NEVER: &[&str] = &[
    "**/.git",
    "**/*~",
    "**/4913",
    "**/.*.swp",
    "**/.*.swx",
    "**/.*.swo",
    "**/.*.swn",
    "**/.*.kate-swp",
    "**/.#*",
    "**/#*#",
    "**/*___jb_old___",
    "**/*___jb_tmp___",
    "**/.idea",
];

/// A rule of a service, with what it leaves out.
#[derive(Clone, Debug)]
pub(in crate::commands::compose) struct Watched {
    /// Whose it is.
    pub(super) service: ServiceName,
    /// The rule; its path has no links in it.
    pub(super) rule: WatchRule,
    ignore: Ignore,
    include: Option<Ignore>,
    /// The folder of the build context, and what its ignore file leaves out.
    context: Option<(PathBuf, Ignore)>,
}

/// What is done for a service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Todo<'r> {
    /// Its image is built, and it is made anew; then nothing else is done.
    pub(super) rebuild: bool,
    /// What changed, and where it goes in the containers.
    pub(super) sync: BTreeMap<PathBuf, BTreeSet<String>>,
    /// It is restarted.
    pub(super) restart: bool,
    /// What is run in its containers then.
    pub(super) hooks: Vec<&'r Hook>,
}

impl Watched {
    /// Makes a rule ready.
    pub(super) fn new(
        service: ServiceName,
        rule: WatchRule,
        context: Option<(PathBuf, Ignore)>,
    ) -> Result<Self, IgnoreError> {
        let never = NEVER.iter().copied().chain(rule.ignore.iter().map(String::as_str));
        let ignore = Ignore::from_patterns(never)?;
        let include = (!rule.include.is_empty())
            .then(|| Ignore::from_patterns(rule.include.iter().map(String::as_str)))
            .transpose()?;
        Ok(Self { service, rule, ignore, include, context })
    }

    /// Whether it copies files.
    pub(super) fn syncs(&self) -> bool {
        matches!(self.rule.action, WatchAction::Sync | WatchAction::SyncRestart | WatchAction::SyncExec)
    }

    /// Returns where in its own path a changed path is, if the rule counts it.
    pub(super) fn place<'p>(&self, path: &'p Path) -> Option<&'p Path> {
        let place = path.strip_prefix(&self.rule.path).ok()?;
        let is_left_out = |ignore: &Ignore, place: &Path| {
            !place.as_os_str().is_empty() && ignore.ignores(&text_of(place.as_os_str().as_bytes()))
        };
        if is_left_out(&self.ignore, place) {
            return None;
        }
        if let Some((folder, ignore)) = &self.context
            && path.strip_prefix(folder).is_ok_and(|place| is_left_out(ignore, place))
        {
            return None;
        }
        let counts = self.include.as_ref().is_none_or(|include| is_left_out(include, place));
        counts.then_some(place)
    }

    /// Whether nothing in a folder can count, so that it need not be watched.
    pub(super) fn skips(&self, folder: &Path) -> bool {
        let Ok(place) = folder.strip_prefix(&self.rule.path) else { return false };
        !place.as_os_str().is_empty() && self.ignore.prunes(&place.to_string_lossy())
    }

    /// Returns where something goes in the containers.
    fn target(&self, place: &Path) -> Option<String> {
        let target = self.rule.target.as_deref()?;
        Some(match place.as_os_str().is_empty() {
            true => target.to_owned(),
            false => Path::new(target).join(place).to_string_lossy().into_owned(),
        })
    }
}

/// Decides what is done for which service after changes.
pub(super) fn todo<'r>(
    rules: &'r [Watched],
    changed: &BTreeSet<PathBuf>,
) -> BTreeMap<&'r ServiceName, Todo<'r>> {
    let mut all: BTreeMap<&ServiceName, Todo<'_>> = BTreeMap::new();
    for watched in rules {
        let hits: Vec<(&PathBuf, &Path)> =
            changed.iter().filter_map(|path| Some((path, watched.place(path)?))).collect();
        if hits.is_empty() {
            continue;
        }
        let todo = all.entry(&watched.service).or_default();
        match watched.rule.action {
            WatchAction::Rebuild => todo.rebuild = true,
            WatchAction::Restart | WatchAction::SyncRestart => todo.restart = true,
            WatchAction::SyncExec => todo.hooks.extend(&watched.rule.exec),
            WatchAction::Sync => {}
        }
        if watched.syncs() {
            for (path, place) in hits {
                todo.sync.entry(path.clone()).or_default().extend(watched.target(place));
            }
        }
    }
    for todo in all.values_mut().filter(|todo| todo.rebuild) {
        *todo = Todo { rebuild: true, ..Todo::default() };
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watched(service: &str, action: WatchAction, path: &str, more: impl FnOnce(&mut WatchRule)) -> Watched {
        let mut rule = WatchRule {
            path: path.into(),
            action,
            target: Some("/app".to_owned()),
            include: Vec::new(),
            ignore: Vec::new(),
            exec: None,
            initial_sync: false,
        };
        more(&mut rule);
        let context = Ignore::parse("dist\n").unwrap();
        Watched::new(ServiceName::new(service).unwrap(), rule, Some(("/p".into(), context))).unwrap()
    }

    fn check(rules: &[Watched], changed: &[&str], expected: &[(&str, &str)]) {
        let changed = changed.iter().map(PathBuf::from).collect();
        let told: Vec<(String, String)> = todo(rules, &changed)
            .into_iter()
            .map(|(service, todo)| {
                let mut words = Vec::new();
                words.extend(todo.rebuild.then(|| "rebuild".to_owned()));
                for (path, targets) in &todo.sync {
                    for target in targets {
                        words.push(format!("{}>{target}", path.display()));
                    }
                }
                words.extend(todo.restart.then(|| "restart".to_owned()));
                words.extend(todo.hooks.iter().map(|hook| hook.command.join(" ")));
                (service.to_string(), words.join(" "))
            })
            .collect();
        let expected: Vec<(String, String)> =
            expected.iter().map(|(service, words)| ((*service).to_owned(), (*words).to_owned())).collect();
        assert_eq!(told, expected);
    }

    #[test]
    fn changes_go_to_their_places() {
        let rules = [
            watched("web", WatchAction::Sync, "/p/src", |rule| {
                rule.ignore = vec!["node_modules/".to_owned()]
            }),
            watched("web", WatchAction::SyncRestart, "/p/nginx.conf", |rule| {
                rule.target = Some("/etc/nginx.conf".to_owned());
            }),
            watched("api", WatchAction::Rebuild, "/p/src/api", |_| {}),
        ];
        check(
            &rules,
            &["/p/src/a/b.js", "/p/src/dist.js"],
            &[("web", "/p/src/a/b.js>/app/a/b.js /p/src/dist.js>/app/dist.js")],
        );
        check(&rules, &["/p/nginx.conf"], &[("web", "/p/nginx.conf>/etc/nginx.conf restart")]);
        check(&rules, &["/p/src/api/x"], &[("api", "rebuild"), ("web", "/p/src/api/x>/app/api/x")]);
        check(
            &rules,
            &["/p/src/node_modules/x/y", "/p/other", "/p/src/.git/HEAD", "/p/src/.a.swp", "/p/src/a~"],
            &[],
        );
    }

    #[test]
    fn a_rebuild_takes_the_place_of_everything_else() {
        let rules = [
            watched("web", WatchAction::Sync, "/p/src", |_| {}),
            watched("web", WatchAction::Restart, "/p/src", |_| {}),
            watched("web", WatchAction::Rebuild, "/p/src/package.json", |_| {}),
        ];
        check(&rules, &["/p/src/a", "/p/src/package.json"], &[("web", "rebuild")]);
        check(&rules, &["/p/src/a"], &[("web", "/p/src/a>/app/a restart")]);
    }

    #[test]
    fn only_what_is_included_counts_and_what_the_context_leaves_out_does_not() {
        let rules = [watched("web", WatchAction::SyncExec, "/p", |rule| {
            rule.include = vec!["**/*.css".to_owned()];
            rule.exec = Some(Hook { command: vec!["reload".to_owned()], ..Hook::default() });
        })];
        check(&rules, &["/p/a.css", "/p/a.js"], &[("web", "/p/a.css>/app/a.css reload")]);
        check(&rules, &["/p/dist/a.css"], &[]);
        assert!(rules[0].skips(Path::new("/p/.git")) && !rules[0].skips(Path::new("/p/src")));
    }
}
