//! Where distributions keep the certificate authorities that their machines, and images made of them, trust.

/// The bundles in PEM form; the first that is there counts.
pub const AUTHORITY_BUNDLES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
