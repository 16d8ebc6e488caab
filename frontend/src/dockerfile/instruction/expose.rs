//! `EXPOSE`: ports that the image listens on.

use std::net::IpAddr;

use rbuild_model::image_config::Empty;
use rbuild_model::span::Diagnostic;

use super::{Args, Heredocs, Instruction, InstructionKind, InstructionSpec, Word};
use crate::dockerfile::text::Slice;
use crate::lower::StageState;
use crate::ports;

/// `EXPOSE`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expose {
    /// Ports as written; each is expanded and split again into words.
    pub ports: Vec<Word>,
}

pub(super) const SPEC: InstructionSpec = InstructionSpec {
    name: "EXPOSE",
    summary: "describe the ports that the image listens on",
    flags: &[],
    ignores_flags: false,
    leaves_out_mistakes: false,
    heredocs: Heredocs::No,
    parse,
};

fn parse(args: &mut Args<'_>) -> Option<InstructionKind> {
    let ports: Vec<Word> = args.rest.fields().iter().map(Slice::word).collect();
    if ports.is_empty() {
        return args.fail("EXPOSE requires at least one argument");
    }
    Some(InstructionKind::Expose(Expose { ports }))
}

impl Expose {
    pub(super) fn apply(&self, _: &Instruction, stage: &mut StageState<'_, '_>) -> Result<(), Diagnostic> {
        // History lists what each argument stands for, in the order of the arguments as they are written.
        let mut words: Vec<&Word> = self.ports.iter().collect();
        words.sort_by(|a, b| a.value.cmp(&b.value));
        let mut ports: Vec<String> = Vec::new();
        let mut failed = None;
        for word in words {
            match expanded(word, stage) {
                Ok(found) => ports.extend(found),
                Err(error) => stage.also(&mut failed, error)?,
            }
        }
        if let Some(error) = failed {
            return Err(error);
        }
        stage.commit(format!("EXPOSE [{}]", ports.join(" ")), None);
        stage.config_mut().config.exposed_ports.extend(ports.into_iter().map(|port| (port, Empty {})));
        Ok(())
    }
}

/// Returns the ports that a word stands for.
fn expanded(word: &Word, stage: &mut StageState<'_, '_>) -> Result<Vec<String>, Diagnostic> {
    let mut ports = Vec::new();
    for text in stage.expand_words(word)? {
        let found = parse_port(&text).map_err(|error| stage.error(word.span, error.to_string()))?;
        look_at(&text, &found, word, stage);
        ports.extend(found.entries());
    }
    Ok(ports)
}

/// Warns of what means nothing in an image.
fn look_at(text: &str, found: &PortRange, word: &Word, stage: &mut StageState<'_, '_>) {
    if text.split_once('/').is_some_and(|(_, protocol)| protocol != found.protocol) {
        let message = format!("defined protocol '{text}' in EXPOSE instruction should be lowercase");
        stage.warn("ExposeProtoCasing", word.span, message);
    }
    if found.has_host_part {
        let message = format!(
            "EXPOSE instruction should not define an IP address or host-port mapping, found '{text}'"
        );
        stage.warn("ExposeInvalidFormat", word.span, message);
    }
}

/// The ports that one argument of EXPOSE names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortRange {
    /// The first port.
    pub first: u16,
    /// The last port.
    pub last: u16,
    /// The protocol in lower case.
    pub protocol: String,
    /// Whether the argument also names an address or a port of the host, which mean nothing here.
    pub has_host_part: bool,
}

impl PortRange {
    /// Returns the ports as an image config lists them.
    pub fn entries(&self) -> impl Iterator<Item = String> + '_ {
        (self.first..=self.last).map(|port| format!("{port}/{}", self.protocol))
    }
}

/// What is wrong with an argument of EXPOSE.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// The port is no number or range of numbers up to 65535.
    #[error("invalid containerPort: {text}")]
    Port {
        /// The text in its place.
        text: String,
    },
    /// The port of the host is no number or range of numbers up to 65535.
    #[error("invalid hostPort: {text}")]
    HostPort {
        /// The text in its place.
        text: String,
    },
    /// The address of the host is none.
    #[error("invalid IP address: {text}")]
    Address {
        /// The text in its place.
        text: String,
    },
    /// There are more ports of the host than ports, or fewer.
    #[error("invalid ranges specified for container and host Ports: {ports} and {host}")]
    Ranges {
        /// The ports.
        ports: String,
        /// Those of the host.
        host: String,
    },
    /// The protocol is none of tcp, udp, sctp.
    #[error("invalid port: {whole:?}: invalid proto: {protocol}")]
    Protocol {
        /// The whole argument.
        whole: String,
        /// The text behind the slash.
        protocol: String,
    },
}

/// Reads `[[address:]host-port:]port[-port][/protocol]`.
pub fn parse_port(text: &str) -> Result<PortRange, PortError> {
    let (ports, protocol) = text.split_once('/').unwrap_or((text, ""));
    let protocol = if protocol.is_empty() { "tcp".to_owned() } else { protocol.to_lowercase() };
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(PortError::Protocol { whole: text.to_owned(), protocol });
    }
    let (host_part, range) = match ports.rsplit_once(':') {
        Some((host, range)) => (Some(host), range),
        None => (None, ports),
    };
    let (first, last) = ports::range(range).ok_or_else(|| PortError::Port { text: range.to_owned() })?;
    if let Some(host_part) = host_part {
        check_host_part(host_part, range, usize::from(last - first))?;
    }
    Ok(PortRange { first, last, protocol, has_host_part: host_part.is_some() })
}

/// Checks what means nothing: `[address:][port[-port]]` before `range`, which has so many ports after its first.
fn check_host_part(text: &str, range: &str, more: usize) -> Result<(), PortError> {
    let (address, host) = text.rsplit_once(':').unwrap_or(("", text));
    let bare = address.strip_prefix('[').and_then(|address| address.strip_suffix(']')).unwrap_or(address);
    if !bare.is_empty() && bare.parse::<IpAddr>().is_err() {
        return Err(PortError::Address { text: address.to_owned() });
    }
    if host.is_empty() {
        return Ok(());
    }
    let (first, last) = ports::range(host).ok_or_else(|| PortError::HostPort { text: host.to_owned() })?;
    // One port may be any of a range.
    if more > 0 && usize::from(last - first) != more {
        return Err(PortError::Ranges { ports: range.to_owned(), host: host.to_owned() });
    }
    Ok(())
}
