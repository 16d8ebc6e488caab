//! Lines put together, merged and printed.

use std::collections::VecDeque;
use std::convert::Infallible;

use rbuild_monitor::log::{Entry, Source as Stream};

use super::line::{Line, Unfinished};
use super::merge::{Lane, Source, Until, merge};
use super::printer::{Errors, Look, Printer};
use super::short_name;
use crate::flags::Mode;
use crate::terminal::Colour;

fn line(time: i64, text: &str) -> Line {
    Line { time, source: Stream::Stdout, bytes: text.as_bytes().to_vec() }
}

fn entry(source: Stream, time: i64, text: &str) -> Entry {
    Entry { source, time, bytes: text.as_bytes().to_vec(), attributes: Vec::new(), begins_line: true }
}

const PLAIN: Look =
    Look { prefix: Mode::On, timestamps: Mode::Off, colour: Colour::Off, errors: Errors::Apart };

fn printed(printer: &mut Printer, name: &str, written: &Line) -> String {
    let (label, mut bytes) = (printer.join(name), Vec::new());
    printer.line(label, written, &mut bytes);
    String::from_utf8(bytes).unwrap()
}

#[test]
fn prefixes_are_as_wide_as_the_longest_name() {
    let mut printer = Printer::new(PLAIN);
    assert_eq!(printed(&mut printer, "web-1", &line(0, "one")), "web-1  | one\n");
    assert_eq!(printed(&mut printer, "longername-1", &line(0, "mid")), "longername-1  | mid\n");
    assert_eq!(printed(&mut printer, "web-1", &line(0, "two")), "web-1         | two\n");
    let label = printer.join("web-1");
    assert_eq!(printer.status(label, "exited with code 3"), "web-1 exited with code 3\n");
}

#[test]
fn a_line_is_what_was_written() {
    let mut printer = Printer::new(Look { prefix: Mode::Off, ..PLAIN });
    let label = printer.join("web-1");
    let raw = Line { time: 0, source: Stream::Stdout, bytes: b"\x1b[1m50%\r100%\xff".to_vec() };
    let mut bytes = b"before\n".to_vec();
    printer.line(label, &raw, &mut bytes);
    assert_eq!(bytes, b"before\n\x1b[1m50%\r100%\xff\n");
}

#[test]
fn times_stand_between_the_prefix_and_the_line() {
    let mut printer = Printer::new(Look { timestamps: Mode::On, ..PLAIN });
    let written = line(1_795_298_651_158_515_430, "err");
    let text = printed(&mut printer, "web-1", &written);
    assert_eq!(text, "web-1  | 2026-11-21T22:04:11.158515430Z err\n");
}

#[test]
fn colours_go_round() {
    let mut printer = Printer::new(Look { colour: Colour::On, ..PLAIN });
    let codes: Vec<String> = (0..12)
        .map(|number| {
            let text = printed(&mut printer, &format!("s-{number}"), &line(0, "x"));
            assert!(text.ends_with("| \x1b[0mx\n"), "{text:?}");
            text["\x1b[".len()..text.find('m').unwrap()].to_owned()
        })
        .collect();
    assert_eq!(codes.join(" "), "36 33 32 35 34 36;1 33;1 32;1 35;1 34;1 36 33");
    // One that takes another's place has its colour.
    assert!(printed(&mut printer, "s-1", &line(0, "x")).starts_with("\x1b[33m"));
}

#[test]
fn pieces_become_lines() {
    let mut unfinished = Unfinished::default();
    let mut take = |source, time, text| unfinished.take_entry(entry(source, time, text));
    assert_eq!(take(Stream::Stdout, 1, "whole\n"), Some(line(1, "whole")));
    assert_eq!(take(Stream::Stdout, 2, "half "), None);
    let error = Line { time: 3, source: Stream::Stderr, bytes: b"oops".to_vec() };
    assert_eq!(take(Stream::Stderr, 3, "oops\n"), Some(error));
    assert_eq!(take(Stream::Stdout, 4, "and half\n"), Some(line(2, "half and half")));
    assert_eq!(take(Stream::Stdout, 5, "\n"), Some(line(5, "")));
    assert_eq!(take(Stream::Stdout, 6, "rest"), None);
    assert_eq!(unfinished.finish().collect::<Vec<_>>(), [line(6, "rest")]);
    assert_eq!(unfinished.finish().count(), 0);
}

#[test]
fn bytes_become_lines_and_an_endless_one_pieces() {
    let mut unfinished = Unfinished::default();
    let mut lines = Vec::new();
    unfinished.take_bytes(Stream::Stdout, 1, b"a\nb", |line| lines.push(line));
    unfinished.take_bytes(Stream::Stdout, 2, b"c\n\nd", |line| lines.push(line));
    assert_eq!(lines, [line(1, "a"), line(1, "bc"), line(2, "")]);
    let mut pieces = 0;
    for _ in 0..64 {
        unfinished.take_bytes(Stream::Stdout, 3, &[b'x'; 64 << 10], |_| pieces += 1);
    }
    assert_eq!(pieces, 4);
}

/// Lines that are there already.
struct Given(VecDeque<Line>);

impl Source for Given {
    type Error = Infallible;

    fn next_line(&mut self) -> Result<Option<Line>, Infallible> {
        Ok(self.0.pop_front())
    }
}

fn lane(times: &[i64]) -> Lane<Given> {
    Lane::new(Given(times.iter().map(|time| line(*time, "")).collect()))
}

fn merged(lanes: &mut [Lane<Given>], until: Until, now: i64) -> Vec<(usize, i64)> {
    let mut order = Vec::new();
    let merged: Result<(), Infallible> = merge(
        lanes.iter_mut().enumerate(),
        until,
        || now,
        |key, line| {
            order.push((key, line.time));
            Ok(())
        },
    );
    merged.unwrap();
    order
}

#[test]
fn the_oldest_line_of_all_is_next() {
    let mut lanes = [lane(&[1, 5, 6]), lane(&[2, 5]), lane(&[]), lane(&[0, 9])];
    let order = merged(&mut lanes, Until::END, 100);
    assert_eq!(order, [(3, 0), (0, 1), (1, 2), (0, 5), (1, 5), (0, 6), (3, 9)]);
}

#[test]
fn what_is_newer_than_the_turn_waits() {
    let mut lanes = [lane(&[1, 7]), lane(&[3, 8])];
    // A line is read a moment after the turn began; if it says that it was written later still, a clock was set back,
    // and that must not keep it waiting.
    assert_eq!(merged(&mut lanes, Until(5), 6), [(0, 1), (1, 3)]);
    assert!(lanes[0].waits() && lanes[1].waits());
    assert_eq!(merged(&mut lanes, Until(6), 7), [(0, 6), (1, 6)]);
    assert!(!lanes[0].waits());
}

#[test]
fn names_are_short_unless_somebody_chose_them() {
    for (name, shown) in [
        ("shop-web-1", "web-1"),
        ("0123456789ab_shop-web-1", "web-1"),
        ("front", "front"),
        ("shop-web-run-0a1b", "shop-web-run-0a1b"),
        ("my_shop-web-1", "my_shop-web-1"),
    ] {
        assert_eq!(short_name(name, "shop", "web", "1"), shown);
    }
}
