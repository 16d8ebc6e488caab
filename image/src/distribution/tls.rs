//! Whom TLS trusts.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::error::ClientError;
use super::registries::Registries;

/// Makes the configuration of TLS: the machine's authorities, or the built-in ones if there are none, and those
/// that were added for all servers or for this one.
pub(super) fn configure(
    registries: &Registries,
    own: Option<&Vec<u8>>,
) -> Result<rustls::ClientConfig, ClientError> {
    let mut roots = rustls::RootCertStore::empty();
    // One authority that cannot be read does not make the others worthless.
    let system = CertificateDer::pem_slice_iter(&registries.system_authorities).filter_map(Result::ok);
    roots.add_parsable_certificates(system);
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    for bundle in registries.extra_authorities.iter().chain(own) {
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
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| ClientError::Setup(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}
