//! The resolver itself.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};

use super::super::registries::NameService;
use super::config::{Config, hosts};
use super::message::{Answer, Kind, answer, query};

/// The longest time that one server has for an answer, whatever the configuration says.
const MOST_PER_SERVER: Duration = Duration::from_secs(2);
/// The longest time that a look-up takes in all.
const MOST_PER_NAME: Duration = Duration::from_secs(5);

/// A name has no address.
#[derive(Debug, thiserror::Error)]
enum LookUpError {
    /// No server knows it.
    #[error("no such host: {0}")]
    NoSuchHost(String),
    /// Its addresses are such as no registry has.
    #[error("{0} has only addresses that are not used")]
    Forbidden(String),
    /// No server answered.
    #[error("no name server answers for {0}")]
    NoAnswer(String, #[source] io::Error),
}

/// Resolves names for the HTTP client.
pub(in super::super) struct Stub {
    shared: Arc<Shared>,
}

struct Shared {
    hosts: String,
    config: Config,
}

impl Stub {
    pub(in super::super) fn new(names: &NameService) -> Self {
        let config = Config::parse(&names.resolv_conf);
        Self { shared: Arc::new(Shared { hosts: names.hosts.clone(), config }) }
    }
}

/// Looks a name up and waits for its addresses: for servers that are spoken to by others, the kernel among them.
pub fn addresses_of(names: &NameService, name: &str) -> io::Result<Vec<IpAddr>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(Stub::new(names).shared.look_up(name)).map_err(io::Error::other)
}

impl Resolve for Stub {
    fn resolve(&self, name: Name) -> Resolving {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let addresses = shared.look_up(name.as_str()).await?;
            let addresses: Addrs = Box::new(addresses.into_iter().map(|address| SocketAddr::new(address, 0)));
            Ok(addresses)
        })
    }
}

/// Returns whether an address is one that no registry has.
pub(in super::super) const fn is_forbidden(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_unspecified() || v4.is_multicast() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_unicast_link_local() || v6.is_unspecified() || v6.is_multicast(),
    }
}

impl Shared {
    async fn look_up(&self, name: &str) -> Result<Vec<IpAddr>, LookUpError> {
        let local = hosts(&self.hosts, name);
        let addresses = if local.is_empty() {
            let silent = |_| {
                let why = format!("{} do not answer", self.servers());
                LookUpError::NoAnswer(name.to_owned(), io::Error::new(io::ErrorKind::TimedOut, why))
            };
            tokio::time::timeout(MOST_PER_NAME, self.ask(name)).await.map_err(silent)??
        } else {
            local
        };
        let allowed: Vec<_> = addresses.into_iter().filter(|&address| !is_forbidden(address)).collect();
        if allowed.is_empty() { Err(LookUpError::Forbidden(name.to_owned())) } else { Ok(allowed) }
    }

    fn servers(&self) -> String {
        let servers: Vec<_> = self.config.servers.iter().map(|server| server.ip().to_string()).collect();
        servers.join(", ")
    }

    async fn ask(&self, name: &str) -> Result<Vec<IpAddr>, LookUpError> {
        let mut failure = None;
        for candidate in self.config.candidates(name) {
            let (v4, v6) =
                tokio::join!(self.ask_for(&candidate, Kind::A), self.ask_for(&candidate, Kind::Aaaa));
            let mut addresses = Vec::new();
            for answered in [v4, v6] {
                match answered {
                    Ok(found) => addresses.extend(found),
                    Err(error) => failure = Some(error),
                }
            }
            if !addresses.is_empty() {
                return Ok(addresses);
            }
            // Who does not answer for one name will not for the next.
            if failure.as_ref().is_some_and(|error: &io::Error| error.kind() == io::ErrorKind::TimedOut) {
                break;
            }
        }
        Err(match failure {
            Some(error) => LookUpError::NoAnswer(name.to_owned(), error),
            None => LookUpError::NoSuchHost(name.to_owned()),
        })
    }

    async fn ask_for(&self, name: &str, kind: Kind) -> io::Result<Vec<IpAddr>> {
        let mut failure = io::Error::other("no name server is configured");
        for _ in 0..self.config.attempts {
            for &server in &self.config.servers {
                match tokio::time::timeout(
                    self.config.timeout.min(MOST_PER_SERVER),
                    exchange(server, name, kind),
                )
                .await
                {
                    Ok(Ok(Answer::Addresses(addresses))) => return Ok(addresses),
                    Ok(Ok(Answer::NoSuchName)) => return Ok(Vec::new()),
                    Ok(Ok(Answer::Failed | Answer::Truncated)) => {
                        failure = io::Error::other(format!("{server} cannot answer"));
                    }
                    Ok(Err(error)) => failure = error,
                    Err(_) => {
                        failure = io::Error::new(io::ErrorKind::TimedOut, format!("{server} does not answer"))
                    }
                }
            }
        }
        Err(failure)
    }
}

async fn exchange(server: SocketAddr, name: &str, kind: Kind) -> io::Result<Answer> {
    let mut id = [0; 2];
    getrandom::fill(&mut id).map_err(io::Error::other)?;
    let id = u16::from_be_bytes(id);
    let Some(question) = query(id, name, kind) else { return Ok(Answer::NoSuchName) };
    // A port of the kernel's choice for each query, and a connected socket: others' packets do not arrive.
    let any: IpAddr = if server.is_ipv4() { [0, 0, 0, 0].into() } else { [0_u16; 8].into() };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).await?;
    socket.connect(server).await?;
    socket.send(&question).await?;
    let mut buffer = [0; 1500];
    let told = loop {
        let count = socket.recv(&mut buffer).await?;
        if let Some(told) = answer(&buffer[..count], id, name, kind) {
            break told;
        }
    };
    if told != Answer::Truncated {
        return Ok(told);
    }
    let mut stream = tokio::time::timeout(Duration::from_secs(5), TcpStream::connect(server)).await??;
    let length = u16::try_from(question.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes()[..], &question].concat()).await?;
    let mut message = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut message).await?;
    answer(&message, id, name, kind).ok_or_else(|| io::Error::other("the answer belongs to another question"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A name server that answers each question for an address of version 4 with the next one of a list.
    async fn server(addresses: &'static [[u8; 4]]) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::spawn(async move {
            let mut addresses = addresses.iter();
            let mut buffer = [0; 512];
            while let Ok((count, asker)) = socket.recv_from(&mut buffer).await {
                let question = &buffer[12..count];
                let is_v4 = question.ends_with(&[0, 1, 0, 1]);
                let found = if is_v4 { addresses.next() } else { None };
                let answers = u8::from(found.is_some());
                let mut told = [&buffer[..2], &[0x81, 0x80, 0, 1, 0, answers, 0, 0, 0, 0], question].concat();
                if let Some(found) = found {
                    told.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
                    told.extend(found);
                }
                socket.send_to(&told, asker).await.unwrap();
            }
        });
        address
    }

    /// Each connection is made to what the name means then, and every answer is looked at.
    #[tokio::test]
    async fn a_name_that_turns_to_an_address_that_no_registry_has_is_refused() {
        let server = server(&[[127, 0, 0, 1], [169, 254, 169, 254], [0, 0, 0, 0], [127, 0, 0, 2]]).await;
        let config = Config { servers: vec![server], ..Config::parse("") };
        let shared = Shared { hosts: String::new(), config };
        let mut told = Vec::new();
        for _ in 0..4 {
            told.push(shared.look_up("registry.test").await.map_err(|error| error.to_string()));
        }
        let refused = || Err("registry.test has only addresses that are not used".to_owned());
        let address = |last| Ok(vec![IpAddr::from([127, 0, 0, last])]);
        assert_eq!(told, [address(1), refused(), refused(), address(2)]);
    }
}
