use proptest::prelude::*;

use super::*;

#[test]
fn a_message_reads_back_as_it_was_written() {
    let message = Message::new(16, REQUEST | ACK, &[7; 5])
        .string(3, "eth0")
        .nested(18, |nest| {
            nest.string(1, "veth").nested_after(2, &[9; 4], |peer| peer.attribute(1, &[1, 2, 3]))
        })
        .attribute(4, &1500_u32.to_ne_bytes());
    assert!(message.wants_acknowledgement());
    let bytes = message.finish(42);

    let frames: Vec<_> = Frames::new(&bytes).collect();
    assert_eq!(frames.len(), 1);
    assert_eq!((frames[0].kind, frames[0].flags, frames[0].sequence), (16, REQUEST | ACK, 42));
    let attributes: Vec<_> = Attributes::after(frames[0].body, 5).collect();
    assert_eq!(attributes[0], (3, b"eth0\0".as_slice()));
    assert_eq!(attributes[2], (4, 1500_u32.to_ne_bytes().as_slice()));
    let info = Attributes::new(attributes[1].1);
    assert_eq!(read_string(info.clone().find(1).unwrap()), "veth");
    let peer = info.find(2).unwrap();
    assert_eq!(Attributes::after(peer, 4).find(1), Some([1, 2, 3].as_slice()));
}

#[test]
fn several_messages_of_a_datagram_are_told_apart() {
    let mut bytes = Message::new(1, 0, &[]).attribute(1, b"a").finish(1);
    bytes.extend(Message::new(2, 0, &[]).finish(2));
    let kinds: Vec<_> = Frames::new(&bytes).map(|frame| frame.kind).collect();
    assert_eq!(kinds, [1, 2]);
}

#[test]
fn a_message_cut_short_ends_the_list() {
    let bytes = Message::new(1, 0, &[0; 8]).finish(1);
    assert_eq!(Frames::new(&bytes[..bytes.len() - 1]).count(), 0);
}

proptest! {
    #[test]
    fn foreign_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
        for frame in Frames::new(&bytes) {
            for (_, value) in Attributes::after(frame.body, 4) {
                let _ = (read_string(value), read_be32(value), Attributes::new(value).count());
            }
        }
    }
}
