//! Lists and sets.

use super::{Function, World, elements, function, kind_error, many, number, size, text, texts, whole};
use crate::hcl::{Number, Value};

/// How many elements a made list may have.
const MAX_ELEMENTS: usize = 100_000;

/// The functions.
pub(super) const FUNCTIONS: &[Function] = &[
    function("chunklist", 2, 2, |a, _| {
        let length = size(a, 1)?;
        let items = elements(a, 0)?;
        let length = if length == 0 { items.len().max(1) } else { length };
        Ok(Value::List(items.chunks(length).map(|chunk| Value::List(chunk.to_vec())).collect()))
    }),
    many("coalesce", 1, |a, _| {
        a.iter()
            .find(|value| **value != Value::Null)
            .cloned()
            .ok_or_else(|| "every argument is null".to_owned())
    }),
    many("coalescelist", 1, |a, _| {
        let full = |value: &&Value| matches!(value, Value::List(items) if !items.is_empty());
        a.iter().find(full).cloned().ok_or_else(|| "every list is empty".to_owned())
    }),
    function("compact", 1, 1, |a, _| {
        Ok(Value::strings(texts(a, 0)?.into_iter().filter(|text| !text.is_empty())))
    }),
    many("concat", 0, |a, _| {
        let mut all = Vec::new();
        for at in 0..a.len() {
            all.extend_from_slice(elements(a, at)?);
        }
        Ok(Value::List(all))
    }),
    function("contains", 2, 2, |a, _| Ok(Value::Bool(elements(a, 0)?.contains(&a[1])))),
    function("distinct", 1, 1, |a, _| {
        let mut seen: Vec<Value> = Vec::new();
        for item in elements(a, 0)? {
            if !seen.contains(item) {
                seen.push(item.clone());
            }
        }
        Ok(Value::List(seen))
    }),
    function("element", 2, 2, |a, _| {
        let items = elements(a, 0)?;
        if items.is_empty() {
            return Err("the list is empty".to_owned());
        }
        let at = whole(a, 1)?;
        Ok(items[at.rem_euclid(items.len() as i64) as usize].clone())
    }),
    function("flatten", 1, 1, |a, _| {
        fn flat(items: &[Value], out: &mut Vec<Value>) {
            for item in items {
                match item {
                    Value::List(inner) => flat(inner, out),
                    other => out.push(other.clone()),
                }
            }
        }
        let mut out = Vec::new();
        flat(elements(a, 0)?, &mut out);
        Ok(Value::List(out))
    }),
    function("hasindex", 2, 2, |a, _| {
        Ok(Value::Bool(match (&a[0], &a[1]) {
            (Value::Map(entries), key) => key.to_text().is_some_and(|key| entries.contains_key(&key)),
            (Value::List(items), key) => key
                .to_number()
                .and_then(Number::whole)
                .is_some_and(|at| at >= 0 && (at as usize) < items.len()),
            (other, _) => return Err(kind_error(0, "list or map", other)),
        }))
    }),
    function("index", 2, 2, |a, _| {
        let source = rbuild_model::span::Source::new("", "");
        let at = rbuild_model::span::Location { source, span: rbuild_model::span::Span::default() };
        crate::hcl::eval::index(&a[0], &a[1], &at).map_err(|error| error.message.clone())
    }),
    function("indexof", 2, 2, |a, _| {
        let found = elements(a, 0)?.iter().position(|item| *item == a[1]);
        found.map(|at| Value::Number((at as i64).into())).ok_or_else(|| "it is not in the list".to_owned())
    }),
    function("length", 1, 1, |a, _| {
        Ok(Value::Number(
            (match &a[0] {
                Value::List(items) => items.len(),
                Value::Map(entries) => entries.len(),
                other => return Err(kind_error(0, "list or map", other)),
            } as i64)
                .into(),
        ))
    }),
    function("range", 1, 3, range),
    function("reverselist", 1, 1, |a, _| Ok(Value::List(elements(a, 0)?.iter().rev().cloned().collect()))),
    function("sethaselement", 2, 2, |a, _| Ok(Value::Bool(elements(a, 0)?.contains(&a[1])))),
    many("setintersection", 1, |a, _| {
        fold(a, |left, right| left.into_iter().filter(|item| right.contains(item)).collect())
    }),
    many("setproduct", 1, product),
    function("setsubtract", 2, 2, |a, _| {
        fold(a, |left, right| left.into_iter().filter(|item| !right.contains(item)).collect())
    }),
    many("setsymmetricdifference", 1, |a, _| {
        fold(a, |left, right| {
            let only = |of: &[Value], not: &[Value]| {
                of.iter().filter(|item| !not.contains(item)).cloned().collect::<Vec<_>>()
            };
            [only(&left, right), only(right, &left)].concat()
        })
    }),
    many("setunion", 1, |a, _| fold(a, |left, right| [&left[..], right].concat())),
    function("slice", 2, 3, |a, _| {
        let items = elements(a, 0)?;
        let start = size(a, 1)?;
        let end = if a.len() > 2 { size(a, 2)? } else { items.len() };
        let slice = items
            .get(start..end)
            .ok_or_else(|| format!("{start} to {end} is not within {} elements", items.len()))?;
        Ok(Value::List(slice.to_vec()))
    }),
    function("sort", 1, 1, |a, _| {
        let mut items = texts(a, 0)?;
        items.sort();
        Ok(Value::strings(items))
    }),
    function("bytesslice", 3, 3, |a, _| {
        let bytes = text(a, 0)?;
        let (start, length) = (size(a, 1)?, size(a, 2)?);
        let slice = start.checked_add(length).and_then(|end| bytes.get(start..end));
        slice.map(Value::string).ok_or_else(|| "the slice is not within the text".to_owned())
    }),
];

/// Sets are lists in order, each element once.
fn set(mut items: Vec<Value>) -> Vec<Value> {
    items.sort();
    items.dedup();
    items
}

fn fold(arguments: &[Value], join: impl Fn(Vec<Value>, &[Value]) -> Vec<Value>) -> Result<Value, String> {
    let mut result = set(elements(arguments, 0)?.to_vec());
    for at in 1..arguments.len() {
        result = set(join(result, &set(elements(arguments, at)?.to_vec())));
    }
    Ok(Value::List(result))
}

fn product(arguments: &[Value], _: &World) -> Result<Value, String> {
    let mut rows: Vec<Vec<Value>> = vec![Vec::new()];
    for at in 0..arguments.len() {
        let items = elements(arguments, at)?;
        if rows.len().saturating_mul(items.len()) > MAX_ELEMENTS {
            return Err(format!("the result has more than {MAX_ELEMENTS} elements"));
        }
        rows = rows
            .iter()
            .flat_map(|row| items.iter().map(|item| row.iter().chain([item]).cloned().collect()))
            .collect();
    }
    Ok(Value::List(rows.into_iter().map(Value::List).collect()))
}

fn range(arguments: &[Value], _: &World) -> Result<Value, String> {
    let (start, end) = match arguments.len() {
        1 => (0.0, number(arguments, 0)?.0),
        _ => (number(arguments, 0)?.0, number(arguments, 1)?.0),
    };
    let default = if end < start { -1.0 } else { 1.0 };
    let step = if arguments.len() > 2 { number(arguments, 2)?.0 } else { default };
    if step == 0.0 || (step > 0.0) != (default > 0.0) {
        return Err("the step does not lead to the end".to_owned());
    }
    let mut items = Vec::new();
    let mut next = start;
    while if step > 0.0 { next < end } else { next > end } {
        // As elsewhere: what is longer is a mistake.
        if items.len() == 1024 {
            return Err("the range has more than 1024 elements".to_owned());
        }
        items.push(Value::Number(Number(next)));
        next += step;
    }
    Ok(Value::List(items))
}
