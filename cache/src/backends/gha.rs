//! `type=gha`: the cache service of Actions, version 2.
//!
//! Entries are never changed: a blob is an entry named by its digest, and each catalog is a new one, of which the latest
//! counts. The service is asked by small JSON calls for addresses that are signed; bytes go to and come from those, which
//! speak the protocol of block blobs.

use std::sync::Arc;
use std::time::Instant;

use base64::Engine as _;
use bytes::Bytes;
use rbuild_image::distribution::{Answer, Call, Receiver, Sender};
use rbuild_image::manifest::Descriptor;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::transfer::{Memory, piece};
use super::{Backend, BackendError, Held, Network, Put, catalog};

/// The size of a block; what is not larger goes up whole.
const BLOCK: u64 = 16 << 20;
/// The most bytes of an answer that is no blob.
const MAX_ANSWER: u64 = 1 << 20;
/// The service, below its address.
const SERVICE: &str = "twirp/github.actions.results.api.v1.CacheService";
/// What entries of ours are told from those of others by.
const VERSION: &str = "rbuild cache 1";

/// A scope of the service.
#[derive(Clone)]
pub struct Scope {
    /// The address of the service.
    pub url: String,
    /// What opens it.
    pub token: String,
    /// The name of the cache.
    pub scope: String,
}

/// A cache with the service.
#[derive(Clone)]
pub struct Gha {
    name: String,
    scope: Scope,
    version: String,
    network: Network,
}

#[derive(Serialize)]
struct Create<'a> {
    key: &'a str,
    version: &'a str,
}

#[derive(Deserialize)]
struct Created {
    #[serde(default)]
    ok: bool,
    #[serde(default, alias = "signedUploadUrl")]
    signed_upload_url: String,
}

#[derive(Serialize)]
struct Finish<'a> {
    key: &'a str,
    version: &'a str,
    size_bytes: String,
}

#[derive(Deserialize)]
struct Finished {
    #[serde(default)]
    ok: bool,
}

#[derive(Serialize)]
struct Find<'a> {
    key: &'a str,
    restore_keys: &'a [&'a str],
    version: &'a str,
}

#[derive(Deserialize)]
struct Found {
    #[serde(default)]
    ok: bool,
    #[serde(default, alias = "signedDownloadUrl")]
    signed_download_url: String,
    #[serde(default, alias = "matchedKey")]
    matched_key: String,
}

impl Gha {
    /// Names a cache with the service.
    pub fn new(scope: Scope, network: Network) -> Self {
        let version = super::s3::hex(&Sha256::digest(VERSION));
        Self { name: format!("gha {}", scope.scope), scope, version, network }
    }

    /// Calls the service; `None` where there is something already, or nothing.
    fn service<T: serde::de::DeserializeOwned>(
        &self,
        method: &str,
        body: &impl Serialize,
    ) -> Result<Option<T>, BackendError> {
        let body = serde_json::to_vec(body).expect("the form has only text keys");
        let call = Call {
            method: "POST",
            url: format!("{}/{SERVICE}/{method}", self.scope.url.trim_end_matches('/')),
            headers: vec![
                ("authorization", format!("Bearer {}", self.scope.token)),
                ("content-type", "application/json".to_owned()),
            ],
            body: Some(body.into()),
        };
        let answer = self.network.web(|web| web.call(&call, MAX_ANSWER))?;
        if matches!(answer.status, 404 | 409) {
            return Ok(None);
        }
        if !answer.is_success() {
            return Err(refused(method, &answer));
        }
        let unusable =
            |error: serde_json::Error| BackendError::Unusable(format!("{method} of the service: {error}"));
        serde_json::from_slice(&answer.body).map(Some).map_err(unusable)
    }

    fn find(&self, key: &str, prefixes: &[&str]) -> Result<Option<Found>, BackendError> {
        let found: Option<Found> = self.service(
            "GetCacheEntryDownloadURL",
            &Find { key, restore_keys: prefixes, version: &self.version },
        )?;
        Ok(found.filter(|found| found.ok && !found.signed_download_url.is_empty()))
    }

    /// Returns the entry of exactly this key.
    fn exact(&self, key: &str) -> Result<Option<Found>, BackendError> {
        Ok(self.find(key, &[])?.filter(|found| found.matched_key.is_empty() || found.matched_key == key))
    }

    fn download(&self, found: &Found, limit: u64, into: &mut dyn Receiver) -> Result<(), BackendError> {
        let url = found.signed_download_url.clone();
        let call = Call { method: "GET", url, headers: Vec::new(), body: None };
        let answer = self.network.web(|web| web.call_into(&call, limit, into))?;
        if answer.is_success() { Ok(()) } else { Err(refused(&found.matched_key, &answer)) }
    }

    /// Makes an entry; `None` where somebody began one of that name, whether it was finished or not.
    fn upload(&self, key: &str, size: u64, sender: &dyn Sender) -> Result<Option<()>, BackendError> {
        let created: Option<Created> =
            self.service("CreateCacheEntry", &Create { key, version: &self.version })?;
        let Some(created) = created.filter(|created| created.ok) else { return Ok(None) };
        self.send(&created.signed_upload_url, key, size, sender)?;
        let finish = Finish { key, version: &self.version, size_bytes: size.to_string() };
        match self.service::<Finished>("FinalizeCacheEntryUpload", &finish)? {
            Some(Finished { ok: true }) => Ok(Some(())),
            _ => Err(BackendError::Unusable(format!("the service does not take {key}"))),
        }
    }

    fn send(&self, url: &str, key: &str, size: u64, sender: &dyn Sender) -> Result<(), BackendError> {
        if size <= BLOCK {
            let _place = self.network.memory(size)?;
            let body = piece(sender, 0, size)?;
            return self.put_bytes(url, key, vec![("x-ms-blob-type", "BlockBlob".to_owned())], body);
        }
        let mut list = "<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList>".to_owned();
        for number in 0..size.div_ceil(BLOCK) {
            let id = base64::engine::general_purpose::STANDARD.encode(format!("{number:08}"));
            let length = BLOCK.min(size - number * BLOCK);
            let _place = self.network.memory(length)?;
            let body = piece(sender, number * BLOCK, length)?;
            let query = format!("comp=block&blockid={}", super::s3::encode(&id));
            self.put_bytes(&with_query(url, &query), key, Vec::new(), body)?;
            list += &format!("<Latest>{id}</Latest>");
        }
        list += "</BlockList>";
        self.put_bytes(&with_query(url, "comp=blocklist"), key, Vec::new(), list.into())
    }

    fn put_bytes(
        &self,
        url: &str,
        key: &str,
        headers: Vec<(&'static str, String)>,
        body: Bytes,
    ) -> Result<(), BackendError> {
        let call = Call { method: "PUT", url: url.to_owned(), headers, body: Some(body) };
        let answer = self.network.web(|web| web.call(&call, MAX_ANSWER))?;
        if answer.is_success() { Ok(()) } else { Err(refused(key, &answer)) }
    }

    /// What the keys of catalogs begin with.
    fn catalogs(&self) -> String {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let shown: String = self.scope.scope.chars().map(|c| if plain(c) { c } else { '_' }).collect();
        // What is not shown as it is must still be told from what looks the same.
        let own = super::s3::hex(&Sha256::digest(&self.scope.scope));
        format!("rbuild-catalog-1-{shown}-{}-", &own[..8])
    }
}

fn blob_key(blob: &Descriptor) -> String {
    format!("rbuild-blob-1-{}", blob.digest.hex())
}

fn with_query(url: &str, query: &str) -> String {
    let mark = if url.contains('?') { '&' } else { '?' };
    format!("{url}{mark}{query}")
}

fn refused(what: &str, answer: &Answer) -> BackendError {
    let message = String::from_utf8_lossy(&answer.body);
    let message = message.chars().take(500).flat_map(char::escape_debug).collect();
    BackendError::Refused { what: what.to_owned(), status: answer.status, message }
}

impl Backend for Gha {
    fn name(&self) -> &str {
        &self.name
    }

    fn until(&self, deadline: Instant) -> Arc<dyn Backend> {
        Arc::new(Self { network: self.network.until(deadline), ..self.clone() })
    }

    fn catalog(&self) -> Result<Vec<Held>, BackendError> {
        let prefix = self.catalogs();
        let Some(found) = self.find(&prefix, &[&prefix])? else { return Ok(Vec::new()) };
        let mut memory = Memory::new(catalog::MAX_BYTES);
        self.download(&found, catalog::MAX_BYTES, &mut memory)?;
        Ok(vec![Held::Catalog(memory.bytes)])
    }

    fn publish(&self, catalog: &[u8], _: &[Descriptor]) -> Result<(), BackendError> {
        let key = format!("{}{:020}", self.catalogs(), jiff::Timestamp::now().as_nanosecond());
        match self.upload(&key, catalog.len() as u64, &catalog)? {
            Some(()) => Ok(()),
            None => Err(BackendError::Unusable(format!("the service has {key} already"))),
        }
    }

    fn has(&self, blob: &Descriptor) -> Result<bool, BackendError> {
        Ok(self.exact(&blob_key(blob))?.is_some())
    }

    fn get(&self, blob: &Descriptor, into: &mut dyn Receiver) -> Result<(), BackendError> {
        let found =
            self.exact(&blob_key(blob))?.ok_or_else(|| BackendError::Missing(blob.digest.to_string()))?;
        self.download(&found, blob.size, into)
    }

    fn put(&self, blob: &Descriptor, sender: &dyn Sender) -> Result<Put, BackendError> {
        if self.has(blob)? {
            return Ok(Put::Present);
        }
        match self.upload(&blob_key(blob), blob.size, sender)? {
            Some(()) => Ok(Put::Sent),
            // Another writer was quicker, or one before us was stopped on the way: nobody can read that.
            None if self.has(blob)? => Ok(Put::Present),
            None => Err(BackendError::Unfinished(blob.digest.to_string())),
        }
    }
}

#[cfg(test)]
mod tests;
