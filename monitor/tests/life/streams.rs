//! Output and input: attached, slow, of terminals.

use rbuild_model::container::{LogConfig, LogDriver};
use rbuild_monitor::{Attach, Client, Grace, Handed, SessionEvent, Stdin, StreamEnd, Until};

use super::house::{House, collect};
use crate::Scenario;

pub(crate) const ALL: &[Scenario] = &[
    ("who_attaches_before_the_start_misses_nothing", before),
    ("a_slow_reader_holds_nobody_up_and_gets_every_byte", slow),
    ("input_reaches_the_program_and_ends", input),
    ("input_of_many_megabytes_waits_for_the_program", much_input),
    ("a_terminal_is_resized_and_speaks", terminal),
    ("an_execution_may_have_a_terminal_and_input", exec_streams),
    ("streams_can_be_opened_by_name", by_name),
    ("a_log_may_be_none", no_log),
];

const OUTPUT: Attach = Attach { stdin: false, stdout: true, stderr: true };

fn before(house: &House) {
    let container = house.container("echo first; echo second >&2");
    let (session, position) = container.client().attach(OUTPUT).unwrap();
    assert_eq!(position, None, "there is no log yet");
    let (only, _) = container.client().attach(Attach { stderr: false, ..OUTPUT }).unwrap();
    container.start();
    let (text, end) = collect(session);
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    assert_eq!((lines, end), (vec!["first", "second"], SessionEvent::Ended(StreamEnd::Ended)));
    assert_eq!(collect(only).0, "first\n");
    // Later, the log up to the position and the stream from there on are everything.
    let container = house.container("echo one; cat; echo two");
    let mut container = container;
    container.settings.stdin = Stdin::Once;
    container.start();
    container.await_log("one");
    let (session, position) = container.client().attach(Attach::ALL).unwrap();
    let filter = rbuild_monitor::log::Filter { end: position, ..Default::default() };
    let mut reader = rbuild_monitor::log::read(
        container.place.folder(),
        &container.settings.id,
        &container.settings.log,
        filter,
    )
    .unwrap();
    assert_eq!(reader.next_entry().unwrap().unwrap().bytes, b"one\n");
    assert_eq!(reader.next_entry().unwrap(), None);
    session.writer().unwrap().close().unwrap();
    assert_eq!(collect(session).0, "two\n");
}

fn slow(house: &House) {
    // No text: what a log of lines would change.
    let container = house.container(
        "dd if=/dev/urandom of=/data/all bs=64k count=256 2>/dev/null; cat /data/all; echo done >&2",
    );
    let (mut session, _) = container.client().attach(Attach { stderr: false, ..OUTPUT }).unwrap();
    let (fast, _) = container.client().attach(Attach { stdout: false, ..OUTPUT }).unwrap();
    let waiter = container.client().wait(Until::NextExit).unwrap();
    container.start();
    assert_eq!(collect(fast).0, "done\n", "others are served");
    assert_eq!(waiter.exited().unwrap().code, 0, "the program has ended before anything was read");
    let mut bytes = Vec::new();
    let end = loop {
        match session.next_event().unwrap() {
            SessionEvent::Stdout(piece) => bytes.extend(piece),
            other => break other,
        }
    };
    assert_eq!(end, SessionEvent::Ended(StreamEnd::Ended));
    let written = std::fs::read(container.place.folder().join("upper/data/all")).unwrap();
    assert!(bytes == written, "{} bytes of {}", bytes.len(), written.len());
}

fn input(house: &House) {
    let mut container = house.container("cat; echo end");
    container.settings.stdin = Stdin::Once;
    let (session, _) = container.client().attach(Attach::ALL).unwrap();
    let mut writer = session.writer().unwrap();
    // Sent before the start: it waits.
    writer.send(b"early\n").unwrap();
    container.start();
    writer.send(b"late\n").unwrap();
    writer.close().unwrap();
    assert_eq!(collect(session).0, "early\nlate\nend\n");
    // An input that stays open outlives those who are attached.
    let mut container = house.container("read a; echo $a; read b; echo $b; echo end");
    container.settings.stdin = Stdin::Open;
    container.start();
    for line in ["a\n", "b\n"] {
        let (session, _) =
            container.client().attach(Attach { stdin: true, stdout: true, stderr: false }).unwrap();
        session.writer().unwrap().send(line.as_bytes()).unwrap();
        container.await_log(line);
    }
    assert_eq!(container.client().wait(Until::NotRunning).unwrap().exited().unwrap().code, 0);
    assert_eq!(container.log(), "a\nb\nend\n");
}

fn much_input(house: &House) {
    let mut container = house.container("wc -c");
    container.settings.stdin = Stdin::Once;
    let (session, _) = container.client().attach(Attach::ALL).unwrap();
    container.start();
    let mut writer = session.writer().unwrap();
    let thread = std::thread::spawn(move || {
        for _ in 0..64 {
            writer.send(&[b'x'; 100_000]).unwrap();
        }
        writer.close().unwrap();
    });
    assert_eq!(collect(session).0, "6400000\n");
    thread.join().unwrap();
}

fn terminal(house: &House) {
    let mut container = house.container("stty size; read line; stty size; echo got $line; exit 8");
    container.options.terminal = Some((80, 24));
    container.settings.stdin = Stdin::Open;
    let (mut session, _) = container.client().attach(Attach::ALL).unwrap();
    container.start();
    let mut text = String::new();
    let mut until = |session: &mut rbuild_monitor::Session, wanted: &str| {
        while !text.contains(wanted) {
            match session.next_event().unwrap() {
                SessionEvent::Stdout(bytes) => text.push_str(&String::from_utf8_lossy(&bytes)),
                other => panic!("{other:?} after {text}"),
            }
        }
    };
    until(&mut session, "24 80\r\n");
    let mut writer = session.writer().unwrap();
    writer.resize(100, 30).unwrap();
    writer.send(b"hello\n").unwrap();
    until(&mut session, "30 100\r\n");
    let (rest, end) = collect(session);
    assert!(rest.contains("got hello") || text.contains("got hello"), "{text}{rest}");
    assert_eq!(end, SessionEvent::Ended(StreamEnd::Ended));
    assert_eq!(container.client().wait(Until::NotRunning).unwrap().exited().unwrap().code, 8);
}

fn exec_streams(house: &House) {
    let container = house.container("sleep 1000");
    container.start();
    let mut plan = container.exec(&["/bin/sh", "-c", "stty size; read line; echo got $line; exit 3"]);
    (plan.terminal, plan.stdin) = (Some((0, 0)), Stdin::Open);
    let id = container.client().exec_create(plan).unwrap();
    let session = container.client().exec_attach(&id, Attach::ALL, Some((90, 20))).unwrap();
    session.writer().unwrap().send(b"this\n").unwrap();
    let (text, end) = collect(session);
    assert!(text.contains("20 90") && text.contains("got this"), "{text}");
    assert_eq!(end, SessionEvent::ExecEnded(3));
    let mut plan = container.exec(&["wc", "-c"]);
    plan.stdin = Stdin::Open;
    let id = container.client().exec_create(plan).unwrap();
    let session = container.client().exec_attach(&id, Attach::ALL, None).unwrap();
    let mut writer = session.writer().unwrap();
    writer.send(&[0; 300_000]).unwrap();
    writer.close().unwrap();
    assert_eq!(collect(session).0, "300000\n");
    // One whose client goes is read on, and ends as it would.
    let id = container
        .client()
        .exec_create(container.exec(&[
            "/bin/sh",
            "-c",
            "yes | head -c 1000000; touch /data/after; sleep 1000",
        ]))
        .unwrap();
    drop(container.client().exec_attach(&id, Attach::ALL, None).unwrap());
    assert_eq!(container.run_exec(&["/bin/sh", "-c", "until test -e /data/after; do :; done"]).1, 0);
    container.client().stop(None, Grace::For(std::time::Duration::ZERO)).unwrap();
}

fn by_name(house: &House) {
    let mut container = house.container("echo out > /dev/stdout; echo err > /dev/stderr");
    container.options.identity.uid = 1000;
    container.options.identity.gid = 1000;
    assert_eq!(container.run(), 0);
    let mut lines: Vec<String> = container.log().lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(lines, ["err", "out"]);
}

fn no_log(house: &House) {
    let mut container = house.container("echo seen");
    container.settings.log = LogConfig { driver: LogDriver::None, ..LogConfig::default() };
    let (session, _) = container.client().attach(OUTPUT).unwrap();
    let mut client: Client = container.client();
    client.start(container.plan(), Handed::default()).unwrap();
    assert_eq!(collect(session).0, "seen\n");
    let names: Vec<_> = std::fs::read_dir(container.place.folder())
        .unwrap()
        .flatten()
        .map(|entry| entry.file_name())
        .collect();
    assert!(!names.iter().any(|name| name.to_string_lossy().contains("log")), "{names:?}");
}
