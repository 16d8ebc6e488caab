//! The variables that files are read with, and where each came from.

use std::collections::BTreeMap;

use rbuild_model::span::Location;

/// Variables by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Environment(BTreeMap<String, Variable>);

/// A variable's value and where it came from.
#[derive(Clone, Debug, PartialEq)]
pub struct Variable {
    /// The value.
    pub value: String,
    /// Where it came from.
    pub origin: Origin,
}

/// Where a variable came from.
#[derive(Clone, Debug, PartialEq)]
pub enum Origin {
    /// The caller's environment.
    Caller,
    /// A line of an env file.
    EnvFile(Location),
    /// The project's name, as it was found.
    ProjectName,
}

impl Environment {
    /// Takes the caller's variables.
    pub fn of_caller(variables: impl IntoIterator<Item = (String, String)>) -> Self {
        let of_caller = |(name, value)| (name, Variable { value, origin: Origin::Caller });
        Self(variables.into_iter().map(of_caller).collect())
    }

    /// Returns a variable's value.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|variable| variable.value.as_str())
    }

    /// Returns a variable with where it came from.
    pub fn variable(&self, name: &str) -> Option<&Variable> {
        self.0.get(name)
    }

    /// Returns the variables in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Variable)> {
        self.0.iter().map(|(name, variable)| (name.as_str(), variable))
    }

    /// Sets a variable.
    pub(crate) fn set(&mut self, name: &str, value: impl Into<String>, origin: Origin) {
        self.0.insert(name.to_owned(), Variable { value: value.into(), origin });
    }

    /// Adds variables where there is none of the name.
    pub(crate) fn complete(&mut self, others: &Self) {
        for (name, variable) in &others.0 {
            self.0.entry(name.clone()).or_insert_with(|| variable.clone());
        }
    }

    /// Adds variables, in place of those of the same name.
    pub(crate) fn overlay(&mut self, others: Self) {
        self.0.extend(others.0);
    }
}
