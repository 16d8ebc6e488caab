//! Views, from a script of events with times.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rbuild_model::event::{Event, ExitStatus, Hit, Outcome, Stream, TaskId, Unit};
use rbuild_model::span::{Diagnostic, Location, Source, Span};

use super::tty::{Size, frame};
use super::*;

/// What a script writes to.
#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Page {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

fn ms(time: u64) -> Duration {
    Duration::from_millis(time)
}

fn declared(task: u32, name: &str) -> Event {
    let source = Source::new("Dockerfile", "FROM busybox\nRUN make\n");
    let location = Some(Location { source, span: Span::new(13, 21) });
    Event::Declared { task: TaskId(task), name: name.to_owned(), stage: None, location }
}

fn started(task: u32) -> Event {
    Event::Started { task: TaskId(task) }
}

fn log(task: u32, text: &str) -> Event {
    Event::Log { task: TaskId(task), stream: Stream::Stdout, bytes: text.as_bytes().to_vec() }
}

fn bytes(task: u32, part: &str, current: u64, total: u64) -> Event {
    Event::Progress {
        task: TaskId(task),
        part: part.to_owned(),
        current,
        total: Some(total),
        unit: Unit::Bytes,
    }
}

fn finished(task: u32, outcome: Outcome, took: u64) -> Event {
    Event::Finished { task: TaskId(task), outcome, took: ms(took) }
}

/// A build of which one step fails.
fn script() -> Vec<(u64, Event)> {
    let source = Source::new("Dockerfile", "FROM busybox\nrun make\n");
    let warning = Diagnostic::warning(
        "ConsistentInstructionCasing",
        &source,
        Span::new(13, 16),
        "Command 'run' should match the case of the command majority (uppercase)",
    );
    vec![
        (0, declared(1, "[internal] load build definition from Dockerfile")),
        (0, started(1)),
        (1, Event::Warning(warning)),
        (2, finished(1, Outcome::Done, 2)),
        (2, declared(2, "[build 1/3] FROM docker.io/library/busybox")),
        (2, declared(3, "[build 2/3] RUN make")),
        (2, declared(4, "[stage-1 2/2] RUN test")),
        (2, declared(5, "[build 3/3] COPY . .")),
        (3, started(2)),
        (4, bytes(2, "sha256:ab12", 0, 2_000_000)),
        (100, bytes(2, "sha256:ab12", 1_000_000, 2_000_000)),
        (200, bytes(2, "sha256:ab12", 2_000_000, 2_000_000)),
        (210, finished(2, Outcome::Done, 207)),
        (211, started(3)),
        (212, started(4)),
        (300, log(3, "\x1b[31mcc\x1b[0m main.c\nlin")),
        (310, log(4, "testing\n")),
        (320, log(3, "k\n")),
        (330, finished(5, Outcome::Cached(Hit::Definition), 0)),
        (1_500, log(4, "still testing\n")),
        (1_600, log(3, "oops")),
        (1_700, Event::Note("waiting for a lock".to_owned())),
        (1_800, finished(3, Outcome::Exited(ExitStatus::Code(2)), 1_589)),
        (1_810, finished(4, Outcome::Cancelled, 1_598)),
    ]
}

fn play(view: &mut dyn View, sgr: Sgr, script: Vec<(u64, Event)>) -> Tasks {
    let mut tasks = Tasks::new(sgr);
    let mut now = Duration::ZERO;
    for (at, event) in script {
        now = ms(at);
        let lines = tasks.take(&event, now);
        view.event(&event, &lines, &tasks, now);
    }
    tasks.finish();
    view.finish(&tasks, now, End::Failed);
    tasks
}

#[test]
fn plain_is_buildkits() {
    let page = Page::default();
    play(&mut plain::Plain::new(page.clone(), Colour::Off), Sgr::Drop, script());
    insta::assert_snapshot!(page.text());
}

#[test]
fn rawjson_is_an_object_a_line() {
    let page = Page::default();
    let begun = "2026-11-21T15:57:06Z".parse().unwrap();
    play(&mut json::RawJson::new(page.clone(), begun), Sgr::Drop, script());
    for line in page.text().lines() {
        assert!(serde_json::from_str::<serde_json::Value>(line).unwrap().is_object());
    }
    insta::assert_snapshot!(page.text());
}

#[test]
fn quiet_says_nothing_and_still_knows_the_failure() {
    let tasks = play(&mut quiet::Quiet, Sgr::Drop, script());
    let failure = tasks.failure("[build 2/3] RUN make").unwrap();
    assert_eq!(failure.name, "[build 2/3] RUN make");
    assert_eq!(failure.outcome, Outcome::Exited(ExitStatus::Code(2)));
    let tail: Vec<_> = failure.tail.iter().map(|(at, line)| format!("{} {line}", at.as_millis())).collect();
    assert_eq!(tail, ["89 cc main.c", "109 link", "1589 oops"]);
    assert_eq!(failure.location.unwrap().lines(), (2, 2));
}

#[test]
fn what_failed_before_and_stopped_nothing_is_not_the_failure() {
    let script = vec![
        (0, declared(1, "importing cache manifest from x")),
        (0, started(1)),
        (1, finished(1, Outcome::Failed, 1)),
        (1, declared(2, "[1/1] RUN false")),
        (1, started(2)),
        (2, finished(2, Outcome::Exited(ExitStatus::Code(1)), 1)),
    ];
    let tasks = play(&mut quiet::Quiet, Sgr::Drop, script);
    let failure = tasks.failure("[1/1] RUN false").unwrap();
    assert_eq!(
        (failure.name.as_str(), failure.outcome),
        ("[1/1] RUN false", Outcome::Exited(ExitStatus::Code(1)))
    );
    // Its key could not be computed: it never began.
    assert!(tasks.failure("[1/1] COPY nothere /").is_none());
}

#[test]
fn the_tail_has_the_last_forty_lines() {
    let text: String = (0..100).map(|number| format!("{number}\n")).collect();
    let script = vec![
        (0, declared(1, "x")),
        (0, started(1)),
        (1, log(1, &text)),
        (2, log(1, "last\n")),
        (3, finished(1, Outcome::Failed, 3)),
    ];
    let tail = play(&mut quiet::Quiet, Sgr::Drop, script).failure("x").unwrap().tail;
    assert_eq!(tail.len(), 40);
    assert_eq!((tail[0].1.as_str(), tail[39].1.as_str()), ("61", "last"));
}

/// Returns the frame at a moment of the script.
fn frame_at(moment: u64, size: Size, end: Option<End>) -> String {
    let mut tasks = Tasks::new(Sgr::Drop);
    for (at, event) in script().into_iter().filter(|(at, _)| *at <= moment) {
        tasks.take(&event, ms(at));
    }
    frame(&tasks, ms(moment), size, Colour::Off, end).join("\n")
}

#[test]
fn the_live_view_shows_tails_of_what_runs() {
    let size = Size { width: 60, height: Some(24) };
    insta::assert_snapshot!(frame_at(1_600, size, None), @r#"
    [+] Building 1.6s (3/5)
     => [internal] load build definition from Dockerfile   0.0s
     => [build 1/3] FROM docker.io/library/busybox         0.2s
     => => sha256:ab12 2MB / 2MB                           0.2s
     => [build 2/3] RUN make                               1.4s
     => => # cc main.c
     => => # link
     => => # oops
     => [stage-1 2/2] RUN test                             1.4s
     => => # testing
     => => # still testing
     => CACHED [build 3/3] COPY . .                        0.0s
    "#);
    insta::assert_snapshot!(frame_at(1_810, Size { width: 60, height: None }, Some(End::Failed)), @r#"
    [+] Building 1.8s (5/5) FAILED
     => [internal] load build definition from Dockerfile   0.0s
     => [build 1/3] FROM docker.io/library/busybox         0.2s
     => => sha256:ab12 2MB / 2MB                           0.2s
     => ERROR [build 2/3] RUN make                         1.6s
     => CANCELED [stage-1 2/2] RUN test                    1.6s
     => CACHED [build 3/3] COPY . .                        0.0s
    "#);
}

#[test]
fn the_live_view_fits_the_terminal() {
    for height in 3..20 {
        for width in [20, 40, 100] {
            for moment in [0, 100, 1_600] {
                let text = frame_at(moment, Size { width, height: Some(height) }, None);
                assert!(text.lines().count() < height, "{height} {moment}:\n{text}");
                assert!(
                    text.lines().all(|line| console::measure_text_width(line) < width),
                    "{width}:\n{text}"
                );
            }
        }
    }
    let small = frame_at(1_600, Size { width: 60, height: Some(8) }, None);
    assert!(
        small.contains("RUN make") && small.contains("RUN test") && !small.contains("load build"),
        "{small}"
    );
}

#[test]
fn hostile_output_is_neutral() {
    let hostile = || {
        vec![
            (0, declared(1, "RUN \x1b]0;x\x07 \u{202e}evil")),
            (0, started(1)),
            (1, log(1, "\x1b[2J\x1b[1A#9 DONE\r\x1b]52;c;aGk=\x07fake\x08\n")),
            (2, bytes(1, "\x1b[2Jpart", 1, 2)),
            (3, finished(1, Outcome::Done, 3)),
        ]
    };
    let page = Page::default();
    play(&mut plain::Plain::new(page.clone(), Colour::Off), Sgr::Keep, hostile());
    assert!(page.text().chars().all(|c| c == '\n' || !c.is_control()), "{:?}", page.text());
    assert!(page.text().contains("fake") && !page.text().contains('\u{202e}'));
    let page = Page::default();
    play(&mut json::RawJson::new(page.clone(), jiff::Timestamp::UNIX_EPOCH), Sgr::Keep, hostile());
    assert!(page.text().chars().all(|c| c == '\n' || !c.is_control()), "{:?}", page.text());
}

#[test]
fn a_task_with_much_to_say_comes_to_the_front() {
    let mut script = vec![(0, declared(1, "a")), (0, declared(2, "b")), (0, started(1)), (0, started(2))];
    script.extend((0..2500).map(|number| (1, log(2, &format!("{number}\n")))));
    script.push((2, finished(1, Outcome::Done, 2)));
    script.push((2, finished(2, Outcome::Done, 2)));
    let page = Page::default();
    play(&mut plain::Plain::new(page.clone(), Colour::Off), Sgr::Drop, script);
    let text = page.text();
    assert_eq!(text.lines().filter(|line| line.starts_with("#2 0.00")).count(), 2500);
    assert!(text.starts_with("#1 a\n#1 ...\n\n#2 b\n#2 0.001 0\n"), "{}", &text[..60]);
    assert!(text.ends_with("#2 DONE 0.0s\n\n#1 a\n#1 DONE 0.0s\n\n") || text.contains("#1 DONE 0.0s\n\n"));
}

#[test]
fn a_display_hears_from_many_threads_and_ends() {
    let page = Page::default();
    let display = Display::with(Box::new(plain::Plain::new(page.clone(), Colour::Off)), Sgr::Drop);
    std::thread::scope(|scope| {
        for task in 0..8 {
            let events = display.events();
            scope.spawn(move || {
                events.event(declared(task, "work"));
                events.event(started(task));
                for number in 0..500 {
                    events.event(log(task, &format!("{number}\n")));
                }
                events.event(finished(task, Outcome::Done, 1));
            });
        }
    });
    let late = display.events();
    let tasks = display.finish(End::Succeeded);
    late.event(log(1, "nobody hears this\n"));
    assert_eq!(tasks.count(), (8, 8));
    assert!(tasks.failure("work").is_none());
    assert_eq!(page.text().lines().filter(|line| line.ends_with(" 499")).count(), 8);
    assert_eq!(page.text().lines().filter(|line| line.contains(" DONE ")).count(), 8);
    assert!(!page.text().contains("nobody"));
}

#[test]
fn a_display_that_is_dropped_ends_too() {
    let page = Page::default();
    let display = Display::with(Box::new(plain::Plain::new(page.clone(), Colour::Off)), Sgr::Drop);
    display.events().event(declared(1, "work"));
    display.events().event(started(1));
    drop(display);
    assert_eq!(page.text(), "#1 work\n#1 CANCELED\n\n");
}
