//! What each endpoint and key can do, found out by asking, and kept where the next run begins with it.
//!
//! Chains are examined side by side, and so are a chain's endpoints; each at its purse's pace. First everyone says which
//! chain it serves and how far it has got. Then the blocks are looked up at which all of them are asked ([`Mark`]), and
//! each is put to the [test](probe). Nothing in here knows a protocol but Multicall3, whose code is on nearly every chain
//! and so shows whether a block's state is held.

mod probe;
pub mod registry;
mod report;

pub use report::{Examined, Finding, LakeReport, MissingKey, Report, with_noun};

use crate::rpc::endpoint::{Endpoint, Refusal};
use crate::rpc::providers::{EndpointConfig, Providers, Reach};
use crate::rpc::wire::{self, ClientError};
use futures::future::join_all;
use jiff::Timestamp;
use lake::Lake;
use lake::day::DayWindow;
use lake::registry::Chain;
use lake::store::StoreError;
use probe::Header;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Blocks behind an endpoint's head at which it is asked for what is new.
const NEAR: u64 = 100;
/// Headers read in the search for one mark, at most.
const HEADERS_PER_MARK: u32 = 16;
/// Headers that the search for one mark reads on a chain of even pace, and the look for logs around it.
const USUAL_HEADERS_PER_MARK: u64 = 4;
/// Blocks after a mark that are looked at for one that says that it holds logs.
const NEIGHBOURS: u64 = 3;
/// What the first block of a chain is called.
const BLOCK_ONE: &str = "block 1";
const HOUR: u64 = 3_600;
const DAY: u64 = 24 * HOUR;

/// What was found of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// When.
    pub at: Timestamp,
    /// The chain that it says it serves.
    pub chain_id: Option<u64>,
    /// Its newest block.
    pub head: Option<Head>,
    /// Whether it knows the `finalized` tag.
    pub finalized_tag: Option<bool>,
    /// State, newest block first.
    pub state: Vec<AtDepth>,
    /// Logs, newest block first.
    pub logs: Vec<AtDepth>,
    /// Blocks of one `eth_getLogs`.
    pub log_window: Measured,
    /// Members of one JSON-RPC batch.
    pub batch: Measured,
    /// `eth_call` with code lent to an address (geth's state overrides).
    pub overrides: Answer,
    /// `eth_call` without `to`, which runs init code.
    pub deployless: Answer,
}

/// The newest block of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Block.
    pub number: u64,
    /// Its time, Unix seconds.
    pub timestamp: u64,
    /// Blocks behind the newest that any endpoint of the chain has.
    pub behind: u64,
}

/// What an endpoint showed of one block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AtDepth {
    /// How old the block is, in words.
    pub depth: String,
    /// Block.
    pub block: u64,
    /// What it showed.
    pub held: Held,
    /// The endpoint's words, where it has not shown it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// Whether an endpoint holds what it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Held {
    /// It showed it.
    Shown,
    /// It answered, and there was nothing to show: an empty list proves nothing.
    Unproven,
    /// It says that it does not hold it.
    Refused,
    /// It answers with nothing where there is something.
    SilentlyEmpty,
    /// It refused for another reason.
    Unknown,
}

impl Held {
    /// Whether it may be asked for this: it has shown it, or nothing speaks against it.
    pub fn may_be(self) -> bool {
        matches!(self, Self::Shown | Self::Unproven)
    }

    fn is_lacking(self) -> bool {
        matches!(self, Self::Refused | Self::SilentlyEmpty)
    }
}

/// A limit that was looked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measured {
    /// The most that was taken; zero when even the least was refused, none when it was not found out.
    pub most: Option<u64>,
    /// Whether more was refused. If not, it may take more.
    pub is_limit: bool,
    /// Why more is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// What became of a question that not every node understands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", content = "why", rename_all = "snake_case")]
pub enum Answer {
    /// The right answer came.
    Right,
    /// It was taken, and another answer came: the part that matters was passed over.
    Wrong(String),
    /// It was refused.
    Refused(String),
    /// It was not asked, or failed for another reason.
    Unknown(String),
}

/// A block at which every endpoint of a chain is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mark {
    depth: String,
    header: Header,
}

/// Why nothing can be examined.
#[derive(Debug, thiserror::Error)]
pub enum DoctorError {
    /// The lake cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No connection can be opened.
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// What is to be examined.
pub struct Doctor<'a> {
    /// Chains.
    pub chains: Vec<&'a Chain>,
    /// First day of the run that is planned, if there is one.
    pub first_day: Option<DayWindow>,
    /// The endpoints.
    pub providers: &'a Providers,
    /// The lake in which profiles are kept. Without one nothing is kept.
    pub lake: Option<&'a Lake>,
    /// Told of each endpoint when it is done.
    pub told: &'a (dyn Fn(&Examined) + Sync),
}

/// An endpoint under examination.
struct Patient<'a> {
    config: &'a EndpointConfig,
    chain: &'a Chain,
    endpoint: Endpoint,
}

/// Whom one speaks to: the chain id that it names, and its newest block.
struct Identity {
    chain_id: Option<u64>,
    head: Result<Header, Refusal>,
}

/// What an examination will ask of one key or keyless endpoint.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BillRow {
    /// Variable of the key, or label of the endpoint.
    pub purse: String,
    /// Endpoints that it pays for.
    pub endpoints: u64,
    /// Requests, about.
    pub requests: u64,
    /// Units, about.
    pub units: u64,
    /// Unit.
    pub unit: String,
    /// Seconds at its pace.
    pub seconds: f64,
}

/// What an examination will ask, before anything is sent.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Bill {
    /// By key or keyless endpoint, in order of name.
    pub rows: Vec<BillRow>,
}

impl Bill {
    /// The bill in words, for a terminal.
    pub fn in_words(&self) -> String {
        let requests: u64 = self.rows.iter().map(|row| row.requests).sum();
        let endpoints: u64 = self.rows.iter().map(|row| row.endpoints).sum();
        let seconds = self.rows.iter().map(|row| row.seconds).fold(0.0, f64::max);
        let mut text = format!(
            "asking {}, about {} questions each; at their pace that takes {seconds:.0} s at most\n",
            with_noun(endpoints, "endpoint"),
            requests.div_ceil(endpoints.max(1))
        );
        // Requests of keyless endpoints are told by the line above.
        for row in self.rows.iter().filter(|row| row.unit != "requests") {
            let units = crate::plan::with_separators(row.units);
            // Writing to a String cannot fail.
            let of = with_noun(row.endpoints, "endpoint");
            let _ = writeln!(text, "{}: about {units} {} for {of}", row.purse, row.unit);
        }
        text
    }
}

impl<'a> Doctor<'a> {
    fn configs_of<'s>(&'s self, chain: &'s Chain) -> impl Iterator<Item = &'a EndpointConfig> + use<'a, 's> {
        self.providers.endpoints.iter().filter(|config| config.chain == chain.name)
    }

    /// What the examination will ask. Nothing is sent.
    pub fn bill(&self) -> Bill {
        let marks = 4 + u64::from(self.first_day.is_some());
        let mut rows: BTreeMap<String, BillRow> = BTreeMap::new();
        for chain in &self.chains {
            for (index, config) in self.configs_of(chain).enumerate() {
                let Some(purse) = &config.purse else { continue };
                let tariff = purse.tariff();
                let mut requests = probe::usual_requests(config, marks);
                if index == 0 {
                    *requests.entry("eth_getBlockByNumber").or_default() +=
                        (marks - 1) * USUAL_HEADERS_PER_MARK;
                }
                let row = rows.entry(purse.name().to_owned()).or_insert_with(|| BillRow {
                    purse: purse.name().to_owned(),
                    endpoints: 0,
                    requests: 0,
                    units: 0,
                    unit: tariff.unit.clone(),
                    seconds: 0.0,
                });
                row.endpoints += 1;
                for (method, count) in requests {
                    row.requests += count;
                    row.units += count * u64::from(tariff.cost(method));
                    row.seconds += count as f64 * tariff.seconds(method);
                }
            }
        }
        Bill { rows: rows.into_values().collect() }
    }

    /// Examines the lake and every endpoint of the chains, and keeps what was learned of them.
    ///
    /// # Errors
    /// [`DoctorError`] when the lake cannot be used. What is wrong with an endpoint is in the report.
    pub async fn examine(&self) -> Result<Report, DoctorError> {
        let lake = match self.lake {
            Some(lake) => {
                let promises = lake.promises().await?;
                Some(LakeReport { location: lake.location().to_owned(), promises })
            }
            None => None,
        };
        let parts = join_all(self.chains.iter().map(|chain| self.chain(chain))).await;
        let mut endpoints = Vec::new();
        for part in parts {
            endpoints.extend(part?);
        }
        Ok(Report::new(lake, endpoints, self))
    }

    async fn chain(&self, chain: &'a Chain) -> Result<Vec<Examined>, DoctorError> {
        let client = wire::http_client()?;
        let mut examined = Vec::new();
        let mut patients = Vec::new();
        for config in self.configs_of(chain) {
            match Endpoint::open(config, &client, None, self.providers.clock) {
                Ok(_) if matches!(config.reach, Reach::Replay(_)) => {
                    examined.push(Examined::recording(config))
                }
                Ok(endpoint) => {
                    if let Some(lake) = self.lake {
                        endpoint.take_up(lake).await;
                    }
                    patients.push(Patient { config, chain, endpoint });
                }
                Err(error) => examined.push(Examined::unreadable(config, &error)),
            }
        }
        let identities = join_all(patients.iter().map(Patient::identify)).await;
        let mut heads: Vec<(&Patient<'_>, Header)> = Vec::new();
        for (patient, identity) in patients.iter().zip(&identities) {
            heads.extend(identity.head.as_ref().ok().map(|head| (patient, *head)));
        }
        // Stable: of equals the first in the file.
        heads.sort_by_key(|(_, head)| std::cmp::Reverse(head.number));
        let best = heads.first().map(|(_, head)| *head);
        let marks = match best {
            Some(best) => {
                let served: Vec<&Patient<'_>> = heads.iter().map(|(patient, _)| *patient).collect();
                self.marks(chain, &served, best).await
            }
            None => Vec::new(),
        };
        let best = best.map_or(0, |best| best.number);
        let patients = patients.into_iter().zip(identities);
        let done =
            join_all(patients.map(|(patient, identity)| self.patient(patient, identity, best, &marks)));
        for one in done.await {
            examined.push(one?);
        }
        Ok(examined)
    }

    async fn patient(
        &self,
        patient: Patient<'a>,
        identity: Identity,
        best: u64,
        marks: &[Mark],
    ) -> Result<Examined, DoctorError> {
        let at = self.providers.clock.timestamp();
        let (probe, refusal) = patient.examine(at, identity, best, marks).await;
        patient.learn(&probe);
        if let Some(lake) = self.lake {
            patient.endpoint.keep(lake).await?;
        }
        let examined = Examined::new(&patient, probe, refusal, self.first_day.map(|window| window.day));
        (self.told)(&examined);
        Ok(examined)
    }

    /// The old blocks at which all endpoints of a chain are asked, newest first. A block that the chain does not have, or
    /// whose header nobody gives, is left out.
    async fn marks(&self, chain: &Chain, served: &[&Patient<'_>], head: Header) -> Vec<Mark> {
        let ago = |seconds: u64| head.timestamp.checked_sub(seconds);
        let mut wanted =
            vec![("1 day".to_owned(), ago(DAY), 2 * HOUR), ("30 days".to_owned(), ago(30 * DAY), DAY)];
        if let Some(window) = self.first_day {
            wanted.push((window.day.to_string(), u64::try_from(window.start).ok(), 6 * HOUR));
        }
        let mut marks = Vec::new();
        for (depth, at, tolerance) in wanted {
            let Some(at) = at else { continue };
            if let Some(header) = located(served, chain, head, at, tolerance).await {
                let header = with_logs_if_any(served, header).await;
                marks.push(Mark { depth, header });
            }
        }
        if let Some(header) = header(served, 1).await {
            marks.push(Mark { depth: BLOCK_ONE.to_owned(), header });
        }
        marks.sort_by_key(|mark| std::cmp::Reverse(mark.header.number));
        marks
    }
}

/// The header of a block by the first who has it.
async fn header(served: &[&Patient<'_>], number: u64) -> Option<Header> {
    for patient in served {
        if let Ok(Some(header)) = patient.header(number).await {
            return Some(header);
        }
    }
    None
}

/// The block, or one soon after it, that says of itself that it holds logs.
async fn with_logs_if_any(served: &[&Patient<'_>], block: Header) -> Header {
    let mut seen = block;
    for number in block.number.saturating_add(1)..=block.number.saturating_add(NEIGHBOURS) {
        if seen.has_logs {
            return seen;
        }
        match header(served, number).await {
            Some(header) => seen = header,
            None => break,
        }
    }
    if seen.has_logs { seen } else { block }
}

/// A block about as old as wanted: its time is no further from `at` than `tolerance`, in seconds.
async fn located(
    served: &[&Patient<'_>],
    chain: &Chain,
    head: Header,
    at: u64,
    tolerance: u64,
) -> Option<Header> {
    if head.timestamp <= at.saturating_add(tolerance) {
        return None;
    }
    let (mut low, mut high): (Option<Header>, Header) = (None, head);
    // Below the first block that somebody has there is nothing to find.
    let mut bottom = 0;
    let mut was_missing = false;
    for probes in 1..=HEADERS_PER_MARK {
        let gap = high.number.checked_sub(bottom)?;
        if gap <= 1 {
            break;
        }
        let back = if was_missing || probes.is_multiple_of(4) {
            gap / 2
        } else {
            let (blocks, seconds) = match low {
                Some(low) => (high.number - low.number, high.timestamp.saturating_sub(low.timestamp)),
                None => (head.number - high.number, head.timestamp.saturating_sub(high.timestamp)),
            };
            let pace =
                if blocks > 0 && seconds > 0 { seconds as f64 / blocks as f64 } else { chain.block_seconds };
            (high.timestamp.saturating_sub(at) as f64 / pace) as u64
        };
        let number = high.number - back.clamp(1, gap - 1);
        match header(served, number).await {
            Some(header) if header.timestamp.abs_diff(at) <= tolerance => return Some(header),
            Some(header) if header.timestamp < at => {
                (low, bottom, was_missing) = (Some(header), number, false);
            }
            Some(header) => (high, was_missing) = (header, false),
            None => (bottom, was_missing) = (number, true),
        }
    }
    low
}
