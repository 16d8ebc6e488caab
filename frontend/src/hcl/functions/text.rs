//! Texts.

use super::{Function, World, elements, function, kind_error, many, number, size, text, texts, whole};
use crate::hcl::Value;

/// How long a formatted piece may be.
const MAX_WIDTH: usize = 1 << 16;

/// The functions.
pub(super) const FUNCTIONS: &[Function] = &[
    function("basename", 1, 1, |a, _| Ok(Value::string(base(&text(a, 0)?)))),
    function("byteslen", 1, 1, |a, _| Ok(Value::Number((text(a, 0)?.len() as i64).into()))),
    function("chomp", 1, 1, |a, _| Ok(Value::string(text(a, 0)?.trim_end_matches(['\n', '\r'])))),
    function("dirname", 1, 1, |a, _| Ok(Value::string(folder(&text(a, 0)?)))),
    many("format", 1, |a, _| format(&text(a, 0)?, &a[1..]).map(Value::String)),
    many("formatlist", 1, format_list),
    function("indent", 2, 2, |a, _| {
        let blanks = " ".repeat(size(a, 0)?.min(MAX_WIDTH));
        Ok(Value::string(text(a, 1)?.replace('\n', &format!("\n{blanks}"))))
    }),
    function("join", 2, usize::MAX, join),
    function("lower", 1, 1, |a, _| Ok(Value::string(text(a, 0)?.to_lowercase()))),
    function("replace", 3, 3, |a, _| Ok(Value::string(text(a, 0)?.replace(&text(a, 1)?, &text(a, 2)?)))),
    function("reverse", 1, 1, |a, _| Ok(Value::string(text(a, 0)?.chars().rev().collect::<String>()))),
    function("sanitize", 1, 1, |a, _| {
        let keep = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '-';
        Ok(Value::string(
            text(a, 0)?.chars().map(|letter| if keep(letter) { letter } else { '_' }).collect::<String>(),
        ))
    }),
    function("semvercmp", 2, 2, super::pattern::compare_versions),
    function("split", 2, 2, |a, _| {
        let (by, whole) = (text(a, 0)?, text(a, 1)?);
        if by.is_empty() {
            return Ok(Value::strings(whole.chars()));
        }
        Ok(Value::strings(whole.split(&by)))
    }),
    function("strlen", 1, 1, |a, _| Ok(Value::Number((text(a, 0)?.chars().count() as i64).into()))),
    function("substr", 3, 3, substr),
    function("title", 1, 1, |a, _| Ok(Value::string(title(&text(a, 0)?)))),
    function("trim", 2, 2, |a, _| {
        let letters: Vec<char> = text(a, 1)?.chars().collect();
        Ok(Value::string(text(a, 0)?.trim_matches(&letters[..])))
    }),
    function("trimprefix", 2, 2, |a, _| {
        let (whole, prefix) = (text(a, 0)?, text(a, 1)?);
        Ok(Value::string(whole.strip_prefix(&*prefix).unwrap_or(&whole)))
    }),
    function("trimspace", 1, 1, |a, _| Ok(Value::string(text(a, 0)?.trim()))),
    function("trimsuffix", 2, 2, |a, _| {
        let (whole, suffix) = (text(a, 0)?, text(a, 1)?);
        Ok(Value::string(whole.strip_suffix(&*suffix).unwrap_or(&whole)))
    }),
    function("upper", 1, 1, |a, _| Ok(Value::string(text(a, 0)?.to_uppercase()))),
];

/// The last element of a path.
fn base(path: &str) -> &str {
    let trimmed = path.trim_end_matches('/');
    match trimmed {
        "" if path.is_empty() => ".",
        "" => "/",
        path => path.rsplit('/').next().unwrap_or(path),
    }
}

/// A path without its last element.
fn folder(path: &str) -> String {
    match path.rfind('/') {
        None => ".".to_owned(),
        Some(at) => {
            let kept = path[..at].trim_end_matches('/');
            if kept.is_empty() { "/".to_owned() } else { kept.to_owned() }
        }
    }
}

fn title(text: &str) -> String {
    let mut begins = true;
    let mut out = String::new();
    for letter in text.chars() {
        if begins && letter.is_alphabetic() {
            out.extend(letter.to_uppercase());
        } else {
            out.push(letter);
        }
        begins = !(letter.is_alphanumeric() || letter == '_' || letter == '\'');
    }
    out
}

fn join(arguments: &[Value], _: &World) -> Result<Value, String> {
    let by = text(arguments, 0)?;
    let mut all = Vec::new();
    for at in 1..arguments.len() {
        all.extend(texts(arguments, at)?);
    }
    Ok(Value::String(all.join(&by)))
}

fn substr(arguments: &[Value], _: &World) -> Result<Value, String> {
    let letters: Vec<char> = text(arguments, 0)?.chars().collect();
    let (offset, length) = (whole(arguments, 1)?, whole(arguments, 2)?);
    let count = letters.len() as i64;
    let start = if offset < 0 { (count + offset).max(0) } else { offset.min(count) };
    let end = if length < 0 { count } else { (start + length).min(count) };
    Ok(Value::string(letters[start as usize..end.max(start) as usize].iter().collect::<String>()))
}

/// Writes values as a pattern with verbs says.
pub(super) fn format(pattern: &str, values: &[Value]) -> Result<String, String> {
    let mut out = String::new();
    let mut letters = pattern.chars().peekable();
    let mut next = 0;
    let mut highest = 0;
    while let Some(letter) = letters.next() {
        if letter != '%' {
            out.push(letter);
            continue;
        }
        let mut flags = String::new();
        while let Some(flag) = letters.next_if(|letter| "-+# 0".contains(*letter)) {
            flags.push(flag);
        }
        let digits = |letters: &mut std::iter::Peekable<std::str::Chars<'_>>| {
            let mut text = String::new();
            while let Some(digit) = letters.next_if(char::is_ascii_digit) {
                text.push(digit);
            }
            text
        };
        let mut width = digits(&mut letters);
        if letters.next_if_eq(&'[').is_some() {
            width = digits(&mut letters);
            letters.next_if_eq(&']').ok_or("`[` without `]`")?;
            next =
                width.parse::<usize>().ok().and_then(|at| at.checked_sub(1)).ok_or("`[0]` is no argument")?;
            width = digits(&mut letters);
        }
        let precision = letters.next_if_eq(&'.').map(|_| digits(&mut letters));
        if let Some(precision) = &precision
            && letters.next_if_eq(&'[').is_some()
        {
            return Err(format!("`%.{precision}[` is no verb"));
        }
        if letters.next_if_eq(&'[').is_some() {
            let at = digits(&mut letters);
            letters.next_if_eq(&']').ok_or("`[` without `]`")?;
            next = at.parse::<usize>().ok().and_then(|at| at.checked_sub(1)).ok_or("`[0]` is no argument")?;
        }
        let verb = letters.next().ok_or("a pattern ends with `%`")?;
        if verb == '%' {
            out.push('%');
            continue;
        }
        let value = values.get(next).ok_or_else(|| format!("there is no argument for `%{verb}`"))?;
        next += 1;
        highest = highest.max(next);
        let width = width.parse::<usize>().unwrap_or(0).min(MAX_WIDTH);
        let precision = precision.map(|digits| digits.parse::<usize>().unwrap_or(0).min(MAX_WIDTH));
        let piece = one(verb, &flags, precision, value)?;
        let missing = width.saturating_sub(piece.chars().count());
        if flags.contains('-') {
            out.push_str(&piece);
            out.push_str(&" ".repeat(missing));
        } else if flags.contains('0') && verb != 's' && verb != 'q' {
            let (sign, digits) = match piece.strip_prefix(['-', '+']) {
                Some(digits) => piece.split_at(piece.len() - digits.len()),
                None => ("", &*piece),
            };
            out.push_str(&format!("{sign}{}{digits}", "0".repeat(missing)));
        } else {
            out.push_str(&" ".repeat(missing));
            out.push_str(&piece);
        }
    }
    if highest < values.len() {
        return Err(format!("{} arguments are not used by the pattern", values.len() - highest));
    }
    Ok(out)
}

fn one(verb: char, flags: &str, precision: Option<usize>, value: &Value) -> Result<String, String> {
    let values = std::slice::from_ref(value);
    let signed =
        |text: String| if flags.contains('+') && !text.starts_with('-') { format!("+{text}") } else { text };
    Ok(match verb {
        'v' => match value {
            Value::List(_) | Value::Map(_) => value.to_json().to_string(),
            Value::Null => "null".to_owned(),
            Value::String(text) if flags.contains('#') => format!("{text:?}"),
            other => other.to_text().unwrap_or_default(),
        },
        's' => {
            let text = text(values, 0).map_err(|_| kind_error(0, "string", value))?;
            precision.map_or(text.clone(), |precision| text.chars().take(precision).collect())
        }
        'q' => serde_json::Value::from(text(values, 0)?).to_string(),
        't' => super::boolean(values, 0)?.to_string(),
        'd' => signed(
            whole(values, 0)
                .map(|number| number.to_string())
                .or_else(|_| number(values, 0).map(|number| number.0.trunc().to_string()))?,
        ),
        'b' => format!("{:b}", whole(values, 0)?),
        'o' => format!("{:o}", whole(values, 0)?),
        'x' => format!("{:x}", whole(values, 0)?),
        'X' => format!("{:X}", whole(values, 0)?),
        'e' => {
            let text = format!("{:.*e}", precision.unwrap_or(6), number(values, 0)?.0);
            let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
            let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
            signed(format!("{mantissa}e{sign}{digits:0>2}"))
        }
        'f' => signed(format!("{:.*}", precision.unwrap_or(6), number(values, 0)?.0)),
        'g' => signed(number(values, 0)?.to_string()),
        other => return Err(format!("`%{other}` is no verb")),
    })
}

fn format_list(arguments: &[Value], _: &World) -> Result<Value, String> {
    let pattern = text(arguments, 0)?;
    let lengths: Vec<usize> =
        (1..arguments.len()).filter_map(|at| elements(arguments, at).ok().map(<[Value]>::len)).collect();
    let count = lengths.first().copied().unwrap_or(1);
    if lengths.iter().any(|length| *length != count) {
        return Err("the lists are not of one length".to_owned());
    }
    let row = |row: usize| {
        let values: Vec<Value> = arguments[1..]
            .iter()
            .map(|value| match value {
                Value::List(items) => items[row].clone(),
                other => other.clone(),
            })
            .collect();
        format(&pattern, &values).map(Value::String)
    };
    Ok(Value::List((0..count).map(row).collect::<Result<_, _>>()?))
}
