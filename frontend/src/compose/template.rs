//! `$NAME`, `${NAME:-default}` and their kin.
//!
//! | Form | Result |
//! |---|---|
//! | `$V`, `${V}` | the value, or nothing with a warning |
//! | `${V:-d}`, `${V-d}` | `d` if unset or empty, if unset |
//! | `${V:?m}`, `${V?m}` | an error saying `m` if unset or empty, if unset |
//! | `${V:+r}`, `${V+r}` | `r` if set and not empty, if set |
//! | `$$` | `$` |
//!
//! What stands behind an operator is a template itself and is only looked at where it counts. A `$` that begins none of
//! these stands for itself.

use super::bounds;

/// How deep templates may be nested.
const DEPTH: usize = 64;

/// Where values come from, and who hears of what is missing.
pub(crate) trait Variables {
    /// Returns the value of a variable, if it is set.
    fn get(&mut self, name: &str) -> Option<String>;
    /// Hears that a variable without a value was taken as empty.
    fn unset(&mut self, name: &str);
}

/// Why a template cannot be filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TemplateError {
    /// It is written wrongly.
    Invalid,
    /// It becomes too long.
    Long,
    /// A variable that must have a value has none.
    Required {
        /// The variable.
        name: String,
        /// What the file says about it.
        message: String,
    },
}

/// A piece of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    /// Text that stands for itself.
    Text(&'a str),
    /// A variable.
    Variable {
        /// Its name.
        name: &'a str,
        /// What is done with its value.
        operation: Option<Operation<'a>>,
    },
}

/// What is done with a variable's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Operation<'a> {
    /// Which of the three.
    pub(crate) kind: OperationKind,
    /// Whether an empty value counts as none (`:`).
    pub(crate) or_empty: bool,
    /// The template behind the operator.
    pub(crate) argument: &'a str,
}

/// What is done with a variable's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OperationKind {
    /// `-`: something else instead of none.
    Default,
    /// `?`: an error instead of none.
    Required,
    /// `+`: something else instead of one.
    Alternate,
}

/// Fills a template in.
pub(crate) fn substitute(template: &str, variables: &mut dyn Variables) -> Result<String, TemplateError> {
    fill(template, variables, DEPTH)
}

fn fill(template: &str, variables: &mut dyn Variables, depth: usize) -> Result<String, TemplateError> {
    if !template.contains('$') {
        return Ok(template.to_owned());
    }
    if depth == 0 {
        return Err(TemplateError::Invalid);
    }
    let mut filled = String::with_capacity(template.len());
    for piece in pieces(template)? {
        if filled.len() > bounds::VALUE {
            return Err(TemplateError::Long);
        }
        let (name, operation) = match piece {
            Piece::Text(text) => {
                filled.push_str(text);
                continue;
            }
            Piece::Variable { name, operation } => (name, operation),
        };
        let value = variables.get(name);
        let Some(Operation { kind, or_empty, argument }) = operation else {
            match value {
                Some(value) => filled.push_str(&value),
                None => variables.unset(name),
            }
            continue;
        };
        let value = value.filter(|value| !or_empty || !value.is_empty());
        match (kind, value) {
            (OperationKind::Default | OperationKind::Required, Some(value)) => filled.push_str(&value),
            (OperationKind::Default, None) | (OperationKind::Alternate, Some(_)) => {
                filled.push_str(&fill(argument, variables, depth - 1)?);
            }
            (OperationKind::Alternate, None) => {}
            (OperationKind::Required, None) => {
                let message = fill(argument, variables, depth - 1)?;
                return Err(TemplateError::Required { name: name.to_owned(), message });
            }
        }
    }
    if filled.len() > bounds::VALUE { Err(TemplateError::Long) } else { Ok(filled) }
}

/// Says that a value is too long.
pub(crate) fn too_long() -> String {
    format!("the value becomes longer than {} bytes", bounds::VALUE)
}

/// Takes a template apart.
pub(crate) fn pieces(template: &str) -> Result<Vec<Piece<'_>>, TemplateError> {
    let mut pieces = Vec::new();
    let mut rest = template;
    while let Some(at) = rest.find('$') {
        if at > 0 {
            pieces.push(Piece::Text(&rest[..at]));
        }
        let behind = &rest[at + 1..];
        if let Some(behind) = behind.strip_prefix('$') {
            pieces.push(Piece::Text("$"));
            rest = behind;
        } else if let Some(inner) = behind.strip_prefix('{') {
            let end = closing(inner).ok_or(TemplateError::Invalid)?;
            pieces.push(braced(&inner[..end])?);
            rest = &inner[end + 1..];
        } else {
            let name = &behind[..name_length(behind)];
            pieces.push(if name.is_empty() {
                Piece::Text(&rest[at..=at])
            } else {
                Piece::Variable { name, operation: None }
            });
            rest = &behind[name.len()..];
        }
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest));
    }
    Ok(pieces)
}

/// Returns the place of the brace that closes what was opened just before.
fn closing(text: &str) -> Option<usize> {
    let mut open = 1;
    for (at, c) in text.char_indices() {
        match c {
            '{' => open += 1,
            '}' => open -= 1,
            _ => {}
        }
        if open == 0 {
            return Some(at);
        }
    }
    None
}

fn name_length(text: &str) -> usize {
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return 0;
    }
    text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len())
}

fn braced(inner: &str) -> Result<Piece<'_>, TemplateError> {
    let (name, rest) = inner.split_at(name_length(inner));
    if name.is_empty() {
        return Err(TemplateError::Invalid);
    }
    if rest.is_empty() {
        return Ok(Piece::Variable { name, operation: None });
    }
    let (or_empty, rest) = match rest.strip_prefix(':') {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    let kind = match rest.chars().next() {
        Some('-') => OperationKind::Default,
        Some('?') => OperationKind::Required,
        Some('+') => OperationKind::Alternate,
        _ => return Err(TemplateError::Invalid),
    };
    Ok(Piece::Variable { name, operation: Some(Operation { kind, or_empty, argument: &rest[1..] }) })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Default)]
    struct Known {
        values: BTreeMap<&'static str, &'static str>,
        unset: Vec<String>,
    }

    impl Variables for Known {
        fn get(&mut self, name: &str) -> Option<String> {
            self.values.get(name).map(|value| (*value).to_owned())
        }

        fn unset(&mut self, name: &str) {
            self.unset.push(name.to_owned());
        }
    }

    fn filled(template: &str) -> Result<String, TemplateError> {
        let mut known = Known { values: BTreeMap::from([("A", "a"), ("E", "")]), unset: Vec::new() };
        substitute(template, &mut known)
    }

    #[test]
    fn every_operator_does_what_the_table_says() {
        for (template, wanted) in [
            ("$A-${A}", "a-a"),
            ("$$A $${A}", "$A ${A}"),
            ("${E:-d}${E-d}${U:-d}${U-d}", "ddd"),
            ("${A:+r}${E:+r}${E+r}${U+r}", "rr"),
            ("${A:?m}${E?m}", "a"),
            ("${U:-${E:-$A}}x", "ax"),
            ("${U:-{\"k\":1}}", "{\"k\":1}"),
            ("${U-a?b}", "a?b"),
            ("^x$", "^x$"),
            ("$1 $} $ $-", "$1 $} $ $-"),
            ("$Ab", ""),
            ("${U:-$$A}", "$A"),
        ] {
            assert_eq!(filled(template).as_deref(), Ok(wanted), "{template}");
        }
    }

    #[test]
    fn what_is_written_wrongly_is_refused() {
        for template in ["${", "${}", "${ x}", "${x!}", "${A", "${1}", "${A:}", "${A:x}"] {
            assert_eq!(filled(template), Err(TemplateError::Invalid), "{template}");
        }
        let message = "no a".to_owned();
        assert_eq!(filled("${U:?no $A}"), Err(TemplateError::Required { name: "U".to_owned(), message }));
    }

    #[test]
    fn a_branch_that_does_not_count_is_not_looked_at() {
        let mut known = Known { values: BTreeMap::from([("A", "a")]), unset: Vec::new() };
        assert_eq!(substitute("${A:-${U:?m}$V}", &mut known).as_deref(), Ok("a"));
        assert_eq!(known.unset, Vec::<String>::new());
        assert_eq!(substitute("x${V}y", &mut known).as_deref(), Ok("xy"));
        assert_eq!(known.unset, ["V"]);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[$ {}A-C:?+!é-]{0,40}") {
            let _ = filled(&text);
        }

        #[test]
        fn doubled_dollars_stand_for_themselves(text in ".{0,40}") {
            prop_assert_eq!(filled(&text.replace('$', "$$")), Ok(text));
        }
    }
}
