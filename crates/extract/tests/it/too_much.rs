//! Endpoints for which even one block, or one list, is too much: what they refuse is asked for in parts.

use crate::in_process::{
    Exchange, Host, Shape, Site, Wish, World, assert_complete, assert_same, bronze, memory, paused,
};
use testkit::server::Policy;
use testkit::server::dialects::{filters, results};
use testkit::server::policy::{ResultCap, TooManyLogs};

#[test]
fn a_day_is_whole_where_a_block_has_more_logs_than_the_only_endpoint_gives_at_once() {
    let world = World::new(Shape::default());
    let truth = world.truth();
    for wording in [&results::ARBITRUM, &results::JSONRPSEE, &results::PROXYD] {
        paused(async {
            // Two liquidations of one market in one block, and no more than one log an answer.
            let cap = ResultCap { logs: 1, more: TooManyLogs::RefusedAlways { wording } };
            let policy = Policy { result_cap: Some(cap), ..Policy::honest() };
            let (lake, site) = (memory(), Site::open(&world, vec![Host::new("strict", policy)]));
            assert_complete(&world.collect(&lake, &site, &Wish::default()).await);
            assert_same(&truth, &bronze(&lake).await);
            let of_receipts = |exchange: &&Exchange| exchange.question().contains("eth_getBlockReceipts");
            let asked = site.exchanges().iter().filter(of_receipts).count();
            assert_eq!(asked, 1, "{}: of the one block with two", wording.name);
        });
    }
}

#[test]
fn a_list_that_is_too_long_is_cut_and_a_later_run_remembers_it() {
    let world = World::new(Shape { csus: 9, ..Shape::default() });
    let truth = world.truth();
    for wording in filters::ALL {
        paused(async {
            let lake = memory();
            let policy = Policy { filter_cap: Some((4, wording)), ..Policy::honest() };
            let host = || vec![Host::new("strict", policy.clone()).window(2_000)];
            let longest = |site: &Site| site.scans("strict").iter().map(|scan| scan.addresses.len()).max();

            let site = Site::open(&world, host());
            let first_day = Wish { days: (0, 0), ..Wish::default() };
            assert_complete(&world.collect(&lake, &site, &first_day).await);
            assert_eq!(longest(&site), Some(9), "{}", wording.name);
            let day = site.scans("strict").into_iter().filter(|scan| scan.addresses.len() > 1);
            assert!(day.into_iter().all(|scan| scan.span == world.blocks(0)), "the range stays whole");

            let site = Site::open(&world, host());
            assert_complete(&world.collect(&lake, &site, &Wish::default()).await);
            assert!(longest(&site) <= Some(4), "{}: {:?}", wording.name, longest(&site));
            assert_same(&truth, &bronze(&lake).await);
        });
    }
}
