use proptest::prelude::*;

use super::*;

/// A question as a client sends it.
fn question(id: u16, name: &str, kind: u16, edns: Option<u16>) -> Vec<u8> {
    let mut message = id.to_be_bytes().to_vec();
    message.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(edns.is_some())]);
    for label in name.split('.').filter(|label| !label.is_empty()) {
        message.push(label.len() as u8);
        message.extend_from_slice(label.as_bytes());
    }
    message.push(0);
    message.extend(kind.to_be_bytes());
    message.extend([0, 1]);
    if let Some(payload) = edns {
        message.extend([0, 0, 41]);
        message.extend(payload.to_be_bytes());
        message.extend([0; 6]);
    }
    message
}

fn address(last: u8) -> Record {
    Record::Address(IpAddr::from([10, 0, 0, last]))
}

#[test]
fn a_question_is_read_and_answered() {
    let message = question(7, "Web.App", A, Some(4096));
    let query = Query::read(&message).unwrap();
    assert_eq!((query.id, query.name.as_deref(), query.kind), (7, Some("web.app"), A));
    assert_eq!(query.datagram_bytes(), 1232);
    let answer = query.answer(Code::Fine, &[address(2), address(3)], 1232, 10);
    assert_eq!(answer[..12], [0, 7, 0x81, 0x80, 0, 1, 0, 2, 0, 0, 0, 1]);
    assert_eq!(answer[12..25], message[12..25], "the name as it was asked for");
    assert_eq!(answer[25..41], [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 10, 0, 4, 10, 0, 0, 2]);
    assert_eq!(answer.len(), 25 + 16 + 16 + 11);
    assert!(query.is_answered_by(&answer, 7) && !query.is_answered_by(&answer, 8));
    assert!(!query.is_answered_by(&message, 7), "a question answers nothing");
}

#[test]
fn what_does_not_fit_is_left_out_and_said() {
    let query = Query::read(&question(1, "web", A, None)).unwrap();
    let records: Vec<Record> = (0..200).map(address).collect();
    let answer = query.answer(Code::Fine, &records, query.datagram_bytes(), 10);
    assert!(answer.len() <= PLAIN_BYTES && answer.len() > PLAIN_BYTES - 16);
    assert_eq!(answer[2] & 2, 2, "truncated");
    let whole = query.answer(Code::Fine, &records, STREAM_BYTES, 10);
    assert_eq!((whole[2] & 2, u16::from_be_bytes([whole[6], whole[7]])), (0, 200));
}

#[test]
fn what_is_no_question_is_ignored_or_refused() {
    let good = question(9, "a", A, None);
    let with = |at: usize, value: u8| {
        let mut message = good.clone();
        message[at] = value;
        Query::read(&message).map(|query| query.name)
    };
    let malformed = Err(NoQuery::Refuse { id: 9, code: Code::Malformed });
    assert_eq!(with(2, 0x81), Err(NoQuery::Ignore), "an answer");
    assert_eq!(with(2, 0x29), Err(NoQuery::Refuse { id: 9, code: Code::NotDone }), "an update");
    assert_eq!(with(5, 2), malformed, "two questions");
    assert_eq!(with(12, 0xc0), malformed, "a pointer, here to itself");
    assert_eq!(with(12, 63), malformed, "a label that is not there");
    // Where the bytes are there that such a label would have.
    for length in [64, 0x80, 0xc0] {
        let longer = question(9, &"a".repeat(length), A, None);
        assert_eq!(Query::read(&longer).err(), malformed.clone().err(), "{length}");
    }
    assert_eq!(with(13, b'.'), Ok(None), "a name that no host has");
    assert_eq!(Query::read(&good[..11]), Err(NoQuery::Ignore));
    assert_eq!(Query::read(&good[..16]).err(), malformed.err());
    let long = question(9, &"abcdefg.".repeat(32), A, None);
    assert_eq!(Query::read(&long), Err(NoQuery::Refuse { id: 9, code: Code::Malformed }));
}

#[test]
fn names_of_addresses_are_read_backwards() {
    assert_eq!(reversed("2.0.18.172.in-addr.arpa"), Some(IpAddr::from([172, 18, 0, 2])));
    let six = format!("{}ip6.arpa", "1.0.0.0.".repeat(8));
    assert_eq!(reversed(&six), Some("1:1:1:1:1:1:1:1".parse().unwrap()));
    for bad in [
        "",
        "in-addr.arpa",
        "1.2.3.in-addr.arpa",
        "1.2.3.4.5.in-addr.arpa",
        "256.0.0.1.in-addr.arpa",
        "1.ip6.arpa",
    ] {
        assert_eq!(reversed(bad), None, "{bad}");
    }
}

proptest! {
    #[test]
    fn foreign_bytes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..300), plain in any::<bool>()) {
        if plain && bytes.len() > 6 {
            // Most random messages fail at the first look; these get further.
            bytes[2] = 1;
            bytes[4..6].copy_from_slice(&[0, 1]);
        }
        if let Ok(query) = Query::read(&bytes) {
            let answer = query.answer(Code::NoSuchName, &[Record::Name("a.b".to_owned())], query.datagram_bytes(), 1);
            prop_assert!(query.is_answered_by(&answer, query.id));
            prop_assert!(Query::read(&answer).is_err());
        }
        let _ = reversed(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn every_host_name_is_read_as_it_was_sent(name in "[a-z0-9_-]{1,63}(\\.[a-z0-9_-]{1,40}){0,3}", id in any::<u16>()) {
        let query = Query::read(&question(id, &name, AAAA, None)).unwrap();
        prop_assert_eq!(query.name.as_deref(), Some(&*name));
    }
}
