//! What has been computed before: records, keys, blobs and content hashes.
