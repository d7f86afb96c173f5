//! Real contracts on a real node, through extract and transform: what silver says of each day is compared with what the
//! contracts answer to single calls and with the receipts, read without lendlake's decoders.

mod aave_v3;
mod cap;
mod compound_v2;
mod compound_v3;
mod fluid;
mod gearbox;
mod moolah;
mod morpho_blue;
mod venus_isolated;
mod venus_liquidator;

use crate::stages::{bronze, ends_with, extract, transform};
use crate::table::{Row, rows};
use alloy_primitives::{Address, U256};
use std::path::{Path, PathBuf};
use std::time::Instant;
use testkit::devnet::Day;
use testkit::devnet::story::{Emitted, STORY_CHAIN, STORY_DAYS, Story, Told};
use testkit::setting::{Endpoint, Setting};

/// Where packages are kept and states written: on the disk of the build.
fn target() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap()
}

/// Begins a family's story.
fn story() -> Story {
    let target = target();
    Story::begin(&target.join("devnet-npm"), &target.join("devnet-states")).unwrap()
}

/// Silver of a told story, and what was compared of it.
struct Silver {
    reserves: Vec<Row>,
    liquidations: Vec<Row>,
    prices: Vec<Row>,
    csu: &'static str,
    compared: Compared,
    began: Instant,
    setting: Setting,
    run: PathBuf,
    providers: PathBuf,
}

/// How many figures were compared, and what was the worst difference between floats.
#[derive(Default)]
struct Compared {
    exact: usize,
    close: usize,
    worst: f64,
}

/// Where the CSU stands in the registry: family, id, role and address of the entry, further lines.
struct Place<'a> {
    family: &'a str,
    csu: &'static str,
    entry: (&'a str, Address),
    more: &'a str,
}

impl Silver {
    /// Runs extract and transform over the three days. Every CSU-day must be whole.
    fn of(told: &Told, place: &Place<'_>) -> Self {
        let began = Instant::now();
        let chain = STORY_CHAIN.name;
        let setting = Setting::new().unwrap().with_chain(chain, STORY_CHAIN.chain_id, 240.0).with_csu(
            place.family,
            place.csu,
            chain,
            place.entry,
            place.more,
        );
        let run = setting.run_file(STORY_DAYS[0].date, STORY_DAYS[2].date).unwrap();
        let providers = setting.providers("anvil", &[Endpoint::new("anvil", chain, &told.url, 500)]).unwrap();
        let lake = setting.lake("whole");
        ends_with(&extract(&run, &lake, &providers, &[]), 0);
        ends_with(&transform(&run, &lake), 0);
        crate::topics::assert_fired(&lake, place.csu);

        let coverage = rows(&lake.join("silver/coverage"));
        assert_eq!(coverage.len(), 2 * STORY_DAYS.len());
        for row in &coverage {
            assert_eq!(row["status"], "collected", "{row:?}");
        }
        let scans = coverage.iter().filter(|row| row["dataset"] == "liquidations");
        for (row, day) in scans.zip(&STORY_DAYS) {
            assert_eq!(row["blocks_scanned"], told.blocks(day).to_string());
        }
        let rejects = rows(&lake.join("silver/reject"));
        assert_eq!(rejects, Vec::<Row>::new());
        Self {
            reserves: rows(&lake.join("silver/reserve_day")),
            liquidations: rows(&lake.join("silver/liquidation")),
            prices: rows(&lake.join("silver/price")),
            csu: place.csu,
            compared: Compared::default(),
            began,
            setting,
            run,
            providers,
        }
    }

    /// Collects the days again, one at a time and backwards: what was learnt of a later day must not show in an earlier one.
    fn is_the_same_backwards(&self) {
        let lake = self.setting.lake("backwards");
        for day in STORY_DAYS.iter().rev() {
            let one_day = ["--from", day.date, "--to", day.date];
            ends_with(&extract(&self.run, &lake, &self.providers, &one_day), 0);
        }
        let whole = bronze(&self.setting.lake("whole"));
        assert!(!whole.is_empty());
        assert_eq!(whole.differences(&bronze(&lake)), Vec::<String>::new());
    }

    /// The reserves of a day.
    fn reserves(&self, day: &Day) -> Vec<Row> {
        self.reserves.iter().filter(|row| row["date"] == day_number(day)).cloned().collect()
    }

    /// The liquidation legs of a day.
    fn liquidations(&self, day: &Day) -> Vec<Row> {
        self.liquidations.iter().filter(|row| row["date"] == day_number(day)).cloned().collect()
    }

    /// The row of a market's token in a role.
    #[track_caller]
    fn reserve(&self, day: &Day, market: &str, token: Address, role: &str) -> Row {
        let token = lower(token);
        let is_it = |row: &&Row| row["market_id"] == market && row["token"] == token && row["role"] == role;
        let today = self.reserves(day);
        let mut found = today.iter().filter(is_it);
        let row = found.next().unwrap_or_else(|| {
            panic!("{}: no row of {market} {token} {role} among {today:#?}", day.date);
        });
        assert_eq!(found.next(), None);
        row.clone()
    }

    /// Says what was compared.
    fn tell(&self) {
        let Compared { exact, close, worst } = self.compared;
        assert!(exact > 0, "nothing was compared");
        eprintln!(
            "{}: {} reserve rows, {} liquidation legs; {exact} figures are equal, {close} floats differ by at most {worst:.1e}; stages {:.0} s",
            self.csu,
            self.reserves.len(),
            self.liquidations.len(),
            self.began.elapsed().as_secs_f64()
        );
    }
}

impl Compared {
    /// A column is exactly this.
    #[track_caller]
    fn same(&mut self, row: &Row, column: &str, expected: impl ToString) {
        assert_eq!(row.get(column), Some(&expected.to_string()), "{column} of {row:#?}");
        self.exact += 1;
    }

    /// A column is null.
    #[track_caller]
    fn null(&mut self, row: &Row, column: &str) {
        assert_eq!(row.get(column), None, "{column} of {row:#?}");
        self.exact += 1;
    }

    /// A float is this, but for the last places.
    #[track_caller]
    fn close(&mut self, row: &Row, column: &str, expected: f64) {
        let found: f64 =
            row.get(column).unwrap_or_else(|| panic!("{column} is null in {row:#?}")).parse().unwrap();
        let difference = (found - expected).abs() / expected.abs().max(f64::MIN_POSITIVE);
        let difference = if found == expected { 0.0 } else { difference };
        assert!(difference <= 1e-9, "{column}: {found} is not {expected} in {row:#?}");
        self.worst = self.worst.max(difference);
        self.close += 1;
    }

    /// Where and when a liquidation's log was.
    #[track_caller]
    fn place(&mut self, row: &Row, log: &Emitted, price_basis: &str) {
        self.same(row, "block_number", log.block.number);
        self.same(row, "log_index", log.index);
        self.same(row, "block_ts", format!("{}000000", log.block.timestamp));
        self.same(row, "tx_hash", &log.tx);
        self.same(row, "price_basis", price_basis);
    }
}

fn day_number(day: &Day) -> String {
    day.date.parse::<lake::day::Day>().unwrap().days_since_epoch().to_string()
}

fn lower(address: Address) -> String {
    address.to_string().to_lowercase()
}

/// A number with its decimals, for comparing with a float.
fn scaled(raw: U256, decimals: i32) -> f64 {
    raw.to_string().parse::<f64>().unwrap() / 10f64.powi(decimals)
}
