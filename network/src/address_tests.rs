use proptest::prelude::*;

use super::*;

fn subnet(text: &str) -> Subnet {
    text.parse().unwrap()
}

#[test]
fn a_subnet_knows_its_ends() {
    let range = subnet("172.20.5.9/16");
    assert_eq!(range.to_string(), "172.20.0.0/16");
    assert_eq!(range.first(), Ipv4Addr::new(172, 20, 0, 1));
    assert_eq!(range.last(), Ipv4Addr::new(172, 20, 255, 254));
    assert_eq!(range.broadcast(), Ipv4Addr::new(172, 20, 255, 255));
    assert!(range.contains(Ipv4Addr::new(172, 20, 255, 255)));
    assert!(!range.contains(Ipv4Addr::new(172, 21, 0, 0)));
}

#[test]
fn what_is_not_a_subnet_is_refused_with_its_reason() {
    for (text, reason) in [
        ("10.0.0.0", "is not a subnet"),
        ("10.0.0.0/", "is not a subnet"),
        ("10.0.0/24", "is not a subnet"),
        ("10.0.0.0/33", "is not a subnet"),
        ("fd00::/64", "is not a subnet"),
        ("10.0.0.0/31", "too small"),
        ("10.0.0.1/32", "too small"),
        ("0.0.0.0/0", "too large"),
        ("127.0.0.0/8", "unicast"),
        ("224.0.0.0/8", "unicast"),
        ("0.0.0.0/8", "unicast"),
    ] {
        let error = text.parse::<Subnet>().unwrap_err().to_string();
        assert!(error.contains(reason), "{text}: {error}");
    }
}

#[test]
fn the_first_free_subnet_is_chosen() {
    let used = [
        AddressRange::new(IpAddr::from([172, 17, 0, 1]), 16),
        AddressRange::new(IpAddr::from([172, 18, 3, 4]), 32),
    ];
    assert_eq!(choose_subnet(&default_pools(), &used), Some(subnet("172.19.0.0/16")));
    assert_eq!(choose_subnet(&default_pools(), &[]), Some(subnet("172.18.0.0/16")));
}

#[test]
fn steps_take_little_and_from_the_far_end() {
    assert_eq!(choose_subnet(&step_pools(), &[]), Some(subnet("172.28.0.0/24")));
    let used = [AddressRange::new(IpAddr::from([172, 28, 0, 0]), 14)];
    assert_eq!(choose_subnet(&step_pools(), &used), Some(subnet("172.24.0.0/24")));
}

#[test]
fn a_vpn_that_takes_a_private_range_is_stepped_over() {
    let used = [AddressRange::new(IpAddr::from([172, 16, 0, 0]), 12)];
    assert_eq!(choose_subnet(&default_pools(), &used), Some(subnet("192.168.0.0/20")));
    assert_eq!(choose_subnet(&step_pools(), &used), Some(subnet("192.168.0.0/24")));
    let all = [used[0], AddressRange::new(IpAddr::from([192, 168, 0, 0]), 16)];
    assert_eq!(choose_subnet(&default_pools(), &all), None);
    let own = [Pool::new(subnet("10.9.8.0/24"), 26).unwrap(), Pool::new(subnet("10.9.9.0/30"), 30).unwrap()];
    let mut given = Vec::new();
    while let Some(next) = choose_subnet(&own, &given) {
        given.push(next.into());
    }
    let expected = ["10.9.8.0/26", "10.9.8.64/26", "10.9.8.128/26", "10.9.8.192/26", "10.9.9.0/30"];
    assert_eq!(given, expected.map(|text| AddressRange::from(subnet(text))));
    for prefix in [0, 23, 31, 255] {
        assert!(Pool::new(subnet("10.9.8.0/24"), prefix).is_err(), "{prefix}");
    }
}

#[test]
fn hardware_addresses_are_stable_and_local() {
    let address = IpAddr::from([172, 17, 0, 2]);
    let mac = derived_mac("one", address);
    assert_eq!(mac, derived_mac("one", address));
    assert_ne!(mac, derived_mac("two", address));
    assert_ne!(mac, derived_mac("one", Ipv6Addr::LOCALHOST.into()));
    assert_eq!(mac.octets()[0] & 3, 2);
}

proptest! {
    #[test]
    fn subnets_round_trip(address in any::<u32>(), length in 0_u8..=40) {
        if let Ok(range) = Subnet::new(Ipv4Addr::from(address), length) {
            prop_assert_eq!(range.to_string().parse::<Subnet>().unwrap(), range);
            prop_assert!(range.contains(Ipv4Addr::from(address)));
            prop_assert!(range.overlaps(AddressRange::new(Ipv4Addr::from(address).into(), 32)));
        }
    }
}

#[test]
fn ranges_of_different_families_share_nothing() {
    let all_four = AddressRange::new(IpAddr::from([0, 0, 0, 0]), 0);
    let all_six = AddressRange::new(Ipv6Addr::UNSPECIFIED.into(), 0);
    assert!(!all_four.overlaps(all_six) && !all_six.overlaps(all_four));
    assert!(all_six.contains("fd00::1".parse().unwrap()) && !all_four.contains("::1".parse().unwrap()));
}
