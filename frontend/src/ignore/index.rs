//! Finds the last rule that matches a path without trying every rule.
//!
//! Nearly all lines of ignore files have one of a few shapes: a path, a name anywhere, a name that begins or ends with a
//! text. Rules of these shapes are found by looking the path's parts up; of the others, those that begin with the
//! path of a folder are tried only below it, and the rest always.

use std::collections::HashMap;

use super::Rule;
use super::pattern::Shape;

/// Rules by what can be looked up of them, each list ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Index {
    /// Rules that are a path.
    paths: Table,
    /// Rules about the first name of a path.
    first: Names,
    /// Rules about any name of a path.
    any: Names,
    /// Rules that begin with the path of a folder.
    below: Table,
    /// All others.
    others: Vec<u32>,
    /// Rules that take paths back in.
    pub(super) exceptions: Vec<u32>,
}

/// Rules about one name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Names {
    whole: Table,
    ends: Parts,
    begins: Parts,
}

/// Rules about a part of a name, with the lengths that the parts have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Parts {
    lengths: Vec<usize>,
    table: Table,
}

/// Rules by a text. Most texts that are looked up are not there, which their length and their first and last byte mostly
/// tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Table {
    lengths: u64,
    first: [u64; 4],
    last: [u64; 4],
    rules: HashMap<Box<[u8]>, Vec<u32>>,
}

impl Table {
    fn add(&mut self, key: &str, number: u32) {
        let key = key.as_bytes();
        self.lengths |= length_bit(key);
        if let (Some(first), Some(last)) = (key.first(), key.last()) {
            self.first[usize::from(first >> 6)] |= 1 << (first & 63);
            self.last[usize::from(last >> 6)] |= 1 << (last & 63);
        }
        self.rules.entry(key.into()).or_default().push(number);
    }

    fn get(&self, key: &[u8]) -> Option<&Vec<u32>> {
        if self.lengths & length_bit(key) == 0 {
            return None;
        }
        if let (Some(first), Some(last)) = (key.first(), key.last())
            && (self.first[usize::from(first >> 6)] >> (first & 63)
                & self.last[usize::from(last >> 6)] >> (last & 63)
                & 1)
                == 0
        {
            return None;
        }
        self.rules.get(key)
    }
}

/// All long texts share the last bit.
fn length_bit(key: &[u8]) -> u64 {
    1 << key.len().min(63)
}

/// The last rule so far that is wanted and matches.
struct Last<'w> {
    wanted: &'w dyn Fn(u32) -> bool,
    found: Option<u32>,
}

impl Last<'_> {
    fn offer(&mut self, rules: Option<&Vec<u32>>) {
        let newer = rules.into_iter().flatten().rev().take_while(|rule| Some(**rule) > self.found);
        let newer = newer.copied().find(|rule| (self.wanted)(*rule));
        self.found = newer.or(self.found);
    }

    fn try_out(&mut self, list: &[u32], rules: &[Rule], path: &str) {
        let newer = list.iter().rev().take_while(|rule| Some(**rule) > self.found);
        let newer = newer
            .copied()
            .find(|rule| (self.wanted)(*rule) && rules[*rule as usize].pattern.matches_or_above(path));
        self.found = newer.or(self.found);
    }
}

impl Index {
    pub(super) fn new(rules: &[Rule]) -> Self {
        let mut index = Self::default();
        for (rule, number) in rules.iter().zip(0_u32..) {
            if rule.exception {
                index.exceptions.push(number);
            }
            match rule.pattern.shape() {
                Shape::Path(path) => index.paths.add(&path, number),
                Shape::FirstName(name) => index.first.add(&name, number),
                Shape::AnyName(name) => index.any.add(&name, number),
                Shape::Below(folder) => index.below.add(&folder, number),
                Shape::Other => index.others.push(number),
            }
        }
        index
    }

    /// Returns the last wanted rule that matches a path or a folder above it.
    pub(super) fn last(&self, rules: &[Rule], path: &str, wanted: &dyn Fn(u32) -> bool) -> Option<u32> {
        if path.is_empty() {
            return None;
        }
        let mut last = Last { wanted, found: None };
        let bytes = path.as_bytes();
        let mut start = 0;
        for (end, byte) in bytes.iter().copied().chain([b'/']).enumerate() {
            if byte != b'/' {
                continue;
            }
            let name = &bytes[start..end];
            last.offer(self.paths.get(&bytes[..end]));
            self.any.look_up(name, &mut last);
            if start == 0 {
                self.first.look_up(name, &mut last);
            }
            if let Some(below) = self.below.get(&bytes[..end]) {
                last.try_out(below, rules, path);
            }
            start = end + 1;
        }
        last.try_out(&self.others, rules, path);
        last.found
    }
}

impl Names {
    fn add(&mut self, shape: &super::pattern::Name, number: u32) {
        use super::pattern::Name;
        match shape {
            Name::Is(name) => self.whole.add(name, number),
            Name::Ends(part) => self.ends.add(part, number),
            Name::Begins(part) => self.begins.add(part, number),
        }
    }

    fn look_up(&self, name: &[u8], last: &mut Last<'_>) {
        last.offer(self.whole.get(name));
        for length in self.ends.lengths.iter().filter(|length| **length <= name.len()) {
            last.offer(self.ends.table.get(&name[name.len() - length..]));
        }
        for length in self.begins.lengths.iter().filter(|length| **length <= name.len()) {
            last.offer(self.begins.table.get(&name[..*length]));
        }
    }
}

impl Parts {
    fn add(&mut self, part: &str, number: u32) {
        if !self.lengths.contains(&part.len()) {
            self.lengths.push(part.len());
        }
        self.table.add(part, number);
    }
}
