//! The registry: which chains, deployments and tokens exist, each row with its source.
//!
//! A registry is a directory of TOML files, read as a whole and refused as a whole:
//! ```text
//! chains.toml           [[chain]]   one table a chain
//! csus/<family>.toml    [[csu]]     one table a CSU; the file's name is the family
//! tokens.toml           [[token]]   what the chain cannot say of a token: its class, whether it can be priced
//! feeds.toml            [[feed]]    Chainlink feeds, and which tokens they price; may be missing
//! fills.toml            [[name]]    by which name an off-chain price service knows a chain; may be missing
//! ```
//! Nothing stands here that can be asked of a contract at the day's block.

mod feeds;

pub use feeds::{BITCOIN, Feed, FeedQuote, NATIVE_COIN};

use crate::day::Day;
use crate::digest::sha256_of_listing;
pub use crate::status::AssetClass;
use alloy_primitives::Address;
use globset::Glob;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// What is wrong with a registry, or with a name looked up in it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// A file cannot be read.
    #[error("cannot read the registry file {}: {source}\nhint: is `registry` in the run file the directory with chains.toml?", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// A file is not the TOML it should be.
    #[error("{}: {why}", file.display())]
    Malformed {
        /// The file.
        file: PathBuf,
        /// The parser's words, with line and column.
        why: String,
    },
    /// A row breaks a rule.
    #[error("{}: `{row}`: {why}\nhint: {hint}", file.display())]
    BadRow {
        /// The file.
        file: PathBuf,
        /// The row's name.
        row: String,
        /// The rule it breaks.
        why: String,
        /// What to do.
        hint: &'static str,
    },
    /// A name or pattern that fits nothing.
    #[error("no CSU is called `{asked}`{}\nhint: a name, a pattern such as aave_v3_*, family:NAME or chain:NAME; the registry at {} lists them", near_text(near), directory.display())]
    UnknownCsu {
        /// What was asked for.
        asked: String,
        /// Names that look like it.
        near: Vec<String>,
        /// The registry.
        directory: PathBuf,
    },
}

fn near_text(near: &[String]) -> String {
    if near.is_empty() { String::new() } else { format!(" (did you mean {}?)", near.join(", ")) }
}

/// A chain.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chain {
    /// Name in the lake.
    pub name: String,
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// Symbol of the native coin.
    pub native_symbol: String,
    /// Wrapped native coin.
    #[serde(default, deserialize_with = "checksummed_option")]
    pub wrapped_native: Option<Address>,
    /// Whether the chain is a rollup.
    pub is_l2: bool,
    /// UTC day before which the chain had no block, as far as is known.
    #[serde(default)]
    pub launch_date: Option<Day>,
    /// Usual seconds from block to block: where the search for a day's end begins, never more than a guess.
    pub block_seconds: f64,
    /// Multicall3, if the chain has it.
    #[serde(default, deserialize_with = "checksummed_option")]
    pub multicall3: Option<Address>,
    /// First block with Multicall3.
    #[serde(default)]
    pub multicall3_block: u64,
    /// Blocks behind the head that count as final where an endpoint does not know the `finalized` tag.
    pub finality_blocks: u64,
    /// Where this row comes from. A row without it is refused by name.
    #[serde(default)]
    pub source: String,
    /// Remarks.
    #[serde(default)]
    pub notes: String,
}

/// How far a registry row was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verified {
    /// Against an official file, or two independent sources.
    Yes,
    /// Against one source, or in part.
    Partial,
    /// Not yet.
    No,
}

impl Verified {
    /// The word in the registry.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::Partial => "partial",
            Self::No => "no",
        }
    }
}

/// A CSU: one lending deployment on one chain.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Csu {
    /// Name in the lake.
    pub id: String,
    /// Number, given once and never used again.
    pub num: i32,
    /// Family: the name of the registry file.
    #[serde(skip)]
    pub family: String,
    /// Protocol.
    pub protocol: String,
    /// Version of the protocol.
    pub version: String,
    /// Chain.
    pub chain: String,
    /// Market of the protocol on that chain.
    pub market: String,
    /// Line of code within the family, where the family must be told: `sumer`, `moolah`; else empty.
    #[serde(default)]
    pub variant: String,
    /// What the entry contract is: `pool_addresses_provider`, `comptroller`, ...
    pub entry_role: String,
    /// The contract from which the rest can be found.
    #[serde(deserialize_with = "checksummed")]
    pub entry: Address,
    /// Further contracts by role, each one that the entry contract cannot be asked for: Venus's `liquidator`, the feed that
    /// turns a market's unit of account into dollars.
    #[serde(default, deserialize_with = "checksummed_map")]
    pub contracts: BTreeMap<String, Address>,
    /// Block of the deployment. A day that ends before it costs no call.
    #[serde(default)]
    pub deployed_block: Option<u64>,
    /// UTC day of the deployment.
    #[serde(default)]
    pub deployed_date: Option<Day>,
    /// Last day of the deployment.
    #[serde(default)]
    pub retired_date: Option<Day>,
    /// Tokens whose debt is minted, not lent (GHO before Aave 3.4).
    #[serde(default, deserialize_with = "checksummed_list")]
    pub minted_tokens: Vec<Address>,
    /// How far the row was checked.
    pub verified: Verified,
    /// Where this row comes from. A row without it is refused by name.
    #[serde(default)]
    pub source: String,
    /// Remarks.
    #[serde(default)]
    pub notes: String,
}

/// A chain's public launch is commonly some days after its first block.
const LAUNCH_MARGIN: i64 = 31 * 86_400;

impl Chain {
    /// Unix second before which certainly nothing was deployed on the chain, as far as its launch is known.
    pub fn nothing_before(&self) -> Option<i64> {
        self.launch_date.map(|launch| i64::from(launch.days_since_epoch()) * 86_400 - LAUNCH_MARGIN)
    }
}

impl Csu {
    /// An unverified row with nothing but what every row must have, as a test of a family needs one.
    pub fn bare(id: &str, family: &str, chain: &str, entry_role: &str, entry: Address) -> Self {
        Self {
            id: id.to_owned(),
            num: 1,
            family: family.to_owned(),
            protocol: family.to_owned(),
            version: String::new(),
            chain: chain.to_owned(),
            market: "main".to_owned(),
            variant: String::new(),
            entry_role: entry_role.to_owned(),
            entry,
            contracts: BTreeMap::new(),
            deployed_block: None,
            deployed_date: None,
            retired_date: None,
            minted_tokens: Vec::new(),
            verified: Verified::No,
            source: "a test".to_owned(),
            notes: String::new(),
        }
    }
}

/// What the chain cannot say of a token.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenFacts {
    /// Chain.
    pub chain: String,
    /// Token contract.
    #[serde(deserialize_with = "checksummed")]
    pub address: Address,
    /// Symbol, for the reader of the file; tables carry what the contract says.
    pub symbol: String,
    /// Class: `stablecoin`, `eth`, `btc` or `other`.
    pub asset_class: AssetClass,
    /// Whether the token is meant to hold the value of a currency.
    pub is_stablecoin: bool,
    /// Whether the token can be priced.
    pub pricing: Pricing,
    /// Why it cannot.
    #[serde(default)]
    pub pricing_reason: Option<String>,
    /// Where this row comes from. A row without it is refused by name.
    #[serde(default)]
    pub source: String,
}

/// Whether a token is priced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pricing {
    /// By an oracle.
    Oracle,
    /// Never: its balances count as worth nothing known, and do not blank the CSU's totals.
    Excluded,
}

/// All rows of a registry directory.
#[derive(Debug, Clone, PartialEq)]
pub struct Registry {
    directory: PathBuf,
    sha256: String,
    chains: BTreeMap<String, Chain>,
    csus: BTreeMap<String, Csu>,
    tokens: BTreeMap<(String, Address), TokenFacts>,
    feeds: feeds::Feeds,
}

impl Registry {
    /// Reads and checks a registry directory.
    ///
    /// # Errors
    /// [`RegistryError`] with the file and the row at fault.
    pub fn load(directory: &Path) -> Result<Self, RegistryError> {
        let mut digests = Vec::new();
        let mut read = |relative: &str| -> Result<String, RegistryError> {
            let file = directory.join(relative);
            let text = std::fs::read_to_string(&file)
                .map_err(|source| RegistryError::Unreadable { file, source })?;
            digests.push((relative.to_owned(), crate::digest::sha256_hex(text.as_bytes())));
            Ok(text)
        };

        let mut registry = Self {
            directory: directory.to_owned(),
            sha256: String::new(),
            chains: BTreeMap::new(),
            csus: BTreeMap::new(),
            tokens: BTreeMap::new(),
            feeds: feeds::Feeds::default(),
        };

        let file = directory.join("chains.toml");
        for chain in parse::<ChainsFile>(&file, &read("chains.toml")?)?.chain {
            registry.add_chain(&file, chain)?;
        }
        for family in families_in(directory)? {
            let relative = format!("csus/{family}.toml");
            let file = directory.join(&relative);
            for csu in parse::<CsusFile>(&file, &read(&relative)?)?.csu {
                registry.add_csu(&file, Csu { family: family.clone(), ..csu })?;
            }
        }
        let file = directory.join("tokens.toml");
        for token in parse::<TokensFile>(&file, &read("tokens.toml")?)?.token {
            registry.add_token(&file, token)?;
        }
        let chains: Vec<&str> = registry.chains.keys().map(String::as_str).collect();
        for relative in ["feeds.toml", "fills.toml"] {
            let file = directory.join(relative);
            if !file.exists() {
                continue;
            }
            let text = read(relative)?;
            match relative {
                "feeds.toml" => registry.feeds.add_feeds(&file, &text, &chains)?,
                _ => registry.feeds.add_names(&file, &text, &chains)?,
            }
        }

        registry.sha256 =
            sha256_of_listing(digests.iter().map(|(name, digest)| (name.as_str(), digest.as_str())));
        Ok(registry)
    }

    /// Digest of the registry's files.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// Where it was read from.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Every chain, by name.
    pub fn chains(&self) -> impl Iterator<Item = &Chain> {
        self.chains.values()
    }

    /// Every CSU, by id.
    pub fn csus(&self) -> impl Iterator<Item = &Csu> {
        self.csus.values()
    }

    /// A CSU.
    pub fn csu(&self, id: &str) -> Option<&Csu> {
        self.csus.get(id)
    }

    /// A chain.
    pub fn chain(&self, name: &str) -> Option<&Chain> {
        self.chains.get(name)
    }

    /// The chain that a CSU of this registry is on.
    pub fn chain_of(&self, csu: &Csu) -> Option<&Chain> {
        self.chains.get(&csu.chain)
    }

    /// What is known of a token, if it is listed.
    pub fn token(&self, chain: &str, address: Address) -> Option<&TokenFacts> {
        self.tokens.get(&(chain.to_owned(), address))
    }

    /// The CSUs that any of the selectors name, in order of id.
    ///
    /// A selector is an id, a pattern with `*` and `?`, `family:NAME` or `chain:NAME`.
    ///
    /// # Errors
    /// [`RegistryError::UnknownCsu`] for a selector that names none.
    pub fn select(&self, selectors: &[String]) -> Result<Vec<&Csu>, RegistryError> {
        let mut selected = BTreeSet::new();
        for selector in selectors {
            let unknown = || RegistryError::UnknownCsu {
                asked: selector.clone(),
                near: self.names_near(selector),
                directory: self.directory.clone(),
            };
            let before = selected.len();
            let matches: Vec<&Csu> = if let Some(family) = selector.strip_prefix("family:") {
                self.csus.values().filter(|csu| csu.family == family).collect()
            } else if let Some(chain) = selector.strip_prefix("chain:") {
                self.csus.values().filter(|csu| csu.chain == chain).collect()
            } else {
                let pattern = Glob::new(selector).map_err(|_| unknown())?.compile_matcher();
                self.csus.values().filter(|csu| pattern.is_match(&csu.id)).collect()
            };
            if matches.is_empty() {
                return Err(unknown());
            }
            selected.extend(matches.into_iter().map(|csu| csu.id.as_str()));
            debug_assert!(selected.len() >= before);
        }
        Ok(selected.into_iter().filter_map(|id| self.csus.get(id)).collect())
    }

    fn names_near(&self, asked: &str) -> Vec<String> {
        let words = |text: &str| -> BTreeSet<String> {
            text.split(['_', '-', ':', '*']).map(str::to_lowercase).collect()
        };
        let wanted = words(asked);
        let mut scored: Vec<_> = self
            .csus
            .keys()
            .map(|id| (words(id).intersection(&wanted).count(), id))
            .filter(|(shared, _)| *shared > 0)
            .collect();
        scored.sort_by_key(|(shared, id)| (std::cmp::Reverse(*shared), *id));
        scored.into_iter().take(3).map(|(_, id)| id.clone()).collect()
    }

    fn add_chain(&mut self, file: &Path, chain: Chain) -> Result<(), RegistryError> {
        let bad = |why: &str, hint| Err(bad_row(file, &chain.name, why, hint));
        if !is_name(&chain.name) {
            return bad("a chain's name is lower-case letters, digits and underscores", "rename it");
        }
        if chain.source.trim().is_empty() {
            return bad("the row has no source", "say where its facts come from in `source`");
        }
        if chain.chain_id == 0 {
            return bad("the row has no chain id", "put the EIP-155 id in `chain_id`");
        }
        // The largest number that every reader holds exactly; tables would have other chains' rows under one id beyond it.
        if chain.chain_id >= 1 << 53 {
            return bad("the chain id is beyond 2^53", "put the EIP-155 id in `chain_id`");
        }
        if !(chain.block_seconds.is_finite() && chain.block_seconds > 0.0) {
            return bad("`block_seconds` is not a positive number", "give the chain's usual block time");
        }
        if let Some(other) = self.chains.values().find(|other| other.chain_id == chain.chain_id) {
            return bad(
                &format!("chain id {} is that of `{}` already", chain.chain_id, other.name),
                "keep one row",
            );
        }
        if self.chains.contains_key(&chain.name) {
            return bad("the chain is there twice", "keep one row");
        }
        self.chains.insert(chain.name.clone(), chain);
        Ok(())
    }

    fn add_csu(&mut self, file: &Path, csu: Csu) -> Result<(), RegistryError> {
        let bad = |why: &str, hint| Err(bad_row(file, &csu.id, why, hint));
        if !is_name(&csu.id) {
            return bad("a CSU's id is lower-case letters, digits and underscores", "rename it");
        }
        if csu.source.trim().is_empty() {
            return bad("the row has no source", "say where its addresses come from in `source`");
        }
        if !self.chains.contains_key(&csu.chain) {
            return bad(
                &format!("its chain `{}` is not in chains.toml", csu.chain),
                "add the chain, or mend the name",
            );
        }
        if csu.entry.is_zero() {
            return bad(
                "its entry contract is the zero address",
                "put the deployment's entry contract in `entry`",
            );
        }
        if let (Some(deployed), Some(retired)) = (csu.deployed_date, csu.retired_date)
            && retired < deployed
        {
            return bad("it is retired before it is deployed", "mend one of the dates");
        }
        for other in self.csus.values() {
            if other.id == csu.id {
                return bad("the CSU is there twice", "keep one row");
            }
            if other.num == csu.num {
                return bad(
                    &format!("its number {} is that of `{}`", csu.num, other.id),
                    "give it the next free number",
                );
            }
            if (other.chain.as_str(), other.entry, other.market.as_str())
                == (csu.chain.as_str(), csu.entry, csu.market.as_str())
            {
                return bad(
                    &format!("it has the entry contract of `{}`", other.id),
                    "one deployment is one CSU",
                );
            }
        }
        self.csus.insert(csu.id.clone(), csu);
        Ok(())
    }

    fn add_token(&mut self, file: &Path, token: TokenFacts) -> Result<(), RegistryError> {
        let name = format!("{} on {}", token.symbol, token.chain);
        let bad = |why: &str, hint| Err(bad_row(file, &name, why, hint));
        if token.source.trim().is_empty() {
            return bad("the row has no source", "say where its class comes from in `source`");
        }
        if !self.chains.contains_key(&token.chain) {
            return bad("its chain is not in chains.toml", "add the chain, or mend the name");
        }
        let has_reason = token.pricing_reason.as_deref().is_some_and(|reason| !reason.trim().is_empty());
        if token.pricing == Pricing::Excluded && !has_reason {
            return bad("it is excluded from pricing without a reason", "give `pricing_reason`");
        }
        match self.tokens.insert((token.chain.clone(), token.address), token) {
            None => Ok(()),
            Some(_) => Err(bad_row(file, &name, "the token is there twice", "keep one row")),
        }
    }
}

fn bad_row(file: &Path, row: &str, why: &str, hint: &'static str) -> RegistryError {
    RegistryError::BadRow { file: file.to_owned(), row: row.to_owned(), why: why.to_owned(), hint }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChainsFile {
    chain: Vec<Chain>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CsusFile {
    csu: Vec<Csu>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokensFile {
    #[serde(default)]
    token: Vec<TokenFacts>,
}

fn parse<T: serde::de::DeserializeOwned>(file: &Path, text: &str) -> Result<T, RegistryError> {
    toml::from_str(text).map_err(|error| RegistryError::Malformed {
        file: file.to_owned(),
        why: error.to_string().trim_end().to_owned(),
    })
}

fn families_in(directory: &Path) -> Result<Vec<String>, RegistryError> {
    let csus = directory.join("csus");
    let unreadable = |source| RegistryError::Unreadable { file: csus.clone(), source };
    let mut families = Vec::new();
    for entry in std::fs::read_dir(&csus).map_err(unreadable)? {
        let name = entry.map_err(unreadable)?.file_name();
        if let Some(family) = name.to_str().and_then(|name| name.strip_suffix(".toml")) {
            families.push(family.to_owned());
        }
    }
    families.sort();
    Ok(families)
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

/// An address that must carry its EIP-55 checksum: a mistyped digit is caught before a call is made.
fn parse_checksummed(text: &str) -> Result<Address, String> {
    Address::parse_checksummed(text, None)
        .map_err(|_| format!("`{text}` is not an address with a valid EIP-55 checksum"))
}

fn checksummed<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Address, D::Error> {
    parse_checksummed(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}

fn checksummed_option<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Address>, D::Error> {
    checksummed(deserializer).map(Some)
}

fn checksummed_map<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, Address>, D::Error> {
    BTreeMap::<String, String>::deserialize(deserializer)?
        .into_iter()
        .map(|(role, text)| Ok((role, parse_checksummed(&text).map_err(serde::de::Error::custom)?)))
        .collect()
}

fn checksummed_list<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<Address>, D::Error> {
    Vec::<String>::deserialize(deserializer)?
        .iter()
        .map(|text| parse_checksummed(text).map_err(serde::de::Error::custom))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) const CHAINS: &str = r#"
[[chain]]
name = "ethereum"
chain_id = 1
native_symbol = "ETH"
is_l2 = false
block_seconds = 12.07
multicall3 = "0xcA11bde05977b3631167028862bE2a173976CA11"
multicall3_block = 14353601
finality_blocks = 64
source = "a test"
"#;
    pub(super) const CSUS: &str = r#"
[[csu]]
id = "aave_v3_ethereum"
num = 1
protocol = "aave_v3"
version = "v3"
chain = "ethereum"
market = "main"
entry_role = "pool_addresses_provider"
entry = "0x2f39d218133AFaB8F2B819B1066c7E434Ad94E9e"
deployed_block = 16291071
deployed_date = "2022-12-29"
verified = "yes"
source = "a test"
"#;

    fn registry(chains: &str, csus: &str) -> Result<Registry, RegistryError> {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("csus")).unwrap();
        std::fs::write(directory.path().join("chains.toml"), chains).unwrap();
        std::fs::write(directory.path().join("csus/aave_v3.toml"), csus).unwrap();
        std::fs::write(directory.path().join("tokens.toml"), "").unwrap();
        Registry::load(directory.path())
    }

    fn refusal(chains: &str, csus: &str) -> String {
        registry(chains, csus).unwrap_err().to_string()
    }

    #[test]
    fn a_row_carries_its_family() {
        let registry = registry(CHAINS, CSUS).unwrap();
        let csu = registry.csu("aave_v3_ethereum").unwrap();
        assert_eq!((csu.family.as_str(), registry.chain_of(csu).unwrap().chain_id), ("aave_v3", 1));
        assert_eq!(registry.sha256().len(), 64);
    }

    #[test]
    fn selectors_find_csus_and_a_wrong_one_is_named_with_its_neighbours() {
        let registry = registry(CHAINS, CSUS).unwrap();
        for selector in ["aave_v3_ethereum", "aave_*", "family:aave_v3", "chain:ethereum"] {
            assert_eq!(registry.select(&[selector.to_owned()]).unwrap().len(), 1, "{selector}");
        }
        let error = registry.select(&["aave_v3_mainnet".to_owned()]).unwrap_err().to_string();
        assert!(
            error.starts_with("no CSU is called `aave_v3_mainnet` (did you mean aave_v3_ethereum?)"),
            "{error}"
        );
        registry.select(&["[".to_owned()]).unwrap_err();
    }

    #[test]
    fn rows_that_break_a_rule_are_refused_by_name() {
        let cases = [
            (CSUS.replace("source = \"a test\"", "source = \" \""), "the row has no source"),
            (CSUS.replace("source = \"a test\"", ""), "`aave_v3_ethereum`: the row has no source\nhint: "),
            (CSUS.replace("0x2f39d2", "0x2F39d2"), "not an address with a valid EIP-55 checksum"),
            (
                CSUS.replace("chain = \"ethereum\"", "chain = \"etherium\""),
                "chain `etherium` is not in chains.toml",
            ),
            (CSUS.replace("deployed_date", "deployd_date"), "unknown field `deployd_date`"),
            (
                CSUS.replace("num = 1", "num = 1\nretired_date = \"2020-01-01\""),
                "retired before it is deployed",
            ),
            (format!("{CSUS}{CSUS}"), "the CSU is there twice"),
            (
                format!("{CSUS}{}", CSUS.replace("_ethereum", "_again")),
                "its number 1 is that of `aave_v3_ethereum`",
            ),
            (
                format!("{CSUS}{}", CSUS.replace("_ethereum", "_again").replace("num = 1", "num = 2")),
                "it has the entry contract of `aave_v3_ethereum`",
            ),
        ];
        for (csus, expected) in cases {
            let error = refusal(CHAINS, &csus);
            assert!(error.contains(expected), "{error}\ndoes not say: {expected}");
            assert!(error.contains("aave_v3.toml"), "{error}\ndoes not name the file");
        }
        assert!(refusal(&CHAINS.replace("source = \"a test\"", "source = \"\""), CSUS).contains("no source"));
        assert!(refusal(&CHAINS.replace("chain_id = 1", "chain_id = 0"), CSUS).contains("no chain id"));
        let large = CHAINS.replace("chain_id = 1", "chain_id = 9007199254740992");
        assert!(refusal(&large, CSUS).contains("beyond 2^53"));
        assert!(
            refusal(&format!("{CHAINS}{CHAINS}"), CSUS).contains("chain id 1 is that of `ethereum` already")
        );
    }
}
