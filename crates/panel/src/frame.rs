//! The complete frame: one row for every CSU and day of a run, with the null rules of `lake::schema::gold`.
//!
//! Zero is a measurement: a figure stands in a row only where a status word says that it was measured, and where the
//! family can give it.

use crate::flows::Flows;
use crate::known::{Abilities, BadDebtEvents, Known};
use crate::silver::{Silver, SilverError};
use crate::stocks::Stocks;
use crate::sums::CsuDay;
use lake::day::{Day, DayError, DayWindow};
use lake::digest::sha256_of_listing;
use lake::path::BronzeKey;
use lake::registry::{Chain, Csu};
use lake::run::Run;
use lake::schema::gold::PanelDaily;
use lake::schema::{BadCell, Row, Seconds};
use lake::status::{Dataset, Status, UsdStatus};
use polars::prelude::*;
use protocols::Extent;
use std::collections::{BTreeMap, BTreeSet};

/// Word of the column `release` until a release is made.
pub const UNRELEASED: &str = "unreleased";

/// Why the frame could not be filled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// Silver could not be read.
    #[error(transparent)]
    Silver(#[from] SilverError),
    /// A day of the run is none in its zone.
    #[error(transparent)]
    Day(#[from] DayError),
    /// A figure that no column takes.
    #[error(transparent)]
    Cell(#[from] BadCell),
    /// Silver was made with days of another zone.
    #[error(
        "silver's {date} of {chain} begins and ends at other instants than in {zone}\n\
         hint: silver was made for another zone; give this run its own lake, or its zone"
    )]
    OtherZone {
        /// The day.
        date: Day,
        /// The chain.
        chain: String,
        /// Zone of the run.
        zone: String,
    },
    /// Tables of silver contradict each other.
    #[error("silver contradicts itself: {why}\nhint: run `transform run` (make silver) again")]
    Contradiction {
        /// Where.
        why: String,
    },
    /// polars could not run a query.
    #[error("cannot compute the panel: {0}")]
    Query(#[from] PolarsError),
    /// A thread that added up a month ended early.
    #[error("cannot compute the panel: {0}")]
    Thread(String),
}

/// The frame of a run, ready to be filled CSU by CSU.
pub struct Frame<'a> {
    pub(crate) run: &'a Run,
    pub(crate) known: Known,
    windows: Vec<DayWindow>,
}

impl<'a> Frame<'a> {
    /// Reads silver. `with_assets` adds up the classes of assets, too, for [`crate::asset::assets`].
    ///
    /// # Errors
    /// [`FrameError`].
    pub async fn read(run: &'a Run, silver: &Silver, with_assets: bool) -> Result<Self, FrameError> {
        let windows = run.days.days().map(|day| run.zone.window(day)).collect::<Result<_, _>>()?;
        Ok(Self { run, known: Known::read(run, silver, with_assets).await?, windows })
    }

    /// The CSUs of the run with their places, in order of id.
    pub fn csus(&self) -> impl Iterator<Item = (u32, &'a Csu)> {
        (0..).zip(self.run.csus())
    }

    /// The rows of a CSU in order of day, without `row_hash`.
    ///
    /// # Errors
    /// [`FrameError`].
    pub fn rows(&self, (csu_at, csu): (u32, &Csu)) -> Result<Vec<PanelDaily>, FrameError> {
        let chain = self.run.registry.chain_of(csu).ok_or_else(|| FrameError::Contradiction {
            why: format!("the registry has no chain `{}`", csu.chain),
        })?;
        let never = never(csu);
        let rows = self.windows.iter().map(|window| {
            let mut row = self.known.row(self.run, csu_at, csu, chain, *window)?;
            for column in &never {
                row.clear(column);
            }
            Ok(row)
        });
        rows.collect()
    }

    /// Path and sha256 of every file of silver that was read.
    pub fn inputs(&self) -> &BTreeMap<String, String> {
        &self.known.inputs
    }
}

/// The columns that the CSU's family never fills.
pub(crate) fn never(csu: &Csu) -> Vec<&'static str> {
    let limits = protocols::family(&csu.family).map(|family| family.limits()).unwrap_or_default();
    limits.iter().filter(|limit| limit.extent == Extent::Never).map(|limit| limit.column).collect()
}

/// What is known of a day that nobody planned: whether the registry says that there was nothing to measure.
pub(crate) fn unplanned(csu: &Csu, window: DayWindow) -> Status {
    const SECONDS_A_DAY: i64 = 86_400;
    // The registry's date is a UTC day; the run's day ends in its own zone.
    let begins = |deployed: Day| i64::from(deployed.days_since_epoch()) * SECONDS_A_DAY;
    if csu.deployed_date.is_some_and(|deployed| window.end <= begins(deployed)) {
        Status::NotDeployed
    } else if csu.retired_date.is_some_and(|retired| retired < window.day) {
        Status::Retired
    } else {
        Status::NotAttempted
    }
}

impl Known {
    fn row(
        &self,
        run: &Run,
        csu_at: u32,
        csu: &Csu,
        chain: &Chain,
        window: DayWindow,
    ) -> Result<PanelDaily, FrameError> {
        let date = window.day;
        let day_num = date.days_since_epoch();
        let key = (csu_at, day_num);
        let of_chain = self.day(&csu.chain, day_num);
        if of_chain.is_some_and(|of_chain| (of_chain.start, of_chain.end) != (window.start, window.end)) {
            let (chain, zone) = (csu.chain.clone(), run.zone.name().to_owned());
            return Err(FrameError::OtherZone { date, chain, zone });
        }
        let covered = |dataset| self.covered(dataset, &key);
        let status_of = |dataset| covered(dataset).map_or_else(|| unplanned(csu, window), |of| of.status);
        let (snap_status, liq_status) = (status_of(Dataset::Tvl), status_of(Dataset::Liquidations));

        let (no_stocks, no_flows) = (Stocks::none(), Flows::default());
        let stocks =
            (snap_status == Status::Collected).then(|| self.stocks.get(&key).map_or(&no_stocks, Box::as_ref));
        let flows = matches!(liq_status, Status::Collected | Status::NoBlock)
            .then(|| self.flows.get(&key).map_or(&no_flows, Box::as_ref));
        let abilities = self.abilities.get(csu_at as usize).and_then(Option::as_ref);
        if flows.is_some() && abilities.is_none() {
            let why = format!("coverage has {} of {date}, the csu table does not have it", csu.id);
            return Err(FrameError::Contradiction { why });
        }

        let scan = covered(Dataset::Liquidations);
        let blocks_expected =
            of_chain.and_then(|day| day.n_blocks).or(scan.and_then(|scan| scan.blocks_expected));
        let blocks_scanned = scan.and_then(|scan| scan.blocks_scanned);
        // Zero liquidations are a measurement only where every block was looked at.
        if liq_status == Status::Collected && (blocks_scanned.is_none() || blocks_scanned != blocks_expected)
        {
            let number = |blocks: Option<i64>| blocks.map_or_else(|| "unknown".to_owned(), |n| n.to_string());
            let why = format!(
                "{} of {date} counts as collected with {} of {} blocks scanned",
                csu.id,
                number(blocks_scanned),
                number(blocks_expected)
            );
            return Err(FrameError::Contradiction { why });
        }

        if liq_status == Status::NoBlock && blocks_expected.is_some_and(|expected| expected != 0) {
            let why = format!("{} of {date} counts as {liq_status}, its chain has blocks", csu.id);
            return Err(FrameError::Contradiction { why });
        }

        let listing = self.bronze_of(csu, date, &key);
        let block_ts = of_chain.and_then(|day| day.last_block_ts);
        let sizes = stocks;
        let totals = stocks.map(Totals::of).unwrap_or_default();
        let liquidations = flows.map(|flows| Liquidations::of(flows, abilities, stocks)).unwrap_or_default();
        Ok(PanelDaily {
            csu: csu.id.clone(),
            csu_num: csu.num,
            date,
            day_num,
            protocol: csu.protocol.clone(),
            version: csu.version.clone(),
            family: csu.family.clone(),
            chain: csu.chain.clone(),
            chain_id: i64::try_from(chain.chain_id).unwrap_or(i64::MAX),
            is_l2: chain.is_l2,
            status: snap_status.max(liq_status),
            snap_status,
            usd_status: stocks.map_or(UsdStatus::None, usd_status),
            liq_status,
            liq_audit: scan.and_then(|scan| scan.audit_level).filter(|_| liq_status == Status::Collected),
            quality_flags: self.quality_flags(&key, sizes.map_or(0, |stocks| stocks.n_excluded)),
            day_hours: window.hours(),
            block_number: of_chain.and_then(|day| day.last_block),
            block_ts: block_ts.map(Seconds),
            snap_lag_s: block_ts.and_then(|ts| i32::try_from(window.end - ts).ok()),
            age_days: csu.deployed_date.map(|deployed| day_num - deployed.days_since_epoch()),
            n_markets: sizes.map(|stocks| stocks.n_markets),
            n_reserves: sizes.map(|stocks| stocks.n_reserves),
            n_reserves_unpriced: sizes.map(|stocks| stocks.n_unpriced),
            supplied_usd: totals.supplied_usd,
            collateral_usd: totals.collateral_usd,
            borrowed_usd: totals.borrowed_usd,
            minted_usd: totals.minted_usd,
            available_usd: totals.available_usd,
            tvl_usd: totals.tvl_usd,
            tvl_net_usd: totals.tvl_net_usd,
            tvl_priced_usd: sizes.map(gross),
            reserves_usd: totals.reserves_usd,
            deficit_usd: totals.deficit_usd,
            utilization: totals.utilization,
            stable_supply_share: totals.stable_supply_share,
            stable_borrow_share: totals.stable_borrow_share,
            hhi_supply: totals.hhi_supply,
            hhi_borrow: totals.hhi_borrow,
            top1_supply_share: totals.top1_supply_share,
            supply_apr: totals.supply_apr,
            borrow_apr: totals.borrow_apr,
            supply_apr_stable: totals.supply_apr_stable,
            borrow_apr_stable: totals.borrow_apr_stable,
            liq_threshold_wavg: totals.liq_threshold_wavg,
            liq_bonus_wavg: totals.liq_bonus_wavg,
            liq_count: flows.map(|flows| flows.count),
            liq_event_count: flows.map(|flows| flows.events),
            liq_tx_count: flows.map(|flows| flows.transactions),
            liq_borrowers: liquidations.borrowers,
            liq_liquidators: flows.map(|flows| flows.liquidators),
            liq_debt_usd: liquidations.debt_usd,
            liq_coll_usd: liquidations.coll_usd,
            liq_bonus_usd: liquidations.bonus_usd,
            liq_max_usd: liquidations.max_usd,
            bad_debt_usd: liquidations.bad_debt_usd,
            hhi_liquidators: liquidations.hhi,
            top1_liquidator_share: liquidations.top1,
            liq_priced_share: liquidations.priced_share,
            px_cov_share: sizes
                .and_then(|of| ratio((of.n_with_balance - of.n_unpriced).into(), of.n_with_balance.into())),
            px_protocol_share: sizes.and_then(|stocks| ratio(stocks.by_protocol, by_source(stocks))),
            px_chainlink_share: sizes.and_then(|stocks| ratio(stocks.by_chainlink, by_source(stocks))),
            px_other_share: sizes.and_then(|stocks| ratio(stocks.by_other, by_source(stocks))),
            px_max_age_s: sizes.and_then(|stocks| stocks.max_price_age_s),
            blocks_expected,
            blocks_scanned: blocks_expected.and(blocks_scanned),
            log_cov_share: match (blocks_scanned, blocks_expected) {
                (Some(scanned), Some(expected)) => ratio(scanned as f64, expected as f64),
                _ => None,
            },
            schema_version: PanelDaily::TABLE.version.to_owned(),
            release: UNRELEASED.to_owned(),
            code_version: env!("CARGO_PKG_VERSION").to_owned(),
            registry_hash: run.registry.sha256().to_owned(),
            inputs_hash: sha256_of_listing(listing.iter().map(|(path, sha256)| (path.as_str(), *sha256))),
            row_hash: String::new(),
        })
    }

    /// The bronze objects that a row stands on, with their digests: the day's blocks, the snapshot and the logs, the price
    /// book of the chain, and off-chain prices where one was used.
    fn bronze_of<'k>(&'k self, csu: &Csu, date: Day, key: &CsuDay) -> Vec<(String, &'k str)> {
        let mut listing = Vec::new();
        if let Some(sha256) = self.day(&csu.chain, key.1).and_then(|day| day.sha256.as_deref()) {
            let path = BronzeKey::Blocks { chain: csu.chain.clone(), date };
            listing.push((path.to_string(), sha256));
        }
        let book = self.books.get(&csu.chain).and_then(|books| books.get(&key.1));
        let has_fills = self.stocks.get(key).is_some_and(|of| of.has_fills)
            || self.flows.get(key).is_some_and(|of| of.has_fills);
        let fills = self.fills.get(&key.1).filter(|_| has_fills).into_iter().flatten();
        listing.extend(book.into_iter().chain(fills).map(|(path, sha256)| (path.clone(), sha256.as_str())));
        for dataset in Dataset::ALL {
            let sha256 = self.covered(*dataset, key).and_then(|covered| covered.sha256.as_deref());
            listing.extend(sha256.map(|sha256| (BronzeKey::of(*dataset, &csu.id, date).to_string(), sha256)));
        }
        listing
    }

    /// Remarks of the day's reserves and liquidations in order, then how many reserves stand outside the totals and
    /// how many logs could not be decoded.
    fn quality_flags(&self, key: &CsuDay, n_excluded: i32) -> String {
        let (of_stocks, of_flows) = (self.stocks.get(key), self.flows.get(key));
        let mut flags: BTreeSet<&str> = BTreeSet::new();
        flags.extend(of_stocks.iter().flat_map(|of| of.remarks.iter().map(String::as_str)));
        flags.extend(of_flows.iter().flat_map(|of| of.remarks.iter().map(String::as_str)));
        let mut flags: Vec<String> = flags.into_iter().map(str::to_owned).collect();
        if n_excluded > 0 {
            flags.push(format!("excluded:{n_excluded}"));
        }
        if let Some(rejects) = self.rejects.get(key) {
            flags.push(format!("rejects:{rejects}"));
        }
        flags.join(";")
    }
}

/// `part / whole`, or null when there is no whole.
fn ratio(part: f64, whole: f64) -> Option<f64> {
    (whole > 0.0).then(|| part / whole)
}

/// Supplied and collateral USD of the reserves that have a price.
pub(crate) fn gross(stocks: &Stocks) -> f64 {
    stocks.supplied + stocks.collateral
}

/// The same amount, added up as its parts are, so that no share of it exceeds 1.
fn by_source(stocks: &Stocks) -> f64 {
    stocks.by_protocol + stocks.by_chainlink + stocks.by_other
}

pub(crate) fn usd_status(stocks: &Stocks) -> UsdStatus {
    if stocks.n_incomplete == 0 {
        UsdStatus::Complete
    } else if stocks.n_with_balance > stocks.n_unpriced {
        UsdStatus::Partial
    } else {
        UsdStatus::None
    }
}

/// The USD columns of a snapshot, or of one class of its assets. All null (the default) unless every non-zero reserve has a price.
#[derive(Default)]
pub(crate) struct Totals {
    pub(crate) supplied_usd: Option<f64>,
    pub(crate) collateral_usd: Option<f64>,
    pub(crate) borrowed_usd: Option<f64>,
    pub(crate) minted_usd: Option<f64>,
    pub(crate) available_usd: Option<f64>,
    pub(crate) tvl_usd: Option<f64>,
    pub(crate) tvl_net_usd: Option<f64>,
    pub(crate) reserves_usd: Option<f64>,
    pub(crate) deficit_usd: Option<f64>,
    pub(crate) utilization: Option<f64>,
    stable_supply_share: Option<f64>,
    stable_borrow_share: Option<f64>,
    hhi_supply: Option<f64>,
    hhi_borrow: Option<f64>,
    top1_supply_share: Option<f64>,
    pub(crate) supply_apr: Option<f64>,
    pub(crate) borrow_apr: Option<f64>,
    supply_apr_stable: Option<f64>,
    borrow_apr_stable: Option<f64>,
    liq_threshold_wavg: Option<f64>,
    liq_bonus_wavg: Option<f64>,
}

impl Totals {
    pub(crate) fn of(of: &Stocks) -> Self {
        if usd_status(of) != UsdStatus::Complete {
            return Self::default();
        }
        let rate = |interest: Option<f64>, weight: f64| interest.and_then(|interest| ratio(interest, weight));
        Self {
            supplied_usd: Some(of.supplied),
            collateral_usd: Some(of.collateral),
            borrowed_usd: Some(of.borrowed),
            minted_usd: Some(of.minted),
            available_usd: of.available,
            tvl_usd: Some(gross(of)),
            tvl_net_usd: Some(gross(of) - of.borrowed),
            reserves_usd: of.reserves,
            deficit_usd: of.deficit,
            utilization: ratio(of.borrowed, of.supplied),
            stable_supply_share: ratio(of.stable_supplied, of.supplied),
            stable_borrow_share: ratio(of.stable_borrowed, of.borrowed),
            hhi_supply: of.supply_tokens.hhi(),
            hhi_borrow: of.borrow_tokens.hhi(),
            top1_supply_share: of.supply_tokens.top1(),
            supply_apr: rate(of.supply_interest, of.supplied),
            borrow_apr: rate(of.borrow_interest, of.borrowed),
            supply_apr_stable: rate(of.stable_supply_interest, of.stable_supplied),
            borrow_apr_stable: rate(of.stable_borrow_interest, of.stable_borrowed),
            liq_threshold_wavg: ratio(of.backing_threshold, of.backing),
            liq_bonus_wavg: rate(of.backing_bonus, of.backing),
        }
    }
}

/// The liquidation columns with null rules of their own.
#[derive(Default)]
struct Liquidations {
    borrowers: Option<i32>,
    debt_usd: Option<f64>,
    coll_usd: Option<f64>,
    bonus_usd: Option<f64>,
    max_usd: Option<f64>,
    bad_debt_usd: Option<f64>,
    hhi: Option<f64>,
    top1: Option<f64>,
    priced_share: Option<f64>,
}

impl Liquidations {
    fn of(of: &Flows, abilities: Option<&Abilities>, stocks: Option<&Stocks>) -> Self {
        let priced = |value: f64| (of.n_unpriced == 0).then_some(value);
        let gives_debt = abilities.is_some_and(|can| can.gives_debt);
        let owed = |value: f64| priced(value).filter(|_| gives_debt);
        let tells_bad_debt = abilities.is_some_and(|can| match can.bad_debt {
            BadDebtEvents::Always => true,
            BadDebtEvents::WithDeficit => stocks.is_some_and(|stocks| stocks.keeps_deficit),
            BadDebtEvents::Never => false,
        });
        // Shares among liquidators say nothing when one of them has no name.
        let spread = (of.n_unpriced == 0 && of.n_unnamed == 0 && gives_debt).then_some(of.by_liquidator);
        Self {
            borrowers: abilities.is_some_and(|can| can.names_borrowers).then_some(of.borrowers),
            debt_usd: owed(of.debt),
            coll_usd: priced(of.collateral),
            bonus_usd: owed(of.collateral - of.debt),
            max_usd: of.largest.and_then(owed),
            bad_debt_usd: priced(of.bad_debt).filter(|_| tells_bad_debt),
            hhi: spread.and_then(|spread| spread.hhi()),
            top1: spread.and_then(|spread| spread.top1()),
            priced_share: ratio(of.n_priced.into(), of.count.into()),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use lake::registry::Csu;
    use lake::status::AuditLevel;

    /// A row with a value in every kind of column, and three with nulls, quotes and the ends of numbers.
    pub(crate) fn rows() -> Vec<PanelDaily> {
        let day = |number| Day::from_days_since_epoch(number);
        let full = PanelDaily {
            csu: "a".into(),
            csu_num: 1,
            date: day(20_000),
            day_num: 20_000,
            protocol: "aave".into(),
            version: "3.0".into(),
            family: "aave_v3".into(),
            chain: "ethereum".into(),
            chain_id: 1,
            is_l2: false,
            status: Status::Collected,
            snap_status: Status::Collected,
            usd_status: UsdStatus::Complete,
            liq_status: Status::Collected,
            liq_audit: Some(AuditLevel::Sampled),
            quality_flags: "a;b".into(),
            day_hours: 24,
            block_number: Some(9),
            block_ts: Some(Seconds(1_730_696_399)),
            snap_lag_s: Some(12),
            age_days: Some(-1),
            n_markets: Some(1),
            n_reserves: Some(2),
            n_reserves_unpriced: Some(0),
            supplied_usd: Some(1e16),
            collateral_usd: Some(0.0),
            borrowed_usd: Some(0.1),
            minted_usd: Some(1.0 / 3.0),
            available_usd: None,
            tvl_usd: Some(1e-9),
            tvl_net_usd: Some(-2.5),
            tvl_priced_usd: Some(1e300),
            reserves_usd: None,
            deficit_usd: None,
            utilization: None,
            stable_supply_share: None,
            stable_borrow_share: None,
            hhi_supply: None,
            hhi_borrow: None,
            top1_supply_share: None,
            supply_apr: None,
            borrow_apr: None,
            supply_apr_stable: None,
            borrow_apr_stable: None,
            liq_threshold_wavg: None,
            liq_bonus_wavg: None,
            liq_count: Some(0),
            liq_event_count: None,
            liq_tx_count: None,
            liq_borrowers: None,
            liq_liquidators: None,
            liq_debt_usd: None,
            liq_coll_usd: None,
            liq_bonus_usd: None,
            liq_max_usd: None,
            bad_debt_usd: None,
            hhi_liquidators: None,
            top1_liquidator_share: None,
            liq_priced_share: None,
            px_cov_share: None,
            px_protocol_share: None,
            px_chainlink_share: None,
            px_other_share: None,
            px_max_age_s: Some(i64::MAX),
            blocks_expected: None,
            blocks_scanned: None,
            log_cov_share: None,
            schema_version: "1".into(),
            release: UNRELEASED.into(),
            code_version: "0".into(),
            registry_hash: "r".into(),
            inputs_hash: "i".into(),
            row_hash: String::new(),
        };
        let odd = PanelDaily {
            date: day(20_001),
            quality_flags: "with \"quotes\", a comma\nand a line".into(),
            ..full.clone()
        };
        let bare = PanelDaily {
            csu: "b".into(),
            block_ts: None,
            liq_audit: None,
            quality_flags: String::new(),
            ..full.clone()
        };
        vec![full, odd, bare.clone(), PanelDaily { date: day(20_002), ..bare }]
    }

    #[test]
    fn a_day_that_nobody_planned_is_explained_by_the_registry() {
        let mut csu = Csu::bare("a", "aave_v3", "ethereum", "pool", Default::default());
        let zone = lake::day::Zone::named("America/New_York").unwrap();
        let status = |csu: &Csu, day: &str| unplanned(csu, zone.window(day.parse().unwrap()).unwrap());
        assert_eq!(status(&csu, "2024-12-05"), Status::NotAttempted);
        csu.deployed_date = Some("2024-12-05".parse().unwrap());
        csu.retired_date = Some("2024-12-20".parse().unwrap());
        let days = ["2024-12-03", "2024-12-04", "2024-12-05", "2024-12-20", "2024-12-21"];
        // New York's 4th ends at 05:00 UTC of the 5th.
        let expected = [
            Status::NotDeployed,
            Status::NotAttempted,
            Status::NotAttempted,
            Status::NotAttempted,
            Status::Retired,
        ];
        assert_eq!(days.map(|day| status(&csu, day)), expected);
    }
}
