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
