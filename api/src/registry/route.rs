//! Which endpoint a path is: pure.

use hyper::Method;
use rbuild_model::digest::BlobDigest;
use rbuild_model::reference::Reference;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// Whether this is a registry.
    Base,
    /// The repositories.
    Catalog,
    /// The tags of a repository.
    Tags(Reference),
    /// A manifest or an index.
    Document(Reference, Name),
    /// A blob.
    Blob(Reference, BlobDigest),
    /// A new upload.
    Uploads(Reference),
    /// An upload.
    Upload(Reference, String),
    /// What refers to a manifest.
    Referrers(Reference, BlobDigest),
}

/// What a document is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Name {
    /// By a tag.
    Tag(String),
    /// By its digest.
    Digest(BlobDigest),
}

/// Why a path is no endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoRoute {
    /// There is none.
    NotFound,
    /// The name of the repository is none.
    Name,
    /// The digest is none that is supported.
    Digest,
    /// The tag is none.
    Tag,
}

impl Route {
    /// Reads a path; it is taken as it is, as no name has a character that would be written otherwise.
    pub(super) fn parse(path: &str) -> Result<Self, NoRoute> {
        let rest = match path {
            "/v2" | "/v2/" => return Ok(Self::Base),
            "/v2/_catalog" => return Ok(Self::Catalog),
            _ => path.strip_prefix("/v2/").ok_or(NoRoute::NotFound)?,
        };
        if let Some(name) = rest.strip_suffix("/tags/list") {
            return Ok(Self::Tags(repository(name)?));
        }
        if let Some(name) =
            rest.strip_suffix("/blobs/uploads/").or_else(|| rest.strip_suffix("/blobs/uploads"))
        {
            return Ok(Self::Uploads(repository(name)?));
        }
        let (front, last) = rest.rsplit_once('/').ok_or(NoRoute::NotFound)?;
        if let Some(name) = front.strip_suffix("/blobs/uploads") {
            return Ok(Self::Upload(repository(name)?, last.to_owned()));
        }
        if let Some(name) = front.strip_suffix("/manifests") {
            let repository = repository(name)?;
            let called = if last.contains(':') { Name::Digest(digest(last)?) } else { Name::Tag(tag(last)?) };
            return Ok(Self::Document(repository, called));
        }
        if let Some(name) = front.strip_suffix("/blobs") {
            return Ok(Self::Blob(repository(name)?, digest(last)?));
        }
        if let Some(name) = front.strip_suffix("/referrers") {
            return Ok(Self::Referrers(repository(name)?, digest(last)?));
        }
        Err(NoRoute::NotFound)
    }

    /// Tells whether a method at an endpoint changes something.
    pub(super) fn need(&self, method: &Method) -> Need {
        match (self, method) {
            (_, &Method::GET | &Method::HEAD) if !matches!(self, Self::Upload(..)) => Need::Read,
            (Self::Upload(..), _) | (Self::Uploads(_), _) => Need::Write,
            (_, &Method::DELETE) => Need::Delete,
            _ => Need::Write,
        }
    }
}

/// What a request needs to be allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// To read.
    Read,
    /// To push.
    Write,
    /// To delete.
    Delete,
}

/// Reads the name of a repository, which is a name as people write it.
pub(super) fn repository(name: &str) -> Result<Reference, NoRoute> {
    let reference: Reference = name.parse().map_err(|_| NoRoute::Name)?;
    if reference.tag().is_some() || reference.digest().is_some() { Err(NoRoute::Name) } else { Ok(reference) }
}

fn digest(text: &str) -> Result<BlobDigest, NoRoute> {
    text.parse().map_err(|_| NoRoute::Digest)
}

fn tag(text: &str) -> Result<String, NoRoute> {
    let read: Result<Reference, _> = format!("x:{text}").parse();
    match read.as_ref().map(Reference::tag) {
        Ok(Some(tag)) if tag == text => Ok(text.to_owned()),
        _ => Err(NoRoute::Tag),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_endpoints_or_not() {
        let hex = "a".repeat(64);
        let told = |path: &str| match Route::parse(path) {
            Ok(Route::Base) => "base".to_owned(),
            Ok(Route::Catalog) => "catalog".to_owned(),
            Ok(Route::Tags(name)) => format!("tags {name}"),
            Ok(Route::Document(name, Name::Tag(tag))) => format!("document {name} {tag}"),
            Ok(Route::Document(name, Name::Digest(_))) => format!("document {name} by digest"),
            Ok(Route::Blob(name, _)) => format!("blob {name}"),
            Ok(Route::Uploads(name)) => format!("uploads {name}"),
            Ok(Route::Upload(name, id)) => format!("upload {name} {id}"),
            Ok(Route::Referrers(name, _)) => format!("referrers {name}"),
            Err(error) => format!("{error:?}"),
        };
        for (path, expected) in [
            ("/v2/", "base"),
            ("/v2", "base"),
            ("/v2/_catalog", "catalog"),
            ("/v2/app/tags/list", "tags docker.io/library/app"),
            ("/v2/library/app/tags/list", "tags docker.io/library/app"),
            ("/v2/ghcr.io/me/app/manifests/1.0", "document ghcr.io/me/app 1.0"),
            (&format!("/v2/a/b/manifests/sha256:{hex}"), "document docker.io/a/b by digest"),
            (&format!("/v2/a/manifests/blobs/sha256:{hex}"), "blob docker.io/a/manifests"),
            ("/v2/a/b/blobs/uploads/", "uploads docker.io/a/b"),
            ("/v2/a/b/blobs/uploads/x-1", "upload docker.io/a/b x-1"),
            (&format!("/v2/a/referrers/sha256:{hex}"), "referrers docker.io/library/a"),
            ("/v1/", "NotFound"),
            ("/v2/a", "NotFound"),
            ("/v2/../x/tags/list", "Name"),
            ("/v2/A/tags/list", "Name"),
            ("/v2/a%2fb/tags/list", "Name"),
            ("/v2/a:1/tags/list", "Name"),
            ("/v2/a/manifests/-x", "Tag"),
            ("/v2/a/manifests/md5:00", "Digest"),
            ("/v2/a/blobs/sha256:xyz", "Digest"),
        ] {
            assert_eq!(told(path), expected, "{path}");
        }
    }
}
