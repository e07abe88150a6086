//! Addresses that nobody means who names a file to download.
//!
//! Whoever writes a Dockerfile, or answers a request of it with a redirect, must not reach what a cloud tells
//! only to the machine itself: credentials of its role, above all. Loopback and private addresses are left
//! alone, because builds fetch from them with good reason.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

/// Addresses outside of the link-local ranges at which clouds answer only their own machines: Azure, Alibaba
/// and Oracle, and AWS by IPv6.
const METADATA: [IpAddr; 4] = [
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
];

/// Every address of a host is one that is not asked.
#[derive(Debug, thiserror::Error)]
#[error("its address is link-local or a cloud's metadata service")]
pub(super) struct Refused;

/// Whether `address` is refused by a guarded client.
pub(crate) fn is_metadata(address: IpAddr) -> bool {
    let address = address.to_canonical();
    let link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_unspecified() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_unicast_link_local() || v6.is_unspecified(),
    };
    link_local || METADATA.contains(&address)
}

/// Whether the host of `url` is literally such an address.
pub(crate) fn names_metadata(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(v4)) => is_metadata(v4.into()),
        Some(Host::Ipv6(v6)) => is_metadata(v6.into()),
        Some(Host::Domain(_)) | None => false,
    }
}

/// Looks names up and leaves out what is not asked. The connection is made to an address of this very answer,
/// so a name that means something else a moment later leads nowhere else.
pub(super) struct Guarded;

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found: Vec<_> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let allowed: Vec<_> =
                found.iter().copied().filter(|address| !is_metadata(address.ip())).collect();
            if allowed.is_empty() && !found.is_empty() {
                return Err(Refused.into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_name_that_means_such_an_address_is_refused_when_it_is_looked_up() {
        let look_up = |name: &str| Guarded.resolve(name.parse().unwrap());
        assert!(look_up("169.254.169.254").await.is_err_and(|error| error.is::<Refused>()));
        let found: Vec<_> = look_up("127.0.0.1").await.unwrap_or_else(|error| panic!("{error}")).collect();
        assert_eq!(found.len(), 1);
    }

    #[test]
    fn link_local_and_metadata_addresses_are_refused_and_private_ones_are_not() {
        for refused in [
            "http://169.254.169.254/latest/meta-data/",
            "http://0.0.0.0/",
            "http://2852039166/",
            "http://0xa9.0xfe.0xa9.0xfe/",
            "http://[::ffff:169.254.169.254]/",
            "http://[fe80::1]/",
            "http://[fd00:ec2::254]/",
            "http://[::]/",
            "http://168.63.129.16/",
            "http://100.100.100.200/",
        ] {
            assert!(names_metadata(&Url::parse(refused).unwrap()), "{refused}");
        }
        for allowed in ["http://127.0.0.1/", "http://10.0.0.1/", "http://[::1]/", "http://host.example/"] {
            assert!(!names_metadata(&Url::parse(allowed).unwrap()), "{allowed}");
        }
    }
}
