//! Bronze is a function of the chain: endpoints, windows, order, workers and faults leave no trace in it.

use crate::in_process::{
    Bronze, Host, Shape, Site, Wish, World, assert_complete, assert_same, bronze, memory, paused, unfinished,
};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::RngSeed;
use std::sync::LazyLock;
use std::time::Duration;
use testkit::server::dialects::{entry, filters, missing, quota, rate, results, size, span};
use testkit::server::faults::{FaultRate, Latency, Outage};
use testkit::server::limits::{By, Limits, Over, PerSecond, Period, Quota};
use testkit::server::policy::{
    Absent, Archive, BatchCap, BigBatch, Hint, ResultCap, SpanCap, Start, StrayLog, TooManyLogs,
};
use testkit::server::{Fault, Policy};

fn faults() -> impl Strategy<Value = FaultRate> {
    (0_u32..=300, proptest::sample::subsequence(&Fault::ALL[..], 1..=Fault::ALL.len()))
        .prop_map(|(per_mille, among)| FaultRate { per_mille, among })
}

fn latency() -> impl Strategy<Value = Latency> {
    (0_u64..200, 0_u32..200, 0_u64..10).prop_map(|(usual, slow_per_mille, slow)| Latency {
        usual: Duration::from_millis(usual),
        slow_per_mille,
        slow: Duration::from_secs(slow),
    })
}

fn span_cap() -> impl Strategy<Value = SpanCap> {
    let told = prop_oneof![3 => Just(None), 1 => (1_u64..5_000).prop_map(Some)];
    (1_u64..2_500, told, select(span::ALL)).prop_map(|(limit, told, wording)| SpanCap {
        limit,
        told,
        wording,
    })
}

fn result_cap() -> impl Strategy<Value = ResultCap> {
    let hint = select(vec![Hint::True, Hint::TooWide, Hint::Outside, Hint::Inverted]);
    (1_usize..12, select(results::ALL), hint)
        .prop_map(|(logs, wording, hint)| ResultCap { logs, more: TooManyLogs::Refused { wording, hint } })
}

fn archive() -> impl Strategy<Value = Archive> {
    let start = prop_oneof![(0_u64..4_000).prop_map(Start::Block), (0_u64..4_000).prop_map(Start::Depth)];
    (start, select(missing::ALL))
        .prop_map(|(start, wording)| Archive { start, before: Absent::Refused(wording) })
}

fn batch_cap() -> impl Strategy<Value = BatchCap> {
    let batches = vec![&size::DRPC_BATCH, &size::PROXYD_BATCH, &size::GETH_BATCH];
    let more = prop_oneof![Just(BigBatch::Dropped), select(batches).prop_map(BigBatch::Refused)];
    (1_usize..8, more).prop_map(|(members, more)| BatchCap { members, more })
}

fn over(wordings: &'static [&'static testkit::server::dialects::Wording]) -> impl Strategy<Value = Over> {
    (select(wordings), select(vec![By::Status, By::Body, By::Member]), any::<bool>())
        .prop_map(|(wording, by, retry_after)| Over { wording, by, retry_after })
}

fn limits() -> impl Strategy<Value = Limits> {
    let per_second =
        (2_u64..40, over(rate::ALL)).prop_map(|(units, over)| PerSecond { units, burst: units, over });
    let period = select(vec![Period::Day, Period::Month]);
    let quota = (20_u64..500, period, over(quota::ALL)).prop_map(|(units, period, over)| Quota {
        units,
        period,
        over,
    });
    (proptest::option::of(per_second), proptest::option::weighted(0.3, quota))
        .prop_map(|(per_second, quota)| Limits { per_second, quota, ..Limits::default() })
}

/// Any endpoint that does not lie about the logs and the state that it has: it may refuse, fail, or answer with what
/// cannot be believed.
pub(crate) fn any_policy() -> impl Strategy<Value = Policy> {
    let often = |strategy| proptest::option::weighted(0.4, strategy);
    let limits_of_requests = (
        proptest::option::weighted(0.5, span_cap()),
        proptest::option::weighted(0.3, result_cap()),
        proptest::option::weighted(0.3, (1_usize..4, select(filters::ALL))),
        proptest::option::weighted(0.2, (1_usize..30, select(size::ALL))),
        proptest::option::weighted(0.3, batch_cap()),
        proptest::option::weighted(0.3, limits()),
    );
    let history = (
        proptest::option::weighted(0.2, archive()),
        proptest::option::weighted(0.2, archive()),
        lag(),
        proptest::option::weighted(0.1, select(entry::ALL)),
        proptest::option::weighted(0.15, (refused_method(), select(vec![&entry::METHOD, &entry::BSC_LOGS]))),
        proptest::option::weighted(0.1, 1_u64..60),
    );
    let stray = select(vec![StrayLog::OtherContract, StrayLog::OtherBlock, StrayLog::Removed]);
    let answers = (
        often(faults()),
        latency(),
        proptest::option::weighted(0.1, Just(8_453_u64)),
        proptest::option::weighted(0.1, stray),
        proptest::bool::weighted(0.1),
        any::<bool>(),
        any::<u64>(),
    );
    (limits_of_requests, history, answers).prop_map(|(requests, history, answers)| {
        let (span_cap, result_cap, filter_cap, call_cap, batch_cap, limits) = requests;
        let (logs_from, state_from, (head_lag, second_head_lag), refuses_all, refused, outage) = history;
        let (fails, latency, claims_chain_id, stray_log, repeats_log, shuffles_logs, seed) = answers;
        let outage = outage.map(|second| Outage {
            from: Duration::from_secs(second),
            to: Duration::from_secs(second * 3),
            fault: Fault::BadGateway,
        });
        Policy {
            seed,
            span_cap,
            result_cap,
            filter_cap,
            call_cap,
            batch_cap,
            limits: limits.unwrap_or_default(),
            logs_from,
            state_from,
            head_lag,
            second_head_lag,
            beyond_head: Some(&missing::BEYOND_HEAD),
            refuses_all,
            refused_methods: refused.into_iter().collect(),
            claims_chain_id,
            stray_log,
            repeats_log,
            shuffles_logs,
            fails: fails.unwrap_or_default(),
            outages: outage.into_iter().collect(),
            latency,
            ..Policy::honest()
        }
    })
}

fn lag() -> impl Strategy<Value = (u64, Option<u64>)> {
    let behind = prop_oneof![7 => Just(0), 3 => 0_u64..2_500];
    (behind, proptest::option::weighted(0.2, 0_u64..2_500))
}

fn refused_method() -> impl Strategy<Value = &'static str> {
    select(vec!["eth_getLogs", "eth_call", "eth_getBlockByNumber", "eth_getTransactionReceipt"])
}

/// The endpoint that makes it possible: it has all there is and says so truly, though it may fail, be slow, and grant few
/// blocks and members.
fn honest_policy() -> impl Strategy<Value = Policy> {
    let cap =
        (10_u64..2_500, select(vec![&span::ALCHEMY_FREE, &span::QUICKNODE, &span::CORETH, &span::ANKR]));
    (proptest::option::of(cap), faults(), latency(), proptest::option::of(batch_cap()), any::<u64>())
        .prop_map(|(cap, fails, latency, batch_cap, seed)| Policy {
            seed,
            span_cap: cap.map(|(limit, wording)| SpanCap::new(limit, wording)),
            fails,
            latency,
            batch_cap,
            ..Policy::honest()
        })
}

/// What the providers file says of an endpoint's window need not be so.
fn hosts() -> impl Strategy<Value = Vec<Host>> {
    let window = || prop_oneof![Just(10_u64), 1_u64..60, 100_u64..20_000];
    let of_chain = move |chain: usize| {
        let others = proptest::collection::vec((any_policy(), window()), 0..4);
        (honest_policy(), window(), others).prop_map(move |(honest, window, others)| {
            let name = |nth: usize| format!("e{chain}_{nth}");
            let mut hosts = vec![Host::new(&name(0), honest).on(chain).window(window)];
            for (nth, (policy, window)) in others.into_iter().enumerate() {
                hosts.push(Host::new(&name(nth + 1), policy).on(chain).window(window));
            }
            hosts
        })
    };
    (of_chain(0), of_chain(1)).prop_map(|(one, two)| [one, two].concat()).prop_shuffle()
}

static WORLD: LazyLock<World> = LazyLock::new(|| World::new(Shape { chains: 2, ..Shape::default() }));
static TRUTH: LazyLock<Bronze> = LazyLock::new(|| WORLD.truth());
static TOUCHED: LazyLock<World> =
    LazyLock::new(|| World::new(Shape { touched: Some(0), liquidations: 6, ..Shape::default() }));

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 60, failure_persistence: None, rng_seed: RngSeed::Fixed(3), ..ProptestConfig::default() })]

    #[test]
    fn with_an_honest_endpoint_a_chain_the_others_their_windows_and_the_workers_change_no_byte(
        hosts in hosts(), at_once in 1_usize..40,
    ) {
        let truth = &*TRUTH;
        paused(async {
            let (lake, site) = (memory(), Site::open(&WORLD, hosts));
            let wish = Wish { at_once, ..Wish::default() };
            let collected = WORLD.collect(&lake, &site, &wish).await;
            assert_complete(&collected);
            assert_same(truth, &bronze(&lake).await);
        });
    }
}

#[test]
fn an_only_endpoint_that_fails_three_requests_of_ten_is_enough() {
    let truth = TOUCHED.truth();
    for seed in 0..48 {
        paused(async {
            let policy = Policy::flaky(300, &Fault::ALL).with_seed(seed);
            let site = Site::open(&TOUCHED, vec![Host::new("flaky", policy).window(200)]);
            let lake = memory();
            let collected = TOUCHED.collect(&lake, &site, &Wish::default()).await;
            let left = unfinished(&collected);
            assert!(left.is_empty(), "seed {seed}: {}", left.join("\n"));
            assert_same(&truth, &bronze(&lake).await);
        });
    }
}
