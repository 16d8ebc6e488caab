//! `--output PATH|-|type=T,key=value,...`.

use std::path::PathBuf;

use rbuild_image::attest::Form;
use rbuild_image::compress::Encoding;
use rbuild_images::Annotation;
use rbuild_worker::request::{Attached, Leftovers};

use super::{Invalid, Read, annotation, csv, unknown};

/// What is to be made of a build's result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Output {
    /// Which form it gets, and where it goes.
    pub(crate) kind: OutputKind,
    /// How layers are compressed.
    pub(crate) compression: Option<Compression>,
    /// The level of compression.
    pub(crate) compression_level: Option<u8>,
    /// Whether layers that exist are compressed anew.
    pub(crate) force_compression: Mode,
    /// Whether OCI's media types are used; `None` leaves it to the kind.
    pub(crate) oci_mediatypes: Option<bool>,
    /// Whether file times are clamped to the epoch; `None` if it is not said.
    pub(crate) rewrite_timestamp: Option<bool>,
    /// The time of the result in seconds since 1970, where it is not that of the build.
    pub(crate) epoch: Option<i64>,
    /// What is written on manifests and indexes.
    pub(crate) annotations: Vec<Annotation>,
    /// How what is said about the result goes with it.
    pub(crate) attached: Attached,
}

/// A switch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Not done.
    #[default]
    Off,
    /// Done.
    On,
}

impl From<bool> for Mode {
    fn from(on: bool) -> Self {
        if on { Self::On } else { Self::Off }
    }
}

/// The forms of a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OutputKind {
    /// Its files in a folder.
    Local {
        /// The folder.
        dest: PathBuf,
        /// Whether each platform gets a folder of its own; `None` for: if there are several.
        platform_split: Option<bool>,
        /// What becomes of other files in it.
        leftovers: Leftovers,
    },
    /// Its files in a tar.
    Tar {
        /// Where the tar goes.
        dest: Destination,
        /// Whether each platform gets a folder of its own; `None` for: if there are several.
        platform_split: Option<bool>,
    },
    /// An OCI image layout.
    Oci {
        /// Where it goes.
        dest: Destination,
        /// Whether it is one tar or a folder.
        tar: Mode,
        /// The names it carries.
        names: Vec<String>,
    },
    /// What `docker load` reads.
    Docker {
        /// Where it goes; `None` for the local store.
        dest: Option<Destination>,
        /// Whether it is one tar or a folder.
        tar: Mode,
        /// The names it carries.
        names: Vec<String>,
    },
    /// Nothing: the steps are done, and that is all.
    Nothing,
    /// An image in the local store.
    Image {
        /// Its names besides those of `--tag`.
        names: Vec<String>,
        /// Whether it is pushed to its registry.
        push: Mode,
        /// Whether it gets no tag there.
        by_digest: Mode,
        /// Whether the store keeps it.
        store: Mode,
    },
}

/// Where bytes go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Destination {
    /// Standard output.
    Stdout,
    /// A file or folder.
    Path(PathBuf),
}

/// How layers are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Compression {
    /// Not at all
    Uncompressed,
    /// With gzip
    Gzip,
    /// With zstd
    Zstd,
}

/// The types, as users write them.
const TYPES: &[&str] = &["local", "tar", "oci", "docker", "image", "registry", "cacheonly"];

/// Keys that every type of image has.
const IMAGE_KEYS: &[&str] = &[
    "name",
    "compression",
    "compression-level",
    "force-compression",
    "oci-mediatypes",
    "rewrite-timestamp",
    "source-date-epoch",
    "attestation-inline",
    "oci-artifact",
];

/// Keys that other builders know and that are not obeyed, with what to do instead. One that says what is done anyway is
/// accepted, see [`is_done_anyway`].
const INSTEAD: &[(&str, &str)] = &[
    ("registry.insecure", "say `insecure = true` under `[registry.\"HOST\"]` in config.toml: so do pulls"),
    ("dangling-name-prefix", "an image without a name is found by its id, which `--iidfile` writes"),
    ("name-canonical", "a digest behind a name is looked up without it: `NAME@DIGEST` finds what was pushed"),
    ("compatibility-version", "say what is meant: `oci-mediatypes=false` for Docker's media types"),
    ("prefer-nondist-layers", "layers are pushed with the image, wherever else they may lie"),
    ("rewrite-timestamp", "with an epoch, files in a folder or a tar have its time in any case"),
    ("context", "there is no other engine: `docker load` reads an archive on its standard input"),
];

/// Whether a key says what is done in any case.
fn is_done_anyway(key: &str, value: &str) -> bool {
    match key {
        "registry.insecure" | "name-canonical" | "prefer-nondist-layers" => {
            matches!(value, "false" | "0")
        }
        "rewrite-timestamp" => matches!(value, "true" | "1"),
        _ => false,
    }
}

/// Reads an output.
pub(crate) fn output(text: &str) -> Read<Output> {
    let plain = |kind| Output {
        kind,
        compression: None,
        compression_level: None,
        force_compression: Mode::Off,
        oci_mediatypes: None,
        rewrite_timestamp: None,
        epoch: None,
        annotations: Vec::new(),
        attached: Attached::default(),
    };
    if text == "-" {
        return Ok(plain(OutputKind::Tar { dest: Destination::Stdout, platform_split: None }));
    }
    if !text.contains('=') && !text.contains(',') && !text.is_empty() {
        return Ok(plain(OutputKind::Local {
            dest: text.into(),
            platform_split: None,
            leftovers: Leftovers::Keep,
        }));
    }
    let fields = csv::fields(text)?;
    let mut kind = None;
    for field in &fields {
        if field.key == "type" {
            kind = Some(field.required()?.to_owned());
        }
    }
    let kind = kind.ok_or_else(|| Invalid::new(format!("no `type`: write one of [{}]", TYPES.join(", "))))?;
    let mut draft = Draft::default();
    let mut result = plain(OutputKind::Nothing);
    for field in &fields {
        draft.read(&kind, field, &mut result)?;
    }
    result.kind = draft.finish(&kind)?;
    check_level(&result)?;
    Ok(result)
}

#[derive(Default)]
struct Draft {
    dest: Option<Destination>,
    names: Vec<String>,
    push: bool,
    by_digest: bool,
    store: Option<bool>,
    tar: Option<bool>,
    platform_split: Option<bool>,
    leftovers: Leftovers,
}

impl Draft {
    fn read(&mut self, kind: &str, field: &csv::Field, result: &mut Output) -> Read<()> {
        let key = field.key.as_str();
        let files = matches!(kind, "local" | "tar" | "cacheonly");
        match key {
            "type" => {}
            "dest" if !matches!(kind, "image" | "registry" | "cacheonly") => {
                self.dest = Some(match field.required()? {
                    "-" => Destination::Stdout,
                    path => Destination::Path(path.into()),
                });
            }
            "platform-split" if files && kind != "cacheonly" => self.platform_split = Some(field.truth()?),
            "mode" if kind == "local" => {
                self.leftovers = match field.required()? {
                    "copy" => Leftovers::Keep,
                    "delete" => Leftovers::Remove,
                    other => return Err(unknown("mode", other, &["copy", "delete"])),
                };
            }
            "tar" if matches!(kind, "oci" | "docker") => self.tar = Some(field.truth()?),
            "push" if matches!(kind, "image" | "registry") => self.push = field.truth()?,
            "push-by-digest" if matches!(kind, "image" | "registry") => self.by_digest = field.truth()?,
            "store" if matches!(kind, "image" | "registry") => self.store = Some(field.truth()?),
            "name" if !files => {
                self.names.extend(field.required()?.split(',').map(|name| name.trim().to_owned()));
            }
            "compression" if !files => result.compression = Some(compression(field.required()?)?),
            "compression-level" if !files => {
                let level = field.required()?;
                result.compression_level =
                    Some(level.parse().map_err(|_| Invalid::new(format!("`{level}` is not a level")))?);
            }
            "force-compression" if !files => result.force_compression = field.truth()?.into(),
            "oci-mediatypes" if !files => result.oci_mediatypes = Some(field.truth()?),
            "rewrite-timestamp" if !files => result.rewrite_timestamp = Some(field.truth()?),
            "source-date-epoch" if kind != "cacheonly" => {
                let time = field.required()?;
                let unknown = |_| Invalid::new(format!("`{time}` is no time: use whole seconds since 1970"));
                result.epoch = Some(time.parse().map_err(unknown)?);
            }
            "attestation-prefix" if files && kind != "cacheonly" => {
                result.attached.prefix = super::attest::file_name(field.required()?)?;
            }
            "attestation-inline" if !files => result.attached.always = field.truth()?,
            "oci-artifact" if !files => {
                result.attached.form = if field.truth()? { Form::Artifact } else { Form::Image };
            }
            _ if !files && key.starts_with("annotation") => {
                let rest = &key["annotation".len()..];
                result.annotations.push(annotation::of_key(rest, field.required()?)?);
            }
            // The tree of an image in the store can be run as it is.
            "unpack" if matches!(kind, "image" | "registry") => {
                field.truth()?;
            }
            _ => {
                let Some((_, instead)) = INSTEAD.iter().find(|(known, _)| *known == key) else {
                    return Err(unknown(&format!("key of type `{kind}`"), key, &keys(kind)));
                };
                let value = field.required()?;
                if !is_done_anyway(key, value) {
                    return Err(Invalid::new(format!("`{key}={value}` is not supported: {instead}")));
                }
            }
        }
        Ok(())
    }

    fn finish(self, kind: &str) -> Read<OutputKind> {
        let needed = |dest: Option<Destination>| {
            dest.ok_or_else(|| {
                Invalid::new(format!("type `{kind}` needs `dest=PATH`, or `dest=-` for standard output"))
            })
        };
        let tar = self.tar.unwrap_or(true);
        Ok(match kind {
            "local" => match needed(self.dest)? {
                Destination::Path(dest) => {
                    OutputKind::Local { dest, platform_split: self.platform_split, leftovers: self.leftovers }
                }
                Destination::Stdout => {
                    return Err(Invalid::new("a folder cannot go to standard output: use `type=tar,dest=-`"));
                }
            },
            "tar" => OutputKind::Tar {
                dest: self.dest.unwrap_or(Destination::Stdout),
                platform_split: self.platform_split,
            },
            "oci" => {
                let dest = self.dest.unwrap_or(Destination::Stdout);
                if !tar && dest == Destination::Stdout {
                    return Err(Invalid::new("`tar=false` makes a folder: give it one with `dest=PATH`"));
                }
                OutputKind::Oci { dest, tar: tar.into(), names: self.names }
            }
            "docker" => {
                if !tar && !matches!(self.dest, Some(Destination::Path(_))) {
                    return Err(Invalid::new("`tar=false` makes a folder: give it one with `dest=PATH`"));
                }
                OutputKind::Docker { dest: self.dest, tar: tar.into(), names: self.names }
            }
            "image" | "registry" => {
                let push = self.push || self.by_digest || kind == "registry";
                if self.store == Some(false) && !push {
                    return Err(Invalid::new("`store=false` without `push=true` makes nothing"));
                }
                OutputKind::Image {
                    names: self.names,
                    push: push.into(),
                    by_digest: self.by_digest.into(),
                    store: self.store.unwrap_or(true).into(),
                }
            }
            "cacheonly" => OutputKind::Nothing,
            other => return Err(unknown("type of output", other, TYPES)),
        })
    }
}

fn keys(kind: &str) -> Vec<&'static str> {
    let own: &[&str] = match kind {
        "local" => {
            return vec!["type", "dest", "mode", "platform-split", "source-date-epoch", "attestation-prefix"];
        }
        "tar" => return vec!["type", "dest", "platform-split", "source-date-epoch", "attestation-prefix"],
        "cacheonly" => return vec!["type"],
        "oci" => &["type", "dest", "tar"],
        "docker" => &["type", "dest", "tar"],
        _ => &["type", "push", "push-by-digest", "store", "unpack"],
    };
    own.iter().chain(IMAGE_KEYS).copied().collect()
}

fn compression(text: &str) -> Read<Compression> {
    match text {
        "uncompressed" => Ok(Compression::Uncompressed),
        "gzip" => Ok(Compression::Gzip),
        "zstd" => Ok(Compression::Zstd),
        "estargz" => Err(Invalid::new("compression `estargz` is not supported yet: use `gzip` or `zstd`")),
        other => Err(unknown("compression", other, &["uncompressed", "gzip", "zstd"])),
    }
}

fn check_level(output: &Output) -> Read<()> {
    encoding(output.compression, output.compression_level).map(drop)
}

/// Puts a form and its level together.
pub(crate) fn encoding(compression: Option<Compression>, level: Option<u8>) -> Read<Encoding> {
    let most = match compression {
        Some(Compression::Zstd) => 22,
        Some(Compression::Uncompressed) => 0,
        Some(Compression::Gzip) | None => 9,
    };
    if let Some(level) = level.filter(|level| *level > most) {
        return Err(Invalid::new(format!("compression level {level} is above {most}")));
    }
    Ok(match (compression, level) {
        (None | Some(Compression::Gzip), None) => Encoding::GZIP,
        (None | Some(Compression::Gzip), Some(level)) => Encoding::Gzip { level },
        (Some(Compression::Zstd), None) => Encoding::ZSTD,
        (Some(Compression::Zstd), Some(level)) => Encoding::Zstd { level },
        (Some(Compression::Uncompressed), _) => Encoding::Plain,
    })
}
