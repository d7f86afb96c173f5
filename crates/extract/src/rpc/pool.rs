//! The endpoints of one chain: questions are put to one after the other until an answer passes its check.
//!
//! Every answer is checked before it is believed. An endpoint that refuses, or whose answer fails the check, is passed
//! over for that question and the next one is asked; only when all have been is the question given up, with everyone's
//! reason. Whom to ask first is [`route`]'s word; log scans are in [`scan`](crate::rpc::scan), second opinions in
//! [`trust`](crate::rpc::trust).

mod blocks;
mod error;

use crate::rpc::classify::Verdict;
use crate::rpc::endpoint::{Endpoint, Refusal, is_passing};
use crate::rpc::hedge::Hedges;
use crate::rpc::journal::{Journal, digest_of};
use crate::rpc::patience::{Patience, SHORTEST_REST, may_pass};
use crate::rpc::providers::Providers;
use crate::rpc::recording::Recorder;
use crate::rpc::route::{self, Task};
use crate::rpc::tally::{Asked, Purpose};
use crate::rpc::trust::{Caught, Distrust};
use crate::rpc::wire;
use lake::bronze::LogFilter;
use lake::registry::Chain;
use lake::{Address, Bytes, Lake};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

pub(crate) use blocks::{Known, RpcHeader};
pub use error::PoolError;

/// Headers kept in memory, a chain.
const HEADERS_KEPT: u64 = 20_000;
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
    distrusted: Mutex<Vec<Caught>>,
    headers: moka::future::Cache<u64, Known>,
    pub(crate) hedges: Hedges,
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
        let client = wire::http_client()?;
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
            hedges: Hedges::default(),
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
            tokio::time::sleep(SHORTEST_REST).await;
            endpoints.iter().for_each(|endpoint| endpoint.forgive());
            ids = all_ids().await;
        }
        for (endpoint, id) in endpoints.iter().zip(ids) {
            match id
                .and_then(|id| read_as::<alloy_primitives::U64>(id).map_err(|why| bad_answer(endpoint, why)))
            {
                Ok(id) if id == alloy_primitives::U64::from(chain.chain_id) => {
                    endpoint.serves(id);
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
        let caught = self.distrusted().into_iter().map(|caught| match caught.of {
            Distrust::Everything => format!("endpoint not trusted: {}", caught.refusal),
            Distrust::Logs => format!("endpoint not trusted with logs: {}", caught.refusal),
        });
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

    /// Ends a day: what is asked from now on is in no journal. Returns the day's.
    pub fn end(&self) -> Option<Arc<Journal>> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner).take()
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
    pub fn distrusted(&self) -> Vec<Caught> {
        self.distrusted.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Why endpoints are not asked for this in this run.
    pub(crate) fn distrusted_with(&self, method: &str) -> Vec<Refusal> {
        let caught = self.distrusted().into_iter().filter(|caught| caught.of.covers(method));
        caught.map(|caught| caught.refusal).collect()
    }

    /// Asks an endpoint no more in this run for what it is not believed, and forgets what it has said of it.
    pub async fn distrust(&self, caught: Caught) {
        let (label, of) = (caught.refusal.label.clone(), caught.of);
        if let Some(journal) = self.journal()
            && let Err(error) = journal.forget(&label, |method| of.covers(method)).await
        {
            tracing::warn!("{error}");
        }
        if of == Distrust::Everything {
            self.headers.invalidate_all();
        }
        self.distrusted.lock().unwrap_or_else(PoisonError::into_inner).push(caught);
    }

    pub(crate) fn is_distrusted_with(&self, label: &str, method: &str) -> bool {
        self.distrusted_with(method).iter().any(|refusal| refusal.label == label)
    }

    /// Trusted endpoints for a task, the cheapest first.
    pub(crate) fn candidates(&self, task: &Task<'_>) -> Vec<&Arc<Endpoint>> {
        let (method, _) = task.about();
        let trusted =
            self.endpoints.iter().filter(|endpoint| !self.is_distrusted_with(endpoint.label(), method));
        route::in_order(trusted, task)
    }

    /// How many endpoints would share a scan of blocks from this one on.
    pub fn sharing_scan(&self, filter: &LogFilter, block: u64) -> usize {
        let key = digest_of(filter);
        let trusted = self.endpoints.iter();
        let trusted = trusted.filter(|endpoint| !self.is_distrusted_with(endpoint.label(), "eth_getLogs"));
        route::sharing(trusted, &Task::Scan { filter: &key, block })
    }

    /// Blocks of one log query of the endpoint that would be asked first for a scan of blocks from this one on.
    pub fn widest_window(&self, filter: &LogFilter, block: u64) -> u64 {
        let key = digest_of(filter);
        let first = self.candidates(&Task::Scan { filter: &key, block });
        first.first().map_or(1, |endpoint| endpoint.log_window(&key))
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
        let task = Task::Request { method, block: *block };
        let (read, answer, label) = self.first_accepted((*purpose, task), ask, read).await?;
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
        (purpose, task): (Purpose, Task<'_>),
        ask: impl Fn(&Arc<Endpoint>) -> F,
        read: impl Fn(&A) -> Result<T, String>,
    ) -> Result<(T, A, String), PoolError>
    where
        F: Future<Output = Result<A, Refusal>>,
    {
        let is_good = |answer: &Result<A, Refusal>| match answer {
            Ok(answer) => read(answer).is_ok(),
            Err(refusal) => matches!(refusal.verdict, Verdict::Revert(_)),
        };
        let (method, block) = task.about();
        let mut patience = Patience::default();
        let mut refusals = self.distrusted_with(method);
        loop {
            for endpoint in self.candidates(&task) {
                if refusals.iter().any(|refusal| refusal.label == endpoint.label()) {
                    continue;
                }
                if let Err(refusal) = patience.admit(endpoint, purpose) {
                    refusals.push(refusal);
                    continue;
                }
                let asked = self.in_good_time(&task, endpoint, &ask, &is_good, &mut refusals).await;
                match asked {
                    (endpoint, Ok(answer)) => match read(&answer) {
                        Ok(read) => return Ok((read, answer, endpoint.label().to_owned())),
                        Err(why) => refusals.push(bad_answer(endpoint, why)),
                    },
                    (_, Err(Refusal { verdict: Verdict::Revert(data), .. })) => {
                        return Err(PoolError::Revert(data));
                    }
                    (_, Err(refusal)) if matches!(refusal.verdict, Verdict::SmallerBatch { .. }) => {
                        return Err(PoolError::SmallerBatch { refusal });
                    }
                    (endpoint, Err(refusal)) => {
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
            match self.rest(&refusals, &mut patience) {
                Some(rest) => {
                    tokio::time::sleep(rest).await;
                    refusals.retain(|refusal| !may_pass(refusal));
                }
                None => {
                    let (chain, method) = (self.chain.clone(), method.to_owned());
                    return Err(PoolError::Refused { chain, method, refusals });
                }
            }
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
        let task = Task::Batch { method: "eth_call", block: Some(block) };
        let (answers, _, label) = self.first_accepted((purpose, task), ask, read).await?;
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

pub(crate) fn bad_answer(endpoint: &Endpoint, text: String) -> Refusal {
    Refusal { label: endpoint.label().to_owned(), verdict: Verdict::BadAnswer, text }
}

/// A result as a method's type, or what is wrong with it.
pub(crate) fn read_as<R: DeserializeOwned>(answer: Value) -> Result<R, String> {
    serde_json::from_value(answer).map_err(|error| format!("its answer cannot be read: {error}"))
}
