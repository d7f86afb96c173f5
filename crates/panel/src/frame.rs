//! The complete frame: one row for every CSU and day of a run, with the null rules of `lake::schema::gold`.
//!
//! Zero is a measurement: a figure stands in a row only where a status word says that it was measured.

use crate::export::row_hash;
use crate::flows::{Flows, flows};
use crate::silver::Silver;
use crate::stocks::{Stocks, stocks};
use crate::sums::{CSU_DAY, Cells, CsuDay};
use lake::day::{Day, DayError, DayWindow};
use lake::digest::sha256_of_listing;
use lake::path::BronzeKey;
use lake::registry::{Chain, Csu};
use lake::run::Run;
use lake::schema::gold::PanelDaily;
use lake::schema::{BadCell, Row, Seconds};
use lake::status::{AuditLevel, Dataset, Status, UsdStatus};
use polars::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// Word of the column `release` until a release is made.
pub const UNRELEASED: &str = "unreleased";

/// Why the frame could not be filled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
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
}

/// Every row of the run's panel, in order of CSU and day.
///
/// # Errors
/// [`FrameError`].
pub fn panel(run: &Run, silver: &Silver) -> Result<Vec<PanelDaily>, FrameError> {
    let known = Known::read(run, silver)?;
    let mut rows = Vec::new();
    for csu in run.csus() {
        let chain = run.registry.chain_of(csu).ok_or_else(|| FrameError::Contradiction {
            why: format!("the registry has no chain `{}`", csu.chain),
        })?;
        for day in run.days.days() {
            let window = run.zone.window(day)?;
            let mut row = known.row(run, csu, chain, window)?;
            row.row_hash = row_hash(&row)?;
            rows.push(row);
        }
    }
    rows.sort_by_cached_key(Row::key);
    Ok(rows)
}

/// What silver says, by CSU or chain and day.
struct Known {
    stocks: BTreeMap<CsuDay, Stocks>,
    flows: BTreeMap<CsuDay, Flows>,
    flags: BTreeMap<CsuDay, BTreeSet<String>>,
    rejects: BTreeMap<CsuDay, i64>,
    coverage: BTreeMap<(String, i32, Dataset), Covered>,
    days: BTreeMap<(String, i32), ChainDay>,
    csus: BTreeMap<String, Abilities>,
}

struct Covered {
    status: Status,
    blocks_expected: Option<i64>,
    blocks_scanned: Option<i64>,
    audit_level: Option<AuditLevel>,
    sha256: Option<String>,
}

#[derive(Default, Clone)]
struct ChainDay {
    start: i64,
    end: i64,
    last_block: Option<i64>,
    last_block_ts: Option<i64>,
    n_blocks: Option<i64>,
    sha256: Option<String>,
}

/// What the events of a CSU's family can tell.
struct Abilities {
    names_borrowers: bool,
    bad_debt: BadDebtEvents,
}

/// Whether a CSU's events tell of bad debt (silver's `bad_debt_method`).
#[derive(Clone, Copy, PartialEq, Eq)]
enum BadDebtEvents {
    /// Every contract version's do.
    Always,
    /// Only those of a contract version that keeps a deficit.
    WithDeficit,
    /// They do not.
    Never,
}

impl Known {
    fn read(run: &Run, silver: &Silver) -> Result<Self, FrameError> {
        let of_run = csus_of_run(run)?;
        Ok(Self {
            stocks: stocks(silver, of_run.clone())?,
            flows: flows(silver, of_run.clone())?,
            flags: flags(silver, of_run)?,
            rejects: rejects(silver)?,
            coverage: coverage(silver)?,
            days: days(silver)?,
            csus: abilities(silver)?,
        })
    }

    fn row(&self, run: &Run, csu: &Csu, chain: &Chain, window: DayWindow) -> Result<PanelDaily, FrameError> {
        let date = window.day;
        let day_num = date.days_since_epoch();
        let key = (csu.id.clone(), day_num);
        let of_chain = self.days.get(&(csu.chain.clone(), day_num));
        if of_chain.is_some_and(|of_chain| (of_chain.start, of_chain.end) != (window.start, window.end)) {
            let (chain, zone) = (csu.chain.clone(), run.zone.name().to_owned());
            return Err(FrameError::OtherZone { date, chain, zone });
        }
        let covered = |dataset| self.coverage.get(&(csu.id.clone(), day_num, dataset));
        let status_of = |dataset| covered(dataset).map_or(Status::NotAttempted, |covered| covered.status);
        let (snap_status, liq_status) = (status_of(Dataset::Tvl), status_of(Dataset::Liquidations));

        let stocks =
            (snap_status == Status::Collected).then(|| self.stocks.get(&key).cloned().unwrap_or_default());
        let flows = matches!(liq_status, Status::Collected | Status::NoBlock)
            .then(|| self.flows.get(&key).cloned().unwrap_or_default());
        let abilities = self.csus.get(&csu.id);
        if flows.is_some() && abilities.is_none() {
            let why = format!("coverage has {} of {date}, the csu table does not have it", csu.id);
            return Err(FrameError::Contradiction { why });
        }

        let scan = covered(Dataset::Liquidations);
        let blocks_expected =
            of_chain.and_then(|day| day.n_blocks).or(scan.and_then(|scan| scan.blocks_expected));
        let blocks_scanned = scan.and_then(|scan| scan.blocks_scanned);
        if liq_status == Status::Collected && blocks_scanned.is_some() && blocks_scanned != blocks_expected {
            let why = format!(
                "{} of {date} counts as collected with {} of {} blocks scanned",
                csu.id,
                blocks_scanned.unwrap_or_default(),
                blocks_expected.unwrap_or_default()
            );
            return Err(FrameError::Contradiction { why });
        }

        if liq_status == Status::NoBlock && blocks_expected.is_some_and(|expected| expected != 0) {
            let why = format!("{} of {date} counts as {liq_status}, its chain has blocks", csu.id);
            return Err(FrameError::Contradiction { why });
        }

        let mut bronze = Vec::new();
        let blocks = BronzeKey::Blocks { chain: csu.chain.clone(), date };
        bronze.extend(of_chain.and_then(|day| day.sha256.clone()).map(|sha256| (blocks.to_string(), sha256)));
        for dataset in [Dataset::Tvl, Dataset::Liquidations] {
            let path = BronzeKey::of(dataset, &csu.id, date).to_string();
            bronze.extend(
                covered(dataset).and_then(|covered| covered.sha256.clone()).map(|sha256| (path, sha256)),
            );
        }

        let block_ts = of_chain.and_then(|day| day.last_block_ts);
        let sizes = stocks.as_ref();
        let totals = stocks.as_ref().map(Totals::of).unwrap_or_default();
        let liquidations = flows
            .as_ref()
            .map(|flows| Liquidations::of(flows, abilities, stocks.as_ref()))
            .unwrap_or_default();
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
            usd_status: stocks.as_ref().map_or(UsdStatus::None, usd_status),
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
            liq_count: flows.as_ref().map(|flows| flows.count),
            liq_event_count: flows.as_ref().map(|flows| flows.events),
            liq_tx_count: flows.as_ref().map(|flows| flows.transactions),
            liq_borrowers: liquidations.borrowers,
            liq_liquidators: flows.as_ref().map(|flows| flows.liquidators),
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
            inputs_hash: sha256_of_listing(
                bronze.iter().map(|(path, sha256)| (path.as_str(), sha256.as_str())),
            ),
            row_hash: String::new(),
        })
    }

    /// Remarks of the day's reserves and liquidations in order, then how many reserves stand outside the totals and
    /// how many logs could not be decoded.
    fn quality_flags(&self, key: &CsuDay, n_excluded: i32) -> String {
        let mut flags: Vec<String> =
            self.flags.get(key).map(|flags| flags.iter().cloned().collect()).unwrap_or_default();
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
fn gross(stocks: &Stocks) -> f64 {
    stocks.supplied + stocks.collateral
}

/// The same amount, added up as its parts are, so that no share of it exceeds 1.
fn by_source(stocks: &Stocks) -> f64 {
    stocks.by_protocol + stocks.by_chainlink + stocks.by_other
}

fn usd_status(stocks: &Stocks) -> UsdStatus {
    if stocks.n_incomplete == 0 {
        UsdStatus::Complete
    } else if stocks.n_with_balance > stocks.n_unpriced {
        UsdStatus::Partial
    } else {
        UsdStatus::None
    }
}

/// The USD columns of a snapshot. All null (the default) unless every non-zero reserve has a price.
#[derive(Default)]
struct Totals {
    supplied_usd: Option<f64>,
    collateral_usd: Option<f64>,
    borrowed_usd: Option<f64>,
    minted_usd: Option<f64>,
    available_usd: Option<f64>,
    tvl_usd: Option<f64>,
    tvl_net_usd: Option<f64>,
    reserves_usd: Option<f64>,
    deficit_usd: Option<f64>,
    utilization: Option<f64>,
    stable_supply_share: Option<f64>,
    stable_borrow_share: Option<f64>,
    hhi_supply: Option<f64>,
    hhi_borrow: Option<f64>,
    top1_supply_share: Option<f64>,
    supply_apr: Option<f64>,
    borrow_apr: Option<f64>,
    supply_apr_stable: Option<f64>,
    borrow_apr_stable: Option<f64>,
    liq_threshold_wavg: Option<f64>,
    liq_bonus_wavg: Option<f64>,
}

impl Totals {
    fn of(of: &Stocks) -> Self {
        if usd_status(of) != UsdStatus::Complete {
            return Self::default();
        }
        let rate = |interest: Option<f64>, weight: f64| interest.and_then(|interest| ratio(interest, weight));
        Self {
            supplied_usd: Some(of.supplied),
            collateral_usd: Some(of.collateral),
            borrowed_usd: Some(of.borrowed),
            minted_usd: Some(of.minted),
            available_usd: (of.n_without_available == 0).then_some(of.available),
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
        let tells_bad_debt = abilities.is_some_and(|can| match can.bad_debt {
            BadDebtEvents::Always => true,
            BadDebtEvents::WithDeficit => stocks.is_some_and(|stocks| stocks.keeps_deficit),
            BadDebtEvents::Never => false,
        });
        // Shares among liquidators say nothing when one of them has no name.
        let spread = (of.n_unpriced == 0 && of.n_unnamed == 0).then_some(of.by_liquidator);
        Self {
            borrowers: abilities.is_some_and(|can| can.names_borrowers).then_some(of.borrowers),
            debt_usd: priced(of.debt),
            coll_usd: priced(of.collateral),
            bonus_usd: priced(of.collateral - of.debt),
            max_usd: of.largest.and_then(priced),
            bad_debt_usd: priced(of.bad_debt).filter(|_| tells_bad_debt),
            hhi: spread.and_then(|spread| spread.hhi()),
            top1: spread.and_then(|spread| spread.top1()),
            priced_share: ratio(of.n_priced.into(), of.count.into()),
        }
    }
}

fn csus_of_run(run: &Run) -> PolarsResult<LazyFrame> {
    let chain_id =
        |csu: &Csu| run.registry.chain_of(csu).and_then(|chain| i64::try_from(chain.chain_id).ok());
    let ids: Vec<&str> = run.csus().map(|csu| csu.id.as_str()).collect();
    let chain_ids: Vec<Option<i64>> = run.csus().map(chain_id).collect();
    Ok(df!("csu" => ids, "chain_id" => chain_ids)?.lazy())
}

fn flags(silver: &Silver, csus: LazyFrame) -> PolarsResult<BTreeMap<CsuDay, BTreeSet<String>>> {
    let remarks = |rows: &LazyFrame| {
        rows.clone()
            .filter(col("flags").neq(lit("")))
            .join(
                csus.clone().select([col("csu")]),
                [col("csu")],
                [col("csu")],
                JoinArgs::new(JoinType::Inner),
            )
            .group_by([col("csu"), col("date"), col("flags")])
            .agg([len().alias("rows")])
            .collect()
    };
    let mut flags: BTreeMap<CsuDay, BTreeSet<String>> = BTreeMap::new();
    for found in [remarks(&silver.reserve_day)?, remarks(&silver.liquidation)?] {
        let cells = Cells(&found);
        for row in cells.rows() {
            let text = cells.text("flags", row)?.unwrap_or_default();
            let words = text.split(';').map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned);
            flags.entry(cells.csu_day(row)?).or_default().extend(words);
        }
    }
    Ok(flags)
}

fn rejects(silver: &Silver) -> PolarsResult<BTreeMap<CsuDay, i64>> {
    let counted = silver
        .reject
        .clone()
        .group_by(CSU_DAY.map(col))
        .agg([len().cast(DataType::Int64).alias("rows")])
        .collect()?;
    let cells = Cells(&counted);
    cells.rows().map(|row| Ok((cells.csu_day(row)?, cells.long("rows", row)?.unwrap_or_default()))).collect()
}

fn coverage(silver: &Silver) -> Result<BTreeMap<(String, i32, Dataset), Covered>, FrameError> {
    let rows = silver.coverage.clone().collect()?;
    let cells = Cells(&rows);
    let mut coverage = BTreeMap::new();
    for row in cells.rows() {
        let (csu, day) = cells.csu_day(row)?;
        let unknown = |error: lake::status::UnknownWord| FrameError::Contradiction {
            why: format!("coverage of {csu} on {}: {error}", Day::from_days_since_epoch(day)),
        };
        let dataset = cells.text("dataset", row)?.unwrap_or_default().parse().map_err(unknown)?;
        let status = cells.text("status", row)?.unwrap_or_default().parse().map_err(unknown)?;
        let audit_level =
            cells.text("audit_level", row)?.map(|word| word.parse()).transpose().map_err(unknown)?;
        let covered = Covered {
            status,
            blocks_expected: cells.long("blocks_expected", row)?,
            blocks_scanned: cells.long("blocks_scanned", row)?,
            audit_level,
            sha256: cells.text("sha256", row)?,
        };
        coverage.insert((csu, day, dataset), covered);
    }
    Ok(coverage)
}

fn days(silver: &Silver) -> PolarsResult<BTreeMap<(String, i32), ChainDay>> {
    const MICROSECONDS: i64 = 1_000_000;
    let rows = silver.day_block.clone().collect()?;
    let cells = Cells(&rows);
    let mut days = BTreeMap::new();
    for row in cells.rows() {
        let instant = |name: &str| -> PolarsResult<Option<i64>> {
            Ok(cells.long(name, row)?.map(|instant| instant.div_euclid(MICROSECONDS)))
        };
        let day = ChainDay {
            start: instant("day_start_utc")?.unwrap_or_default(),
            end: instant("day_end_utc")?.unwrap_or_default(),
            last_block: cells.long("last_block", row)?,
            last_block_ts: instant("last_block_ts")?,
            n_blocks: cells.long("n_blocks", row)?,
            sha256: cells.text("bronze_sha256", row)?,
        };
        let key =
            (cells.text("chain", row)?.unwrap_or_default(), cells.int("date", row)?.unwrap_or_default());
        days.insert(key, day);
    }
    Ok(days)
}

fn abilities(silver: &Silver) -> PolarsResult<BTreeMap<String, Abilities>> {
    let rows = silver.csu.clone().collect()?;
    let cells = Cells(&rows);
    let mut csus = BTreeMap::new();
    for row in cells.rows() {
        let abilities = Abilities {
            names_borrowers: cells.boolean("has_borrower", row)?.unwrap_or_default(),
            bad_debt: match cells.text("bad_debt_method", row)?.as_deref() {
                Some("event" | "estimate") => BadDebtEvents::Always,
                Some("event_if_deficit") => BadDebtEvents::WithDeficit,
                _ => BadDebtEvents::Never,
            },
        };
        csus.insert(cells.text("csu", row)?.unwrap_or_default(), abilities);
    }
    Ok(csus)
}
