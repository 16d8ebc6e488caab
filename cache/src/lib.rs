//! What has been computed before: records, keys, blobs and content hashes.

pub mod blobs;
pub mod content;
pub mod records;
pub mod why;
