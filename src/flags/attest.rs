//! Values of `--attest`, `--sbom` and `--provenance`.

use rbuild_worker::request::{Detail, Provenance, Reproducible, Scope, Slsa};

use super::{Invalid, Mode, Read, boolean, csv, unknown};

/// A fact that is to be said about a result, or is not to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Attest {
    /// A bill of materials.
    Sbom(Mode),
    /// How it was made; `None` if that is not to be said.
    Provenance(Option<Provenance>),
}

/// Reads `--attest type=sbom|provenance,...`.
pub(crate) fn attest(text: &str) -> Read<Attest> {
    let fields = csv::fields(text)?;
    let kind = fields.iter().find(|field| field.key == "type");
    let kind = kind.ok_or_else(|| Invalid::new("no `type`: write `type=sbom` or `type=provenance`"))?;
    let rest = fields.iter().filter(|field| field.key != "type");
    match kind.required()? {
        "sbom" => materials(rest),
        "provenance" => origin(rest),
        other => Err(unknown("type of attestation", other, &["sbom", "provenance"])),
    }
}

/// Reads `--sbom BOOL|generator=...`.
pub(crate) fn sbom(text: &str) -> Read<Attest> {
    match boolean(text).map(Mode::from) {
        Ok(wanted) => Ok(Attest::Sbom(wanted)),
        Err(_) => materials(csv::fields(text)?.iter()),
    }
}

/// Reads `--provenance BOOL|mode=min|max,...`.
pub(crate) fn provenance(text: &str) -> Read<Attest> {
    match boolean(text) {
        Ok(wanted) => Ok(Attest::Provenance(wanted.then(Provenance::default))),
        Err(_) => origin(csv::fields(text)?.iter()),
    }
}

fn materials<'f>(fields: impl Iterator<Item = &'f csv::Field>) -> Read<Attest> {
    let mut wanted = Mode::On;
    for field in fields {
        match field.key.as_str() {
            "disabled" => wanted = (!field.truth()?).into(),
            "generator" => {
                return Err(Invalid::new(
                    "generators are not supported: the databases of package managers are read without one",
                ));
            }
            other => return Err(unknown("key", other, &["type", "disabled"])),
        }
    }
    Ok(Attest::Sbom(wanted))
}

/// The keys of a provenance, as users write them.
const KEYS: &[&str] =
    &["type", "mode", "version", "builder-id", "filename", "reproducible", "inline-only", "disabled"];

fn origin<'f>(fields: impl Iterator<Item = &'f csv::Field>) -> Read<Attest> {
    let (mut wanted, mut provenance) = (true, Provenance::default());
    for field in fields {
        match field.key.as_str() {
            "disabled" => wanted = !field.truth()?,
            "mode" => {
                provenance.detail = match field.required()? {
                    "min" => Detail::Min,
                    "max" => Detail::Max,
                    other => return Err(unknown("mode", other, &["min", "max"])),
                }
            }
            "version" => {
                provenance.version = match field.required()? {
                    "v1" => Slsa::V1,
                    "v0.2" => Slsa::V02,
                    other => return Err(unknown("version", other, &["v1", "v0.2"])),
                }
            }
            "builder-id" => provenance.builder = Some(field.required()?.to_owned()),
            "filename" => provenance.file = Some(file_name(field.required()?)?),
            "reproducible" => {
                provenance.reproducible =
                    if field.truth()? { Reproducible::Promised } else { Reproducible::Unsaid };
            }
            "inline-only" => {
                provenance.scope = if field.truth()? { Scope::Images } else { Scope::Everywhere };
            }
            other => return Err(unknown("key", other, KEYS)),
        }
    }
    Ok(Attest::Provenance(wanted.then_some(provenance)))
}

/// Reads the name of a file in a folder that is not said.
pub(super) fn file_name(text: &str) -> Read<String> {
    if matches!(text, "." | "..") || text.contains(['/', '\0']) || text.len() > 200 {
        return Err(Invalid::new(format!("`{text}` is not the name of a file: write it without folders")));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_long_forms_say_the_same() {
        assert_eq!(sbom("true"), attest("type=sbom"));
        assert_eq!(sbom("false"), attest("type=sbom,disabled=true"));
        assert_eq!(provenance("mode=max"), attest("type=provenance,mode=max"));
        assert_eq!(provenance("true"), attest("type=provenance,mode=min,version=v1"));
        assert_eq!(provenance("false"), Ok(Attest::Provenance(None)));
        assert_eq!(
            attest(
                "type=provenance,builder-id=https://ci.example/7,version=v0.2,filename=made.json,\
                 reproducible=true,inline-only=true,mode=max"
            ),
            Ok(Attest::Provenance(Some(Provenance {
                detail: Detail::Max,
                builder: Some("https://ci.example/7".to_owned()),
                version: Slsa::V02,
                file: Some("made.json".to_owned()),
                reproducible: Reproducible::Promised,
                scope: Scope::Images,
            })))
        );
        for wrong in [
            "sbom",
            "type=x",
            "type=sbom,generator=a/b",
            "type=provenance,version=v2",
            "type=provenance,filename=../x",
            "type=provenance,filename=",
            "type=provenance,reproducible=perhaps",
            "type=sbom,mode=max",
        ] {
            assert!(attest(wrong).is_err(), "{wrong}");
        }
    }
}
