//! Names of links and of the packet filter's table.
//!
//! Every name that the whole kernel sees begins with `rb` and the eight characters of the store, so that two
//! stores never meet and leftovers are found by name. A link name has at most 15 bytes: `rb` + 8 + a letter for the
//! kind + 4 characters of a hash. The exception are bridges that people named: they say in their alias whose they are,
//! and their names, the only ones given by people that get into a rule, have nothing in them that means anything there.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A text that is not the prefix of a store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not the prefix of a store: expected eight of 0-9 and a-z")]
pub struct StorePrefixError {
    text: String,
}

/// The eight characters that tell the kernel-wide names of one store from those of another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StorePrefix([u8; 8]);

impl StorePrefix {
    /// Checks the eight characters.
    pub fn new(text: &str) -> Result<Self, StorePrefixError> {
        match text.as_bytes().try_into() {
            Ok(bytes) if text.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_lowercase()) => {
                Ok(Self(bytes))
            }
            _ => Err(StorePrefixError { text: text.to_owned() }),
        }
    }

    /// The characters.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).expect("the prefix was checked to be ASCII")
    }

    /// What every link of the store begins with.
    pub fn links(&self) -> String {
        format!("rb{}", self.as_str())
    }

    /// Whether a link of the host is the store's by its name.
    pub fn owns(&self, link: &str) -> bool {
        link.strip_prefix("rb").is_some_and(|rest| rest.starts_with(self.as_str()))
    }

    /// The store that a bridge of the host belongs to by its name.
    pub fn of_bridge(link: &str) -> Option<Self> {
        let (store, rest) = link.strip_prefix("rb")?.split_at_checked(8)?;
        Self::new(store).ok().filter(|_| rest.starts_with('b'))
    }

    /// The name of the store's table in the packet filter, the same in each family.
    pub fn table(&self) -> String {
        format!("rbuild_{}", self.as_str())
    }

    /// The store whose table of the packet filter has a name.
    pub fn of_table(table: &str) -> Option<Self> {
        Self::new(table.strip_prefix("rbuild_")?).ok()
    }

    /// The name of a network's bridge.
    pub fn bridge(&self, network: &str) -> LinkName {
        self.derived('b', network, 0)
    }

    /// The `attempt`th name for the host's end of an endpoint; a later one is tried when one is taken.
    pub fn port(&self, endpoint: &str, attempt: u32) -> LinkName {
        self.derived('v', endpoint, attempt)
    }

    fn derived(&self, kind: char, id: &str, attempt: u32) -> LinkName {
        const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
        let mut hasher = blake3::Hasher::new();
        hasher.update(id.as_bytes());
        hasher.update(&attempt.to_le_bytes());
        let hash = hasher.finalize();
        let tail: String = hash.as_bytes()[..8]
            .chunks(2)
            .map(|pair| {
                let number = u16::from_le_bytes([pair[0], pair[1]]);
                char::from(DIGITS[usize::from(number) % DIGITS.len()])
            })
            .collect();
        LinkName(format!("rb{}{kind}{tail}", self.as_str()))
    }
}

impl TryFrom<String> for StorePrefix {
    type Error = StorePrefixError;

    fn try_from(text: String) -> Result<Self, StorePrefixError> {
        Self::new(&text)
    }
}

impl From<StorePrefix> for String {
    fn from(store: StorePrefix) -> Self {
        store.as_str().to_owned()
    }
}

impl fmt::Debug for StorePrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that cannot name a link.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` cannot name a network interface: at most 15 bytes, no space, `/` or `:`")]
pub struct LinkNameError {
    text: String,
}

/// The name of a network interface.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LinkName(String);

impl LinkName {
    /// Checks a name by the kernel's rules.
    pub fn new(text: &str) -> Result<Self, LinkNameError> {
        let fits = (1..=15).contains(&text.len())
            && text != "."
            && text != ".."
            && text
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && byte != b'/' && byte != b':' && byte != b'%');
        if fits { Ok(Self(text.to_owned())) } else { Err(LinkNameError { text: text.to_owned() }) }
    }

    /// The name of the first link of an endpoint.
    pub fn eth(number: u32) -> Self {
        Self(format!("eth{number}"))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LinkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for LinkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for LinkName {
    type Error = LinkNameError;

    fn try_from(text: String) -> Result<Self, LinkNameError> {
        Self::new(&text)
    }
}

impl From<LinkName> for String {
    fn from(name: LinkName) -> Self {
        name.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_the_kernel_and_begin_with_the_store() {
        let store = StorePrefix::new("0a1b2c3d").unwrap();
        let long = "x".repeat(200);
        for name in [store.bridge(&long), store.port("name with \"; drop\n", 0), store.bridge("")] {
            assert_eq!(name.as_str().len(), 15);
            assert!(name.as_str().starts_with("rb0a1b2c3d") && store.owns(name.as_str()));
            assert!(LinkName::new(name.as_str()).is_ok());
        }
        assert!(!["rb0a1b2c3", "xrb0a1b2c3d", "br7"].iter().any(|name| store.owns(name)));
        assert_eq!(StorePrefix::of_bridge(store.bridge("a").as_str()), Some(store));
        for name in [store.port("a", 0).as_str(), "rb0a1b2c3b", "rb0a1b2c3d", "xrb0a1b2c3db", "rb0A1b2c3db"] {
            assert_eq!(StorePrefix::of_bridge(name), None, "{name}");
        }
        assert_eq!(StorePrefix::of_table(&store.table()), Some(store));
        for name in ["rbuild_names", "rbuild_0a1b2c3", "0a1b2c3d", "xrbuild_0a1b2c3d", "rbuild_0A1b2c3d"] {
            assert_eq!(StorePrefix::of_table(name), None, "{name}");
        }
        assert_ne!(store.port("a", 0), store.port("a", 1));
        assert_eq!(store.bridge("a"), store.bridge("a"));
    }

    #[test]
    fn foreign_texts_are_refused() {
        for text in ["", "short", "0a1b2c3d4", "0A1b2c3d", "0a1b2c3;", "0a1b2c3\u{e9}"] {
            assert!(StorePrefix::new(text).is_err(), "{text}");
        }
        for text in ["", ".", "..", "a/b", "a b", "a:b", "eth%d", "sixteen-bytes-xx", "a\n"] {
            assert!(LinkName::new(text).is_err(), "{text}");
        }
    }
}
