//! The endpoints of one chain: questions are put to one after the other until an answer passes its check.
//!
//! Every answer is checked before it is believed. An endpoint that refuses, or whose answer fails the check, is passed
//! over for that question and the next one is asked; only when all have been is the question given up, with everyone's
//! reason. Whom to ask first is [`route`]'s word; log scans are in [`scan`](crate::rpc::scan), second opinions in
//! [`trust`](crate::rpc::trust).

use crate::rpc::classify::Verdict;
use crate::rpc::endpoint::{Endpoint, Refusal, is_passing};
use crate::rpc::journal::{Journal, digest_of};
use crate::rpc::providers::{LeftOut, Providers};
use crate::rpc::recording::{Recorder, RecordingError};
use crate::rpc::route::{self, Task};
use crate::rpc::tally::{Asked, Purpose};
use lake::bronze::{Header, LogFilter};
use lake::registry::Chain;
use lake::status::Reason;
use lake::{Address, B256, Bytes, Lake};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Headers kept in memory, a chain.
const HEADERS_KEPT: u64 = 20_000;
/// How long to rest before everyone is asked once more, when all that stood against an answer were passing faults of
/// endpoints that had answered before.
pub(crate) const RESTS: [Duration; 3] =
    [Duration::from_secs(5), Duration::from_secs(30), Duration::from_secs(120)];

/// Why a chain gave no answer.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum PoolError {
    /// There is nobody to ask.
    #[error("chain {chain} has no endpoint{}", left_out_text(left_out))]
    NoEndpoint {
        /// Chain.
        chain: String,
        /// Rows whose variable is not set.
        left_out: Vec<LeftOut>,
    },
    /// Endpoints answer, but serve other chains.
    #[error(
        "chain {chain} has no endpoint that serves it{}\nhint: mend `url` or `chain` in the providers file",
        lines(refusals)
    )]
    WrongChain {
        /// Chain.
        chain: String,
        /// What each said.
        refusals: Vec<Refusal>,
    },
    /// The contract's own answer.
    #[error("the call reverted")]
    Revert(Bytes),
    /// Everyone who could be asked said no.
    #[error("{method} on {chain}: no endpoint gave a usable answer{}", lines(refusals))]
    Refused {
        /// Chain.
        chain: String,
        /// Method, with what it was about.
        method: String,
        /// What each said.
        refusals: Vec<Refusal>,
    },
    /// The endpoint wants a smaller batch.
    #[error("the batch is too large for the node\n  {refusal}")]
    SmallerBatch {
        /// What it said.
        refusal: Refusal,
    },
    /// A recording cannot be read.
    #[error("the endpoint's recording cannot be used\n  {why}")]
    Recording {
        /// Why.
        why: String,
    },
}

impl From<RecordingError> for PoolError {
    fn from(error: RecordingError) -> Self {
        Self::Recording { why: error.to_string() }
    }
}

impl PoolError {
    /// Whether a person must change something before it can work: no other run will fare better.
    pub fn is_configuration(&self) -> bool {
        matches!(self, Self::NoEndpoint { .. } | Self::WrongChain { .. } | Self::Recording { .. })
    }

    /// The word for the ledger.
    pub fn reason(&self) -> Reason {
        match self {
            Self::NoEndpoint { .. } | Self::Recording { .. } => Reason::Unreachable,
            Self::WrongChain { .. } => Reason::WrongChain,
            Self::Revert(_) => Reason::CallFailed,
            Self::SmallerBatch { .. } => Reason::Unreachable,
            Self::Refused { refusals, .. } => {
                let all = |test: fn(&Verdict) -> bool| refusals.iter().all(|refusal| test(&refusal.verdict));
                let any = |test: fn(&Verdict) -> bool| refusals.iter().any(|refusal| test(&refusal.verdict));
                if any(|v| matches!(v, Verdict::NotRecorded)) {
                    Reason::NotRecorded
                } else if any(|v| matches!(v, Verdict::BadAnswer)) {
                    Reason::BadAnswer
                } else if all(|v| matches!(v, Verdict::NoArchive)) {
                    Reason::NoArchive
                } else if all(is_spent) {
                    Reason::Budget
                } else if all(|v| matches!(v, Verdict::TooFast { .. }) || is_spent(v)) {
                    Reason::RateLimited
                } else {
                    Reason::Unreachable
                }
            }
        }
    }
}

fn left_out_text(left_out: &[LeftOut]) -> String {
    match left_out {
        [] => "\nhint: add an [[endpoint]] for it to the providers file".to_owned(),
        rows => {
            let names: BTreeSet<_> = rows.iter().map(|row| row.variable.as_str()).collect();
            let names: Vec<_> = names.into_iter().collect();
            format!(
                " whose key is set\nhint: set {} to a key, for example: export {}=...",
                names.join(" or "),
                names[0]
            )
        }
    }
}

fn lines(items: &[impl std::fmt::Display]) -> String {
    items.iter().fold(String::new(), |mut text, item| {
        // Writing to a String cannot fail.
        let _ = write!(text, "\n  {item}");
        text
    })
}

/// A question to a chain.
#[derive(Debug, Clone)]
pub struct Question {
    /// What it is for.
    pub purpose: Purpose,
    /// Method.
    pub method: &'static str,
    /// Params.
    pub params: Value,
    /// The final block that it is about. Its answer never changes, so it is kept until its day is done.
    pub block: Option<u64>,
}

/// The endpoints of one chain, each confirmed to serve it.
pub struct Pool {
    chain: String,
    pub(crate) endpoints: Vec<Arc<Endpoint>>,
    distrusted: Mutex<Vec<Refusal>>,
    headers: moka::future::Cache<u64, Known>,
    journal: Mutex<Option<Arc<Journal>>>,
    /// Endpoints that were left out after being asked for their chain id, and why.
    pub rejected: Vec<Refusal>,
}

impl Pool {
    /// Opens a chain's endpoints, with what earlier runs on the lake learned of them, and asks each for its chain id.
    ///
    /// # Errors
    /// [`PoolError::NoEndpoint`], [`PoolError::WrongChain`], or a recording that cannot be read.
    pub async fn open(
        chain: &Chain,
        providers: &Providers,
        lake: &Lake,
        recorder: Option<Arc<Recorder>>,
    ) -> Result<Self, PoolError> {
        let client = reqwest::Client::new();
        let mut endpoints = Vec::new();
        for config in providers.endpoints.iter().filter(|config| config.chain == chain.name) {
            let endpoint = Endpoint::open(config, &client, recorder.clone(), providers.clock)?;
            endpoint.take_up(lake).await;
            endpoints.push(Arc::new(endpoint));
        }
        if endpoints.is_empty() {
            let left_out = providers.left_out.iter().filter(|row| row.chain == chain.name).cloned().collect();
            return Err(PoolError::NoEndpoint { chain: chain.name.clone(), left_out });
        }
        let mut pool = Self {
            chain: chain.name.clone(),
            endpoints: Vec::new(),
            distrusted: Mutex::default(),
            headers: moka::future::Cache::new(HEADERS_KEPT),
            journal: Mutex::default(),
            rejected: Vec::new(),
        };
        let mut serves_another = false;
        let nothing = json!([]);
        let all_ids = || {
            let ids =
                endpoints.iter().map(|endpoint| endpoint.request(Purpose::Identity, "eth_chainId", &nothing));
            futures::future::join_all(ids)
        };
        let mut ids = all_ids().await;
        let may_pass = |id: &Result<Value, Refusal>| id.as_ref().is_err_and(|why| is_passing(&why.verdict));
        if ids.iter().all(Result::is_err) && ids.iter().any(may_pass) {
            // Nobody at all: that may be a bad moment, and giving up now gives up the whole run.
            tokio::time::sleep(RESTS[0]).await;
            ids = all_ids().await;
        }
        for (endpoint, id) in endpoints.iter().zip(ids) {
            match id
                .and_then(|id| read_as::<alloy_primitives::U64>(id).map_err(|why| bad_answer(endpoint, why)))
            {
                Ok(id) if id == alloy_primitives::U64::from(chain.chain_id) => {
                    pool.endpoints.push(Arc::clone(endpoint));
                }
                Ok(id) => {
                    serves_another = true;
                    let text = format!(
                        "serves chain id {id}, but {} is {} in the registry",
                        chain.name, chain.chain_id
                    );
                    pool.rejected.push(bad_answer(endpoint, text));
                }
                Err(refusal) => pool.rejected.push(refusal),
            }
        }
        if pool.endpoints.is_empty() {
            let (chain, refusals) = (pool.chain, pool.rejected);
            return Err(match serves_another {
                true => PoolError::WrongChain { chain, refusals },
                false => PoolError::Refused { chain, method: "eth_chainId".to_owned(), refusals },
            });
        }
        Ok(pool)
    }

    /// The chain's name.
    pub fn chain(&self) -> &str {
        &self.chain
    }

    /// What each endpoint was asked, by label.
    pub fn asked(&self) -> BTreeMap<String, Asked> {
        self.endpoints.iter().map(|endpoint| (endpoint.label().to_owned(), endpoint.asked())).collect()
    }

    /// What a person should know of the endpoints after a run.
    pub fn warnings(&self) -> Vec<String> {
        let caught = self.distrusted().into_iter().map(|why| format!("endpoint not trusted: {why}"));
        let left_out = self.rejected.iter().map(|why| format!("endpoint left out: {why}"));
        let others = self.endpoints.iter().flat_map(|endpoint| endpoint.warnings());
        caught.chain(left_out).chain(others).collect()
    }

    /// Keeps what was learned of the endpoints.
    ///
    /// # Errors
    /// [`lake::store::StoreError`].
    pub async fn keep(&self, lake: &Lake) -> Result<(), lake::store::StoreError> {
        for endpoint in &self.endpoints {
            endpoint.keep(lake).await?;
        }
        Ok(())
    }

    /// Begins a day: from now on checked answers are kept in its journal, and not asked for when they are there.
    pub fn begin(&self, journal: Journal) {
        *self.journal.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(journal));
    }

    /// The journal of the day.
    pub fn journal(&self) -> Option<Arc<Journal>> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Operators of these endpoints.
    pub fn operators(&self, labels: &BTreeSet<String>) -> BTreeSet<String> {
        let those = self.endpoints.iter().filter(|endpoint| labels.contains(endpoint.label()));
        those.map(|endpoint| endpoint.operator().to_owned()).collect()
    }

    /// Endpoints that were caught with wrong answers, or without what they should hold.
    pub fn distrusted(&self) -> Vec<Refusal> {
        self.distrusted.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks an endpoint no more in this run, and forgets what it has said of the day.
    pub async fn distrust(&self, refusal: Refusal) {
        if let Some(journal) = self.journal()
            && let Err(error) = journal.forget(&refusal.label).await
        {
            tracing::warn!("{error}");
        }
        self.headers.invalidate_all();
        self.distrusted.lock().unwrap_or_else(PoisonError::into_inner).push(refusal);
    }

    pub(crate) fn is_distrusted(&self, label: &str) -> bool {
        self.distrusted().iter().any(|refusal| refusal.label == label)
    }

    /// Trusted endpoints for a task, the cheapest first.
    pub(crate) fn candidates(&self, task: &Task<'_>) -> Vec<&Arc<Endpoint>> {
        let trusted = self.endpoints.iter().filter(|endpoint| !self.is_distrusted(endpoint.label()));
        route::in_order(trusted, task)
    }

    /// How many endpoints would share a scan of blocks from this one on.
    pub fn sharing_scan(&self, filter: &LogFilter, block: u64) -> usize {
        let key = digest_of(filter);
        let trusted = self.endpoints.iter().filter(|endpoint| !self.is_distrusted(endpoint.label()));
        route::sharing(trusted, &Task::Scan { filter: &key, block })
    }

    /// Asks one endpoint after the other until `read` accepts an answer. Returns what it made of the answer, with the
    /// endpoint's label.
    ///
    /// # Errors
    /// [`PoolError`]: a revert and a wish for a smaller batch at once, everything else when all have been asked.
    pub async fn ask<T>(
        &self,
        question: &Question,
        read: impl Fn(Value) -> Result<T, String>,
    ) -> Result<(T, String), PoolError> {
        let Question { purpose, method, params, block } = question;
        let journal = self.journal().filter(|_| block.is_some());
        if let Some((answer, label)) = journal.as_ref().and_then(|journal| journal.answer(method, params))
            && let Ok(read) = read(answer)
        {
            return Ok((read, label));
        }
        let ask = |endpoint: &Arc<Endpoint>| {
            let (endpoint, purpose) = (Arc::clone(endpoint), *purpose);
            async move { endpoint.request(purpose, method, params).await }
        };
        let read = |answer: &Value| read(answer.clone());
        let (read, answer, label) = self.first_accepted(method, *block, ask, read).await?;
        if let Some(journal) = journal
            && let Err(error) = journal.keep_answer(method, params, &label, &answer).await
        {
            tracing::warn!("{error}");
        }
        Ok((read, label))
    }

    /// Goes from endpoint to endpoint, and rests where only passing faults were in the way.
    async fn first_accepted<A, T, F>(
        &self,
        method: &'static str,
        block: Option<u64>,
        ask: impl Fn(&Arc<Endpoint>) -> F,
        read: impl Fn(&A) -> Result<T, String>,
    ) -> Result<(T, A, String), PoolError>
    where
        F: Future<Output = Result<A, Refusal>>,
    {
        let mut rests = RESTS.iter();
        loop {
            let mut refusals = self.distrusted();
            for endpoint in self.candidates(&Task::Request { method, block }) {
                match ask(endpoint).await {
                    Ok(answer) => match read(&answer) {
                        Ok(read) => return Ok((read, answer, endpoint.label().to_owned())),
                        Err(why) => refusals.push(bad_answer(endpoint, why)),
                    },
                    Err(Refusal { verdict: Verdict::Revert(data), .. }) => {
                        return Err(PoolError::Revert(data));
                    }
                    Err(refusal) if matches!(refusal.verdict, Verdict::SmallerBatch { .. }) => {
                        return Err(PoolError::SmallerBatch { refusal });
                    }
                    Err(refusal) => {
                        // One may be slow, two are not.
                        let too_long = |refusal: &Refusal| refusal.verdict == Verdict::TookTooLong;
                        if too_long(&refusal) && refusals.iter().any(too_long) {
                            return Err(PoolError::SmallerBatch { refusal });
                        }
                        if let (Verdict::NoArchive, Some(block)) = (&refusal.verdict, block) {
                            endpoint.lacks_block(method, block);
                        }
                        refusals.push(refusal);
                    }
                }
            }
            if let Some(slow) = refusals.iter().position(|refusal| refusal.verdict == Verdict::TookTooLong) {
                return Err(PoolError::SmallerBatch { refusal: refusals.swap_remove(slow) });
            }
            match rests.next() {
                Some(rest) if self.may_pass(&refusals) => tokio::time::sleep(*rest).await,
                _ => {
                    let (chain, method) = (self.chain.clone(), method.to_owned());
                    return Err(PoolError::Refused { chain, method, refusals });
                }
            }
        }
    }

    /// Whether another round may fare better: a refusal was a passing fault of an endpoint that has answered before.
    pub(crate) fn may_pass(&self, refusals: &[Refusal]) -> bool {
        let has_answered = |label: &str| {
            self.endpoints.iter().any(|endpoint| endpoint.label() == label && endpoint.has_answered())
        };
        let passes = |verdict: &Verdict| is_passing(verdict) || *verdict == Verdict::TookTooLong;
        refusals.iter().any(|refusal| passes(&refusal.verdict) && has_answered(&refusal.label))
    }

    /// The header of a block. Asked for once, however many wait for it.
    ///
    /// # Errors
    /// [`PoolError`], also when no endpoint has the block.
    pub async fn header(&self, purpose: Purpose, number: u64) -> Result<Header, PoolError> {
        self.known_header(purpose, number).await.map(|known| known.header)
    }

    /// As [`Pool::header`], with what the header tells of the block's logs.
    pub(crate) async fn known_header(&self, purpose: Purpose, number: u64) -> Result<Known, PoolError> {
        let ask = async {
            let read = |answer: Value| match read_as::<Option<RpcHeader>>(answer)? {
                Some(header) if header.number == number => Ok(Known::from(header)),
                Some(header) => Err(format!("answered block {} when asked for {number}", header.number)),
                None => Err(format!("has no block {number}")),
            };
            let params = json!([format!("{number:#x}"), false]);
            let question = Question { purpose, method: "eth_getBlockByNumber", params, block: Some(number) };
            self.ask(&question, read).await.map(|(header, _)| header)
        };
        self.headers.try_get_with(number, ask).await.map_err(|error: Arc<PoolError>| PoolError::clone(&error))
    }

    /// The last final block: that of the `finalized` tag, or where no endpoint knows the tag, the block so many behind
    /// the head. One that lags is passed over: the next is asked until one has got to the time `until` (Unix seconds), and
    /// where none has, the latest that was met is taken.
    ///
    /// # Errors
    /// [`PoolError`].
    pub async fn finalized(&self, blocks_behind_head: u64, until: i64) -> Result<Header, PoolError> {
        match self.latest_by_tag("finalized", until).await {
            Err(PoolError::Refused { refusals, .. })
                if refusals.iter().any(|refusal| does_not_know_tag(&refusal.verdict)) =>
            {
                let head = self.latest_by_tag("latest", until).await?;
                self.header(Purpose::Identity, head.number.saturating_sub(blocks_behind_head)).await
            }
            outcome => outcome,
        }
    }

    /// The block of a tag by the first endpoint that has got to a time, or the latest of all of them.
    async fn latest_by_tag(&self, tag: &'static str, until: i64) -> Result<Header, PoolError> {
        let latest: Mutex<Option<Header>> = Mutex::default();
        let read = |answer: Value| {
            let header = read_as::<Option<RpcHeader>>(answer)?;
            let header = header
                .map(|header| Known::from(header).header)
                .ok_or_else(|| format!("has no {tag} block"))?;
            if i64::try_from(header.timestamp).unwrap_or(i64::MAX) >= until {
                return Ok(header);
            }
            let mut latest = latest.lock().unwrap_or_else(PoisonError::into_inner);
            if latest.is_none_or(|known| known.number < header.number) {
                *latest = Some(header);
            }
            Err(format!("has got to {tag} block {} only", header.number))
        };
        let (purpose, params) = (Purpose::Identity, json!([tag, false]));
        let question = Question { purpose, method: "eth_getBlockByNumber", params, block: None };
        let asked = self.ask(&question, read).await;
        let latest = *latest.lock().unwrap_or_else(PoisonError::into_inner);
        match (asked, latest) {
            (Ok((header, _)), _) | (Err(_), Some(header)) => Ok(header),
            (Err(error), None) => Err(error),
        }
    }

    /// The return data of a view call at a block, as `read` makes of it.
    ///
    /// # Errors
    /// [`PoolError`]; a revert is [`PoolError::Revert`].
    pub async fn call<T>(
        &self,
        purpose: Purpose,
        to: Address,
        input: &Bytes,
        block: u64,
        read: impl Fn(Bytes) -> Result<T, String>,
    ) -> Result<(T, String), PoolError> {
        let params = json!([{ "to": format!("{to:#x}"), "data": input }, format!("{block:#x}")]);
        let question = Question { purpose, method: "eth_call", params, block: Some(block) };
        self.ask(&question, |answer| read(read_as(answer)?)).await
    }

    /// The return data, or the revert data, of view calls at a block, sent in as few JSON-RPC batches as the endpoint
    /// takes. `all_params` are the params of one `eth_call` each.
    ///
    /// # Errors
    /// [`PoolError`].
    pub async fn call_batch(
        &self,
        purpose: Purpose,
        all_params: &[Value],
        block: u64,
    ) -> Result<(Vec<Result<Bytes, Bytes>>, String), PoolError> {
        let journal = self.journal();
        let ask = |endpoint: &Arc<Endpoint>| {
            let (endpoint, journal) = (Arc::clone(endpoint), journal.clone());
            async move { batched(&endpoint, purpose, all_params, journal.as_deref()).await }
        };
        let read = |answers: &Vec<Result<Value, Bytes>>| {
            let read = |answer: &Result<Value, Bytes>| match answer {
                Ok(value) => read_as::<Bytes>(value.clone()).map(Ok),
                Err(data) => Ok(Err(data.clone())),
            };
            answers.iter().map(read).collect::<Result<Vec<_>, String>>()
        };
        let (answers, _, label) = self.first_accepted("eth_call", Some(block), ask, read).await?;
        Ok((answers, label))
    }
}

/// All answers of one endpoint, in batches of as many members as it takes. Each batch is kept in the day's journal.
async fn batched(
    endpoint: &Endpoint,
    purpose: Purpose,
    all_params: &[Value],
    journal: Option<&Journal>,
) -> Result<Vec<Result<Value, Bytes>>, Refusal> {
    let mut answers: Vec<Result<Value, Bytes>> = Vec::with_capacity(all_params.len());
    while answers.len() < all_params.len() {
        let rest = &all_params[answers.len()..];
        let members = &rest[..rest.len().min(endpoint.most_members("eth_call"))];
        if let Some(known) = journal.and_then(|journal| kept_batch(journal, endpoint, members)) {
            answers.extend(known);
            continue;
        }
        match endpoint.batch(purpose, "eth_call", members).await {
            Ok(part) => {
                let is_revert = |refusal: Refusal| match refusal.verdict {
                    Verdict::Revert(data) => Ok(Err(data)),
                    _ => Err(refusal),
                };
                let part =
                    part.into_iter().map(|answer| answer.map_or_else(is_revert, |value| Ok(Ok(value))));
                let part = part.collect::<Result<Vec<Result<Value, Bytes>>, Refusal>>()?;
                if let Some(journal) = journal
                    && let Ok(kept) = serde_json::to_value(&part)
                    && let Err(error) =
                        journal.keep_answer(BATCH, &json!(members), endpoint.label(), &kept).await
                {
                    tracing::warn!("{error}");
                }
                answers.extend(part);
            }
            Err(Refusal { verdict: Verdict::SmallerBatch { at_most }, .. }) if members.len() > 1 => {
                let told = at_most.and_then(|most| usize::try_from(most).ok());
                endpoint.cap_members(
                    told.filter(|most| (1..members.len()).contains(most)).unwrap_or(members.len() / 2),
                );
            }
            Err(refusal) => return Err(refusal),
        }
    }
    Ok(answers)
}

/// What the journal calls a JSON-RPC batch of `eth_call`s.
const BATCH: &str = "eth_call batch";

/// The answers to a batch by the same endpoint, if the journal has them.
fn kept_batch(
    journal: &Journal,
    endpoint: &Endpoint,
    members: &[Value],
) -> Option<Vec<Result<Value, Bytes>>> {
    let (answers, label) = journal.answer(BATCH, &json!(members))?;
    let answers: Vec<Result<Value, Bytes>> = serde_json::from_value(answers).ok()?;
    (label == endpoint.label() && answers.len() == members.len()).then_some(answers)
}

/// Whether a key's quota is spent, by our count or by the endpoint's word.
fn is_spent(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::MonthSpent | Verdict::Park { .. })
}

/// Whether a refusal of a block tag may mean that the node does not know the word.
fn does_not_know_tag(verdict: &Verdict) -> bool {
    use Verdict::{BadAnswer, Elsewhere, Fatal, NotYet, Unknown};
    matches!(verdict, Elsewhere | BadAnswer | Fatal | NotYet | Unknown)
}

pub(crate) fn bad_answer(endpoint: &Endpoint, text: String) -> Refusal {
    Refusal { label: endpoint.label().to_owned(), verdict: Verdict::BadAnswer, text }
}

/// A result as a method's type, or what is wrong with it.
pub(crate) fn read_as<R: DeserializeOwned>(answer: Value) -> Result<R, String> {
    serde_json::from_value(answer).map_err(|error| format!("its answer cannot be read: {error}"))
}

/// The fields of an RPC block that are kept.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RpcHeader {
    #[serde(with = "alloy_serde::quantity")]
    number: u64,
    hash: B256,
    parent_hash: B256,
    #[serde(with = "alloy_serde::quantity")]
    timestamp: u64,
    #[serde(default)]
    logs_bloom: Bytes,
}

/// A header, and whether its block holds a log.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known {
    pub(crate) header: Header,
    /// Whether its bloom filter (Ethereum yellow paper, 4.4.3) is neither empty nor full: then it holds at least one.
    pub(crate) holds_logs: bool,
}

impl From<RpcHeader> for Known {
    fn from(header: RpcHeader) -> Self {
        let RpcHeader { number, hash, parent_hash, timestamp, logs_bloom } = header;
        let bits: u32 = logs_bloom.iter().map(|byte| byte.count_ones()).sum();
        Self {
            header: Header { number, hash, parent_hash, timestamp },
            holds_logs: bits > 0 && bits < 8 * 256,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_without_keys_says_which_variable_to_set() {
        let row = |variable: &str| LeftOut {
            label: "a".into(),
            chain: "ethereum".into(),
            variable: variable.into(),
        };
        let error = PoolError::NoEndpoint {
            chain: "ethereum".into(),
            left_out: vec![row("ALCHEMY_KEY_1"), row("INFURA_KEY_1")],
        };
        assert_eq!(
            error.to_string(),
            "chain ethereum has no endpoint whose key is set\nhint: set ALCHEMY_KEY_1 or INFURA_KEY_1 to a key, for example: export ALCHEMY_KEY_1=..."
        );
    }
}
