//! `providers.toml`: which endpoints there are, and which environment variables hold their keys.
//!
//! ```toml
//! [[endpoint]]
//! label = "alchemy_ethereum"        # what logs, errors and the ledger call it
//! operator = "alchemy"              # who runs it; two labels of one operator are no second opinion
//! chain = "ethereum"
//! url = "https://eth-mainnet.g.alchemy.com/v2/${ALCHEMY_KEY_*}"
//! log_window = 10                   # blocks per eth_getLogs
//! requests_per_second = 8.0         # or none, and the operator's tariff counts
//! allow_http = true                 # only where the URL is plain http to another machine
//! source = "where these limits are stated"
//!
//! [[tariff]]
//! operator = "alchemy"
//! unit = "CU"
//! units_per_second = 500
//! units_per_month = 30000000
//! cost = { eth_getLogs = 60, eth_call = 26, eth_chainId = 0 }
//! other = 20
//! source = "where it is stated"
//! ```
//! `${NAME}` is an environment variable. `${NAME_*}` makes one endpoint for each of NAME_1, NAME_2, ... that is set,
//! labelled with its number; the endpoints of one key, on whatever chains, share its pace. `replay:FILE` answers from a recording, relative to this file. File order is order of
//! trust.

use crate::rpc::budget::{Purse, Tariff};
use crate::rpc::clock::Clock;
use crate::rpc::secret::{Scrubber, SecretUrl};
use crate::rpc::wire::InProcess;
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Blocks per `eth_getLogs` where the file does not say: what most keyless endpoints take.
const DEFAULT_LOG_WINDOW: u64 = 1_000;
/// Requests per second where the file does not say.
const DEFAULT_REQUESTS_PER_SECOND: f64 = 4.0;
/// Keys looked for under `${NAME_*}`.
const MOST_KEYS: u32 = 100;

/// Why the endpoints cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ProvidersError {
    /// The file cannot be read.
    #[error("cannot read the endpoints in {}: {source}\nhint: name another file with --providers, or see pipelines/registry/providers.toml", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The file is not the TOML it should be. The parser's excerpt is left out: it could show a key.
    #[error("{}: line {line}: {why}", file.display())]
    Malformed {
        /// The file.
        file: PathBuf,
        /// Line of the fault.
        line: usize,
        /// The parser's words.
        why: String,
    },
    /// A row breaks a rule.
    #[error("{}: endpoint `{label}`: {why}", file.display())]
    BadRow {
        /// The file.
        file: PathBuf,
        /// The row.
        label: String,
        /// The rule it breaks.
        why: String,
    },
}

/// How an endpoint is reached.
#[derive(Clone)]
pub enum Reach {
    /// JSON-RPC over HTTP.
    Http(SecretUrl),
    /// JSON-RPC within the process: simulated providers, asked without a network.
    InProcess(InProcess),
    /// A recording.
    Replay(PathBuf),
}

impl std::fmt::Debug for Reach {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Http(url) => f.debug_tuple("Http").field(url).finish(),
            Self::InProcess(_) => f.write_str("InProcess"),
            Self::Replay(file) => f.debug_tuple("Replay").field(file).finish(),
        }
    }
}

/// One endpoint, ready to be opened.
#[derive(Debug, Clone)]
pub struct EndpointConfig {
    /// Name in every output.
    pub label: String,
    /// Who runs it.
    pub operator: String,
    /// Chain it serves.
    pub chain: String,
    /// How it is reached.
    pub reach: Reach,
    /// What must not appear in any text that comes from it.
    pub scrubber: Scrubber,
    /// Blocks per `eth_getLogs`.
    pub log_window: u64,
    /// Pace and month, shared by all endpoints of one key; `None` for a recording.
    pub purse: Option<Arc<Purse>>,
}

/// An endpoint that was left out because its variable is not set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// Name of the row.
    pub label: String,
    /// Chain it serves.
    pub chain: String,
    /// Variable that is not set, as it stands in the file.
    pub variable: String,
}

/// The endpoints of a file.
#[derive(Debug, Clone, Default)]
pub struct Providers {
    /// Endpoints in order of trust.
    pub endpoints: Vec<EndpointConfig>,
    /// Rows without a key.
    pub left_out: Vec<LeftOut>,
    /// The time by which all of them are paced.
    pub clock: Clock,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProvidersFile {
    #[serde(default)]
    tariff: Vec<Tariff>,
    endpoint: Vec<EndpointRow>,
}

/// Tariffs by operator, and the purses of the keys met so far.
struct Purses {
    clock: Clock,
    tariffs: Vec<Tariff>,
    of_keys: HashMap<String, Arc<Purse>>,
}

impl Purses {
    /// The one purse of a key, named after its variable.
    fn of_key(&mut self, variable: &str, row: &EndpointRow) -> Arc<Purse> {
        let tariff = || row.tariff(&self.tariffs);
        let purse = self
            .of_keys
            .entry(variable.to_owned())
            .or_insert_with(|| Arc::new(Purse::new(variable, tariff(), self.clock)));
        Arc::clone(purse)
    }

    /// The purse of an endpoint without a key.
    fn of_label(&self, row: &EndpointRow) -> Arc<Purse> {
        Arc::new(Purse::new(&row.label, row.tariff(&self.tariffs), self.clock))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EndpointRow {
    label: String,
    #[serde(default)]
    operator: Option<String>,
    chain: String,
    url: String,
    #[serde(default)]
    log_window: Option<u64>,
    #[serde(default)]
    requests_per_second: Option<f64>,
    #[serde(default)]
    allow_http: bool,
    source: String,
    #[serde(default)]
    #[expect(dead_code, reason = "remarks are for the reader of the file")]
    notes: Option<String>,
}

impl Providers {
    /// Reads a providers file; `variable` looks up the environment.
    ///
    /// # Errors
    /// [`ProvidersError`].
    pub fn load(file: &Path, variable: impl Fn(&str) -> Option<String>) -> Result<Self, ProvidersError> {
        let text = std::fs::read_to_string(file)
            .map_err(|source| ProvidersError::Unreadable { file: file.to_owned(), source })?;
        let read: ProvidersFile = toml::from_str(&text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start).min(text.len());
            let line = text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count() + 1;
            ProvidersError::Malformed {
                file: file.to_owned(),
                line,
                why: without_quoted_values(error.message()),
            }
        })?;
        let mut providers = Self::default();
        for tariff in &read.tariff {
            tariff.check().map_err(|why| ProvidersError::BadRow {
                file: file.to_owned(),
                label: tariff.operator.clone(),
                why,
            })?;
        }
        let mut purses = Purses { clock: providers.clock, tariffs: read.tariff, of_keys: HashMap::new() };
        for row in read.endpoint {
            let label = row.label.clone();
            let bad =
                |why: String| ProvidersError::BadRow { file: file.to_owned(), label: label.clone(), why };
            if row.source.trim().is_empty() {
                return Err(bad("the row has no source: say where its limits are stated".into()));
            }
            if row.log_window == Some(0) {
                return Err(bad("`log_window` must be at least one block".into()));
            }
            if row
                .requests_per_second
                .is_some_and(|rate| !(rate.is_finite() && rate > 0.0 && rate <= 10_000.0))
            {
                return Err(bad("`requests_per_second` must be a positive number".into()));
            }
            providers.add(file, row, &variable, &mut purses).map_err(bad)?;
        }
        let mut labels: Vec<_> = providers.endpoints.iter().map(|endpoint| endpoint.label.as_str()).collect();
        labels.sort_unstable();
        if let Some(pair) = labels.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(ProvidersError::BadRow {
                file: file.to_owned(),
                label: pair[0].to_owned(),
                why: "two rows have this label".into(),
            });
        }
        Ok(providers)
    }

    /// Every purse once, in order of name.
    pub fn purses(&self) -> Vec<&Arc<Purse>> {
        let purses = self.endpoints.iter().filter_map(|endpoint| endpoint.purse.as_ref());
        let by_name: BTreeMap<&str, &Arc<Purse>> = purses.map(|purse| (purse.name(), purse)).collect();
        by_name.into_values().collect()
    }

    fn add(
        &mut self,
        file: &Path,
        row: EndpointRow,
        variable: &impl Fn(&str) -> Option<String>,
        purses: &mut Purses,
    ) -> Result<(), String> {
        if let Some(recording) = row.url.strip_prefix("replay:") {
            let recording = file.parent().unwrap_or(Path::new("")).join(recording);
            self.endpoints.push(row.endpoint(
                row.label.clone(),
                Reach::Replay(recording),
                Scrubber::default(),
                None,
            ));
            return Ok(());
        }
        let Some((before, name, after)) = placeholder(&row.url)? else {
            return self.push_http(&row, row.label.clone(), row.url.clone(), None, purses.of_label(&row));
        };
        let set = |name: &str| {
            variable(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
        };
        let before_len = self.endpoints.len();
        if let Some(stem) = name.strip_suffix('*') {
            for number in 1..=MOST_KEYS {
                let name = format!("{stem}{number}");
                if let Some(value) = set(&name) {
                    let label = format!("{}_{number}", row.label);
                    let purse = purses.of_key(&name, &row);
                    self.push_http(&row, label, format!("{before}{value}{after}"), Some(&value), purse)?;
                }
            }
        } else if let Some(value) = set(name) {
            let purse = purses.of_key(name, &row);
            self.push_http(&row, row.label.clone(), format!("{before}{value}{after}"), Some(&value), purse)?;
        }
        if self.endpoints.len() == before_len {
            let variable = name.replace('*', "1");
            self.left_out.push(LeftOut { label: row.label, chain: row.chain, variable });
        }
        Ok(())
    }

    fn push_http(
        &mut self,
        row: &EndpointRow,
        label: String,
        url: String,
        key: Option<&str>,
        purse: Arc<Purse>,
    ) -> Result<(), String> {
        match url::Url::parse(&url) {
            Ok(parsed) if ["http", "https"].contains(&parsed.scheme()) => {}
            _ => return Err("`url` is not an http or https URL, nor replay:FILE".into()),
        }
        let url = SecretUrl::new(url);
        if url.is_open_to_others() && !row.allow_http {
            return Err("`url` is plain http to another machine: whoever is on the way can read it, and it is a key\n\
                        hint: use https; for a node of your own network say `allow_http = true` in the row"
                .into());
        }
        let scrubber = Scrubber::new(&url, key);
        self.endpoints.push(row.endpoint(label, Reach::Http(url), scrubber, Some(purse)));
        Ok(())
    }
}

impl EndpointRow {
    /// What its operator charges. A row with a rate of its own is paced by requests, whatever the tariff.
    fn tariff(&self, tariffs: &[Tariff]) -> Tariff {
        let operator = self.operator.as_deref().unwrap_or(&self.label);
        match (self.requests_per_second, tariffs.iter().find(|tariff| tariff.operator == operator)) {
            (None, Some(tariff)) => tariff.clone(),
            (rate, _) => Tariff::by_requests(operator, rate.unwrap_or(DEFAULT_REQUESTS_PER_SECOND)),
        }
    }

    fn endpoint(
        &self,
        label: String,
        reach: Reach,
        scrubber: Scrubber,
        purse: Option<Arc<Purse>>,
    ) -> EndpointConfig {
        EndpointConfig {
            operator: self.operator.clone().unwrap_or_else(|| self.label.clone()),
            label,
            chain: self.chain.clone(),
            reach,
            scrubber,
            log_window: self.log_window.unwrap_or(DEFAULT_LOG_WINDOW),
            purse,
        }
    }
}

/// The parser quotes values between double quotes, and names between backticks: a value may be a key.
fn without_quoted_values(message: &str) -> String {
    let parts = message.split('"').enumerate();
    parts.map(|(index, part)| if index % 2 == 0 { part } else { "[hidden]" }).collect()
}

/// The one `${NAME}` of a URL: what stands before it, the name, and what stands after.
fn placeholder(url: &str) -> Result<Option<(&str, &str, &str)>, String> {
    let Some((before, rest)) = url.split_once("${") else { return Ok(None) };
    let (name, after) = rest.split_once('}').ok_or("`url` has `${` without `}`")?;
    if after.contains("${") {
        return Err("`url` has more than one `${...}`; put the whole URL into one variable".into());
    }
    let plain = name.strip_suffix("_*").unwrap_or(name);
    if plain.is_empty() || !plain.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        return Err("the name in `${...}` is no environment variable".into());
    }
    Ok(Some((before, name, after)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str, variables: &[(&str, &str)]) -> Result<Providers, ProvidersError> {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("providers.toml");
        std::fs::write(&file, text).unwrap();
        Providers::load(&file, |name| {
            variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned())
        })
    }

    const ALCHEMY: &str = r#"
[[endpoint]]
label = "alchemy"
chain = "ethereum"
url = "https://eth.example/v2/${ALCHEMY_KEY_*}"
log_window = 10
source = "a test"
"#;

    #[test]
    fn every_key_that_is_set_becomes_an_endpoint() {
        let providers =
            load(ALCHEMY, &[("ALCHEMY_KEY_1", "first_key"), ("ALCHEMY_KEY_3", "third_key")]).unwrap();
        let labels: Vec<_> = providers.endpoints.iter().map(|endpoint| endpoint.label.as_str()).collect();
        assert_eq!(labels, ["alchemy_1", "alchemy_3"]);
        assert!(providers.left_out.is_empty());
        let printed = format!("{providers:?}");
        assert!(!printed.contains("first_key") && !printed.contains("eth.example"), "{printed}");
    }

    #[test]
    fn the_endpoints_of_one_key_share_its_purse() {
        let other_chain = ALCHEMY.replace("\"alchemy\"", "\"alchemy_base\"").replace("ethereum", "base");
        let keys = [("ALCHEMY_KEY_1", "first_key"), ("ALCHEMY_KEY_2", "second_key")];
        let providers = load(&format!("{ALCHEMY}{other_chain}"), &keys).unwrap();
        let purse = |label: &str| {
            let found = providers.endpoints.iter().find(|endpoint| endpoint.label == label);
            found.and_then(|endpoint| endpoint.purse.clone()).unwrap()
        };
        assert!(Arc::ptr_eq(&purse("alchemy_1"), &purse("alchemy_base_1")));
        assert!(!Arc::ptr_eq(&purse("alchemy_1"), &purse("alchemy_2")));
        assert_eq!(purse("alchemy_2").name(), "ALCHEMY_KEY_2");
    }

    #[test]
    fn a_row_without_its_key_is_left_out_and_names_the_variable() {
        let providers = load(ALCHEMY, &[("ALCHEMY_KEY_1", " ")]).unwrap();
        assert!(providers.endpoints.is_empty());
        assert_eq!(providers.left_out[0].variable, "ALCHEMY_KEY_1");
    }

    #[test]
    fn plain_http_to_another_machine_is_for_those_who_say_so() {
        let row = ALCHEMY.replace("https://eth.example", "http://node.lan:8545");
        let key = [("ALCHEMY_KEY_1", "first_key")];
        assert!(load(&row, &key).is_err());
        assert_eq!(load(&format!("{row}allow_http = true\n"), &key).unwrap().endpoints.len(), 1);
        assert!(load(&row.replace("node.lan", "localhost"), &key).is_ok());
    }

    #[test]
    fn faults_are_told_without_the_url() {
        let cases = [
            (ALCHEMY.replace("https://eth", "ftp://eth"), "not an http or https URL"),
            (ALCHEMY.replace("https://eth", "http://eth"), "plain http to another machine"),
            (ALCHEMY.replace("source = \"a test\"", "source = \"\""), "no source"),
            (ALCHEMY.replace("log_window = 10", "log_window = 0"), "at least one block"),
            (ALCHEMY.replace("log_window", "log_windw"), "unknown field `log_windw`"),
            (ALCHEMY.replace("= 10", "= \"sk_planted_key\""), "invalid type: string [hidden]"),
            (ALCHEMY.replace("_*}", "_*"), "`${` without `}`"),
            (format!("{ALCHEMY}{ALCHEMY}"), "two rows have this label"),
        ];
        for (text, expected) in cases {
            let error = load(&text, &[("ALCHEMY_KEY_1", "sk_planted_key")]).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}\ndoes not say: {expected}");
            assert!(!error.contains("eth.example") && !error.contains("sk_planted_key"), "{error}");
        }
    }
}
