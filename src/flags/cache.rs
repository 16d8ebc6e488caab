//! `--cache-from`, `--cache-to` and `--cache`: caches elsewhere.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rbuild_image::compress::Encoding;
use rbuild_model::digest::BlobDigest;
use rbuild_model::reference::Reference;

use super::{Compression, Invalid, Mode, Read, csv, encoding, unknown};

/// A cache that results are taken from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CacheFrom {
    /// Where it is.
    pub(crate) place: CachePlace,
}

/// A cache that results are brought to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CacheTo {
    /// Where it is.
    pub(crate) place: CachePlace,
    /// Whether the layers of every step go there, or else those of the result.
    pub(crate) every_step: Mode,
    /// How layers are packed.
    pub(crate) encoding: Encoding,
    /// Whether layers that came packed are packed anew.
    pub(crate) force_compression: Mode,
    /// Whether it is an image manifest, or else an index.
    pub(crate) image_manifest: Mode,
    /// Whether OCI's media types are used, or else Docker's.
    pub(crate) oci_mediatypes: Mode,
    /// Whether blobs that nothing names go.
    pub(crate) reset: Mode,
    /// Whether cache mounts go too; `None` for: if every step does.
    pub(crate) mounts: Option<bool>,
    /// Whether a failure is only told.
    pub(crate) ignore_error: Mode,
    /// How long it may take.
    pub(crate) budget: Duration,
    /// How many blobs go up at a time.
    pub(crate) parallel: u32,
}

/// Where a cache is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CachePlace {
    /// In the config of the image that is built.
    Inline,
    /// At a registry.
    Registry {
        /// Under which name.
        reference: Box<Reference>,
        /// Whether it may be spoken to in plain HTTP.
        insecure: Mode,
    },
    /// In a folder.
    Local {
        /// The folder.
        folder: PathBuf,
        /// Which of its entries.
        entry: LocalEntry,
    },
    /// In a bucket.
    S3(Box<S3Place>),
    /// With the Actions of a forge.
    Gha(Box<GhaPlace>),
}

/// Which entry of a folder is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LocalEntry {
    /// The one with this tag.
    Tag(String),
    /// The one with this digest.
    Digest(BlobDigest),
}

/// A place in a bucket. What is not given comes from the environment, as the tools of that world have it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct S3Place {
    pub(crate) bucket: Option<String>,
    pub(crate) region: Option<String>,
    /// The names of the cache: all are written, the first that is there is read.
    pub(crate) names: Vec<String>,
    pub(crate) prefix: String,
    pub(crate) blobs_prefix: String,
    pub(crate) manifests_prefix: String,
    pub(crate) endpoint_url: Option<String>,
    /// Whether the bucket is in the path; `None` for: if there is an endpoint.
    pub(crate) use_path_style: Option<bool>,
    pub(crate) access_key_id: Option<String>,
    pub(crate) secret_access_key: Option<String>,
    pub(crate) session_token: Option<String>,
    /// How old an object may be before it is touched.
    pub(crate) touch_refresh: Duration,
    /// How many parts of one blob go up at a time.
    pub(crate) upload_parallelism: u32,
    /// How often a request is tried.
    pub(crate) attempts: Option<u32>,
}

impl std::fmt::Debug for S3Place {
    /// Writes no keys.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { bucket, names, prefix, endpoint_url, .. } = self;
        f.debug_struct("S3Place")
            .field("bucket", bucket)
            .field("names", names)
            .field("prefix", prefix)
            .field("endpoint_url", endpoint_url)
            .finish_non_exhaustive()
    }
}

/// A scope of the cache service of Actions. What is not given comes from the environment of a job.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct GhaPlace {
    pub(crate) url: Option<String>,
    pub(crate) token: Option<String>,
    pub(crate) scope: String,
}

impl std::fmt::Debug for GhaPlace {
    /// Writes no token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GhaPlace").field("url", &self.url).field("scope", &self.scope).finish_non_exhaustive()
    }
}

/// The types, as users write them.
const TYPES: &[&str] = rbuild_cache::backends::BACKENDS;

/// How long an export may take unless it is said.
const BUDGET: Duration = Duration::from_secs(10 * 60);
/// How many blobs go up at a time unless it is said.
const PARALLEL: u32 = 4;
/// How old an object may be before it is touched, unless it is said.
const TOUCH: Duration = Duration::from_secs(24 * 60 * 60);

/// Keys of every cache that is written.
const TO_KEYS: &[&str] = &[
    "mode",
    "compression",
    "compression-level",
    "force-compression",
    "ignore-error",
    "mounts",
    "timeout",
    "parallel",
];
/// Keys of those that are OCI documents.
const OCI_KEYS: &[&str] = &["oci-mediatypes", "image-manifest"];
/// Keys of a bucket.
const S3_KEYS: &[&str] = &[
    "bucket",
    "region",
    "name",
    "prefix",
    "blobs_prefix",
    "manifests_prefix",
    "endpoint_url",
    "use_path_style",
    "access_key_id",
    "secret_access_key",
    "session_token",
    "touch_refresh",
    "upload_parallelism",
    "retry_max_attempts",
    "retry_mode",
    "disable_accept_encoding",
];
/// Keys of the service of Actions.
const GHA_KEYS: &[&str] = &["url", "url_v2", "token", "scope"];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    From,
    To,
}

/// Reads a cache that results are taken from.
pub(crate) fn cache_from(text: &str) -> Read<CacheFrom> {
    let draft = Draft::read(text, Way::From)?;
    Ok(CacheFrom { place: draft.place(Way::From)? })
}

/// Reads a cache that results are brought to.
pub(crate) fn cache_to(text: &str) -> Read<CacheTo> {
    Draft::read(text, Way::To)?.to()
}

/// Reads a cache that results are taken from and brought to: a folder, a name at a registry, or `s3://BUCKET/PREFIX`.
pub(crate) fn cache(text: &str) -> Read<(CacheFrom, CacheTo)> {
    let fields = if let Some(rest) = text.strip_prefix("s3://") {
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() {
            return Err(Invalid::new("no bucket: write `s3://BUCKET/PREFIX`"));
        }
        let prefix = prefix.trim_matches('/');
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        vec![("type", "s3".to_owned()), ("bucket", bucket.to_owned()), ("prefix", prefix)]
    } else if is_folder(text) {
        vec![("type", "local".to_owned()), ("folder", text.to_owned())]
    } else if text.contains('/') && !text.contains(['=', ',']) {
        vec![("type", "registry".to_owned()), ("ref", text.to_owned())]
    } else {
        return Err(Invalid::new(format!(
            "`{text}` is neither a folder, nor a name at a registry, nor `s3://BUCKET/PREFIX`: write `./{text}` for a folder"
        )));
    };
    let draft = |way: Way| {
        let mut draft = Draft::default();
        for (key, value) in &fields {
            let key = match (*key, way) {
                ("folder", Way::From) => "src",
                ("folder", Way::To) => "dest",
                (key, _) => key,
            };
            draft.fields.push(csv::Field { key: key.to_owned(), value: Some(value.clone()) });
        }
        draft.kind = fields[0].1.clone();
        if way == Way::To {
            draft.fields.push(csv::Field { key: "mode".to_owned(), value: Some("max".to_owned()) });
        }
        draft
    };
    Ok((CacheFrom { place: draft(Way::From).place(Way::From)? }, draft(Way::To).to()?))
}

/// Whether a text means a folder: as it is written, or because there is one.
fn is_folder(text: &str) -> bool {
    text == "."
        || text == ".."
        || ["/", "./", "../"].iter().any(|start| text.starts_with(start))
        || Path::new(text).is_dir()
}

/// A value that was taken apart.
#[derive(Default)]
struct Draft {
    kind: String,
    fields: Vec<csv::Field>,
}

impl Draft {
    fn read(text: &str, way: Way) -> Read<Self> {
        if !text.contains(['=', ',']) && !text.is_empty() {
            let field = csv::Field { key: "ref".to_owned(), value: Some(text.to_owned()) };
            return Ok(Self { kind: "registry".to_owned(), fields: vec![field] });
        }
        let fields = csv::fields(text)?;
        let kind = fields.iter().rfind(|field| field.key == "type");
        let kind =
            kind.ok_or_else(|| Invalid::new(format!("no `type`: write one of [{}]", TYPES.join(", "))))?;
        let kind = kind.required()?.to_owned();
        if kind == "azblob" {
            return Err(Invalid::new("type `azblob` is not supported yet: use `s3` or `registry`"));
        }
        if !TYPES.contains(&kind.as_str()) {
            return Err(unknown("type of cache", &kind, TYPES));
        }
        if kind == "inline" && way == Way::From {
            return Err(Invalid::new(
                "a cache in an image is read where the image is: write `type=registry,ref=NAME`",
            ));
        }
        let draft = Self { kind, fields };
        let allowed = draft.allowed(way);
        match draft.fields.iter().find(|field| field.key != "type" && !allowed.contains(&field.key.as_str()))
        {
            Some(field) => Err(unknown(&format!("key of type `{}`", draft.kind), &field.key, &allowed)),
            None => Ok(draft),
        }
    }

    fn allowed(&self, way: Way) -> Vec<&'static str> {
        let own: &[&[&str]] = match (self.kind.as_str(), way) {
            ("inline", _) => return Vec::new(),
            ("registry", Way::From) => &[&["ref", "registry.insecure"]],
            ("registry", Way::To) => &[&["ref", "registry.insecure"], TO_KEYS, OCI_KEYS],
            ("local", Way::From) => &[&["src", "tag", "digest"]],
            ("local", Way::To) => &[&["dest", "tag", "reset"], TO_KEYS, OCI_KEYS],
            ("s3", Way::From) => &[S3_KEYS],
            ("s3", Way::To) => &[S3_KEYS, TO_KEYS],
            (_, Way::From) => &[GHA_KEYS],
            (_, Way::To) => &[GHA_KEYS, TO_KEYS],
        };
        own.concat()
    }

    /// Returns the last field of a name, as users of several mean it.
    fn field(&self, key: &str) -> Option<&csv::Field> {
        self.fields.iter().rfind(|field| field.key == key)
    }

    fn text(&self, key: &str) -> Read<Option<String>> {
        self.field(key).map(|field| field.required().map(str::to_owned)).transpose()
    }

    fn needed(&self, key: &str) -> Read<String> {
        let needed = || Invalid::new(format!("type `{}` needs `{key}=...`", self.kind));
        self.text(key)?.ok_or_else(needed)
    }

    fn truth(&self, key: &str) -> Read<Option<bool>> {
        self.field(key).map(csv::Field::truth).transpose()
    }

    fn number(&self, key: &str) -> Read<Option<u32>> {
        let Some(text) = self.text(key)? else { return Ok(None) };
        match text.parse() {
            Ok(number) if number > 0 => Ok(Some(number)),
            _ => Err(Invalid::new(format!("`{key}`: `{text}` is not a number above 0"))),
        }
    }

    fn time(&self, key: &str) -> Read<Option<Duration>> {
        self.text(key)?
            .map(|text| duration(&text).map_err(|error| Invalid::new(format!("`{key}`: {error}"))))
            .transpose()
    }

    fn place(&self, way: Way) -> Read<CachePlace> {
        Ok(match self.kind.as_str() {
            "inline" => CachePlace::Inline,
            "registry" => {
                let text = self.needed("ref")?;
                let reference: Reference =
                    text.parse().map_err(|error| Invalid::new(format!("`ref={text}`: {error}")))?;
                if way == Way::To && reference.digest().is_some() {
                    return Err(Invalid::new(format!(
                        "`ref={text}`: a cache cannot be written under a digest"
                    )));
                }
                let insecure = self.truth("registry.insecure")?.unwrap_or(false).into();
                CachePlace::Registry { reference: Box::new(reference.with_default_tag()), insecure }
            }
            "local" => {
                let folder = self.needed(if way == Way::From { "src" } else { "dest" })?.into();
                let tag = self.text("tag")?;
                let entry = match (self.text("digest")?, tag) {
                    (Some(_), Some(_)) => return Err(Invalid::new("`tag` and `digest` exclude each other")),
                    (Some(digest), None) => LocalEntry::Digest(
                        digest.parse().map_err(|error| Invalid::new(format!("`digest`: {error}")))?,
                    ),
                    (None, tag) => LocalEntry::Tag(tag.unwrap_or_else(|| "latest".to_owned())),
                };
                CachePlace::Local { folder, entry }
            }
            "s3" => CachePlace::S3(Box::new(self.s3()?)),
            _ => CachePlace::Gha(Box::new(GhaPlace {
                url: match self.text("url_v2")? {
                    Some(url) => Some(url),
                    None => self.text("url")?,
                },
                token: self.text("token")?,
                scope: self.text("scope")?.unwrap_or_else(|| "buildkit".to_owned()),
            })),
        })
    }

    fn s3(&self) -> Read<S3Place> {
        // No encoding is ever accepted, and none is signed: there is nothing to turn off.
        self.truth("disable_accept_encoding")?;
        let attempts = match self.text("retry_mode")?.as_deref() {
            None | Some("standard" | "adaptive") => self.number("retry_max_attempts")?,
            Some("nop") => Some(1),
            Some(other) => return Err(unknown("retry_mode", other, &["standard", "adaptive", "nop"])),
        };
        let names = self.text("name")?.unwrap_or_else(|| "buildkit".to_owned());
        Ok(S3Place {
            bucket: self.text("bucket")?,
            region: self.text("region")?,
            names: names
                .split(';')
                .map(str::trim)
                .filter(|name| !name.is_empty())
                .map(str::to_owned)
                .collect(),
            prefix: self.field("prefix").and_then(|field| field.value.clone()).unwrap_or_default(),
            blobs_prefix: self.text("blobs_prefix")?.unwrap_or_else(|| "blobs/".to_owned()),
            manifests_prefix: self.text("manifests_prefix")?.unwrap_or_else(|| "manifests/".to_owned()),
            endpoint_url: self.text("endpoint_url")?,
            use_path_style: self.truth("use_path_style")?,
            access_key_id: self.text("access_key_id")?,
            secret_access_key: self.text("secret_access_key")?,
            session_token: self.text("session_token")?,
            touch_refresh: self.time("touch_refresh")?.unwrap_or(TOUCH),
            upload_parallelism: self.number("upload_parallelism")?.unwrap_or(4),
            attempts,
        })
    }

    fn to(&self) -> Read<CacheTo> {
        let every_step = match self.text("mode")?.as_deref() {
            None | Some("min") => Mode::Off,
            Some("max") => Mode::On,
            Some(other) => return Err(unknown("mode", other, &["min", "max"])),
        };
        let compression = match self.text("compression")?.as_deref() {
            None => None,
            Some("uncompressed") => Some(Compression::Uncompressed),
            Some("gzip") => Some(Compression::Gzip),
            Some("zstd") => Some(Compression::Zstd),
            Some("estargz") => {
                return Err(Invalid::new("compression `estargz` is not supported yet: use `gzip` or `zstd`"));
            }
            Some(other) => return Err(unknown("compression", other, &["uncompressed", "gzip", "zstd"])),
        };
        let level = self
            .text("compression-level")?
            .map(|level| level.parse().map_err(|_| Invalid::new(format!("`{level}` is not a level"))))
            .transpose()?;
        Ok(CacheTo {
            place: self.place(Way::To)?,
            every_step,
            encoding: encoding(compression, level)?,
            force_compression: self.truth("force-compression")?.unwrap_or(false).into(),
            image_manifest: self.truth("image-manifest")?.unwrap_or(true).into(),
            oci_mediatypes: self.truth("oci-mediatypes")?.unwrap_or(true).into(),
            reset: self.truth("reset")?.unwrap_or(false).into(),
            mounts: self.truth("mounts")?,
            ignore_error: self.truth("ignore-error")?.unwrap_or(true).into(),
            budget: self.time("timeout")?.unwrap_or(BUDGET),
            parallel: self.number("parallel")?.unwrap_or(PARALLEL),
        })
    }
}

/// Reads a time: numbers with `h`, `m`, `s` or `ms`, one behind another.
fn duration(text: &str) -> Read<Duration> {
    let wrong = || Invalid::new(format!("`{text}` is not a time: write it as in `90s` or `1h30m`"));
    let mut rest = text;
    let mut sum = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let number: u64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let unit = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let span = match &rest[..unit] {
            "h" => number.checked_mul(3600).map(Duration::from_secs),
            "m" => number.checked_mul(60).map(Duration::from_secs),
            "s" => Some(Duration::from_secs(number)),
            "ms" => Some(Duration::from_millis(number)),
            _ => return Err(wrong()),
        };
        sum = span.and_then(|span| sum.checked_add(span)).ok_or_else(wrong)?;
        rest = &rest[unit..];
    }
    if text.is_empty() { Err(wrong()) } else { Ok(sum) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_a_cache_in_both_directions() {
        let (from, to) = cache("./c").unwrap();
        let folder = CachePlace::Local { folder: "./c".into(), entry: LocalEntry::Tag("latest".to_owned()) };
        assert_eq!((&from.place, &to.place, to.every_step), (&folder, &folder, Mode::On));
        let (from, to) = cache("registry.example/app").unwrap();
        assert_eq!(from.place, to.place);
        assert!(
            matches!(from.place, CachePlace::Registry { reference, .. } if reference.to_string() == "registry.example/app:latest")
        );
        let (from, _) = cache("s3://bucket/a/b").unwrap();
        let CachePlace::S3(place) = from.place else { panic!("{from:?}") };
        assert_eq!((place.bucket.as_deref(), place.prefix.as_str()), (Some("bucket"), "a/b/"));
        assert!(cache("word").unwrap_err().to_string().contains("write `./word`"));
        assert!(cache("s3:///x").is_err());
    }

    #[test]
    fn values_are_those_of_buildkit() {
        let to =
            cache_to("type=local,dest=/c,mode=max,compression=zstd,image-manifest=false,ignore-error=false")
                .unwrap();
        assert_eq!((to.every_step, to.image_manifest, to.ignore_error), (Mode::On, Mode::Off, Mode::Off));
        assert_eq!(to.encoding, Encoding::ZSTD);
        assert_eq!((to.mounts, to.budget, to.ignore_error), (None, BUDGET, Mode::Off));
        assert!(matches!(cache_from("user/app:cache").unwrap().place, CachePlace::Registry { .. }));
        assert_eq!(cache_to("type=inline").unwrap().place, CachePlace::Inline);
        let place = cache_to("type=s3,bucket=b,region=r,name=a;b,touch_refresh=1h30m").unwrap().place;
        let CachePlace::S3(place) = place else { panic!("{place:?}") };
        assert_eq!(
            (place.names, place.touch_refresh),
            (vec!["a".to_owned(), "b".to_owned()], Duration::from_secs(5400))
        );
        for (text, why) in [
            ("type=local", "needs `src=...`"),
            ("type=locl,src=x", "did you mean `local`?"),
            ("type=local,src=x,dset=y", "unknown key"),
            ("type=inline", "where the image is"),
            ("type=azblob", "not supported yet"),
            ("type=gha,timeout=1m", "unknown key"),
            ("src=x", "no `type`"),
            ("type=local,src=x,tag=a,digest=sha256:00", "exclude each other"),
            ("type=registry,ref=UPPER CASE", "`ref=UPPER CASE`"),
        ] {
            let told = cache_from(text).unwrap_err().to_string();
            assert!(told.contains(why), "{text}: {told}");
        }
        assert!(cache_to("type=local,dest=x,mode=mix").unwrap_err().to_string().contains("unknown mode"));
        assert!(
            cache_to("type=registry,ref=a/b,timeout=soon").unwrap_err().to_string().contains("not a time")
        );
    }
}
