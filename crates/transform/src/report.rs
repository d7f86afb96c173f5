//! The outcome of a run in words, for a terminal or a log file.

use crate::build::{Gap, Summary};
use crate::missing::Wanted;
use comfy_table::{Cell, CellAlignment, Table, presets};
use std::fmt::{self, Write};

/// Gaps and objects that are named; the rest is counted.
const NAMED: usize = 20;

/// The report: what is missing first, what was built last.
///
/// # Errors
/// Only what writing to text reports, which is nothing.
pub fn text(summary: &Summary) -> Result<String, fmt::Error> {
    let mut text = String::new();
    section(&mut text, "missing", &summary.missing, |out, gap| write!(out, "{}", Line(gap)))?;
    if !summary.missing.is_empty() {
        writeln!(text, "hint: extract run tries again what is missing")?;
    }
    section(&mut text, "of no use", &summary.bad_objects, |out, bad| {
        write!(out, "{}: {}", bad.path, bad.why)
    })?;
    if !summary.bad_objects.is_empty() {
        writeln!(
            text,
            "hint: an object of no use stays until it is removed: look at it, move it out of the lake and run extract again"
        )?;
    }
    section(&mut text, "contradictions", &summary.contradictions, |out, words| write!(out, "{words}"))?;

    if summary.missing_prices > 0 {
        writeln!(text, "prices: {} are missing", summary.missing_prices)?;
        writeln!(
            text,
            "hint: transform missing-prices lists them, extract fill-prices asks an off-chain service"
        )?;
    }

    for month in &summary.months {
        match summary.built.get(month) {
            Some(reasons) => writeln!(text, "{month}: built: {}", reasons.join("; "))?,
            None => writeln!(text, "{month}: left as it is, nothing changed")?,
        }
    }
    let tasks: usize = summary.statuses.values().sum();
    let by_status: Vec<_> =
        summary.statuses.iter().map(|(status, count)| format!("{count} {status}")).collect();
    writeln!(
        text,
        "run {}: {} {tasks} tasks ({})",
        summary.run,
        summary.months.join(", "),
        by_status.join(", ")
    )?;
    for (table, rows) in &summary.rows {
        writeln!(text, "  {table:<12} {rows:>9} rows")?;
    }
    Ok(text)
}

/// The prices that are missing, as a table.
pub fn missing_prices(wanted: &[Wanted]) -> String {
    if wanted.is_empty() {
        return "no price is missing\n".to_owned();
    }
    let right = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);
    let amount = |amount: Option<f64>| amount.map_or("-".to_owned(), |amount| format!("{amount:.2}"));
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_header([
        "chain",
        "token",
        "symbol",
        "about USD",
        "CSU-days",
        "blocks",
        "tokens at most",
        "days",
        "why",
    ]);
    for one in wanted {
        let why: Vec<String> = one.why.iter().map(|(why, blocks)| format!("{why} {blocks}")).collect();
        table.add_row([
            Cell::new(&one.chain),
            Cell::new(&one.token),
            Cell::new(one.symbol.as_deref().unwrap_or("-")),
            right(amount(one.about_usd)),
            right(one.csu_days.to_string()),
            right(one.blocks.to_string()),
            right(amount(one.tokens)),
            Cell::new(format!("{} to {}", one.days.0, one.days.1)),
            Cell::new(why.join(", ")),
        ]);
    }
    format!("{table}\n")
}

fn section<T>(
    text: &mut String,
    title: &str,
    items: &[T],
    mut line: impl FnMut(&mut String, &T) -> fmt::Result,
) -> fmt::Result {
    if items.is_empty() {
        return Ok(());
    }
    writeln!(text, "{title}: {}", items.len())?;
    for item in items.iter().take(NAMED) {
        text.push_str("  ");
        line(text, item)?;
        text.push('\n');
    }
    if items.len() > NAMED {
        writeln!(text, "  ... and {} more (--json lists them all)", items.len() - NAMED)?;
    }
    Ok(())
}

struct Line<'a>(&'a Gap);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gap = self.0;
        write!(f, "{} {} {}: {}", gap.csu, gap.date, gap.dataset, gap.status)?;
        if let Some(reason) = gap.reason {
            write!(f, " ({reason})")?;
        }
        match &gap.message {
            Some(message) => write!(f, ": {message}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lake::status::{Dataset, Reason, Status};

    #[test]
    fn twenty_gaps_are_named_and_the_rest_counted() {
        let gap = Gap {
            csu: "aave_v3_x".into(),
            date: "2024-12-01".parse().unwrap(),
            dataset: Dataset::Tvl,
            status: Status::Failed,
            reason: Some(Reason::RateLimited),
            message: Some("slow down".into()),
        };
        let summary = Summary { run: "r".into(), missing: vec![gap; 25], ..Summary::default() };
        let text = text(&summary).unwrap();
        assert!(text.contains("missing: 25\n"), "{text}");
        let line = "  aave_v3_x 2024-12-01 tvl: failed (rate_limited): slow down\n";
        assert_eq!(text.matches(line).count(), 20, "{text}");
        assert!(text.contains("  ... and 5 more"), "{text}");
        assert!(!summary.is_complete());
    }
}
