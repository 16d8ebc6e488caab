//! The bounds that a reader of foreign archives keeps.

/// The bounds that [`Reader`](super::Reader) keeps; tests lower them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Entries of an archive, headers that only extend others included.
    pub entries: u64,
    /// Bytes of one entry's path or link target.
    pub path_bytes: usize,
    /// Bytes of one component of a path.
    pub component_bytes: usize,
    /// Components of a path.
    pub depth: usize,
    /// Bytes of one block of PAX records.
    pub pax_bytes: u64,
    /// Bytes of one GNU long name.
    pub long_name_bytes: u64,
    /// Bytes of one extended attribute's value.
    pub xattr_value_bytes: usize,
    /// Bytes of all extended attributes of one entry, names and values.
    pub xattrs_bytes: usize,
    /// Regions of one sparse file.
    pub sparse_regions: usize,
    /// Bytes of all contents together, holes included.
    pub expanded_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            entries: 4_000_000,
            path_bytes: 4096,
            component_bytes: 255,
            depth: 2048,
            pax_bytes: 1 << 20,
            long_name_bytes: 64 << 10,
            xattr_value_bytes: 64 << 10,
            xattrs_bytes: 256 << 10,
            sparse_regions: 1 << 17,
            expanded_bytes: 64 << 30,
        }
    }
}
