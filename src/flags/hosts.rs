//! `--add-host name:address`.

use std::net::IpAddr;

use rbuild_model::step::ExtraHost;

use super::{Invalid, Read};

/// Reads a host name with its address: `:` or `=` between them, `[v6]` brackets, or `host-gateway`.
pub(crate) fn add_host(text: &str) -> Read<ExtraHost> {
    let usage = || Invalid::new("write `NAME:ADDRESS` or `NAME=ADDRESS`, as in `db:10.0.0.7`");
    let (name, address) = text.split_once('=').or_else(|| text.split_once(':')).ok_or_else(usage)?;
    if name.is_empty() || address.is_empty() || name.contains(char::is_whitespace) {
        return Err(usage());
    }
    let bare = address.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(address);
    if bare == "host-gateway" {
        return Ok(ExtraHost { name: name.to_owned(), address: bare.to_owned() });
    }
    let address: IpAddr = bare
        .parse()
        .map_err(|_| Invalid::new(format!("`{address}` is not an IP address nor `host-gateway`")))?;
    Ok(ExtraHost { name: name.to_owned(), address: address.to_string() })
}

/// Reads a domain that names are looked for in; a dot alone is none.
pub(crate) fn domain(text: &str) -> Read<String> {
    let text = text.trim_matches(' ');
    let is_label = |label: &str| {
        let is_inside = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        !label.is_empty() && label.bytes().all(is_inside) && !label.starts_with('-') && !label.ends_with('-')
    };
    let labels = text.strip_suffix('.').unwrap_or(text);
    let is_domain = labels.split('.').all(is_label) && text.contains(|c: char| c.is_ascii_alphabetic());
    if text == "." || (is_domain && text.len() < 255) {
        Ok(text.to_owned())
    } else {
        Err(Invalid::new(format!("`{text}` is not a valid domain")))
    }
}
