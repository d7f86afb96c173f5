//! `panel show`: the panel as a table for people.

use crate::build::{CSV, PARQUET};
use crate::numbers::separated;
use crate::silver::{DecodeError, decode};
use crate::sums::Cells;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{Attribute, Cell, CellAlignment, Color, ContentArrangement, Table};
use lake::day::Day;
use lake::path::gold_file;
use lake::run::Run;
use lake::schema::Row;
use lake::schema::gold::PanelDaily;
use lake::status::{AuditLevel, Status, UnknownWord, UsdStatus};
use lake::store::{Lake, StoreError};
use polars::prelude::{DataFrame, PolarsError};
use serde::Serialize;
use std::collections::BTreeSet;

/// Why the panel could not be shown.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ShowError {
    /// The object store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is none.
    #[error("no panel in the lake at {location}\nhint: run `panel build` (make gold) first")]
    None {
        /// The lake.
        location: String,
    },
    /// There is one, for other CSUs or days.
    #[error(
        "the panel in the lake at {location} has no row of this run ({days})\nhint: run `panel build` (make gold) for it first"
    )]
    NoRow {
        /// The lake.
        location: String,
        /// Days of the run.
        days: String,
    },
    /// It cannot be read.
    #[error("cannot read {path} in the lake at {location}: {why}\nhint: run `panel build` (make gold) again")]
    Damaged {
        /// The object.
        path: String,
        /// The lake.
        location: String,
        /// The reader's words.
        why: String,
    },
}

/// A row as it is shown. USD and fractions as in gold, null where gold is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Shown {
    /// CSU.
    pub csu: String,
    /// Day.
    pub date: Day,
    /// Length of the day, hours.
    pub day_hours: i32,
    /// Status of the row.
    pub status: Status,
    /// Whether every non-zero reserve has a price.
    pub usd_status: UsdStatus,
    /// Gross, USD.
    pub tvl_usd: Option<f64>,
    /// Net of debt, USD.
    pub tvl_net_usd: Option<f64>,
    /// Debt, USD.
    pub borrowed_usd: Option<f64>,
    /// Debt over supply, fraction.
    pub utilization: Option<f64>,
    /// Rate of suppliers, fraction per year.
    pub supply_apr: Option<f64>,
    /// Rate of borrowers, fraction per year.
    pub borrow_apr: Option<f64>,
    /// Liquidations.
    pub liq_count: Option<i32>,
    /// Debt repaid by liquidators, USD.
    pub liq_debt_usd: Option<f64>,
    /// Collateral received by liquidators, USD.
    pub liq_coll_usd: Option<f64>,
    /// How far the scan for liquidations was checked.
    pub liq_audit: Option<AuditLevel>,
}

const COLUMNS: [&str; 15] = [
    "csu",
    "date",
    "day_hours",
    "status",
    "usd_status",
    "tvl_usd",
    "tvl_net_usd",
    "borrowed_usd",
    "utilization",
    "supply_apr",
    "borrow_apr",
    "liq_count",
    "liq_debt_usd",
    "liq_coll_usd",
    "liq_audit",
];

/// The rows of the panel that are of the run's CSUs and days, in order.
///
/// # Errors
/// [`ShowError`].
pub async fn rows(run: &Run, lake: &Lake) -> Result<Vec<Shown>, ShowError> {
    let frame = columns(lake, &COLUMNS).await?;
    let location = || lake.location().to_owned();
    let damaged =
        |why: String| ShowError::Damaged { path: gold_file(PARQUET).to_string(), location: location(), why };
    let of_run: BTreeSet<&str> = run.csus.iter().map(String::as_str).collect();
    let cells = Cells(&frame);
    let mut rows = Vec::new();
    for row in cells.rows() {
        let shown = shown(&cells, row).map_err(|error| damaged(error.to_string()))?;
        if of_run.contains(shown.csu.as_str()) && run.days.contains(shown.date) {
            rows.push(shown);
        }
    }
    if rows.is_empty() {
        return Err(ShowError::NoRow { location: location(), days: run.days.to_string() });
    }
    Ok(rows)
}

/// Columns of the panel in the lake.
///
/// # Errors
/// [`ShowError`].
pub(crate) async fn columns(lake: &Lake, names: &[&str]) -> Result<DataFrame, ShowError> {
    let path = gold_file(PARQUET);
    let location = || lake.location().to_owned();
    let bytes = lake.get(&path).await?.ok_or_else(|| ShowError::None { location: location() })?;
    decode(&bytes, &PanelDaily::TABLE, names).map_err(|error| match error {
        DecodeError::Unreadable(why) | DecodeError::OtherSchema(why) => {
            ShowError::Damaged { path: path.to_string(), location: location(), why }
        }
    })
}

#[derive(Debug, thiserror::Error)]
enum BadRow {
    #[error(transparent)]
    Frame(#[from] PolarsError),
    #[error(transparent)]
    Word(#[from] UnknownWord),
}

fn shown(cells: &Cells<'_>, row: usize) -> Result<Shown, BadRow> {
    let day = cells.int("date", row)?.unwrap_or_default();
    Ok(Shown {
        csu: cells.text("csu", row)?.unwrap_or_default(),
        date: Day::from_days_since_epoch(day),
        day_hours: cells.int("day_hours", row)?.unwrap_or_default(),
        status: cells.text("status", row)?.unwrap_or_default().parse()?,
        usd_status: cells.text("usd_status", row)?.unwrap_or_default().parse()?,
        tvl_usd: cells.float("tvl_usd", row)?,
        tvl_net_usd: cells.float("tvl_net_usd", row)?,
        borrowed_usd: cells.float("borrowed_usd", row)?,
        utilization: cells.float("utilization", row)?,
        supply_apr: cells.float("supply_apr", row)?,
        borrow_apr: cells.float("borrow_apr", row)?,
        liq_count: cells.int("liq_count", row)?,
        liq_debt_usd: cells.float("liq_debt_usd", row)?,
        liq_coll_usd: cells.float("liq_coll_usd", row)?,
        liq_audit: cells.text("liq_audit", row)?.map(|word| word.parse()).transpose()?,
    })
}

/// How the table is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// Columns of the terminal; `None` where there is none, and nothing is left out.
    pub width: Option<usize>,
    /// Whether status words are coloured.
    pub colour: bool,
}

/// Headings of the table, with the order in which they give way on a narrow terminal (0 stays).
const HEADINGS: [(&str, u8); 14] = [
    ("csu", 0),
    ("date", 0),
    ("hours", 9),
    ("status", 0),
    ("tvl_usd", 0),
    ("tvl_net_usd", 4),
    ("borrowed_usd", 3),
    ("utilization", 2),
    ("supply_apr", 7),
    ("borrow_apr", 6),
    ("liq_count", 1),
    ("liq_debt_usd", 5),
    ("liq_coll_usd", 8),
    ("liq_audit", 10),
];

/// The table, and the names of the columns that the terminal has no room for.
pub fn table(rows: &[Shown], look: Look) -> (String, Vec<&'static str>) {
    let lines: Vec<[String; 14]> = rows.iter().map(texts).collect();
    let width_of = |column: usize| {
        let cells = lines.iter().filter_map(|line| line.get(column)).map(|text| text.chars().count());
        cells.chain(HEADINGS.get(column).map(|(name, _)| name.len())).max().unwrap_or_default()
    };
    let mut kept: Vec<usize> = (0..HEADINGS.len()).collect();
    let mut left_out = Vec::new();
    if let Some(width) = look.width {
        // Two blanks and a border for each column, and the last border.
        let needs = |kept: &[usize]| kept.iter().map(|column| width_of(*column) + 3).sum::<usize>() + 1;
        let mut order: Vec<usize> = kept.clone();
        order.retain(|column| HEADINGS.get(*column).is_some_and(|(_, order)| *order > 0));
        order.sort_by_key(|column| HEADINGS.get(*column).map(|(_, order)| std::cmp::Reverse(*order)));
        for column in order {
            if needs(&kept) <= width {
                break;
            }
            kept.retain(|other| *other != column);
            left_out.extend(HEADINGS.get(column).map(|(name, _)| *name));
        }
    }

    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    match look.width.and_then(|width| u16::try_from(width).ok()) {
        Some(width) => table.set_width(width).set_content_arrangement(ContentArrangement::Dynamic),
        None => table.set_content_arrangement(ContentArrangement::Disabled),
    };
    if look.colour {
        table.enforce_styling()
    } else {
        table.force_no_tty()
    };
    let heading = |column: &usize| {
        HEADINGS
            .get(*column)
            .map(|(name, _)| Cell::new(name).add_attribute(Attribute::Bold).set_alignment(alignment(*column)))
    };
    table.set_header(kept.iter().filter_map(heading).collect::<Vec<_>>());
    for (line, row) in lines.iter().zip(rows) {
        let cell = |column: &usize| {
            let cell = Cell::new(line.get(*column)?).set_alignment(alignment(*column));
            Some(match (*column, row.status) {
                (3, Status::Failed) => cell.fg(Color::Red),
                (3, status) if status.is_worth_a_retry() => cell.fg(Color::Yellow),
                (3, _) if row.status == Status::Collected && row.usd_status != UsdStatus::Complete => {
                    cell.fg(Color::Yellow)
                }
                _ => cell,
            })
        };
        table.add_row(kept.iter().filter_map(cell).collect::<Vec<_>>());
    }
    (table.to_string(), left_out)
}

/// Words to the left, numbers to the right.
fn alignment(column: usize) -> CellAlignment {
    if matches!(column, 0 | 1 | 3 | 13) { CellAlignment::Left } else { CellAlignment::Right }
}

fn texts(row: &Shown) -> [String; 14] {
    let usd = |value: Option<f64>| value.map_or_else(dash, |value| separated(value, 2));
    let fraction = |value: Option<f64>| value.map_or_else(dash, |value| format!("{value:.4}"));
    // Totals of a collected snapshot are missing only for want of prices.
    let is_unpriced = row.status == Status::Collected && row.usd_status != UsdStatus::Complete;
    let status =
        if is_unpriced { format!("{}, usd {}", row.status, row.usd_status) } else { row.status.to_string() };
    [
        row.csu.clone(),
        row.date.to_string(),
        row.day_hours.to_string(),
        status,
        usd(row.tvl_usd),
        usd(row.tvl_net_usd),
        usd(row.borrowed_usd),
        fraction(row.utilization),
        fraction(row.supply_apr),
        fraction(row.borrow_apr),
        row.liq_count.map_or_else(dash, |count| count.to_string()),
        usd(row.liq_debt_usd),
        usd(row.liq_coll_usd),
        row.liq_audit.map_or_else(dash, |level| level.to_string()),
    ]
}

pub(crate) fn dash() -> String {
    "-".to_owned()
}

/// Where the files are: paths below the lake's location.
pub fn files(lake: &Lake) -> [String; 2] {
    [PARQUET, CSV].map(|name| format!("{}/{}", lake.location().trim_end_matches('/'), gold_file(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> Shown {
        Shown {
            csu: "aave_v3_ethereum".into(),
            date: "2024-12-01".parse().unwrap(),
            day_hours: 24,
            status: Status::Collected,
            usd_status: UsdStatus::Complete,
            tvl_usd: Some(43_903_560_090.737),
            tvl_net_usd: Some(-1_234.5),
            borrowed_usd: Some(0.0),
            utilization: Some(0.405_67),
            supply_apr: None,
            borrow_apr: Some(0.0513),
            liq_count: Some(0),
            liq_debt_usd: Some(0.0),
            liq_coll_usd: Some(999.999),
            liq_audit: Some(AuditLevel::TwoOperators),
        }
    }

    const WIDE: Look = Look { width: None, colour: false };

    #[test]
    fn numbers_have_separators_and_nulls_a_dash() {
        let (text, left_out) = table(&[row()], WIDE);
        for part in [
            "43,903,560,090.74",
            "-1,234.50",
            " 0.00 ",
            "0.4057",
            " - ",
            " 0 ",
            "1,000.00",
            " two_operators ",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        assert!(left_out.is_empty());
        assert!(!text.contains('\u{1b}'));
    }

    #[test]
    fn a_total_without_prices_says_so() {
        let unpriced = Shown { tvl_usd: None, usd_status: UsdStatus::Partial, ..row() };
        assert!(table(&[unpriced], WIDE).0.contains("collected, usd partial"));
    }

    #[test]
    fn a_narrow_terminal_keeps_what_matters_most() {
        let (text, left_out) = table(&[row()], Look { width: Some(80), colour: false });
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert!(text.contains("tvl_usd") && !text.contains("liq_coll_usd"));
        assert_eq!(&left_out[..2], ["liq_audit", "hours"]);
    }

    #[test]
    fn colour_is_only_there_when_asked_for() {
        let failed = Shown { status: Status::Failed, ..row() };
        assert!(table(&[failed], Look { width: None, colour: true }).0.contains("\u{1b}["));
    }
}
