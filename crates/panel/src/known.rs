//! What silver says of each CSU and day of a run, gathered month by month.

use crate::flows::{Flows, LEG_KEY, flows, legs};
use crate::frame::FrameError;
use crate::silver::{Month, Silver};
use crate::stocks::{RESERVE_KEY, Stocks, reserves, stocks};
use crate::sums::{ByCsuDay, Cells, CsuDay, Runs, in_order, is_in_order};
use futures::channel::oneshot;
use futures::{StreamExt, TryStreamExt, stream};
use lake::day::Day;
use lake::path::BronzeKey;
use lake::run::Run;
use lake::schema::Row;
use lake::schema::silver::{CsuRow, DayBlock, Liquidation, ReserveDay};
use lake::status::{AssetClass, AuditLevel, Dataset, Status, UnknownWord};
use polars::prelude::*;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::str::FromStr;
use std::sync::Arc;

/// Months under way at one time, those that wait for a thread of polars' pool among them. On two cores one is read from the store
/// while two are added up.
const MONTHS_IN_FLIGHT: usize = 3;

/// Rows of `reserve_day` that are added up at one time, about: what is computed of them stays in the processor's caches, and
/// memory is used again rather than asked for.
const PIECE: usize = 16_384;

/// What silver says, by CSU (its place among the run's CSUs) or chain, and day. Boxed is what is too large to be moved about in a map.
#[derive(Default)]
pub(crate) struct Known {
    pub(crate) stocks: ByCsuDay<Box<Stocks>>,
    /// Empty unless it was asked for.
    pub(crate) assets: BTreeMap<AssetClass, ByCsuDay<Box<Stocks>>>,
    pub(crate) flows: ByCsuDay<Box<Flows>>,
    pub(crate) rejects: ByCsuDay<i64>,
    pub(crate) coverage: BTreeMap<Dataset, ByCsuDay<Covered>>,
    /// By chain.
    pub(crate) days: BTreeMap<String, BTreeMap<i32, ChainDay>>,
    /// Path and sha256 of the price books, by chain and day.
    pub(crate) books: BTreeMap<String, BTreeMap<i32, (String, String)>>,
    /// Path and sha256 of the off-chain prices of a day.
    pub(crate) fills: BTreeMap<i32, Vec<(String, String)>>,
    /// By CSU; `None` for one that silver's `csu` table does not have.
    pub(crate) abilities: Vec<Option<Abilities>>,
    /// Path and sha256 of every file read.
    pub(crate) inputs: BTreeMap<String, String>,
}

/// What became of one dataset of a CSU-day.
pub(crate) struct Covered {
    pub(crate) status: Status,
    pub(crate) blocks_expected: Option<i64>,
    pub(crate) blocks_scanned: Option<i64>,
    pub(crate) audit_level: Option<AuditLevel>,
    pub(crate) sha256: Option<String>,
}

/// A day of a chain. Instants are Unix seconds.
#[derive(Default, Clone)]
pub(crate) struct ChainDay {
    pub(crate) start: i64,
    pub(crate) end: i64,
    pub(crate) last_block: Option<i64>,
    pub(crate) last_block_ts: Option<i64>,
    pub(crate) n_blocks: Option<i64>,
    pub(crate) sha256: Option<String>,
}

/// What the events of a CSU's family can tell.
#[derive(Clone)]
pub(crate) struct Abilities {
    pub(crate) names_borrowers: bool,
    pub(crate) gives_debt: bool,
    pub(crate) bad_debt: BadDebtEvents,
}

/// Whether a CSU's events tell of bad debt (silver's `bad_debt_method`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BadDebtEvents {
    /// Every contract version's do.
    Always,
    /// Only those of a contract version that keeps a deficit.
    WithDeficit,
    /// They do not.
    Never,
}

/// What does not change from month to month.
struct Setting {
    ids: Vec<String>,
    /// `csu`, `csu_at`, `chain_id` and `gives_debt` of the run's CSUs.
    csus: DataFrame,
    excluded: DataFrame,
    with_assets: bool,
}

impl Known {
    /// Reads silver. With `with_assets` stocks are added up by class of assets, too.
    pub(crate) async fn read(run: &Run, silver: &Silver, with_assets: bool) -> Result<Self, FrameError> {
        let abilities = abilities(run, silver)?;
        let setting = Arc::new(Setting {
            ids: run.csus.clone(),
            csus: csus_of_run(run, &abilities)?,
            excluded: excluded(silver)?,
            with_assets,
        });
        let mut months = stream::iter(&silver.months)
            .map(|month| {
                let setting = Arc::clone(&setting);
                async move {
                    let files = silver.month(month).await?;
                    on_a_thread(move || setting.month(&files.decode()?)).await
                }
            })
            .buffered(MONTHS_IN_FLIGHT);
        let prices = silver.prices();
        let prices = on_a_thread(move || Ok(prices.read()?));
        let mut known = Self { abilities, inputs: silver.inputs.clone(), ..Self::default() };
        while let Some(month) = months.try_next().await? {
            known.add(month);
        }
        known.note_prices(prices.await?);
        Ok(known)
    }

    fn note_prices(&mut self, prices: Vec<(BronzeKey, String, String)>) {
        for (key, path, sha256) in prices {
            match key {
                BronzeKey::Prices { chain, date } => {
                    self.books.entry(chain).or_default().insert(date.days_since_epoch(), (path, sha256));
                }
                BronzeKey::Fill { date, .. } => {
                    self.fills.entry(date.days_since_epoch()).or_default().push((path, sha256));
                }
                _ => {}
            }
        }
    }

    /// What became of a dataset of a CSU-day; `None` where silver says nothing.
    pub(crate) fn covered(&self, dataset: Dataset, key: &CsuDay) -> Option<&Covered> {
        self.coverage.get(&dataset)?.get(key)
    }

    /// A chain's day; `None` where silver has no such day.
    pub(crate) fn day(&self, chain: &str, date: i32) -> Option<&ChainDay> {
        self.days.get(chain)?.get(&date)
    }

    /// Takes in another month, which shares no CSU-day with those before it.
    fn add(&mut self, month: Self) {
        self.stocks.extend(month.stocks);
        for (class, stocks) in month.assets {
            self.assets.entry(class).or_default().extend(stocks);
        }
        self.flows.extend(month.flows);
        self.rejects.extend(month.rejects);
        for (dataset, coverage) in month.coverage {
            self.coverage.entry(dataset).or_default().extend(coverage);
        }
        for (chain, days) in month.days {
            self.days.entry(chain).or_default().extend(days);
        }
        self.inputs.extend(month.inputs);
    }
}

/// What `work` makes on a thread of polars' pool. It is begun at once, awaited or not.
///
/// Every step of polars is done on that pool: from another thread each would be handed over and waited for.
fn on_a_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, FrameError> + Send + 'static,
) -> impl Future<Output = Result<T, FrameError>> {
    let (sender, made) = oneshot::channel();
    // Nobody listens any more after another's error.
    polars_core::runtime::RAYON.spawn(move || drop(sender.send(catch_unwind(AssertUnwindSafe(work)))));
    async {
        match made.await {
            Ok(Ok(made)) => made,
            Ok(Err(panic)) => resume_unwind(panic),
            Err(stopped) => Err(FrameError::Thread(stopped.to_string())),
        }
    }
}

impl Setting {
    fn month(&self, month: &Month) -> Result<Known, FrameError> {
        let csus = || self.csus.clone().lazy();
        let (mut of_reserves, mut assets) = (ByCsuDay::default(), BTreeMap::<_, ByCsuDay<_>>::new());
        for piece in whole_csus(&month.reserve_day, PIECE)? {
            let rows = reserves(piece.lazy(), csus(), self.excluded.clone())?;
            self.once(&rows, &RESERVE_KEY, ReserveDay::TABLE.name)?;
            if self.with_assets {
                for class in AssetClass::ALL {
                    let of_class =
                        rows.clone().lazy().filter(col("asset_class").eq(lit(class.as_str()))).collect()?;
                    assets.entry(*class).or_default().extend(stocks(&of_class)?);
                }
            }
            of_reserves.extend(stocks(&rows)?);
        }
        let legs = legs(month.liquidation.clone().lazy(), csus())?;
        logs_once(&month.liquidation)?;
        Ok(Known {
            stocks: of_reserves,
            assets,
            flows: flows(&legs)?,
            rejects: self.rejects(month)?,
            coverage: self.coverage(month)?,
            days: days(month)?,
            books: BTreeMap::new(),
            fills: BTreeMap::new(),
            abilities: Vec::new(),
            inputs: month.inputs.clone(),
        })
    }

    /// Insists that no two rows of a frame in order share their key.
    fn once(&self, frame: &DataFrame, key: &[&str], table: &'static str) -> Result<(), FrameError> {
        let runs = Runs::of(frame, key)?;
        let Some(twice) = runs.ranges().find(|run| run.len() > 1) else { return Ok(()) };
        let (csus, dates) = (frame.column("csu_at")?.u32()?, frame.column("date")?.i32()?);
        let csu = csus.get(twice.start).and_then(|at| self.ids.get(at as usize)).cloned().unwrap_or_default();
        let date = Day::from_days_since_epoch(dates.get(twice.start).unwrap_or_default());
        let rest: Vec<String> = key[2..]
            .iter()
            .map(|name| Ok(format!("{name} {}", frame.column(name)?.get(twice.start)?.str_value())))
            .collect::<PolarsResult<_>>()?;
        Err(FrameError::Contradiction {
            why: format!("{table} has {} rows of {csu} on {date} with {}", twice.len(), rest.join(", ")),
        })
    }

    fn csu_at(&self, csu: Option<&str>) -> Option<u32> {
        let at = self.ids.binary_search_by(|id| id.as_str().cmp(csu.unwrap_or_default())).ok()?;
        u32::try_from(at).ok()
    }

    fn rejects(&self, month: &Month) -> PolarsResult<ByCsuDay<i64>> {
        let mut rejects = ByCsuDay::default();
        let rows = month.reject.column("csu")?.str()?.iter().zip(month.reject.column("date")?.i32()?.iter());
        for (csu, date) in rows {
            if let Some(key) = self.csu_at(csu).zip(date) {
                *rejects.entry(key).or_default() += 1;
            }
        }
        Ok(rejects)
    }

    fn coverage(&self, month: &Month) -> Result<BTreeMap<Dataset, ByCsuDay<Covered>>, FrameError> {
        let rows = &month.coverage;
        let text = |name: &str| Ok::<_, PolarsError>(rows.column(name)?.str()?.iter());
        let long = |name: &str| Ok::<_, PolarsError>(rows.column(name)?.i64()?.iter());
        let keys = text("csu")?.zip(rows.column("date")?.i32()?.iter()).zip(text("dataset")?);
        let blocks = long("blocks_expected")?.zip(long("blocks_scanned")?);
        let words = text("status")?.zip(text("audit_level")?).zip(text("sha256")?);
        let mut coverage = BTreeMap::<_, ByCsuDay<_>>::new();
        for (((csu, date), dataset), ((expected, scanned), ((status, level), sha256))) in
            keys.zip(blocks.zip(words))
        {
            let (Some(csu_at), Some(date)) = (self.csu_at(csu), date) else { continue };
            let csu = csu.unwrap_or_default();
            let of = || format!("coverage of {csu} on {}", Day::from_days_since_epoch(date));
            let dataset: Dataset = word(dataset, of)?;
            let covered = Covered {
                status: word(status, of)?,
                blocks_expected: expected,
                blocks_scanned: scanned,
                audit_level: level.map(|level| word(Some(level), of)).transpose()?,
                sha256: sha256.map(str::to_owned),
            };
            if coverage.entry(dataset).or_default().insert((csu_at, date), covered).is_some() {
                let why = format!("{} has two rows of {dataset}", of());
                return Err(FrameError::Contradiction { why });
            }
        }
        Ok(coverage)
    }
}

/// A table in pieces of at least so many rows that hold all rows of their CSUs; in one piece when it is not in order of CSU.
fn whole_csus(table: &DataFrame, rows: usize) -> PolarsResult<Vec<DataFrame>> {
    if !is_in_order(table, &["csu"])? {
        return Ok(vec![table.clone()]);
    }
    let csus = Runs::of(table, &["csu"])?;
    let (mut pieces, mut begin) = (Vec::new(), 0);
    for csu in csus.ranges() {
        if csu.end - begin >= rows || csu.end == table.height() {
            pieces.push(table.slice(begin as i64, csu.end - begin));
            begin = csu.end;
        }
    }
    Ok(pieces)
}

/// A word of the lake, or the contradiction that there is none such.
fn word<T: FromStr<Err = UnknownWord>>(text: Option<&str>, of: impl Fn() -> String) -> Result<T, FrameError> {
    text.unwrap_or_default()
        .parse()
        .map_err(|error: UnknownWord| FrameError::Contradiction { why: format!("{}: {error}", of()) })
}

/// Insists that no log is there twice, not even as a log of two CSUs.
fn logs_once(liquidation: &DataFrame) -> Result<(), FrameError> {
    let keys = in_order(liquidation.select(LEG_KEY)?, &LEG_KEY)?;
    let Some(twice) = Runs::of(&keys, &LEG_KEY)?.ranges().find(|run| run.len() > 1) else { return Ok(()) };
    let cells = Cells(&keys);
    let (chain, block) = (cells.long("chain_id", twice.start)?, cells.long("block_number", twice.start)?);
    let (log, leg) = (cells.int("log_index", twice.start)?, cells.int("leg", twice.start)?);
    Err(FrameError::Contradiction {
        why: format!(
            "{} has {} rows of leg {} of log {} in block {} of chain {}",
            Liquidation::TABLE.name,
            twice.len(),
            leg.unwrap_or_default(),
            log.unwrap_or_default(),
            block.unwrap_or_default(),
            chain.unwrap_or_default()
        ),
    })
}

fn days(month: &Month) -> Result<BTreeMap<String, BTreeMap<i32, ChainDay>>, FrameError> {
    const MICROSECONDS: i64 = 1_000_000;
    let cells = Cells(&month.day_block);
    let mut days = BTreeMap::<_, BTreeMap<_, _>>::new();
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
        let (chain, date) =
            (cells.text("chain", row)?.unwrap_or_default(), cells.int("date", row)?.unwrap_or_default());
        let why = format!(
            "{} has two rows of {chain} on {}",
            DayBlock::TABLE.name,
            Day::from_days_since_epoch(date)
        );
        if days.entry(chain).or_default().insert(date, day).is_some() {
            return Err(FrameError::Contradiction { why });
        }
    }
    Ok(days)
}

fn abilities(run: &Run, silver: &Silver) -> Result<Vec<Option<Abilities>>, FrameError> {
    let cells = Cells(&silver.csu);
    let mut of_csu = BTreeMap::new();
    for row in cells.rows() {
        let abilities = Abilities {
            names_borrowers: cells.boolean("has_borrower", row)?.unwrap_or_default(),
            gives_debt: cells.boolean("has_debt_amount", row)?.unwrap_or_default(),
            bad_debt: match cells.text("bad_debt_method", row)?.as_deref() {
                Some("event" | "estimate") => BadDebtEvents::Always,
                Some("event_if_deficit") => BadDebtEvents::WithDeficit,
                _ => BadDebtEvents::Never,
            },
        };
        let csu = cells.text("csu", row)?.unwrap_or_default();
        let why = format!("{} has two rows of {csu}", CsuRow::TABLE.name);
        if of_csu.insert(csu, abilities).is_some() {
            return Err(FrameError::Contradiction { why });
        }
    }
    Ok(run.csus.iter().map(|id| of_csu.get(id).cloned()).collect())
}

fn csus_of_run(run: &Run, abilities: &[Option<Abilities>]) -> PolarsResult<DataFrame> {
    let chain_id = |id: &String| {
        let chain = run.registry.csu(id).and_then(|csu| run.registry.chain_of(csu));
        chain.and_then(|chain| i64::try_from(chain.chain_id).ok())
    };
    let places: Vec<u32> = (0_u32..).take(run.csus.len()).collect();
    let gives_debt = |abilities: &Option<Abilities>| abilities.as_ref().is_none_or(|can| can.gives_debt);
    df!(
        "csu" => run.csus.clone(),
        "csu_at" => places,
        "chain_id" => run.csus.iter().map(chain_id).collect::<Vec<_>>(),
        "gives_debt" => abilities.iter().map(gives_debt).collect::<Vec<_>>(),
    )
}

fn excluded(silver: &Silver) -> PolarsResult<DataFrame> {
    let tokens = silver.token.clone().lazy().filter(col("pricing").eq(lit("excluded")));
    tokens.select([col("chain_id"), col("token"), lit(true).alias("is_excluded")]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_nobody_knows_is_a_contradiction() {
        let error = word::<Status>(Some("done"), || "coverage of a".to_owned()).unwrap_err();
        assert!(
            error.to_string().starts_with("silver contradicts itself: coverage of a: `done` is no Status"),
            "{error}"
        );
    }

    #[test]
    fn a_table_is_cut_between_csus_only() {
        let table = |csus: &[&str]| df!("csu" => csus).unwrap();
        let heights = |csus: &[&str], rows| {
            let pieces = whole_csus(&table(csus), rows).unwrap();
            pieces.iter().map(DataFrame::height).collect::<Vec<_>>()
        };
        assert_eq!(heights(&["a", "a", "b", "c", "c", "d"], 2), [2, 3, 1]);
        assert_eq!(heights(&["a", "a", "b", "c", "c", "d"], 4), [5, 1]);
        assert_eq!(heights(&["a", "a", "a"], 1), [3]);
        assert_eq!(heights(&["b", "a", "b"], 1), [3], "rows of a CSU that stand apart");
        assert_eq!(heights(&[], 1), [0; 0]);
    }
}
