//! The store as a registry (OCI distribution specification 1.1).
//!
//! ```text
//! accept (bounded) -> TLS -> HTTP/1.1 -> access -> route -> documents, blobs, uploads -> images of the store
//! ```
//!
//! Everybody who is let in may read; writing and deleting are allowed by who starts the server. An image is offered under the
//! name that it has here (`app:1` is `HOST/app:1`, an image of another registry is `HOST/ghcr.io/owner/app:1`), what was
//! pushed under the name that it was pushed to.
//!
//! # Bounds
//! Connections, heads, documents and uploads at a time are bounded in number and size; a head that does not come, a body that
//! stops, a reader that reads nothing, and either that drips end their connection. Memory does not grow with what is
//! transferred: blobs go from the disk and to the disk, apart from connections. Uploads take room as builds do, and leave
//! some of the disk free. What listens on a loopback address in plain HTTP answers to the names of that address alone, so
//! that no web page reaches it by a name that it makes lead there.
//!
//! | Endpoint | File |
//! |---|---|
//! | `/v2/`, `_catalog`, `tags/list`, `referrers/` | `lists` |
//! | `manifests/` | `documents` |
//! | `blobs/` | `blobs` |
//! | `blobs/uploads/` | `uploads` |

mod access;
mod answer;
mod blobs;
mod documents;
mod lists;
mod patience;
mod route;
mod serve;
mod uploads;

#[cfg(test)]
mod tests;

pub use access::{Access, AccessError};
pub use patience::Rate;
pub use serve::{Bounds, Handle, Options, Rights, ServeError, Tls, serve};
