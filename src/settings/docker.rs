//! What Docker's `config.json` says besides credentials: the proxies of builds and containers.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context as _;
use serde::Deserialize;

use super::environment::Proxy;

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    proxies: Option<BTreeMap<String, Proxies>>,
}

/// The proxies of one daemon; ours is the one that nobody names.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Proxies {
    #[serde(default)]
    http_proxy: String,
    #[serde(default)]
    https_proxy: String,
    #[serde(default)]
    no_proxy: String,
    #[serde(default)]
    ftp_proxy: String,
    #[serde(default)]
    all_proxy: String,
}

/// Reads the proxies that builds and containers are to be given, each under both of its names.
pub(super) fn proxies(folder: Option<&Path>) -> anyhow::Result<Vec<Proxy>> {
    let Some(folder) = folder else { return Ok(Vec::new()) };
    let path = folder.join("config.json");
    match std::fs::read(&path) {
        Ok(text) => parse(&text).with_context(|| format!("failed to read `{}`", path.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error).with_context(|| format!("failed to read `{}`", path.display())),
    }
}

fn parse(text: &[u8]) -> anyhow::Result<Vec<Proxy>> {
    // The file holds secrets: of a mistake only the place is told.
    let file: File = serde_json::from_slice(text)
        .map_err(|error| anyhow::anyhow!("malformed at line {}, column {}", error.line(), error.column()))?;
    let mut all = file.proxies.unwrap_or_default();
    let Proxies { http_proxy, https_proxy, no_proxy, ftp_proxy, all_proxy } =
        all.remove("default").unwrap_or_default();
    let named = [
        ("HTTP_PROXY", http_proxy),
        ("HTTPS_PROXY", https_proxy),
        ("NO_PROXY", no_proxy),
        ("FTP_PROXY", ftp_proxy),
        ("ALL_PROXY", all_proxy),
    ];
    let both = |(name, value): (&str, String)| {
        [name.to_owned(), name.to_ascii_lowercase()].map(|name| Proxy { name, value: value.clone() })
    };
    Ok(named.into_iter().filter(|(_, value)| !value.is_empty()).flat_map(both).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_have_both_names_and_only_those_for_every_daemon_count() {
        let text = br#"{"auths": {}, "proxies": {
            "tcp://other:1": {"httpProxy": "http://other"},
            "default": {"httpProxy": "http://p:1", "noProxy": "localhost", "ftpProxy": ""}}}"#;
        let found: Vec<_> =
            parse(text).unwrap().into_iter().map(|p| format!("{}={}", p.name, p.value)).collect();
        assert_eq!(
            found,
            ["HTTP_PROXY=http://p:1", "http_proxy=http://p:1", "NO_PROXY=localhost", "no_proxy=localhost"]
        );
        assert!(parse(b"{}").unwrap().is_empty() && proxies(Some(Path::new("/nowhere"))).unwrap().is_empty());
        let error = parse(b"{\"proxies\": {\"default\": \"secret\"}}").unwrap_err();
        assert_eq!(error.to_string(), "malformed at line 1, column 32");
    }
}
