//! Trees that come from outside.

use serde::{Deserialize, Serialize};

use crate::digest::{BlobDigest, ChainId, ImageId};
use crate::key::{Keyed, PreImage};
use crate::platform::Platform;

/// A tree that comes from outside.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The empty root.
    Scratch,
    /// An image, pinned.
    Image(ImageSource),
    /// A folder of the client.
    Local(LocalSource),
    /// A commit of a git repository.
    Git(GitSource),
    /// A file from a web server.
    Http(HttpSource),
    /// What is in an archive that came before the graph was made.
    Archive(ArchiveSource),
}

/// An image, pinned to what its name resolved to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ImageSource {
    /// The name it was asked by, for messages.
    pub name: String,
    /// What the name resolved to.
    pub pin: ImagePin,
    /// The platform that was chosen.
    pub platform: Platform,
}

/// What an image name resolved to at the start of the build.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ImagePin {
    /// The manifest's digest, where it is known.
    pub manifest: Option<BlobDigest>,
    /// The config's digest.
    pub image: ImageId,
    /// The stack of its layers; `None` for an image without layers.
    pub chain: Option<ChainId>,
}

/// A folder of the client, filtered by its ignore file.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LocalSource {
    /// `context`, or the name of a named context.
    pub name: String,
}

/// A commit of a git repository.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct GitSource {
    /// The repository, without credentials.
    pub remote: String,
    /// The branch, tag or commit that was asked for; `None` for the default branch.
    pub reference: Option<String>,
    /// The commit that must come out, in full or abbreviated.
    pub checksum: Option<String>,
    /// The folder that becomes the root of the tree.
    pub subdir: Option<String>,
    /// Whether `.git` stays.
    pub keep_git_dir: bool,
    /// Whether submodules are fetched.
    pub submodules: bool,
}

/// A file from a web server.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HttpSource {
    /// Where it is.
    pub url: String,
    /// The digest that its bytes must have.
    pub checksum: Option<BlobDigest>,
    /// The name of the file in the tree.
    pub file_name: String,
    /// Its permission bits.
    pub mode: u32,
}

/// What is in an archive that came before the graph was made.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ArchiveSource {
    /// The digest of the archive's bytes.
    pub digest: BlobDigest,
}

impl Keyed for Source {
    fn pre_image(&self) -> PreImage {
        match self {
            Self::Scratch => PreImage::fields([("op", PreImage::text("scratch"))]),
            Self::Image(ImageSource {
                name: _,
                pin: ImagePin { manifest: _, image: _, chain },
                platform,
            }) => PreImage::fields([
                ("op", PreImage::text("image")),
                ("chain", PreImage::optional(chain.as_ref(), |chain| PreImage::text(chain.to_string()))),
                ("platform", PreImage::text(platform.to_string())),
            ]),
            // Never looked up by this: the content that is selected of it is the key. The text only keeps two
            // contexts apart within a graph.
            Self::Local(LocalSource { name }) => {
                PreImage::fields([("op", PreImage::text("local")), ("name", PreImage::text(name))])
            }
            Self::Git(GitSource { remote, reference, checksum, subdir, keep_git_dir, submodules }) => {
                PreImage::fields([
                    ("op", PreImage::text("git")),
                    ("remote", address(remote)),
                    ("reference", PreImage::optional(reference.as_ref(), PreImage::text)),
                    ("checksum", PreImage::optional(checksum.as_ref(), PreImage::text)),
                    ("subdir", PreImage::optional(subdir.as_ref(), PreImage::text)),
                    ("keep-git-dir", PreImage::Flag(*keep_git_dir)),
                    ("submodules", PreImage::Flag(*submodules)),
                ])
            }
            Self::Http(HttpSource { url, checksum, file_name, mode }) => PreImage::fields([
                ("op", PreImage::text("http")),
                ("url", address(url)),
                ("checksum", PreImage::optional(checksum.as_ref(), |sum| PreImage::text(sum.to_string()))),
                ("file-name", PreImage::text(file_name)),
                ("mode", PreImage::Number((*mode).into())),
            ]),
            Self::Archive(ArchiveSource { digest }) => PreImage::fields([
                ("op", PreImage::text("archive")),
                ("digest", PreImage::text(digest.to_string())),
            ]),
        }
    }
}

/// Describes an address; of user and password in it only a digest, as pre-images are written down and shown.
fn address(url: &str) -> PreImage {
    let parts = url.split_once("://").and_then(|(scheme, rest)| {
        let host = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let at = rest[..host].rfind('@')?;
        Some((format!("{scheme}://{}", &rest[at + 1..]), &rest[..at]))
    });
    match parts {
        None => PreImage::text(url),
        Some((plain, userinfo)) => PreImage::fields([
            ("url", PreImage::text(plain)),
            ("userinfo", PreImage::text(blake3::hash(userinfo.as_bytes()).to_hex().as_str())),
        ]),
    }
}

#[cfg(test)]
mod address_tests {
    use super::*;

    #[test]
    fn of_user_and_password_only_a_digest_is_written_down() {
        let source = |url: &str| {
            Source::Http(HttpSource {
                url: url.to_owned(),
                checksum: None,
                file_name: "f".to_owned(),
                mode: 0o600,
            })
            .pre_image()
        };
        let told = |url: &str| format!("{:?}", source(url));
        let with = told("https://ann:secret@host/f?a@b");
        assert!(!with.contains("secret") && !with.contains("ann"), "{with}");
        assert!(with.contains("https://host/f?a@b"), "{with}");
        assert_ne!(source("https://ann:secret@host/f").key(), source("https://ann:other@host/f").key());
        assert_ne!(source("https://ann:secret@host/f").key(), source("https://host/f").key());
        assert_eq!(address("https://host/a@b"), PreImage::text("https://host/a@b"));
    }
}
