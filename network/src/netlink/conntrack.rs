//! The flows that the kernel remembers: messages that list them and forget one.
//!
//! A flow keeps the address that its first packet was sent on to. A client that goes on sending datagrams from the
//! same port would reach whoever was there before, or nobody, for as long as it sends.

use super::message::{ACK, Attributes, DUMP, Message, REQUEST};
use super::socket::Request;

const GET: u16 = 1 << 8 | 1;
const DELETE: u16 = 1 << 8 | 2;
/// The part that every message begins with: the family of addresses, a version, a number.
const FIXED: usize = 4;
const NESTED: u16 = 0x8000;

/// Attributes of a flow: its first direction, and its number.
const ORIGINAL: u16 = 1;
const ID: u16 = 12;
/// Attribute of a direction.
const PROTOCOL: u16 = 2;
/// Attributes of its protocol.
const NUMBER: u16 = 1;
const DESTINATION_PORT: u16 = 3;

const UDP: u8 = 17;

/// Datagrams that go to and fro.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// The port that its first packet was sent to.
    pub port: u16,
    family: u8,
    original: Vec<u8>,
    id: Option<Vec<u8>>,
}

/// Asks for all flows.
pub fn list() -> Request {
    Request::new("list what flows through this machine", Message::new(GET, REQUEST | DUMP, &[0; FIXED]))
}

/// Reads an answer to [`list`]; nothing if it is no flow of datagrams.
pub fn read(body: &[u8]) -> Option<Flow> {
    let attributes = Attributes::after(body, FIXED);
    let original = attributes.clone().find(ORIGINAL)?;
    let protocol = Attributes::new(Attributes::new(original).find(PROTOCOL)?);
    if protocol.clone().find(NUMBER)? != [UDP] {
        return None;
    }
    Some(Flow {
        port: u16::from_be_bytes(protocol.find(DESTINATION_PORT)?.try_into().ok()?),
        family: *body.first()?,
        original: original.to_vec(),
        id: attributes.find(ID).map(<[u8]>::to_vec),
    })
}

/// Has a flow forgotten.
pub fn forget(flow: &Flow) -> Request {
    let message = Message::new(DELETE, REQUEST | ACK, &[flow.family, 0, 0, 0]);
    let mut message = message.attribute(ORIGINAL | NESTED, &flow.original);
    if let Some(id) = &flow.id {
        message = message.attribute(ID, id);
    }
    Request::new(format!("forget what flows to port {}", flow.port), message)
}

#[cfg(test)]
mod tests {
    use super::super::message::Frames;
    use super::*;

    fn flow(protocol: u8, port: u16) -> Vec<u8> {
        let fill = |nest: Message| {
            nest.attribute(NUMBER, &[protocol]).attribute(DESTINATION_PORT, &port.to_be_bytes())
        };
        Message::new(GET, 0, &[2, 0, 0, 0])
            .nested(ORIGINAL, |nest| nest.attribute(1, &[192, 0, 2, 1]).nested(PROTOCOL, fill))
            .attribute(ID, &[1, 2, 3, 4])
            .finish(1)
    }

    #[test]
    fn what_is_forgotten_is_what_was_listed() {
        let bytes = flow(UDP, 5353);
        let listed = Frames::new(&bytes).next().unwrap();
        let read = read(listed.body).unwrap();
        assert_eq!(read.port, 5353);

        let bytes = forget(&read).message.finish(2);
        let asked = Frames::new(&bytes).next().unwrap();
        assert_eq!((asked.kind, asked.flags, asked.body[0]), (DELETE, REQUEST | ACK, 2));
        for kind in [ORIGINAL, ID] {
            let of = |body| Attributes::after(body, FIXED).find(kind);
            assert_eq!(of(asked.body), of(listed.body));
        }
    }

    #[test]
    fn only_datagrams_are_looked_at() {
        let bytes = flow(6, 5353);
        assert_eq!(read(Frames::new(&bytes).next().unwrap().body), None);
        assert_eq!(read(&[]), None);
        assert_eq!(read(&[2, 0, 0, 0]), None);
    }
}
