//! Arguments in JSON form: `["a", "b"]`.

/// What a text is, read as a JSON array of strings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum JsonForm {
    /// It is one.
    Strings(Vec<String>),
    /// It is a JSON array, but something in it is not a string.
    NotStrings,
    /// It is something else: the shell form.
    Other,
}

/// Reads a text as a JSON array of strings.
pub(crate) fn parse(text: &str) -> JsonForm {
    let text = text.trim();
    if !text.starts_with('[') {
        return JsonForm::Other;
    }
    let Ok(values) = serde_json::from_str::<Vec<serde_json::Value>>(text) else { return JsonForm::Other };
    values
        .into_iter()
        .map(|value| match value {
            serde_json::Value::String(text) => Some(text),
            _ => None,
        })
        .collect::<Option<Vec<_>>>()
        .map_or(JsonForm::NotStrings, JsonForm::Strings)
}
