//! What has been computed before: records, keys, blobs and content hashes, and caches elsewhere.

pub mod backends;
pub mod blobs;
pub mod content;
pub mod mounts;
pub mod records;
pub mod saved;
pub mod why;
