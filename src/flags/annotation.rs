//! `--annotation [TYPE[PLATFORM],...:]KEY=VALUE`.

use rbuild_images::{Annotation, Level};
use rbuild_model::platform::Platform;

use super::{Invalid, Read, unknown};

/// The annotations of one flag: one for each place that it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Annotations(pub(crate) Vec<Annotation>);

/// The places, as users write them.
const TYPES: &[(&str, Level)] = &[
    ("manifest", Level::Manifest),
    ("manifest-descriptor", Level::ManifestDescriptor),
    ("index", Level::Index),
    ("index-descriptor", Level::IndexDescriptor),
];

/// Reads an annotation of the command line.
pub(crate) fn annotation(text: &str) -> Read<Annotations> {
    let (left, value) =
        text.split_once('=').ok_or_else(|| Invalid::new(format!("`{text}` is not KEY=VALUE")))?;
    // What stands before the colon is a list of places only if it begins with one: keys may have colons.
    let (places, key) = match left.split_once(':') {
        Some((places, key)) if begins_with_place(places) => (places, key),
        _ => ("manifest", left),
    };
    if key.is_empty() {
        return Err(Invalid::new("the key of the annotation is empty"));
    }
    let one = |place: &str| {
        let (level, platform) = place_of(place)?;
        Ok(Annotation { level, platform, key: key.to_owned(), value: value.to_owned() })
    };
    places.split(',').map(one).collect::<Read<Vec<_>>>().map(Annotations)
}

/// Reads the part of an output's key behind `annotation`: `.KEY`, `-TYPE.KEY`, `[PLATFORM].KEY`, `-TYPE[PLATFORM].KEY`.
pub(super) fn of_key(rest: &str, value: &str) -> Read<Annotation> {
    let wrong = || Invalid::new(format!("`annotation{rest}` is not `annotation[-TYPE][[PLATFORM]].KEY`"));
    let end = match rest.find(']') {
        Some(bracket) if !rest[..bracket].contains('.') => bracket + 1,
        _ => rest.find('.').ok_or_else(wrong)?,
    };
    let key = rest[end..].strip_prefix('.').filter(|key| !key.is_empty()).ok_or_else(wrong)?;
    let place =
        rest[..end].strip_prefix('-').map_or_else(|| format!("manifest{}", &rest[..end]), str::to_owned);
    let (level, platform) = place_of(&place)?;
    Ok(Annotation { level, platform, key: key.to_owned(), value: value.to_owned() })
}

fn begins_with_place(text: &str) -> bool {
    let first = text.split([',', '[']).next().unwrap_or_default();
    TYPES.iter().any(|(name, _)| *name == first)
}

/// Reads `TYPE` or `TYPE[PLATFORM]`.
fn place_of(text: &str) -> Read<(Level, Option<Platform>)> {
    let (name, platform) = match text.split_once('[') {
        None => (text, None),
        Some((name, rest)) => {
            let inner = rest
                .strip_suffix(']')
                .ok_or_else(|| Invalid::new(format!("`{text}` has no closing bracket")))?;
            let platform = inner.parse::<Platform>().map_err(|error| Invalid::new(error.to_string()))?;
            (name, Some(platform))
        }
    };
    let names: Vec<&str> = TYPES.iter().map(|(name, _)| *name).collect();
    let found = TYPES.iter().find(|(known, _)| *known == name);
    let (_, level) = found.ok_or_else(|| unknown("place of an annotation", name, &names))?;
    if platform.is_some() && matches!(level, Level::Index | Level::IndexDescriptor) {
        return Err(Invalid::new(format!("`{text}`: an index is for all platforms")));
    }
    Ok((*level, platform))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> String {
        match annotation(text) {
            Ok(Annotations(all)) => {
                let shown = |one: &Annotation| {
                    let platform = one.platform.as_ref().map_or_else(String::new, |it| format!("[{it}]"));
                    format!("{:?}{platform} {}={}", one.level, one.key, one.value)
                };
                all.iter().map(shown).collect::<Vec<_>>().join("; ")
            }
            Err(error) => format!("error: {error}"),
        }
    }

    #[test]
    fn places_stand_before_the_key() {
        for (text, told) in [
            ("a=b", "Manifest a=b"),
            ("org:a=b=c", "Manifest org:a=b=c"),
            ("index:a=b", "Index a=b"),
            ("index,manifest[linux/arm64]:a=", "Index a=; Manifest[linux/arm64] a="),
            ("manifest-descriptor:a.b=c", "ManifestDescriptor a.b=c"),
            ("a", "error: `a` is not KEY=VALUE"),
            ("index:=b", "error: the key of the annotation is empty"),
            ("index[linux/arm64]:a=b", "error: `index[linux/arm64]`: an index is for all platforms"),
            (
                "manifest,foo:a=b",
                "error: unknown place of an annotation `foo`: use one of [manifest, manifest-descriptor, index, index-descriptor]",
            ),
        ] {
            assert_eq!(read(text), told);
        }
    }

    #[test]
    fn keys_of_outputs_name_places_too() {
        for (rest, level, platform, key) in [
            (".a.b", Level::Manifest, None, "a.b"),
            ("-index.a", Level::Index, None, "a"),
            ("[linux/arm64].a", Level::Manifest, Some("linux/arm64"), "a"),
            ("-manifest-descriptor[linux/amd64].a.b", Level::ManifestDescriptor, Some("linux/amd64"), "a.b"),
        ] {
            let found = of_key(rest, "v").unwrap();
            assert_eq!((found.level, found.key.as_str()), (level, key), "{rest}");
            assert_eq!(found.platform, platform.map(|text| text.parse().unwrap()), "{rest}");
        }
        for wrong in ["", ".", "-index", "-foo.a", "[x"] {
            assert!(of_key(wrong, "v").is_err(), "{wrong}");
        }
    }
}
