//! Reading settled documents.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use rbuild_model::project::{Bytes, Cpus, NameError};
use rbuild_model::span::Location;

use super::super::fault::{Checked, fault};
use super::super::values::amount;
use super::super::yaml::{Document, Map, Value};

/// A document, where it stands, and the tree it was made of.
#[derive(Clone)]
pub(super) struct Reader<'a> {
    top: &'a Map,
    document: Option<&'a Document>,
    path: Vec<String>,
}

impl<'a> Reader<'a> {
    /// Begins at a section of the top level.
    pub(super) fn new(top: &'a Map, document: &'a Document, path: &[&str]) -> Self {
        Self { top, document: Some(document), path: path.iter().map(|key| (*key).to_owned()).collect() }
    }

    /// Goes to a key; what is not there reads as nothing.
    pub(super) fn at(&self, key: &str) -> Self {
        let document = match self.document {
            Some(Document::Map(entries)) => {
                entries.iter().find(|(known, _)| known == key).map(|(_, document)| document)
            }
            _ => None,
        };
        let mut path = self.path.clone();
        path.push(key.to_owned());
        Self { top: self.top, document, path }
    }

    /// Returns the last key of its path.
    pub(super) fn key(&self) -> String {
        self.path.last().cloned().unwrap_or_default()
    }

    /// Says that the value is not what is wanted.
    pub(super) fn unfit(&self, wanted: &str) -> Box<rbuild_model::span::Diagnostic> {
        let shown = self.text().unwrap_or_default();
        fault(self.location().as_ref(), format!("{}: {shown:?} is not {wanted}", self.path.join(".")))
    }

    /// Returns where the nearest node that was written stands.
    fn location(&self) -> Option<Location> {
        self.top.nearest(&self.path).cloned()
    }

    /// Tells whether there is something, if only nothing.
    pub(super) const fn is_there(&self) -> bool {
        self.document.is_some()
    }

    /// Returns a text.
    pub(super) fn text(&self) -> Option<String> {
        match self.document {
            Some(Document::Scalar(value)) => value.scalar(),
            _ => None,
        }
    }

    /// Returns a text that has to be there.
    pub(super) fn needed(&self) -> Checked<String> {
        self.text()
            .ok_or_else(|| fault(self.location().as_ref(), format!("{} is missing", self.path.join("."))))
    }

    /// Returns a truth value, false if it is not there.
    pub(super) fn flag(&self) -> bool {
        self.optional_flag() == Some(true)
    }

    /// Returns a truth value.
    pub(super) const fn optional_flag(&self) -> Option<bool> {
        match self.document {
            Some(Document::Scalar(Value::Bool(value))) => Some(*value),
            _ => None,
        }
    }

    /// Returns a whole number.
    pub(super) const fn int(&self) -> Option<i64> {
        match self.document {
            Some(Document::Scalar(Value::Int(value))) => Some(*value),
            _ => None,
        }
    }

    /// Returns a whole number that may not be negative.
    pub(super) fn natural(&self) -> Checked<Option<u64>> {
        self.int().map(|number| u64::try_from(number).map_err(|_| self.unfit("0 or more"))).transpose()
    }

    /// Returns a number, times a million.
    pub(super) fn millionths(&self) -> Option<u64> {
        match self.document {
            Some(Document::Scalar(Value::Float(number))) => Some((number * 1e6).round() as u64),
            _ => None,
        }
    }

    /// Returns a number of processors.
    pub(super) fn cpus(&self) -> Checked<Option<Cpus>> {
        match self.document {
            Some(Document::Scalar(Value::Float(number))) if *number >= 0.0 => {
                Ok(Some(Cpus { nanos: (number * 1e9).round() as u64 }))
            }
            Some(Document::Scalar(Value::Float(_))) => Err(self.unfit("0 or more")),
            _ => Ok(None),
        }
    }

    /// Returns a number of bytes.
    pub(super) fn bytes(&self) -> Option<Bytes> {
        self.text()?.parse().ok().map(Bytes)
    }

    /// Returns a duration.
    pub(super) fn duration(&self) -> Checked<Option<Duration>> {
        let Some(text) = self.text() else { return Ok(None) };
        let nanos = amount::duration(&text).ok().and_then(|nanos| u64::try_from(nanos).ok());
        nanos.map(Duration::from_nanos).map(Some).ok_or_else(|| self.unfit("a duration of 0 or more"))
    }

    /// Returns a file mode.
    pub(super) fn mode(&self) -> Checked<Option<u32>> {
        let Some(text) = self.text() else { return Ok(None) };
        u32::from_str_radix(&text, 8).map(Some).map_err(|_| self.unfit("a file mode"))
    }

    /// Returns something that has a spelling of its own.
    pub(super) fn parsed<T: FromStr>(&self, wanted: &str) -> Checked<Option<T>> {
        let Some(text) = self.text() else { return Ok(None) };
        text.parse().map(Some).map_err(|_| self.unfit(wanted))
    }

    /// Returns one of several words.
    pub(super) fn word<T: Copy>(&self, words: &[(&str, T)]) -> Checked<Option<T>> {
        let Some(text) = self.text() else { return Ok(None) };
        match words.iter().find(|(word, _)| *word == text) {
            Some((_, value)) => Ok(Some(*value)),
            None => {
                let list: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
                Err(self.unfit(&format!("one of {}", list.join(", "))))
            }
        }
    }

    /// Returns a key that somebody declares.
    pub(super) fn name<T>(&self, make: impl Fn(&str) -> Result<T, NameError>) -> Checked<T> {
        self.named(&self.needed()?, make)
    }

    /// Makes a key of a text that stands here.
    pub(super) fn named<T>(&self, text: &str, make: impl Fn(&str) -> Result<T, NameError>) -> Checked<T> {
        make(text).map_err(|error| fault(self.location().as_ref(), error.to_string()))
    }

    /// Reads what is at a key, if something is.
    pub(super) fn section<T>(&self, key: &str, read: impl Fn(&Self) -> Checked<T>) -> Checked<Option<T>> {
        let section = self.at(key);
        section.is_there().then(|| read(&section)).transpose()
    }

    /// Reads the items of the list at a key.
    pub(super) fn list<T>(&self, key: &str, read: impl Fn(&Self) -> Checked<T>) -> Checked<Vec<T>> {
        self.at(key).items().iter().map(read).collect()
    }

    /// Returns the items of a list.
    pub(super) fn items(&self) -> Vec<Self> {
        let Some(Document::List(list)) = self.document else { return Vec::new() };
        let reader = |(at, document): (usize, &'a Document)| {
            let mut path = self.path.clone();
            path.push(at.to_string());
            Self { top: self.top, document: Some(document), path }
        };
        list.iter().enumerate().map(reader).collect()
    }

    /// Returns the keys of a mapping and what is there.
    pub(super) fn entries(&self) -> Vec<(String, Self)> {
        let Some(Document::Map(entries)) = self.document else { return Vec::new() };
        entries.iter().map(|(key, _)| (key.clone(), self.at(key))).collect()
    }

    /// Returns a list of texts.
    pub(super) fn texts(&self) -> Vec<String> {
        self.items().iter().filter_map(Self::text).collect()
    }

    /// Returns a list of texts, if there is one.
    pub(super) fn optional_texts(&self) -> Option<Vec<String>> {
        matches!(self.document, Some(Document::List(_))).then(|| self.texts())
    }

    /// Returns keys and texts.
    pub(super) fn text_map(&self) -> BTreeMap<String, String> {
        self.entries().into_iter().map(|(key, value)| (key, value.text().unwrap_or_default())).collect()
    }

    /// Returns keys and texts that may be missing.
    pub(super) fn optional_text_map(&self) -> BTreeMap<String, Option<String>> {
        self.entries().into_iter().map(|(key, value)| (key, value.text())).collect()
    }

    /// Returns names and their addresses.
    pub(super) fn hosts(&self) -> BTreeMap<String, Vec<String>> {
        let mut hosts: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for line in self.texts() {
            if let Some((host, address)) = line.split_once('=') {
                hosts.entry(host.to_owned()).or_default().push(address.to_owned());
            }
        }
        hosts
    }
}
