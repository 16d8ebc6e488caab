//! The addresses of repositories: which are spoken to, and what of them is a secret.

use base64::Engine as _;

/// An address that is not one of a repository, or of one that is not spoken to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RemoteError {
    /// It has no form of an address.
    #[error("the address of the repository is malformed: {0}")]
    Malformed(&'static str),
    /// It is spoken to in a way that is not allowed.
    #[error("repositories are fetched over https, http, ssh and git, not over {0:?}")]
    Protocol(String),
}

/// How a repository is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Http,
    Git,
    Ssh,
}

/// The address of a repository.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Remote {
    /// The address, without a password.
    pub(super) url: String,
    pub(super) protocol: Protocol,
    /// The host, with its port if it has one.
    pub(super) host: String,
    /// The value of `Authorization` that the address itself comes with.
    pub(super) basic: Option<String>,
}

impl std::fmt::Debug for Remote {
    /// Writes no password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Remote({})", self.url)
    }
}

impl Remote {
    /// Reads an address: a URL, or `user@host:path`.
    pub(super) fn parse(text: &str) -> Result<Self, RemoteError> {
        let wrong = |why| Err(RemoteError::Malformed(why));
        if text.is_empty() || text.starts_with('-') {
            return wrong("it is empty or begins with `-`");
        }
        if text.chars().any(|ch| ch.is_control() || ch.is_whitespace()) {
            return wrong("it has blanks or control characters");
        }
        let Some((scheme, rest)) = text.split_once("://") else { return Self::scp_like(text) };
        let protocol = match scheme {
            "http" | "https" => Protocol::Http,
            "git" => Protocol::Git,
            "ssh" => Protocol::Ssh,
            other => return Err(RemoteError::Protocol(other.chars().take(100).collect())),
        };
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let (user, host) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, authority),
        };
        if host.is_empty() || host.starts_with('-') || user.is_some_and(|user| user.starts_with('-')) {
            return wrong("it names no host");
        }
        if path.len() < 2 {
            return wrong("it names no repository on its host");
        }
        let host = host.to_owned();
        if protocol == Protocol::Ssh {
            // A user is no secret here; a password is nothing that ssh takes.
            let user = user.map(|user| user.split(':').next().unwrap_or(user));
            let user = user.map_or(String::new(), |user| format!("{user}@"));
            return Ok(Self { url: format!("ssh://{user}{host}{path}"), protocol, host, basic: None });
        }
        let basic = user.filter(|_| protocol == Protocol::Http).map(|user| {
            let decoded = rbuild_frontend::lower::percent_decode(user);
            let decoded = if decoded.contains(':') { decoded } else { format!("{decoded}:") };
            basic(&decoded)
        });
        Ok(Self { url: format!("{scheme}://{host}{path}"), protocol, host, basic })
    }

    fn scp_like(text: &str) -> Result<Self, RemoteError> {
        let parts = text.split_once('@').and_then(|(user, rest)| Some((user, rest.split_once(':')?)));
        match parts {
            Some((user, (host, path)))
                if !user.is_empty()
                    && !host.is_empty()
                    && !path.is_empty()
                    && ![user, host, path].iter().any(|part| part.starts_with('-'))
                    && !user.contains('/')
                    && !host.contains('/') =>
            {
                let (url, host) = (text.to_owned(), host.to_owned());
                Ok(Self { url, protocol: Protocol::Ssh, host, basic: None })
            }
            _ => Err(RemoteError::Malformed("it is neither a URL nor user@host:path")),
        }
    }

    /// Reads the address of a submodule, which may be relative to the one of its repository.
    pub(super) fn submodule(&self, text: &str) -> Result<Self, RemoteError> {
        if !text.starts_with("./") && !text.starts_with("../") {
            return Self::parse(text);
        }
        let above = || RemoteError::Malformed("it leads above its host");
        let mut base = self.url.trim_end_matches('/');
        let mut joint = '/';
        let mut rest = text;
        loop {
            if let Some(after) = rest.strip_prefix("../") {
                let cut = base.rfind(['/', ':']).ok_or_else(above)?;
                joint = if base[cut..].starts_with(':') { ':' } else { '/' };
                base = &base[..cut];
                rest = after;
            } else if let Some(after) = rest.strip_prefix("./") {
                rest = after;
            } else {
                break;
            }
        }
        let mut remote = Self::parse(&format!("{base}{joint}{rest}"))?;
        if remote.host != self.host || remote.protocol != self.protocol {
            return Err(above());
        }
        remote.basic.clone_from(&self.basic);
        Ok(remote)
    }

    /// Returns the prefix of URLs that credentials for this repository are for.
    pub(super) fn origin(&self) -> Option<String> {
        let scheme = self.url.split_once("://").filter(|_| self.protocol == Protocol::Http)?.0;
        Some(format!("{scheme}://{}/", self.host))
    }

    /// Returns the host without its port.
    pub(super) fn host_name(&self) -> &str {
        self.host.rsplit_once(':').map_or(&self.host, |(name, _)| name)
    }
}

/// Makes the value of `Authorization` of `user:password`.
pub(in crate::sources) fn basic(pair: &str) -> String {
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
}

/// Whether a text names a commit in full.
pub(crate) fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Whether a text may be the name of a branch, a tag or another reference (git-check-ref-format).
pub(super) fn is_reference(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 1024
        && !text.starts_with(['-', '/'])
        && !text.ends_with(['/', '.'])
        && !text.contains("..")
        && !text.contains("@{")
        && !text.contains("//")
        && !text.ends_with(".lock")
        && !text.chars().any(|ch| ch.is_control() || " ~^:?*[\\".contains(ch))
}

/// Brings the path of a folder in a repository into its plain form; `None` if it leads out of it.
pub(super) fn folder(text: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part if part.contains('\0') => return None,
            part => parts.push(part),
        }
    }
    // The folder that holds the repository itself is none of its folders.
    if parts.first().is_some_and(|first| first.eq_ignore_ascii_case(".git")) {
        return None;
    }
    Some(parts.join("/"))
}
