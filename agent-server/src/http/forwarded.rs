//! Whom a request comes from when proxies stand before the server: what they say is believed, and nobody else.

use std::net::IpAddr;

use hyper::{
    HeaderMap,
    header::{self, HeaderName},
};
use ipnet::IpNet;

/// Hops that are looked at, from the nearest.
const HOPS: usize = 32;
/// Networks that can be trusted.
const NETWORKS: usize = 256;

/// Proxies that are believed when they say whom they pass a request on for. Of the hops in their header the nearest one that is
/// no such proxy is the caller: whatever stands farther off, anybody may have written. Default: none, and the header is
/// not looked at.
///
/// It decides who is counted and what the log says of an address. It never lets anybody in.
///
/// # Examples
///
/// ```
/// use agent_server::{Proxies, ProxyHeader};
///
/// let proxies = Proxies::parse("10.0.0.0/8, 192.0.2.7, 2001:db8::/32")?.says(ProxyHeader::Forwarded);
/// assert!(Proxies::parse("10.0.0.0/33").is_err());
/// # Ok::<(), String>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proxies {
    networks: Vec<IpNet>,
    header: ProxyHeader,
}

/// The header in which proxies say whom they pass a request on for. Only one is believed, as a proxy that writes one of them
/// passes the other on as its caller wrote it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ProxyHeader {
    /// `X-Forwarded-For: 192.0.2.1, 10.0.0.3`. The default.
    #[default]
    XForwardedFor,
    /// `Forwarded: for=192.0.2.1;proto=https` of RFC 7239.
    Forwarded,
}

impl ProxyHeader {
    #[cfg(feature = "cli")]
    pub(crate) const WORDS: [(&str, Self); 2] =
        [("x-forwarded-for", Self::XForwardedFor), ("forwarded", Self::Forwarded)];

    const fn name(self) -> HeaderName {
        match self {
            Self::XForwardedFor => HeaderName::from_static("x-forwarded-for"),
            Self::Forwarded => header::FORWARDED,
        }
    }

    /// The address in one hop; `None` when it is hidden, or is none.
    fn address(self, hop: &str) -> Option<IpAddr> {
        let said = match self {
            Self::XForwardedFor => hop,
            Self::Forwarded => {
                let mut parts = hop.split(';').filter_map(|part| part.split_once('='));
                parts.find(|(name, _)| name.trim().eq_ignore_ascii_case("for"))?.1
            }
        };
        address(said.trim().trim_matches('"'))
    }
}

impl Proxies {
    /// Reads a list of addresses and networks, parted by commas; at most 256.
    ///
    /// # Errors
    ///
    /// The entry that is neither, or that there are too many.
    pub fn parse(list: &str) -> Result<Self, String> {
        let entries = list.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        let networks: Result<Vec<IpNet>, String> = entries
            .map(|entry| {
                let network = entry.parse::<IpNet>().ok();
                let network = network.or_else(|| entry.parse::<IpAddr>().ok().map(IpNet::from));
                network.map(|network| network.trunc()).ok_or_else(|| {
                    format!("`{entry}` is no address and no network; write `192.0.2.7` or `10.0.0.0/8`")
                })
            })
            .collect();
        match networks? {
            networks if networks.len() > NETWORKS => Err(format!("there are more than {NETWORKS}")),
            networks => Ok(Self { networks, header: ProxyHeader::default() }),
        }
    }

    /// Chooses the header that is believed.
    #[must_use]
    pub const fn says(mut self, header: ProxyHeader) -> Self {
        self.header = header;
        self
    }

    /// Whether an address is one of them.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.networks.iter().any(|network| network.contains(&address))
    }

    /// Whom a request comes from, that came over a connection from `peer`.
    pub(crate) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        // The usual case.
        if self.networks.is_empty() || !self.contains(peer) {
            return peer;
        }
        let mut known = peer;
        let lines = headers.get_all(self.header.name()).iter().rev();
        // As bytes: what stands before a hop of ours may be no text at all.
        let hops = lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
        for hop in hops.take(HOPS) {
            // Who hides is somewhere behind the last one that is known.
            let hop = str::from_utf8(hop).ok();
            let Some(address) = hop.and_then(|hop| self.header.address(hop)) else { break };
            known = address;
            if !self.contains(address) {
                break;
            }
        }
        known
    }
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`.
fn address(text: &str) -> Option<IpAddr> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address.to_canonical());
    }
    let bare = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?.0,
        None => text.split_once(':')?.0,
    };
    bare.parse::<IpAddr>().ok().map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn caller(proxies: &Proxies, peer: &str, lines: &[(&'static str, &str)]) -> String {
        let mut headers = HeaderMap::new();
        for (name, line) in lines {
            headers.append(HeaderName::from_static(name), HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        proxies.client(peer.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn only_a_proxy_is_believed_and_only_up_to_the_first_hop_that_is_none() {
        let proxies = Proxies::parse("10.0.0.0/8, 2001:db8:1::/48,127.0.0.1").unwrap();
        let by = |peer: &str, line: &str| caller(&proxies, peer, &[("x-forwarded-for", line)]);
        assert_eq!(by("198.51.100.9", "192.0.2.1"), "198.51.100.9", "a stranger says what it likes");
        assert_eq!(by("10.1.2.3", "192.0.2.1"), "192.0.2.1");
        assert_eq!(by("::ffff:10.1.2.3", "192.0.2.1:4711"), "192.0.2.1", "the same proxy in other clothes");
        assert_eq!(by("10.1.2.3", "8.8.8.8, 127.0.0.1, 192.0.2.1, 10.9.9.9"), "192.0.2.1");
        assert_eq!(by("2001:db8:1::7", "[2001:db8:2::1]:80"), "2001:db8:2::1");
        assert_eq!(by("10.1.2.3", "2001:db8:2::1"), "2001:db8:2::1");
        assert_eq!(by("10.1.2.3", "10.4.4.4, 10.5.5.5"), "10.4.4.4", "nobody else is known");
        for nonsense in
            ["", ",,", "unknown", "8.8.8.8, unknown", "8.8.8.8, 1.2.3", "8.8.8.8, ::::", "[", "[]:1"]
        {
            assert_eq!(by("10.1.2.3", nonsense), "10.1.2.3", "{nonsense}");
        }
        assert_eq!(by("10.1.2.3", "8.8.8.8, _hidden, 10.5.5.5"), "10.5.5.5");
        assert_eq!(by("10.1.2.3", "é, 192.0.2.1"), "192.0.2.1", "bytes that are no ASCII hide nobody");
        let long = format!("8.8.8.8{}", ", 10.5.5.5".repeat(5_000));
        assert_eq!(by("10.1.2.3", &long), "10.5.5.5");
        let lines = [("x-forwarded-for", "8.8.8.8"), ("x-forwarded-for", "192.0.2.1, 10.5.5.5")];
        assert_eq!(caller(&proxies, "10.1.2.3", &lines), "192.0.2.1", "lines are one list");
        assert_eq!(caller(&Proxies::default(), "10.1.2.3", &lines), "10.1.2.3");
    }

    #[test]
    fn one_header_is_believed_and_the_other_is_the_callers_own() {
        let plain = Proxies::parse("10.0.0.1").unwrap();
        let standard = plain.clone().says(ProxyHeader::Forwarded);
        let both = [("x-forwarded-for", "192.0.2.1"), ("forwarded", "for=198.51.100.2;proto=https")];
        assert_eq!(caller(&plain, "10.0.0.1", &both), "192.0.2.1");
        assert_eq!(caller(&standard, "10.0.0.1", &both), "198.51.100.2");
        let by = |line: &str| caller(&standard, "10.0.0.1", &[("forwarded", line)]);
        assert_eq!(by("for=8.8.8.8, proto=http; FOR=\"[2001:db8::1]:4711\""), "2001:db8::1");
        assert_eq!(by("for=_hidden"), "10.0.0.1");
        // A quote that is not closed takes nothing from what the proxy wrote behind it.
        assert_eq!(by("for=\"8.8.8.8;by=\"x, for=192.0.2.1"), "192.0.2.1");
    }

    #[test]
    fn a_list_of_anything_else_is_refused_by_its_entry() {
        for wrong in ["10.0.0.0/33", "proxy.example", "10.0.0", "10.0.0.1/x"] {
            assert!(Proxies::parse(&format!("10.0.0.1,{wrong}")).unwrap_err().contains(wrong), "{wrong}");
        }
        assert_eq!(Proxies::parse(" ").unwrap(), Proxies::default());
        assert!(Proxies::parse(&"10.0.0.1,".repeat(257)).is_err());
    }
}
