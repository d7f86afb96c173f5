//! The bill before and after: log queries as many as planned, and units within 2% of it where nothing fails.

use crate::in_process::{Host, Shape, Site, Wish, World, assert_complete, memory, paused};
use extract::plan::Basis;
use extract::report::{BillRow, Summary};
use extract::rpc::tally::Purpose;
use lake::Lake;
use lake::status::AuditLevel;
use testkit::server::Policy;
use testkit::server::dialects::{rate, span};
use testkit::server::limits::{Limits, Over, PerSecond, Prices};
use testkit::server::policy::SpanCap;

fn alchemy(label: &str, key: &'static str) -> Host {
    let over = Over::by_status(&rate::ALCHEMY);
    let per_second = Some(PerSecond { units: 500, burst: 500, over });
    let limits = Limits { prices: Prices::ALCHEMY, per_second, quota: None };
    let cap = SpanCap::new(10, &span::ALCHEMY_FREE);
    let policy = Policy { span_cap: Some(cap), ..Policy::honest() };
    Host::new(label, policy).run_by("alchemy").window(10).limited(limits).with_key(key)
}

fn official() -> Host {
    let limits = Limits::requests_per_second(5, Over::by_status(&rate::PROXYD));
    let cap = SpanCap::new(10_000, &span::INFURA);
    Host::new("official", Policy { span_cap: Some(cap), ..Policy::honest() }).window(10_000).limited(limits)
}

/// Plans and collects, and compares.
async fn bill(world: &World, lake: &Lake, hosts: Vec<Host>, wish: &Wish) -> Vec<BillRow> {
    let site = Site::open(world, hosts);
    let plan = world.plan(lake, &site, wish).await;
    let collected = world.collect(lake, &site, wish).await;
    assert_complete(&collected);
    let summary = Summary::new("a test", "memory", &collected, &plan);
    println!("{}", summary.in_words());
    let queried: u64 = site.exchanges().iter().filter(|exchange| exchange.scan().is_some()).count() as u64;
    let sent = |row: &&BillRow| row.method == "eth_getLogs";
    assert_eq!(summary.bill.iter().filter(sent).map(|row| row.sent).sum::<u64>(), queried);
    summary.bill
}

/// Units planned and spent of what can be foreseen, the worst of the units.
fn off(bill: &[BillRow]) -> f64 {
    let mut worst = 0.0_f64;
    for unit in bill.iter().map(|row| &row.unit) {
        let rows = || bill.iter().filter(|row| row.unit == *unit && row.basis.is_some());
        let planned: u64 = rows().map(|row| row.units_planned).sum();
        let spent: u64 = rows().map(|row| row.units).sum();
        worst = worst.max((spent as f64 - planned as f64).abs() / planned.max(1) as f64);
    }
    worst
}

fn log_queries(bill: &[BillRow]) -> Vec<(Purpose, u64, u64)> {
    let of_logs = bill.iter().filter(|row| row.method == "eth_getLogs");
    of_logs.map(|row| (row.purpose, row.planned, row.sent)).collect()
}

/// Insists that as many log queries were made as planned, for each purpose.
#[track_caller]
fn assert_log_queries_as_planned(bill: &[BillRow], case: &str) {
    let queries = log_queries(bill);
    assert!(queries.iter().any(|(_, planned, _)| *planned > 0), "{case}");
    for (purpose, planned, sent) in queries {
        assert_eq!(planned, sent, "{case}: {purpose:?}");
    }
    for row in bill.iter().filter(|row| row.basis == Some(Basis::Counted)) {
        assert_eq!(row.planned, row.sent, "{case}: {row:?}");
    }
}

#[test]
fn a_bill_is_what_was_planned_within_two_percent() {
    let even = World::new(Shape { block_seconds: 12, days: 3, touched_daily: true, ..Shape::default() });
    let uneven = World::new(Shape {
        block_seconds: 12,
        days: 3,
        touched_daily: true,
        uneven: true,
        ..Shape::default()
    });
    let key = || alchemy("alchemy", "KEY_1");
    for (world, case) in [(&even, "even"), (&uneven, "uneven")] {
        paused(async {
            let lake = memory();
            // The lake knows nothing: searches and listings are estimated.
            let first = Wish { days: (0, 0), ..Wish::default() };
            let hosts = || vec![key(), official()];
            for (wish, hosts, nth) in [
                (&first, vec![key()], "a first day, ten blocks at a time"),
                (
                    &Wish { days: (1, 2), ..Wish::default() },
                    hosts(),
                    "two days more, with windows of 10,000 blocks",
                ),
            ] {
                let bill = bill(world, &lake, hosts, wish).await;
                println!("{case} chain, {nth}: {:.2}% off", 100.0 * off(&bill));
                assert!(off(&bill) <= 0.02, "{case} chain, {nth}: {bill:#?}");
                if case == "even" {
                    assert_log_queries_as_planned(&bill, nth);
                }
            }
        });
    }
}

#[test]
fn a_first_bill_with_wide_windows_alone_is_an_estimate_in_which_log_queries_are_counted() {
    for uneven in [false, true] {
        let shape = Shape { block_seconds: 12, days: 3, touched_daily: true, uneven, ..Shape::default() };
        let world = World::new(shape);
        paused(async {
            let hosts = vec![alchemy("alchemy", "KEY_1"), official()];
            let bill = bill(&world, &memory(), hosts, &Wish::default()).await;
            println!("uneven {uneven}: {:.1}% off on a new lake with wide windows", 100.0 * off(&bill));
            assert_log_queries_as_planned(&bill, "a new lake");
            // Searches are a third of so small a bill.
            assert!(off(&bill) <= 0.25, "{bill:#?}");
        });
    }
}

#[test]
fn log_queries_are_planned_as_they_are_made_for_any_endpoints_and_any_audit() {
    let world = World::new(Shape { block_seconds: 30, touched_daily: true, ..Shape::default() });
    let other = |window| Host::new("other", Policy::honest()).window(window);
    let audits = [AuditLevel::OneSource, AuditLevel::Sampled, AuditLevel::TwoOperators, AuditLevel::Receipts];
    for audit in audits {
        for (case, hosts) in [
            ("one key", vec![alchemy("one", "KEY_1")]),
            (
                "three keys that share the scan",
                vec![alchemy("one", "KEY_1"), alchemy("two", "KEY_2"), alchemy("three", "KEY_3")],
            ),
            ("a wide one and a key", vec![alchemy("one", "KEY_1"), official()]),
            ("two that take less than a day", vec![other(700), official()]),
            ("two windows a day", vec![other(1_500), Host::new("more", Policy::honest()).window(1_400)]),
        ] {
            paused(async {
                let wish = Wish { audit, ..Wish::default() };
                let bill = bill(&world, &memory(), hosts, &wish).await;
                assert_log_queries_as_planned(&bill, &format!("{case}, {audit:?}"));
            });
        }
    }
}

#[test]
fn what_a_lake_holds_is_not_planned_again() {
    let world = World::new(Shape { touched_daily: true, ..Shape::default() });
    let slow = Limits::requests_per_second(1, Over::by_status(&rate::PROXYD));
    let other = Host::new("other", Policy::honest()).window(5).limited(slow);
    paused(async {
        let (lake, site) = (memory(), Site::open(&world, vec![alchemy("one", "KEY_1"), other]));
        // A day takes 18 seconds at the key's pace: cut off in the scan of the second.
        let wish = Wish::default();
        let run = world.collect(&lake, &site, &wish);
        assert!(tokio::time::timeout(std::time::Duration::from_secs(32), run).await.is_err());
        let scanned = site.scans("one").len();
        assert!((160..280).contains(&scanned), "{scanned}");
        let later = site.again();
        let plan = world.plan(&lake, &later, &Wish::default()).await;
        let collected = world.collect(&lake, &later, &Wish::default()).await;
        assert_complete(&collected);
        let bill = Summary::new("a test", "memory", &collected, &plan).bill;
        assert_log_queries_as_planned(&bill, "the rest of a run that was cut off");
        assert!(off(&bill) <= 0.02, "{bill:#?}");

        let nothing = world.plan(&lake, &later, &Wish::default()).await;
        assert!(nothing.rows.is_empty() && nothing.open == 0, "{nothing:?}");
    });
}

/// Every row of the registry over December 2024, with endpoints for all chains but one and nothing sent: the endpoints' ports
/// are closed.
#[test]
fn the_whole_registry_is_planned_csu_by_csu_each_with_calls_or_with_its_reason_for_none() {
    let repository = crate::repository();
    let registry = lake::registry::Registry::load(&repository.join("pipelines/registry")).unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let without = "harmony";
    let mut providers = String::new();
    for chain in registry.csus().map(|csu| csu.chain.as_str()).collect::<std::collections::BTreeSet<_>>() {
        if chain != without {
            providers.push_str(&format!(
                "[[endpoint]]\nlabel = \"{chain}_closed\"\nchain = \"{chain}\"\nurl = \"http://127.0.0.1:9\"\nsource = \"a test\"\n\n"
            ));
        }
    }
    let file = scratch.path().join("providers.toml");
    std::fs::write(&file, providers).unwrap();
    let arguments = ["plan", "--run", "pipelines/runs/2024-12.toml", "--csu", "*", "--json", "--providers"];
    let mut arguments: Vec<&str> = arguments.into();
    arguments.extend([file.to_str().unwrap(), "--lake"]);
    let output = crate::extract(&arguments, &scratch.path().join("lake"));
    assert_eq!(output.status.code(), Some(1), "{}", crate::said(&output));
    let plan: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let rows = plan["csus"].as_array().unwrap();
    let ids: Vec<&str> = rows.iter().map(|row| row["csu"].as_str().unwrap()).collect();
    assert_eq!(ids, registry.csus().map(|csu| csu.id.as_str()).collect::<Vec<_>>());
    assert!(ids.len() >= 224, "{} CSUs", ids.len());
    let (mut asked, mut reasons) = (0, std::collections::BTreeMap::new());
    for (row, csu) in rows.iter().zip(registry.csus()) {
        let Some(why) = row["nothing_because"].as_str() else {
            // A launch or a deployment in the month leaves fewer days, and the others are settled.
            let (tvl, logs) = (row["days"]["tvl"].as_u64(), row["days"]["liquidations"].as_u64());
            assert!(tvl == logs && (1..=31).contains(&tvl.unwrap()), "{row}");
            let settled: u64 =
                row["settled"].as_object().unwrap().values().map(|n| n.as_u64().unwrap()).sum();
            assert_eq!(2 * tvl.unwrap() + settled, 62, "{row}");
            assert!(row["snapshot_calls"]["calls"].as_u64().unwrap() >= tvl.unwrap(), "{row}");
            asked += 1;
            continue;
        };
        assert!(!why.is_empty() && row["snapshot_calls"].is_null(), "{row}");
        if csu.chain == without {
            assert!(why.ends_with("has nobody to ask"), "{row}");
        } else {
            // Whatever is not asked for came later, or was over.
            assert_eq!(row["days"].as_object().unwrap().len(), 0, "{row}");
        }
        *reasons.entry(why.split(':').next().unwrap().to_owned()).or_insert(0) += 1;
    }
    println!("{asked} asked for; not: {reasons:?}");
    assert!(asked > 150 && reasons.contains_key("not_deployed"), "{asked} {reasons:?}");
}
