//! What a stage needs on disk before it can run: registry, endpoints, run file, in a directory of their own.

use crate::feed::Feed;
use alloy_primitives::Address;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A temporary directory with a registry, a run file and, below them, lakes.
#[derive(Debug)]
pub struct Setting {
    directory: TempDir,
    chains: String,
    /// Rows by family.
    csus: BTreeMap<String, String>,
    feeds: String,
    names: String,
    numbers: u32,
}

/// A row of a providers file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Label.
    pub label: String,
    /// Chain, as in the registry.
    pub chain: String,
    /// URL.
    pub url: String,
    /// Blocks of a log scan that the file claims it grants.
    pub log_window: u64,
}

impl Endpoint {
    /// An endpoint of a chain.
    pub fn new(label: &str, chain: &str, url: impl Into<String>, log_window: u64) -> Self {
        Self { label: label.to_owned(), chain: chain.to_owned(), url: url.into(), log_window }
    }
}

impl Setting {
    /// A setting without chains.
    ///
    /// # Errors
    /// When no temporary directory is to be had.
    pub fn new() -> io::Result<Self> {
        let directory = tempfile::Builder::new().prefix("lendlake-test-").tempdir()?;
        let empty = String::new;
        let csus = BTreeMap::new();
        Ok(Self { directory, chains: empty(), csus, feeds: empty(), names: empty(), numbers: 0 })
    }

    /// The setting with a chain, final after 64 blocks and with Multicall3 from its first block on.
    #[must_use]
    pub fn with_chain(self, name: &str, chain_id: u64, block_seconds: f64) -> Self {
        let multicall3 = crate::simchain::MULTICALL3;
        let multicall3 = format!("multicall3 = \"{multicall3}\"\nmulticall3_block = 0\n");
        self.chain_row(name, chain_id, block_seconds, &multicall3)
    }

    /// The setting with a chain on which Multicall3 was never deployed.
    #[must_use]
    pub fn with_chain_without_multicall3(self, name: &str, chain_id: u64, block_seconds: f64) -> Self {
        self.chain_row(name, chain_id, block_seconds, "")
    }

    fn chain_row(mut self, name: &str, chain_id: u64, block_seconds: f64, multicall3: &str) -> Self {
        let row = write!(
            self.chains,
            "[[chain]]\nname = \"{name}\"\nchain_id = {chain_id}\nnative_symbol = \"ETH\"\nis_l2 = false\n\
             block_seconds = {block_seconds:?}\n{multicall3}finality_blocks = 64\nsource = \"simulated\"\n\n"
        );
        debug_assert!(row.is_ok(), "writing to a string does not fail");
        self
    }

    /// The setting with an Aave V3 deployment.
    #[must_use]
    pub fn with_aave_v3(self, csu: &str, chain: &str, provider: Address) -> Self {
        self.with_csu("aave_v3", csu, chain, ("pool_addresses_provider", provider), "deployed_block = 0")
    }

    /// The setting with a deployment of any family: its entry's role and address, and further lines of its registry row.
    #[must_use]
    pub fn with_csu(
        mut self,
        family: &str,
        csu: &str,
        chain: &str,
        (role, entry): (&str, Address),
        more: &str,
    ) -> Self {
        self.numbers += 1;
        let row = write!(
            self.csus.entry(family.to_owned()).or_default(),
            "[[csu]]\nid = \"{csu}\"\nnum = {}\nprotocol = \"{family}\"\nversion = \"v3\"\nchain = \"{chain}\"\n\
             market = \"{csu}\"\nentry_role = \"{role}\"\nentry = \"{entry}\"\n\
             verified = \"no\"\nsource = \"simulated\"\n{more}\n\n",
            self.numbers,
        );
        debug_assert!(row.is_ok(), "writing to a string does not fail");
        self
    }

    /// The setting with a Chainlink feed of a chain that prices these tokens in `quote`: `USD` or a token.
    #[must_use]
    pub fn with_feed(
        mut self,
        chain: &str,
        feed: &Feed,
        tokens: &[Address],
        quote: &str,
        heartbeat: u32,
    ) -> Self {
        let tokens: Vec<String> = tokens.iter().map(|token| format!("\"{token}\"")).collect();
        let row = write!(
            self.feeds,
            "[[feed]]\nchain = \"{chain}\"\naddress = \"{}\"\ndescription = \"{}\"\ntokens = [{}]\nquote = \"{quote}\"\n\
             heartbeat_s = {heartbeat}\nsource = \"simulated\"\n\n",
            feed.address,
            feed.description,
            tokens.join(", "),
        );
        debug_assert!(row.is_ok(), "writing to a string does not fail");
        self
    }

    /// The setting with DefiLlama's name of a chain.
    #[must_use]
    pub fn with_defillama_name(mut self, chain: &str, name: &str) -> Self {
        let row = write!(
            self.names,
            "[[name]]\nservice = \"defillama\"\nchain = \"{chain}\"\nname = \"{name}\"\nsource = \"simulated\"\n\n"
        );
        debug_assert!(row.is_ok(), "writing to a string does not fail");
        self
    }

    /// The setting's directory.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// A lake below it.
    pub fn lake(&self, name: &str) -> PathBuf {
        self.path().join("lakes").join(name)
    }

    /// Writes a providers file and says where it is. Its endpoints may be asked as fast as they answer: the default
    /// pace is that of a free public endpoint, and a test would spend its time waiting.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn providers(&self, name: &str, endpoints: &[Endpoint]) -> io::Result<PathBuf> {
        let rows: String = endpoints
            .iter()
            .map(|Endpoint { label, chain, url, log_window }| {
                format!(
                    "[[endpoint]]\nlabel = \"{label}\"\noperator = \"{label}\"\nchain = \"{chain}\"\n\
                     url = \"{url}\"\nlog_window = {log_window}\nrequests_per_second = 10000.0\nsource = \"simulated\"\n\n"
                )
            })
            .collect();
        let file = self.path().join(format!("providers-{name}.toml"));
        std::fs::write(&file, rows)?;
        Ok(file)
    }

    /// Writes the registry and a run over these days for every CSU, and says where the run file is. Its providers
    /// file is empty and its lake is `lakes/default`: name others on the command line.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn run_file(&self, from: &str, to: &str) -> io::Result<PathBuf> {
        let registry = self.path().join("registry");
        std::fs::create_dir_all(registry.join("csus"))?;
        std::fs::write(registry.join("chains.toml"), &self.chains)?;
        for (family, rows) in &self.csus {
            std::fs::write(registry.join("csus").join(format!("{family}.toml")), rows)?;
        }
        std::fs::write(registry.join("tokens.toml"), "")?;
        std::fs::write(registry.join("feeds.toml"), &self.feeds)?;
        std::fs::write(registry.join("fills.toml"), &self.names)?;
        std::fs::write(registry.join("providers.toml"), "")?;
        let file = self.path().join("run.toml");
        let text = format!(
            "name = \"test\"\nzone = \"America/New_York\"\nfrom = \"{from}\"\nto = \"{to}\"\ncsus = [\"*\"]\n\
             registry = \"registry\"\nproviders = \"registry/providers.toml\"\nlake = \"lakes/default\"\n"
        );
        std::fs::write(&file, text)?;
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lake::run::{Overrides, Run};

    #[test]
    fn lake_reads_the_setting() {
        let setting = Setting::new()
            .unwrap()
            .with_chain("one", 7, 12.0)
            .with_chain("two", 8, 0.5)
            .with_aave_v3("aave_v3_one", "one", Address::repeat_byte(1))
            .with_aave_v3("aave_v3_two", "two", Address::repeat_byte(1));
        let file = setting.run_file("2024-12-01", "2024-12-02").unwrap();
        let run = Run::load(&file, &Overrides::default()).unwrap();
        assert_eq!(run.csus, ["aave_v3_one", "aave_v3_two"]);
        assert_eq!(run.days.days().count(), 2);
    }
}
