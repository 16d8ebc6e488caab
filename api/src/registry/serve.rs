//! The listener: connections in, requests to their endpoints, and the end.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, HOST, HeaderValue, WWW_AUTHENTICATE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use rbuild_images::{Images, ImagesError};
use rbuild_store::Cancel;
use rustix::io::Errno;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::net::unix::pipe;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio_rustls::TlsAcceptor;

use super::access::Access;
use super::answer::{Body, Refused};
use super::patience::{Patient, Rate};
use super::route::{Need, Route};
use super::uploads::Uploads;
use super::{blobs, documents, lists, uploads};

/// What others may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rights {
    /// Read.
    #[default]
    Read,
    /// Read and push.
    Push,
    /// Read, push and delete.
    Delete,
}

/// A certificate and its key, in PEM.
#[derive(Clone)]
pub struct Tls {
    /// The certificate, with those that lead to an authority.
    pub certificate: Vec<u8>,
    /// The key.
    pub key: Vec<u8>,
}

/// How much at a time, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// The most connections.
    pub connections: usize,
    /// The most uploads that have begun and not ended.
    pub uploads: usize,
    /// The longest time for the head of a request, and between pieces of a body.
    pub idle: Duration,
    /// The least rate of bodies, in both directions.
    pub rate: Rate,
    /// The longest time that an upload nobody goes on with is kept; one that brings less than the least rate's bytes by then
    /// is none that somebody goes on with.
    pub upload_kept: Duration,
    /// How many bytes of the disk uploads leave free.
    pub keep_free: u64,
    /// The longest time for requests to end when the server is to stop.
    pub end: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connections: 512,
            uploads: 256,
            idle: Duration::from_secs(60),
            rate: Rate { bytes: 64 << 10, span: Duration::from_secs(60) },
            upload_kept: Duration::from_secs(600),
            keep_free: 512 << 20,
            end: Duration::from_secs(10),
        }
    }
}

/// How a registry is served.
pub struct Options {
    /// Where it listens.
    pub address: SocketAddr,
    /// What others may do.
    pub rights: Rights,
    /// Its certificate; without one, plain HTTP.
    pub tls: Option<Tls>,
    /// Who is let in; without it, everybody.
    pub access: Option<Access>,
    /// Bounds.
    pub bounds: Bounds,
}

/// A registry could not be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address could not be listened on.
    #[error("failed to listen on {0}")]
    Listen(SocketAddr, #[source] io::Error),
    /// The certificate or its key is unusable.
    #[error("the certificate is unusable: {0}")]
    Tls(String),
    /// Something of the machine failed.
    #[error("failed to {0}")]
    Machine(&'static str, #[source] io::Error),
}

/// Hears what the server does, for who started it.
pub trait Handle: Send + Sync {
    /// It listens.
    fn listening(&self, address: SocketAddr);
    /// A request was answered.
    fn answered(&self, method: &str, path: &str, status: u16);
    /// The store failed a request.
    fn failed(&self, path: &str, error: &ImagesError);
}

/// What requests are served with.
pub(super) struct Shared {
    pub(super) images: Arc<Images>,
    pub(super) rights: Rights,
    pub(super) bounds: Bounds,
    pub(super) uploads: Arc<Uploads>,
    /// Something that held a descriptor has ended.
    pub(super) freed: Notify,
    hosts: Hosts,
    access: Option<Access>,
    handle: Arc<dyn Handle>,
}

impl Shared {
    /// Does something with the store that may take long, apart from connections.
    pub(super) async fn with_images<T: Send + 'static>(
        self: &Arc<Self>,
        path: &str,
        act: impl FnOnce(&Images) -> Result<T, ImagesError> + Send + 'static,
    ) -> Result<T, Refused> {
        let images = Arc::clone(&self.images);
        match tokio::task::spawn_blocking(move || act(&images)).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => {
                self.handle.failed(path, &error);
                Err(Refused::failed())
            }
            Err(_) => Err(Refused::failed()),
        }
    }
}

/// Serves until somebody gives up; requests under way may end.
pub fn serve(
    images: Arc<Images>,
    options: Options,
    handle: Arc<dyn Handle>,
    cancel: &Cancel,
) -> Result<(), ServeError> {
    let machine = |what| move |error| ServeError::Machine(what, error);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(std::thread::available_parallelism().map_or(2, usize::from).clamp(2, 8))
        .enable_all()
        .build()
        .map_err(machine("start the threads of the server"))?;
    let wake = cancel.wake().map_err(machine("wait for the end"))?;
    let tls = options.tls.as_ref().map(acceptor).transpose()?;
    let shared = Arc::new(Shared {
        images,
        rights: options.rights,
        bounds: options.bounds,
        uploads: Arc::new(Uploads::new(options.bounds)),
        freed: Notify::new(),
        // A name that leads here without being ours has no certificate for itself.
        hosts: if options.tls.is_none() && options.address.ip().is_loopback() {
            Hosts::Loopback
        } else {
            Hosts::Any
        },
        access: options.access,
        handle,
    });
    let ended = runtime.block_on(async {
        let address = options.address;
        let failed = |error| ServeError::Listen(address, error);
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        shared.handle.listening(listener.local_addr().map_err(failed)?);
        let asked = wake.as_fd().try_clone_to_owned().and_then(pipe::Receiver::from_owned_fd);
        let asked = asked.map_err(machine("wait for the end"))?;
        let room = Arc::new(Semaphore::new(shared.bounds.connections));
        let (alive, over) = watch::channel(());
        let giving_up = tokio::spawn(uploads::give_up(Arc::clone(&shared)));
        tokio::select! {
            () = accept(&listener, &shared, tls, &room, &over) => {}
            _ = asked.readable() => {}
        }
        // Connections are told, and have some time for what they are at.
        drop((alive, listener));
        let all = u32::try_from(shared.bounds.connections).unwrap_or(u32::MAX);
        let _ = tokio::time::timeout(shared.bounds.end, room.acquire_many(all)).await;
        giving_up.abort();
        Ok(())
    });
    // What still blocks in the store is not waited for: it leaves nothing half done.
    runtime.shutdown_background();
    ended
}

fn acceptor(tls: &Tls) -> Result<TlsAcceptor, ServeError> {
    let unusable = |error: String| ServeError::Tls(error);
    let chain = CertificateDer::pem_slice_iter(&tls.certificate)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| unusable(error.to_string()))?;
    let key = PrivateKeyDer::from_pem_slice(&tls.key).map_err(|error| unusable(error.to_string()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(error.to_string()))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| unusable(error.to_string()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Takes connections in, as long as there is room.
async fn accept(
    listener: &TcpListener,
    shared: &Arc<Shared>,
    tls: Option<TlsAcceptor>,
    room: &Arc<Semaphore>,
    over: &watch::Receiver<()>,
) {
    loop {
        let Ok(place) = Arc::clone(room).acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                drop(place);
                if is_exhaustion(&error) {
                    let alone = room.available_permits() == shared.bounds.connections;
                    until_freed(shared, alone).await;
                }
                continue;
            }
        };
        let (tls, over) = (tls.clone(), over.clone());
        let place = Place { shared: Arc::clone(shared), _room: place };
        tokio::spawn(async move {
            let shared = Arc::clone(&place.shared);
            let _ = stream.set_nodelay(true);
            match tls {
                None => connection(stream, shared, over).await,
                Some(tls) => {
                    let shaken = tokio::time::timeout(shared.bounds.idle, tls.accept(stream)).await;
                    if let Ok(Ok(stream)) = shaken {
                        connection(stream, shared, over).await;
                    }
                }
            }
        });
    }
}

/// Whether this process, or the machine, has no descriptor or no memory for another connection. Any other failure is that
/// of one connection, which its client has ended by now.
fn is_exhaustion(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS))
}

/// Waits until something that is served has ended.
async fn until_freed(shared: &Shared, alone: bool) {
    if alone {
        // Others have it all, and nobody tells when they give something back.
        tokio::time::sleep(Duration::from_secs(1)).await;
    } else {
        shared.freed.notified().await;
    }
}

/// The place of a connection.
struct Place {
    shared: Arc<Shared>,
    _room: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.freed.notify_one();
    }
}

/// Whom requests may be meant for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hosts {
    /// Anybody.
    Any,
    /// The loopback of this machine.
    Loopback,
}

impl Hosts {
    /// Refuses a request that is meant for somebody else: a browser that was led here by a name of somebody else sends it.
    fn check(self, request: &Request<Incoming>) -> Result<(), Refused> {
        let in_target = request.uri().authority().map(|authority| authority.as_str());
        let in_header = request.headers().get_all(HOST).iter().map(|host| host.to_str().unwrap_or_default());
        if self == Self::Any || in_target.into_iter().chain(in_header).all(is_loopback) {
            return Ok(());
        }
        let message = "this registry is asked by the name of another host: it is `localhost`, or an address of the loopback";
        Err(Refused::new(StatusCode::MISDIRECTED_REQUEST, "DENIED", message))
    }
}

/// Whether a host, with or without a port, is the loopback by its own name.
fn is_loopback(host: &str) -> bool {
    let host = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let address: Option<IpAddr> = address.parse().ok();
    address.map_or(host.eq_ignore_ascii_case("localhost"), |address| address.to_canonical().is_loopback())
}

/// Serves the requests of a connection.
async fn connection<T>(stream: T, shared: Arc<Shared>, mut over: watch::Receiver<()>)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let bounds = shared.bounds;
    let service = service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(answer(shared, request).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.idle)
        .max_buf_size(64 << 10)
        .serve_connection(TokioIo::new(Patient::new(stream, &bounds)), service);
    let mut served = std::pin::pin!(served);
    tokio::select! {
        _ = &mut served => return,
        _ = over.changed() => served.as_mut().graceful_shutdown(),
    }
    let _ = tokio::time::timeout(bounds.end, served).await;
}

async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> Response<Body> {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let mut response = match dispatch(&shared, request, &method, &path).await {
        Ok(response) => response,
        Err(refused) => refused.response(),
    };
    let headers = response.headers_mut();
    headers.insert("docker-distribution-api-version", HeaderValue::from_static("registry/2.0"));
    shared.handle.answered(method.as_str(), &path, response.status().as_u16());
    response
}

async fn dispatch(
    shared: &Arc<Shared>,
    request: Request<Incoming>,
    method: &Method,
    path: &str,
) -> Result<Response<Body>, Refused> {
    shared.hosts.check(&request)?;
    admit(shared, &request).await?;
    let route = Route::parse(path)?;
    let allowed = match route.need(method) {
        Need::Read => Rights::Read,
        Need::Write => Rights::Push,
        Need::Delete => Rights::Delete,
    };
    if shared.rights < allowed {
        let message = "this registry is read-only as it is served";
        return Err(Refused::new(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", message));
    }
    match route {
        Route::Base => lists::base(method),
        Route::Catalog => lists::catalog(shared, &request).await,
        Route::Tags(repository) => lists::tags(shared, repository, &request).await,
        Route::Referrers(repository, digest) => lists::referrers(shared, repository, digest, &request).await,
        Route::Document(repository, name) => documents::serve(shared, repository, name, request).await,
        Route::Blob(repository, digest) => blobs::serve(shared, repository, digest, &request).await,
        Route::Uploads(repository) => uploads::begin(shared, repository, request).await,
        Route::Upload(repository, id) => uploads::go_on(shared, repository, &id, request).await,
    }
}

/// Lets those in who say who they are, where that is asked.
async fn admit(shared: &Arc<Shared>, request: &Request<Incoming>) -> Result<(), Refused> {
    if shared.access.is_none() {
        return Ok(());
    }
    let header =
        request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let admitted = match header {
        None => false,
        Some(header) => {
            let shared = Arc::clone(shared);
            let check = move || shared.access.as_ref().is_some_and(|access| access.admits(&header));
            tokio::task::spawn_blocking(check).await.unwrap_or(false)
        }
    };
    if admitted {
        return Ok(());
    }
    let refused = Refused::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "authentication required");
    Err(refused.with(WWW_AUTHENTICATE, "Basic realm=\"rbuild\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_has_few_names() {
        for (host, own) in [
            ("localhost", true),
            ("LocalHost:5000", true),
            ("127.0.0.1:5000", true),
            ("127.3.2.1", true),
            ("[::1]:5000", true),
            ("[::ffff:127.0.0.1]", true),
            ("", false),
            ("0.0.0.0:5000", false),
            ("10.0.0.1:5000", false),
            ("evil.example:5000", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example:5000", false),
            ("[::1].evil.example", false),
            ("[::1]:5000.evil.example", false),
        ] {
            assert_eq!(is_loopback(host), own, "{host}");
        }
    }

    #[test]
    fn only_what_others_can_free_is_waited_for() {
        for (errno, waits) in [
            (Errno::MFILE, true),
            (Errno::NFILE, true),
            (Errno::NOMEM, true),
            (Errno::CONNABORTED, false),
            (Errno::CONNRESET, false),
            (Errno::INTR, false),
        ] {
            assert_eq!(is_exhaustion(&errno.into()), waits, "{errno}");
        }
    }
}
