//! The status as one HTML page: no script, no network. Askama escapes whatever it puts in.

use super::{DayRun, RowStatus, RunStatus};
use crate::plan::with_separators;
use askama::Template;
use lake::status::{Reason, Status};
use std::collections::BTreeMap;

#[derive(Template)]
#[template(path = "status.html")]
struct Page {
    run: String,
    lake: String,
    from: String,
    to: String,
    percent: String,
    n_days: usize,
    tiles: Vec<Tile>,
    states: Vec<State>,
    rows: Vec<Row>,
    reasons: Vec<ReasonRow>,
    processes: Vec<ProcessRow>,
    keys: Vec<KeyRow>,
    written: String,
}

struct Tile {
    label: &'static str,
    value: String,
    note: String,
}

struct State {
    class: &'static str,
    words: &'static str,
    days: String,
}

struct Row {
    csu: String,
    dataset: &'static str,
    bars: Vec<Bar>,
    words: String,
    done: usize,
}

struct Bar {
    class: &'static str,
    at: usize,
    days: usize,
    words: String,
}

struct ReasonRow {
    status: &'static str,
    reason: &'static str,
    tasks: String,
    example: String,
    message: String,
}

struct ProcessRow {
    shard: String,
    began: String,
    updated: String,
    blocks: String,
    tasks: String,
    now: &'static str,
}

struct KeyRow {
    key: String,
    month: String,
    spent: String,
    left: String,
    unit: String,
}

/// Colours of the map, with their words, and the statuses that have them.
const STATES: &[(&str, &str, &[Status])] = &[
    ("done", "done", &[Status::Collected, Status::NoBlock]),
    ("partial", "some is missing", &[Status::Partial]),
    ("failed", "failed", &[Status::Failed]),
    ("archive", "no endpoint has the history", &[Status::ArchiveUnavailable]),
    ("untried", "not attempted", &[Status::NotAttempted]),
    (
        "never",
        "not deployed, retired or unsupported",
        &[Status::NotDeployed, Status::Retired, Status::Unsupported],
    ),
];

fn class(status: Status) -> &'static str {
    let known = STATES.iter().find(|(_, _, statuses)| statuses.contains(&status));
    known.map_or("untried", |(class, _, _)| class)
}

impl RunStatus {
    /// The status as one HTML page, complete in itself.
    ///
    /// # Errors
    /// Of the template.
    pub fn as_html(&self) -> Result<String, askama::Error> {
        let days_in = |statuses: &[Status]| {
            statuses
                .iter()
                .map(|status| self.tasks.get(status.as_str()).copied().unwrap_or_default())
                .sum::<usize>()
        };
        let states = STATES.iter().map(|&(class, words, statuses)| (class, words, days_in(statuses)));
        let states = states.filter(|(_, _, days)| *days > 0).map(|(class, words, days)| State {
            class,
            words,
            days: with_separators(days as u64),
        });
        let page = Page {
            run: self.run.clone(),
            lake: self.lake.clone(),
            from: self.days.0.to_string(),
            to: self.days.1.to_string(),
            percent: format!("{:.1}%", self.percent_shown()),
            n_days: self.rows.first().map_or(0, |row| row.runs.iter().map(|run| run.days).sum()),
            tiles: self.tiles(),
            states: states.collect(),
            rows: self.rows.iter().map(row).collect(),
            reasons: self.reason_rows(),
            processes: self.process_rows(),
            keys: self.key_rows(),
            written: jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC").to_string(),
        };
        page.render()
    }

    fn tiles(&self) -> Vec<Tile> {
        let number = |count: usize| with_separators(count as u64);
        let all: usize = self.tasks.values().sum();
        let whole = self.rows.iter().filter(|row| row.is_done()).count();
        let missing = self.rows.iter().map(|row| row.missing.len()).sum::<usize>();
        let rate = self.blocks_per_hour.map(|rate| with_separators(rate as u64));
        let left = self.hours_left.filter(|_| !self.is_done()).map(|hours| format!("{hours:.1} h"));
        vec![
            Tile {
                label: "CSUs and datasets that have everything",
                value: format!("{} of {}", number(whole), number(self.rows.len())),
                note: format!("{} tasks in all", number(all)),
            },
            Tile {
                label: "tried and missing",
                value: number(missing),
                note: "each with its reason below".to_owned(),
            },
            Tile {
                label: "blocks left",
                value: with_separators(self.blocks_left),
                note: rate
                    .map_or_else(|| "no rate was measured yet".to_owned(), |rate| format!("{rate} an hour")),
            },
            Tile {
                label: "time left",
                value: if self.is_done() {
                    "none".to_owned()
                } else {
                    left.unwrap_or_else(|| "not known".to_owned())
                },
                note: "at the measured rate".to_owned(),
            },
        ]
    }

    fn reason_rows(&self) -> Vec<ReasonRow> {
        let open: Vec<&RowStatus> = self.rows.iter().filter(|row| !row.is_done()).collect();
        let groups = super::groups(&open).into_iter();
        let row = |group: super::Group<'_>| ReasonRow {
            status: group.status.as_str(),
            reason: group.reason.map_or("not kept", Reason::as_str),
            tasks: with_separators(group.tasks as u64),
            example: format!("{} {} {}", group.row.csu, group.first.date, group.row.dataset),
            message: group.first.message.clone(),
        };
        groups.map(row).collect()
    }

    fn process_rows(&self) -> Vec<ProcessRow> {
        let row = |process: &crate::schedule::Progress| ProcessRow {
            shard: process.shard.clone().unwrap_or_else(|| "undivided".to_owned()),
            began: to_minutes(&process.began),
            updated: to_minutes(&process.updated),
            blocks: with_separators(process.blocks),
            tasks: with_separators(process.tasks),
            now: if process.ended { "has ended" } else { "at work" },
        };
        self.processes.iter().map(row).collect()
    }

    fn key_rows(&self) -> Vec<KeyRow> {
        let row = |key: &super::KeyStatus| KeyRow {
            key: key.key.clone(),
            month: key.month.clone(),
            spent: with_separators(key.spent),
            left: key.left.map_or_else(String::new, with_separators),
            unit: key.unit.clone().unwrap_or_else(|| "units".to_owned()),
        };
        self.keys.iter().map(row).collect()
    }
}

fn row(row: &RowStatus) -> Row {
    let mut at = 0;
    let bar = |run: &DayRun| {
        let reason = run.reason.map_or_else(String::new, |reason| format!(" ({reason})"));
        let days =
            if run.from == run.to { run.from.to_string() } else { format!("{} to {}", run.from, run.to) };
        let bar = Bar {
            class: class(run.status),
            at,
            days: run.days,
            words: format!("{days}: {}{reason}", run.status),
        };
        at += run.days;
        bar
    };
    let bars: Vec<Bar> = row.runs.iter().map(bar).collect();
    let counts: BTreeMap<&str, usize> = row.days.clone();
    let words: Vec<String> = counts.iter().map(|(status, days)| format!("{days} {status}")).collect();
    Row {
        csu: row.csu.clone(),
        dataset: row.dataset.as_str(),
        bars,
        words: words.join(", "),
        done: row.count(Status::Collected) + row.count(Status::NoBlock),
    }
}

/// `2025-01-07T18:00:00.123Z` without what nobody reads.
fn to_minutes(time: &str) -> String {
    let told = time.parse::<jiff::Timestamp>().map(|time| time.strftime("%Y-%m-%d %H:%M UTC").to_string());
    told.unwrap_or_else(|_| time.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::Missing;
    use lake::status::Dataset;

    #[test]
    fn words_that_came_from_a_chain_stay_words_and_nothing_is_loaded() {
        let evil = "<script>alert(1)</script><img src=https://evil.example/x>";
        let day = "2024-12-01".parse().unwrap();
        let failed =
            DayRun { status: Status::Failed, reason: Some(Reason::BadAnswer), from: day, to: day, days: 1 };
        let status = RunStatus {
            run: "x".into(),
            lake: "s3://b/\"onload=\"".into(),
            days: (day, day),
            tasks: BTreeMap::from([("failed", 1)]),
            percent: 0.0,
            blocks_left: 7_200,
            processes: Vec::new(),
            blocks_per_hour: None,
            hours_left: None,
            keys: Vec::new(),
            rows: vec![RowStatus {
                csu: "a_b".into(),
                dataset: Dataset::Tvl,
                days: BTreeMap::from([("failed", 1)]),
                missing: vec![Missing {
                    date: day,
                    status: Status::Failed,
                    reason: Some(Reason::BadAnswer),
                    message: evil.into(),
                }],
                runs: vec![failed],
            }],
        };
        let html = status.as_html().unwrap();
        assert!(!html.contains("<script") && !html.contains("<img") && !html.contains("\"onload="), "{html}");
        assert!(html.contains("&#60;script&#62;alert(1)"), "{html}");
        assert!(html.contains("default-src 'none'") && !html.contains("src=\"http"), "{html}");
        assert!(html.contains("<title>2024-12-01: failed (bad_answer)</title>"), "{html}");
    }
}
