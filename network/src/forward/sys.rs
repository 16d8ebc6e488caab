//! Datagrams together with the address of this host that they were sent to: a service whose port is on all addresses answers
//! from the one that it was asked at, or the client takes the answer for somebody else's. The wrappers have no name for it.

use std::io;
use std::mem::{self, MaybeUninit};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::os::fd::AsRawFd;

/// Room for the one control message that is asked for, aligned as its head is.
type Control = [u64; 8];

/// Has the kernel tell of each datagram which address it was sent to.
pub(super) fn tell_destinations(socket: &UdpSocket) -> io::Result<()> {
    let (level, option) = match socket.local_addr()? {
        SocketAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_PKTINFO),
        SocketAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO),
    };
    let on: libc::c_int = 1;
    // SAFETY: the descriptor is borrowed for the call, the value is a live `c_int` on this stack frame and the length given is
    // its size; the kernel only reads it.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Who sent a datagram, and to which address of this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Ends {
    pub(super) client: SocketAddr,
    own: Option<IpAddr>,
}

/// Receives a datagram; returns how long it is.
pub(super) fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<(usize, Ends)> {
    let mut name = MaybeUninit::<libc::sockaddr_storage>::zeroed();
    let mut control = Control::default();
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: the head is plain numbers and pointers, for which zeros are values. What it points to lives on this stack
    // frame or is borrowed for the call, with the lengths given; the kernel writes within them.
    let (length, message) = unsafe {
        let mut message: libc::msghdr = mem::zeroed();
        message.msg_name = name.as_mut_ptr().cast();
        message.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = size_of::<Control>() as _;
        (libc::recvmsg(socket.as_raw_fd(), &raw mut message, 0), message)
    };
    let length = usize::try_from(length).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: zeros are a value of it, and the kernel has written an address over them.
    let client = address(unsafe { name.assume_init_ref() })
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a datagram without a sender"))?;
    // SAFETY: the head is the one that the kernel has filled, and what it points to is still alive.
    let own = unsafe { own_address(&message) };
    Ok((length, Ends { client, own }))
}

/// Sends a datagram to the client, from the address of this host that it has sent to.
pub(super) fn answer(socket: &UdpSocket, bytes: &[u8], ends: &Ends) -> io::Result<()> {
    let Some(own) = ends.own else { return socket.send_to(bytes, ends.client).map(drop) };
    let (name, length) = name(ends.client);
    let mut control = Control::default();
    let mut part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    // SAFETY: as for `receive`; the kernel only reads. There is room for one control message of either kind, whose head
    // and content are written within it, the content wherever it may lie.
    let sent = unsafe {
        let mut message: libc::msghdr = mem::zeroed();
        message.msg_name = (&raw const name).cast_mut().cast();
        message.msg_namelen = length;
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = size_of::<Control>() as _;
        let head = libc::CMSG_FIRSTHDR(&raw const message);
        let size = match own {
            IpAddr::V4(own) => {
                let ipi_spec_dst = libc::in_addr { s_addr: u32::from_ne_bytes(own.octets()) };
                let content = libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst, ipi_addr: ipi_spec_dst };
                put(head, libc::IPPROTO_IP, libc::IP_PKTINFO, content)
            }
            IpAddr::V6(own) => {
                // An address that holds on one link only is that of the client's link.
                let link = match ends.client {
                    SocketAddr::V6(client) if own.is_unicast_link_local() => client.scope_id(),
                    _ => 0,
                };
                let content = libc::in6_pktinfo {
                    ipi6_addr: libc::in6_addr { s6_addr: own.octets() },
                    ipi6_ifindex: link as _,
                };
                put(head, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, content)
            }
        };
        message.msg_controllen = size as _;
        libc::sendmsg(socket.as_raw_fd(), &raw const message, 0)
    };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Writes a control message; returns the room that it takes.
///
/// # Safety
///
/// There is that much room at its head.
unsafe fn put<T>(
    head: *mut libc::cmsghdr,
    level: libc::c_int,
    kind: libc::c_int,
    content: T,
) -> libc::c_uint {
    // SAFETY: the caller's promise.
    unsafe {
        (*head).cmsg_level = level;
        (*head).cmsg_type = kind;
        (*head).cmsg_len = libc::CMSG_LEN(size_of::<T>() as libc::c_uint) as _;
        libc::CMSG_DATA(head).cast::<T>().write_unaligned(content);
        libc::CMSG_SPACE(size_of::<T>() as libc::c_uint)
    }
}

/// The address of this host that the control messages of a datagram tell of.
///
/// # Safety
///
/// The head was filled by the kernel, and what it points to is alive.
unsafe fn own_address(message: &libc::msghdr) -> Option<IpAddr> {
    // SAFETY: the caller's promise; a message of a kind has a content of the type that belongs to it.
    unsafe {
        let mut head = libc::CMSG_FIRSTHDR(message);
        while !head.is_null() {
            match ((*head).cmsg_level, (*head).cmsg_type) {
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    let content = libc::CMSG_DATA(head).cast::<libc::in_pktinfo>().read_unaligned();
                    return Some(Ipv4Addr::from(content.ipi_spec_dst.s_addr.to_ne_bytes()).into());
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    let content = libc::CMSG_DATA(head).cast::<libc::in6_pktinfo>().read_unaligned();
                    return Some(Ipv6Addr::from(content.ipi6_addr.s6_addr).into());
                }
                _ => head = libc::CMSG_NXTHDR(message, head),
            }
        }
    }
    None
}

/// Reads an address as the kernel writes it.
fn address(storage: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match libc::c_int::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says which type it is, and the storage is as large and as aligned as any of them.
            let four = unsafe { &*(&raw const *storage).cast::<libc::sockaddr_in>() };
            let host = Ipv4Addr::from(four.sin_addr.s_addr.to_ne_bytes());
            Some(SocketAddr::new(host.into(), u16::from_be(four.sin_port)))
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let six = unsafe { &*(&raw const *storage).cast::<libc::sockaddr_in6>() };
            let host = Ipv6Addr::from(six.sin6_addr.s6_addr);
            let port = u16::from_be(six.sin6_port);
            Some(SocketAddrV6::new(host, port, six.sin6_flowinfo, six.sin6_scope_id).into())
        }
        _ => None,
    }
}

/// Writes an address as the kernel reads it.
fn name(address: SocketAddr) -> (libc::sockaddr_storage, libc::socklen_t) {
    // SAFETY: it is plain numbers, for which zeros are values.
    let mut storage: libc::sockaddr_storage = unsafe { mem::zeroed() };
    let place = &raw mut storage;
    let length = match address {
        SocketAddr::V4(four) => {
            let name = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: four.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(four.ip().octets()) },
                sin_zero: [0; 8],
            };
            // SAFETY: the storage is as large and as aligned as any address.
            unsafe { place.cast::<libc::sockaddr_in>().write(name) };
            size_of::<libc::sockaddr_in>()
        }
        SocketAddr::V6(six) => {
            let name = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: six.port().to_be(),
                sin6_flowinfo: six.flowinfo(),
                sin6_addr: libc::in6_addr { s6_addr: six.ip().octets() },
                sin6_scope_id: six.scope_id(),
            };
            // SAFETY: as above.
            unsafe { place.cast::<libc::sockaddr_in6>().write(name) };
            size_of::<libc::sockaddr_in6>()
        }
    };
    (storage, length as libc::socklen_t)
}
