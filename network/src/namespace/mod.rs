//! Network namespaces that nobody lives in yet.
//!
//! A namespace is made by a short-lived thread that leaves the process's own, and is from then on held by a
//! descriptor alone: it vanishes, with all its links, when the last descriptor and the last process in it are gone.
//! The thread also opens the netlink socket through which the namespace is set up, so that nobody has to enter it again.

pub mod setting;
mod sys;

use std::fs;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::thread::JoinHandle;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use self::setting::LinkSetting;
use crate::error::{Error, FileError};
use crate::link::LinkName;
use crate::netlink::route::{self, LinkIndex};
use crate::netlink::socket::{Family, Request, Socket};

/// A network namespace held by a descriptor.
#[derive(Debug)]
pub struct Namespace {
    fd: OwnedFd,
    route: Socket,
}

impl Namespace {
    /// Makes a namespace whose loopback link is up. Links that come later take no router's advice and have no
    /// IPv6 address of their own.
    pub fn create() -> Result<Self, Error> {
        Self::begin()?.finish()
    }

    /// Begins to make one.
    pub fn begin() -> Result<NamespaceBegun, Error> {
        let made = std::thread::Builder::new()
            .name("netns".to_owned())
            .stack_size(64 * 1024)
            .spawn(|| -> Result<Self, Error> {
                let failed = |source: io::Error| match source.kind() {
                    io::ErrorKind::PermissionDenied => {
                        Error::NotPermitted { act: "make a network namespace".to_owned(), source }
                    }
                    _ => Error::Namespace { source },
                };
                sys::leave_network_namespace().map_err(failed)?;
                Self::of_this_thread()
            })
            .map_err(|source| Error::Namespace { source })?;
        Ok(NamespaceBegun(made))
    }

    /// Takes the namespace that the calling thread is in, and sets it up.
    fn of_this_thread() -> Result<Self, Error> {
        let fd = fs::File::open("/proc/thread-self/ns/net").map_err(|source| Error::Namespace { source })?;
        for setting in ["accept_ra", "autoconf"] {
            set_ipv6(setting, "0")?;
        }
        set_ipv6("disable_ipv6", "1")?;
        let mut route = Socket::open(Family::Route).map_err(Error::kernel("set up a network namespace"))?;
        route
            .execute(vec![Request::new("bring the loopback link up", route::set_up(LinkIndex::LOOPBACK))])
            .map_err(Error::kernel("set up a network namespace"))?;
        Ok(Self { fd: fd.into(), route })
    }

    /// Opens a namespace that exists, for a later endpoint.
    pub fn open(fd: OwnedFd) -> Result<Self, Error> {
        let route = inside(fd.as_fd(), || {
            Socket::open(Family::Route).map_err(Error::kernel("enter a network namespace"))
        })?;
        Ok(Self { fd, route })
    }

    /// Lets a link have IPv6 addresses. They are given out here, so nobody else is asked whether they are taken.
    pub(crate) fn allow_ipv6(&self, link: &LinkName) -> Result<(), Error> {
        inside(self.fd.as_fd(), || {
            for (setting, value) in [("accept_dad", "0"), ("disable_ipv6", "0")] {
                let path = format!("/proc/sys/net/ipv6/conf/{link}/{setting}");
                fs::write(&path, value).map_err(|source| FileError::new("write", path.as_ref(), source))?;
            }
            Ok(())
        })
    }

    /// Sets what was asked for of a link.
    pub(crate) fn set_link(&self, link: &LinkName, settings: &[LinkSetting]) -> Result<(), Error> {
        if settings.is_empty() {
            return Ok(());
        }
        inside(self.fd.as_fd(), || {
            settings.iter().try_for_each(|setting| {
                // It is not to be made, which would fail in a way that does not tell that it is not there.
                let file = fs::OpenOptions::new().write(true).open(setting.path(link));
                file.and_then(|mut file| file.write_all(setting.value().as_bytes())).map_err(|source| {
                    let (setting, link) = (setting.to_string(), link.to_string());
                    Error::Setting { setting, link, source }
                })
            })
        })
    }

    /// Gives the descriptor away: to the process that will live in the namespace.
    pub fn into_fd(self) -> OwnedFd {
        self.fd
    }

    /// The socket for its links, addresses and routes.
    pub(crate) fn route(&mut self) -> &mut Socket {
        &mut self.route
    }
}

/// A namespace that is being made.
#[derive(Debug)]
pub struct NamespaceBegun(JoinHandle<Result<Namespace, Error>>);

impl NamespaceBegun {
    /// Waits until it is made.
    pub fn finish(self) -> Result<Namespace, Error> {
        self.0.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Does something in a namespace, on a thread that ends with it.
pub(crate) fn inside<T: Send>(
    namespace: BorrowedFd<'_>,
    work: impl FnOnce() -> Result<T, Error> + Send,
) -> Result<T, Error> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("netns".to_owned()).stack_size(128 * 1024);
        let thread = thread.spawn_scoped(scope, || {
            move_into_link_name_space(namespace, Some(LinkNameSpaceType::Network))
                .map_err(|source| Error::Namespace { source: source.into() })?;
            work()
        });
        let thread = thread.map_err(|source| Error::Namespace { source })?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Says whether no port of a namespace is taken: by a socket, or by a connection that only the kernel still remembers.
pub fn is_at_rest(namespace: BorrowedFd<'_>) -> Result<bool, Error> {
    inside(namespace, || {
        let path = "/proc/thread-self/net/sockstat";
        let mut text =
            fs::read_to_string(path).map_err(|source| FileError::new("read", path.as_ref(), source))?;
        // A kernel without IPv6 has no such sockets.
        text += &fs::read_to_string(format!("{path}6")).unwrap_or_default();
        Ok(counts_nothing(&text))
    })
}

/// Reads lines as `TCP: inuse 0 orphan 3 tw 0 alloc 3 mem 0`. Sockets of no protocol (the first line's) have no ports,
/// and orphans are those of all namespaces.
fn counts_nothing(sockstat: &str) -> bool {
    let mut counts = sockstat.lines().flat_map(|line| {
        let mut words = line.split_ascii_whitespace();
        std::iter::from_fn(move || words.find(|word| matches!(*word, "inuse" | "tw")).and(words.next()))
    });
    sockstat.contains(" tw ") && counts.all(|count| count == "0")
}

/// Sets what IPv6 does on links to come; a kernel without IPv6 has nothing to set.
fn set_ipv6(setting: &str, value: &str) -> Result<(), Error> {
    match fs::write(format!("/proc/sys/net/ipv6/conf/default/{setting}"), value) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(Error::Namespace { source }),
        Ok(()) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_counted_as_nothing_is_nothing() {
        let text = |tcp, waiting, udp6| {
            format!(
                "sockets: used 3\nTCP: inuse {tcp} orphan 7 tw {waiting} alloc 9 mem 1\nFRAG: inuse 0 memory 0\n\
                 UDP6: inuse {udp6}\n"
            )
        };
        assert!(counts_nothing(&text(0, 0, 0)));
        assert!(!counts_nothing(&text(1, 0, 0)));
        assert!(!counts_nothing(&text(0, 10, 0)));
        assert!(!counts_nothing(&text(0, 0, 1)));
        assert!(!counts_nothing("sockets: used 0\n"));
    }
}
