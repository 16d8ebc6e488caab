use proptest::prelude::*;

use super::*;
use crate::link::StorePrefix;
use crate::netlink::message::Frames;

#[test]
fn a_pair_is_asked_for_in_one_message() {
    let store = StorePrefix::new("deadbeef").unwrap();
    let (port, inner) = (store.port("x", 0), LinkName::eth(0));
    let mac = "02:00:00:00:00:07".parse().unwrap();
    let bytes =
        create_veth(&Veth { port: &port, bridge: LinkIndex(9), inner: &inner, mac, mtu: 1400, namespace: 5 })
            .finish(3);
    let frame = Frames::new(&bytes).next().unwrap();
    assert_eq!(frame.kind, NEW_LINK);
    let link = read_link(frame.body).unwrap();
    assert_eq!((link.name.as_str(), link.kind.as_deref()), (port.as_str(), Some("veth")));
    assert_eq!((link.up, link.master), (true, Some(LinkIndex(9))));

    let info = Attributes::after(frame.body, 16).find(IFLA_LINKINFO).unwrap();
    let peer = Attributes::new(Attributes::new(info).find(INFO_DATA).unwrap()).find(VETH_PEER).unwrap();
    let inner = read_link(peer).unwrap();
    assert_eq!((inner.name.as_str(), inner.up), ("eth0", false));
    assert_eq!(Attributes::after(peer, 16).find(IFLA_NET_NS_FD), Some(5_i32.to_ne_bytes().as_slice()));
    assert_eq!(Attributes::after(peer, 16).find(IFLA_ADDRESS), Some(mac.octets().as_slice()));
}

#[test]
fn routes_read_as_ranges() {
    let range = |address: [u8; 4], length| AddressRange::new(IpAddr::from(address), length);
    let route = |length: u8, kind: u8, destination: [u8; 4]| {
        let bytes = Message::new(NEW_ROUTE, 0, &[AF_INET, length, 0, 0, 254, 2, 0, kind, 0, 0, 0, 0])
            .attribute(1, &destination)
            .finish(0);
        read_route(Frames::new(&bytes).next().unwrap().body)
    };
    assert_eq!(route(16, 1, [172, 17, 0, 0]), Some(range([172, 17, 0, 0], 16)));
    assert_eq!(route(0, 1, [0; 4]), None, "the default route covers everything");
    assert_eq!(route(8, 6, [10, 0, 0, 0]), None, "a blackhole takes nothing away");
}

proptest! {
    #[test]
    fn foreign_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..128)) {
        let _ = (read_link(&bytes), read_route(&bytes), read_host_address(&bytes));
    }
}

#[test]
fn the_kernel_tells_of_the_end_of_a_link() {
    let told = |index: u32, flags: u32| link_header(index, flags);
    let tells = |kind, body: &[u8]| tells_of_end(kind, body, LinkIndex(7));
    assert!(tells(NEW_LINK, &told(7, 0)) && tells(DELETE_LINK, &told(7, UP)));
    assert!(!tells(NEW_LINK, &told(7, UP)) && !tells(NEW_LINK, &told(8, 0)) && !tells(GET_LINK, &told(7, 0)));
    assert!(!tells(NEW_LINK, &told(7, 0)[..8]) && !tells(DELETE_LINK, &[]));
}
