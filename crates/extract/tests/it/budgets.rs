//! What keys spend, as the providers count it: never more than they may, nearly all of what they may a second, and when a
//! month is spent the run says when it goes on, and goes on.

use crate::in_process::{
    Bronze, Host, Shape, Site, Wish, World, assert_complete, assert_same, bronze, done, memory, paused,
    reasons, unfinished,
};
use extract::collect::Collected;
use lake::Lake;
use lake::status::{Dataset, Reason};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::RngSeed;
use std::process::Command;
use std::sync::LazyLock;
use std::time::Duration;
use testkit::server::dialects::{quota, rate, span};
use testkit::server::faults::{FaultRate, Latency};
use testkit::server::limits::{By, Limits, Over, PerSecond, Period, Prices, Quota};
use testkit::server::policy::SpanCap;
use testkit::server::{Fault, Policy, Server};
use tokio::time::Instant;

/// A month and a day, the longest that a quota keeps a run waiting.
const UNTIL_NEXT_MONTH: Duration = Duration::from_secs(32 * 86_400);

fn per_second(units: u64, dearest: u64) -> PerSecond {
    let over = Over { wording: &rate::ALCHEMY, by: By::Status, retry_after: false };
    PerSecond { units, burst: units.max(dearest), over }
}

fn a_month(units: u64) -> Quota {
    Quota { units, period: Period::Month, over: Over::by_status(&quota::ALCHEMY) }
}

/// Alchemy's prices, at so many units a second.
fn alchemy(units: u64, quota: Option<Quota>) -> Limits {
    Limits { prices: Prices::ALCHEMY, per_second: Some(per_second(units, 60)), quota }
}

/// A key: what it may spend, and the endpoints that it opens on which chains, with their windows.
#[derive(Debug, Clone)]
struct Key {
    limits: Limits,
    endpoints: Vec<(usize, u64, Policy)>,
}

fn prices() -> impl Strategy<Value = Prices> {
    select(vec![Prices::REQUESTS, Prices::ALCHEMY, Prices::INFURA, Prices::DRPC])
}

/// Limits under which the work can be done in a few months or days, told in any way.
fn limits() -> impl Strategy<Value = Limits> {
    let over = (select(vec![By::Status, By::Body, By::Member]), any::<bool>());
    let has_quota = proptest::option::weighted(0.7, (30_u64..400, select(vec![Period::Day, Period::Month])));
    (prices(), 1_u64..20, has_quota, over).prop_map(|(prices, requests, quota, (by, retry_after))| {
        let dearest = prices.methods.iter().map(|price| price.units).chain([prices.other]).max().unwrap();
        let told = |wording| Over { wording, by, retry_after };
        let units = requests * dearest;
        Limits {
            prices,
            per_second: Some(PerSecond { units, burst: units, over: told(&rate::ALCHEMY) }),
            quota: quota.map(|(requests, period)| {
                let over =
                    Over::by_status(if period == Period::Day { &quota::INFURA } else { &quota::ALCHEMY });
                Quota { units: requests * dearest, period, over }
            }),
        }
    })
}

fn policy() -> impl Strategy<Value = Policy> {
    let fails = (0_u32..250, proptest::sample::subsequence(&Fault::ALL[..], 1..=Fault::ALL.len()));
    let latency = (0_u64..400, 0_u32..50);
    let cap = proptest::option::of((8_u64..400).prop_map(|limit| SpanCap::new(limit, &span::ALCHEMY_FREE)));
    (fails, latency, cap, any::<bool>(), any::<u64>()).prop_map(
        |((per_mille, among), (usual, slow), span_cap, in_batches, seed)| Policy {
            seed,
            span_cap,
            fails: FaultRate { per_mille, among },
            latency: Latency {
                usual: Duration::from_millis(usual),
                slow_per_mille: slow,
                slow: Duration::from_secs(9),
            },
            // Then nothing is left but JSON-RPC batches.
            no_overrides: in_batches,
            no_deployless: in_batches,
            ..Policy::honest()
        },
    )
}

fn keys() -> impl Strategy<Value = Vec<Key>> {
    let endpoint = |chain: usize| (Just(chain), prop_oneof![Just(10_u64), 40_u64..900], policy());
    // The first key opens both chains, or no run could be finished.
    let both = (limits(), endpoint(0), endpoint(1))
        .prop_map(|(limits, one, two)| Key { limits, endpoints: vec![one, two] });
    let others = (limits(), proptest::collection::vec((0_usize..2).prop_flat_map(endpoint), 1..3));
    let other = others.prop_map(|(limits, endpoints)| Key { limits, endpoints });
    (both, proptest::collection::vec(other, 0..3)).prop_map(|(first, rest)| [vec![first], rest].concat())
}

const NAMES: [&str; 4] = ["KEY_1", "KEY_2", "KEY_3", "KEY_4"];

fn hosts(keys: Vec<Key>) -> Vec<Host> {
    let mut hosts = Vec::new();
    for (name, key) in NAMES.into_iter().zip(keys) {
        for (nth, (chain, window, policy)) in key.endpoints.into_iter().enumerate() {
            let label = format!("{}_{nth}_on_{chain}", name.to_lowercase());
            let host = Host::new(&label, policy).run_by(name).on(chain).window(window);
            hosts.push(host.limited(key.limits).with_key(name));
        }
    }
    hosts
}

/// Insists that no key was ever asked for more than it may spend.
#[track_caller]
fn assert_within_budget(site: &Site) {
    for account in site.accounts() {
        let (spent, limits) = (account.spent(), account.limits());
        let (rate, quota) = (limits.per_second.map(|rate| rate.units), limits.quota.map(|quota| quota.units));
        let of = format!("{spent:?} of {rate:?} a second and {quota:?} a month or day");
        assert_eq!((spent.too_fast, spent.over_quota), (0, 0), "{of}");
        assert!(quota.is_none_or(|quota| spent.units_of_period <= quota), "{of}");
    }
}

/// Two chains that have no Multicall3, so that whole batches are paid for at once where a node takes nothing better.
static WORLD: LazyLock<World> = LazyLock::new(|| {
    let shape = Shape { chains: 2, csus: 1, liquidations: 4, block_seconds: 240, ..Shape::default() };
    World::new(Shape { multicall3: false, ..shape })
});
static TRUTH: LazyLock<Bronze> = LazyLock::new(|| WORLD.truth());

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 40, failure_persistence: None, rng_seed: RngSeed::Fixed(5), ..ProptestConfig::default() })]

    #[test]
    fn no_key_is_asked_for_more_than_it_may_spend_however_often_the_run_is_killed(
        keys in keys(), at_once in 1_usize..40, kills in proptest::collection::vec(0.0_f64..90.0, 0..6),
    ) {
        let truth = &*TRUTH;
        paused(async {
            let (lake, mut site) = (memory(), Site::open(&WORLD, hosts(keys)));
            let wish = Wish { at_once, ..Wish::default() };
            for after in kills {
                let run = WORLD.collect(&lake, &site, &wish);
                // Dropped in the middle, whatever it was about to write.
                let _ = tokio::time::timeout(Duration::from_secs_f64(after), run).await;
                assert_within_budget(&site);
                site = site.again();
            }
            months_until_done(&WORLD, &lake, site, &wish).await;
            assert_same(truth, &bronze(&lake).await);
        });
    }
}

/// Share of the rate that the keys of a run used, and how long it took.
async fn rate_used(world: &World, hosts: Vec<Host>, allowed: f64, at_once: usize) -> (f64, Duration) {
    let (lake, site) = (memory(), Site::open(world, hosts));
    let began = Instant::now();
    assert_complete(&world.collect(&lake, &site, &Wish { at_once, ..Wish::default() }).await);
    let took = began.elapsed();
    assert_within_budget(&site);
    let spent: u64 = site.accounts().iter().map(|account| account.spent().units).sum();
    (spent as f64 / (allowed * took.as_secs_f64()), took)
}

#[test]
fn a_long_scan_uses_nearly_all_of_the_rate() {
    // Days of 21,600 blocks, half of what OP-stack chains have.
    let world = |chains| World::new(Shape { chains, block_seconds: 4, days: 1, ..Shape::default() });
    let slow = |milliseconds, per_mille| Policy {
        latency: Latency {
            usual: Duration::from_millis(milliseconds),
            slow_per_mille: per_mille,
            slow: Duration::from_secs(1),
        },
        ..Policy::honest()
    };
    let keys = |number: usize, units: u64, policy: Policy| -> Vec<Host> {
        let host = |(name, chain): (&'static str, usize)| {
            let label = format!("{}_{chain}", name.to_lowercase());
            let host = Host::new(&label, policy.clone()).run_by("alchemy").on(chain).window(10);
            host.limited(alchemy(units, None)).with_key(name)
        };
        (0..2).flat_map(|chain| NAMES[..number].iter().map(move |name| (*name, chain))).map(host).collect()
    };
    let official = Limits { per_second: Some(per_second(5, 1)), ..Limits::default() };
    let official = Host::new("official", slow(120, 0)).window(20).limited(official);
    let (one, two) = (world(1), world(2));
    for (case, world, hosts, allowed) in [
        ("one key at 500 a second, two chains", &two, keys(1, 500, slow(80, 0)), 500.0),
        ("one key at 500 a second, two chains, a slow tail", &two, keys(1, 500, slow(80, 20)), 500.0),
        ("one key at 330 a second, two chains", &two, keys(1, 330, slow(80, 0)), 330.0),
        ("four keys of 500 a second, two chains", &two, keys(4, 500, slow(80, 0)), 2_000.0),
        ("a public endpoint at 5 requests a second", &one, vec![official], 5.0),
    ] {
        let (used, took) = paused(rate_used(world, hosts, allowed, 8));
        println!("{case}: {:.1}% of the rate used in {} s", 100.0 * used, took.as_secs());
        assert!(used >= 0.95, "{case}: {used}");
    }
}

/// Runs until nothing is left, a month after the other, and says in how many.
async fn months_until_done(world: &World, lake: &Lake, site: Site, wish: &Wish) -> (usize, Vec<Collected>) {
    let (mut site, mut runs) = (site, Vec::new());
    for month in 1..100 {
        let collected = world.collect(lake, &site, wish).await;
        assert_within_budget(&site);
        let is_done = unfinished(&collected).is_empty();
        runs.push(collected);
        if is_done {
            return (month, runs);
        }
        tokio::time::sleep(UNTIL_NEXT_MONTH).await;
        site = site.again();
    }
    panic!("{:#?}", runs.last().map(unfinished));
}

#[test]
fn a_month_that_is_nearly_spent_stops_the_run_which_says_when_it_goes_on_and_goes_on() {
    let world = World::new(Shape { days: 3, ..Shape::default() });
    let truth = world.truth();
    let month = 7_500;
    paused(async {
        let host =
            Host::new("alchemy", Policy::honest()).window(10).limited(alchemy(500, Some(a_month(month))));
        let (lake, site) = (memory(), Site::open(&world, vec![host]));
        let first = world.collect(&lake, &site, &Wish::default()).await;
        let spent = site.accounts()[0].spent();
        // A tenth is left, less than one more request.
        assert!((month * 9 / 10 - 60..=month * 9 / 10).contains(&spent.units_of_period), "{spent:?}");
        assert_eq!(reasons(&first), [Reason::Budget].into(), "{:#?}", unfinished(&first));
        for text in unfinished(&first) {
            assert!(text.contains("it goes on at 2025-02-01T00:00:00Z"), "{text}");
        }
        // Another run in the same month spends nothing, and says the same.
        let again = site.again();
        let second = world.collect(&lake, &again, &Wish::default()).await;
        assert_eq!(site.accounts()[0].spent().units, spent.units);
        assert_eq!(reasons(&second), [Reason::Budget].into(), "{:#?}", unfinished(&second));

        let (months, runs) = months_until_done(&world, &lake, again, &Wish::default()).await;
        let days =
            |run: &Collected| (0..3).map(|day| done(run, Dataset::Liquidations, day)).sum::<usize>() / 2;
        println!("{months} months, days done: {:?}", runs.iter().map(days).collect::<Vec<_>>());
        assert!((3..=5).contains(&months), "{months}");
        assert_same(&truth, &bronze(&lake).await);
    });
}

#[test]
fn two_runs_at_the_same_time_share_the_month_of_their_key() {
    let world = World::new(Shape { chains: 2, ..Shape::default() });
    let truth = world.truth();
    paused(async {
        let limits = Limits { per_second: None, ..alchemy(500, Some(a_month(9_000))) };
        let host = |chain: usize| {
            let label = format!("alchemy_{chain}");
            Host::new(&label, Policy::honest())
                .run_by("alchemy")
                .on(chain)
                .window(10)
                .limited(limits)
                .with_key("KEY_1")
        };
        let (lake, mut site) = (memory(), Site::open(&world, vec![host(0), host(1)]));
        let of_chain = |chain: usize| Wish { csus: world.csus(chain), ..Wish::default() };
        let (one, other) = (of_chain(0), of_chain(1));
        for month in 1.. {
            assert!(month < 12, "it goes on");
            let beside = site.again();
            let (first, second) =
                futures::join!(world.collect(&lake, &site, &one), world.collect(&lake, &beside, &other));
            assert_within_budget(&site);
            if unfinished(&first).is_empty() && unfinished(&second).is_empty() {
                break;
            }
            tokio::time::sleep(UNTIL_NEXT_MONTH).await;
            site = site.again();
        }
        assert_same(&truth, &bronze(&lake).await);
    });
}

#[test]
fn the_program_ends_with_75_when_a_month_is_spent_and_says_when_it_goes_on() {
    let world = World::new(Shape { days: 1, csus: 1, ..Shape::default() });
    let server = Server::spawn(world.shared_chain(), Policy::honest()).unwrap();
    let providers = world.setting().path().join("providers-month.toml");
    let rows = format!(
        "[[endpoint]]\nlabel = \"alchemy\"\noperator = \"alchemy\"\nchain = \"{}\"\nurl = \"{}\"\nlog_window = 10\n\
         source = \"a test\"\n\n[[tariff]]\noperator = \"alchemy\"\nunit = \"CU\"\nunits_per_second = 1000000\n\
         units_per_month = 5000\ncost = {{ eth_getLogs = 60 }}\nother = 20\nsource = \"a test\"\n",
        world.registered().name,
        server.url(),
    );
    std::fs::write(&providers, rows).unwrap();
    let run = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_extract"));
        command.args(["run", "--run"]).arg(world.setting().path().join("run.toml"));
        command.arg("--providers").arg(&providers).arg("--lake").arg(world.setting().lake("month"));
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, said) = run();
    assert_eq!(code, Some(75), "{said}");
    for part in ["(budget)", "of its 5000 CU of 20", "; it goes on at 20", "-01T00:00:00Z"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let asked = server.provider().tally().requests;
    assert!(asked < 144, "the day's scan alone takes as many: {asked}");
    // In the same month it asks whom it speaks to, and no more.
    assert_eq!(run().0, Some(75));
    assert!(server.provider().tally().requests <= asked + 3);
}
