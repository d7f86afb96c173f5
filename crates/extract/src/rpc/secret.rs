//! URLs and keys that cannot be printed, and the removal of them from other people's text.

use std::fmt;
use std::sync::Arc;

/// An endpoint's URL. It has no `Display`, and its `Debug` tells nothing: an RPC URL is a key.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretUrl(Arc<str>);

impl SecretUrl {
    /// Wraps a URL.
    pub fn new(url: impl Into<Arc<str>>) -> Self {
        Self(url.into())
    }

    /// Whether whoever is on the way could read it: plain HTTP to another machine.
    pub fn is_open_to_others(&self) -> bool {
        let Ok(url) = url::Url::parse(&self.0) else { return true };
        let is_here = match url.host() {
            Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
            Some(url::Host::Ipv4(address)) => address.is_loopback(),
            Some(url::Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        };
        url.scheme() != "https" && !is_here
    }

    /// The URL, for the one place that opens the connection.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretUrl(hidden)")
    }
}

/// Removes an endpoint's secrets from text that came from elsewhere: providers echo URLs in their refusals.
#[derive(Clone, Default)]
pub struct Scrubber {
    secrets: Vec<Arc<str>>,
}

impl fmt::Debug for Scrubber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scrubber({} hidden)", self.secrets.len())
    }
}

/// Parts of a URL shorter than this are words, not keys.
const SHORTEST_SECRET: usize = 8;

impl Scrubber {
    /// A scrubber for a URL and the values of variables that went into it.
    pub fn new<'a>(url: &SecretUrl, variables: impl IntoIterator<Item = &'a str>) -> Self {
        let mut secrets: Vec<Arc<str>> =
            variables.into_iter().filter(|v| !v.is_empty()).map(Arc::from).collect();
        secrets.push(Arc::clone(&url.0));
        if let Ok(parsed) = url::Url::parse(&url.0) {
            let credentials = [parsed.password(), Some(parsed.username()), parsed.query()];
            let path = parsed.path_segments().into_iter().flatten().map(Some);
            let parts = path.chain(credentials).flatten().filter(|part| part.len() >= SHORTEST_SECRET);
            secrets.extend(parts.map(Arc::from));
            let host_and_rest =
                url.0.split_once("://").map(|(_, rest)| rest).filter(|rest| rest.contains('/'));
            secrets.extend(host_and_rest.map(Arc::from));
        }
        // Longest first, so that no part of a longer secret survives.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets.dedup();
        Self { secrets }
    }

    /// The text without secrets, cut to a length fit for a message and free of control characters.
    pub fn clean(&self, text: &str) -> String {
        let mut clean = text.to_owned();
        for secret in &self.secrets {
            clean = clean.replace(&**secret, "[hidden]");
        }
        protocols::token::printable(&clean, 300)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_and_its_parts_are_hidden() {
        let url = SecretUrl::new(
            "https://user:passw0rd99@host.example/v2/sk_planted_0123456789?apikey=abcdef123456",
        );
        let scrubber = Scrubber::new(&url, ["sk_planted_0123456789"]);
        let echoed = "bad key sk_planted_0123456789 at host.example/v2/sk_planted_0123456789 (passw0rd99, apikey=abcdef123456)";
        let clean = scrubber.clean(echoed);
        for secret in ["sk_planted", "passw0rd99", "abcdef123456"] {
            assert!(!clean.contains(secret), "{clean}");
        }
        assert_eq!(format!("{url:?} {scrubber:?}"), "SecretUrl(hidden) Scrubber(5 hidden)");
    }

    #[test]
    fn plain_http_is_for_this_machine_alone() {
        for (url, is_open) in [
            ("https://node.example/key", false),
            ("http://127.0.0.1:8545/key", false),
            ("http://127.8.8.8/", false),
            ("http://[::1]:8545/", false),
            ("http://localhost:8545/", false),
            ("http://node.example/key", true),
            ("http://192.168.1.7:8545/", true),
            ("http://127.0.0.1.example/", true),
            ("http://localhost.example/", true),
            ("ws://node.example/", true),
            ("nonsense", true),
        ] {
            assert_eq!(SecretUrl::new(url).is_open_to_others(), is_open, "{url}");
        }
    }

    #[test]
    fn control_characters_and_length_are_tamed() {
        let scrubber = Scrubber::default();
        assert_eq!(scrubber.clean("a\u{1b}[31mb\n"), "a[31mb");
        assert_eq!(scrubber.clean(&"x".repeat(5_000)).len(), 300);
    }
}
