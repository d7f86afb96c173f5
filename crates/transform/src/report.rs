//! The outcome of a run in words, for a terminal or a log file.

use crate::build::{Gap, Summary};
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
