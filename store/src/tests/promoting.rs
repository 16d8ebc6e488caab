//! What promotion says is trusted has been synced when it says so.

use super::*;
#[test]
fn promoted_rows_are_on_the_disk_as_such() {
    let place = Place::new();
    let store = place.open();
    add_note(&store, "a", None);
    let syncs = store.database().log_syncs();
    assert_eq!(store.promote().unwrap().rows, 1);
    // The files alone are not enough: a row that comes back with its stamp is dropped.
    assert_eq!(store.database().log_syncs(), syncs + 1);
}
