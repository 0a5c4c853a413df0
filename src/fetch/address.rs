//! Pure: addresses that are refused by default, whatever name resolves to them.
//!
//! Private ranges are allowed, because a cluster's Services have such addresses.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Why an address is refused by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressKind {
    /// `0.0.0.0/8` and `::`, which are this machine.
    Unspecified,
    /// `127.0.0.0/8` and `::1`: this machine.
    Loopback,
    /// `169.254.0.0/16` and `fe80::/10`: this link, with the metadata service of most clouds.
    LinkLocal,
    /// A cloud's metadata service outside link-local addresses.
    Metadata,
    /// `224.0.0.0/4` and `ff00::/8`.
    Multicast,
    /// `240.0.0.0/4`, including the broadcast address.
    Reserved,
}

/// Metadata and credentials services: Oracle (classic), Alibaba, Azure's wire server.
const METADATA_V4: [Ipv4Addr; 3] =
    [Ipv4Addr::new(192, 0, 0, 192), Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(168, 63, 129, 16)];

/// Metadata services of Google and Scaleway.
const METADATA_V6: [Ipv6Addr; 2] =
    [Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254), Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42)];

impl fmt::Display for AddressKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unspecified => "an unspecified address",
            Self::Loopback => "a loopback address",
            Self::LinkLocal => "a link-local address",
            Self::Metadata => "the metadata service of a cloud",
            Self::Multicast => "a multicast address",
            Self::Reserved => "a reserved address",
        })
    }
}

/// Returns why an address is refused, if it is. An IPv6 address with an embedded IPv4 address is treated like that.
#[must_use]
pub fn refused(address: IpAddr) -> Option<AddressKind> {
    match plain(address) {
        IpAddr::V4(address) => refused_v4(address),
        IpAddr::V6(address) => refused_v6(address),
    }
}

/// Returns the IPv4 address embedded in an IPv6 address: mapped, compatible, translated (SIIT), NAT64 or 6to4. Other
/// addresses are returned unchanged.
#[must_use]
pub fn plain(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    let v4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    };
    match v6.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => address,
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x64, 0xff9b, 1, _, _, _, high, low]
        | [0x2002, high, low, ..] => v4(high, low),
        _ => address,
    }
}

fn refused_v4(address: Ipv4Addr) -> Option<AddressKind> {
    Some(match address.octets() {
        [0, ..] => AddressKind::Unspecified,
        [127, ..] => AddressKind::Loopback,
        [169, 254, ..] => AddressKind::LinkLocal,
        [224..=239, ..] => AddressKind::Multicast,
        [240..=255, ..] => AddressKind::Reserved,
        _ if METADATA_V4.contains(&address) => AddressKind::Metadata,
        _ => return None,
    })
}

fn refused_v6(address: Ipv6Addr) -> Option<AddressKind> {
    Some(match address.segments() {
        _ if address.is_unspecified() => AddressKind::Unspecified,
        _ if address.is_loopback() => AddressKind::Loopback,
        [0xfe80..=0xfebf, ..] => AddressKind::LinkLocal,
        [0xff00..=0xffff, ..] => AddressKind::Multicast,
        // Everything that Amazon offers to an instance by IPv6: metadata, DNS, time, and credentials of Pods.
        [0xfd00, 0xec2, ..] => AddressKind::Metadata,
        _ if METADATA_V6.contains(&address) => AddressKind::Metadata,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect(text)
    }

    #[test]
    fn addresses_that_no_service_of_a_cluster_has_are_refused() {
        for (kind, addresses) in [
            (AddressKind::Unspecified, vec!["0.0.0.0", "0.1.2.3", "0.255.255.255", "::"]),
            (AddressKind::Loopback, vec!["127.0.0.1", "127.255.255.255", "::1"]),
            (AddressKind::LinkLocal, vec!["169.254.0.0", "169.254.169.254", "169.254.255.255", "fe80::1", "febf::1"]),
            (
                AddressKind::Metadata,
                vec!["192.0.0.192", "100.100.100.200", "168.63.129.16", "fd00:ec2::254", "fd00:ec2::23"],
            ),
            (AddressKind::Metadata, vec!["fd20:ce::254", "fd00:42::42"]),
            (AddressKind::Multicast, vec!["224.0.0.1", "239.255.255.255", "ff02::1", "ffff::"]),
            (AddressKind::Reserved, vec!["240.0.0.0", "255.255.255.254", "255.255.255.255"]),
        ] {
            for text in addresses {
                assert_eq!(refused(address(text)), Some(kind), "{text}");
            }
        }
    }

    #[test]
    fn public_and_private_addresses_are_open() {
        for text in [
            "1.0.0.0",
            "10.0.0.1",
            "10.96.0.1",
            "100.64.0.1",
            "100.100.100.201",
            "126.255.255.255",
            "128.0.0.0",
            "168.63.129.17",
            "169.253.255.255",
            "169.255.0.0",
            "172.16.0.1",
            "192.0.0.191",
            "192.168.0.1",
            "223.255.255.255",
            "2001:db8::1",
            "2606:4700::1",
            "fd00::1",
            "fd00:ec1::254",
            "fd00:42::41",
            "fd20:ce::253",
            "fe7f::1",
            "fec0::1",
            "feff::1",
        ] {
            assert_eq!(refused(address(text)), None, "{text}");
        }
    }

    #[test]
    fn an_ipv6_address_that_holds_an_ipv4_one_is_judged_as_that() {
        for (prefix, suffix) in [
            ("::ffff:", ""),
            ("::", ""),
            ("::ffff:0:", ""),
            ("64:ff9b::", ""),
            ("64:ff9b:1::", ""),
            ("64:ff9b:1:2:3:4:", ""),
            ("2002:", "::1"),
        ] {
            let held = |v4: &str| {
                let [a, b, c, d] = v4.parse::<Ipv4Addr>().expect(v4).octets();
                address(&format!("{prefix}{a:02x}{b:02x}:{c:02x}{d:02x}{suffix}"))
            };
            for (v4, expected) in [
                ("127.0.0.1", Some(AddressKind::Loopback)),
                ("169.254.169.254", Some(AddressKind::LinkLocal)),
                ("100.100.100.200", Some(AddressKind::Metadata)),
                ("255.255.255.255", Some(AddressKind::Reserved)),
                ("10.0.0.1", None),
            ] {
                assert_eq!(plain(held(v4)), address(v4), "{prefix} {v4}");
                assert_eq!(refused(held(v4)), expected, "{prefix} {v4}");
            }
        }
        for text in ["::", "::1", "fd00::7f00:1", "2003:7f00:1::", "64:ff9b:2::7f00:1", "10.0.0.1"] {
            assert_eq!(plain(address(text)), address(text), "{text}");
        }
    }
}
