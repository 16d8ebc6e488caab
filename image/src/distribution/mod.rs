//! A client of image registries (OCI distribution-spec), asynchronous.
//!
//! [`Client`] fetches and pushes manifests and blobs. What a registry says is believed as far as a hash shows it:
//! a manifest or a blob asked for by digest is compared with it, a manifest asked for by tag is named by the hash
//! of its bytes, and headers that state digests are ignored. Bodies are bounded before they are read.
//!
//! Credentials go to few places. Plain HTTP is spoken with loopback addresses and with hosts configured as
//! insecure, and nowhere else. A redirect keeps `Authorization` only within one origin, never leads from HTTPS to
//! HTTP, to anything but HTTP(S), or to link-local addresses. A token is fetched with credentials only from a
//! realm of the registry's own domain or one that is configured. Tokens are kept by registry and scope.
//!
//! Names are resolved by a small stub over the texts of `hosts` and `resolv.conf` that the caller brings, because
//! the C library's resolver does not work in a static program. Nothing here reads a file or the environment:
//! [`Registries`] is the whole configuration, as a value.
//!
//! [`Web`] fetches single files from any server, and calls services, with the same manners.

mod auth;
mod call;
mod challenge;
mod client;
mod credentials;
mod dns;
mod error;
mod growing;
mod http;
mod listing;
mod logins;
mod publish;
mod pull;
mod push;
mod registries;
mod runtime;
mod tls;
mod web;

use std::pin::Pin;

#[cfg(test)]
mod tests;

pub use call::{Answer, Call};
pub use challenge::Challenge;
pub use client::{Client, Fetched, Receiver};
pub use credentials::{Anonymous, Credential, CredentialError, Credentials, DockerConfig, Found, HelperName};
pub use dns::addresses_of;
pub use error::{ClientError, Refusal};
pub use growing::{Growing, GrowingUpload};
pub use logins::{Logins, helper_input, registry_name};
pub use push::{Pushed, Sender, Unfinished, Upload};
pub use registries::{Endpoint, NameService, OwnTls, ParseEndpointError, Proxies, Registries, Timing};
pub use runtime::Runtime;
pub use web::{Reply, Validators, Wanted, Web};

/// What a call comes to when it is waited for. It is boxed so that what a call does is compiled here, once, and not again
/// wherever it is waited for.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T, ClientError>> + 'a>>;
