//! What `rbuild --help` shows: the verbs by what they are about, examples, variables.

use std::fmt::Write as _;

use clap::builder::{Styles, styling::AnsiColor};

use super::arguments;

/// The colours of help.
pub(super) const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Yellow.on_default().bold())
    .usage(AnsiColor::Yellow.on_default().bold())
    .literal(AnsiColor::Green.on_default())
    .placeholder(AnsiColor::Cyan.on_default())
    .error(AnsiColor::Red.on_default().bold());

/// What is asked for most.
pub(super) const EXAMPLES: &str = "\
Examples:
  rbuild .                            Build the project in this folder
  rbuild build -t app --target dev .  Build one target and name it
  rbuild run --rm -it app sh          Run a program in an image
  rbuild up -d                        Start the project in this folder
  rbuild down                         Stop it and remove what `up` made
  rbuild images                       List images";

/// What is read besides the command line.
pub(super) const ENVIRONMENT: &str = "\
Environment:
  RBUILD_ROOT        The folder of the store
  RBUILD_CACHE_MAX   The most that images and the cache may take, as in `20GB`
  RBUILD_PROGRESS    How progress is shown (BUILDKIT_PROGRESS is read too)
  DOCKER_CONFIG      The folder with Docker's config.json, for credentials of registries
  SOURCE_DATE_EPOCH  The time of everything a build makes, in seconds since 1970
  NO_COLOR           No colours; CLICOLOR_FORCE for colours everywhere

Files:
  /etc/rbuild/config.toml, $XDG_CONFIG_HOME/rbuild/config.toml";

/// The verbs by what they are about; each that is shown stands in one of these.
const SECTIONS: &[(&str, &[&str])] = &[
    ("Builds", &["build", "bake", "check", "context", "why"]),
    ("Projects", &["up", "down", "compose"]),
    (
        "Containers",
        &[
            "run", "exec", "ps", "logs", "stop", "start", "restart", "rm", "kill", "pause", "unpause",
            "wait", "attach", "inspect", "cp", "diff", "top", "stats", "port", "events", "create", "rename",
            "update", "commit", "export",
        ],
    ),
    ("Images", &["images", "history", "tag", "rmi", "pull", "push", "save", "load", "import"]),
    ("Networks and volumes", &["network", "volume"]),
    ("Registries", &["login", "logout", "search", "copy", "imagetools", "manifest", "registry"]),
    ("The store", &["du", "prune", "cache", "system"]),
    ("The program", &["info", "version", "doctor", "completion", "man"]),
];

/// Shows the verbs of the whole program in sections; clap has but one list of them.
pub(super) fn in_sections(all: clap::Command) -> clap::Command {
    let (header, literal) = (STYLES.get_header(), STYLES.get_literal());
    let names = SECTIONS.iter().flat_map(|(_, verbs)| *verbs).map(|verb| verb.len());
    let width = names.max().unwrap_or_default();
    let mut text = String::from("{about-with-newline}\n{usage-heading} {usage}\n");
    for (title, verbs) in SECTIONS {
        let _ = writeln!(text, "\n{header}{title}:{header:#}");
        for verb in verbs.iter().filter_map(|verb| all.find_subcommand(verb)) {
            let about = verb.get_about().map(ToString::to_string).unwrap_or_default();
            let aliases: Vec<_> = verb.get_visible_aliases().collect();
            let aliases =
                if aliases.is_empty() { String::new() } else { format!(" [alias: {}]", aliases.join(", ")) };
            let _ = writeln!(text, "  {literal}{:width$}{literal:#}  {about}{aliases}", verb.get_name());
        }
    }
    let _ = write!(text, "\n{header}Options:{header:#}\n{{options}}{{after-help}}");
    all.help_template(text)
}

/// Lists the verbs of a group that have a short name, too: they are read as that one.
pub(super) fn with_grouped(mut all: clap::Command) -> clap::Command {
    for (group, member, verb) in arguments::GROUPS {
        let Some(about) = all.find_subcommand(verb[0]).and_then(clap::Command::get_about).cloned() else {
            continue;
        };
        if all.find_subcommand(group).is_some() {
            all =
                all.mut_subcommand(group, |group| group.subcommand(clap::Command::new(*member).about(about)));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_stands_in_one_section() {
        let all = crate::cli::offered();
        let mut shown: Vec<_> =
            all.get_subcommands().filter(|verb| !verb.is_hide_set()).map(clap::Command::get_name).collect();
        let mut listed: Vec<_> = SECTIONS.iter().flat_map(|(_, verbs)| *verbs).copied().collect();
        shown.sort_unstable();
        listed.sort_unstable();
        assert_eq!(listed, shown);
    }
}
