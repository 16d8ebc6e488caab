//! Whom TLS trusts.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::error::ClientError;
use super::registries::{OwnTls, Registries};

/// Makes the configuration of TLS: the machine's authorities, or the built-in ones if there are none, and those
/// that were added for all servers or for this one.
pub(super) fn configure(
    registries: &Registries,
    own: Option<&OwnTls>,
) -> Result<rustls::ClientConfig, ClientError> {
    let mut roots = rustls::RootCertStore::empty();
    // One authority that cannot be read does not make the others worthless.
    let system = registries.system_authorities();
    let system = CertificateDer::pem_slice_iter(&system).filter_map(Result::ok);
    roots.add_parsable_certificates(system);
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    let added = own.map_or(&[][..], |own| &own.authorities[..]);
    for bundle in registries.extra_authorities.iter().chain(added) {
        let mut added = 0;
        for certificate in CertificateDer::pem_slice_iter(bundle) {
            let certificate = certificate.map_err(|error| {
                ClientError::Setup(format!("an added certificate authority is malformed: {error}"))
            })?;
            roots.add(certificate).map_err(|error| {
                ClientError::Setup(format!("an added certificate authority is unusable: {error}"))
            })?;
            added += 1;
        }
        if added == 0 {
            return Err(ClientError::Setup("a file of certificate authorities holds none".to_owned()));
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| ClientError::Setup(error.to_string()))?
        .with_root_certificates(roots);
    let mut config = match own.and_then(|own| own.identity.as_ref()) {
        None => config.with_no_client_auth(),
        Some((certificate, key)) => {
            let unusable =
                |why: String| ClientError::Setup(format!("a client certificate is unusable: {why}"));
            let chain = CertificateDer::pem_slice_iter(certificate)
                .collect::<Result<Vec<_>, _>>()
                .map_err(|error| unusable(error.to_string()))?;
            let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| unusable(error.to_string()))?;
            config.with_client_auth_cert(chain, key).map_err(|error| unusable(error.to_string()))?
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}
