use super::table::Table;
use super::*;

#[test]
fn the_table_is_drawn_in_place_and_within_the_screen() {
    let mut table = Table::default();
    table.set("Network p_default", "Created", Stage::Done);
    let first = table.draw(false, (80, 24));
    assert!(first.starts_with("\x1b[2K[+] Running 1/1\n"), "{first:?}");
    table.set("Container p-web-1", "Creating", Stage::Working);
    let second = table.draw(false, (80, 24));
    assert!(second.starts_with("\x1b[2A\x1b[2K[+] Running 1/2\n"), "{second:?}");
    assert!(second.contains(" ✔ Network p_default  Created"), "{second:?}");
    assert!(second.contains(" ⠿ Container p-web-1  Creating\n"), "{second:?}");
    // Two lines of room: the heading and one row, that of what is under way.
    let small = table.draw(false, (20, 3));
    assert!(!small.contains("Network"), "{small:?}");
    assert!(small.contains(" ⠿ Container p-web-1"), "{small:?}");
    table.leave();
    assert!(!table.draw(false, (80, 24)).starts_with("\x1b[2A"));
}
