//! Hashing one large file on several threads.
//!
//! blake3 hashes a tree, and the bytes of an aligned part whose size is a power of two are a subtree of it: threads take
//! part after part, and the parts' values are merged as the tree demands. The file is read, not mapped: a mapped
//! file that is truncated meanwhile kills the process.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use blake3::hazmat::{ChainingValue, HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};
use rustix::io::Errno;

use super::node::FileDigest;

/// A power of two of blake3's chunks, so that a part is a whole subtree.
const PART: u64 = 2 << 20;

type Part = std::result::Result<Option<ChainingValue>, Errno>;

/// Hashes `size` bytes, more than one part; `None` if there are fewer, `CANCELED` if it was stopped.
pub(super) fn hash(
    fd: &OwnedFd,
    size: u64,
    threads: usize,
    stop: &(dyn Fn() -> bool + Sync),
) -> std::result::Result<Option<FileDigest>, Errno> {
    let count = size.div_ceil(PART);
    debug_assert!(count > 1, "a single part would be the root");
    let next = AtomicU64::new(0);
    let done: Mutex<Vec<(u64, Part)>> = Mutex::new(Vec::new());
    let work = || {
        let mut buffer = vec![0; usize::try_from(PART).unwrap_or(usize::MAX)];
        let mut own = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= count {
                break;
            }
            let start = at * PART;
            let length = usize::try_from(PART.min(size - start)).unwrap_or(buffer.len());
            let part =
                if stop() { Err(Errno::CANCELED) } else { hash_part(fd, start, &mut buffer[..length]) };
            if !matches!(part, Ok(Some(_))) {
                // The others need not go on.
                next.store(count, Ordering::Relaxed);
            }
            own.push((at, part));
        }
        done.lock().unwrap_or_else(PoisonError::into_inner).append(&mut own);
    };
    std::thread::scope(|scope| {
        for _ in 1..threads.min(usize::try_from(count).unwrap_or(threads)) {
            scope.spawn(work);
        }
        work();
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_unstable_by_key(|(at, _)| *at);
    let mut values = Vec::with_capacity(done.len());
    for (_, part) in done {
        match part? {
            Some(value) => values.push(value),
            None => return Ok(None),
        }
    }
    let (left, right) = values.split_at(left_half(values.len()));
    let root = merge_subtrees_root(&merge(left), &merge(right), Mode::Hash);
    Ok(Some(FileDigest(*root.as_bytes())))
}

fn hash_part(fd: &OwnedFd, start: u64, buffer: &mut [u8]) -> Part {
    let mut filled = 0;
    while filled < buffer.len() {
        match rustix::io::pread(fd, &mut buffer[filled..], start + filled as u64) {
            Ok(0) => return Ok(None),
            Ok(count) => filled += count,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    let mut hasher = blake3::Hasher::new();
    if start > 0 {
        hasher.set_input_offset(start);
    }
    Ok(Some(hasher.update(buffer).finalize_non_root()))
}

/// The largest power of two below `count`, which is at least two.
fn left_half(count: usize) -> usize {
    count.next_power_of_two() / 2
}

fn merge(values: &[ChainingValue]) -> ChainingValue {
    match values {
        [value] => *value,
        _ => {
            let (left, right) = values.split_at(left_half(values.len()));
            merge_subtrees_non_root(&merge(left), &merge(right), Mode::Hash)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn parts_make_the_same_hash() {
        let bytes: Vec<u8> = (0..7 * PART + 5).map(|at| (at % 251) as u8).collect();
        let part = usize::try_from(PART).unwrap();
        for length in [part + 1, 2 * part, 3 * part - 1, 4 * part, 4 * part + 1, 5 * part, bytes.len()] {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&bytes[..length]).unwrap();
            let fd = OwnedFd::from(file);
            for threads in [1, 3] {
                let got = hash(&fd, length as u64, threads, &|| false).unwrap();
                assert_eq!(got, Some(FileDigest::of(&bytes[..length])), "{length} on {threads}");
            }
            assert_eq!(
                hash(&fd, length as u64 + 1, 2, &|| false).unwrap(),
                None,
                "a shorter file is no file"
            );
            assert_eq!(hash(&fd, length as u64, 2, &|| true), Err(Errno::CANCELED));
        }
    }
}
