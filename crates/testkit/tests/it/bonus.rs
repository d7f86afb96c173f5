//! A check of Aave V3 liquidations that needs no price source from outside: outside of e-mode, what the liquidator
//! received is worth `1 + bonus x (1 - protocol fee)` of the debt he repaid, at the protocol's own prices of that block
//! (aave-v3-core LiquidationLogic.sol `_calculateAvailableCollateralToLiquidate`; bonus in bits 32-47 and fee in bits
//! 152-167 of the collateral's configuration word).

use crate::stages::{ends_with, extract, transform};
use crate::table::{Row, rows};
use alloy_primitives::U256;
use alloy_sol_types::SolCall;
use lake::bronze::{Record, TvlSnapshot};
use protocols::aave_v3::IPool;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use testkit::real_day::{DAY, PROVIDER, RealDay};
use testkit::server::{Policy, Server};
use testkit::setting::{Endpoint, Setting};

/// `1 + bonus x (1 - fee)` of each reserve in a day's snapshot.
fn received_per_debt(snapshot: &Path) -> BTreeMap<String, f64> {
    let record = TvlSnapshot::from_bytes(&std::fs::read(snapshot).unwrap()).unwrap();
    let words = record.reads.calls.iter().filter(|call| call.key == "pool.getReserveData").map(|call| {
        let word = IPool::getReserveDataCall::abi_decode_returns(&call.output).unwrap().configuration;
        let bits = |first: usize| ((word >> first) & U256::from(0xffff)).to::<u32>();
        let bonus = f64::from(bits(32).saturating_sub(10_000)) / 1e4;
        (call.item.clone(), 1.0 + bonus * (1.0 - f64::from(bits(152)) / 1e4))
    });
    words.collect()
}

fn number(row: &Row, column: &str) -> f64 {
    row.get(column).unwrap_or_else(|| panic!("{column} is null in {row:?}")).parse().unwrap()
}

#[test]
fn in_the_demo_the_liquidator_received_the_bonus_without_the_fee() {
    let repository: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned();
    let directory = tempfile::tempdir().unwrap();
    let lake = directory.path().join("lake");
    let run = repository.join("pipelines/runs/demo.toml");
    ends_with(&extract(&run, &lake, &repository.join("data/demo/registry/providers.toml"), &[]), 0);
    ends_with(&transform(&run, &lake), 0);
    let mut compared = 0;
    let is_aave = |row: &Row| row["csu"].starts_with("aave_v3");
    for row in rows(&lake.join("silver/liquidation")).into_iter().filter(is_aave) {
        let date = lake::day::Day::from_days_since_epoch(row["date"].parse().unwrap());
        let expected = received_per_debt(&lake.join(format!("bronze/tvl/{}/{date}.json", row["csu"])));
        let found = number(&row, "coll_usd") / number(&row, "debt_usd");
        let expected = expected[&row["coll_token"]];
        // The contracts divide integers: the smaller the amounts, the more is lost.
        assert!((found - expected).abs() < 1e-6, "{found} is not {expected} in {row:?}");
        assert!(expected > 1.0, "a liquidation without a bonus shows nothing");
        compared += 1;
    }
    assert_eq!(compared, 11);
}

#[test]
fn on_the_real_day_events_of_one_block_and_pair_tell_one_price() {
    let Some(day) = RealDay::find().unwrap() else {
        println!("skipped: ../shared/data is not there");
        return;
    };
    let csu = "aave_v3_ethereum";
    let setting =
        Setting::new().unwrap().with_chain("ethereum", 1, 12.07).with_aave_v3(csu, "ethereum", PROVIDER);
    let run = setting.run_file(DAY, DAY).unwrap();
    let lake = setting.lake("bonus");
    let server = Server::spawn(&Arc::new(day.chain().unwrap()), Policy::capped(2_000)).unwrap();
    let providers =
        setting.providers("one", &[Endpoint::new("one", "ethereum", server.url(), 2_000)]).unwrap();
    ends_with(&extract(&run, &lake, &providers, &["--jobs", "4"]), 0);
    ends_with(&transform(&run, &lake), 0);

    // The data does not hold the protocol's fee, which was 10% for every reserve of that market.
    let with_fee = |bonus: f64| 1.0 + bonus * 0.9;
    let bonus: BTreeMap<String, f64> = rows(&lake.join("silver/reserve_day"))
        .into_iter()
        .filter_map(|row| Some((row["token"].clone(), row.get("liq_bonus")?.parse().unwrap())))
        .collect();
    let mut told: BTreeMap<(String, String, String), Vec<f64>> = BTreeMap::new();
    let events = day.expected_events().unwrap();
    let (mut net_of_fee, silver) = (0, rows(&lake.join("silver/liquidation")));
    assert_eq!(silver.len(), events.len());
    for (row, event) in silver.iter().zip(&events) {
        assert_eq!(row["log_index"], event.log_index.to_string());
        let received = with_fee(bonus[&row["coll_token"]]);
        // In e-mode the category's bonus takes the place of the reserve's.
        if (received - event.bonus_net_of_fee).abs() < 1e-9 {
            net_of_fee += 1;
        }
        // The price of the collateral in units of the debt that the two amounts imply, whatever anyone says of prices. Off-chain
        // prices lag behind on that day, when prices fell: by 5% at the worst.
        let implied = number(row, "debt") * event.bonus_net_of_fee / number(row, "coll");
        let off_chain = number(row, "coll_price_usd") / number(row, "debt_price_usd");
        assert!((implied / off_chain - 1.0).abs() < 0.1, "{implied} is far from {off_chain} in {row:?}");
        let pair = ["block_number", "coll_token", "debt_token"].map(|column| row[column].clone());
        told.entry(pair.into()).or_default().push(implied);
    }
    let mut compared = 0;
    for (pair, prices) in told.into_iter().filter(|(_, prices)| prices.len() > 1) {
        for price in &prices {
            // A debt of a hundred dollars in six decimals is known to one part in 10^8.
            assert!((price / prices[0] - 1.0).abs() < 1e-8, "{pair:?}: {prices:?}");
        }
        compared += prices.len();
    }
    println!(
        "{net_of_fee} of {} events at the reserve's own bonus; {compared} compared with their like",
        events.len()
    );
    assert!(net_of_fee >= 80 && compared >= 30, "{net_of_fee} {compared}");
}
