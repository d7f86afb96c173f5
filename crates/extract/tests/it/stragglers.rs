//! Answers that come late now and then: a run near the end of a batch asks somebody else as well, and nothing that it
//! writes shows it.

use crate::in_process::{
    Exchange, Host, Shape, Site, Wish, World, assert_complete, assert_same, bronze, memory, paused,
};
use lake::status::AuditLevel;
use std::time::Duration;
use testkit::server::dialects::rate;
use testkit::server::limits::{Limits, Over};
use testkit::server::presets::Preset;
use tokio::time::Instant;

/// Calls that the engine may make twice.
const SMALL: [&str; 2] = ["eth_call", "eth_getBlockByNumber"];

fn calls(site: &Site, label: &str, methods: &[&str]) -> usize {
    let is_one = |exchange: &&Exchange| {
        exchange.label == label && methods.iter().any(|method| exchange.question().contains(method))
    };
    site.exchanges().iter().filter(is_one).count()
}

#[test]
fn a_run_over_slow_tails_is_faster_with_a_second_endpoint_at_two_calls_of_a_hundred() {
    let world = World::new(Shape { liquidations: 300, days: 1, ..Shape::default() });
    let truth = world.truth();
    let wish = Wish { audit: AuditLevel::OneSource, ..Wish::default() };
    // The second is never the cheaper, so all that it is asked is asked twice.
    let host = |label: &str, seed: u64| {
        Host::new(label, Preset::find("slow-tail").unwrap().policy().with_seed(seed)).window(2_000)
    };
    let limits = Limits::requests_per_second(1_000, Over::by_status(&rate::PROXYD));
    let (mut alone, mut together) = (Duration::ZERO, Duration::ZERO);
    let (mut small, mut twice) = (0, 0);
    for seed in 0..4 {
        let took = |hosts: Vec<Host>| {
            paused(async {
                let (lake, site) = (memory(), Site::open(&world, hosts));
                let began = Instant::now();
                assert_complete(&world.collect(&lake, &site, &wish).await);
                let took = began.elapsed();
                assert_same(&truth, &bronze(&lake).await);
                assert_eq!(calls(&site, "second", &["eth_getLogs"]), 0, "logs are never asked for twice");
                (took, calls(&site, "first", &SMALL), calls(&site, "second", &SMALL))
            })
        };
        alone += took(vec![host("first", seed)]).0;
        let (took, of_first, of_second) =
            took(vec![host("first", seed), host("second", seed + 100).limited(limits)]);
        assert!(of_second * 50 <= of_first, "{of_second} of {of_first} were asked twice");
        together += took;
        small += of_first;
        twice += of_second;
    }
    println!("alone {alone:?}, with a second {together:?}: {twice} of {small} calls made twice");
    assert!(together.mul_f64(1.3) < alone, "{together:?} with a second, {alone:?} alone");
    assert!(twice > 0);
}
