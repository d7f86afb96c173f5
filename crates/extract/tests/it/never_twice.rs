//! Nothing is asked twice: not what a lake holds, not what a run that was cut off has got, not what another run on the
//! lake has finished.

use crate::exchanges::{Exchange, Scanned};
use crate::in_process::{
    Bronze, DAYS, Host, Shape, Site, Wish, World, asked, assert_complete, assert_same, audit, bronze, memory,
    paused,
};
use extract::rpc::tally::Purpose;
use lake::path::{self, BronzeKey};
use lake::status::{AuditLevel, Dataset};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;
use std::time::Duration;
use testkit::server::Policy;
use testkit::server::faults::Latency;
use tokio::time::Instant;

fn delayed(milliseconds: u64) -> Policy {
    let usual = Duration::from_millis(milliseconds);
    Policy { latency: Latency { usual, ..Latency::default() }, ..Policy::honest() }
}

static WORLD: LazyLock<World> =
    LazyLock::new(|| World::new(Shape { days: 3, liquidations: 12, touched: Some(1), ..Shape::default() }));
static TRUTH: LazyLock<Bronze> = LazyLock::new(|| WORLD.truth());

/// Requests beyond the first of each question, introductions aside.
fn asked_again(world: &World, exchanges: &[Exchange]) -> Vec<String> {
    let mut asked = BTreeSet::new();
    let questions = exchanges.iter().map(Exchange::question);
    questions.filter(|question| !world.is_introduction(question) && !asked.insert(question.clone())).collect()
}

#[test]
fn a_csu_that_is_added_later_is_scanned_by_its_own_addresses_alone() {
    let truth = &*TRUTH;
    paused(async {
        let host = Host::new("e", Policy::honest()).window(100);
        let (lake, site) = (memory(), Site::open(&WORLD, vec![host]));
        let csus = WORLD.csus(0);
        let one = Wish { csus: vec![csus[0].clone()], ..Wish::default() };
        assert_complete(&WORLD.collect(&lake, &site, &one).await);
        let before = site.requests();
        let added = WORLD.collect(&lake, &site.again(), &Wish::default()).await;
        assert_complete(&added);
        let later = &site.exchanges()[before..];
        let addresses: BTreeSet<_> =
            later.iter().filter_map(Exchange::scan).flat_map(|scan| scan.addresses).collect();
        assert_eq!(addresses, [WORLD.pool(0, 1)].into(), "only the pool of the second");
        assert_eq!(asked(&added, "e", Purpose::Boundary, "eth_getBlockByNumber"), 0, "the days are proven");
        assert_same(truth, &bronze(&lake).await);
    });
}

/// A run writes the logs of one CSU after the other. One that dies between them has made the whole scan.
#[test]
fn a_scan_that_was_cut_off_between_its_objects_is_taken_up_as_it_was() {
    let truth = &*TRUTH;
    paused(async {
        let host = |label: &str| Host::new(label, delayed(20)).window(60);
        let (lake, site) = (memory(), Site::open(&WORLD, vec![host("e"), host("other")]));
        let journal = std::sync::Mutex::new(BTreeMap::new());
        let keep_journal = async {
            loop {
                for path in lake.list(&path::partial_prefix("simnet")).await.unwrap() {
                    let bytes = lake.get(&path).await.unwrap().unwrap();
                    journal.lock().unwrap().insert(path, bytes);
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let wish = Wish::default();
        tokio::select! {
            collected = WORLD.collect(&lake, &site, &wish) => assert_complete(&collected),
            never = keep_journal => match never {},
        }
        let audited = audit(&lake, 0).await;

        // As if it had died before the second CSU's logs of the first day were written.
        let first_day = path::partial_prefix("simnet").join(DAYS[0]);
        for (path, bytes) in journal.into_inner().unwrap() {
            if path.prefix_matches(&first_day) {
                lake.overwrite(&path, bytes).await.unwrap();
            }
        }
        let second = &WORLD.csus(0)[1];
        let logs = BronzeKey::of(Dataset::Liquidations, second, DAYS[0].parse().unwrap());
        lake.delete(&logs.path()).await.unwrap();
        let before = site.requests();
        let again = WORLD.collect(&lake, &site.again(), &Wish::default()).await;
        assert_complete(&again);
        let told = again.outcomes.iter().filter(|outcome| outcome.date == logs.date());
        assert_eq!(told.count(), 4, "each task is told once");
        let scans = site.exchanges()[before..].iter().filter_map(Exchange::scan).count();
        assert_eq!(scans, 0, "a scan that was answered was made again");
        assert_same(truth, &bronze(&lake).await);
        assert_eq!(audit(&lake, 0).await, audited);
    });
}

#[test]
fn a_second_run_on_a_finished_lake_asks_nothing() {
    paused(async {
        let (lake, site) = (memory(), Site::open(&WORLD, vec![Host::new("e", Policy::honest()).window(100)]));
        assert_complete(&WORLD.collect(&lake, &site, &Wish::default()).await);
        let before = site.requests();
        assert_complete(&WORLD.collect(&lake, &site.again(), &Wish::default()).await);
        assert_eq!(site.requests(), before);
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 40, failure_persistence: None, rng_seed: RngSeed::Fixed(11), ..ProptestConfig::default() })]

    #[test]
    fn a_run_that_is_cut_off_again_and_again_repeats_no_more_than_what_was_under_way(
        stops in proptest::collection::vec(0.05_f64..9.0, 1..12), at_once in 1_usize..24, latency in 1_u64..300,
        two in any::<bool>(), multicall3 in any::<bool>(),
    ) {
        let plain = World::new(Shape { multicall3: false, days: 2, csus: 1, liquidations: 6, block_seconds: 120, ..Shape::default() });
        let (world, truth) = if multicall3 { (&*WORLD, TRUTH.clone()) } else { let truth = plain.truth(); (&plain, truth) };
        paused(async {
            let mut hosts = vec![Host::new("e", delayed(latency)).window(60)];
            if two {
                hosts.push(Host::new("other", delayed(latency / 2)).window(60));
            }
            let (lake, mut site) = (memory(), Site::open(world, hosts));
            let wish = Wish { at_once, ..Wish::default() };
            for stop in stops {
                let run = world.collect(&lake, &site, &wish);
                if tokio::time::timeout(Duration::from_secs_f64(stop), run).await.is_ok() {
                    break;
                }
                site = site.again();
            }
            assert_complete(&world.collect(&lake, &site, &wish).await);
            assert_same(&truth, &bronze(&lake).await);
            let (again, lost) = (asked_again(world, &site.exchanges()), site.under_way());
            let beginnings: Vec<&str> = again.iter().map(|question| &question[..question.len().min(90)]).collect();
            assert!(again.len() <= lost, "{lost} were under way when the run was cut off, {}: {beginnings:#?}", again.len());
        });
    }
}

#[test]
fn two_runs_at_the_same_time_do_not_repeat_what_the_other_has_finished() {
    let truth = &*TRUTH;
    let wish = Wish { audit: AuditLevel::OneSource, ..Wish::default() };
    let host = || vec![Host::new("e", delayed(100)).window(60)];
    let scanned = |site: &Site, day: usize| {
        let of_day =
            |scan: &Scanned| WORLD.blocks(day).contains(scan.span.first()) && !scan.addresses.is_empty();
        site.scans("e").iter().filter(|scan| of_day(scan)).count()
    };
    let (alone, took) = paused(async {
        let (began, site) = (Instant::now(), Site::open(&WORLD, host()));
        assert_complete(&WORLD.collect(&memory(), &site, &wish).await);
        ((0..3).map(|day| scanned(&site, day)).collect::<Vec<_>>(), began.elapsed())
    });
    for tenth in 0..=10 {
        paused(async {
            let (lake, first, second) = (memory(), Site::open(&WORLD, host()), Site::open(&WORLD, host()));
            let later = async {
                tokio::time::sleep(took * tenth / 10).await;
                let there = bronze(&lake).await;
                let is_done = |day: usize| {
                    let of_day = |name: &&String| name.contains("liquidations") && name.contains(DAYS[day]);
                    there.keys().filter(of_day).count() == WORLD.csus(0).len()
                };
                ((0..3).map(is_done).collect::<Vec<_>>(), WORLD.collect(&lake, &second, &wish).await)
            };
            let (one, (done, other)) = futures::join!(WORLD.collect(&lake, &first, &wish), later);
            assert_complete(&one);
            assert_complete(&other);
            assert_same(truth, &bronze(&lake).await);
            let both: Vec<usize> = (0..3).map(|day| scanned(&first, day) + scanned(&second, day)).collect();
            println!("begun when {done:?} were done: {both:?} log queries a day, {alone:?} alone");
            for day in (0..3).filter(|day| done[*day]) {
                assert_eq!(both[day], alone[day], "{}", DAYS[day]);
            }
            assert!(tenth < 10 || done == [true, true, true], "{done:?}");
        });
    }
}
