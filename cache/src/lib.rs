//! What has been computed before: records, keys, blobs and content hashes, and caches elsewhere.
//!
//! | Module | What it keeps |
//! |---|---|
//! | [`records`] | results by their keys, what the keys were made of, builds |
//! | [`why`] | nothing: it lays two builds beside each other and says what made a step run |
//! | [`content`] | hashes of what steps select of trees, with an index of what stats vouch for |
//! | [`blobs`] | files by their digests |
//! | [`mounts`] | the folders of cache mounts |
//! | [`saved`] | logs of steps, indexes and repositories, as far as the sweep is concerned |
//! | [`backends`] | caches elsewhere: folders, registries, buckets, and what all of them hold in the same form |

pub mod backends;
pub mod blobs;
pub mod content;
pub mod mounts;
pub mod records;
pub mod saved;
pub mod why;
