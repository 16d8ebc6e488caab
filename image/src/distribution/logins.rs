//! Logging in: whether a registry takes a credential, and what Docker's `config.json` says afterwards.

use std::sync::Arc;

use base64::Engine as _;
use serde_json::{Map, Value, json};

use super::Pending;
use super::auth::Scope;
use super::client::Client;
use super::credentials::{Credential, CredentialError, Credentials, DockerConfig, HelperName, registry_of};
use super::error::ClientError;
use super::registries::Registries;

/// The key under which Docker keeps credentials of docker.io.
pub(super) const DOCKER_IO: &str = "https://index.docker.io/v1/";

/// Says one credential to one registry only.
struct Only {
    registry: String,
    credential: Credential,
}

impl Credentials for Only {
    fn for_registry(&self, registry: &str) -> Result<Option<Credential>, CredentialError> {
        Ok((registry == self.registry).then(|| self.credential.clone()))
    }
}

impl Client {
    /// Asks a registry whether a credential lets one in, and returns what is to be kept: a token in place of the password
    /// where the registry gives one for that.
    pub fn log_in<'a>(
        registries: &'a Registries,
        registry: &'a str,
        credential: Credential,
    ) -> Pending<'a, Credential> {
        Box::pin(async move {
            let only = Only { registry: registry.to_owned(), credential: credential.clone() };
            let client = Self::new(Registries { credentials: Arc::new(only), ..registries.clone() })?;
            client.ping(registry).await?;
            let endpoint = client.registries.itself(registry);
            let endpoint = endpoint.map_err(|error| ClientError::Setup(error.to_string()))?;
            let given = client.keyring.identity(&endpoint, &Scope::login(registry));
            Ok(given.map_or(credential, Credential::IdentityToken))
        })
    }
}

/// Docker's `config.json` as text, on its way to be written again: what it says besides credentials stays as it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Logins {
    file: Map<String, Value>,
    config: DockerConfig,
}

impl Logins {
    /// Reads the text of the file; an empty one says nothing.
    pub fn parse(text: &[u8]) -> Result<Self, CredentialError> {
        if text.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self { file: Map::new(), config: DockerConfig::default() });
        }
        let config = DockerConfig::parse(text)?;
        // A message of the parser could quote a secret: only the place is told.
        let file = serde_json::from_slice(text).map_err(|error| {
            CredentialError::File(format!("line {}, column {}", error.line(), error.column()))
        })?;
        Ok(Self { file, config })
    }

    /// Returns the helper program that keeps credentials of a registry, and the name that it knows the registry by.
    pub fn helper(&self, registry: &str) -> Option<(HelperName, String)> {
        self.config.helper(registry).map(|helper| (helper.clone(), key_of(registry)))
    }

    /// Writes a credential down for a registry.
    pub fn keep(&mut self, registry: &str, credential: &Credential) {
        self.forget(registry);
        let entry = match credential {
            Credential::Password { username, password } => {
                let pair = format!("{username}:{password}");
                json!({ "auth": base64::engine::general_purpose::STANDARD.encode(pair) })
            }
            // As Docker has it: the user's name means that a token stands in the password's place.
            Credential::IdentityToken(token) => json!({
                "auth": base64::engine::general_purpose::STANDARD.encode("00000000-0000-0000-0000-000000000000:"),
                "identitytoken": token,
            }),
            Credential::RegistryToken(token) => json!({ "registrytoken": token }),
        };
        self.note(registry, entry);
    }

    /// Notes that a helper program has a credential of a registry.
    pub fn note_kept(&mut self, registry: &str) {
        self.forget(registry);
        self.note(registry, json!({}));
    }

    fn note(&mut self, registry: &str, entry: Value) {
        let auths = self.file.entry("auths").or_insert_with(|| json!({}));
        if !auths.is_object() {
            *auths = json!({});
        }
        if let Some(auths) = auths.as_object_mut() {
            auths.insert(key_of(registry), entry);
        }
    }

    /// Removes what is written down for a registry, under all the names in use for it; tells whether there was something.
    pub fn forget(&mut self, registry: &str) -> bool {
        let Some(auths) = self.file.get_mut("auths").and_then(Value::as_object_mut) else { return false };
        let before = auths.len();
        auths.retain(|key, _| registry_of(key) != registry);
        auths.len() < before
    }

    /// Returns the text to be written.
    pub fn to_text(&self) -> Vec<u8> {
        let mut text = Vec::new();
        let formatter = serde_json::ser::PrettyFormatter::with_indent(b"\t");
        let mut serializer = serde_json::Serializer::with_formatter(&mut text, formatter);
        let written = serde::Serialize::serialize(&self.file, &mut serializer);
        written.expect("a map with text keys can be written");
        text
    }
}

/// The name under which credentials of a registry are kept.
fn key_of(registry: &str) -> String {
    if registry == "docker.io" { DOCKER_IO.to_owned() } else { registry.to_owned() }
}

/// Brings what people call a registry (`docker.io`, `https://index.docker.io/v1/`, `ghcr.io/owner`) to its name.
pub fn registry_name(text: &str) -> String {
    registry_of(text.trim())
}

/// Writes what a credential helper is told to keep.
pub fn helper_input(server: &str, credential: &Credential) -> Vec<u8> {
    let (username, secret) = match credential {
        Credential::Password { username, password } => (username.as_str(), password),
        Credential::IdentityToken(token) | Credential::RegistryToken(token) => ("<token>", token),
    };
    json!({ "ServerURL": server, "Username": username, "Secret": secret }).to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logins_are_written_beside_what_is_there() {
        let mut logins = Logins::parse(
            br#"{"HttpHeaders":{"X":"y"},"auths":{"ghcr.io":{"auth":"dTpw"},"https://ghcr.io/v2/":{}},"z":[1]}"#,
        )
        .unwrap();
        logins.keep("ghcr.io", &Credential::Password { username: "me".into(), password: "p:w".into() });
        logins.keep("docker.io", &Credential::IdentityToken("t".into()));
        logins.note_kept("quay.io");
        let text = logins.to_text();
        let value: Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(value["HttpHeaders"]["X"], "y");
        assert_eq!(value["z"], json!([1]));
        assert_eq!(value["auths"].as_object().unwrap().len(), 3);
        let config = DockerConfig::parse(&text).unwrap();
        use super::super::credentials::Found;
        assert_eq!(
            config.find("ghcr.io"),
            Found::Credential(Credential::Password { username: "me".into(), password: "p:w".into() })
        );
        assert_eq!(config.find("docker.io"), Found::Credential(Credential::IdentityToken("t".into())));
        assert_eq!(config.find("quay.io"), Found::Nothing);
        assert!(value["auths"][DOCKER_IO].is_object());
        assert!(logins.forget("docker.io") && !logins.forget("docker.io"));
    }

    #[test]
    fn an_empty_file_is_begun_and_a_broken_one_is_left_alone() {
        let mut logins = Logins::parse(b" \n").unwrap();
        logins.keep("r.io", &Credential::Password { username: "a".into(), password: "b".into() });
        assert_eq!(
            String::from_utf8(logins.to_text()).unwrap(),
            "{\n\t\"auths\": {\n\t\t\"r.io\": {\n\t\t\t\"auth\": \"YTpi\"\n\t\t}\n\t}\n}"
        );
        assert!(Logins::parse(b"{").is_err());
        assert!(Logins::parse(b"[]").is_err());
    }

    #[test]
    fn helpers_are_found_by_registry() {
        let logins = Logins::parse(br#"{"credsStore":"all","credHelpers":{"gcr.io":"own"}}"#).unwrap();
        let named = |registry| logins.helper(registry).map(|(name, server)| (name.program(), server));
        assert_eq!(named("gcr.io"), Some(("docker-credential-own".into(), "gcr.io".into())));
        assert_eq!(named("docker.io"), Some(("docker-credential-all".into(), DOCKER_IO.into())));
        assert_eq!(
            helper_input("gcr.io", &Credential::IdentityToken("t".into())),
            br#"{"ServerURL":"gcr.io","Username":"<token>","Secret":"t"}"#
        );
    }

    #[test]
    fn registries_are_called_many_things() {
        for (text, name) in [
            ("https://index.docker.io/v1/", "docker.io"),
            ("docker.io", "docker.io"),
            ("ghcr.io/owner", "ghcr.io"),
            ("http://localhost:5000/", "localhost:5000"),
        ] {
            assert_eq!(registry_name(text), name);
        }
    }
}
