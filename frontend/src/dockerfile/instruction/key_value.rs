//! `name=value` lists, as ENV and LABEL take them.

use rbuild_model::span::Span;

use super::{Args, Word};
use crate::dockerfile::flags::{name_and_rest, quoted_words};

/// A name with its value, both as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyValue {
    /// The name.
    pub key: Word,
    /// The value.
    pub value: Word,
}

/// The names and values of an ENV or LABEL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyValues {
    /// In order.
    pub pairs: Vec<KeyValue>,
    /// Where the arguments stand, if they are in the old `name value` form.
    pub legacy: Option<Span>,
}

impl KeyValues {
    pub(crate) fn parse(args: &mut Args<'_>) -> Option<Self> {
        let name = args.spec.name;
        let words = quoted_words(args.rest, args.escape);
        let Some(first) = words.first() else {
            return args.fail(format!("{name} requires at least one argument"));
        };
        if !first.text().contains('=') {
            let Some((key, value)) = name_and_rest(args.rest) else {
                return args.fail(format!("{name} must have two arguments"));
            };
            let pairs = vec![KeyValue { key: key.word(), value: value.word() }];
            return Some(Self { pairs, legacy: Some(args.rest.span()) });
        }
        let mut pairs = Vec::with_capacity(words.len());
        for word in words {
            let Some((key, value)) = word.text().split_once('=') else {
                args.error(
                    word.span(),
                    format!(
                        "Syntax error - can't find = in {:?}. Must be of the form: name=value",
                        word.text()
                    ),
                );
                continue;
            };
            if key.is_empty() {
                args.error(word.span(), format!("{name} names can not be blank"));
                continue;
            }
            let value_start = key.len() + 1;
            pairs.push(KeyValue {
                key: word.part(0..key.len()).word(),
                value: word.part(value_start..value_start + value.len()).word(),
            });
        }
        Some(Self { pairs, legacy: None })
    }
}
