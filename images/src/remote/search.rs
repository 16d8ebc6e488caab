//! Looking for repositories.

use rbuild_image::distribution::ClientError;
use serde::Deserialize;

use super::Remote;
use crate::error::ImagesError;

/// A repository that was found.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Found {
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// What it says of itself.
    #[serde(default, deserialize_with = "text")]
    pub description: String,
    /// How many like it.
    #[serde(default, rename = "star_count")]
    pub stars: u64,
    /// Whether the registry's owners keep it.
    #[serde(default)]
    pub is_official: bool,
}

fn text<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.unwrap_or_default())
}

#[derive(Deserialize)]
struct Results {
    #[serde(default)]
    results: Vec<Found>,
}

impl Remote {
    /// Looks for repositories at Docker Hub, or at the registry that stands before the term. A registry that knows no search
    /// is asked what it has.
    pub fn search(&self, term: &str, limit: u32) -> Result<Vec<Found>, ImagesError> {
        let (registry, term) = match term.split_once('/') {
            Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" => (host, rest),
            _ => ("index.docker.io", term),
        };
        let limit = limit as usize;
        let answer = self.runtime.wait(self.client.search(registry, term, limit));
        let mut found = match answer {
            Ok(body) => {
                let wrong = |_| ClientError::Protocol {
                    origin: registry.to_owned(),
                    why: "what it found is no list".to_owned(),
                };
                serde_json::from_slice::<Results>(&body)
                    .map_err(|error| ImagesError::Client(wrong(error)))?
                    .results
            }
            Err(error) if error.is_not_found() && registry != "index.docker.io" => {
                let names = self.runtime.wait(self.client.catalog(registry)).map_err(ImagesError::Client)?;
                let nothing = |name| Found { name, description: String::new(), stars: 0, is_official: false };
                let named = names.into_iter().filter(|name| name.contains(term));
                named.map(|name| nothing(format!("{registry}/{name}"))).collect()
            }
            Err(error) => return Err(ImagesError::Client(error)),
        };
        found.truncate(limit);
        Ok(found)
    }
}
