//! The messages about the packet filter, as bytes: what is there, and the elements of our sets.
//!
//! The rules themselves are made by the `nft` program, rarely. What changes with every endpoint are elements of
//! sets, and those are a message of a hundred bytes.

use super::message::{
    ACK, Attributes, CREATE, DUMP, ECHO, EXCLUSIVE, Message, REQUEST, read_be32, read_string,
};
use super::socket::Request;

const SUBSYSTEM: u16 = 10 << 8;
const NEW_CHAIN: u16 = SUBSYSTEM | 3;
const GET_CHAIN: u16 = SUBSYSTEM | 4;
const DELETE_CHAIN: u16 = SUBSYSTEM | 5;
const NEW_RULE: u16 = SUBSYSTEM | 6;
const GET_RULE: u16 = SUBSYSTEM | 7;
const DELETE_RULE: u16 = SUBSYSTEM | 8;
const NEW_ELEMENT: u16 = SUBSYSTEM | 12;
const DELETE_ELEMENT: u16 = SUBSYSTEM | 14;
const DELETE_TABLE: u16 = SUBSYSTEM | 2;
const NEW_GENERATION: u16 = SUBSYSTEM | 15;
const GET_GENERATION: u16 = SUBSYSTEM | 16;
const FIXED: usize = 4;

/// The table that a message is about which tells of a change of rules, or of what has them.
pub fn changed_table(kind: u16, body: &[u8]) -> Option<String> {
    matches!(kind, DELETE_TABLE | NEW_CHAIN | DELETE_CHAIN | NEW_RULE | DELETE_RULE)
        .then(|| Attributes::after(body, FIXED).find(1).map(read_string))
        .flatten()
}

/// Which packets a table sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TableFamily {
    /// Those of both versions of IP.
    Inet,
    /// Those of IPv4.
    Ip,
    /// Those of IPv6.
    Ip6,
    /// Those that pass a bridge.
    Bridge,
    /// Another kind, by number.
    Other(u8),
}

impl TableFamily {
    fn number(self) -> u8 {
        match self {
            Self::Inet => 1,
            Self::Ip => 2,
            Self::Bridge => 7,
            Self::Ip6 => 10,
            Self::Other(number) => number,
        }
    }

    fn of(number: u8) -> Self {
        match number {
            1 => Self::Inet,
            2 => Self::Ip,
            7 => Self::Bridge,
            10 => Self::Ip6,
            other => Self::Other(other),
        }
    }

    /// The word for it in the packet filter's own language.
    pub fn word(self) -> &'static str {
        match self {
            Self::Inet => "inet",
            Self::Ip => "ip",
            Self::Ip6 => "ip6",
            Self::Bridge => "bridge",
            Self::Other(_) => "other",
        }
    }
}

pub(super) fn header(family: TableFamily, resource: u16) -> [u8; FIXED] {
    let [high, low] = resource.to_be_bytes();
    [family.number(), 0, high, low]
}

/// What a transaction begins and ends with.
pub(super) mod batch {
    use super::{Message, REQUEST, Request, SUBSYSTEM, TableFamily, header};

    pub(in super::super) const BEGIN: u16 = 0x10;
    pub(in super::super) const END: u16 = 0x11;

    fn mark(kind: u16) -> Message {
        // The number of the subsystem stands in the header, in the order of the network.
        Message::new(kind, REQUEST, &header(TableFamily::Other(0), SUBSYSTEM >> 8))
    }

    fn request(mark: Message) -> Request {
        Request::new("change the packet filter", mark)
    }

    pub(in super::super) fn begin() -> Request {
        request(mark(BEGIN))
    }

    /// Begins what happens only if the rule set still has the number.
    pub(super) fn begin_at(generation: u32) -> Request {
        const GENERATION: u16 = 1;
        request(mark(BEGIN).attribute(GENERATION, &generation.to_be_bytes()))
    }

    pub(in super::super) fn end() -> Request {
        request(mark(END))
    }
}

/// A chain, as a listing shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// The family of its table.
    pub family: TableFamily,
    /// Its table.
    pub table: String,
    /// Its name.
    pub name: String,
    /// Where it hangs, if it is called by the kernel itself.
    pub hook: Option<u32>,
    /// Whether packets that no rule decides on are dropped.
    pub drops_by_default: bool,
}

/// The number of the hook that forwarded packets pass.
pub const HOOK_FORWARD: u32 = 2;

/// Asks for the number that changes with every change of the rule set.
pub fn get_generation() -> Message {
    Message::new(GET_GENERATION, REQUEST, &header(TableFamily::Other(0), 0))
}

/// Reads that number.
pub fn read_generation(body: &[u8]) -> Option<u32> {
    read_be32(Attributes::after(body, FIXED).find(1)?)
}

/// Reads the number of the rule set that a transaction has made.
pub fn new_generation(kind: u16, body: &[u8]) -> Option<u32> {
    (kind == NEW_GENERATION).then(|| read_generation(body)).flatten()
}

/// Asks for all chains of all tables.
pub fn list_chains() -> Message {
    Message::new(GET_CHAIN, REQUEST | DUMP, &header(TableFamily::Other(0), 0))
}

/// Reads a chain.
pub fn read_chain(body: &[u8]) -> Option<Chain> {
    const TABLE: u16 = 1;
    const NAME: u16 = 3;
    const HOOK: u16 = 4;
    const POLICY: u16 = 5;
    const HOOK_NUMBER: u16 = 1;
    const DROP: u32 = 0;
    let attributes = Attributes::after(body, FIXED);
    let hook =
        attributes.clone().find(HOOK).and_then(|hook| read_be32(Attributes::new(hook).find(HOOK_NUMBER)?));
    Some(Chain {
        family: TableFamily::of(*body.first()?),
        table: attributes.clone().find(TABLE).map(read_string)?,
        name: attributes.clone().find(NAME).map(read_string)?,
        hook,
        drops_by_default: attributes.find(POLICY).and_then(read_be32) == Some(DROP),
    })
}

/// Asks for the rules of a table.
pub fn list_rules(family: TableFamily, table: &str) -> Message {
    Message::new(GET_RULE, REQUEST | DUMP, &header(family, 0)).string(1, table)
}

/// A rule, as a listing shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule<'a> {
    /// Its chain.
    pub chain: String,
    /// Its number in its table, which is never given twice.
    pub handle: u64,
    /// What it does, in the kernel's form: for comparing.
    pub expressions: &'a [u8],
    /// What its maker noted at it.
    pub comment: Option<String>,
}

impl Rule<'_> {
    /// Whether no packet gets past it: it drops or refuses whatever comes to it, and asks nothing before.
    pub fn refuses_all(&self) -> bool {
        const NAME: u16 = 1;
        const DATA: u16 = 2;
        for (_, expression) in Attributes::new(self.expressions) {
            let parts = Attributes::new(expression);
            let data = Attributes::new(parts.clone().find(DATA).unwrap_or_default());
            match parts.find(NAME).map(read_string).as_deref() {
                Some("counter" | "log") => {}
                Some("reject") => return true,
                Some("immediate") => return drops(data),
                // What `iptables` knows and the kernel's own language does not.
                Some("target") => {
                    let name = data.clone().find(NAME).map(read_string);
                    return matches!(name.as_deref(), Some("REJECT" | "DROP"));
                }
                _ => return false,
            }
        }
        false
    }
}

/// Whether what a rule says outright is that a packet is dropped.
fn drops(immediate: Attributes<'_>) -> bool {
    const VALUE: u16 = 2;
    const VERDICT: u16 = 2;
    const CODE: u16 = 1;
    const DROP: u32 = 0;
    let verdict = immediate.clone().find(VALUE).and_then(|value| Attributes::new(value).find(VERDICT));
    verdict.and_then(|verdict| Attributes::new(verdict).find(CODE)).and_then(read_be32) == Some(DROP)
}

/// Reads a rule.
pub fn read_rule(body: &[u8]) -> Option<Rule<'_>> {
    const CHAIN: u16 = 2;
    const HANDLE: u16 = 3;
    const EXPRESSIONS: u16 = 4;
    const USER_DATA: u16 = 7;
    let attributes = Attributes::after(body, FIXED);
    let handle = attributes.clone().find(HANDLE)?;
    Some(Rule {
        chain: attributes.clone().find(CHAIN).map(read_string)?,
        handle: u64::from_be_bytes(handle.get(..8)?.try_into().ok()?),
        expressions: attributes.clone().find(EXPRESSIONS).unwrap_or_default(),
        comment: attributes.find(USER_DATA).and_then(read_comment),
    })
}

/// Finds the comment in what the programs that make rules note at them: parts of a kind, a length and a value.
fn read_comment(mut notes: &[u8]) -> Option<String> {
    const COMMENT: u8 = 0;
    while let [kind, length, rest @ ..] = notes {
        let (value, behind) = rest.split_at_checked(usize::from(*length))?;
        if *kind == COMMENT {
            return Some(read_string(value));
        }
        notes = behind;
    }
    None
}

/// A set of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Set {
    /// The family of its table.
    pub family: TableFamily,
    /// Its name.
    pub name: &'static str,
}

/// An element of a set or map, in the kernel's form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    /// Where it belongs.
    pub set: Set,
    /// What is looked up; each part is padded to four bytes.
    pub key: Vec<u8>,
    /// What is found there, in a map.
    pub value: Option<Vec<u8>>,
    /// Whether it marks the first address behind a range.
    pub ends_range: bool,
}

/// Whether elements come or go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// They come; those that are there already stay.
    Add,
    /// They come; one that is there already fails the transaction.
    AddMissing,
    /// They go.
    Remove,
}

/// The messages of one transaction on the sets of a table: all of it happens, or nothing.
///
/// With the number of a rule set it happens only to that one; to another the kernel answers `ERESTART`. Then it also tells
/// which number it gave the next one ([`new_generation`]), unless all of it was so before.
pub fn change_elements(
    table: &str,
    change: Change,
    elements: &[Element],
    generation: Option<u32>,
) -> Vec<Request> {
    let mut requests = vec![generation.map_or_else(batch::begin, batch::begin_at)];
    requests.extend(elements.iter().enumerate().map(|(at, element)| {
        let (kind, flags, verb) = match change {
            Change::Add => (NEW_ELEMENT, REQUEST | CREATE, "add to"),
            Change::AddMissing => (NEW_ELEMENT, REQUEST | CREATE | EXCLUSIVE, "add to"),
            Change::Remove => (DELETE_ELEMENT, REQUEST, "remove from"),
        };
        // What fails is told in any case: that all is well is told once.
        let flags = if at + 1 == elements.len() { flags | ACK } else { flags };
        // The kernel tells the next number to who wants to hear of what comes first in a transaction.
        let flags = if at == 0 && generation.is_some() { flags | ECHO } else { flags };
        let message = Message::new(kind, flags, &header(element.set.family, 0))
            .string(1, table)
            .string(2, element.set.name)
            .nested(3, |list| list.nested(1, |item| encode_element(item, element)));
        Request::new(
            format!("{verb} the set `{}` of the packet filter's table `{table}`", element.set.name),
            message,
        )
    }));
    requests.push(batch::end());
    requests
}

/// An element that went.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Gone {
    /// The set that it was in.
    pub set: String,
    /// What it was found by.
    pub key: Vec<u8>,
}

/// Elements that went from one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GoneElements {
    /// The table.
    pub table: String,
    /// Which.
    pub elements: Vec<Gone>,
}

/// Reads the table of a message that tells of elements that came.
pub fn table_of_new_elements(kind: u16, body: &[u8]) -> Option<String> {
    const TABLE: u16 = 1;
    let is_new = kind == NEW_ELEMENT;
    Attributes::after(body, FIXED).find(TABLE).filter(|_| is_new).map(read_string)
}

/// Reads a message that tells of elements that went.
pub fn gone_elements(kind: u16, body: &[u8]) -> Option<GoneElements> {
    const TABLE: u16 = 1;
    const SET: u16 = 2;
    const LIST: u16 = 3;
    if kind != DELETE_ELEMENT {
        return None;
    }
    let attributes = Attributes::after(body, FIXED);
    let set = attributes.clone().find(SET).map(read_string)?;
    let elements = Attributes::new(attributes.clone().find(LIST)?).filter_map(|(_, element)| {
        let key = Attributes::new(element).find(KEY)?;
        Some(Gone { set: set.clone(), key: Attributes::new(key).find(VALUE)?.to_vec() })
    });
    let elements = elements.collect();
    Some(GoneElements { table: attributes.find(TABLE).map(read_string)?, elements })
}

/// The key of an element, and the bytes of a key or value.
const KEY: u16 = 1;
const VALUE: u16 = 1;

fn encode_element(message: Message, element: &Element) -> Message {
    const DATA: u16 = 2;
    const FLAGS: u16 = 3;
    const INTERVAL_END: u32 = 1;
    let mut message = message.nested(KEY, |key| key.attribute(VALUE, &element.key));
    if let Some(value) = &element.value {
        message = message.nested(DATA, |data| data.attribute(VALUE, value));
    }
    if element.ends_range {
        message = message.attribute(FLAGS, &INTERVAL_END.to_be_bytes());
    }
    message
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::netlink::message::Frames;

    #[test]
    fn a_chain_reads_with_its_hook_and_policy() {
        let body = Message::new(SUBSYSTEM | 3, 0, &header(TableFamily::Ip, 0))
            .string(1, "filter")
            .string(3, "FORWARD")
            .nested(4, |hook| hook.attribute(1, &2_u32.to_be_bytes()).attribute(2, &0_u32.to_be_bytes()))
            .attribute(5, &0_u32.to_be_bytes())
            .finish(0);
        let chain = read_chain(Frames::new(&body).next().unwrap().body).unwrap();
        assert_eq!(
            chain,
            Chain {
                family: TableFamily::Ip,
                table: "filter".to_owned(),
                name: "FORWARD".to_owned(),
                hook: Some(HOOK_FORWARD),
                drops_by_default: true,
            }
        );
    }

    #[test]
    fn a_transaction_is_framed_by_begin_and_end() {
        let set = Set { family: TableFamily::Bridge, name: "endpoints" };
        let element = Element { set, key: vec![1; 28], value: None, ends_range: false };
        let requests = change_elements("t", Change::Add, &[element.clone(), element], None);
        let kinds: Vec<u16> = requests
            .into_iter()
            .map(|request| Frames::new(&request.message.finish(1)).next().unwrap().kind)
            .collect();
        assert_eq!(kinds, [batch::BEGIN, NEW_ELEMENT, NEW_ELEMENT, batch::END]);
    }

    #[test]
    fn a_transaction_on_one_rule_set_says_which() {
        let begin = change_elements("t", Change::Add, &[], Some(0x0102_0304)).remove(0).message.finish(1);
        let frame = Frames::new(&begin).next().unwrap();
        assert_eq!(frame.kind, batch::BEGIN);
        assert_eq!(Attributes::after(frame.body, FIXED).find(1), Some(&[1, 2, 3, 4][..]));
    }

    #[test]
    fn elements_that_went_are_those_that_were_there() {
        let set = Set { family: TableFamily::Inet, name: "outside" };
        let element = Element { set, key: vec![7; 16], value: None, ends_range: false };
        let removal = change_elements("t", Change::Remove, &[element], None).remove(1).message.finish(1);
        let frame = Frames::new(&removal).next().unwrap();
        let gone = Gone { set: "outside".to_owned(), key: vec![7; 16] };
        let expected = GoneElements { table: "t".to_owned(), elements: vec![gone] };
        let expected_table = expected.table.clone();
        assert_eq!(gone_elements(frame.kind, frame.body), Some(expected));
        assert_eq!(gone_elements(NEW_ELEMENT, frame.body), None);
        assert_eq!(table_of_new_elements(NEW_ELEMENT, frame.body).as_deref(), Some(&*expected_table));
        assert_eq!(table_of_new_elements(frame.kind, frame.body), None);
    }

    #[test]
    fn a_rule_reads_with_its_number_and_comment() {
        let body = Message::new(SUBSYSTEM | 6, 0, &header(TableFamily::Ip, 0))
            .string(2, "FORWARD")
            .attribute(3, &7_u64.to_be_bytes())
            .attribute(4, b"what it does")
            .attribute(7, b"\x05\x01x\x00\x03hi\0")
            .finish(0);
        let body = Frames::new(&body).next().unwrap().body;
        let (chain, comment) = ("FORWARD".to_owned(), Some("hi".to_owned()));
        assert_eq!(read_rule(body), Some(Rule { chain, handle: 7, expressions: b"what it does", comment }));
        assert_eq!(read_comment(b"\x00\x09short"), None);
    }

    proptest! {
        #[test]
        fn foreign_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..128)) {
            let _ = (read_chain(&bytes), read_rule(&bytes).is_some(), read_generation(&bytes), read_comment(&bytes));
        }
    }
}
