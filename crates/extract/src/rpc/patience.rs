//! How long a question waits for better times, and how often it is put to the same endpoint again.
//!
//! A request that is lost is made again at once, a few times ([`endpoint`](crate::rpc::endpoint)); then the next endpoint is
//! asked. When nobody is left, and somebody who has answered before failed only in passing, the question rests until the
//! first of those may be asked again: its rest is over ([`breaker`](crate::rpc::breaker)) and it has not been asked again
//! too often ([`retries`](crate::rpc::retries)). A chain that has been silent for too long is not waited for.

use crate::rpc::classify::Verdict;
use crate::rpc::endpoint::{Endpoint, Refusal, is_passing};
use crate::rpc::pool::Pool;
use crate::rpc::tally::Purpose;
use std::collections::BTreeSet;
use std::time::Duration;

/// No rest is shorter.
pub(crate) const SHORTEST_REST: Duration = Duration::from_secs(5);
/// How long a chain may be silent before nobody waits for it any more.
const LONGEST_SILENCE: Duration = Duration::from_secs(600);
/// Rounds in which a question was put to somebody, and failed in passing, after which it is given up: it seems to be the
/// question.
const MOST_ROUNDS: u32 = 10;

/// Whether who refused so may answer the same question later.
pub(crate) fn may_pass(refusal: &Refusal) -> bool {
    is_passing(&refusal.verdict) || refusal.verdict == Verdict::TookTooLong
}

/// How far a question has got.
#[derive(Debug, Clone, Default)]
pub(crate) struct Patience {
    /// Labels of those it was put to.
    asked: BTreeSet<String>,
    /// Rounds in which it was put to somebody, and whether this is one.
    rounds: u32,
    is_put: bool,
}

impl Patience {
    /// Whether the question may be put to the endpoint: always for the first time, again as often as its requests allow.
    ///
    /// # Errors
    /// A passing [`Refusal`].
    pub(crate) fn admit(&mut self, endpoint: &Endpoint, purpose: Purpose) -> Result<(), Refusal> {
        // One that is at rest is not asked, and says so itself.
        if endpoint.is_resting() {
            return Ok(());
        }
        if !self.asked.insert(endpoint.label().to_owned()) {
            endpoint.take_retry(purpose)?;
        }
        self.is_put = true;
        Ok(())
    }

    fn end_round(&mut self) {
        self.rounds += u32::from(std::mem::take(&mut self.is_put));
    }
}

impl Pool {
    /// How long the question has to rest before those who failed in passing are asked again; `None` when it is to be given
    /// up.
    pub(crate) fn rest(&self, refusals: &[Refusal], patience: &mut Patience) -> Option<Duration> {
        patience.end_round();
        if patience.rounds >= MOST_ROUNDS {
            return None;
        }
        let failed_in_passing = |endpoint: &Endpoint| {
            refusals.iter().any(|refusal| refusal.label == endpoint.label() && may_pass(refusal))
        };
        let waited_for = self.endpoints.iter().filter(|endpoint| {
            endpoint.last_answer().is_some() && failed_in_passing(endpoint) && !endpoint.is_retired()
        });
        let rest = waited_for.map(|endpoint| endpoint.back_in()).min()?.max(SHORTEST_REST);
        let last_answer = self.endpoints.iter().filter_map(|endpoint| endpoint.last_answer()).max()?;
        (last_answer.elapsed() + rest <= LONGEST_SILENCE).then_some(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::clock::Clock;
    use crate::rpc::endpoint::Endpoint;
    use crate::rpc::pool::PoolError;
    use crate::rpc::providers::Reach;
    use crate::rpc::simulated::{self, Simulated, log};
    use serde_json::json;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use testkit::server::dialects::{entry, missing, rate, span};
    use testkit::server::faults::Outage;
    use testkit::server::limits::{Limits, Over};
    use testkit::server::policy::{Absent, Archive, SpanCap, Start};
    use testkit::server::{Fault, Policy, Provider, TokioClock};
    use tokio::time::Instant;

    /// An endpoint that is down from its 60th to its 60th and so many more seconds.
    fn down_for(seconds: u64, fault: Fault) -> Policy {
        let from = Duration::from_secs(60);
        let outage = Outage { from, to: from + Duration::from_secs(seconds), fault };
        Policy { outages: vec![outage], ..Policy::honest() }
    }

    async fn open(policies: Vec<Policy>) -> Simulated {
        simulated::open(&simulated::chain(2_000, [log(20, 0)]), policies).await
    }

    /// Asks for headers, eight at a time, and says how many were answered.
    async fn headers(pool: &Pool, numbers: std::ops::Range<u64>) -> (usize, Vec<PoolError>) {
        use futures::StreamExt;
        let asked = numbers.map(|number| pool.header(Purpose::Event, number));
        let answers: Vec<_> = futures::stream::iter(asked).buffer_unordered(8).collect().await;
        let good = answers.iter().filter(|answer| answer.is_ok()).count();
        (good, answers.into_iter().filter_map(Result::err).collect())
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_costs_few_requests_and_is_waited_out() {
        for fault in [Fault::BadGateway, Fault::Hang, Fault::Reset, Fault::Html] {
            let Simulated { pool, providers } = open(vec![down_for(300, fault)]).await;
            assert_eq!(headers(&pool, 0..100).await.0, 100);
            let before = providers[0].tally().requests;
            tokio::time::sleep(Duration::from_secs(61)).await;
            let (good, _) = headers(&pool, 100..400).await;
            assert_eq!(good, 300, "{fault:?}");
            let more = providers[0].tally().requests - before - 300;
            // Those that were under way when it began, and three times a question whether it is back, thrice each.
            assert!(more <= 8 + 5 + 3 * 5, "{fault:?}: {more} requests were sent besides");
            let asked = pool.asked().remove("e0").unwrap();
            assert!(asked.again() <= 40, "{fault:?}: {} were made again", asked.again());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn while_one_is_down_the_other_is_asked_and_nobody_waits() {
        let Simulated { pool, providers } =
            open(vec![down_for(3_600, Fault::Unavailable), Policy::honest()]).await;
        assert_eq!(headers(&pool, 0..100).await.0, 100);
        assert_eq!(
            providers[1].tally().methods.get("eth_getBlockByNumber"),
            None,
            "the first is the cheaper"
        );
        tokio::time::sleep(Duration::from_secs(61)).await;
        let (before, began) = (providers[0].tally().requests, Instant::now());
        assert_eq!(headers(&pool, 100..1_100).await.0, 1_000);
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
        assert!(providers[0].tally().requests - before <= 8 + 5);
        // It comes back, and is the cheaper again.
        tokio::time::sleep(Duration::from_secs(3_600)).await;
        let second = providers[1].tally().requests;
        assert_eq!(headers(&pool, 1_100..1_200).await.0, 100);
        assert!(providers[1].tally().requests - second <= 8, "while it was asked whether it is back");
    }

    #[tokio::test(start_paused = true)]
    async fn a_chain_that_is_silent_for_ten_minutes_is_given_up_at_once_from_then_on() {
        let Simulated { pool, providers } = open(vec![down_for(86_400, Fault::BadGateway)]).await;
        assert_eq!(headers(&pool, 0..100).await.0, 100);
        tokio::time::sleep(Duration::from_secs(61)).await;
        let (before, began) = (providers[0].tally().requests, Instant::now());
        let (good, errors) = headers(&pool, 100..600).await;
        assert_eq!(good, 0);
        assert!(began.elapsed() < LONGEST_SILENCE, "{:?}", began.elapsed());
        assert!(errors[499].to_string().contains("left alone"), "{}", errors[499]);
        assert!(providers[0].tally().requests - before <= 40, "500 questions are not 500 requests");
    }

    /// Whatever becomes of requests, no more than a tenth of them, and ten a minute, is made again.
    #[tokio::test(start_paused = true)]
    async fn a_flaky_endpoint_is_asked_again_for_one_request_in_ten() {
        for per_mille in [50, 150, 240] {
            let Simulated { pool, .. } = open(vec![Policy::flaky(per_mille, &[Fault::BadGateway])]).await;
            let began = Instant::now();
            let (good, errors) = headers(&pool, 0..2_000).await;
            assert_eq!(good, 2_000, "{per_mille} per mille: {}", errors[0]);
            let asked = pool.asked().remove("e0").unwrap();
            let minutes = began.elapsed().as_secs_f64() / 60.0 + 1.0;
            let most = asked.sent() as f64 / 10.0 + 10.0 * minutes;
            assert!(asked.again() as f64 <= most, "{per_mille}: {} again, {most} allowed", asked.again());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_endpoint_that_says_no_is_not_down() {
        let chain = simulated::chain(2_000, [log(20, 0)]);
        let archive = Archive { start: Start::Block(1_000), before: Absent::Refused(&missing::TRIE) };
        let logs = json!([{ "fromBlock": "0x0", "toBlock": "0x7d0", "address": simulated::EMITTER }]);
        let call = json!([{ "to": simulated::EMITTER, "data": "0x" }, "0x1"]);
        let limits = Limits::requests_per_second(1, Over::by_status(&rate::PROXYD));
        for (policy, method, params) in [
            (
                Policy { span_cap: Some(SpanCap::new(10, &span::GETH)), ..Policy::honest() },
                "eth_getLogs",
                logs,
            ),
            (Policy { state_from: Some(archive), ..Policy::honest() }, "eth_call", call.clone()),
            (
                Policy { refused_methods: vec![("eth_call", &entry::METHOD)], ..Policy::honest() },
                "eth_call",
                call,
            ),
            (Policy { limits, ..Policy::honest() }, "eth_blockNumber", json!([])),
        ] {
            let time: Arc<dyn testkit::server::clock::Clock> = Arc::new(TokioClock::of_day());
            let provider = Arc::new(Provider::new(&chain, policy, &time));
            let config = simulated::config(0, Reach::InProcess(provider.carrier()), None);
            let endpoint = Endpoint::open(&config, &reqwest::Client::new(), None, Clock::start()).unwrap();
            let asked = (0..100).map(|_| endpoint.request_within(1, Purpose::Probe, method, &params));
            let refused = futures::future::join_all(asked).await.into_iter().filter(Result::is_err).count();
            assert!(refused >= 99 && !endpoint.is_down(), "{method}: {refused} refused");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_comes_back_as_another_chain_is_not_asked_any_more() {
        let time: Arc<dyn testkit::server::clock::Clock> = Arc::new(TokioClock::of_day());
        let right = Arc::new(Provider::new(&simulated::chain(100, []), down_for(60, Fault::Reset), &time));
        let other = Policy { claims_chain_id: Some(8), ..Policy::honest() };
        let other = Arc::new(Provider::new(&simulated::chain(100, []), other, &time));
        let (first, second) = (right.carrier(), other.carrier());
        let requests = Arc::new(AtomicU64::new(0));
        // Behind the URL is somebody else after the outage, as when an operator gives a host to another chain.
        let (began, counted) = (Instant::now(), Arc::clone(&requests));
        let carrier: crate::rpc::wire::InProcess = Arc::new(move |body| {
            counted.fetch_add(1, Ordering::Relaxed);
            if began.elapsed() < Duration::from_secs(120) { first(body) } else { second(body) }
        });
        let config = simulated::config(0, Reach::InProcess(carrier), None);
        let endpoint = Endpoint::open(&config, &reqwest::Client::new(), None, Clock::start()).unwrap();
        let ask = async || endpoint.request(Purpose::Event, "eth_blockNumber", &json!([])).await;
        let id = endpoint.request(Purpose::Identity, "eth_chainId", &json!([])).await.unwrap();
        endpoint.serves(serde_json::from_value(id).unwrap());
        tokio::time::sleep(Duration::from_secs(61)).await;
        assert_eq!(ask().await.unwrap_err().verdict, Verdict::Again);
        assert!(endpoint.is_resting());
        tokio::time::sleep(Duration::from_secs(70)).await;
        for _ in 0..3 {
            let refusal = ask().await.unwrap_err();
            assert!(refusal.text.contains("came back with chain id 8"), "{refusal}");
        }
        assert_eq!(requests.load(Ordering::Relaxed), 1 + 5 + 1, "the last is the one that it came back with");
    }
}
