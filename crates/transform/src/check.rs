//! `transform check`: do bronze and silver keep their rules?
//!
//! [`CHECKS`] is the list. Each check selects the rows that break it into `checks/<layer>/<check>.parquet` (the table
//! `finding` of the dictionary); a check that finds nothing leaves no file. An error says that the layer is wrong, a warning
//! that somebody should look. Nothing is mended and nothing clipped here.
//!
//! Months are looked at one by one, in order: what the next month needs of the one before is kept in [`Before`].

mod bronze;
mod silver;

use crate::read::{self, Expected, Month};
use bronze::Bronze;
use lake::day::Day;
use lake::failure::{self, Failure};
use lake::manifest::Manifest;
use lake::path::{BRONZE, BronzeKey, SILVER, check_rows, checks_prefix, silver_manifest};
use lake::registry::Registry;
use lake::run::Run;
use lake::status::CheckLevel;
use lake::store::{Lake, StoreError};
use lake::table_file::{TableError, parquet_bytes};
use object_store::path::Path;
use serde::Serialize;
use silver::Silver;
use std::collections::{BTreeMap, BTreeSet};

/// Why nothing could be checked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckError {
    /// The lake cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The failing rows make no file.
    #[error(transparent)]
    Table(#[from] TableError),
    /// The threads could not be started.
    #[error("cannot start the threads: {source}\nhint: give a smaller --jobs")]
    Threads {
        /// The pool's error.
        source: rayon::ThreadPoolBuildError,
    },
}

/// What earlier months say that later ones are held against.
#[derive(Debug, Default)]
struct Before {
    bronze: bronze::Before,
    silver: silver::Before,
}

/// What a check looks at: one month.
struct Subject<'a> {
    registry: &'a Registry,
    run: &'a Run,
    bronze: &'a Bronze,
    /// Bronze as the build reads it.
    month: &'a Month,
    silver: &'a Silver,
    whole: &'a silver::Whole,
    before: &'a Before,
}

type Find = fn(&Subject<'_>) -> Vec<Failure>;

/// One check.
struct Check {
    id: &'static str,
    layer: &'static str,
    level: CheckLevel,
    /// What must hold.
    what: &'static str,
    /// Why the threshold is what it is; empty where there is none.
    why: &'static str,
    find: Find,
}

const fn error(layer: &'static str, id: &'static str, what: &'static str, find: Find) -> Check {
    Check { id, layer, level: CheckLevel::Error, what, why: "", find }
}

const fn warn(
    layer: &'static str,
    id: &'static str,
    what: &'static str,
    why: &'static str,
    find: Find,
) -> Check {
    Check { id, layer, level: CheckLevel::Warn, what, why, find }
}

const fn because(why: &'static str, check: Check) -> Check {
    Check { why, ..check }
}

/// Every check, in order.
const CHECKS: &[Check] = &[
    error(
        BRONZE,
        "b1_record",
        "every object is sealed, of this schema, of a readable size, and does not contradict itself",
        bronze::records,
    ),
    error(
        BRONZE,
        "b2_once",
        "one object for each dataset, CSU and day; none was overwritten or removed since silver was built",
        bronze::once,
    ),
    error(
        BRONZE,
        "b3_registry",
        "CSU, family, entry contract, chain and chain id are those of the path and the registry",
        bronze::registry,
    ),
    error(
        BRONZE,
        "b4_window",
        "the day's window is that of its date in its zone: 23, 24 or 25 hours",
        bronze::window,
    ),
    error(
        BRONZE,
        "b5_snapshot",
        "the snapshot block is the last before the day's end, and every block that was read lies in the day",
        bronze::snapshot,
    ),
    error(
        BRONZE,
        "b6_chain",
        "the days of a chain follow each other block by block: last + 1 = first of the next day, with its hash",
        bronze::chain,
    ),
    error(
        BRONZE,
        "b7_whole",
        "scanned blocks tile the day once, and every block with a log was read",
        bronze::whole,
    ),
    error(
        BRONZE,
        "b8_logs",
        "each log lies in the day, is one of the filter and is there once; a block number has one hash",
        bronze::logs,
    ),
    error(
        BRONZE,
        "b9_reasons",
        "what was tried and not collected has a reason and a message in the ledger",
        bronze::reasons,
    ),
    error(
        BRONZE,
        "b9_secrets",
        "no URL, key-like token or home path in any object or ledger message",
        bronze::secrets,
    ),
    warn(
        BRONZE,
        "b10_calls",
        "the number of calls of a CSU's snapshot changes by at most 20% from day to day",
        "a listing or two changes a plan by a few calls a reserve; a fifth of all calls is a reserve list or a registry row \
         that moved",
        bronze::calls,
    ),
    error(SILVER, "s1_keys", "keys are unique and never null, in every table", silver::keys),
    error(
        SILVER,
        "s2_schema",
        "every table of the month is there, with names, order, types and metadata as declared",
        silver::schema,
    ),
    error(
        SILVER,
        "s3_conservation",
        "logs in bronze = legs + rejects + context; reserves = the list that was read on the chain",
        silver::conservation,
    ),
    error(
        SILVER,
        "s4_decimals",
        "decimals were read on the chain and are one number a token, for ever",
        silver::decimals,
    ),
    warn(
        SILVER,
        "s4_no_decimals",
        "a token with an amount has decimals",
        "a token that does not tell them is a gap of the chain, not of the lake; its amounts stay raw and without value",
        silver::no_decimals,
    ),
    warn(
        SILVER,
        "s4_symbol",
        "a token keeps its symbol",
        "a token may be renamed; a symbol that changes is more often another token",
        silver::symbols,
    ),
    warn(
        SILVER,
        "s5_identity",
        "the family's accounting identity holds to 1e-5 of what was supplied, or to 1e-6 of a token",
        "index arithmetic rounds by a base unit a position; what is left over beyond one part in a hundred thousand is not \
         rounding",
        silver::identity,
    ),
    because(
        "a thousandth is more than any accrual between two updates of an index explains: a term of the identity is wrong",
        error(
            SILVER,
            "s5_identity_large",
            "the accounting identity holds to 1e-3 of what was supplied",
            silver::identity_large,
        ),
    ),
    because(
        "a rate above 10 is 1000% a year: a rate per second or in ray read as a fraction",
        error(
            SILVER,
            "s6_ranges",
            "raw amounts are whole numbers, not negative but for reserves; 0 <= ltv <= liq_threshold <= 1; rates lie in 0 to 10; no float is NaN or infinite",
            silver::ranges,
        ),
    ),
    because(
        "a feed that missed two heartbeats has stopped; the build uses the same rule and marks such answers stale",
        error(
            SILVER,
            "s7_price",
            "a price is above zero, is there exactly when its status is ok, and is no older than two heartbeats of its feed",
            silver::prices,
        ),
    ),
    error(
        SILVER,
        "s7_conflict",
        "a contract gives one answer for a token at a block, whichever object it stands in",
        silver::conflicts,
    ),
    warn(
        SILVER,
        "s7_disagree",
        "the prices of a token at a block differ by at most 2%",
        "feeds answer anew at moves of 0.5% to 2%; what is further apart is stale, of another token or wrong",
        silver::disagree,
    ),
    warn(
        SILVER,
        "s8_jump",
        "a price moves by less than 0.3 in logarithm from day to day",
        "of the large tokens none moved by 35% in a day outside crashes; small ones do, and are worth a look. Nothing is \
         clipped",
        silver::jumps,
    ),
    warn(
        SILVER,
        "s8_peg",
        "a stablecoin in US dollars costs 0.95 to 1.05",
        "beyond 5% a peg is lost, a feed is wrong or the registry calls a token a stablecoin that is none",
        silver::pegs,
    ),
    warn(
        SILVER,
        "s9_bonus",
        "what a liquidator got for a liquidation is -5% to 25% more than what was repaid",
        "of 685 priced liquidations of Aave on Ethereum in November 2025 the least was 2.4%, the median 7.0%, the most 18.5%",
        silver::bonus,
    ),
    error(
        SILVER,
        "s9_window",
        "a liquidation and a reject lie in the blocks of their day",
        silver::event_window,
    ),
    error(
        SILVER,
        "s10_relations",
        "the CSU, token, day's blocks and coverage that a row speaks of are there",
        silver::relations,
    ),
];

/// The list of checks as a Markdown table: the body of `docs/checks.md`.
pub fn markdown() -> String {
    let mut text =
        String::from("| check | level | what must hold | why the threshold |\n|---|---|---|---|\n");
    for check in CHECKS {
        text.push_str(&format!("| `{}` | {} | {} | {} |\n", check.id, check.level, check.what, check.why));
    }
    text
}

/// What a check came to.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// Check.
    pub check: &'static str,
    /// Layer: bronze or silver.
    pub layer: &'static str,
    /// What a failure means.
    pub level: CheckLevel,
    /// What must hold.
    pub what: &'static str,
    /// Why the threshold is what it is; empty where there is none.
    pub why: &'static str,
    /// How many rows fail.
    pub failures: usize,
    /// Where the failing rows are, in the lake.
    pub rows: Option<String>,
    /// The first failures, for people.
    pub first: Vec<Failure>,
}

/// Failures of each check that are shown.
const SHOWN: usize = 5;
/// Failures of each check that are kept as rows. A lake with more has one fault, not a million.
const KEPT: usize = 100_000;

/// What all checks came to.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Name of the run.
    pub run: String,
    /// Location of the lake.
    pub lake: String,
    /// Months that were looked at.
    pub months: Vec<String>,
    /// The checks, in order.
    pub checks: Vec<Outcome>,
}

impl Report {
    /// Whether every check of level error found nothing.
    pub fn is_sound(&self) -> bool {
        self.checks.iter().all(|check| check.level == CheckLevel::Warn || check.failures == 0)
    }

    /// Failures of the checks that only warn.
    pub fn warnings(&self) -> usize {
        self.checks.iter().filter(|check| check.level == CheckLevel::Warn).map(|check| check.failures).sum()
    }
}

/// Checks bronze and silver of a run's months and writes the failing rows into `checks/`. `month_done` is called after each
/// month.
///
/// # Errors
/// [`CheckError`] when the lake cannot be read or written.
pub async fn check(
    run: &Run,
    lake: &Lake,
    jobs: Option<usize>,
    month_done: impl Fn(&str),
) -> Result<Report, CheckError> {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(jobs.unwrap_or(0))
        .build()
        .map_err(|source| CheckError::Threads { source })?;
    let months: BTreeSet<String> = run.days.days().map(Day::month).collect();
    let expected = Expected { registry: &run.registry, zone: &run.zone };
    let listed = read::list(lake, &run.registry).await?;
    let (paths, strays) = by_month(lake.list(&Path::from(BRONZE)).await?);
    let manifest = manifest(lake).await?;

    let mut found: BTreeMap<&str, (usize, Vec<Failure>)> = BTreeMap::new();
    let mut note = |id: &'static str, failures: Vec<Failure>| {
        let (count, kept) = found.entry(id).or_default();
        *count += failures.len();
        let room = KEPT - kept.len();
        kept.extend(failures.into_iter().take(room));
    };
    note("b2_once", strays.iter().map(bronze::stray).collect());
    let mut before = Before::default();
    let whole = silver::Whole::read(lake).await?;
    for name in &months {
        let nothing = (read::Listed::default(), Vec::new());
        let listed = listed.get(name).unwrap_or(&nothing.0);
        let bronze = Bronze::read(
            lake,
            paths.get(name).unwrap_or(&nothing.1),
            bronze::inputs_of(&manifest, name),
            listed,
            &pool,
        )
        .await?;
        let month = read::month(lake, expected, listed, &pool).await?;
        let silver = Silver::read(lake, name).await?;
        let subject = Subject {
            registry: &run.registry,
            run,
            bronze: &bronze,
            month: &month,
            silver: &silver,
            whole: &whole,
            before: &before,
        };
        for check in CHECKS {
            note(check.id, (check.find)(&subject));
        }
        before.bronze.note(&bronze);
        before.silver.note(&silver, &run.registry);
        month_done(name);
    }

    let mut checks = Vec::new();
    for check in CHECKS {
        let (count, kept) = found.remove(check.id).unwrap_or_default();
        checks.push(write(lake, check, count, kept).await?);
    }
    for layer in [BRONZE, SILVER] {
        for path in lake.list(&checks_prefix(layer)).await? {
            // Of a check that is no more. What else lies here is not ours.
            let is_file_of_a_check = path.parts().count() == 3 && path.as_ref().ends_with(".parquet");
            if is_file_of_a_check && !CHECKS.iter().any(|check| check_rows(check.layer, check.id) == path) {
                lake.delete(&path).await?;
            }
        }
    }
    Ok(Report {
        run: run.name.clone(),
        lake: lake.location().to_owned(),
        months: months.into_iter().collect(),
        checks,
    })
}

/// Bronze objects by month.
type Months = BTreeMap<String, Vec<(BronzeKey, Path)>>;

/// Paths of bronze objects by month, and the paths that no bronze object has.
fn by_month(paths: Vec<Path>) -> (Months, Vec<Path>) {
    let mut months = Months::new();
    let mut strays = Vec::new();
    for path in paths {
        match BronzeKey::parse(&path).filter(|key| key.path() == path) {
            Some(key) => months.entry(key.date().month()).or_default().push((key, path)),
            None => strays.push(path),
        }
    }
    (months, strays)
}

/// The manifest of silver. One that cannot be read says nothing of bronze; the build replaces it.
async fn manifest(lake: &Lake) -> Result<Manifest, StoreError> {
    let bytes = lake.get(&silver_manifest()).await?.unwrap_or_default();
    Ok(serde_json::from_slice(&bytes).unwrap_or_else(|error| {
        tracing::warn!(%error, "there is no readable manifest of silver, so nothing is known of what it was built from");
        Manifest::default()
    }))
}

/// Writes the rows of a check: those of its `count` failures that were kept.
async fn write(lake: &Lake, check: &Check, count: usize, kept: Vec<Failure>) -> Result<Outcome, CheckError> {
    let path = check_rows(check.layer, check.id);
    let Check { id, layer, level, what, why, .. } = *check;
    let first = kept.iter().take(SHOWN).cloned().collect();
    if kept.is_empty() {
        lake.delete(&path).await?;
        return Ok(Outcome { check: id, layer, level, what, why, failures: 0, rows: None, first });
    }
    lake.replace(&path, parquet_bytes(failure::rows(id, level, kept))?).await?;
    Ok(Outcome { check: id, layer, level, what, why, failures: count, rows: Some(path.to_string()), first })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_every_check() {
        let page = Path::from("docs/checks.md");
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(page.as_ref());
        let page = std::fs::read_to_string(file).unwrap();
        assert!(page.contains(&markdown()), "put the output of `transform check --list` into docs/checks.md");
    }

    #[test]
    fn every_check_has_a_name_of_its_own_and_says_what_must_hold() {
        let ids: BTreeSet<&str> = CHECKS.iter().map(|check| check.id).collect();
        assert_eq!(ids.len(), CHECKS.len());
        for check in CHECKS {
            assert!(!check.what.is_empty(), "{}", check.id);
            assert!(check.id.starts_with(&check.layer[..1]), "{} is of layer {}", check.id, check.layer);
            let has_threshold = check.level == CheckLevel::Warn;
            assert!(!has_threshold || !check.why.is_empty(), "{} does not say why", check.id);
        }
        for number in 1..=10 {
            for layer in ["b", "s"] {
                let prefix = format!("{layer}{number}_");
                assert!(ids.iter().any(|id| id.starts_with(&prefix)), "no check {prefix}");
            }
        }
    }
}
