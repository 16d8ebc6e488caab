//! Caches elsewhere: from what was asked for to the backends, and the exports after a build.

use std::num::NonZeroUsize;
use std::sync::Arc;

use rbuild_cache::backends::gha::{self, Gha};
use rbuild_cache::backends::local::{Entry, Local, Unnamed};
use rbuild_cache::backends::registry::Registry;
use rbuild_cache::backends::s3::{self, BucketIn, Endpoint, S3};
use rbuild_cache::backends::{Backend, DocumentForm, Form, Network};
use rbuild_image::manifest::Family;
use rbuild_images::{Existing, Packing};
use rbuild_worker::caches::{CacheTarget, Caches, Inline, MountsTravel, OnFailure};
use rbuild_worker::{Built, Cancel, Worker};

use super::registries;
use crate::commands::build::CachePlan;
use crate::flags::{CacheFrom, CachePlace, CacheTo, GhaPlace, LocalEntry, Mode, S3Place};
use crate::report::Mistake;
use crate::settings::Settings;

/// Opens the caches of a plan; nobody is asked anything yet.
pub(super) fn caches(plan: &CachePlan, settings: &Settings) -> anyhow::Result<Caches> {
    let mut caches = Caches::default();
    if plan.from.is_empty() && plan.to.is_empty() {
        return Ok(caches);
    }
    let network = network(settings)?;
    for from in &plan.from {
        caches.from.push(open_from(from, &network, settings)?);
    }
    for to in &plan.to {
        if to.place == CachePlace::Inline {
            caches.inline = Inline::Yes;
            continue;
        }
        let encoding = to.encoding;
        let existing = if to.force_compression == Mode::On { Existing::Recompress } else { Existing::Keep };
        caches.to.push(CacheTarget {
            backend: open_to(to, &network, settings)?,
            mode: match to.every_step {
                Mode::On => rbuild_worker::caches::Mode::Max,
                Mode::Off => rbuild_worker::caches::Mode::Min,
            },
            packing: Packing { encoding, existing, family: None },
            mounts: if to.mounts.unwrap_or(to.every_step == Mode::On) {
                MountsTravel::Yes
            } else {
                MountsTravel::No
            },
            failure: if to.ignore_error == Mode::On { OnFailure::Note } else { OnFailure::Fail },
            budget: to.budget,
            parallel: NonZeroUsize::new(to.parallel as usize).unwrap_or(NonZeroUsize::MIN),
        });
    }
    Ok(caches)
}

/// Says how caches at servers are spoken to: as registries are.
fn network(settings: &Settings) -> anyhow::Result<Network> {
    Ok(Network::new(registries::of(settings)?))
}

/// Opens a cache to be looked at; nobody is asked anything yet.
pub(crate) fn open_cache(from: &CacheFrom, settings: &Settings) -> anyhow::Result<Arc<dyn Backend>> {
    open_from(from, &network(settings)?, settings)
}

fn open_from(from: &CacheFrom, network: &Network, settings: &Settings) -> anyhow::Result<Arc<dyn Backend>> {
    open(&from.place, Form::default(), Unnamed::Keep, network, settings)
}

fn open_to(to: &CacheTo, network: &Network, settings: &Settings) -> anyhow::Result<Arc<dyn Backend>> {
    let document = if to.image_manifest == Mode::On { DocumentForm::Manifest } else { DocumentForm::Index };
    let family = if to.oci_mediatypes == Mode::On { Family::Oci } else { Family::Docker };
    let unnamed = if to.reset == Mode::On { Unnamed::Remove } else { Unnamed::Keep };
    open(&to.place, Form { document, family }, unnamed, network, settings)
}

fn open(
    place: &CachePlace,
    form: Form,
    unnamed: Unnamed,
    network: &Network,
    settings: &Settings,
) -> anyhow::Result<Arc<dyn Backend>> {
    Ok(match place {
        CachePlace::Inline => unreachable!("a cache in an image has no place of its own"),
        CachePlace::Registry { reference, insecure } => {
            let network = match insecure {
                Mode::Off => network.clone(),
                Mode::On => {
                    let mut registries = registries::of(settings)?;
                    registries.insecure.push(reference.registry().to_owned());
                    Network::new(registries)
                }
            };
            Arc::new(Registry::new((**reference).clone(), form, network))
        }
        CachePlace::Local { folder, entry } => {
            let entry = match entry {
                LocalEntry::Tag(tag) => Entry::Tag(tag.clone()),
                LocalEntry::Digest(digest) => Entry::Digest(*digest),
            };
            Arc::new(Local::new(folder, entry, form, unnamed))
        }
        CachePlace::S3(place) => {
            let network = match place.attempts {
                None => network.clone(),
                Some(attempts) => {
                    let mut registries = registries::of(settings)?;
                    registries.timing.attempts = attempts;
                    Network::new(registries)
                }
            };
            Arc::new(S3::new(bucket(place, settings)?, network))
        }
        CachePlace::Gha(place) => Arc::new(Gha::new(scope(place, settings)?, network.clone())),
    })
}

/// Completes a place in a bucket from the environment, as the tools of that world do.
fn bucket(place: &S3Place, settings: &Settings) -> anyhow::Result<s3::Place> {
    let variable = |names: &[&str]| {
        names.iter().filter_map(|name| settings.environment.text(name)).find(|value| !value.is_empty())
    };
    let needed = |given: &Option<String>, key: &str, names: &[&str]| {
        given.clone().or_else(|| variable(names)).ok_or_else(|| {
            anyhow::Error::from(
                Mistake::usage(format!("a cache of type `s3` needs `{key}`"))
                    .hint(format!("write `{key}=...`, or set {}", names.join(" or "))),
            )
        })
    };
    let region = needed(&place.region, "region", &["AWS_REGION", "AWS_DEFAULT_REGION"]);
    let given = place.endpoint_url.clone().or_else(|| variable(&["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"]));
    let (endpoint, region) = match given {
        Some(url) => {
            let wrong = || Mistake::usage(format!("`endpoint_url={url}` is not `http(s)://HOST[:PORT]`"));
            let (scheme, host) = url.split_once("://").ok_or_else(wrong)?;
            let host = host.trim_end_matches('/');
            if !matches!(scheme, "http" | "https") || host.is_empty() || host.contains(['/', '@', '?', '#']) {
                return Err(wrong().into());
            }
            let bucket_in =
                if place.use_path_style.unwrap_or(true) { BucketIn::Path } else { BucketIn::Host };
            let endpoint = Endpoint { scheme: scheme.to_owned(), host: host.to_owned(), bucket_in };
            // A server of one's own has often none.
            (endpoint, region.unwrap_or_else(|_| "us-east-1".to_owned()))
        }
        None => {
            let region = region?;
            let bucket_in =
                if place.use_path_style.unwrap_or(false) { BucketIn::Path } else { BucketIn::Host };
            let host = format!("s3.{region}.amazonaws.com");
            (Endpoint { scheme: "https".to_owned(), host, bucket_in }, region)
        }
    };
    let bucket = needed(&place.bucket, "bucket", &["AWS_BUCKET"])?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    if bucket.is_empty() || !bucket.chars().all(plain) {
        return Err(Mistake::usage(format!("`{bucket}` is not the name of a bucket")).into());
    }
    if place.names.is_empty() {
        return Err(Mistake::usage("a cache of type `s3` needs a name: write `name=...`").into());
    }
    Ok(s3::Place {
        endpoint,
        bucket,
        region,
        names: place.names.clone(),
        prefix: place.prefix.clone(),
        blobs_prefix: place.blobs_prefix.clone(),
        manifests_prefix: place.manifests_prefix.clone(),
        keys: s3::Keys {
            id: needed(&place.access_key_id, "access_key_id", &["AWS_ACCESS_KEY_ID"])?,
            secret: needed(&place.secret_access_key, "secret_access_key", &["AWS_SECRET_ACCESS_KEY"])?,
            // A token belongs to the keys that it came with.
            session: match (&place.access_key_id, &place.session_token) {
                (None, None) => variable(&["AWS_SESSION_TOKEN"]),
                (_, given) => given.clone(),
            },
        },
        touch_refresh: place.touch_refresh,
        parallel: place.upload_parallelism as usize,
    })
}

/// Completes a scope from the environment of a job.
fn scope(place: &GhaPlace, settings: &Settings) -> anyhow::Result<gha::Scope> {
    let needed = |given: &Option<String>, key: &str, variable: &str| {
        given
            .clone()
            .or_else(|| settings.environment.text(variable))
            .filter(|text| !text.is_empty())
            .ok_or_else(|| {
                anyhow::Error::from(
                    Mistake::usage(format!("a cache of type `gha` needs `{key}`"))
                        .hint(format!("write `{key}=...`, or hand {variable} of the job on")),
                )
            })
    };
    Ok(gha::Scope {
        url: needed(&place.url, "url_v2", "ACTIONS_RESULTS_URL")?,
        token: needed(&place.token, "token", "ACTIONS_RUNTIME_TOKEN")?,
        scope: place.scope.clone(),
    })
}

/// Brings what was built to the caches that were asked for; the results are delivered by now.
pub(super) fn export(worker: &Worker, built: &[Built], cancel: &Cancel) -> anyhow::Result<()> {
    let exportables: Vec<_> = built.iter().filter_map(|built| built.cache.clone()).collect();
    Ok(worker.export_caches(&exportables, cancel)?)
}
