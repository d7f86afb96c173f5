//! Which Chainlink feeds price which tokens, and by which name an off-chain price service knows a chain.
//!
//! ```text
//! feeds.toml   [[feed]]   one table a feed: what the price book of a chain asks every day
//! fills.toml   [[name]]   one table a chain and service
//! ```
//! Both files may be missing: then no price book is collected, and no gap can be filled.

use super::{Registry, RegistryError, bad_row, checksummed, parse_checksummed};
use alloy_primitives::{Address, address};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Bitcoin where no token stands for it: the denomination of Chainlink's feed registry
/// (smartcontractkit/chainlink, contracts/src/v0.8/Denominations.sol).
pub const BITCOIN: Address = address!("0xbBbBBBBbbBBBbbbBbbBbbbbBBbBbbbbBbBbbBBbB");
/// A chain's native coin where no token stands for it, as Fluid and the same registry write it.
pub const NATIVE_COIN: Address = address!("0xEeeeeEeeeEeEeeEeEeEeeEEEeeeeEeeeeeeeEEeE");

/// Currency of a feed's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeedQuote {
    /// US dollars.
    Usd,
    /// A token of the chain, or [`BITCOIN`].
    Token(Address),
}

/// A Chainlink feed.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Feed {
    /// Chain.
    pub chain: String,
    /// The feed's proxy, which stays when the aggregator behind it is replaced.
    #[serde(deserialize_with = "checksummed")]
    pub address: Address,
    /// What the feed says it is: `WBTC / BTC`. Its answer is believed only if the part after the slash is what it says.
    pub description: String,
    /// Tokens that it prices: addresses, `NATIVE` for the native coin, `BTC` for Bitcoin itself.
    #[serde(deserialize_with = "tokens")]
    pub tokens: Vec<Address>,
    /// Currency of its answer: `USD`, `BTC`, or the address of a token of the chain.
    #[serde(deserialize_with = "quote")]
    pub quote: FeedQuote,
    /// Seconds after which it answers anew even if the price stood still. Not on the chain anywhere.
    pub heartbeat_s: u32,
    /// Where this row comes from. A row without it is refused by name.
    #[serde(default)]
    pub source: String,
    /// Remarks.
    #[serde(default)]
    pub notes: String,
}

/// By which name an off-chain price service knows a chain.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct FillName {
    service: String,
    chain: String,
    name: String,
    #[serde(default)]
    source: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FeedsFile {
    #[serde(default)]
    feed: Vec<Feed>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FillsFile {
    #[serde(default)]
    name: Vec<FillName>,
}

/// Feeds by chain and address, and names of chains by service and chain.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Feeds {
    feeds: BTreeMap<(String, Address), Feed>,
    names: BTreeMap<(String, String), String>,
}

impl Feeds {
    /// Adds the rows of `feeds.toml`, given the names of the chains.
    pub(super) fn add_feeds(
        &mut self,
        file: &Path,
        text: &str,
        chains: &[&str],
    ) -> Result<(), RegistryError> {
        for feed in super::parse::<FeedsFile>(file, text)?.feed {
            let name = format!("{} on {}", feed.description, feed.chain);
            let bad = |why: &str, hint| Err(bad_row(file, &name, why, hint));
            if feed.source.trim().is_empty() {
                return bad(
                    "the row has no source",
                    "say where its address and heartbeat come from in `source`",
                );
            }
            if !chains.contains(&feed.chain.as_str()) {
                return bad("its chain is not in chains.toml", "add the chain, or mend the name");
            }
            if feed.address.is_zero() {
                return bad("its address is the zero address", "put the feed's proxy in `address`");
            }
            if feed.tokens.is_empty() {
                return bad("it prices no token", "name the tokens in `tokens`, or remove the row");
            }
            if feed.heartbeat_s == 0 {
                return bad("its heartbeat is 0", "give the seconds between two rounds in `heartbeat_s`");
            }
            if !feed.description.contains('/') {
                return bad("its description names no pair", "write it as the feed does: `ETH / USD`");
            }
            if let FeedQuote::Token(quote) = feed.quote
                && feed.tokens.contains(&quote)
            {
                return bad("it prices a token in itself", "mend `tokens` or `quote`");
            }
            let key = (feed.chain.clone(), feed.address);
            if self.feeds.insert(key, feed).is_some() {
                return bad("the feed is there twice", "keep one row, with all its tokens");
            }
        }
        Ok(())
    }

    /// Adds the rows of `fills.toml`, given the names of the chains.
    pub(super) fn add_names(
        &mut self,
        file: &Path,
        text: &str,
        chains: &[&str],
    ) -> Result<(), RegistryError> {
        for row in super::parse::<FillsFile>(file, text)?.name {
            let name = format!("{} of {}", row.chain, row.service);
            let bad = |why: &str, hint| Err(bad_row(file, &name, why, hint));
            if row.source.trim().is_empty() {
                return bad("the row has no source", "say where the name comes from in `source`");
            }
            if !chains.contains(&row.chain.as_str()) {
                return bad("its chain is not in chains.toml", "add the chain, or mend the name");
            }
            if row.name.is_empty()
                || !row.name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b))
            {
                return bad("its name is not one that fits an address line", "mend `name`");
            }
            if self.names.insert((row.service, row.chain), row.name).is_some() {
                return bad("the chain is there twice", "keep one row");
            }
        }
        Ok(())
    }
}

impl Registry {
    /// The Chainlink feeds of a chain, in order of address.
    pub fn feeds(&self, chain: &str) -> impl Iterator<Item = &Feed> {
        self.feeds.feeds.values().filter(move |feed| feed.chain == chain)
    }

    /// A Chainlink feed.
    pub fn feed(&self, chain: &str, address: Address) -> Option<&Feed> {
        self.feeds.feeds.get(&(chain.to_owned(), address))
    }

    /// The feeds that price any of these tokens, and those that price the currencies in which these answer, in order of
    /// address.
    pub fn feeds_for(&self, chain: &str, tokens: &BTreeSet<Address>) -> Vec<&Feed> {
        let mut wanted = tokens.clone();
        loop {
            let found: Vec<&Feed> = self
                .feeds(chain)
                .filter(|feed| feed.tokens.iter().any(|token| wanted.contains(token)))
                .collect();
            let before = wanted.len();
            wanted.extend(found.iter().filter_map(|feed| match feed.quote {
                FeedQuote::Usd => None,
                FeedQuote::Token(token) => Some(token),
            }));
            if wanted.len() == before {
                return found;
            }
        }
    }

    /// By which name an off-chain price service knows a chain.
    pub fn name_at_service(&self, service: &str, chain: &str) -> Option<&str> {
        self.feeds.names.get(&(service.to_owned(), chain.to_owned())).map(String::as_str)
    }

    /// Off-chain price services that know any chain.
    pub fn price_services(&self) -> BTreeSet<&str> {
        self.feeds.names.keys().map(|(service, _)| service.as_str()).collect()
    }
}

fn token(text: &str) -> Result<Address, String> {
    match text {
        "BTC" => Ok(BITCOIN),
        "NATIVE" => Ok(NATIVE_COIN),
        address => parse_checksummed(address),
    }
}

fn tokens<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<Address>, D::Error> {
    let words = Vec::<String>::deserialize(deserializer)?;
    words.iter().map(|text| token(text).map_err(serde::de::Error::custom)).collect()
}

fn quote<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<FeedQuote, D::Error> {
    let text = String::deserialize(deserializer)?;
    match text.as_str() {
        "USD" => Ok(FeedQuote::Usd),
        text => token(text).map(FeedQuote::Token).map_err(serde::de::Error::custom),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WBTC: &str = "0x2260FAC5E5542a773Aa44fBCfeDf7C193bc2C599";
    const FEEDS: &str = r#"
[[feed]]
chain = "ethereum"
address = "0x5f4eC3Df9cbd43714FE2740f5E3616155c5b8419"
description = "ETH / USD"
tokens = ["NATIVE", "0xC02aaA39b223FE8D0A0e5C4F27eAD9083C756Cc2"]
quote = "USD"
heartbeat_s = 3600
source = "a test"

[[feed]]
chain = "ethereum"
address = "0xF4030086522a5bEEa4988F8cA5B36dbC97BeE88c"
description = "BTC / USD"
tokens = ["BTC"]
quote = "USD"
heartbeat_s = 3600
source = "a test"

[[feed]]
chain = "ethereum"
address = "0xfdFD9C85aD200c506Cf9e21F1FD8dd01932FBB23"
description = "WBTC / BTC"
tokens = ["0x2260FAC5E5542a773Aa44fBCfeDf7C193bc2C599"]
quote = "BTC"
heartbeat_s = 86400
source = "a test"
"#;
    const NAMES: &str =
        "[[name]]\nservice = \"defillama\"\nchain = \"ethereum\"\nname = \"ethereum\"\nsource = \"a test\"\n";

    fn registry(feeds: &str, names: &str) -> Result<Registry, RegistryError> {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("csus")).unwrap();
        std::fs::write(directory.path().join("chains.toml"), super::super::tests::CHAINS).unwrap();
        std::fs::write(directory.path().join("csus/aave_v3.toml"), super::super::tests::CSUS).unwrap();
        std::fs::write(directory.path().join("tokens.toml"), "").unwrap();
        std::fs::write(directory.path().join("feeds.toml"), feeds).unwrap();
        std::fs::write(directory.path().join("fills.toml"), names).unwrap();
        Registry::load(directory.path())
    }

    #[test]
    fn a_feed_is_found_by_its_tokens_with_the_feeds_that_turn_it_into_dollars() {
        let registry = registry(FEEDS, NAMES).unwrap();
        assert_eq!(registry.feeds("ethereum").count(), 3);
        assert_eq!(registry.feeds("base").count(), 0);
        let of = |token: Address| -> Vec<&str> {
            let found = registry.feeds_for("ethereum", &BTreeSet::from([token]));
            found.into_iter().map(|feed| feed.description.as_str()).collect()
        };
        assert_eq!(of(NATIVE_COIN), ["ETH / USD"]);
        assert_eq!(of(WBTC.parse().unwrap()), ["BTC / USD", "WBTC / BTC"]);
        assert_eq!(of(Address::repeat_byte(1)), [""; 0]);
        let wbtc = registry.feed("ethereum", "0xfdFD9C85aD200c506Cf9e21F1FD8dd01932FBB23".parse().unwrap());
        assert_eq!(wbtc.unwrap().quote, FeedQuote::Token(BITCOIN));
        assert_eq!(registry.name_at_service("defillama", "ethereum"), Some("ethereum"));
        assert_eq!(registry.name_at_service("defillama", "base"), None);
    }

    #[test]
    fn feeds_that_break_a_rule_are_refused_by_name() {
        let cases = [
            (FEEDS.replace("source = \"a test\"", ""), "`ETH / USD on ethereum`: the row has no source"),
            (
                FEEDS.replace("chain = \"ethereum\"", "chain = \"etherium\""),
                "its chain is not in chains.toml",
            ),
            (FEEDS.replace("0x5f4eC3", "0x5F4eC3"), "not an address with a valid EIP-55 checksum"),
            (FEEDS.replace("heartbeat_s = 3600", "heartbeat_s = 0"), "its heartbeat is 0"),
            (FEEDS.replace("tokens = [\"BTC\"]", "tokens = []"), "it prices no token"),
            (FEEDS.replace("ETH / USD", "ETH"), "its description names no pair"),
            (FEEDS.replace("quote = \"BTC\"", &format!("quote = \"{WBTC}\"")), "it prices a token in itself"),
            (FEEDS.replace("quote = \"USD\"", "quote = \"EUR\""), "`EUR` is not an address"),
            (format!("{FEEDS}{FEEDS}"), "the feed is there twice"),
        ];
        for (feeds, expected) in cases {
            let error = registry(&feeds, NAMES).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}\ndoes not say: {expected}");
            assert!(error.contains("feeds.toml"), "{error}\ndoes not name the file");
        }
    }

    #[test]
    fn names_that_break_a_rule_are_refused_by_name() {
        for (names, expected) in [
            (NAMES.replace("source = \"a test\"", ""), "`ethereum of defillama`: the row has no source"),
            (NAMES.replace("chain = \"ethereum\"", "chain = \"moon\""), "its chain is not in chains.toml"),
            (NAMES.replace("name = \"ethereum\"", "name = \"a/b\""), "not one that fits an address line"),
            (format!("{NAMES}{NAMES}"), "the chain is there twice"),
        ] {
            let error = registry(FEEDS, &names).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}\ndoes not say: {expected}");
        }
    }

    #[test]
    fn both_files_may_be_missing() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("csus")).unwrap();
        std::fs::write(directory.path().join("chains.toml"), super::super::tests::CHAINS).unwrap();
        std::fs::write(directory.path().join("tokens.toml"), "").unwrap();
        let without = Registry::load(directory.path()).unwrap();
        std::fs::write(directory.path().join("feeds.toml"), FEEDS).unwrap();
        let with = Registry::load(directory.path()).unwrap();
        assert_eq!((without.feeds("ethereum").count(), with.feeds("ethereum").count()), (0, 3));
        assert_ne!(without.sha256(), with.sha256());
    }
}
