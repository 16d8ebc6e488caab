//! What can go wrong between a registry and us.

use std::fmt;
use std::io;

use rbuild_model::digest::BlobDigest;

use super::credentials::CredentialError;
use crate::manifest::DocumentError;

/// A registry could not be talked to, or said something that is not acceptable.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The client could not be set up.
    #[error("cannot set up the registry client: {0}")]
    Setup(String),
    /// The caller works offline.
    #[error("{0} is not asked: this is offline")]
    Offline(String),
    /// The configuration forbids to speak to the registry.
    #[error("registry {0} is blocked by the configuration")]
    Blocked(String),
    /// The configuration leads somewhere else, in a manner that is not followed.
    #[error("the configuration says that {0} lies at another registry, in a way that is not followed")]
    Elsewhere(String),
    /// The connection failed or broke.
    #[error("cannot reach {origin}")]
    Transport {
        /// The registry's scheme, host and port.
        origin: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// The registry cannot be reached, and its mirrors were of no help.
    #[error("cannot get {what} from any of {}", asked.join(", "))]
    Exhausted {
        /// What was asked for.
        what: String,
        /// Whom: the mirrors, then the registry itself.
        asked: Vec<String>,
        /// What counts of what they said.
        source: Box<ClientError>,
    },
    /// Nothing, or next to nothing, came for too long.
    #[error("{0} sends too slowly")]
    TooSlow(String),
    /// The registry said no.
    #[error("{what}: {origin} says: {refusal}")]
    Refused {
        /// What was asked for.
        what: String,
        /// The scheme, host and port of who said so: the registry, a mirror, or where they led.
        origin: String,
        /// What it said.
        refusal: Box<Refusal>,
    },
    /// The registry answered in a way that is not acceptable.
    #[error("{origin} answered unacceptably: {why}")]
    Protocol {
        /// The registry's scheme, host and port.
        origin: String,
        /// What is wrong.
        why: String,
    },
    /// Content is not what its name says.
    #[error("content of {wanted} from {origin} has the digest {found}")]
    Digest {
        /// The registry's scheme, host and port.
        origin: String,
        /// The digest that was asked for.
        wanted: BlobDigest,
        /// The digest of what came.
        found: BlobDigest,
    },
    /// Content has not the size that its descriptor says.
    #[error("content of {digest} from {origin} is not {expected} bytes long")]
    Size {
        /// The registry's scheme, host and port.
        origin: String,
        /// The content.
        digest: BlobDigest,
        /// The size of its descriptor.
        expected: u64,
    },
    /// A manifest is not acceptable.
    #[error("the manifest of {0} is not acceptable")]
    Document(String, #[source] DocumentError),
    /// Credentials could not be got.
    #[error("cannot get credentials for {0}")]
    Credentials(String, #[source] CredentialError),
    /// Credentials would have to go where they are not trusted.
    #[error(
        "{registry} wants its credentials sent to {realm}; if that is right, list that host as a trusted realm"
    )]
    UntrustedRealm {
        /// The registry.
        registry: String,
        /// The host of its token service.
        realm: String,
    },
    /// What was received could not be stored, or what is to be sent not be read.
    #[error("cannot store or read {0}")]
    Local(BlobDigest, #[source] io::Error),
    /// What came could not be kept.
    #[error("cannot keep what came")]
    Kept(#[source] io::Error),
}

/// What a registry said when it said no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The status of the response.
    pub status: u16,
    /// The code of the first error (`MANIFEST_UNKNOWN`), if there is one.
    pub code: Option<String>,
    /// Its text, bounded and escaped.
    pub message: String,
}

impl Refusal {
    /// Reads the body of an error response.
    pub(super) fn parse(status: u16, body: &[u8]) -> Self {
        const SHOWN: usize = 4096;
        let error = serde_json::from_slice::<serde_json::Value>(body)
            .ok()
            .and_then(|value| value.get("errors")?.as_array()?.first().cloned());
        let field = |name: &str| {
            let text = error.as_ref()?.get(name)?.as_str()?;
            Some(text.chars().take(SHOWN).flat_map(char::escape_debug).collect::<String>())
        };
        let message = field("message").unwrap_or_else(|| {
            let text = String::from_utf8_lossy(&body[..body.len().min(SHOWN)]);
            // A page for people to look at is no message.
            let text = if text.trim_start().starts_with('<') { "" } else { &*text };
            text.trim().chars().flat_map(char::escape_debug).take(SHOWN).collect()
        });
        Self { status, code: field("code"), message }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.status, &self.code) {
            (401, _) => f.write_str("access denied: the repository does not exist or needs a login")?,
            (403, _) => f.write_str("access denied")?,
            (404, Some(code)) if code == "MANIFEST_UNKNOWN" => f.write_str("manifest unknown")?,
            (404, _) => f.write_str("not found")?,
            (429, _) => f.write_str("too many requests")?,
            (status, _) => write!(f, "the registry answered with status {status}")?,
        }
        let said = self.code.as_ref().map(|code| code.replace('_', " "));
        let is_news = !said.is_some_and(|said| said.eq_ignore_ascii_case(&self.message));
        if is_news && !self.message.is_empty() { write!(f, ": {}", self.message) } else { Ok(()) }
    }
}

/// Returns whether a connection came about and then broke.
fn was_cut_off(error: &(dyn std::error::Error + 'static)) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    std::iter::successors(Some(error), |error| error.source())
        .filter_map(|error| error.downcast_ref::<io::Error>())
        .any(|error| matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof))
}

impl ClientError {
    /// Returns whether the thing asked for does not exist, as far as the registry lets us know.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { refusal, .. } if refusal.status == 404)
    }

    /// Returns whether no connection came about: a further attempt would end the same way. A name that does not exist, a
    /// port where nobody listens, a certificate that is not trusted, a name server or host that does not answer (the
    /// resolver and the kernel have asked more than once by then).
    pub fn is_unreachable(&self) -> bool {
        match self {
            Self::Exhausted { .. } => true,
            Self::Transport { source, .. } => source.is_connect() && !was_cut_off(source),
            _ => false,
        }
    }

    /// Returns whether a connection came about and then broke.
    pub fn is_cut_off(&self) -> bool {
        matches!(self, Self::Transport { source, .. } if was_cut_off(source))
    }

    /// Returns whether the registry's certificate is not accepted.
    pub fn is_distrusted(&self) -> bool {
        let Self::Transport { source, .. } = self else { return false };
        std::iter::successors(Some(source as &dyn std::error::Error), |error| error.source())
            .filter_map(|error| error.downcast_ref::<io::Error>()?.get_ref())
            .any(|error| matches!(error.downcast_ref(), Some(rustls::Error::InvalidCertificate(_))))
    }

    /// Returns whether the registry wants other credentials.
    pub fn is_denied(&self) -> bool {
        matches!(self, Self::Refused { refusal, .. } if matches!(refusal.status, 401 | 403))
    }
}
