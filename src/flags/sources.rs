//! Where build contexts are: `PATH|URL|-` and `--build-context NAME=VALUE`.

use std::path::PathBuf;

use rbuild_model::digest::BlobDigest;
use rbuild_model::reference::Reference;

use super::{Invalid, Read};

/// A further context by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BuildContext {
    /// The name that `FROM`, `COPY --from` and mounts use.
    pub(crate) name: String,
    /// Where it is.
    pub(crate) source: ContextSource,
}

/// Where a context is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ContextSource {
    /// A folder here.
    Local(PathBuf),
    /// A tar or a Dockerfile on standard input.
    Stdin,
    /// An image (`docker-image://`).
    Image(String),
    /// A folder of an OCI layout with an optional tag or digest (`oci-layout://`).
    Layout(String),
    /// A git repository, with `#ref:folder` or a query.
    Git(String),
    /// A file behind a URL.
    Http(String),
    /// Another target of a bake file (`target:`).
    Target(String),
}

/// Reads `NAME=VALUE`.
pub(crate) fn build_context(text: &str) -> Read<BuildContext> {
    let parts = text.split_once('=').filter(|(name, value)| !name.is_empty() && !value.is_empty());
    let Some((name, value)) = parts else {
        return Err(Invalid::new("write `NAME=PATH`, `NAME=docker-image://IMAGE` or `NAME=URL`"));
    };
    // It may stand for one platform alone: `NAME::PLATFORM`.
    let image = name.split_once("::").map_or(name, |(image, _)| image);
    match image.parse::<Reference>() {
        Ok(_) => Ok(BuildContext { name: name.to_owned(), source: context_source(value) }),
        Err(error) => Err(Invalid::new(format!("invalid context name {image}: {error}"))),
    }
}

/// Tells what a context is by its spelling.
pub(crate) fn context_source(text: &str) -> ContextSource {
    let own = |rest: &str| rest.to_owned();
    if text == "-" {
        return ContextSource::Stdin;
    }
    if let Some(image) = text.strip_prefix("docker-image://") {
        return ContextSource::Image(own(image));
    }
    if let Some(layout) = text.strip_prefix("oci-layout://") {
        return ContextSource::Layout(own(layout));
    }
    if let Some(target) = text.strip_prefix("target:") {
        return ContextSource::Target(own(target));
    }
    if is_git(text) {
        return ContextSource::Git(own(text));
    }
    if text.starts_with("http://") || text.starts_with("https://") {
        return ContextSource::Http(own(text));
    }
    ContextSource::Local(text.into())
}

fn is_git(text: &str) -> bool {
    text.starts_with("github.com/") || rbuild_frontend::lower::is_git_url(text)
}

/// What of an OCI layout is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// The folder.
    pub(crate) folder: PathBuf,
    /// The tag in it.
    pub(crate) tag: Option<String>,
    /// The digest of the manifest or index in it.
    pub(crate) digest: Option<BlobDigest>,
}

/// Reads `FOLDER[:TAG][@DIGEST]`.
pub(crate) fn layout(text: &str) -> Read<Layout> {
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => {
            (rest, Some(digest.parse().map_err(|error| Invalid::new(format!("{error}")))?))
        }
        None => (text, None),
    };
    let (folder, tag) = match rest.rsplit_once(':') {
        Some((folder, tag)) if !tag.contains('/') => (folder, Some(tag.to_owned())),
        _ => (rest, None),
    };
    if folder.is_empty() || tag.as_deref() == Some("") {
        return Err(Invalid::new("write `oci-layout://FOLDER[:TAG][@DIGEST]`"));
    }
    Ok(Layout { folder: folder.into(), tag, digest })
}
