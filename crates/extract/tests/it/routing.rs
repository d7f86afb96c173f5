//! Whom a scan is sent to: the endpoint with the widest window for its price, and back to it after it was down.

use crate::in_process::{
    Host, Shape, Site, Wish, World, asked, assert_complete, assert_same, bronze, memory, paused,
};
use extract::rpc::tally::Purpose;
use lake::status::AuditLevel;
use std::time::Duration;
use testkit::server::dialects::{rate, span};
use testkit::server::faults::{Latency, Outage};
use testkit::server::limits::{Limits, Over, PerSecond, Prices};
use testkit::server::policy::SpanCap;
use testkit::server::{Fault, Policy};

/// Days of 86,400 blocks.
fn world() -> World {
    World::new(Shape { block_seconds: 1, liquidations: 6, ..Shape::default() })
}

fn narrow(policy: Policy) -> Host {
    let cap = SpanCap::new(10, &span::ALCHEMY_FREE);
    let over = Over::by_status(&rate::ALCHEMY);
    let limits = Limits {
        prices: Prices::ALCHEMY,
        per_second: Some(PerSecond { units: 500, burst: 500, over }),
        quota: None,
    };
    Host::new("narrow", Policy { span_cap: Some(cap), ..policy }).window(10).limited(limits)
}

fn wide(policy: Policy, requests_per_second: u64) -> Host {
    let cap = SpanCap::new(10_000, &span::INFURA);
    let over = Over::by_status(&rate::PROXYD);
    let limits = Limits::requests_per_second(requests_per_second, over);
    Host::new("wide", Policy { span_cap: Some(cap), ..policy }).window(10_000).limited(limits)
}

#[test]
fn with_a_10_block_and_a_10_000_block_endpoint_a_scan_makes_as_few_calls_as_there_can_be() {
    let world = world();
    let best: u64 = (0..2).map(|day| world.blocks(day).count().div_ceil(10_000)).sum();
    let late = |policy| Policy {
        latency: Latency { usual: Duration::from_secs(2), ..Latency::default() },
        ..policy
    };
    for (case, hosts) in [
        ("the narrow one first", vec![narrow(Policy::honest()), wide(Policy::honest(), 5)]),
        ("the wide one first", vec![wide(Policy::honest(), 5), narrow(Policy::honest())]),
        ("the wide one slow", vec![narrow(Policy::honest()), wide(late(Policy::honest()), 1)]),
        ("both slow", vec![narrow(late(Policy::honest())), wide(late(Policy::honest()), 5)]),
    ] {
        for at_once in [1, 8, 40] {
            paused(async {
                let site = Site::open(&world, hosts.clone());
                let wish = Wish { at_once, audit: AuditLevel::Sampled, ..Wish::default() };
                let collected = world.collect(&memory(), &site, &wish).await;
                assert_complete(&collected);
                let of = |label| asked(&collected, label, Purpose::Scan, "eth_getLogs");
                let calls = of("wide") + of("narrow");
                println!("{case}, {at_once} at once: {calls} log calls, {best} at best");
                assert!(calls as f64 <= 1.05 * best as f64, "{case}: {calls} of {best}");
                // What it takes to believe them: a log that must exist and three samples a day.
                let all = site.scans("wide").len() + site.scans("narrow").len();
                assert!(all as u64 <= calls + 2 * (1 + 3), "{case}: {all}");
            });
        }
    }
}

#[test]
fn an_endpoint_that_was_down_is_asked_again_when_it_is_back() {
    let world = world();
    let truth = world.truth();
    paused(async {
        let outage =
            Outage { from: Duration::from_secs(3), to: Duration::from_secs(50), fault: Fault::BadGateway };
        // At one request in two seconds the wide one needs as long for a day as it is down.
        let slow = Policy { outages: vec![outage], ..Policy::honest() };
        let over = Over::by_status(&rate::PROXYD);
        let limits = Limits::requests_per_second(1, over);
        let wide = Host::new("wide", slow).window(2_000).limited(limits);
        let (lake, site) = (memory(), Site::open(&world, vec![narrow(Policy::honest()), wide]));
        let collected = world.collect(&lake, &site, &Wish { at_once: 2, ..Wish::default() }).await;
        assert_complete(&collected);
        assert_same(&truth, &bronze(&lake).await);
        let of = |label| asked(&collected, label, Purpose::Scan, "eth_getLogs");
        let best = (0..2).map(|day| world.blocks(day).count().div_ceil(2_000)).sum::<u64>();
        println!(
            "{} log calls by the wide one, {} at best, {} by the narrow one",
            of("wide"),
            best,
            of("narrow")
        );
        // 8 queries a second for less than two minutes, of 17,280 that the narrow one would make for the two days.
        assert!(of("wide") > best / 2 && of("narrow") < 8 * 120, "{} and {}", of("wide"), of("narrow"));
    });
}
