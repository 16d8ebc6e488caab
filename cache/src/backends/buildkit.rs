//! Caches that BuildKit wrote, as far as they mean something here: a document of its own
//! (`application/vnd.buildkit.cacheconfig.v0`), or records in the config of an image (`moby.buildkit.cache.v0`).
//!
//! Their layers are OCI blobs in chains, and can be shown. Their records are found by digests of BuildKit's own build
//! definition: another program would have to make the very same bytes of a Dockerfile to know one, so no step of ours
//! finds a result by them.

use base64::Engine as _;
use rbuild_image::manifest::Descriptor;
use rbuild_model::digest::BlobDigest;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::BackendError;

/// The name under which the config of an image has the records of a cache, as a list in base64; the layers are the image's.
pub(super) const INLINE_KEY: &str = "moby.buildkit.cache.v0";
/// The most layers and records that are looked at.
const MAX_ENTRIES: usize = 100_000;

/// A cache that BuildKit wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreign {
    /// The layers, each with its height: how many it stands on.
    pub layers: Vec<ForeignLayer>,
    /// How many results it has.
    pub records: usize,
}

/// A layer of such a cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignLayer {
    /// Its blob.
    pub blob: BlobDigest,
    /// The layer that it stands on.
    pub parent: Option<usize>,
}

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    layers: Vec<Layer>,
    #[serde(default)]
    records: Vec<IgnoredAny>,
}

#[derive(Deserialize)]
struct Layer {
    blob: BlobDigest,
    /// Left out for zero; negative for none.
    #[serde(default)]
    parent: i64,
}

impl Foreign {
    /// Reads what the config of an image has under [`INLINE_KEY`]; the layers are those of its manifest.
    pub(super) fn parse_inline(records: &str, layers: &[Descriptor]) -> Result<Self, BackendError> {
        let records = base64::engine::general_purpose::STANDARD
            .decode(records)
            .map_err(|error| unusable(error.to_string()))?;
        let records: Vec<IgnoredAny> =
            serde_json::from_slice(&records).map_err(|error| unusable(error.to_string()))?;
        let on_the_former = |(at, layer): (usize, &Descriptor)| ForeignLayer {
            blob: layer.digest,
            parent: at.checked_sub(1),
        };
        Ok(Self { layers: layers.iter().enumerate().map(on_the_former).collect(), records: records.len() })
    }

    /// Reads one that came from elsewhere, and checks it.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, BackendError> {
        let Config { layers, records } =
            serde_json::from_slice(bytes).map_err(|error| unusable(error.to_string()))?;
        if layers.len() > MAX_ENTRIES || records.len() > MAX_ENTRIES {
            return Err(unusable(format!("it has more than {MAX_ENTRIES} entries")));
        }
        let count = layers.len();
        let layers: Vec<ForeignLayer> = layers
            .into_iter()
            .map(|Layer { blob, parent }| match usize::try_from(parent) {
                Err(_) => Ok(ForeignLayer { blob, parent: None }),
                Ok(parent) if parent < count => Ok(ForeignLayer { blob, parent: Some(parent) }),
                Ok(parent) => Err(unusable(format!("a layer stands on {parent}, and there are {count}"))),
            })
            .collect::<Result<_, _>>()?;
        let foreign = Self { layers, records: records.len() };
        if foreign.has_circle() {
            return Err(unusable("its layers stand on each other in a circle".to_owned()));
        }
        Ok(foreign)
    }

    /// Says whether some layers stand on each other; looks at each once.
    fn has_circle(&self) -> bool {
        let mut seen_by = vec![usize::MAX; self.layers.len()];
        for start in 0..self.layers.len() {
            let mut next = Some(start);
            while let Some(at) = next {
                match seen_by[at] {
                    usize::MAX => seen_by[at] = start,
                    same if same == start => return true,
                    _ => break,
                }
                next = self.layers[at].parent;
            }
        }
        false
    }

    /// Returns a layer with those that it stands on, lowest first; `None` if there is no lowest.
    pub fn chain(&self, at: usize) -> Option<Vec<BlobDigest>> {
        let mut chain = Vec::new();
        let mut next = Some(at);
        while let Some(at) = next {
            if chain.len() > self.layers.len() {
                return None;
            }
            let layer = self.layers.get(at)?;
            chain.push(layer.blob);
            next = layer.parent;
        }
        chain.reverse();
        Some(chain)
    }
}

fn unusable(why: String) -> BackendError {
    BackendError::Unusable(format!("a cache of BuildKit's: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rbuild_image::manifest::MediaType;

    fn layer(byte: u8, parent: i64) -> String {
        format!("{{\"blob\":\"{}\",\"parent\":{parent}}}", BlobDigest::from_bytes([byte; 32]))
    }

    fn parse(layers: &[String]) -> Result<Foreign, BackendError> {
        Foreign::parse(format!("{{\"layers\":[{}],\"records\":[{{}}]}}", layers.join(",")).as_bytes())
    }

    #[test]
    fn layers_are_chains() {
        let foreign = parse(&[layer(1, -1), layer(2, 0), layer(3, 1)]).unwrap();
        let digest = |byte| BlobDigest::from_bytes([byte; 32]);
        assert_eq!(foreign.chain(2).unwrap(), [digest(1), digest(2), digest(3)]);
        assert_eq!(foreign.records, 1);
    }

    #[test]
    fn an_image_has_records_and_its_layers() {
        let layers = [Descriptor::of(MediaType::OCI_LAYER, b"a"), Descriptor::of(MediaType::OCI_LAYER, b"b")];
        let records = base64::engine::general_purpose::STANDARD.encode(r#"[{"layers":[{"layer":1}]},{}]"#);
        let foreign = Foreign::parse_inline(&records, &layers).unwrap();
        assert_eq!((foreign.records, foreign.chain(1)), (2, Some(layers.map(|layer| layer.digest).to_vec())));
        for broken in ["no base64", "e30=", "W10"] {
            assert!(Foreign::parse_inline(broken, &[]).is_err(), "{broken}");
        }
    }

    #[test]
    fn circles_and_loose_ends_are_refused() {
        for layers in [[layer(1, 1), layer(2, 0)], [layer(1, -1), layer(2, 9)], [layer(1, -1), layer(2, 1)]] {
            assert!(parse(&layers).is_err(), "{layers:?}");
        }
        let long: Vec<String> = (0..MAX_ENTRIES as i64).map(|at| layer(1, at - 1)).collect();
        assert_eq!(parse(&long).unwrap().chain(MAX_ENTRIES - 1).unwrap().len(), MAX_ENTRIES);
    }
}
