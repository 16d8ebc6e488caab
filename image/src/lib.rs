//! OCI documents, the layer tar codec, and the registry client.
