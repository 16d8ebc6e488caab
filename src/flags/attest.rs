//! Values of `--attest`, `--sbom` and `--provenance`.

use super::{Invalid, Mode, Read, boolean, csv, unknown};

/// A fact that is to leave with the image, or is not to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Attest {
    /// A bill of materials.
    Sbom(Mode),
    /// How the image was made.
    Provenance {
        /// Whether it is made.
        wanted: Mode,
        /// Whether arguments and steps are part of it.
        max: Mode,
        /// Who says that it was built.
        builder: Option<String>,
    },
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
    match boolean(text).map(Mode::from) {
        Ok(wanted) => Ok(Attest::Provenance { wanted, max: Mode::Off, builder: None }),
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

fn origin<'f>(fields: impl Iterator<Item = &'f csv::Field>) -> Read<Attest> {
    let (mut wanted, mut max, mut builder) = (Mode::On, Mode::Off, None);
    for field in fields {
        match field.key.as_str() {
            "disabled" => wanted = (!field.truth()?).into(),
            "mode" => {
                max = match field.required()? {
                    "min" => Mode::Off,
                    "max" => Mode::On,
                    other => return Err(unknown("mode", other, &["min", "max"])),
                }
            }
            "version" => match field.required()? {
                "v1" => {}
                other => return Err(unknown("version", other, &["v1"])),
            },
            "builder-id" => builder = Some(field.required()?.to_owned()),
            later @ ("filename" | "reproducible" | "inline-only") => {
                return Err(Invalid::new(format!("`{later}` is not supported yet")));
            }
            other => {
                return Err(unknown("key", other, &["type", "mode", "version", "builder-id", "disabled"]));
            }
        }
    }
    Ok(Attest::Provenance { wanted, max, builder })
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
        let builder = Some("https://ci.example/7".to_owned());
        assert_eq!(
            attest("type=provenance,builder-id=https://ci.example/7"),
            Ok(Attest::Provenance { wanted: Mode::On, max: Mode::Off, builder })
        );
        for wrong in [
            "sbom",
            "type=x",
            "type=sbom,generator=a/b",
            "type=provenance,version=v0.2",
            "type=sbom,mode=max",
        ] {
            assert!(attest(wrong).is_err(), "{wrong}");
        }
    }
}
