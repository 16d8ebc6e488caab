//! Maps of sparse files: which regions of the contents stand in the archive.

use super::error::EntryProblem;

/// The regions of a sparse file that stand in the archive: ascending, apart, non-empty, within the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SparseMap {
    /// Offset and length of each region.
    pub(super) regions: Vec<(u64, u64)>,
    /// The size of the file, holes included.
    pub(super) size: u64,
}

impl SparseMap {
    /// Checks a map: its regions ascend without overlap, end within the file, and are together as long as the
    /// bytes that the archive has for it.
    pub(super) fn new(regions: Vec<(u64, u64)>, size: u64, stored: u64) -> Result<Self, EntryProblem> {
        let mut end = 0_u64;
        let mut sum = 0_u64;
        for &(offset, length) in &regions {
            if offset < end {
                return Err(EntryProblem::SparseMap);
            }
            end = offset.checked_add(length).ok_or(EntryProblem::SparseMap)?;
            sum += length;
        }
        if end > size || sum != stored || i64::try_from(size).is_err() {
            return Err(EntryProblem::SparseMap);
        }
        Ok(Self { regions: regions.into_iter().filter(|&(_, length)| length > 0).collect(), size })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ascending_regions_within_the_file_are_a_map() {
        let map = SparseMap::new(vec![(0, 10), (10, 0), (512, 5), (1000, 0)], 1000, 15).unwrap();
        assert_eq!(map.regions, [(0, 10), (512, 5)]);
        for (regions, size, stored) in [
            (vec![(10, 5), (0, 5)], 100, 10),
            (vec![(0, 6), (5, 5)], 100, 11),
            (vec![(96, 5)], 100, 5),
            (vec![(u64::MAX, 5)], 100, 5),
            (vec![(0, 5)], 100, 6),
            (vec![(0, 5)], 100, 4),
            (vec![], u64::MAX, 0),
        ] {
            assert_eq!(SparseMap::new(regions, size, stored), Err(EntryProblem::SparseMap));
        }
    }
}
