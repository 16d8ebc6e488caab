//! The rules by which packets for one address and port of a namespace come to other ports: as bytes, because they are
//! made for every container, where starting a program would cost more than all the rest.
//!
//! ```text
//! table ip NAME {
//!     chain output {
//!         type nat hook output priority -100;
//!         ip daddr ADDRESS meta l4proto udp th dport PORT dnat to ADDRESS:UDP
//!         ip daddr ADDRESS meta l4proto tcp th dport PORT dnat to ADDRESS:TCP
//!     }
//! }
//! ```

use std::net::Ipv4Addr;

use super::message::{ACK, APPEND, CREATE, Message, REQUEST};
use super::nftables::{TableFamily, batch, header};
use super::socket::Request;

const NEW_TABLE: u16 = 10 << 8;
const DELETE_TABLE: u16 = 10 << 8 | 2;
const NEW_CHAIN: u16 = 10 << 8 | 3;
const NEW_RULE: u16 = 10 << 8 | 6;

const HOOK_OUTPUT: u32 = 3;
const PRIORITY: i32 = -100;
const REGISTER: u32 = 1;
const SECOND_REGISTER: u32 = 2;

/// An address and port whose packets come to another port of the same address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// The number of the protocol.
    pub protocol: u8,
    /// The address.
    pub address: Ipv4Addr,
    /// The port that is asked for.
    pub port: u16,
    /// The port that answers.
    pub target: u16,
}

/// The messages of one transaction that makes a table of redirections, in the place of one that may be there.
pub fn make(table: &str, redirects: &[Redirect]) -> Vec<Request> {
    let act = "redirect packets in a network namespace";
    let ip = header(TableFamily::Ip, 0);
    let name = |kind, flags| Message::new(kind, flags, &ip).string(1, table);
    let create = REQUEST | ACK | CREATE;
    let mut messages = vec![
        name(NEW_TABLE, create),
        name(DELETE_TABLE, REQUEST | ACK),
        name(NEW_TABLE, create),
        name(NEW_CHAIN, create)
            .string(3, "output")
            .nested(4, |hook| {
                hook.attribute(1, &HOOK_OUTPUT.to_be_bytes()).attribute(2, &PRIORITY.to_be_bytes())
            })
            .string(7, "nat"),
    ];
    messages.extend(redirects.iter().map(|redirect| {
        name(NEW_RULE, create | APPEND).string(2, "output").nested(4, |list| rule(list, redirect))
    }));
    let mut requests = vec![batch::begin()];
    requests.extend(messages.into_iter().map(|message| Request::new(act, message)));
    requests.push(batch::end());
    requests
}

fn rule(list: Message, redirect: &Redirect) -> Message {
    const NETWORK_HEADER: u32 = 1;
    const TRANSPORT_HEADER: u32 = 2;
    let list = load(list, NETWORK_HEADER, 16, 4);
    let list = equals(list, &redirect.address.octets());
    let list = protocol(list);
    let list = equals(list, &[redirect.protocol]);
    let list = load(list, TRANSPORT_HEADER, 2, 2);
    let list = equals(list, &redirect.port.to_be_bytes());
    let list = set(list, REGISTER, &redirect.address.octets());
    let list = set(list, SECOND_REGISTER, &redirect.target.to_be_bytes());
    destination(list)
}

fn expression(list: Message, name: &str, fill: impl FnOnce(Message) -> Message) -> Message {
    list.nested(1, |item| item.string(1, name).nested(2, fill))
}

fn number(message: Message, kind: u16, value: u32) -> Message {
    message.attribute(kind, &value.to_be_bytes())
}

/// Loads bytes of a header.
fn load(list: Message, base: u32, offset: u32, length: u32) -> Message {
    expression(list, "payload", |data| {
        number(number(number(number(data, 1, REGISTER), 2, base), 3, offset), 4, length)
    })
}

/// Loads the number of the protocol.
fn protocol(list: Message) -> Message {
    const L4_PROTOCOL: u32 = 16;
    expression(list, "meta", |data| number(number(data, 1, REGISTER), 2, L4_PROTOCOL))
}

/// Goes on only if what was loaded is this.
fn equals(list: Message, value: &[u8]) -> Message {
    const EQUAL: u32 = 0;
    expression(list, "cmp", |data| {
        number(number(data, 1, REGISTER), 2, EQUAL).nested(3, |held| held.attribute(1, value))
    })
}

fn set(list: Message, register: u32, value: &[u8]) -> Message {
    expression(list, "immediate", |data| number(data, 1, register).nested(2, |held| held.attribute(1, value)))
}

/// Changes the destination to what the registers hold.
fn destination(list: Message) -> Message {
    const DESTINATION: u32 = 1;
    const IPV4: u32 = 2;
    expression(list, "nat", |data| {
        let data = number(number(data, 1, DESTINATION), 2, IPV4);
        number(number(data, 3, REGISTER), 5, SECOND_REGISTER)
    })
}
