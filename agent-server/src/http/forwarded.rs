//! Client addresses behind trusted proxies, from `X-Forwarded-For` or `Forwarded`.

use std::net::IpAddr;

use hyper::{
    HeaderMap,
    header::{self, HeaderName},
};
use ipnet::IpNet;

/// Maximum number of hops that are read, from the nearest.
const HOPS: usize = 32;
/// Maximum number of networks.
const NETWORKS: usize = 256;

/// Proxies trusted to report the address of their client.
///
/// The client is the nearest hop in the header that is not a trusted proxy; hops beyond it are not trustworthy. Default:
/// none, and the header is ignored.
///
/// The address is used for limits and the access log, never for authentication.
///
/// # Examples
///
/// ```
/// use agent_server::{Proxies, ProxyHeader};
///
/// let proxies = Proxies::parse("10.0.0.0/8, 192.0.2.7, 2001:db8::/32")?.header(ProxyHeader::Forwarded);
/// assert!(Proxies::parse("10.0.0.0/33").is_err());
/// # Ok::<(), String>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proxies {
    networks: Vec<IpNet>,
    header: ProxyHeader,
}

/// Header with the address of the client. Only one is read, because a proxy that writes one of them forwards the other
/// as its client sent it.
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

    /// Returns the address of a hop; `None` if it is hidden or invalid.
    fn address(self, hop: &str) -> Option<IpAddr> {
        let text = match self {
            Self::XForwardedFor => hop,
            Self::Forwarded => {
                let mut parts = hop.split(';').filter_map(|part| part.split_once('='));
                parts.find(|(name, _)| name.trim().eq_ignore_ascii_case("for"))?.1
            }
        };
        address(text.trim().trim_matches('"'))
    }
}

impl Proxies {
    /// Parses a list of at most 256 addresses and networks, separated by commas.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_server::Proxies;
    ///
    /// let proxies = Proxies::parse("127.0.0.1, 10.0.0.0/8")?;
    /// # drop(proxies);
    /// assert!(Proxies::parse("the proxy").is_err());
    /// # Ok::<(), String>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Names the invalid entry, or reports that there are too many.
    pub fn parse(list: &str) -> Result<Self, String> {
        let entries = list.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        let networks: Result<Vec<IpNet>, String> = entries
            .map(|entry| {
                let network = entry.parse::<IpNet>().ok();
                let network = network.or_else(|| entry.parse::<IpAddr>().ok().map(IpNet::from));
                network.map(|network| network.trunc()).ok_or_else(|| {
                    format!(
                        "`{entry}` is neither an address nor a network; write `192.0.2.7` or `10.0.0.0/8`"
                    )
                })
            })
            .collect();
        match networks? {
            networks if networks.len() > NETWORKS => Err(format!("there are more than {NETWORKS}")),
            networks => Ok(Self { networks, header: ProxyHeader::default() }),
        }
    }

    /// Sets the header. Default: `X-Forwarded-For`.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_server::{Proxies, ProxyHeader};
    ///
    /// let proxies = Proxies::parse("127.0.0.1")?.header(ProxyHeader::Forwarded);
    /// # drop(proxies); Ok::<(), String>(())
    /// ```
    #[must_use]
    pub const fn header(mut self, header: ProxyHeader) -> Self {
        self.header = header;
        self
    }

    /// Returns whether an address is that of a trusted proxy.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.networks.iter().any(|network| network.contains(&address))
    }

    /// Returns the address of the client of a request on a connection from `peer`.
    pub(crate) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        // The usual case.
        if self.networks.is_empty() || !self.contains(peer) {
            return peer;
        }
        let mut known = peer;
        let lines = headers.get_all(self.header.name()).iter().rev();
        // As bytes, because hops that are not trusted need not be UTF-8.
        let hops = lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
        for hop in hops.take(HOPS) {
            // A hidden client is represented by the last known hop.
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
    fn only_trusted_proxies_are_believed_up_to_the_first_untrusted_hop() {
        let proxies = Proxies::parse("10.0.0.0/8, 2001:db8:1::/48,127.0.0.1").unwrap();
        let by = |peer: &str, line: &str| caller(&proxies, peer, &[("x-forwarded-for", line)]);
        assert_eq!(by("198.51.100.9", "192.0.2.1"), "198.51.100.9", "an untrusted peer is not believed");
        assert_eq!(by("10.1.2.3", "192.0.2.1"), "192.0.2.1");
        assert_eq!(
            by("::ffff:10.1.2.3", "192.0.2.1:4711"),
            "192.0.2.1",
            "the same proxy as a mapped IPv6 address"
        );
        assert_eq!(by("10.1.2.3", "8.8.8.8, 127.0.0.1, 192.0.2.1, 10.9.9.9"), "192.0.2.1");
        assert_eq!(by("2001:db8:1::7", "[2001:db8:2::1]:80"), "2001:db8:2::1");
        assert_eq!(by("10.1.2.3", "2001:db8:2::1"), "2001:db8:2::1");
        assert_eq!(by("10.1.2.3", "10.4.4.4, 10.5.5.5"), "10.4.4.4", "no other hop is known");
        for nonsense in
            ["", ",,", "unknown", "8.8.8.8, unknown", "8.8.8.8, 1.2.3", "8.8.8.8, ::::", "[", "[]:1"]
        {
            assert_eq!(by("10.1.2.3", nonsense), "10.1.2.3", "{nonsense}");
        }
        assert_eq!(by("10.1.2.3", "8.8.8.8, _hidden, 10.5.5.5"), "10.5.5.5");
        assert_eq!(
            by("10.1.2.3", "é, 192.0.2.1"),
            "192.0.2.1",
            "bytes that are not ASCII do not hide later hops"
        );
        let long = format!("8.8.8.8{}", ", 10.5.5.5".repeat(5_000));
        assert_eq!(by("10.1.2.3", &long), "10.5.5.5");
        let lines = [("x-forwarded-for", "8.8.8.8"), ("x-forwarded-for", "192.0.2.1, 10.5.5.5")];
        assert_eq!(caller(&proxies, "10.1.2.3", &lines), "192.0.2.1", "lines are one list");
        assert_eq!(caller(&Proxies::default(), "10.1.2.3", &lines), "10.1.2.3");
    }

    #[test]
    fn only_the_configured_header_is_read() {
        let plain = Proxies::parse("10.0.0.1").unwrap();
        let standard = plain.clone().header(ProxyHeader::Forwarded);
        let both = [("x-forwarded-for", "192.0.2.1"), ("forwarded", "for=198.51.100.2;proto=https")];
        assert_eq!(caller(&plain, "10.0.0.1", &both), "192.0.2.1");
        assert_eq!(caller(&standard, "10.0.0.1", &both), "198.51.100.2");
        let by = |line: &str| caller(&standard, "10.0.0.1", &[("forwarded", line)]);
        assert_eq!(by("for=8.8.8.8, proto=http; FOR=\"[2001:db8::1]:4711\""), "2001:db8::1");
        assert_eq!(by("for=_hidden"), "10.0.0.1");
        // An unclosed quote does not hide the hop that the proxy added.
        assert_eq!(by("for=\"8.8.8.8;by=\"x, for=192.0.2.1"), "192.0.2.1");
    }

    #[test]
    fn an_invalid_entry_is_named() {
        for wrong in ["10.0.0.0/33", "proxy.example", "10.0.0", "10.0.0.1/x"] {
            assert!(Proxies::parse(&format!("10.0.0.1,{wrong}")).unwrap_err().contains(wrong), "{wrong}");
        }
        assert_eq!(Proxies::parse(" ").unwrap(), Proxies::default());
        assert!(Proxies::parse(&"10.0.0.1,".repeat(257)).is_err());
    }
}
