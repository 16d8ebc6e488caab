//! User names and passwords, and Docker's file of them.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;

use super::logins::DOCKER_IO;

/// Something that lets one in.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    /// A user and a password.
    Password {
        /// The user.
        username: String,
        /// The password.
        password: String,
    },
    /// A token that the registry's token service exchanges for others.
    IdentityToken(String),
    /// A token that the registry takes as it is.
    RegistryToken(String),
}

impl fmt::Debug for Credential {
    /// Shows what kind it is, and no secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Password { username, .. } => write!(f, "Password({username:?})"),
            Self::IdentityToken(_) => f.write_str("IdentityToken"),
            Self::RegistryToken(_) => f.write_str("RegistryToken"),
        }
    }
}

/// Credentials could not be got.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// The file is not what Docker writes.
    #[error("the file of credentials is malformed: {0}")]
    File(String),
    /// The name of a credential helper could name something else.
    #[error("not the name of a credential helper: {0:?}")]
    HelperName(String),
    /// Asking somebody else failed.
    #[error("{0}")]
    Other(String),
}

/// Who knows user names and passwords. Called when a registry asks for them, from within the client's tasks: an
/// answer that takes long holds up the tasks of the same thread.
pub trait Credentials: Send + Sync {
    /// Returns what to log in with at a registry (`docker.io`, `ghcr.io`, `localhost:5000`), if anything.
    fn for_registry(&self, registry: &str) -> Result<Option<Credential>, CredentialError>;

    /// Returns headers that registries are sent: as in Docker, only those whose name begins with `X-Meta-` go out.
    fn headers(&self) -> Vec<(String, String)> {
        Vec::new()
    }
}

/// Knows none.
#[derive(Clone, Copy, Debug, Default)]
pub struct Anonymous;

impl Credentials for Anonymous {
    fn for_registry(&self, _registry: &str) -> Result<Option<Credential>, CredentialError> {
        Ok(None)
    }
}

/// Docker's `config.json`, as far as it is about credentials.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DockerConfig {
    auths: BTreeMap<String, Credential>,
    helpers: BTreeMap<String, HelperName>,
    store: Option<HelperName>,
    headers: BTreeMap<String, String>,
}

/// The last part of the name of a program `docker-credential-NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HelperName(String);

impl HelperName {
    /// Returns the name of the program to run.
    pub fn program(&self) -> String {
        format!("docker-credential-{}", self.0)
    }

    fn parse(name: &str) -> Result<Self, CredentialError> {
        let good = (1..=64).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
            && !name.starts_with(['-', '.']);
        if good {
            Ok(Self(name.to_owned()))
        } else {
            Err(CredentialError::HelperName(name.chars().take(100).collect()))
        }
    }
}

/// What the file says about a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Nothing,
    /// The credential itself.
    Credential(Credential),
    /// The program to ask, and the name to ask it for.
    Helper(HelperName, String),
}

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    auths: Option<BTreeMap<String, Auth>>,
    #[serde(default, rename = "credHelpers")]
    helpers: Option<BTreeMap<String, String>>,
    #[serde(default, rename = "credsStore")]
    store: Option<String>,
    #[serde(default, rename = "HttpHeaders")]
    headers: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
struct Auth {
    #[serde(default)]
    auth: Option<String>,
    #[serde(default)]
    username: Option<String>,
    #[serde(default)]
    password: Option<String>,
    #[serde(default, rename = "identitytoken")]
    identity_token: Option<String>,
    #[serde(default, rename = "registrytoken")]
    registry_token: Option<String>,
}

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

impl DockerConfig {
    /// Reads the text of the file.
    pub fn parse(text: &[u8]) -> Result<Self, CredentialError> {
        // A message of the parser could quote a secret: only the place is told.
        let file: File = serde_json::from_slice(text).map_err(|error| {
            CredentialError::File(format!("line {}, column {}", error.line(), error.column()))
        })?;
        let mut auths = BTreeMap::new();
        for (key, auth) in file.auths.unwrap_or_default() {
            if let Some(credential) = auth.credential(&key)? {
                auths.insert(registry_of(&key), credential);
            }
        }
        let helpers = file.helpers.unwrap_or_default().into_iter();
        let helpers = helpers.map(|(key, name)| Ok((registry_of(&key), HelperName::parse(&name)?)));
        Ok(Self {
            auths,
            helpers: helpers.collect::<Result<_, _>>()?,
            store: match file.store.as_deref() {
                None | Some("") => None,
                Some(name) => Some(HelperName::parse(name)?),
            },
            headers: file.headers.unwrap_or_default(),
        })
    }

    /// Returns what the file says about a registry: a helper of its own goes before the common helper, and that
    /// before what stands in the file.
    pub fn find(&self, registry: &str) -> Found {
        let asked = || if registry == "docker.io" { DOCKER_IO.to_owned() } else { registry.to_owned() };
        if let Some(helper) = self.helpers.get(registry) {
            return Found::Helper(helper.clone(), asked());
        }
        if let Some(credential) = self.auths.get(registry) {
            return Found::Credential(credential.clone());
        }
        match &self.store {
            Some(store) => Found::Helper(store.clone(), asked()),
            None => Found::Nothing,
        }
    }

    /// Returns the helper that keeps credentials of a registry: its own, else the common one.
    pub(super) fn helper(&self, registry: &str) -> Option<&HelperName> {
        self.helpers.get(registry).or(self.store.as_ref())
    }

    /// Returns the headers that every request gets.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Reads what a credential helper printed.
    pub fn parse_helper(output: &[u8]) -> Result<Credential, CredentialError> {
        #[derive(Deserialize)]
        struct Output {
            #[serde(rename = "Username")]
            username: String,
            #[serde(rename = "Secret")]
            secret: String,
        }
        let Output { username, secret } = serde_json::from_slice(output)
            .map_err(|_| CredentialError::Other("the credential helper printed something else".to_owned()))?;
        Ok(if username == "<token>" {
            Credential::IdentityToken(secret)
        } else {
            Credential::Password { username, password: secret }
        })
    }
}

impl Auth {
    fn credential(self, key: &str) -> Result<Option<Credential>, CredentialError> {
        let present = |text: Option<String>| text.filter(|text| !text.is_empty());
        if let Some(token) = present(self.identity_token) {
            return Ok(Some(Credential::IdentityToken(token)));
        }
        if let Some(token) = present(self.registry_token) {
            return Ok(Some(Credential::RegistryToken(token)));
        }
        if let Some(auth) = present(self.auth) {
            let decoded = BASE64.decode(auth).ok().and_then(|bytes| String::from_utf8(bytes).ok());
            let pair = decoded.as_deref().and_then(|text| text.trim_end_matches('\0').split_once(':'));
            let (username, password) = pair
                .ok_or_else(|| CredentialError::File(format!("the entry of {key:?} is not user:password")))?;
            return Ok(Some(Credential::Password { username: username.into(), password: password.into() }));
        }
        let pair = present(self.username).zip(present(self.password));
        Ok(pair.map(|(username, password)| Credential::Password { username, password }))
    }
}

/// Brings the keys in use (`https://index.docker.io/v1/`, `registry.example/`, `host:5000`) to a registry's name.
pub(super) fn registry_of(key: &str) -> String {
    let host = key.split_once("://").map_or(key, |(_, rest)| rest);
    let host = host.split('/').next().unwrap_or_default();
    match host {
        "index.docker.io" | "registry-1.docker.io" | "docker.io" => "docker.io".to_owned(),
        other => other.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(username: &str, password: &str) -> Credential {
        Credential::Password { username: username.into(), password: password.into() }
    }

    #[test]
    fn all_places_of_the_file_are_read() {
        let config = DockerConfig::parse(
            br#"{"auths":{"https://index.docker.io/v1/":{"auth":"dTpwOnc="},"ghcr.io":{"identitytoken":"t"},
                "h:5000":{"username":"a","password":"b"},"empty.io":{}},
                "credHelpers":{"gcr.io":"gcloud"},"HttpHeaders":{"X":"y"}}"#,
        )
        .unwrap();
        assert_eq!(config.find("docker.io"), Found::Credential(password("u", "p:w")));
        assert_eq!(config.find("ghcr.io"), Found::Credential(Credential::IdentityToken("t".into())));
        assert_eq!(config.find("h:5000"), Found::Credential(password("a", "b")));
        assert_eq!(config.find("empty.io"), Found::Nothing);
        assert_eq!(config.find("gcr.io"), Found::Helper(HelperName("gcloud".into()), "gcr.io".into()));
        let store = DockerConfig::parse(br#"{"credsStore":"desktop"}"#).unwrap();
        assert_eq!(store.find("docker.io"), Found::Helper(HelperName("desktop".into()), DOCKER_IO.into()));
        assert_eq!(HelperName("desktop".into()).program(), "docker-credential-desktop");
    }

    #[test]
    fn names_of_helpers_cannot_be_paths() {
        for name in ["../../evil", "/bin/sh", "a b", "-x", ".x", "a/b"] {
            let text = format!(r#"{{"credHelpers":{{"r.io":"{name}"}}}}"#);
            assert!(
                matches!(DockerConfig::parse(text.as_bytes()), Err(CredentialError::HelperName(_))),
                "{name}"
            );
        }
    }

    #[test]
    fn no_secret_is_shown() {
        assert!(!format!("{:?}", password("user", "hunter2")).contains("hunter2"));
        let broken = DockerConfig::parse(br#"{"auths":{"a":{"auth":hunter2}}}"#).unwrap_err();
        assert!(!broken.to_string().contains("hunter2"));
        let broken = DockerConfig::parse(br#"{"auths":{"a":{"auth":"aHVudGVyMg=="}}}"#).unwrap_err();
        assert!(!broken.to_string().contains("hunter2"));
    }

    #[test]
    fn helpers_give_passwords_or_tokens() {
        let read = |text: &[u8]| DockerConfig::parse_helper(text);
        assert_eq!(read(br#"{"ServerURL":"x","Username":"u","Secret":"s"}"#).unwrap(), password("u", "s"));
        assert_eq!(
            read(br#"{"Username":"<token>","Secret":"s"}"#).unwrap(),
            Credential::IdentityToken("s".into())
        );
        assert!(read(b"credentials not found").is_err());
    }
}
