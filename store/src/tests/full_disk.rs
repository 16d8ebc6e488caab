//! A disk that is full: failures are told, and sweeping works with nothing left.

use std::io::Write;

use rbuild_testkit::privilege;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use super::sweeping::Notes;
use super::*;
use crate::collect::{Policy, Sweep};

/// A small file system of our own.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn new(size: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let options = std::ffi::CString::new(format!("size={size},mode=0755")).unwrap();
        match mount("rbuild-test", folder.path(), "tmpfs", MountFlags::empty(), Some(options.as_c_str())) {
            Ok(()) => Some(Self(folder)),
            Err(error) => {
                let why = format!("a small file system cannot be mounted: {error}");
                privilege::not_permitted(&privilege::this_test(), &why);
                None
            }
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = unmount(self.0.path(), UnmountFlags::DETACH);
    }
}

/// Fills the disk to the last byte.
fn fill(store: &Store) {
    let path = store.layout().root().join("filler");
    let mut file = fs::File::create(path).unwrap();
    for piece in [64 * 1024, 4096, 1] {
        let bytes = vec![7; piece];
        while file.write_all(&bytes).is_ok() {}
    }
}

#[test]
fn sweeping_works_with_no_byte_free() {
    let Some(disk) = SmallDisk::new("4m") else { return };
    let elsewhere = tempfile::tempdir().unwrap();
    let place = Place::at(disk.0.path());
    let options = StoreOptions { runtime: elsewhere.path().to_owned(), reserve: 16 << 20, ..place.options() };
    let store = Store::open(options).unwrap();
    // A small disk has a small reserve: one that is larger than all of it would never be had.
    assert_eq!(fs::metadata(store.layout().reserve()).unwrap().len(), 512 * 1024);
    for number in 0..20 {
        add_note(&store, &format!("note {number}"), None);
    }
    store.promote().unwrap();
    fill(&store);
    assert_eq!(space::free(&place.root()).unwrap().0, 0);

    let error = publish(&store, &store.layout().index(), "late", b"x").unwrap_err();
    assert_eq!(error.kind, ErrorKind::NoSpace, "{error}");
    assert!(error.to_string().contains("`rbuild prune` frees"), "{error}");
    let failed = store.write(|transaction| -> Result<(), DatabaseError> {
        transaction.execute("INSERT INTO notes (name) VALUES (hex(zeroblob(20000)))", [])?;
        Ok(())
    });
    let error = failed.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoSpace, "{error}");
    assert_eq!(notes(&store).len(), 20, "what failed has changed nothing");

    let report = store.sweep(&[&Notes], &Policy::default(), Sweep::Take).unwrap();
    assert_eq!((report.swept.len(), report.failures.len()), (20, 0), "{:?}", report.failures);
    assert_eq!(notes(&store), [] as [&str; 0]);
    fs::remove_file(place.root().join("filler")).unwrap();
    assert!(store.reserve().restore().unwrap());
    assert_eq!(store.doctor(&[&Notes]).unwrap(), []);
}
