//! The `hosts` file of a container or step.

use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};

/// The lines that every file begins with.
const LOCAL: &str = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\nff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n";

/// A line that cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` cannot stand in a hosts file: 1 to 253 printable characters without spaces or `#`", name.escape_default())]
pub struct HostNameError {
    name: String,
}

/// An address and its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostEntry {
    address: IpAddr,
    name: String,
}

impl HostEntry {
    /// Checks a name.
    pub fn new(address: IpAddr, name: &str) -> Result<Self, HostNameError> {
        let fits = (1..=253).contains(&name.len())
            && !name.chars().any(|c| c.is_whitespace() || c.is_control() || c == '#');
        if fits {
            Ok(Self { address, name: name.to_owned() })
        } else {
            Err(HostNameError { name: name.chars().take(64).collect() })
        }
    }
}

/// The text of the file: the local names, then what was asked for, then the endpoints' own names. Those of one address
/// share a line: the first of them is what `hostname -f` says.
pub fn render(extra: &[HostEntry], own: &[HostEntry]) -> String {
    let mut text = LOCAL.to_owned();
    append(&mut text, extra.iter());
    own_lines(own).iter().for_each(|line| push_line(&mut text, line));
    text
}

/// The lines of endpoints' own names.
pub fn own_lines(own: &[HostEntry]) -> Vec<String> {
    let line = |names: &[HostEntry]| {
        let words: Vec<&str> = names.iter().map(|entry| entry.name.as_str()).collect();
        format!("{}\t{}", names[0].address, words.join(" "))
    };
    own.chunk_by(|a, b| a.address == b.address).map(line).collect()
}

fn push_line(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}

/// What became of the lines of a file that others may have changed, too.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineChange {
    gone: Vec<String>,
    new: Vec<String>,
}

impl LineChange {
    /// Compares what was to stand there with what is to stand there now.
    pub fn between(before: &[String], after: &[String]) -> Self {
        let only = |some: &[String], others: &[String]| {
            some.iter().filter(|line| !others.contains(line)).cloned().collect()
        };
        Self { gone: only(before, after), new: only(after, before) }
    }

    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.gone.is_empty() && self.new.is_empty()
    }

    /// Makes the change in the file's text: what is new comes to the end, what is gone goes, the rest stays.
    pub fn apply(&self, text: &str) -> String {
        let mut changed = String::with_capacity(text.len());
        let stays = |line: &&str| !self.gone.iter().any(|gone| gone == line);
        text.lines()
            .filter(stays)
            .chain(self.new.iter().map(String::as_str))
            .for_each(|line| push_line(&mut changed, line));
        changed
    }
}

/// The text of the file of a step: its own name is that of the loopback address, so that the text, which a step may keep, is
/// the same wherever and whenever it runs.
pub fn render_for_step(name: &str, extra: &[HostEntry]) -> Result<String, HostNameError> {
    let own = HostEntry::new(IpAddr::V4(Ipv4Addr::LOCALHOST), name)?;
    let mut text =
        format!("{}\tlocalhost {}\n::1\tlocalhost ip6-localhost ip6-loopback\n", own.address, own.name);
    append(&mut text, extra.iter());
    Ok(text)
}

/// The text of the file in the host's own namespace: the host's, then what was asked for.
pub fn render_on_host(host: &str, extra: &[HostEntry]) -> String {
    let mut text = host.to_owned();
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    append(&mut text, extra.iter());
    text
}

fn append<'a>(text: &mut String, entries: impl Iterator<Item = &'a HostEntry>) {
    for HostEntry { address, name } in entries {
        text.push_str(&format!("{address}\t{name}\n"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(address: &str, name: &str) -> HostEntry {
        HostEntry::new(address.parse().unwrap(), name).unwrap()
    }

    #[test]
    fn extra_names_stand_before_the_own_one() {
        let text = render(
            &[entry("10.1.2.3", "db"), entry("2001:db8::1", "six")],
            &[entry("172.17.0.2", "box.example"), entry("172.17.0.2", "box"), entry("fd00::2", "box")],
        );
        assert_eq!(
            text.strip_prefix(LOCAL).unwrap(),
            "10.1.2.3\tdb\n2001:db8::1\tsix\n172.17.0.2\tbox.example box\nfd00::2\tbox\n"
        );
        assert!(text.starts_with("127.0.0.1\tlocalhost\n"));
        assert_eq!(
            render_on_host("127.0.0.1 localhost", &[entry("10.1.2.3", "db")]),
            "127.0.0.1 localhost\n10.1.2.3\tdb\n"
        );
    }

    #[test]
    fn a_step_has_the_loopback_address() {
        let text = render_for_step("box", &[entry("10.1.2.3", "db"), entry("::5", "six")]);
        let lines =
            "127.0.0.1\tlocalhost box\n::1\tlocalhost ip6-localhost ip6-loopback\n10.1.2.3\tdb\n::5\tsix\n";
        assert_eq!(text.as_deref(), Ok(lines));
        assert!(render_for_step("a b", &[]).is_err());
    }

    #[test]
    fn a_file_follows_and_keeps_what_others_wrote() {
        let (one, two) = ([entry("172.17.0.2", "box")], [entry("10.1.0.2", "box")]);
        let change = LineChange::between(&own_lines(&one), &own_lines(&two));
        let live = format!("{}# mine\n10.9.9.9 other", render(&[], &one));
        let after = change.apply(&live);
        assert_eq!(after, format!("{LOCAL}# mine\n10.9.9.9 other\n10.1.0.2\tbox\n"));
        let back = LineChange::between(&own_lines(&two), &own_lines(&one));
        assert_eq!(back.apply(&after), format!("{LOCAL}# mine\n10.9.9.9 other\n172.17.0.2\tbox\n"));
        assert!(LineChange::between(&own_lines(&one), &own_lines(&one)).is_empty());
    }

    #[test]
    fn names_cannot_smuggle_lines() {
        for name in ["", "a b", "a\nb", "a\tb", "#a", "a\u{7f}", &"x".repeat(254)] {
            assert!(HostEntry::new("10.0.0.1".parse().unwrap(), name).is_err(), "{name:?}");
        }
    }
}
