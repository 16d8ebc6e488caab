//! Folders full of files, the same for the same seed.

use std::fs;
use std::path::{Path, PathBuf};

/// How many files, how large, how deep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// How many files.
    pub files: usize,
    /// How many of them are in one folder.
    pub per_folder: usize,
    /// The largest size in bytes; the smallest is nothing.
    pub largest: usize,
    /// What decides on sizes and contents.
    pub seed: u64,
}

impl Default for Shape {
    fn default() -> Self {
        Self { files: 100, per_folder: 50, largest: 4096, seed: 1 }
    }
}

/// Fills a folder and returns the paths from it, in order.
pub fn generate(folder: &Path, shape: Shape) -> Vec<PathBuf> {
    let mut random = Random(shape.seed);
    let mut paths = Vec::with_capacity(shape.files);
    for index in 0..shape.files {
        let number = index / shape.per_folder.max(1);
        let parent = PathBuf::from(format!("d{:02}/e{:02}", number / 10, number % 10));
        if index % shape.per_folder.max(1) == 0 {
            fs::create_dir_all(folder.join(&parent)).expect("the folder of a test can be filled");
        }
        let path = parent.join(format!("f{index:05}.txt"));
        let size =
            usize::try_from(random.next() % (shape.largest as u64 + 1)).expect("a size below the largest");
        let mut bytes = Vec::with_capacity(size + 8);
        while bytes.len() < size {
            bytes.extend_from_slice(format!("{:016x}\n", random.next()).as_bytes());
        }
        bytes.truncate(size);
        fs::write(folder.join(&path), bytes).expect("the folder of a test can be filled");
        paths.push(path);
    }
    paths
}

/// A small generator of numbers (splitmix64): the same seed, the same numbers, on every machine.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Starts a sequence.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    #[expect(
        clippy::should_implement_trait,
        reason = "an endless sequence is no iterator that anyone collects"
    )]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_files() {
        let shape = Shape { files: 120, ..Shape::default() };
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let paths = generate(one.path(), shape);
        assert_eq!(paths, generate(two.path(), shape));
        assert_eq!(paths.len(), 120);
        for path in &paths {
            assert_eq!(fs::read(one.path().join(path)).unwrap(), fs::read(two.path().join(path)).unwrap());
        }
        let other = tempfile::tempdir().unwrap();
        generate(other.path(), Shape { seed: 2, ..shape });
        assert_ne!(
            fs::read(one.path().join(&paths[0])).unwrap(),
            fs::read(other.path().join(&paths[0])).unwrap()
        );
    }
}
