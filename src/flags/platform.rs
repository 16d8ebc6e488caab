//! `--platform os/arch[/variant],...`.

use rbuild_model::platform::Platform;

use super::{Invalid, Read};
use crate::report::Mistake;

/// The platforms of one flag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PlatformList(pub(crate) Vec<Platform>);

impl PlatformList {
    /// Returns the platform of a flag that takes one.
    pub(crate) fn only(list: Option<&Self>) -> anyhow::Result<Option<&Platform>> {
        match list.map(|list| &list.0[..]) {
            None => Ok(None),
            Some([only]) => Ok(Some(only)),
            Some(_) => Err(Mistake::usage("`--platform` takes one platform here").into()),
        }
    }
}

/// Reads one or more platforms.
pub(crate) fn platforms(text: &str) -> Read<PlatformList> {
    text.split(',')
        .map(|part| part.trim().parse::<Platform>().map_err(|error| Invalid::new(error.to_string())))
        .collect::<Read<Vec<_>>>()
        .map(PlatformList)
}
