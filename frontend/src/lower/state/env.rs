//! The variables of a stage.

use std::collections::HashMap;

use rbuild_model::step::EnvVar;

use crate::dockerfile::expand::Environment;

/// The variables of a stage, in the order RUN gets them: a variable set again moves to the end.
#[derive(Clone, Debug, Default)]
pub(crate) struct BuildEnv {
    /// By name, with the position in the order.
    values: HashMap<String, (u64, String)>,
    next: u64,
}

impl BuildEnv {
    pub(super) fn set(&mut self, name: String, value: String) {
        self.values.insert(name, (self.next, value));
        self.next += 1;
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
