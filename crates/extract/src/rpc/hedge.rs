//! Asking a second endpoint when the first is late: near the end of a batch of questions, when one straggler keeps
//! everybody waiting.
//!
//! Only small questions are asked twice, never for logs; only of an endpoint that has plenty left of its quota; and at most
//! two of a hundred. Whose answer comes first is taken, and both are the chain's, so nothing that is written depends on it.

use crate::rpc::endpoint::{Endpoint, Refusal};
use crate::rpc::pool::Pool;
use crate::rpc::route::Task;
use std::collections::{BTreeMap, VecDeque};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Methods whose questions may be asked twice: cheap, and the same answer from everyone.
const METHODS: [&str; 2] = ["eth_call", "eth_getBlockByNumber"];
/// An answer is not late before so long.
const NOT_LATE_BEFORE: Duration = Duration::from_millis(500);
/// Latencies of a method that are looked back on, and how many there must be to say what is usual.
const LOOKED_BACK_ON: usize = 100;
const ENOUGH: usize = 20;
/// Share of the second one's quota that must be left.
const LEFT_OF_QUOTA: f64 = 0.2;
/// Questions of which one may be asked twice.
const QUESTIONS_A_HEDGE: u64 = 50;
/// A batch is near its end when one question of so many is still open.
const LAST_OF: u64 = 20;

/// How long an endpoint took to answer of late, by method.
#[derive(Default)]
pub(crate) struct Latencies(Mutex<BTreeMap<&'static str, VecDeque<Duration>>>);

/// A request that is under way. When it is dropped it has taken as long as it has; one that was given up is late at least.
pub(crate) struct Timed<'l> {
    of: &'l Latencies,
    method: &'static str,
    began: Instant,
}

impl Latencies {
    pub(crate) fn begin(&self, method: &'static str) -> Timed<'_> {
        Timed { of: self, method, began: Instant::now() }
    }

    /// Within which time nineteen of twenty answers came; none when there were too few of them.
    pub(crate) fn usual(&self, method: &str) -> Option<Duration> {
        let latencies = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut of_method: Vec<Duration> = latencies.get(method)?.iter().copied().collect();
        if of_method.len() < ENOUGH {
            return None;
        }
        of_method.sort_unstable();
        of_method.get((of_method.len() * 95).div_ceil(100) - 1).copied()
    }
}

impl Drop for Timed<'_> {
    fn drop(&mut self) {
        let mut latencies = self.of.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_method = latencies.entry(self.method).or_default();
        of_method.push_back(self.began.elapsed());
        if of_method.len() > LOOKED_BACK_ON {
            of_method.pop_front();
        }
    }
}

/// How often a pool has asked, and asked twice; and how far the batch of questions is that is being asked.
#[derive(Default)]
pub(crate) struct Hedges {
    asked: AtomicU64,
    twice: AtomicU64,
    of_batch: AtomicU64,
    open: AtomicU64,
}

impl Hedges {
    fn is_near_end(&self) -> bool {
        let (of_batch, open) = (self.of_batch.load(Ordering::Relaxed), self.open.load(Ordering::Relaxed));
        // Questions that come one by one are each the last of theirs.
        open <= 1 || open.saturating_mul(LAST_OF) <= of_batch
    }

    fn may_ask_twice(&self) -> bool {
        let (asked, twice) = (self.asked.load(Ordering::Relaxed), self.twice.load(Ordering::Relaxed));
        (twice + 1) * QUESTIONS_A_HEDGE <= asked
    }
}

/// Many questions that somebody waits for together.
pub struct Batch<'p>(&'p Hedges);

impl Batch<'_> {
    /// One of them is answered.
    pub fn one_done(&self) {
        let less = |open: u64| Some(open.saturating_sub(1));
        // It always is: `less` never says no.
        let _updated = self.0.open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        self.0.of_batch.store(0, Ordering::Relaxed);
        self.0.open.store(0, Ordering::Relaxed);
    }
}

impl Pool {
    /// Begins a batch of so many questions. One at a time.
    pub fn batch(&self, questions: u64) -> Batch<'_> {
        self.hedges.of_batch.store(questions, Ordering::Relaxed);
        self.hedges.open.store(questions, Ordering::Relaxed);
        Batch(&self.hedges)
    }

    /// Asks an endpoint; and where its answer is late and somebody else may be asked as well, both. Returns whose answer
    /// counts: the first that is good, or the last. What the other one refused with goes to `refusals`.
    pub(crate) async fn in_good_time<'e, A, F>(
        &'e self,
        task: &Task<'_>,
        endpoint: &'e Arc<Endpoint>,
        ask: &impl Fn(&Arc<Endpoint>) -> F,
        is_good: &impl Fn(&Result<A, Refusal>) -> bool,
        refusals: &mut Vec<Refusal>,
    ) -> (&'e Arc<Endpoint>, Result<A, Refusal>)
    where
        F: Future<Output = Result<A, Refusal>>,
    {
        let Task::Request { method, .. } = *task else { return (endpoint, ask(endpoint).await) };
        if !METHODS.contains(&method) {
            return (endpoint, ask(endpoint).await);
        }
        self.hedges.asked.fetch_add(1, Ordering::Relaxed);
        let mut first = pin!(ask(endpoint));
        let second = loop {
            // An endpoint of which little is known is given the time that nobody is late before, again and again.
            let usual = endpoint.usual_latency(method);
            let patience = usual.unwrap_or(NOT_LATE_BEFORE).max(NOT_LATE_BEFORE);
            match tokio::time::timeout(patience, &mut first).await {
                Ok(answer) => return (endpoint, answer),
                Err(_) if usual.is_some() => {
                    if let Some(second) = self.second_for(task, endpoint) {
                        break second;
                    }
                }
                Err(_) => {}
            }
        };
        self.hedges.twice.fetch_add(1, Ordering::Relaxed);
        let mut second_answer = pin!(ask(second));
        let (one, answer, other, other_is_first) = tokio::select! {
            biased;
            answer = &mut first => (endpoint, answer, second, false),
            answer = &mut second_answer => (second, answer, endpoint, true),
        };
        if is_good(&answer) {
            return (one, answer);
        }
        refusals.extend(answer.err());
        (other, if other_is_first { first.await } else { second_answer.await })
    }

    /// Who is to be asked as well, if it is time for that.
    fn second_for(&self, task: &Task<'_>, first: &Endpoint) -> Option<&Arc<Endpoint>> {
        // What waits for its turn at the key is not late by the endpoint's doing.
        let is_late = self.hedges.is_near_end() && self.hedges.may_ask_twice() && first.has_to_spare(0.0);
        let is_fit = |second: &&Arc<Endpoint>| {
            second.label() != first.label() && !second.is_unfit(task) && second.has_to_spare(LEFT_OF_QUOTA)
        };
        self.candidates(task).into_iter().filter(|_| is_late).find(is_fit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::budget::{Purse, Tariff};
    use crate::rpc::clock::Clock;
    use crate::rpc::providers::{Providers, Reach};
    use crate::rpc::simulated::{self, Simulated};
    use crate::rpc::tally::Purpose;
    use futures::StreamExt;
    use lake::bronze::Header;
    use testkit::server::Policy;
    use testkit::server::presets::Preset;

    const BATCHES: u64 = 40;
    const QUESTIONS: u64 = 100;

    fn slow_tail(seed: u64) -> Policy {
        Preset::find("slow-tail").unwrap().policy().with_seed(seed)
    }

    /// Asks for headers in batches, eight at a time, and says how long that took.
    async fn ask(pool: &Pool) -> (Vec<Header>, Duration) {
        let began = Instant::now();
        let mut headers = Vec::new();
        for nth in 0..BATCHES {
            let batch = pool.batch(QUESTIONS);
            let numbers = nth * QUESTIONS..(nth + 1) * QUESTIONS;
            let one = async |number| {
                let header = pool.header(Purpose::Event, number).await.unwrap();
                batch.one_done();
                header
            };
            // In any order: else whatever is late holds up the next eight.
            let asked = futures::stream::iter(numbers.map(one)).buffer_unordered(8);
            headers.extend(asked.collect::<Vec<_>>().await);
        }
        headers.sort_by_key(|header| header.number);
        (headers, began.elapsed())
    }

    async fn open(policies: Vec<Policy>) -> Simulated {
        simulated::open(&simulated::chain(BATCHES * QUESTIONS, []), policies).await
    }

    #[tokio::test(start_paused = true)]
    async fn stragglers_are_asked_for_elsewhere_for_two_calls_of_a_hundred_at_most() {
        let alone = open(vec![slow_tail(1)]).await;
        let (truth, without) = ask(&alone.pool).await;
        let two = open(vec![slow_tail(1), slow_tail(2)]).await;
        let (answers, with) = ask(&two.pool).await;
        assert_eq!(answers, truth);
        let extra = two.providers[1].tally().methods["eth_getBlockByNumber"];
        let questions = BATCHES * QUESTIONS;
        assert!(extra * 50 <= questions, "{extra} calls of {questions} were asked twice");
        assert!(with * 2 < without, "{with:?} with, {without:?} without");
        println!("{questions} questions: {without:?} without, {with:?} with {extra} asked twice");
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_asked_as_well_whose_quota_is_nearly_spent_or_whose_answers_are_in_time() {
        let in_time = open(vec![Policy::honest(), Policy::honest()]).await;
        ask(&in_time.pool).await;
        assert_eq!(in_time.providers[1].tally().methods.get("eth_getBlockByNumber"), None);

        let chain = simulated::chain(BATCHES * QUESTIONS, []);
        let time: Arc<dyn testkit::server::clock::Clock> = Arc::new(testkit::server::TokioClock::of_day());
        let provider = |seed| Arc::new(testkit::server::Provider::new(&chain, slow_tail(seed), &time));
        let (first, second) = (provider(1), provider(2));
        let free = Tariff::by_requests("first", 10_000.0);
        let metered = Tariff { units_per_month: Some(1_000), ..Tariff::by_requests("second", 1_000.0) };
        let purse = Arc::new(Purse::new("second", metered, Clock::start()));
        for _ in 0..801 {
            purse.pay("eth_call").await.unwrap();
        }
        let mut endpoints = vec![
            simulated::config(0, Reach::InProcess(first.carrier()), Some(free)),
            simulated::config(1, Reach::InProcess(second.carrier()), None),
        ];
        endpoints[1].purse = Some(purse);
        let file = Providers { endpoints, ..Providers::default() };
        let lake = lake::Lake::open("memory:///").unwrap();
        let pool = Pool::open(&simulated::registered(), &file, &lake, None).await.unwrap();
        ask(&pool).await;
        assert_eq!(second.tally().methods.get("eth_getBlockByNumber"), None, "a fifth must be left");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_usual_is_known_after_some_answers() {
        let latencies = Latencies::default();
        for nth in 1..=100_u64 {
            let timed = latencies.begin("eth_call");
            tokio::time::advance(Duration::from_millis(nth)).await;
            assert_eq!(latencies.usual("eth_call").is_some(), nth > 20, "after {}", nth - 1);
            drop(timed);
        }
        assert_eq!(latencies.usual("eth_call"), Some(Duration::from_millis(95)));
        assert_eq!(latencies.usual("eth_getLogs"), None);
    }
}
