use proptest::prelude::*;

use super::frame::{Decoder, Frame, FrameError, Kind, MAX_MESSAGE, MAX_PIECE, encode, receive, send};
use super::*;

fn requests() -> Vec<Request> {
    vec![
        Request::Hello { version: VERSION },
        Request::Stop { signal: Some(Signal::TERM), grace: Grace::For(Duration::from_millis(1500)) },
        Request::Kill { signal: Signal::KILL },
        Request::Wait { until: Until::NextExit },
        Request::Watch,
        Request::Attach(Attach::ALL),
        Request::ExecStart { id: ExecId("ab".repeat(32)), attach: None, size: Some((80, 24)) },
        Request::Update { limits: None, restart: Some(RestartPolicy::OnFailure { max: Some(3) }) },
        Request::TakeLock,
    ]
}

#[test]
fn messages_arrive_as_they_were_sent_in_pieces_of_any_size() {
    let mut bytes = Vec::new();
    for request in requests() {
        encode(Kind::Message, &Frame::message(&request).unwrap().bytes, &mut bytes);
        encode(Kind::Stdin, b"input", &mut bytes);
    }
    for step in [1, 2, 3, 7, 64, bytes.len()] {
        let mut decoder = Decoder::default();
        let mut frames = Vec::new();
        for piece in bytes.chunks(step) {
            decoder.feed(piece);
            while let Some(frame) = decoder.next_frame().unwrap() {
                frames.push(frame);
            }
        }
        assert_eq!(frames.len(), 2 * requests().len());
        for (pair, sent) in frames.chunks(2).zip(requests()) {
            let read: Request = pair[0].read().unwrap();
            assert_eq!(format!("{read:?}"), format!("{sent:?}"));
            assert_eq!(pair[1], Frame { kind: Kind::Stdin, bytes: b"input".to_vec() });
        }
    }
}

#[test]
fn what_is_too_long_or_unknown_is_refused_before_it_is_kept() {
    let check = |head: &[u8]| {
        let mut decoder = Decoder::default();
        decoder.feed(head);
        decoder.next_frame()
    };
    assert!(matches!(
        check(&[0xff, 0xff, 0xff, 0xff, 0]),
        Err(FrameError::TooLong { limit: MAX_MESSAGE, .. })
    ));
    assert!(matches!(check(&[1, 0, 1, 0, 1]), Err(FrameError::TooLong { limit: MAX_PIECE, .. })));
    assert!(matches!(check(&[5, 0, 0, 0, 4]), Err(FrameError::TooLong { limit: 4, .. })));
    assert!(matches!(check(&[1, 0, 0, 0, 9]), Err(FrameError::Kind(9))));
    assert!(matches!(check(&[1, 0, 0, 0]), Ok(None)));
}

#[test]
fn nonsense_in_a_message_is_an_error() {
    for text in [
        "",
        "{}",
        "{\"Hello\":{}}",
        "\"Start\"",
        "{\"Kill\":{\"signal\":\"NOPE\"}}",
        "[[[[",
        "{\"Hello\":{\"version\":-1}}",
    ] {
        let frame = Frame { kind: Kind::Message, bytes: text.into() };
        assert!(matches!(frame.read::<Request>(), Err(FrameError::Malformed(_))), "{text}");
    }
    let deep = Frame { kind: Kind::Message, bytes: b"[".repeat(100_000) };
    assert!(deep.read::<Request>().is_err());
    assert!(Frame { kind: Kind::Stdin, bytes: b"\"Pause\"".to_vec() }.read::<Request>().is_err());
}

#[test]
fn sizes_of_terminals_are_exact() {
    assert_eq!(Frame::of_size(80, 65535).size(), Some((80, 65535)));
    assert_eq!(Frame { kind: Kind::Size, bytes: vec![1, 2, 3] }.size(), None);
    assert_eq!(Frame { kind: Kind::Stdin, bytes: vec![1, 2, 3, 4] }.size(), None);
}

#[test]
fn descriptors_come_with_their_message() {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
    use std::os::fd::AsFd as _;
    let (near, far) =
        socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
    let file = std::fs::File::open("/dev/null").unwrap();
    let frame = Frame::message(&Request::TakeLock).unwrap();
    send(&near, &frame, &[file.as_fd(), file.as_fd()]).unwrap();
    let (mut decoder, mut fds) = (Decoder::default(), Vec::new());
    assert_eq!(receive(&far, &mut decoder, &mut fds).unwrap(), frame);
    assert_eq!(fds.len(), 2);
    drop(near);
    assert!(matches!(receive(&far, &mut decoder, &mut fds), Err(FrameError::Closed)));
}

proptest! {
    #[test]
    fn no_bytes_make_a_decoder_fail_otherwise_than_by_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200), step in 1_usize..20) {
        let mut decoder = Decoder::default();
        'outer: for piece in bytes.chunks(step) {
            decoder.feed(piece);
            loop {
                match decoder.next_frame() {
                    Ok(Some(frame)) => { let _ = frame.read::<Request>(); }
                    Ok(None) => break,
                    Err(_) => break 'outer,
                }
            }
        }
    }
}
