use crate::tests::{Place, add_note, notes};

use super::*;

#[test]
fn an_error_rolls_back_and_the_next_writer_gets_its_turn() {
    let place = Place::new();
    let store = place.open();
    let failed = store.write(|transaction| -> Result<(), DatabaseError> {
        transaction.execute("INSERT INTO notes (name) VALUES ('x')", [])?;
        transaction.execute("INSERT INTO notes (name) VALUES ('x')", [])?;
        Ok(())
    });
    let text = failed.unwrap_err().to_string();
    assert_eq!(text, "a database statement failed");
    assert_eq!(notes(&store), [] as [&str; 0]);
    add_note(&store, "x", None);
    assert_eq!(notes(&store), ["x"]);
}

#[test]
fn transactions_do_not_nest() {
    let place = Place::new();
    let store = place.open();
    let nested: Result<(), DatabaseError> = store.write(|_| store.read(|_| Ok(())));
    assert!(matches!(nested, Err(DatabaseError::Nested)));
    assert_eq!(notes(&store), [] as [&str; 0], "the thread is free again");
}

#[test]
fn many_writers_lose_nothing() {
    let place = Place::new();
    std::thread::scope(|scope| {
        for writer in 0..8 {
            let store = if writer % 2 == 0 { place.open() } else { Place::open(&place) };
            scope.spawn(move || {
                for number in 0..20 {
                    add_note(&store, &format!("{writer}-{number}"), None);
                }
            });
        }
    });
    assert_eq!(notes(&place.open()).len(), 160);
}

#[test]
fn a_synced_write_keeps_later_writes_unsynced() {
    let place = Place::new();
    let store = place.open();
    store
        .write_synced(|transaction| -> Result<(), DatabaseError> {
            transaction.execute("INSERT INTO notes (name) VALUES ('a')", [])?;
            Ok(())
        })
        .unwrap();
    let level: i64 = store
        .read(|transaction| -> Result<i64, DatabaseError> {
            Ok(transaction.query_row("PRAGMA synchronous", [], |row| row.get(0))?)
        })
        .unwrap();
    assert_eq!(level, 1, "NORMAL");
}

#[test]
fn promotion_empties_a_long_log_and_begins_it_anew() {
    let place = Place::new();
    let store = place.open();
    let log = place.root().join("db.sqlite-wal");
    for number in 0..150 {
        add_note(&store, &format!("{number}-{}", "x".repeat(200)), None);
    }
    assert!(std::fs::metadata(&log).unwrap().len() > CHECKPOINT_ABOVE);
    assert_eq!(store.promote().unwrap().rows, 150);
    let beginning = std::fs::read(&log).unwrap();
    assert_eq!(beginning.len(), 32 + 24 + 4096, "a head and one page");
    add_note(&store, "later", None);
    let log = std::fs::read(&log).unwrap();
    assert!(
        log.starts_with(&beginning) && log.len() > beginning.len(),
        "the next writer goes on and syncs nothing"
    );
    assert_eq!(notes(&store).len(), 151);
}

#[test]
fn a_row_that_is_written_again_waits_for_the_next_promotion() {
    let place = Place::new();
    let store = place.open();
    add_note(&store, "a", None);
    let table = crate::DerivedTable("notes");
    let listed = store.read(|transaction| table.unpromoted(transaction)).unwrap();
    let stamp = store.stamp();
    store
        .write(|transaction| -> Result<(), DatabaseError> {
            transaction.execute("UPDATE notes SET unsynced = ?1", [stamp])?;
            table.promote(transaction, &listed)
        })
        .unwrap();
    assert_eq!(store.read(|transaction| table.unpromoted(transaction)).unwrap().len(), 1);
}

#[test]
fn garbage_instead_of_a_database_is_told() {
    let place = Place::new();
    drop(place.open());
    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(place.root().join(format!("db.sqlite{suffix}")));
    }
    std::fs::write(place.root().join("db.sqlite"), "not a database, whatever its name says").unwrap();
    let text = crate::Store::open(place.options()).unwrap_err().to_string();
    assert!(text.contains("db.sqlite") && text.contains("rbuild doctor"), "{text}");
}
