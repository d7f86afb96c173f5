//! Endpoints that lie about logs, beside an honest one of another operator: they are caught where it is certain that they
//! can be, asked no more, and what rests on their word is collected again.

use crate::in_process::{
    Bronze, DAYS, Exchange, Host, Shape, Site, Wish, World, assert_complete, assert_same, audit, bronze,
    differences, liquidations, memory, paused, unfinished,
};
use extract::collect::Collected;
use lake::Lake;
use lake::status::AuditLevel;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use testkit::server::clock::Clock;
use testkit::server::dialects::entry;
use testkit::server::policy::{ResultCap, TooManyLogs};
use testkit::server::{ManualClock, Policy, Provider, StrayLog};

/// Wider than a day, so that a sample is the whole of it.
const WIDE: u64 = 20_000;

/// Logs of the blocks by the word of a provider with this policy: of a contract, or any.
fn shown(world: &World, policy: &Policy, blocks: (u64, u64), of: Option<usize>) -> usize {
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(0));
    let provider = Provider::new(world.shared_chain(), policy.clone(), &clock);
    let mut filter =
        json!({ "fromBlock": format!("{:#x}", blocks.0), "toBlock": format!("{:#x}", blocks.1) });
    if let Some(csu) = of {
        filter["address"] = json!(world.pool(0, csu));
    }
    let call = json!({ "id": 1, "method": "eth_getLogs", "params": [filter] });
    let answer: Value = serde_json::from_slice(&provider.exchange(call.to_string().as_bytes()).body).unwrap();
    answer["result"].as_array().unwrap().len()
}

/// A policy that misses half of all logs, by the first seed with which it shows a log in the first block of each day (so
/// that no header convicts it) and does what else is asked.
fn forgetful(world: &World, is_fit: impl Fn(&Policy) -> bool) -> Policy {
    let candidates = (0..10_000).map(|seed| Policy { missing_logs_per_mille: 500, seed, ..Policy::honest() });
    let shows_some = |policy: &Policy| {
        let firsts = [world.blocks(0).first(), world.blocks(1).first()];
        firsts.iter().all(|first| shown(world, policy, (*first, *first), None) > 0)
    };
    candidates.into_iter().find(|policy| shows_some(policy) && is_fit(policy)).unwrap()
}

/// Whether a policy lacks a CSU's logs of a day.
fn lacks_some(world: &World, policy: &Policy, day: usize) -> bool {
    let blocks = (world.blocks(day).first(), world.blocks(day).last());
    (0..2).all(|csu| {
        shown(world, policy, blocks, Some(csu)) < shown(world, &Policy::honest(), blocks, Some(csu))
    })
}

fn cut_silently() -> Policy {
    Policy { result_cap: Some(ResultCap { logs: 5, more: TooManyLogs::CutSilently }), ..Policy::honest() }
}

/// Whether an endpoint was caught, for its logs alone or for all it says.
fn distrusted(collected: &Collected, label: &str) -> bool {
    let begins = [format!("endpoint not trusted: {label}:"), not_with_logs(label)];
    collected.warnings.iter().any(|warning| begins.iter().any(|begins| warning.starts_with(begins)))
}

fn not_with_logs(label: &str) -> String {
    format!("endpoint not trusted with logs: {label}:")
}

async fn collect(world: &World, lake: &Lake, hosts: Vec<Host>, wish: &Wish) -> Collected {
    world.collect(lake, &Site::open(world, hosts), wish).await
}

/// Runs a liar beside an honest endpoint and insists that it is caught, that the honest one is not, and that bronze is
/// the honest one's.
#[track_caller]
fn assert_caught(world: &World, truth: &Bronze, hosts: Vec<Host>, case: &str) {
    let (collected, lake) = paused(async {
        let lake = memory();
        let collected = collect(world, &lake, hosts, &Wish::default()).await;
        (collected, lake)
    });
    assert!(distrusted(&collected, "liar"), "{case}: {:#?}", collected.warnings);
    assert_eq!(collected.warnings.len(), 1, "{case}: {:#?}", collected.warnings);
    assert_complete(&collected);
    paused(async {
        assert_same(truth, &bronze(&lake).await);
        for day in 0..2 {
            for csu in world.csus(0) {
                assert!(liquidations(&lake, &csu, day).await.is_some());
            }
            assert!(!audit(&lake, day).await.scans[0].operators.contains(&"liar".to_owned()), "{case}");
        }
    });
}

#[test]
fn an_endpoint_that_misses_logs_is_caught_by_the_sample_of_another_operator() {
    let world = World::new(Shape::default());
    let truth = world.truth();
    let missing = forgetful(&world, |policy| lacks_some(&world, policy, 0));
    let honest = || Host::new("honest", Policy::honest()).window(WIDE / 2);
    for (case, policy) in [("it misses half of the logs", &missing), ("it cuts its lists", &cut_silently())] {
        // The liar takes the wider window, so it is asked first.
        let liar = || Host::new("liar", policy.clone()).window(WIDE);
        assert_caught(&world, &truth, vec![liar(), honest()], case);
        let third = Host::new("third", Policy::honest()).window(WIDE / 4);
        assert_caught(&world, &truth, vec![liar(), honest(), third], &format!("{case}, with a judge"));
        let narrow = Host::new("liar", policy.clone()).window(WIDE / 4);
        assert_caught(&world, &truth, vec![honest(), narrow], &format!("{case}, asked second"));
    }
}

#[test]
fn an_endpoint_without_a_log_that_must_exist_is_caught_without_a_second_opinion() {
    let world = World::new(Shape { touched: Some(0), ..Shape::default() });
    let truth = world.truth();
    let policy = Policy { missing_logs_per_mille: 1_000, ..Policy::honest() };
    let liar = Host::new("liar", policy).window(WIDE);
    // Two labels of one operator are one opinion.
    let honest = Host::new("honest", Policy::honest()).window(WIDE / 2).run_by("liar");
    let (collected, lake) = paused(async {
        let lake = memory();
        (collect(&world, &lake, vec![liar, honest], &Wish::default()).await, lake)
    });
    assert!(distrusted(&collected, "liar") && !distrusted(&collected, "honest"), "{:#?}", collected.warnings);
    assert_complete(&collected);
    paused(async {
        assert_same(&truth, &bronze(&lake).await);
        assert_eq!(audit(&lake, 0).await.level_of(&world.csus(0)[0]), Some(AuditLevel::OneSource));
        assert!(audit(&lake, 0).await.scans[0].witnessed);
    });
}

#[test]
fn a_second_without_a_block_convicts_nobody() {
    let shape = Shape { touched: Some(0), touched_between_blocks: true, liquidations: 0, ..Shape::default() };
    let world = World::new(shape);
    let (collected, lake, site) = paused(async {
        let site = Site::open(&world, vec![Host::new("only", Policy::honest()).window(WIDE)]);
        let lake = memory();
        (world.collect(&lake, &site, &Wish::default()).await, lake, site)
    });
    assert_complete(&collected);
    assert!(!distrusted(&collected, "only"), "{:#?}", collected.warnings);
    let of_day = world.blocks(0).count();
    let is_around_noon = |blocks: u64| (2..of_day).contains(&blocks);
    let scans = site.scans("only");
    assert!(scans.iter().any(|scan| is_around_noon(scan.span.count())), "a log was looked for: {scans:?}");
    assert!(paused(audit(&lake, 0)).scans.iter().all(|scan| !scan.witnessed));
}

#[test]
fn logs_that_do_not_exist_never_reach_bronze() {
    let world = World::new(Shape::default());
    let truth = world.truth();
    let strays = [
        StrayLog::OtherContract,
        StrayLog::OtherBlock,
        StrayLog::Removed,
        StrayLog::OtherHash,
        StrayLog::Invented,
    ];
    for stray in strays {
        for (windows, case) in [((WIDE, WIDE / 2), "asked first"), ((WIDE / 2, WIDE), "asked second")] {
            paused(async {
                let policy = Policy { stray_log: Some(stray), ..Policy::honest() };
                let hosts = vec![
                    Host::new("liar", policy).window(windows.0),
                    Host::new("honest", Policy::honest()).window(windows.1),
                ];
                let lake = memory();
                let collected = collect(&world, &lake, hosts, &Wish::default()).await;
                let left = unfinished(&collected);
                assert!(left.is_empty(), "{stray:?}, {case}: {}\n{:#?}", left.join("\n"), collected.warnings);
                assert_same(&truth, &bronze(&lake).await);
            });
        }
    }
}

#[test]
fn a_log_of_a_block_that_is_gone_is_told_by_the_header_and_costs_no_snapshot() {
    let world = World::new(Shape::default());
    let truth = world.truth();
    let stale = || Policy { stray_log: Some(StrayLog::OtherHash), ..Policy::honest() };
    // The day's last block holds a log, so windows end where none is: 900 blocks do not divide a day.
    let liar = || Host::new("liar", stale()).window(900);
    let no_state = Policy { refused_methods: vec![("eth_call", &entry::METHOD)], ..Policy::honest() };
    // The only other endpoint has no state: the snapshots are the caught one's.
    let honest = || Host::new("honest", no_state.clone()).window(500);
    paused(async {
        let lake = memory();
        let collected = collect(&world, &lake, vec![liar(), honest()], &Wish::default()).await;
        let caught: Vec<&String> =
            collected.warnings.iter().filter(|warning| warning.starts_with(&not_with_logs("liar"))).collect();
        assert_eq!(caught.len(), 1, "{:#?}", collected.warnings);
        assert!(caught[0].contains("whose header it gives with hash"), "{}", caught[0]);
        assert!(!distrusted(&collected, "honest"), "{:#?}", collected.warnings);
        assert_complete(&collected);
        assert_same(&truth, &bronze(&lake).await);
        assert_eq!(audit(&lake, 0).await.scans[0].operators, ["honest"]);

        // With nobody else the days stay open, and the reason names a block and both hashes; the snapshots stand.
        let lake = memory();
        let collected = collect(&world, &lake, vec![liar()], &Wish::default()).await;
        let left = unfinished(&collected);
        assert_eq!(left.len(), 4, "{left:?}");
        assert!(left.iter().all(|text| text.contains(" liquidations: ")), "{left:?}");
        assert!(left.iter().all(|text| text.contains("has hash 0xeeee")), "{left:?}");
    });
}

#[test]
fn an_invented_log_is_caught_by_its_own_receipts_or_by_a_third_operator() {
    let world = World::new(Shape::default());
    let truth = world.truth();
    let invents = Policy { stray_log: Some(StrayLog::Invented), ..Policy::honest() };
    let liar = |policy: &Policy| Host::new("liar", policy.clone()).window(WIDE);
    let honest = || Host::new("honest", Policy::honest()).window(WIDE / 2);
    assert_caught(&world, &truth, vec![liar(&invents), honest()], "its block's receipts do not show it");
    let no_receipts = Policy {
        refused_methods: vec![
            ("eth_getTransactionReceipt", &entry::METHOD),
            ("eth_getBlockReceipts", &entry::METHOD),
        ],
        ..invents
    };
    let third = Host::new("third", Policy::honest()).window(WIDE / 4);
    assert_caught(
        &world,
        &truth,
        vec![liar(&no_receipts), honest(), third],
        "a third has the block's receipts",
    );
    paused(async {
        let lake = memory();
        let hosts = vec![liar(&no_receipts), honest()];
        let left = unfinished(&collect(&world, &lake, hosts, &Wish::default()).await);
        assert_eq!(left.len(), 4, "word against word: {left:?}");
        assert!(left.iter().all(|text| text.contains("liar: has log 7777")), "{left:?}");
        assert!(left.iter().all(|text| text.contains("honest: does not have log 7777")), "{left:?}");
    });
}

#[test]
fn an_endpoint_without_logs_keeps_the_snapshots_that_rest_on_its_state() {
    let world = World::new(Shape { touched: Some(0), ..Shape::default() });
    let truth = world.truth();
    let no_logs = Policy { missing_logs_per_mille: 1_000, ..Policy::honest() };
    let no_state = Policy { refused_methods: vec![("eth_call", &entry::METHOD)], ..Policy::honest() };
    paused(async {
        let lake = memory();
        let hosts =
            vec![Host::new("liar", no_logs).window(WIDE), Host::new("honest", no_state).window(WIDE / 2)];
        let site = Site::open(&world, hosts);
        let collected = world.collect(&lake, &site, &Wish::default()).await;
        assert!(distrusted(&collected, "liar"), "{:#?}", collected.warnings);
        assert_complete(&collected);
        assert_same(&truth, &bronze(&lake).await);
        // Snapshots were read once: those of the first day before it was caught, and were not asked for again.
        let last = format!("{:#x}", world.blocks(0).last());
        let of_state = |question: &String| question.contains("eth_call") && question.contains(&last);
        let questions = site.exchanges().iter().map(Exchange::question).filter(of_state).collect::<Vec<_>>();
        let distinct: BTreeSet<&String> = questions.iter().collect();
        assert!(!questions.is_empty() && distinct.len() == questions.len(), "{questions:#?}");
    });
}

#[test]
fn logs_in_any_order_are_no_lie() {
    let world = World::new(Shape::default());
    let truth = world.truth();
    paused(async {
        let lake = memory();
        let policy = Policy { shuffles_logs: true, ..Policy::honest() };
        let hosts = vec![Host::new("unordered", policy).window(WIDE)];
        let collected = collect(&world, &lake, hosts, &Wish::default()).await;
        assert_complete(&collected);
        assert!(collected.warnings.is_empty(), "{:#?}", collected.warnings);
        assert_same(&truth, &bronze(&lake).await);
    });
}

#[test]
fn logs_that_come_twice_are_not_taken_and_the_day_says_so() {
    let world = World::new(Shape::default());
    let truth = world.truth();
    let twice = || Policy { repeats_log: true, ..Policy::honest() };
    for (windows, case) in [((WIDE, WIDE / 2), "asked first"), ((WIDE / 2, WIDE), "asked second")] {
        paused(async {
            let lake = memory();
            let hosts = vec![
                Host::new("liar", twice()).window(windows.0),
                Host::new("honest", Policy::honest()).window(windows.1),
            ];
            let collected = collect(&world, &lake, hosts, &Wish::default()).await;
            assert!(unfinished(&collected).is_empty(), "{case}: {:#?}", unfinished(&collected));
            assert_same(&truth, &bronze(&lake).await);
        });
    }
    paused(async {
        let lake = memory();
        let hosts = vec![Host::new("liar", twice()).window(WIDE)];
        let left = unfinished(&collect(&world, &lake, hosts, &Wish::default()).await);
        assert_eq!(left.len(), 4, "{left:?}");
        assert!(left.iter().all(|text| text.contains("came twice")), "{left:?}");
    });
}

/// A world that was touched on its second day; an endpoint that misses logs of the first, and on the second the log that
/// must exist; and beside it an honest one with narrower windows. With windows so narrow the first day's samples meet
/// no log.
fn caught_on_the_second_day() -> (World, Vec<Host>) {
    let world = World::new(Shape { touched: Some(1), ..Shape::default() });
    let noon = world.blocks(1).first() + world.blocks(1).count() / 2;
    let liar = forgetful(&world, |policy| {
        lacks_some(&world, policy, 0) && shown(&world, policy, (noon, noon), Some(0)) == 0
    });
    let hosts = vec![Host::new("liar", liar).window(10), Host::new("honest", Policy::honest()).window(5)];
    (world, hosts)
}

#[test]
fn what_an_endpoint_said_on_earlier_days_is_collected_again_once_it_is_caught() {
    let (world, hosts) = caught_on_the_second_day();
    let truth = world.truth();
    paused(async {
        let first_day = Wish { days: (0, 0), ..Wish::default() };
        let lake = memory();
        assert_complete(&collect(&world, &lake, hosts.clone(), &first_day).await);
        let believed = bronze(&lake).await;
        let wrong = differences(
            &truth
                .iter()
                .filter(|(name, _)| name.contains(DAYS[0]))
                .map(|(n, b)| (n.clone(), b.clone()))
                .collect(),
            &believed,
        );
        assert_eq!(wrong.len(), 2, "nothing spoke against it on the first day: {wrong:?}");

        // Another run meets it on the second day.
        let collected = collect(&world, &lake, hosts.clone(), &Wish::default()).await;
        assert!(distrusted(&collected, "liar"), "{:#?}", collected.warnings);
        assert_complete(&collected);
        assert_same(&truth, &bronze(&lake).await);
        assert_eq!(audit(&lake, 0).await.scans[0].operators, ["honest"]);

        // And one run over both days.
        let lake = memory();
        let collected = collect(&world, &lake, hosts, &Wish::default()).await;
        assert!(distrusted(&collected, "liar"), "{:#?}", collected.warnings);
        assert_complete(&collected);
        assert_eq!(collected.outcomes.len(), 8, "each task has one outcome");
        assert_same(&truth, &bronze(&lake).await);
        assert_eq!(audit(&lake, 0).await.scans[0].operators, ["honest"]);
    });
}

#[test]
fn two_operators_that_differ_without_a_receipt_leave_the_day_open() {
    let world = World::new(Shape::default());
    let no_receipts = |policy: Policy| Policy {
        refused_methods: vec![
            ("eth_getTransactionReceipt", &entry::METHOD),
            ("eth_getBlockReceipts", &entry::METHOD),
        ],
        ..policy
    };
    paused(async {
        let hosts = vec![
            Host::new("one", no_receipts(cut_silently())).window(WIDE),
            Host::new("other", no_receipts(Policy::honest())).window(WIDE / 2),
        ];
        let lake = memory();
        let collected = collect(&world, &lake, hosts, &Wish::default()).await;
        let left = unfinished(&collected);
        assert_eq!(left.len(), 4, "{left:?}");
        assert!(
            left.iter()
                .all(|text| text.contains("nobody else gives the transaction's or the block's receipts")),
            "{left:?}"
        );
        assert!(liquidations(&lake, &world.csus(0)[0], 0).await.is_none());
    });
}

#[test]
fn an_audit_says_how_far_a_scan_was_checked() {
    let world = World::new(Shape { touched: Some(0), ..Shape::default() });
    let host = |label: &str, window| Host::new(label, Policy::honest()).window(window);
    let two = vec![host("a", 100), host("b", 90)];
    let one_operator = vec![host("a", 100), host("b", 90).run_by("a")];
    let cases = [
        (vec![host("a", 100)], AuditLevel::Sampled, AuditLevel::OneSource),
        (vec![host("a", 100)], AuditLevel::Receipts, AuditLevel::OneSource),
        (one_operator, AuditLevel::Sampled, AuditLevel::OneSource),
        (two.clone(), AuditLevel::OneSource, AuditLevel::OneSource),
        (two.clone(), AuditLevel::Sampled, AuditLevel::Sampled),
        (two.clone(), AuditLevel::TwoOperators, AuditLevel::TwoOperators),
        (two, AuditLevel::Receipts, AuditLevel::Receipts),
    ];
    for (hosts, audit_wished, reached) in cases {
        paused(async {
            let lake = memory();
            let wish = Wish { audit: audit_wished, ..Wish::default() };
            assert_complete(&collect(&world, &lake, hosts, &wish).await);
            for day in 0..2 {
                let audit = audit(&lake, day).await;
                for csu in world.csus(0) {
                    assert_eq!(audit.level_of(&csu), Some(reached), "{audit_wished:?} wished");
                }
                let [scan] = audit.scans.as_slice() else { panic!("one scan a day: {audit:?}") };
                assert_eq!((scan.blocks, scan.windows, scan.witnessed), (1_440, 15, day == 0));
                let again = match reached {
                    AuditLevel::OneSource => 0,
                    AuditLevel::Sampled => 3,
                    _ => 15,
                };
                assert_eq!(scan.windows_asked_again, again, "{reached:?}");
                let whole = reached == AuditLevel::TwoOperators || reached == AuditLevel::Receipts;
                assert_eq!(scan.blocks_asked_again == scan.blocks, whole, "{scan:?}");
                assert_eq!(scan.logs_in_receipts == scan.logs, reached == AuditLevel::Receipts, "{scan:?}");
                assert_eq!(scan.asked_again.is_empty(), again == 0);
            }
        });
    }
}
