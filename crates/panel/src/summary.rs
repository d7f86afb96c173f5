//! `panel summary`: how much of the panel was measured, and its headline figures.

use crate::build::PARQUET;
use crate::numbers::separated;
use crate::show::{ShowError, columns, dash};
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, ContentArrangement, Table};
use lake::day::Day;
use lake::path::gold_file;
use lake::run::Run;
use lake::store::Lake;
use polars::prelude::{DataFrame, PolarsResult};
use serde::Serialize;
use std::collections::BTreeMap;

/// Coverage and figures of some rows of the panel. Means and sums are over the rows that have the figure, and say how many
/// those are; a null has nothing to stand on.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Figures {
    /// Rows.
    pub rows: usize,
    /// Rows by the word in `status`.
    pub by_status: BTreeMap<String, usize>,
    /// Rows with USD totals.
    pub rows_with_tvl: usize,
    /// Mean of `tvl_usd`.
    pub mean_tvl_usd: Option<f64>,
    /// `borrowed_usd` over `supplied_usd`, both summed over the rows that have them.
    pub utilization: Option<f64>,
    /// Rows whose blocks were scanned whole.
    pub rows_scanned: usize,
    /// Liquidations of those.
    pub liquidations: Option<u64>,
    /// Rows whose liquidations all have a price.
    pub rows_with_liq_debt: usize,
    /// Debt repaid by liquidators in those, USD.
    pub liq_debt_usd: Option<f64>,
}

/// A CSU.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CsuFigures {
    /// CSU.
    pub csu: String,
    /// Its last day with USD totals.
    pub last_day: Option<Day>,
    /// `tvl_usd` of that day.
    pub last_tvl_usd: Option<f64>,
    /// All its rows.
    #[serde(flatten)]
    pub figures: Figures,
}

/// The panel of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// Name of the run.
    pub run: String,
    /// First day.
    pub from: Day,
    /// Last day.
    pub to: Day,
    /// Days of the run on which every CSU's row is `collected`.
    pub whole_days: usize,
    /// All rows.
    pub all: Figures,
    /// By CSU, in order of id.
    pub csus: Vec<CsuFigures>,
}

const COLUMNS: [&str; 8] =
    ["csu", "date", "status", "tvl_usd", "supplied_usd", "borrowed_usd", "liq_count", "liq_debt_usd"];

/// One row, as far as it is summarized.
struct Seen {
    csu: String,
    day: Day,
    status: String,
    tvl: Option<f64>,
    supplied: Option<f64>,
    borrowed: Option<f64>,
    liquidations: Option<i32>,
    liq_debt: Option<f64>,
}

/// Summarizes the rows of the panel that are of the run's CSUs and days.
///
/// # Errors
/// [`ShowError`].
pub async fn summary(run: &Run, lake: &Lake) -> Result<Summary, ShowError> {
    let frame = columns(lake, &COLUMNS).await?;
    let seen = seen(&frame).map_err(|error| ShowError::Damaged {
        path: gold_file(PARQUET).to_string(),
        location: lake.location().to_owned(),
        why: crate::silver::first_line(&error),
    })?;
    let of_run: Vec<Seen> =
        seen.into_iter().filter(|row| run.csus.contains(&row.csu) && run.days.contains(row.day)).collect();
    if of_run.is_empty() {
        return Err(ShowError::NoRow { location: lake.location().to_owned(), days: run.days.to_string() });
    }
    let mut collected: BTreeMap<Day, usize> = BTreeMap::new();
    for row in of_run.iter().filter(|row| row.status == "collected") {
        *collected.entry(row.day).or_default() += 1;
    }
    let csus = of_run.chunk_by(|one, two| one.csu == two.csu).map(|rows| {
        let last = rows.iter().rev().find(|row| row.tvl.is_some());
        CsuFigures {
            csu: rows.first().map(|row| row.csu.clone()).unwrap_or_default(),
            last_day: last.map(|row| row.day),
            last_tvl_usd: last.and_then(|row| row.tvl),
            figures: Figures::of(rows),
        }
    });
    Ok(Summary {
        run: run.name.clone(),
        from: run.days.from(),
        to: run.days.to(),
        whole_days: collected.values().filter(|csus| **csus == run.csus.len()).count(),
        csus: csus.collect(),
        all: Figures::of(&of_run),
    })
}

fn seen(frame: &DataFrame) -> PolarsResult<Vec<Seen>> {
    let cells = crate::sums::Cells(frame);
    cells
        .rows()
        .map(|row| {
            Ok(Seen {
                csu: cells.text("csu", row)?.unwrap_or_default(),
                day: Day::from_days_since_epoch(cells.int("date", row)?.unwrap_or_default()),
                status: cells.text("status", row)?.unwrap_or_default(),
                tvl: cells.float("tvl_usd", row)?,
                supplied: cells.float("supplied_usd", row)?,
                borrowed: cells.float("borrowed_usd", row)?,
                liquidations: cells.int("liq_count", row)?,
                liq_debt: cells.float("liq_debt_usd", row)?,
            })
        })
        .collect()
}

impl Figures {
    fn of(rows: &[Seen]) -> Self {
        let mut figures = Self { rows: rows.len(), ..Self::default() };
        let (mut tvl, mut supplied, mut borrowed) = (0.0, 0.0, 0.0);
        for row in rows {
            *figures.by_status.entry(row.status.clone()).or_default() += 1;
            if let Some(of_row) = row.tvl {
                figures.rows_with_tvl += 1;
                tvl += of_row;
            }
            if let Some((of_supply, of_borrow)) = row.supplied.zip(row.borrowed) {
                supplied += of_supply;
                borrowed += of_borrow;
            }
            if let Some(count) = row.liquidations.and_then(|count| u64::try_from(count).ok()) {
                figures.rows_scanned += 1;
                *figures.liquidations.get_or_insert(0) += count;
            }
            if let Some(debt) = row.liq_debt {
                figures.rows_with_liq_debt += 1;
                *figures.liq_debt_usd.get_or_insert(0.0) += debt;
            }
        }
        figures.mean_tvl_usd = (figures.rows_with_tvl > 0).then(|| tvl / figures.rows_with_tvl as f64);
        figures.utilization = (supplied > 0.0).then(|| borrowed / supplied);
        figures
    }

    fn collected(&self) -> usize {
        self.by_status.get("collected").copied().unwrap_or_default()
    }

    fn not_collected(&self) -> String {
        let words = self.by_status.iter().filter(|(status, _)| *status != "collected");
        let words: Vec<String> = words.map(|(status, rows)| format!("{status} {rows}")).collect();
        words.join(", ")
    }
}

/// The summary for people.
pub fn text(summary: &Summary) -> String {
    let mut table = Table::new();
    table
        .load_style(UTF8_FULL_CONDENSED)
        .set_content_arrangement(ContentArrangement::Disabled)
        .force_no_tty();
    table.set_header([
        "csu",
        "days",
        "collected",
        "otherwise",
        "last tvl_usd",
        "mean tvl_usd",
        "over days",
        "utilization",
        "liq_count",
        "scanned days",
        "liq_debt_usd",
    ]);
    let usd = |value: Option<f64>| value.map_or_else(dash, |value| separated(value, 0));
    let line = |name: &str, last: Option<f64>, of: &Figures| {
        [
            name.to_owned(),
            of.rows.to_string(),
            of.collected().to_string(),
            of.not_collected(),
            usd(last),
            usd(of.mean_tvl_usd),
            of.rows_with_tvl.to_string(),
            of.utilization.map_or_else(dash, |value| format!("{value:.4}")),
            of.liquidations.map_or_else(dash, |count| count.to_string()),
            of.rows_scanned.to_string(),
            usd(of.liq_debt_usd),
        ]
    };
    for csu in &summary.csus {
        table.add_row(line(&csu.csu, csu.last_tvl_usd, &csu.figures));
    }
    table.add_row(line("all", None, &summary.all));
    for (at, column) in table.column_iter_mut().enumerate() {
        if at != 0 && at != 3 {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    format!(
        "{table}\n{} CSUs, {} to {}: {} of {} rows collected, {} days whole",
        summary.csus.len(),
        summary.from,
        summary.to,
        summary.all.collected(),
        summary.all.rows,
        summary.whole_days
    )
}
