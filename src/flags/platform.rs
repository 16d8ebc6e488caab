//! `--platform os/arch[/variant],...`.

use rbuild_model::platform::Platform;

use super::{Invalid, Read};

/// The platforms of one flag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PlatformList(pub(crate) Vec<Platform>);

/// Reads one or more platforms.
pub(crate) fn platforms(text: &str) -> Read<PlatformList> {
    text.split(',')
        .map(|part| part.trim().parse::<Platform>().map_err(|error| Invalid::new(error.to_string())))
        .collect::<Read<Vec<_>>>()
        .map(PlatformList)
}
