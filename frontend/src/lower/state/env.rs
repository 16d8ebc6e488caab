//! The variables of a stage.

use std::collections::HashMap;
use std::rc::Rc;

use rbuild_model::step::EnvVar;

use crate::dockerfile::expand::Environment;

/// The variables of a stage, in the order RUN gets them: a variable set again moves to the end. Clones are one until one of
/// them is changed.
#[derive(Clone, Debug, Default)]
pub(crate) struct BuildEnv {
    /// By name, with the position in the order.
    values: Rc<HashMap<String, (u64, String)>>,
    next: u64,
}

impl BuildEnv {
    pub(super) fn set(&mut self, name: String, value: String) {
        Rc::make_mut(&mut self.values).insert(name, (self.next, value));
        self.next += 1;
    }

    /// Tells whether these are all variables there are, in this order.
    pub(super) fn is_exactly<'e>(&self, entries: impl Iterator<Item = (&'e str, &'e str)>) -> bool {
        let mut from = 0;
        let mut count = 0;
        let in_place = entries.inspect(|_| count += 1).all(|(name, value)| match self.values.get(name) {
            Some((position, known)) if *position >= from && known == value => {
                from = position + 1;
                true
            }
            _ => false,
        });
        in_place && count == self.values.len()
    }

    /// Returns the variables in order.
    pub(crate) fn list(&self) -> Vec<EnvVar> {
        let mut list: Vec<_> = self.values.iter().collect();
        list.sort_unstable_by_key(|(_, (position, _))| *position);
        list.into_iter()
            .map(|(name, (_, value))| EnvVar { name: name.clone(), value: value.clone() })
            .collect()
    }

    /// Returns the size of all names and values.
    pub(crate) fn size(&self) -> usize {
        self.values.iter().map(|(name, (_, value))| name.len() + value.len()).sum()
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }
}

impl Environment for BuildEnv {
    fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(|(_, value)| value.as_str())
    }
}
