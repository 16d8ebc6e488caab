//! Remote sources of ADD: what is a git reference, what is a URL, and what they say.

use rbuild_model::step::{GitSource, HttpSource};
use rbuild_model::truth::parse_bool;

/// What is wrong with a git reference.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GitUrlError {
    /// A query key that has no meaning.
    #[error("unexpected query {key:?}")]
    Query {
        /// The key.
        key: String,
    },
    /// Two parts name different commits, branches or tags.
    #[error("ref conflicts: {first:?} vs {second:?}")]
    Conflict {
        /// The one.
        first: String,
        /// The other.
        second: String,
    },
    /// A query key whose value it has not.
    #[error("invalid value {value:?} for {key}")]
    Value {
        /// The key.
        key: String,
        /// The value.
        value: String,
    },
}

/// Tells whether a text is an HTTP or HTTPS URL.
pub(crate) fn is_http_url(text: &str) -> bool {
    let lower = text.get(..8).unwrap_or(text).to_ascii_lowercase();
    lower.starts_with("http://") || lower.starts_with("https://")
}

/// Tells whether a text is a git reference: `git://`, `ssh://`, `user@host:path`, or a URL whose path ends in `.git`.
pub fn is_git_url(text: &str) -> bool {
    let (base, _) = split_fragment(text);
    let base = base.split('?').next().unwrap_or(base);
    if base.starts_with("git://") || base.starts_with("ssh://") {
        return true;
    }
    if is_http_url(base) {
        return base.trim_end_matches('/').ends_with(".git");
    }
    // user@host:path, without anything that a path or a URL would have before the colon.
    let Some((user, rest)) = base.split_once('@') else { return false };
    let Some((host, path)) = rest.split_once(':') else { return false };
    let word = |text: &str| !text.is_empty() && !text.contains(['/', ':', ' ']);
    word(user) && word(host) && !path.is_empty()
}

fn split_fragment(text: &str) -> (&str, Option<&str>) {
    match text.split_once('#') {
        Some((base, fragment)) => (base, Some(fragment)),
        None => (text, None),
    }
}

/// Reads a git reference with its `#ref:subdir` and its query.
pub fn parse_git_url(text: &str) -> Result<GitSource, GitUrlError> {
    let (base, fragment) = split_fragment(text);
    let (remote, query) = match base.split_once('?') {
        Some((remote, query)) => (remote, Some(query)),
        None => (base, None),
    };
    let mut git = GitSource {
        remote: remote.to_owned(),
        reference: None,
        checksum: None,
        subdir: None,
        keep_git_dir: false,
        submodules: true,
    };
    if let Some(fragment) = fragment {
        let (reference, subdir) = fragment.split_once(':').unwrap_or((fragment, ""));
        git.reference = (!reference.is_empty()).then(|| reference.to_owned());
        git.subdir = (!subdir.is_empty()).then(|| subdir.to_owned());
    }
    for pair in query.into_iter().flat_map(|query| query.split('&')).filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = percent_decode(value);
        let flag = || {
            parse_bool(if value.is_empty() { "true" } else { &value })
                .ok_or_else(|| GitUrlError::Value { key: key.to_owned(), value: value.clone() })
        };
        match key {
            "ref" => set_reference(&mut git, value)?,
            "branch" => set_reference(&mut git, format!("refs/heads/{value}"))?,
            "tag" => set_reference(&mut git, format!("refs/tags/{value}"))?,
            "subdir" => git.subdir = Some(value),
            "checksum" | "commit" => git.checksum = Some(value),
            "keep-git-dir" => git.keep_git_dir = flag()?,
            "submodules" => git.submodules = flag()?,
            // How a commit is fetched makes no difference to what comes out.
            "fetch-by-commit" => {
                flag()?;
            }
            // Files have the time of their commit in any case: the same whenever they are checked out.
            "mtime" if matches!(value.as_str(), "checkout" | "commit") => {}
            "mtime" => return Err(GitUrlError::Value { key: key.to_owned(), value }),
            _ => return Err(GitUrlError::Query { key: key.to_owned() }),
        }
    }
    Ok(git)
}

fn set_reference(git: &mut GitSource, value: String) -> Result<(), GitUrlError> {
    match &git.reference {
        Some(first) if *first != value => Err(GitUrlError::Conflict { first: first.clone(), second: value }),
        _ => {
            git.reference = Some(value);
            Ok(())
        }
    }
}

/// Makes the source of a URL: a file of mode 0600, named by the last element of the path.
pub(crate) fn http_source(url: &str) -> HttpSource {
    let (base, _) = split_fragment(url);
    let base = base.split('?').next().unwrap_or(base);
    let path = base.split_once("://").and_then(|(_, rest)| rest.split_once('/')).map_or("", |(_, path)| path);
    let path = percent_decode(path);
    let name = path.trim_end_matches('/').rsplit('/').next().unwrap_or("");
    // A name that is none, or that would lead elsewhere, is replaced.
    let usable = !matches!(name, "" | "." | "..") && !name.contains('\0');
    let file_name = if usable { name.to_owned() } else { "__unnamed__".to_owned() };
    HttpSource { url: url.to_owned(), checksum: None, file_name, mode: 0o600 }
}

/// Returns a URL without the user and password that may stand in it, for messages and displays. That of a repository over
/// ssh keeps its user.
pub fn without_credentials(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) if scheme != "ssh" => {
            let host = rest.find(['/', '?', '#']).unwrap_or(rest.len());
            match rest[..host].rfind('@') {
                Some(at) => format!("{scheme}://{}", &rest[at + 1..]),
                None => url.to_owned(),
            }
        }
        _ => url.to_owned(),
    }
}

/// Decodes the `%` sequences of a URL's part.
pub fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let byte = bytes
            .get(at + 1..at + 3)
            .filter(|_| bytes[at] == b'%')
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match byte {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}
