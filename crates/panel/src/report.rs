//! `panel report`: the state of a panel as one HTML file that needs nothing else.
//!
//! Pages are filled by askama, which escapes whatever it puts in: words that come from a chain (symbols, messages) stay
//! words. Tables hold every figure; the charts are drawn from these tables by Observable Plot, which lies in the file.
//! A content security policy allows that one script, by its digest, and no connection at all.
//!
//! The file is a function of the lake: the same gold, silver, checks and run report give the same bytes.

use crate::findings::{Check, FindingsError, findings};
use crate::numbers;
use crate::rows::{Rows, RowsError};
use askama::Template;
use base64::Engine as _;
use lake::run::Run;
use lake::schema::Row;
use lake::schema::gold::PanelDaily;
use lake::store::{Lake, StoreError};
use sha2::{Digest, Sha256};

mod bill;
mod charts;
mod checks;
mod coverage;
mod csus;
mod facts;

use bill::Bill;
use charts::Part;
use checks::CheckPart;
use coverage::{RunOfDays, StateKey};
use csus::CsuPart;
use facts::{Facts, Silver};

const CSS: &str = include_str!("../assets/report/report.css");
/// Charts and the libraries that draw them, in the order in which they must run.
const SCRIPTS: [&str; 3] = [
    include_str!("../assets/report/vendor/d3.min.js"),
    include_str!("../assets/report/vendor/plot.umd.min.js"),
    include_str!("../assets/report/report.js"),
];
const LICENCES: [(&str, &str); 2] = [
    ("D3", include_str!("../assets/report/vendor/d3.LICENSE")),
    ("Observable Plot", include_str!("../assets/report/vendor/plot.LICENSE")),
];

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// Gold or silver could not be read.
    #[error(transparent)]
    Rows(#[from] RowsError),
    /// Findings could not be read.
    #[error(transparent)]
    Findings(#[from] FindingsError),
    /// The object store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Gold has nothing of the run.
    #[error(
        "the panel in the lake at {location} has no row of this run ({days})\nhint: run `panel build` (make gold) for it first"
    )]
    NoRow {
        /// The lake.
        location: String,
        /// Days of the run.
        days: String,
    },
    /// The page could not be filled.
    #[error("cannot fill the report: {0}")]
    Page(#[from] askama::Error),
}

#[derive(Template)]
#[template(path = "report.html")]
struct Page<'a> {
    css: &'static str,
    script: String,
    script_digest: String,
    licences: String,
    run: &'a str,
    from: String,
    to: String,
    zone: &'a str,
    n_csus: usize,
    n_rows: String,
    tiles: Vec<Tile>,
    states: Vec<StateKey>,
    coverage: Vec<RunOfDays>,
    has_reasons: bool,
    parts: Vec<Part>,
    n_checks: usize,
    checks: Vec<CheckPart>,
    csus: Vec<CsuPart>,
    bill: Bill,
    code_version: &'static str,
    schema_version: &'static str,
    release: String,
    registry_hash: String,
}

/// A headline figure.
struct Tile {
    id: &'static str,
    label: &'static str,
    value: String,
    note: String,
}

/// The report of a run's panel.
///
/// # Errors
/// [`ReportError`].
pub async fn report(run: &Run, lake: &Lake) -> Result<String, ReportError> {
    let gold = Rows::of_gold(lake).await?;
    let gold =
        gold.rows_where(|csu, date| run.csus.iter().any(|of_run| of_run == csu) && run.days.contains(date))?;
    if gold.height() == 0 {
        return Err(ReportError::NoRow { location: lake.location().to_owned(), days: run.days.to_string() });
    }
    let facts = Facts::read(&gold)?;
    let silver = Silver::read(run, lake, &facts).await?;
    let (found, n_checks) = findings(lake).await?;
    let coverage = coverage::runs_of_days(&facts, &silver);
    let script = SCRIPTS.join("\n");
    let page = Page {
        css: CSS,
        script_digest: base64::engine::general_purpose::STANDARD.encode(Sha256::digest(script.as_bytes())),
        script,
        licences: LICENCES.map(|(name, text)| format!("{name}\n\n{text}")).join("\n\n"),
        run: &run.name,
        from: facts.first().to_string(),
        to: facts.last().to_string(),
        zone: run.zone.name(),
        n_csus: facts.csus().len(),
        n_rows: numbers::whole(gold.height()),
        tiles: tiles(&facts, &found, n_checks),
        states: coverage::key(&facts),
        coverage,
        has_reasons: silver.has_coverage,
        parts: charts::parts(&facts),
        n_checks,
        checks: found.into_iter().map(CheckPart::of).collect(),
        csus: csus::parts(run, &facts, &silver),
        bill: Bill::read(run, lake).await?,
        code_version: env!("CARGO_PKG_VERSION"),
        schema_version: PanelDaily::TABLE.version,
        release: facts.releases.join(", "),
        registry_hash: facts.registries.join(", "),
    };
    Ok(page.render()?)
}

fn tiles(facts: &Facts, found: &[Check], n_checks: usize) -> Vec<Tile> {
    let done = facts.rows.iter().filter(|row| row.is_done()).count();
    let best = facts.best_day();
    let (errors, warnings): (Vec<_>, Vec<_>) =
        found.iter().partition(|check| check.level == lake::status::CheckLevel::Error);
    let liquidations: i64 = facts.rows.iter().filter_map(|row| row.liq_count).map(i64::from).sum();
    let repaid: f64 = facts.rows.iter().filter_map(|row| row.liq_debt_usd).sum();
    let unpriced =
        facts.rows.iter().filter(|row| row.liq_count.is_some() && row.liq_debt_usd.is_none()).count();
    let mut tiles = vec![Tile {
        id: "coverage",
        label: "of the CSU-days are done",
        value: numbers::percent(done as f64 / facts.rows.len().max(1) as f64),
        note: format!("{} of {}", numbers::whole(done), numbers::whole(facts.rows.len())),
    }];
    if let Some(day) = best {
        let of_day: Vec<_> = facts.rows.iter().filter(|row| row.date == day.date).collect();
        let sum =
            |value: fn(&facts::Fact) -> Option<f64>| of_day.iter().filter_map(|row| value(row)).sum::<f64>();
        let (tvl, borrowed) = (sum(|row| row.tvl_usd), sum(|row| row.borrowed_usd));
        let supplied = sum(|row| row.supplied_usd);
        let note = format!("{}, {} of {} CSUs", day.date, day.measured, day.expected);
        tiles.push(Tile {
            id: "tvl",
            label: "TVL, gross",
            value: numbers::short_usd(tvl),
            note: note.clone(),
        });
        tiles.push(Tile {
            id: "borrowed",
            label: "borrowed",
            value: numbers::short_usd(borrowed),
            note: if supplied > 0.0 {
                format!("{} of what is supplied", numbers::percent(borrowed / supplied))
            } else {
                note
            },
        });
    }
    tiles.push(Tile {
        id: "liquidations",
        label: "liquidations",
        value: numbers::whole(liquidations),
        note: match unpriced {
            0 => format!("{} of debt repaid", numbers::short_usd(repaid)),
            days => format!(
                "{} of debt repaid, without {days} CSU-days that lack a price",
                numbers::short_usd(repaid)
            ),
        },
    });
    tiles.push(Tile {
        id: "checks",
        label: "checks with failing rows",
        value: if n_checks == 0 { numbers::NULL.to_owned() } else { numbers::whole(found.len()) },
        note: if n_checks == 0 {
            "no check was run".to_owned()
        } else {
            format!("{} error, {} warn", errors.len(), warnings.len())
        },
    });
    tiles
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_script_ends_itself_early() {
        for script in SCRIPTS {
            assert!(!script.to_ascii_lowercase().contains("</script"));
            assert!(!script.contains("<!--"));
        }
    }

    #[test]
    fn the_libraries_are_those_that_npm_has() {
        // Digests of d3 7.9.2 and @observablehq/plot 0.6.17; `make report-assets` fetches them again and compares.
        let listed = include_str!("../assets/report/vendor/SHA256SUMS");
        for (name, text) in [("d3.min.js", SCRIPTS[0]), ("plot.umd.min.js", SCRIPTS[1])] {
            let line = format!("{}  {name}", lake::digest::sha256_hex(text.as_bytes()));
            assert!(listed.lines().any(|listed| listed == line), "{line}");
        }
    }
}
