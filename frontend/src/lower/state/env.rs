//! The variables of a stage: what its steps get, and what its image lists.
//!
//! Both are one map, which a stage shares with those that stand on it until they set something. The image's own list is
//! made of it once, for the image that is built.

use std::rc::Rc;

use rbuild_model::step::EnvVar;

use super::ENTRY;
use super::shared_map::SharedMap;
use crate::dockerfile::expand::Environment;

/// The variables of a stage.
#[derive(Clone, Debug, Default)]
pub(crate) struct BuildEnv {
    values: SharedMap<Variable>,
    /// The list of the image that the stages stand on.
    base: Rc<[String]>,
    /// How many entries the image has by now.
    listed: usize,
    /// How many have been set, by the steps' order.
    clock: u64,
    /// What all names and values take.
    bytes: usize,
    /// What this stage has set.
    changed: Vec<Rc<str>>,
}

#[derive(Clone, Debug)]
struct Variable {
    value: Rc<str>,
    place: Place,
    image: Option<Listed>,
}

/// Where a variable stands in the order that RUN gets them in. One that is set again moves to the end; a stage begins with
/// the arguments of those below, and behind them what the image lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Argument(u64),
    Image(usize),
    Set(u64),
}

/// An entry of the image.
#[derive(Clone, Debug)]
struct Listed {
    at: usize,
    value: Rc<str>,
    /// What the base image says further down: each stage begins with that.
    again: Option<(usize, Rc<str>)>,
}

impl Listed {
    fn first_of_stage(&self) -> (usize, &Rc<str>) {
        self.again.as_ref().map_or((self.at, &self.value), |(at, value)| (*at, value))
    }
}

impl BuildEnv {
    /// Returns the variables of an image; one that is listed twice counts with its last value.
    pub(super) fn of_image(list: Vec<String>) -> Self {
        let mut env = Self { listed: list.len(), base: list.into(), ..Self::default() };
        for (at, entry) in Rc::clone(&env.base).iter().enumerate() {
            let Some((name, value)) = entry.split_once('=') else { continue };
            let value: Rc<str> = value.into();
            let listed = match env.values.get(name).and_then(|known| known.image.clone()) {
                Some(known) => Listed { again: Some((at, Rc::clone(&value))), ..known },
                None => Listed { at, value: Rc::clone(&value), again: None },
            };
            env.put(name.into(), Variable { value, place: Place::Image(at), image: Some(listed) });
        }
        env
    }

    /// Sets a variable of the steps.
    pub(super) fn set(&mut self, name: &str, value: &str) {
        let image = self.values.get(name).and_then(|known| known.image.clone());
        self.set_both(name, value.into(), image);
    }

    /// Sets a variable of the image and of the steps: in the image it stays where it is.
    pub(super) fn set_listed(&mut self, name: &str, value: &str) {
        let value: Rc<str> = value.into();
        let listed = match self.values.get(name).and_then(|known| known.image.clone()) {
            Some(known) => Listed { value: Rc::clone(&value), ..known },
            None => {
                self.listed += 1;
                Listed { at: self.listed - 1, value: Rc::clone(&value), again: None }
            }
        };
        self.set_both(name, value, Some(listed));
    }

    fn set_both(&mut self, name: &str, value: Rc<str>, image: Option<Listed>) {
        let place = Place::Set(self.clock);
        self.clock += 1;
        let name: Rc<str> = name.into();
        self.changed.push(Rc::clone(&name));
        self.put(name, Variable { value, place, image });
    }

    fn put(&mut self, name: Rc<str>, variable: Variable) {
        let length = name.len() + ENTRY;
        self.bytes += variable.value.len();
        match self.values.insert(name, variable) {
            Some(before) => self.bytes -= before.value.len(),
            None => self.bytes += length,
        }
    }

    /// Ends a stage: for those that stand on it, ENV wins over an ARG of the same name that came after it.
    pub(super) fn settle(&mut self) {
        for name in std::mem::take(&mut self.changed) {
            let Some(variable) = self.values.get(&name) else { continue };
            let mut variable = variable.clone();
            match (&variable.image, variable.place) {
                (Some(listed), _) => {
                    let (at, value) = listed.first_of_stage();
                    variable.place = Place::Image(at);
                    variable.value = Rc::clone(value);
                }
                (None, Place::Set(at)) => variable.place = Place::Argument(at),
                // It was set twice, and has been seen to.
                (None, _) => continue,
            }
            self.put(name, variable);
        }
    }

    /// Tells whether the image has a variable.
    pub(super) fn is_listed(&self, name: &str) -> bool {
        self.values.get(name).is_some_and(|variable| variable.image.is_some())
    }

    /// Returns the list of the image.
    pub(super) fn image_list(&self) -> Vec<String> {
        let mut list = self.base.to_vec();
        list.resize(self.listed, String::new());
        for (name, variable) in self.values.iter() {
            if let Some(listed) = &variable.image {
                list[listed.at] = format!("{name}={}", listed.value);
            }
        }
        list
    }

    /// Returns the variables in order.
    pub(crate) fn list(&self) -> Vec<EnvVar> {
        let mut list: Vec<_> = self.values.iter().collect();
        list.sort_unstable_by_key(|(_, variable)| variable.place);
        list.into_iter()
            .map(|(name, variable)| EnvVar { name: name.to_string(), value: variable.value.to_string() })
            .collect()
    }

    /// Returns what a list of all of them takes, in bytes.
    pub(crate) fn size(&self) -> usize {
        self.bytes
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.values.iter().map(|(name, _)| &**name)
    }
}

impl Environment for BuildEnv {
    fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(|variable| &*variable.value)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// What the order means, written down without regard to time: a list of the image, and all sets in turn.
    #[derive(Clone, Default)]
    struct Plain {
        image: Vec<(String, String)>,
        steps: BTreeMap<String, (usize, String)>,
        clock: usize,
    }

    impl Plain {
        fn set(&mut self, name: &str, value: &str) {
            self.clock += 1;
            self.steps.insert(name.to_owned(), (self.clock, value.to_owned()));
        }

        fn set_listed(&mut self, name: &str, value: &str) {
            match self.image.iter_mut().find(|(known, _)| known == name) {
                Some(known) => known.1 = value.to_owned(),
                None => self.image.push((name.to_owned(), value.to_owned())),
            }
            self.set(name, value);
        }

        fn settle(&mut self) {
            for (name, value) in self.image.clone() {
                self.set(&name, &value);
            }
        }

        fn list(&self) -> Vec<EnvVar> {
            let mut list: Vec<_> = self.steps.iter().collect();
            list.sort_by_key(|(_, (at, _))| *at);
            let variable = |(name, (_, value)): (&String, &(usize, String))| EnvVar {
                name: name.clone(),
                value: value.clone(),
            };
            list.into_iter().map(variable).collect()
        }
    }

    proptest! {
        #[test]
        fn variables_come_in_the_order_in_which_they_are_set(
            image in prop::collection::vec(("[a-c]", "[0-9]"), 0..4),
            changes in prop::collection::vec((0_u8..3, "[a-e]", "[0-9]{0,3}"), 0..30),
        ) {
            let entry = |(name, value): &(String, String)| format!("{name}={value}");
            let mut env = BuildEnv::of_image(image.iter().map(entry).collect());
            let mut plain = Plain { image, ..Plain::default() };
            plain.settle();
            for (change, name, value) in &changes {
                match change {
                    0 => {
                        env.set(name, value);
                        plain.set(name, value);
                    }
                    1 => {
                        env.set_listed(name, value);
                        plain.set_listed(name, value);
                    }
                    _ => {
                        env.settle();
                        plain.settle();
                    }
                }
                let list = env.list();
                prop_assert_eq!(&list, &plain.list());
                prop_assert_eq!(env.image_list(), plain.image.iter().map(entry).collect::<Vec<_>>());
                let size = |variable: &EnvVar| variable.name.len() + variable.value.len() + ENTRY;
                prop_assert_eq!(env.size(), list.iter().map(size).sum::<usize>());
            }
        }
    }

    #[test]
    fn entries_of_a_base_that_are_no_variables_stay() {
        let list = ["A=1", "odd", "A=2"].map(str::to_owned).to_vec();
        let mut env = BuildEnv::of_image(list);
        assert_eq!(env.get("A"), Some("2"));
        env.set_listed("A", "3");
        env.set_listed("B", "4");
        assert_eq!(env.get("A"), Some("3"));
        assert_eq!(env.image_list(), ["A=3", "odd", "A=2", "B=4"]);
    }
}
