//! `--secret id=X[,src=PATH|,env=VAR][,type=file|env]`.

use std::path::PathBuf;

use super::{Invalid, Read, csv, unknown};

/// A secret that the build may ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Secret {
    /// The name it is asked for by.
    pub(crate) id: String,
    /// Where its bytes are.
    pub(crate) source: SecretSource,
}

/// Where a secret's bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SecretSource {
    /// In a file.
    File(PathBuf),
    /// In a variable of the caller.
    Variable(String),
    /// In the variable of that name if it is set, else in the file of that name.
    Either(String),
}

/// Reads a secret.
pub(crate) fn secret(text: &str) -> Read<Secret> {
    let (mut id, mut file, mut variable, mut kind) = (None, None, None, None);
    for field in csv::fields(text)? {
        match field.key.as_str() {
            "id" => id = Some(field.required()?.to_owned()),
            "src" | "source" => file = Some(field.required()?.to_owned()),
            "env" => variable = Some(field.required()?.to_owned()),
            "type" => match field.required()? {
                "file" => kind = Some(Kind::File),
                "env" => kind = Some(Kind::Variable),
                other => return Err(unknown("type of secret", other, &["file", "env"])),
            },
            other => return Err(unknown("key", other, &["id", "src", "source", "env", "type"])),
        }
    }
    let id = match (id, &file) {
        (Some(id), _) => id,
        (None, Some(file)) => file.clone(),
        (None, None) => {
            return Err(Invalid::new("the secret has no `id`: write `id=NAME[,src=PATH|,env=VARIABLE]`"));
        }
    };
    if file.is_some() && variable.is_some() {
        return Err(Invalid::new("`src` and `env` exclude each other"));
    }
    let source = match (kind, file, variable) {
        (Some(Kind::Variable), Some(name), None) | (Some(Kind::Variable) | None, None, Some(name)) => {
            SecretSource::Variable(name)
        }
        (Some(Kind::Variable), None, None) => SecretSource::Variable(id.clone()),
        (Some(Kind::File) | None, Some(file), None) => SecretSource::File(file.into()),
        (Some(Kind::File), None, None) => SecretSource::File(id.clone().into()),
        (None, None, None) => SecretSource::Either(id.clone()),
        (Some(Kind::File), _, Some(_)) => {
            return Err(Invalid::new("`type=file` and `env` exclude each other"));
        }
        (_, Some(_), Some(_)) => return Err(Invalid::new("`src` and `env` exclude each other")),
    };
    Ok(Secret { id, source })
}

#[derive(Clone, Copy)]
enum Kind {
    File,
    Variable,
}
