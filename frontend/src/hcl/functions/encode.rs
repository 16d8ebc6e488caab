//! Values as text of other forms, and back.

use std::collections::BTreeMap;

use super::{Function, World, function, text};
use crate::hcl::Value;

/// The functions.
pub(super) const FUNCTIONS: &[Function] = &[
    function("base64decode", 1, 1, |a, _| {
        use base64::Engine as _;
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(text(a, 0)?)
            .map_err(|error| format!("it is not base64: {error}"))?;
        String::from_utf8(bytes).map(Value::String).map_err(|_| "what is encoded is no text".to_owned())
    }),
    function("base64encode", 1, 1, |a, _| {
        use base64::Engine as _;
        Ok(Value::string(base64::engine::general_purpose::STANDARD.encode(text(a, 0)?)))
    }),
    function("csvdecode", 1, 1, csv),
    function("homedir", 0, 0, |_, world| {
        world.home.clone().map(Value::String).ok_or_else(|| "the user has no home".to_owned())
    }),
    function("jsondecode", 1, 1, |a, _| {
        let json: serde_json::Value =
            serde_json::from_str(&text(a, 0)?).map_err(|error| format!("it is not JSON: {error}"))?;
        Ok(Value::from_json(&json))
    }),
    function("jsonencode", 1, 1, |a, _| Ok(Value::string(go_json(&a[0].to_json())))),
    function("urlencode", 1, 1, |a, _| {
        let mut out = String::new();
        for byte in text(a, 0)?.bytes() {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                    out.push(char::from(byte))
                }
                b' ' => out.push('+'),
                byte => out.push_str(&format!("%{byte:02X}")),
            }
        }
        Ok(Value::String(out))
    }),
];

/// Writes JSON as Go does: what could end a script in a page is escaped.
fn go_json(json: &serde_json::Value) -> String {
    json.to_string().replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

fn csv(arguments: &[Value], _: &World) -> Result<Value, String> {
    let text = text(arguments, 0)?;
    let mut rows = Vec::new();
    let mut row = Vec::new();
    let mut field = String::new();
    let mut quoted = false;
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' if quoted && letters.next_if_eq(&'"').is_some() => field.push('"'),
            '"' => quoted = !quoted,
            ',' if !quoted => row.push(std::mem::take(&mut field)),
            '\r' if !quoted => {}
            '\n' if !quoted => {
                row.push(std::mem::take(&mut field));
                rows.push(std::mem::take(&mut row));
            }
            letter => field.push(letter),
        }
    }
    if quoted {
        return Err("a quote has no end".to_owned());
    }
    if !field.is_empty() || !row.is_empty() {
        row.push(field);
        rows.push(row);
    }
    let mut rows =
        rows.into_iter().filter(|row| row.len() > 1 || row.first().is_some_and(|field| !field.is_empty()));
    let names = rows.next().ok_or_else(|| "there is no line with names".to_owned())?;
    let record = |row: Vec<String>| {
        if row.len() != names.len() {
            return Err(format!("a line has {} fields, and the first one {}", row.len(), names.len()));
        }
        let entries: BTreeMap<String, Value> =
            names.iter().cloned().zip(row.into_iter().map(Value::String)).collect();
        Ok(Value::Map(entries))
    };
    Ok(Value::List(rows.map(record).collect::<Result<_, _>>()?))
}
