use super::*;
use crate::tests::Place;

fn texts(batch: &Batch) -> Vec<&str> {
    batch.events.iter().map(|(_, event)| std::str::from_utf8(event).unwrap()).collect()
}

#[test]
fn events_are_read_in_order_and_reading_resumes() {
    let place = Place::new();
    let events = place.open().events();
    assert_eq!(events.end().unwrap(), Position::OLDEST);
    let first = events.append(b"{\"a\":1}").unwrap();
    events.append(b"{\"a\":2}").unwrap();
    let last = events.append(b"").unwrap();
    let all = events.read(Position::OLDEST, 1 << 20).unwrap();
    assert_eq!(texts(&all), ["{\"a\":1}", "{\"a\":2}", ""]);
    assert_eq!(all.events[0].0, first);
    assert_eq!(events.end().unwrap(), last);
    assert_eq!(texts(&events.read(first, 1).unwrap()), ["{\"a\":2}"], "at least one");
    assert_eq!(events.read(last, 1 << 20).unwrap(), Batch::default());
    assert_eq!(Position::parse(&last.to_string()), Some(last));
}

#[test]
fn what_a_killed_writer_left_is_not_read_and_is_cut_off() {
    let place = Place::new();
    let events = place.open().events();
    let first = events.append(b"whole").unwrap();
    let path = events.path(1);
    let mut file = OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(b"half of an ev").unwrap();
    assert_eq!(texts(&events.read(Position::OLDEST, 1 << 20).unwrap()), ["whole"]);
    assert_eq!(events.end().unwrap(), first);
    events.append(b"next").unwrap();
    assert_eq!(texts(&events.read(Position::OLDEST, 1 << 20).unwrap()), ["whole", "next"]);
}

#[test]
fn old_segments_go_and_the_reader_is_told() {
    let place = Place::new();
    let events = place.open().events();
    let first = events.append(b"first").unwrap();
    for _ in 0..SEGMENTS {
        let newest = *events.segments().unwrap().last().unwrap();
        let filled = OpenOptions::new().append(true).open(events.path(newest)).unwrap();
        filled.set_len(SEGMENT_BYTES - 1).unwrap();
        (&filled).write_all(b"\n").unwrap();
        events.append(b"more").unwrap();
    }
    assert_eq!(events.segments().unwrap().len(), SEGMENTS);
    let batch = events.read(first, 1).unwrap();
    assert!(batch.gap);
    assert_eq!(texts(&batch), ["more"].map(|_| texts(&batch)[0]));
}

#[test]
fn a_watcher_is_woken() {
    let place = Place::new();
    let events = place.open().events();
    events.append(b"before").unwrap();
    let watch = events.watch().unwrap();
    assert!(!watch.wait(Some(Duration::ZERO)).unwrap());
    events.append(b"after").unwrap();
    assert!(watch.wait(None).unwrap());
    assert!(!watch.wait(Some(Duration::ZERO)).unwrap());
}

#[test]
fn what_is_not_one_line_is_refused() {
    let place = Place::new();
    let events = place.open().events();
    assert!(events.append(b"two\nlines").is_err());
    assert!(events.append(&vec![b'x'; MAX_EVENT_BYTES + 1]).is_err());
}
