//! Identities of bytes and of trees: one type per meaning, though several share a spelling.
//!
//! Digests that appear in OCI documents are sha256, as those formats demand, and are written `sha256:<64 hex>`.
//! Our own hashes are blake3 and are written as bare hex. Only lower-case hex of the full length is accepted: a
//! digest that could be spelled two ways could be checked one way and used the other.

use sha2::Digest as _;

/// The text is not a digest of the kind that is wanted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a {wanted}: {text:?}")]
pub struct ParseDigestError {
    wanted: &'static str,
    text: String,
}

/// Declares a 32-byte identity type with a text prefix (`"sha256:"` or `""`).
macro_rules! digest_type {
    ($(#[$doc:meta])* $name:ident, $prefix:literal, $wanted:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name([u8; 32]);

        impl $name {
            /// Makes the identity from its 32 bytes.
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// Returns the 32 bytes.
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }

            /// Returns the 64 lower-case hex digits, without any prefix.
            pub fn hex(&self) -> String {
                $crate::hex::Hex(&self.0).to_string()
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str($prefix)?;
                std::fmt::Display::fmt(&$crate::hex::Hex(&self.0), f)
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::digest::ParseDigestError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let mut bytes = [0; 32];
                text.strip_prefix($prefix)
                    .and_then(|hex| $crate::hex::parse(hex, &mut bytes))
                    .map(|()| Self(bytes))
                    .ok_or_else(|| $crate::digest::ParseDigestError::new($wanted, text))
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                <std::borrow::Cow<'de, str>>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use digest_type;

impl ParseDigestError {
    /// Says which kind of digest was wanted and what stood there.
    pub fn new(wanted: &'static str, text: &str) -> Self {
        Self { wanted, text: text.chars().take(100).collect() }
    }
}

digest_type!(
    /// The digest of a blob as it is stored and sent: a compressed layer, a config, a manifest.
    BlobDigest,
    "sha256:",
    "blob digest (sha256: and 64 lower-case hex digits)"
);
digest_type!(
    /// The digest of a layer's uncompressed tar (`rootfs.diff_ids` of an image config).
    DiffId,
    "sha256:",
    "diff id (sha256: and 64 lower-case hex digits)"
);
digest_type!(
    /// The identity of a stack of layers, made of their [`DiffId`]s (OCI image-spec, "Layer ChainID").
    ChainId,
    "sha256:",
    "chain id (sha256: and 64 lower-case hex digits)"
);
digest_type!(
    /// The identity of an image: the digest of its config.
    ImageId,
    "sha256:",
    "image id (sha256: and 64 lower-case hex digits)"
);

impl BlobDigest {
    /// Hashes bytes that are at hand.
    pub fn of(bytes: &[u8]) -> Self {
        Self(sha2::Sha256::digest(bytes).into())
    }

    /// Hashes what a reader has to its end.
    pub fn of_reader(reader: &mut dyn std::io::Read) -> std::io::Result<Self> {
        let mut hasher = sha2::Sha256::new();
        let mut buffer = vec![0; 64 << 10];
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => return Ok(Self(hasher.finalize().into())),
                Ok(count) => hasher.update(&buffer[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl ImageId {
    /// Returns the id as the digest of the config blob, which it is.
    pub const fn as_blob(&self) -> BlobDigest {
        BlobDigest(self.0)
    }

    /// Names the image that a config blob describes.
    pub const fn of_config(config: BlobDigest) -> Self {
        Self(config.0)
    }
}

impl ChainId {
    /// Computes the identity of a stack of layers, given lowest first; `None` for the empty stack.
    pub fn of(diff_ids: &[DiffId]) -> Option<Self> {
        let (first, rest) = diff_ids.split_first()?;
        Some(rest.iter().fold(Self(first.0), |below, layer| below.with(*layer)))
    }

    /// Computes the identity of this stack with one more layer on top.
    pub fn with(self, layer: DiffId) -> Self {
        Self(sha2::Sha256::digest(format!("{self} {layer}")).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chain_id_of_one_layer_is_its_diff_id_and_of_two_hashes_the_texts() {
        let a: DiffId = BlobDigest::of(b"a").to_string().parse().unwrap();
        let b: DiffId = BlobDigest::of(b"b").to_string().parse().unwrap();
        assert_eq!(ChainId::of(&[]), None);
        assert_eq!(ChainId::of(&[a]).unwrap().to_string(), a.to_string());
        assert_eq!(
            ChainId::of(&[a, b]).unwrap().to_string(),
            BlobDigest::of(format!("{a} {b}").as_bytes()).to_string()
        );
    }

    #[test]
    fn only_one_spelling_is_read() {
        let digest = BlobDigest::of(b"");
        assert_eq!(
            digest.to_string(),
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        assert_eq!(digest.to_string().parse::<BlobDigest>().unwrap(), digest);
        for wrong in [
            digest.hex(),
            digest.to_string().to_uppercase(),
            format!("sha256:{}", &digest.hex()[1..]),
            format!("sha512:{}", digest.hex()),
            "sha256:../../x".to_owned(),
            String::new(),
        ] {
            assert!(wrong.parse::<BlobDigest>().is_err(), "{wrong}");
        }
    }
}
