//! The value of `RUN --device`: a device by its CDI name, and whether the step needs it.

use rbuild_model::truth::parse_bool;

/// A device that a RUN asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceRequest {
    /// `vendor/class`, `vendor/class=device`, `vendor/class=*`, or a class.
    pub name: String,
    /// Whether the step fails where there is no such device.
    pub required: bool,
}

/// What is wrong with a device.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// Nothing names it.
    #[error("invalid device {text:?}: it has no name")]
    NoName {
        /// The whole value.
        text: String,
    },
    /// A second name, or a field that is none of `name` and `required`.
    #[error("unexpected key '{key}' in '{field}'")]
    Key {
        /// What stands before the `=`.
        key: String,
        /// The whole field.
        field: String,
    },
    /// `required` with something else than a boolean.
    #[error("invalid value for required: {value}")]
    Required {
        /// The value.
        value: String,
    },
}

/// Reads `NAME[,required[=bool]]`.
pub fn parse(text: &str) -> Result<DeviceRequest, DeviceError> {
    let mut name: Option<String> = None;
    let mut required = false;
    for field in text.split(',') {
        let (key, value) = field.split_once('=').map_or((field, None), |(key, value)| (key, Some(value)));
        match (key.to_ascii_lowercase().as_str(), value) {
            ("required", None) => required = true,
            ("required", Some(value)) => {
                required =
                    parse_bool(value).ok_or_else(|| DeviceError::Required { value: value.to_owned() })?;
            }
            ("name", Some(value)) if name.is_none() => name = Some(value.to_owned()),
            // `vendor/class=device` is a name as a whole; a key has no slash.
            (_, None) if name.is_none() => name = Some(field.to_owned()),
            (_, Some(_)) if name.is_none() && key.contains('/') => name = Some(field.to_owned()),
            _ => return Err(DeviceError::Key { key: key.to_owned(), field: field.to_owned() }),
        }
    }
    match name.filter(|name| !name.is_empty()) {
        Some(name) => Ok(DeviceRequest { name, required }),
        None => Err(DeviceError::NoName { text: text.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_with_and_without_their_key() {
        for (text, name, required) in [
            ("vendor/class", "vendor/class", false),
            ("vendor/class=dev,required", "vendor/class=dev", true),
            ("required=true,name=vendor/class=*", "vendor/class=*", true),
            ("gpu,required=0", "gpu", false),
        ] {
            assert_eq!(parse(text), Ok(DeviceRequest { name: name.to_owned(), required }), "{text}");
        }
        for (text, error) in [
            ("", "invalid device \"\": it has no name"),
            ("required", "invalid device \"required\": it has no name"),
            ("a/b,foo=1", "unexpected key 'foo' in 'foo=1'"),
            ("foo=1", "unexpected key 'foo' in 'foo=1'"),
            ("a/b,required=2", "invalid value for required: 2"),
        ] {
            assert_eq!(parse(text).unwrap_err().to_string(), error);
        }
    }
}
