//! Maps.

use std::collections::BTreeMap;

use super::{Function, elements, entries, function, many, text, texts};
use crate::hcl::Value;

/// The functions.
pub(super) const FUNCTIONS: &[Function] = &[
    function("keys", 1, 1, |a, _| Ok(Value::strings(entries(a, 0)?.keys().cloned()))),
    function("lookup", 2, 3, |a, _| {
        let key = text(a, 1)?;
        match entries(a, 0)?.get(&key) {
            Some(value) => Ok(value.clone()),
            None => a.get(2).cloned().ok_or_else(|| format!("there is no key {key:?}, and no default")),
        }
    }),
    many("merge", 0, |a, _| {
        let mut all = BTreeMap::new();
        for at in 0..a.len() {
            if a[at] != Value::Null {
                all.extend(entries(a, at)?.clone());
            }
        }
        Ok(Value::Map(all))
    }),
    function("values", 1, 1, |a, _| Ok(Value::List(entries(a, 0)?.values().cloned().collect()))),
    function("zipmap", 2, 2, |a, _| {
        let (keys, values) = (texts(a, 0)?, elements(a, 1)?);
        if keys.len() != values.len() {
            return Err(format!("there are {} keys and {} values", keys.len(), values.len()));
        }
        Ok(Value::Map(keys.into_iter().zip(values.iter().cloned()).collect()))
    }),
];
