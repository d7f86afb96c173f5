//! Log windows: a second run on a lake pays nothing for finding them, caps last and dense stretches do not, nothing but a
//! refusal about range changes them, every shrink narrows, and what is accepted tiles the request.

use crate::exchanges::{Exchange, Scanned};
use crate::in_process::{
    DAYS, Host, Shape, Site, Wish, World, asked, assert_complete, liquidation_topic, liquidations, memory,
    paused,
};
use crate::same_bytes::any_policy;
use extract::rpc::pool::Pool;
use extract::rpc::profile::Profile;
use extract::rpc::scan::Scan;
use extract::rpc::tally::Purpose;
use lake::Lake;
use lake::bronze::LogFilter;
use lake::path;
use lake::span::BlockSpan;
use lake::status::AuditLevel;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::RngSeed;
use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;
use testkit::server::dialects::{Wording, results, span};
use testkit::server::faults::Outage;
use testkit::server::limits::{Limits, Over, PerSecond};
use testkit::server::policy::{Hint, ResultCap, SpanCap, TooManyLogs};
use testkit::server::{Fault, Policy, dialects};

/// One endpoint alone is asked, so that all of it is its own.
fn alone(day: usize) -> Wish {
    Wish { days: (day, day), audit: AuditLevel::OneSource, ..Wish::default() }
}

fn capped(limit: u64, wording: &'static Wording) -> Policy {
    Policy { span_cap: Some(SpanCap::new(limit, wording)), ..Policy::honest() }
}

/// Words in which range refusals come. Base once said that it was not healthy: nobody can read a range out of that.
fn readable() -> Vec<&'static Wording> {
    span::ALL.iter().copied().filter(|wording| !std::ptr::eq(*wording, &span::BASE_2024)).collect()
}

/// Log queries that were refused, and all of them.
fn log_queries(exchanges: &[Exchange]) -> (usize, Vec<Scanned>) {
    let scans = || exchanges.iter().filter(|exchange| exchange.scan().is_some());
    let refused = scans().filter(|exchange| exchange.is_refused()).count();
    (refused, scans().filter_map(Exchange::scan).collect())
}

async fn profile(lake: &Lake, label: &str) -> Profile {
    let bytes = lake.get(&path::endpoint_profile(label)).await.unwrap();
    bytes.map(|bytes| serde_json::from_slice(&bytes).unwrap()).unwrap_or_default()
}

#[test]
fn a_second_run_on_a_lake_asks_for_no_window_that_is_refused() {
    let world = World::new(Shape::default());
    for wording in readable() {
        paused(async {
            let lake = memory();
            let site = Site::open(&world, vec![Host::new("e", capped(90, wording)).window(1_000)]);
            assert_complete(&world.collect(&lake, &site, &alone(0)).await);
            let (refused, _) = log_queries(&site.exchanges());
            assert!((1..=40).contains(&refused), "{}: {refused} refused at first", wording.name);

            let before = site.requests();
            let site = site.again();
            assert_complete(&world.collect(&lake, &site, &alone(1)).await);
            let (refused, scans) = log_queries(&site.exchanges()[before..]);
            assert_eq!(refused, 0, "{}: nothing is left to be found out", wording.name);
            let widest = scans.iter().map(|scan| scan.span.count()).max().unwrap();
            // Half of the cap is what halving may come to.
            assert!((45..=91).contains(&widest), "{}: {widest}", wording.name);
        });
    }
}

#[test]
fn a_first_run_with_the_window_that_the_file_states_pays_nothing_for_it() {
    let world = World::new(Shape::default());
    for (window, wording) in [(10, &span::ALCHEMY_FREE), (30, &span::CORETH), (1_000, &span::INFURA)] {
        paused(async {
            let site = Site::open(&world, vec![Host::new("e", capped(window, wording)).window(window)]);
            let collected = world.collect(&memory(), &site, &alone(0)).await;
            assert_complete(&collected);
            assert_eq!(log_queries(&site.exchanges()).0, 0, "{window}");
            let scans = asked(&collected, "e", Purpose::Scan, "eth_getLogs");
            assert_eq!(scans, world.blocks(0).count().div_ceil(window), "as few as there can be");
        });
    }
}

#[test]
fn a_dense_stretch_narrows_its_own_windows_and_no_others() {
    let world = World::new(Shape { liquidations: 40, ..Shape::default() });
    let dense = Policy {
        result_cap: Some(ResultCap {
            logs: 2,
            more: TooManyLogs::Refused { wording: &results::INFURA_OLD, hint: Hint::True },
        }),
        ..Policy::honest()
    };
    // A block with more is for somebody else.
    let hosts =
        |dense| vec![Host::new("dense", dense).window(400), Host::new("any", Policy::honest()).window(1)];
    paused(async {
        let (lake, site) = (memory(), Site::open(&world, hosts(dense)));
        assert_complete(&world.collect(&lake, &site, &alone(0)).await);
        let scans = site.scans("dense");
        let (narrowest, widest) = (
            scans.iter().map(|scan| scan.span.count()).min().unwrap(),
            scans.iter().map(|scan| scan.span.count()).max().unwrap(),
        );
        assert!(narrowest < 100 && widest == 400, "{narrowest} to {widest}");
        let narrow = scans.iter().position(|scan| scan.span.count() < 100).unwrap();
        let grown = scans[narrow..].windows(2).any(|pair| pair[1].span.count() > pair[0].span.count());
        assert!(grown, "it grows back: {:?}", scans.iter().map(|scan| scan.span).collect::<Vec<_>>());
        assert_eq!(profile(&lake, "dense").await.log_window, None, "no cap was told");
    });
}

#[test]
fn a_cap_outlasts_dense_stretches_and_is_forgotten_after_some_weeks() {
    let world = World::new(Shape::default());
    paused(async {
        let lake = memory();
        let site = Site::open(&world, vec![Host::new("e", capped(100, &span::QUICKNODE)).window(1_000)]);
        assert_complete(&world.collect(&lake, &site, &alone(0)).await);
        let learned = profile(&lake, "e").await.log_window.unwrap();
        assert_eq!(learned.value, 100);
        tokio::time::sleep(Duration::from_secs(31 * 86_400)).await;
        let (before, site) = (site.requests(), site.again());
        assert_complete(&world.collect(&lake, &site, &alone(1)).await);
        let (refused, scans) = log_queries(&site.exchanges()[before..]);
        assert!(refused > 0 && scans.iter().any(|scan| scan.span.count() == 1_000), "it is tried again");
        assert_eq!(profile(&lake, "e").await.log_window.unwrap().value, 100);
    });
}

#[test]
fn errors_that_are_not_about_range_change_no_window() {
    // Nothing is touched, so whoever holds the logs shows them by those of one block.
    let world = World::new(Shape::default());
    let over = |wording| Over { retry_after: false, ..Over::by_status(wording) };
    let too_fast = |wording| Limits {
        per_second: Some(PerSecond { units: 3, burst: 3, over: over(wording) }),
        ..Limits::default()
    };
    let outage = |fault| Outage { from: Duration::ZERO, to: Duration::from_secs(40), fault };
    // A time-out may be about range: it narrows, as a dense stretch does, and never lasts.
    let faults = Fault::ALL.into_iter().filter(|fault| *fault != Fault::GatewayTimeout);
    let mut cases: Vec<(String, Policy)> = faults
        .flat_map(|fault| {
            [
                (format!("{fault:?}, three of ten"), Policy::flaky(300, &[fault])),
                (
                    format!("{fault:?} for a while"),
                    Policy { outages: vec![outage(fault)], ..Policy::honest() },
                ),
            ]
        })
        .collect();
    // In its words a log query may have been too large as well.
    for wording in dialects::rate::ALL.iter().filter(|wording| !std::ptr::eq(**wording, &dialects::rate::BSC))
    {
        cases.push((wording.name.to_owned(), Policy { limits: too_fast(wording), ..Policy::honest() }));
    }
    for (case, policy) in cases {
        paused(async {
            let lake = memory();
            // Two endpoints, for not every one of these gets to an end alone.
            let hosts = vec![
                Host::new("e", policy).window(100),
                Host::new("other", Policy::honest()).window(50).run_by("e"),
            ];
            let site = Site::open(&world, hosts);
            assert_complete(&world.collect(&lake, &site, &alone(0)).await);
            for (label, window) in [("e", 100), ("other", 50)] {
                let profile = profile(&lake, label).await;
                assert_eq!((profile.log_window, profile.dense.len()), (None, 0), "{case}: {label}");
                let tiles = world.blocks(0).windows(window).collect::<Vec<_>>();
                let shorter = |scan: &Scanned| {
                    // A window of the wider one that was passed on is cut to the width of the other.
                    let wide = world.blocks(0).windows(100).flat_map(|wide| wide.windows(window));
                    !wide.chain(tiles.iter().copied()).any(|tile| tile == scan.span) && scan.span.count() > 1
                };
                let odd: Vec<_> = site.scans(label).into_iter().filter(shorter).collect();
                assert!(odd.is_empty(), "{case}: {label} was asked for {odd:?}");
            }
        });
    }
}

#[test]
fn a_window_is_never_below_one_block() {
    let world = World::new(Shape { block_seconds: 600, ..Shape::default() });
    let lie = |told| SpanCap { limit: 1, told: Some(told), wording: &span::ALCHEMY_FREE };
    let one_log = ResultCap {
        logs: 1,
        more: TooManyLogs::Refused { wording: &results::NETHERMIND, hint: Hint::Inverted },
    };
    for (case, policy) in [
        ("one block, and says none", Policy { span_cap: Some(lie(0)), ..Policy::honest() }),
        ("one block, and says five", Policy { span_cap: Some(lie(5)), ..Policy::honest() }),
        ("one log, and a block has two", Policy { result_cap: Some(one_log), ..Policy::honest() }),
    ] {
        paused(async {
            let hosts = vec![
                Host::new("e", policy).window(1_000),
                Host::new("other", Policy::honest()).window(1).run_by("e"),
            ];
            let (lake, site) = (memory(), Site::open(&world, hosts));
            assert_complete(&world.collect(&lake, &site, &alone(0)).await);
            let day = world.blocks(0).count() as usize;
            assert!(site.scans("e").len() + site.scans("other").len() <= 3 * day, "{case}");
            let logs = liquidations(&lake, &world.csus(0)[0], 0).await.unwrap();
            assert!(logs.scanned.is_exactly(world.blocks(0)), "{case} on {}", DAYS[0]);
        });
    }
}

static WORLD: LazyLock<World> =
    LazyLock::new(|| World::new(Shape { liquidations: 60, block_seconds: 240, ..Shape::default() }));

/// Caps in any words, with limits and hints that may be lies.
fn range_policy() -> impl Strategy<Value = Policy> {
    let told = prop_oneof![3 => Just(None), 1 => (0_u64..1_000).prop_map(Some)];
    let span_cap = (1_u64..400, told, select(readable())).prop_map(|(limit, told, wording)| SpanCap {
        limit,
        told,
        wording,
    });
    let hint = select(vec![Hint::True, Hint::TooWide, Hint::Outside, Hint::Inverted]);
    let result_cap = (1_usize..6, select(results::ALL), hint)
        .prop_map(|(logs, wording, hint)| ResultCap { logs, more: TooManyLogs::Refused { wording, hint } });
    (proptest::option::of(span_cap), proptest::option::of(result_cap), any::<u64>())
        .prop_map(|(span_cap, result_cap, seed)| Policy { span_cap, result_cap, seed, ..Policy::honest() })
}

/// Scans a day through the pool itself.
async fn scan_a_day(hosts: Vec<Host>, at_once: usize) -> Option<(Scan, Site, BlockSpan)> {
    let site = Site::open(&WORLD, hosts);
    let span = WORLD.blocks(0);
    let filter = LogFilter::new((0..2).map(|csu| WORLD.pool(0, csu)), [liquidation_topic()]);
    let mut scan = Scan::default();
    // Nobody may serve the chain at all.
    let pool = Pool::open(&WORLD.registered(), &site.providers, &memory(), None).await.ok()?;
    pool.scan(&mut scan, &filter, span, at_once, |_| {}).await;
    Some((scan, site, span))
}

/// Whether a policy does not take a window for what it is.
fn is_too_wide(policy: &Policy, window: BlockSpan, logs: usize) -> bool {
    let refuses = |cap: SpanCap| !cap.wording.grants(cap.limit, window.first(), window.last());
    // One block is answered whole, as reth does.
    let is_dense = |cap: ResultCap| window.count() > 1 && logs > cap.logs;
    policy.span_cap.is_some_and(refuses) || policy.result_cap.is_some_and(is_dense)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 60, failure_persistence: None, rng_seed: RngSeed::Fixed(7), ..ProptestConfig::default() })]

    #[test]
    fn every_refused_window_is_cut_into_narrower_ones_and_what_is_accepted_tiles_the_day(
        policies in proptest::collection::vec((range_policy(), 1_u64..2_000), 1..4), at_once in 1_usize..24,
    ) {
        paused(async {
            let mut hosts = vec![Host::new("last", Policy::honest()).window(1)];
            for (nth, (policy, window)) in policies.iter().enumerate() {
                hosts.push(Host::new(&format!("e{nth}"), policy.clone()).window(*window));
            }
            let (scan, site, day) = scan_a_day(hosts, at_once).await.unwrap();
            assert!(scan.failure.is_none(), "{:?}", scan.failure);
            let tiles: Vec<BlockSpan> = scan.windows().map(|window| window.span).collect();
            let edges = tiles.iter().flat_map(|tile| [tile.first(), tile.last() + 1]);
            let joints: Vec<u64> = edges.skip(1).collect();
            assert!(joints.chunks(2).all(|joint| joint.len() < 2 || joint[0] == joint[1]), "{tiles:?}");
            assert_eq!((tiles[0].first(), tiles.last().unwrap().last()), (day.first(), day.last()));
            assert_eq!(scan.logs().len(), WORLD.logs_in(day).len());

            let mut refused: BTreeMap<String, Vec<BlockSpan>> = BTreeMap::new();
            for exchange in site.exchanges() {
                let Some(asked) = exchange.scan() else { continue };
                let before = refused.entry(exchange.label.clone()).or_default();
                for wide in before.iter().filter(|wide| wide.first() <= asked.span.last() && asked.span.first() <= wide.last()) {
                    assert!(asked.span.count() < wide.count(), "{}: {} after {wide} was refused", exchange.label, asked.span);
                }
                let policy = exchange.label.strip_prefix('e').map(|nth| &policies[nth.parse::<usize>().unwrap()].0);
                let too_wide = policy.is_some_and(|policy| is_too_wide(policy, asked.span, WORLD.logs_in(asked.span).len()));
                assert_eq!(exchange.is_refused(), too_wide, "{}: {}", exchange.label, asked.span);
                if too_wide {
                    before.push(asked.span);
                }
            }
        });
    }

    #[test]
    fn a_scan_ends_whatever_the_endpoints_do(
        policies in proptest::collection::vec((any_policy(), 1_u64..3_000), 1..5), at_once in 1_usize..24,
    ) {
        paused(async {
            let host = |(nth, (policy, window)): (usize, (Policy, u64))| {
                Host::new(&format!("e{nth}"), policy).window(window)
            };
            let hosts = policies.into_iter().enumerate().map(host).collect();
            let scan = scan_a_day(hosts, at_once);
            let scanned = tokio::time::timeout(Duration::from_secs(7 * 86_400), scan).await.unwrap();
            let Some((scan, _, day)) = scanned else { return };
            let covered = scan.covered();
            let windows: u64 = scan.windows().map(|window| window.span.count()).sum();
            assert_eq!(windows, covered.count(), "no block is accepted twice");
            assert!(covered.is_exactly(day) != scan.failure.is_some(), "{:?}", scan.failure);
            for window in scan.windows() {
                assert_eq!(window.logs.len(), WORLD.logs_in(window.span).len(), "{}", window.span);
            }
        });
    }
}
