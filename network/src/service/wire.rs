//! Messages of the domain name system (RFC 1035, RFC 6891), as far as a server of a few names needs them.
//!
//! Only questions are read, and of answers nothing but whether they belong to a question: what comes from other
//! servers goes on to the client byte by byte. So there is no name to decompress, and no pointer to follow.

use std::net::IpAddr;

/// The address of a name.
pub(super) const A: u16 = 1;
/// The name of an address.
pub(super) const PTR: u16 = 12;
/// The IPv6 address of a name.
pub(super) const AAAA: u16 = 28;
const OPT: u16 = 41;
const INTERNET: u16 = 1;

const HEADER: usize = 12;
/// What a datagram may hold if the client does not say more.
pub(super) const PLAIN_BYTES: usize = 512;
/// What a datagram may hold at most: more is broken up on the way by some networks.
const MOST_BYTES: usize = 1232;
/// What an answer over TCP may hold.
pub(super) const STREAM_BYTES: usize = u16::MAX as usize;

const RESPONSE: u16 = 0x8000;
const OPCODE: u16 = 0x7800;
const TRUNCATED: u16 = 0x0200;
const RECURSION_DESIRED: u16 = 0x0100;
const RECURSION_AVAILABLE: u16 = 0x0080;

/// How an answer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    /// The name exists.
    Fine = 0,
    /// The question makes no sense.
    Malformed = 1,
    /// Nobody knows now.
    Failed = 2,
    /// There is no such name.
    NoSuchName = 3,
    /// That is not done here.
    NotDone = 4,
}

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Query {
    /// The number that the answer must have.
    pub(super) id: u16,
    flags: u16,
    /// The name in small letters, without the last dot; nothing if it holds other bytes than those of host names.
    pub(super) name: Option<String>,
    /// What is asked of it.
    pub(super) kind: u16,
    /// The question as it came.
    question: Vec<u8>,
    /// What a datagram may hold, if the client says so.
    payload: Option<u16>,
}

/// A message that is no question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoQuery {
    /// It deserves no answer.
    Ignore,
    /// It deserves this one.
    Refuse {
        /// The number that the answer must have.
        id: u16,
        /// What it says.
        code: Code,
    },
}

impl Query {
    /// Reads a message.
    pub(super) fn read(message: &[u8]) -> Result<Self, NoQuery> {
        let word = |at: usize| Some(u16::from_be_bytes(message.get(at..at + 2)?.try_into().ok()?));
        let (Some(id), Some(flags)) = (word(0), word(2)) else { return Err(NoQuery::Ignore) };
        if message.len() < HEADER || flags & RESPONSE != 0 {
            return Err(NoQuery::Ignore);
        }
        if flags & OPCODE != 0 {
            return Err(NoQuery::Refuse { id, code: Code::NotDone });
        }
        let malformed = NoQuery::Refuse { id, code: Code::Malformed };
        if word(4) != Some(1) {
            return Err(malformed);
        }
        let (name, behind) = read_name(message, HEADER).ok_or(malformed)?;
        let (kind, _class) = word(behind).zip(word(behind + 2)).ok_or(malformed)?;
        let end = behind + 4;
        let payload = read_payload(message, end, [word(6), word(8), word(10)]);
        Ok(Self { id, flags, name, kind, question: message[HEADER..end].to_vec(), payload })
    }

    /// What a datagram to the client may hold.
    pub(super) fn datagram_bytes(&self) -> usize {
        self.payload.map_or(PLAIN_BYTES, |bytes| usize::from(bytes).clamp(PLAIN_BYTES, MOST_BYTES))
    }

    /// Whether a message answers it.
    pub(super) fn is_answered_by(&self, message: &[u8], id: u16) -> bool {
        let end = HEADER + self.question.len();
        message.len() >= end
            && message[..2] == id.to_be_bytes()
            && message[2] & 0x80 != 0
            && message[4..6] == [0, 1]
            && message[HEADER..end].eq_ignore_ascii_case(&self.question)
    }

    /// Makes an answer of records. What does not fit is left out, and the answer says so.
    pub(super) fn answer(&self, code: Code, records: &[Record], room: usize, ttl: u32) -> Vec<u8> {
        let mut message = Vec::with_capacity(HEADER + self.question.len() + records.len() * 28 + 11);
        message.extend(self.id.to_be_bytes());
        message.extend([0; 10]);
        message.extend_from_slice(&self.question);
        let extra = if self.payload.is_some() { 11 } else { 0 };
        let mut count: u16 = 0;
        for record in records {
            let data = record.data();
            if message.len() + 12 + data.len() + extra > room || count == u16::MAX {
                break;
            }
            // The name is the one that was asked for, which begins behind the header.
            message.extend([0xc0, HEADER as u8]);
            message.extend(record.kind().to_be_bytes());
            message.extend(INTERNET.to_be_bytes());
            message.extend(ttl.to_be_bytes());
            message.extend((data.len() as u16).to_be_bytes());
            message.extend(data);
            count += 1;
        }
        let cut = if usize::from(count) < records.len() { TRUNCATED } else { 0 };
        let flags = RESPONSE | self.flags & RECURSION_DESIRED | RECURSION_AVAILABLE | cut | code as u16;
        message[2..4].copy_from_slice(&flags.to_be_bytes());
        message[5] = 1;
        message[6..8].copy_from_slice(&count.to_be_bytes());
        if self.payload.is_some() {
            message[11] = 1;
            message.push(0);
            message.extend(OPT.to_be_bytes());
            message.extend((MOST_BYTES as u16).to_be_bytes());
            message.extend([0; 6]);
        }
        message
    }
}

/// Makes the answer to what is no question.
pub(super) fn refusal(id: u16, code: Code) -> Vec<u8> {
    let mut message = id.to_be_bytes().to_vec();
    message.extend((RESPONSE | RECURSION_AVAILABLE | code as u16).to_be_bytes());
    message.extend([0; 8]);
    message
}

/// How a message of another server ends.
pub(super) fn code_of(message: &[u8]) -> u8 {
    message.get(3).map_or(0, |byte| byte & 15)
}

/// What is known of a name or address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Record {
    /// An address.
    Address(IpAddr),
    /// A name.
    Name(String),
}

impl Record {
    fn kind(&self) -> u16 {
        match self {
            Self::Address(IpAddr::V4(_)) => A,
            Self::Address(IpAddr::V6(_)) => AAAA,
            Self::Name(_) => PTR,
        }
    }

    fn data(&self) -> Vec<u8> {
        match self {
            Self::Address(IpAddr::V4(address)) => address.octets().to_vec(),
            Self::Address(IpAddr::V6(address)) => address.octets().to_vec(),
            Self::Name(name) => {
                let mut data = Vec::with_capacity(name.len() + 2);
                for label in name.split('.').filter(|label| !label.is_empty() && label.len() <= 63) {
                    data.push(label.len() as u8);
                    data.extend_from_slice(label.as_bytes());
                }
                data.push(0);
                data
            }
        }
    }
}

/// Reads a name that is not compressed; returns it and where it ends. The name is nothing if it has bytes that no host
/// name has.
fn read_name(message: &[u8], start: usize) -> Option<(Option<String>, usize)> {
    const LONGEST: usize = 255;
    let mut at = start;
    let mut name = Some(String::new());
    loop {
        let length = usize::from(*message.get(at)?);
        if length == 0 {
            return Some((name, at + 1));
        }
        if length > 63 || at + 1 + length + 1 - start > LONGEST {
            return None;
        }
        let label = message.get(at + 1..at + 1 + length)?;
        if label.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'.') {
            if let Some(name) = &mut name {
                if !name.is_empty() {
                    name.push('.');
                }
                name.extend(label.iter().map(|byte| char::from(byte.to_ascii_lowercase())));
            }
        } else {
            name = None;
        }
        at += 1 + length;
    }
}

/// Looks behind the question for what a datagram may hold. Clients put nothing else there.
fn read_payload(message: &[u8], end: usize, counts: [Option<u16>; 3]) -> Option<u16> {
    let [Some(0), Some(0), Some(1..)] = counts else { return None };
    let record = message.get(end..end + 11)?;
    (record[0] == 0 && record[1..3] == OPT.to_be_bytes()).then(|| u16::from_be_bytes([record[3], record[4]]))
}

/// The address that a name of the reverse tree stands for.
pub(super) fn reversed(name: &str) -> Option<IpAddr> {
    if let Some(four) = name.strip_suffix(".in-addr.arpa") {
        let mut octets = [0; 4];
        let mut labels = four.split('.');
        for octet in octets.iter_mut().rev() {
            *octet = labels.next()?.parse().ok()?;
        }
        return labels.next().is_none().then(|| octets.into());
    }
    let six = name.strip_suffix(".ip6.arpa")?;
    let mut value: u128 = 0;
    let mut count = 0;
    for label in six.split('.').rev() {
        let digit = u8::try_from(label.chars().next().filter(|_| label.len() == 1)?.to_digit(16)?).ok()?;
        value = value << 4 | u128::from(digit);
        count += 1;
    }
    (count == 32).then(|| std::net::Ipv6Addr::from(value).into())
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
