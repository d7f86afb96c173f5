//! Whether what the registry says of deployments is so: each row's contract must be there since the block that the row
//! says and at the block that is looked at, and every role that its family finds must answer as a contract does.
//!
//! Nothing here knows a family: roles are those of its layout, and what they are asked are its own view calls.

mod table;

use crate::boundary::Boundaries;
use crate::collect::Unit;
use crate::discovery::discover_on;
use crate::ledger::Failure;
use crate::reads::Reader;
use crate::rpc::classify::Verdict;
use crate::rpc::pool::{Pool, PoolError, Question, read_as};
use crate::rpc::providers::Providers;
use crate::rpc::scan::Scan;
use crate::rpc::tally::Purpose;
use futures::StreamExt;
use futures::future::join_all;
use lake::bronze::{CallRecord, Header, RawLog};
use lake::day::{DayWindow, Zone};
use lake::registry::{Chain, Csu, Registry};
use lake::span::BlockSpan;
use lake::status::Reason;
use lake::store::StoreError;
use lake::{Address, Bytes, Lake};
use protocols::{Call, Layout};
use serde::Serialize;
use serde_json::json;
use std::collections::BTreeMap;

/// Rows of a chain that are checked at once.
const ROWS_AT_ONCE: usize = 4;
/// View calls of one role that are tried: a contract may be of a version that does not have the first.
const CALLS_A_ROLE: usize = 3;
/// Queries for the logs that list markets, where logs do: one market is enough to see its roles.
const LISTING_QUERIES: u64 = 20;
/// Requests that a row takes, about.
const REQUESTS_A_ROW: usize = 8;
/// What an endpoint's word is that there is no code.
const NO_CODE: &str = "has no code there";

/// What is to be checked.
pub struct RegistryCheck<'a> {
    /// The registry.
    pub registry: &'a Registry,
    /// Its rows.
    pub csus: Vec<&'a Csu>,
    /// The day at whose last block they are looked at, with its zone; without one, the last final block.
    pub day: Option<(Zone, DayWindow)>,
    /// The endpoints.
    pub providers: &'a Providers,
    /// Where what was found is kept.
    pub lake: &'a Lake,
    /// Told of each row when it is done.
    pub told: &'a (dyn Fn(&CheckedRow) + Sync),
}

/// What was found of all rows.
#[derive(Debug, Clone, Serialize)]
pub struct RegistryReport {
    /// Digest of the registry's files.
    pub registry: String,
    /// When.
    pub at: jiff::Timestamp,
    /// The block at which rows were looked at, by chain.
    pub blocks: BTreeMap<String, u64>,
    /// The rows, in order of id.
    pub rows: Vec<CheckedRow>,
}

/// How a row fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Soundness {
    /// All that was asked fits.
    Sound,
    /// Something that could be asked does not fit.
    Wrong,
    /// What was answered fits, and something was not answered.
    Unknown,
}

/// What was found of a row.
#[derive(Debug, Clone, Serialize)]
pub struct CheckedRow {
    /// CSU.
    pub csu: String,
    /// Chain.
    pub chain: String,
    /// Family.
    pub family: String,
    /// Entry contract.
    pub entry: Address,
    /// How it fares.
    pub soundness: Soundness,
    /// What does not fit, or was not answered.
    pub findings: Vec<String>,
    /// Block of the deployment, by the registry.
    pub deployed_block: Option<u64>,
    /// Whether the entry contract has code one block before.
    pub before_deployment: Code,
    /// Whether it has code at that block.
    pub at_deployment: Code,
    /// The block that was looked at.
    pub block: Option<u64>,
    /// Whether it has code there.
    pub at_block: Code,
    /// Markets that its family found there.
    pub markets: Option<usize>,
    /// Its contracts, and what became of a view call of each.
    pub roles: Vec<Role>,
}

/// Whether there is code at an address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "code", content = "why", rename_all = "snake_case")]
pub enum Code {
    /// There is.
    There,
    /// There is none, by the word of everyone who could be asked.
    None,
    /// It was not asked: the registry names no block, or there is no reason to.
    NotAsked,
    /// Nobody says so, or those who do differ.
    Unknown(String),
}

/// One contract of a deployment.
#[derive(Debug, Clone, Serialize)]
pub struct Role {
    /// Its role; that of the first market's contracts begins with `market.`.
    pub role: String,
    /// Its address.
    pub address: Address,
    /// The view call that was made, in the family's words; none where the family calls nothing of it.
    pub call: Option<String>,
    /// What became of it.
    pub shown: Shown,
}

/// What a contract showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Shown {
    /// It answered.
    Answered,
    /// It refused every view call that was tried.
    Reverted,
    /// Nothing came back: no contract is there.
    Nothing,
    /// It was not called, and has code.
    HasCode,
    /// It was not asked.
    NotAsked,
}

impl Soundness {
    /// In words.
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::Sound => "as the registry says",
            Self::Wrong => "not as the registry says",
            Self::Unknown => "not known",
        }
    }
}

impl RegistryReport {
    /// Whether every row is sound.
    pub fn is_well(&self) -> bool {
        self.rows.iter().all(|row| row.soundness == Soundness::Sound)
    }
}

impl CheckedRow {
    fn unasked(csu: &Csu, why: String) -> Self {
        Self {
            csu: csu.id.clone(),
            chain: csu.chain.clone(),
            family: csu.family.clone(),
            entry: csu.entry,
            soundness: Soundness::Unknown,
            findings: vec![why],
            deployed_block: csu.deployed_block,
            before_deployment: Code::NotAsked,
            at_deployment: Code::NotAsked,
            block: None,
            at_block: Code::NotAsked,
            markets: None,
            roles: Vec::new(),
        }
    }

    fn wrong(&mut self, what: String) {
        self.soundness = Soundness::Wrong;
        self.findings.push(what);
    }

    fn unknown(&mut self, what: String) {
        if self.soundness == Soundness::Sound {
            self.soundness = Soundness::Unknown;
        }
        self.findings.push(what);
    }
}

impl<'a> RegistryCheck<'a> {
    fn by_chain(&self) -> BTreeMap<&'a str, Vec<&'a Csu>> {
        let mut by_chain: BTreeMap<&str, Vec<&Csu>> = BTreeMap::new();
        for csu in &self.csus {
            by_chain.entry(&csu.chain).or_default().push(csu);
        }
        by_chain
    }

    /// What the check will ask, in words. Nothing is sent.
    pub fn bill(&self) -> String {
        let chains = self.by_chain();
        let served = |chain: &&&str| self.providers.endpoints.iter().any(|config| config.chain == ***chain);
        let (of, asked) = (chains.len(), chains.keys().filter(served).count());
        let rows: usize = chains.iter().filter(|(chain, _)| served(&chain)).map(|(_, csus)| csus.len()).sum();
        format!(
            "checking {rows} of {} rows on {asked} of {of} chains, about {} requests in all\n",
            self.csus.len(),
            rows * REQUESTS_A_ROW
        )
    }

    /// Checks every row, and keeps what was found in the lake's `state/registry.json`.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be kept. What is wrong with a row is in the report.
    pub async fn check(&self) -> Result<RegistryReport, StoreError> {
        let chains = self.by_chain().into_iter();
        let parts = join_all(chains.map(|(name, csus)| async move {
            match self.registry.chain(name) {
                Some(chain) => self.chain(chain, csus).await,
                None => {
                    let why = "the registry has no row for its chain".to_owned();
                    (None, csus.iter().map(|csu| CheckedRow::unasked(csu, why.clone())).collect())
                }
            }
        }));
        let (mut blocks, mut rows) = (BTreeMap::new(), Vec::new());
        for (block, of_chain) in parts.await {
            let of_chain: Vec<CheckedRow> = of_chain;
            if let (Some(block), Some(row)) = (block, of_chain.first()) {
                blocks.insert(row.chain.clone(), block);
            }
            rows.extend(of_chain);
        }
        rows.sort_by(|one, other| one.csu.cmp(&other.csu));
        let (registry, at) = (self.registry.sha256().to_owned(), self.providers.clock.timestamp());
        let report = RegistryReport { registry, at, blocks, rows };
        self.lake.replace_json(&lake::path::registry_check(), &report).await?;
        Ok(report)
    }

    async fn chain(&self, chain: &'a Chain, csus: Vec<&'a Csu>) -> (Option<u64>, Vec<CheckedRow>) {
        let unasked = |why: &dyn ToString| {
            let why = why.to_string();
            csus.iter().map(|csu| CheckedRow::unasked(csu, why.clone())).collect()
        };
        let pool = match Pool::open(chain, self.providers, self.lake, None).await {
            Ok(pool) => pool,
            Err(error) => return (None, unasked(&error)),
        };
        let block = match self.block(&pool, chain).await {
            Ok(block) => block,
            Err(failure) => return (None, unasked(&failure.message)),
        };
        let on = On { check: self, chain, pool: &pool, block };
        let rows = futures::stream::iter(&csus).map(|csu| on.row(csu)).buffered(ROWS_AT_ONCE);
        let rows = rows.collect::<Vec<_>>().await;
        // Both are memories: what cannot be written is told, and no more.
        if let Err(error) = pool.keep(self.lake).await {
            tracing::warn!("{error}");
        }
        (Some(block.number), rows)
    }

    /// The block at which the chain's rows are looked at.
    async fn block(&self, pool: &Pool, chain: &Chain) -> Result<Header, Failure> {
        let until = self.day.as_ref().map_or(0, |(_, window)| window.end);
        let head =
            pool.finalized(chain.finality_blocks, until).await.map_err(|error| Failure::from(&error))?;
        let Some((zone, window)) = &self.day else { return Ok(head) };
        let blocks = Boundaries::new(pool, chain, head).of_day(*window, zone).await;
        let blocks = blocks.map_err(|error| crate::collect::failure_of(&error))?;
        blocks.last.ok_or_else(|| {
            Failure::new(Reason::BlocksMissing, format!("{} has no block on {}", chain.name, window.day))
        })
    }
}

/// Where rows of a chain are checked.
struct On<'c> {
    check: &'c RegistryCheck<'c>,
    chain: &'c Chain,
    pool: &'c Pool,
    block: Header,
}

impl On<'_> {
    async fn row(&self, csu: &Csu) -> CheckedRow {
        let mut row = CheckedRow::unasked(csu, String::new());
        (row.soundness, row.findings, row.block) = (Soundness::Sound, Vec::new(), Some(self.block.number));
        match csu.deployed_block {
            Some(deployed) if deployed > self.block.number => {
                let block = self.block.number;
                row.unknown(format!("is deployed in block {deployed} only, and looked at in block {block}"));
            }
            _ => self.contracts(csu, &mut row).await,
        }
        self.deployment(csu, &mut row).await;
        (self.check.told)(&row);
        row
    }

    /// Whether the entry contract is there since the block that the registry names, and not before.
    async fn deployment(&self, csu: &Csu, row: &mut CheckedRow) {
        let Some(deployed) = csu.deployed_block.filter(|deployed| *deployed > 0) else { return };
        if deployed > self.block.number {
            return;
        }
        row.at_deployment = self.code(csu.entry, deployed).await;
        match &row.at_deployment {
            Code::None => row.wrong(format!(
                "has no code in block {deployed}, in which the registry says it was deployed"
            )),
            Code::Unknown(why) => {
                let what =
                    format!("nobody says whether it has code in block {deployed}, of its deployment: {why}");
                row.unknown(what);
            }
            Code::There | Code::NotAsked => {
                row.before_deployment = self.code_by_anyone(csu.entry, deployed - 1).await;
                if row.before_deployment == Code::There {
                    row.wrong(format!(
                        "has code in block {} already, before that in which the registry says it was deployed",
                        deployed - 1
                    ));
                }
            }
        }
    }

    /// Whether the deployment's contracts are what its family takes them for.
    async fn contracts(&self, csu: &Csu, row: &mut CheckedRow) {
        let block = self.block.number;
        row.at_block = self.code(csu.entry, block).await;
        match &row.at_block {
            Code::None => return row.wrong(format!("has no code in block {block}")),
            Code::Unknown(why) => {
                let what = format!("nobody says whether it has code in block {block}: {why}");
                return row.unknown(what);
            }
            Code::There | Code::NotAsked => {}
        }
        let Some(family) = protocols::family(&csu.family) else {
            return row.unknown(format!("this build knows no family `{}`", csu.family));
        };
        let unit = Unit { csu, family };
        let reader = Reader::new(self.pool, self.chain);
        let history = self.some_of_its_listing(unit).await;
        let mut answers = Vec::new();
        let layout = discover_on(&reader, unit, self.block, &mut answers, &history).await;
        let layout = match layout {
            Ok(layout) => layout,
            Err(failure) if failure.reason == Reason::DiscoveryFailed && family.history(csu).is_none() => {
                row.roles = roles(csu, &Layout::default(), &answers);
                return row.wrong(format!("does not answer as one of {}: {}", csu.family, failure.message));
            }
            // Where logs list the markets, few of which were looked for, the entry contract's own answers must do.
            Err(failure) => {
                row.roles = roles(csu, &Layout::default(), &answers);
                let has_answered = row.roles.iter().any(|role| role.shown == Shown::Answered);
                if failure.reason != Reason::DiscoveryFailed || !has_answered {
                    row.unknown(failure.message);
                }
                return;
            }
        };
        // A listing that was read in part says nothing of how many there are.
        row.markets = family.history(csu).is_none().then_some(layout.markets.len());
        row.roles = roles(csu, &layout, &answers);
        if let Err(error) = self.ask_roles(&reader, &mut row.roles, family.snapshot(csu, &layout)).await {
            row.unknown(error.to_string());
        }
        for role in row.roles.clone() {
            let (name, address) = (&role.role, role.address);
            let asked = role.call.as_deref().unwrap_or("a view call");
            match role.shown {
                Shown::Nothing => row.wrong(format!("its {name} {address} has no code in block {block}")),
                Shown::Reverted => {
                    row.wrong(format!("its {name} {address} refuses {asked} in block {block}"))
                }
                Shown::Answered | Shown::HasCode | Shown::NotAsked => {}
            }
        }
    }

    /// Asks each role that has not answered yet one of the family's view calls, or the next where a version does not have
    /// it; and where the family calls nothing of it, whether it has code.
    async fn ask_roles(
        &self,
        reader: &Reader<'_>,
        roles: &mut [Role],
        calls: Vec<Call>,
    ) -> Result<(), PoolError> {
        for role in roles.iter_mut().filter(|role| role.shown == Shown::NotAsked) {
            let of_role: Vec<Call> =
                calls.iter().filter(|call| call.to == role.address).take(CALLS_A_ROLE).cloned().collect();
            if of_role.is_empty() {
                role.shown = match self.code(role.address, self.block.number).await {
                    Code::There => Shown::HasCode,
                    Code::None => Shown::Nothing,
                    Code::NotAsked | Code::Unknown(_) => Shown::NotAsked,
                };
                continue;
            }
            for call in of_role {
                let records = reader.read(Purpose::Probe, vec![call], self.block.number).await?;
                let Some(record) = records.first() else { continue };
                role.call = Some(record.key.clone());
                role.shown = shown(record);
                if role.shown != Shown::Reverted {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Logs that list markets, where logs do: of the first blocks after the deployment, until there are some.
    async fn some_of_its_listing(&self, unit: Unit<'_>) -> Vec<RawLog> {
        let (Some(filter), Some(from)) = (unit.family.history(unit.csu), unit.csu.deployed_block) else {
            return Vec::new();
        };
        let window = self.pool.widest_window(&filter, from);
        let mut first = from;
        for _ in 0..LISTING_QUERIES {
            let last = first.saturating_add(window - 1).min(self.block.number);
            let Ok(span) = BlockSpan::new(first, last) else { break };
            let mut scan = Scan::default();
            self.pool.scan(&mut scan, &filter, span, 1, |_| {}).await;
            let logs = scan.logs();
            if !logs.is_empty() || scan.failure.is_some() {
                return logs;
            }
            first = last + 1;
        }
        Vec::new()
    }

    /// Whether there is code at an address, by the first word. That there is none is what is expected.
    async fn code_by_anyone(&self, address: Address, block: u64) -> Code {
        match self.pool.ask(&code_of(address, block), read_as::<Bytes>).await {
            Ok((code, _)) if code.is_empty() => Code::None,
            Ok(_) => Code::There,
            Err(error) => Code::Unknown(error.to_string()),
        }
    }

    /// Whether there is code at an address. A node without the block's state says that there is none, so everyone is asked
    /// before that is believed.
    async fn code(&self, address: Address, block: u64) -> Code {
        let question = code_of(address, block);
        let read = |answer| match read_as::<Bytes>(answer)? {
            code if code.is_empty() => Err(NO_CODE.to_owned()),
            _ => Ok(()),
        };
        match self.pool.ask(&question, read).await {
            Ok(_) => Code::There,
            // Who does not hold the block does not count against those who do and see no code.
            Err(PoolError::Refused { refusals, .. })
                if refusals.iter().any(|refusal| refusal.text == NO_CODE)
                    && refusals
                        .iter()
                        .all(|refusal| refusal.text == NO_CODE || refusal.verdict == Verdict::NoArchive) =>
            {
                Code::None
            }
            Err(error) => Code::Unknown(error.to_string()),
        }
    }
}

fn code_of(address: Address, block: u64) -> Question {
    Question {
        purpose: Purpose::Probe,
        method: "eth_getCode",
        params: json!([format!("{address:#x}"), format!("{block:#x}")]),
        block: Some(block),
    }
}

/// The contracts of a deployment by role, with what discovery has shown of them: the entry contract, those that the
/// registry names, the layout's, and those of its first market.
fn roles(csu: &Csu, layout: &Layout, answers: &[CallRecord]) -> Vec<Role> {
    let entry = std::iter::once((csu.entry_role.clone(), csu.entry));
    let named = csu.contracts.iter().map(|(role, address)| (role.clone(), *address));
    let roots = layout.roots.iter().map(|(role, address)| (role.clone(), *address));
    let market = layout.markets.first();
    let of_market = market.into_iter().flat_map(|market| &market.contracts);
    let of_market = of_market.map(|(role, address)| (format!("market.{role}"), *address));
    let mut roles: Vec<Role> = Vec::new();
    for (role, address) in entry.chain(named).chain(roots).chain(of_market) {
        // A zero address stands for a part that the deployment does not have.
        if address.is_zero() || roles.iter().any(|known| known.role == role && known.address == address) {
            continue;
        }
        let answered = answers.iter().find(|answer| answer.to == address && shown(answer) == Shown::Answered);
        let refused = || answers.iter().find(|answer| answer.to == address);
        let record = answered.or_else(refused);
        roles.push(Role {
            role,
            address,
            call: record.map(|record| record.key.clone()),
            shown: record.map_or(Shown::NotAsked, shown),
        });
    }
    roles
}

fn shown(record: &CallRecord) -> Shown {
    match (record.ok, record.output.is_empty()) {
        (true, false) => Shown::Answered,
        (true, true) => Shown::Nothing,
        (false, _) => Shown::Reverted,
    }
}
