//! `rbuild registry serve`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use rbuild_api::registry::{Access, Bounds, Handle, Options, Rights, Tls};
use rbuild_images::ImagesError;

use crate::cli::registry::{Registry, RegistryVerb, Serve};
use crate::commands::{Context, Outcome};
use crate::report::{Mistake, Status};
use crate::terminal::Terminal;
use crate::text::one_line;
use crate::wiring::Home;

/// Where registries listen.
const PORT: u16 = 5000;

pub(in crate::commands) fn run(group: &Registry, context: &Context) -> Outcome {
    match &group.verb {
        RegistryVerb::Serve(arguments) => serve(arguments, context),
        RegistryVerb::Ls(arguments) => super::pushed::list(arguments, context),
        RegistryVerb::Rm(arguments) => super::pushed::remove(arguments, context),
    }
}

fn serve(arguments: &Serve, context: &Context) -> Outcome {
    let address = address(arguments.address.as_deref())?;
    let rights = match (arguments.allow_delete, arguments.allow_push) {
        (true, _) => Rights::Delete,
        (false, true) => Rights::Push,
        (false, false) => Rights::Read,
    };
    let tls = match (&arguments.tls_cert, &arguments.tls_key) {
        (Some(certificate), Some(key)) => {
            Some(Tls { certificate: contents(certificate)?, key: contents(key)? })
        }
        (None, None) => None,
        _ => return Err(Mistake::usage("`--tls-cert` and `--tls-key` go together").into()),
    };
    let access = arguments.htpasswd.as_deref().map(Access::read).transpose()?;
    if !address.ip().is_loopback() {
        warn(rights, tls.is_some(), access.is_some(), context.terminal);
    }
    let home = Home::open_for_long(&context.settings, "rbuild registry serve")?;
    home.images.tidy_shelf()?;
    let options = Options { address, rights, tls, access, bounds: Bounds::default() };
    let scheme = if options.tls.is_some() { "https" } else { "http" };
    let log = if arguments.quiet { Log::Nothing } else { Log::Requests };
    let told = Arc::new(Told { terminal: context.terminal, scheme, log });
    let served = rbuild_api::registry::serve(Arc::clone(&home.images), options, told, &home.cancel());
    served?;
    Ok(Status::Done)
}

/// Warns of what everybody on the network may do.
fn warn(rights: Rights, encrypted: bool, restricted: bool, terminal: Terminal) {
    if !restricted {
        let may = if rights == Rights::Read { "read all images" } else { "read and write" };
        terminal.tell(&format!(
            "warning: everybody who reaches this address may {may}\nhint: name users with `--htpasswd FILE`\n"
        ));
    }
    if !encrypted {
        terminal.tell(
            "warning: nothing is encrypted\nhint: give a certificate with `--tls-cert FILE --tls-key FILE`\n",
        );
    }
}

fn contents(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("failed to read `{}`", path.display()))
}

/// Reads `ADDRESS`, `ADDRESS:PORT` or `:PORT`, which is every address.
fn address(text: Option<&str>) -> Result<SocketAddr, Mistake> {
    let Some(text) = text else { return Ok((Ipv4Addr::LOCALHOST, PORT).into()) };
    let wrong = || {
        Mistake::usage(format!("`{text}` is no address to listen on"))
            .hint("write ADDRESS:PORT, as in 127.0.0.1:5000, or :5000 for every address")
    };
    let text =
        text.strip_prefix("localhost").map_or_else(|| text.to_owned(), |rest| format!("127.0.0.1{rest}"));
    // First: an IPv6 address may begin as a port alone does.
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok((address, PORT).into());
    }
    if let Some(port) = text.strip_prefix(':') {
        return Ok((Ipv4Addr::UNSPECIFIED, port.parse().map_err(|_| wrong())?).into());
    }
    text.parse().map_err(|_| wrong())
}

/// What is told of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Log {
    /// A line for each.
    Requests,
    /// Nothing.
    Nothing,
}

struct Told {
    terminal: Terminal,
    scheme: &'static str,
    log: Log,
}

impl Handle for Told {
    fn listening(&self, address: SocketAddr) {
        // Whoever started it to talk to it reads this line; nobody has to.
        let _ = self.terminal.print(&format!("serving on {}://{address}\n", self.scheme));
    }

    fn answered(&self, method: &str, path: &str, status: u16) {
        if self.log == Log::Requests {
            self.terminal.tell(&format!("{status} {method} {}\n", one_line(path)));
        }
    }

    fn failed(&self, path: &str, error: &ImagesError) {
        let chain = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
        let told: Vec<String> = chain.map(ToString::to_string).collect();
        self.terminal.tell(&format!("error: {}: {}\n", one_line(path), told.join(": ")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_in_many_ways() {
        let told = |text| address(text).map_or_else(|_| "wrong".to_owned(), |address| address.to_string());
        for (text, expected) in [
            (None, "127.0.0.1:5000"),
            (Some(":80"), "0.0.0.0:80"),
            (Some("localhost:0"), "127.0.0.1:0"),
            (Some("localhost"), "127.0.0.1:5000"),
            (Some("10.0.0.1"), "10.0.0.1:5000"),
            (Some("[::1]:5001"), "[::1]:5001"),
            (Some("::1"), "[::1]:5000"),
            (Some("example.com:80"), "wrong"),
            (Some(":x"), "wrong"),
        ] {
            assert_eq!(told(text), expected, "{text:?}");
        }
    }
}
