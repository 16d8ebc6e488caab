//! The messages of the domain name system (RFC 1035), as far as a stub needs them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A kind of record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    A,
    Aaaa,
}

impl Kind {
    const fn code(self) -> u16 {
        match self {
            Self::A => 1,
            Self::Aaaa => 28,
        }
    }
}

/// What an answer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// These addresses, or none of this kind.
    Addresses(Vec<IpAddr>),
    /// There is no such name.
    NoSuchName,
    /// The answer did not fit: ask again over TCP.
    Truncated,
    /// The server cannot or will not say.
    Failed,
}

/// Makes a query; `None` if the name cannot be one of the domain name system.
pub(super) fn query(id: u16, name: &str, kind: Kind) -> Option<Vec<u8>> {
    let mut message = Vec::with_capacity(64);
    message.extend(id.to_be_bytes());
    // A standard query; recursion is wanted. One question.
    message.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    if name.len() > 253 || !name.is_ascii() {
        return None;
    }
    for label in name.split('.') {
        if label.is_empty() || label.len() > 63 {
            return None;
        }
        message.push(label.len() as u8);
        message.extend_from_slice(label.as_bytes());
    }
    message.push(0);
    message.extend(kind.code().to_be_bytes());
    message.extend([0, 1]);
    Some(message)
}

/// Reads the answer to a query; `None` if it is no answer to it at all.
pub(super) fn answer(message: &[u8], id: u16, name: &str, kind: Kind) -> Option<Answer> {
    let mut reader = Reader { message, at: 0 };
    let (answer_id, flags) = (reader.u16()?, reader.u16()?);
    let (questions, answers) = (reader.u16()?, reader.u16()?);
    reader.at += 4;
    if answer_id != id || flags & 0x8000 == 0 || questions != 1 {
        return None;
    }
    let asked = reader.name()?;
    if !asked.eq_ignore_ascii_case(name) || reader.u16()? != kind.code() || reader.u16()? != 1 {
        return None;
    }
    match flags & 15 {
        0 => {}
        3 => return Some(Answer::NoSuchName),
        _ => return Some(Answer::Failed),
    }
    if flags & 0x0200 != 0 {
        return Some(Answer::Truncated);
    }
    let mut aliases = Vec::new();
    let mut addresses = Vec::new();
    for _ in 0..answers {
        let Some((owner, record)) = reader.record() else { break };
        match record {
            Record::Alias(target) => aliases.push((owner, target)),
            Record::Address(address) => addresses.push((owner, address)),
            Record::Other => {}
        }
    }
    let mut names = vec![asked];
    // Each round follows one alias; an alias that leads back is followed no further.
    while let Some(at) =
        aliases.iter().position(|(owner, _)| names.iter().any(|name| name.eq_ignore_ascii_case(owner)))
    {
        names.push(aliases.swap_remove(at).1);
    }
    addresses.retain(|(owner, _)| names.iter().any(|name| name.eq_ignore_ascii_case(owner)));
    Some(Answer::Addresses(addresses.into_iter().map(|(_, address)| address).collect()))
}

enum Record {
    Alias(String),
    Address(IpAddr),
    Other,
}

struct Reader<'m> {
    message: &'m [u8],
    at: usize,
}

impl Reader<'_> {
    fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        let bytes = self.message.get(self.at..self.at + N)?.try_into().ok()?;
        self.at += N;
        Some(bytes)
    }

    fn u16(&mut self) -> Option<u16> {
        self.bytes().map(u16::from_be_bytes)
    }

    fn name(&mut self) -> Option<String> {
        let mut name = String::new();
        let mut at = self.at;
        let mut jumped = false;
        // A pointer may only lead back, and a name is short: both bound the loop.
        let mut lowest = self.at;
        loop {
            let length = usize::from(*self.message.get(at)?);
            match length {
                0 => {
                    if !jumped {
                        self.at = at + 1;
                    }
                    return Some(name);
                }
                1..=63 => {
                    let label = self.message.get(at + 1..at + 1 + length)?;
                    if !name.is_empty() {
                        name.push('.');
                    }
                    name.push_str(std::str::from_utf8(label).ok().filter(|label| label.is_ascii())?);
                    if name.len() > 253 {
                        return None;
                    }
                    at += 1 + length;
                }
                192.. => {
                    let target = (length & 63) << 8 | usize::from(*self.message.get(at + 1)?);
                    if target >= lowest {
                        return None;
                    }
                    if !jumped {
                        self.at = at + 2;
                    }
                    (jumped, lowest, at) = (true, target, target);
                }
                _ => return None,
            }
        }
    }

    fn record(&mut self) -> Option<(String, Record)> {
        let owner = self.name()?;
        let (kind, class) = (self.u16()?, self.u16()?);
        self.at += 4;
        let length = usize::from(self.u16()?);
        let end = self.at.checked_add(length).filter(|&end| end <= self.message.len())?;
        let record = match (kind, class, length) {
            (1, 1, 4) => Record::Address(Ipv4Addr::from(self.bytes::<4>()?).into()),
            (28, 1, 16) => Record::Address(Ipv6Addr::from(self.bytes::<16>()?).into()),
            (5, 1, _) => Record::Alias(self.name()?),
            _ => Record::Other,
        };
        self.at = end;
        Some((owner, record))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Makes an answer to a query: the question, an alias, and an address of the alias.
    pub(in super::super) fn answer_with(query: &[u8], address: [u8; 4]) -> Vec<u8> {
        let mut message = query.to_vec();
        message[2] = 0x81;
        message[7] = 2;
        // The question's name is an alias of `x.<the same>`.
        message.extend([0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 9, 0, 4, 1, b'x', 0xc0, 12]);
        let alias = message.len() - 4;
        message.extend([0xc0, alias as u8, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4]);
        message.extend(address);
        message
    }

    #[test]
    fn addresses_are_found_behind_aliases() {
        let asked = query(7, "reg.test", Kind::A).unwrap();
        let told = answer_with(&asked, [10, 1, 2, 3]);
        let wanted = Answer::Addresses(vec![IpAddr::from([10, 1, 2, 3])]);
        assert_eq!(answer(&told, 7, "REG.test", Kind::A), Some(wanted));
        assert_eq!(answer(&told, 8, "reg.test", Kind::A), None, "another query");
        assert_eq!(answer(&told, 7, "other.test", Kind::A), None, "another name");
        assert_eq!(answer(&told, 7, "reg.test", Kind::Aaaa), None, "another kind");
        assert_eq!(answer(&asked, 7, "reg.test", Kind::A), None, "no answer");
        let with_flags = |low: u8, high: u8| {
            let mut message = told.clone();
            message[2] |= high;
            message[3] = low;
            answer(&message, 7, "reg.test", Kind::A)
        };
        assert_eq!(with_flags(3, 0), Some(Answer::NoSuchName));
        assert_eq!(with_flags(2, 0), Some(Answer::Failed));
        assert_eq!(with_flags(0, 2), Some(Answer::Truncated));
    }

    #[test]
    fn addresses_of_other_names_do_not_count() {
        let asked = query(7, "reg.test", Kind::A).unwrap();
        let mut message = asked.clone();
        message[2] = 0x81;
        message[7] = 1;
        message.extend([4, b'e', b'v', b'i', b'l', 0, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 6, 6, 6, 6]);
        assert_eq!(answer(&message, 7, "reg.test", Kind::A), Some(Answer::Addresses(vec![])));
    }

    #[test]
    fn names_that_are_none_are_not_asked_for() {
        for name in ["", "a..b", ".a", &"x".repeat(64), &"a.".repeat(150), "é.test"] {
            assert_eq!(query(1, name, Kind::A), None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn no_message_makes_the_parser_panic(rest in prop::collection::vec(any::<u8>(), 0..200), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let asked = query(7, "reg.test", Kind::A).unwrap();
            let mut message = answer_with(&asked, [1, 2, 3, 4]);
            let place = at.index(message.len());
            message[place] = byte;
            let _ = answer(&message, 7, "reg.test", Kind::A);
            message.truncate(20);
            message.extend(rest);
            let _ = answer(&message, 7, "reg.test", Kind::A);
        }
    }
}
