//! G10, second half: rows and nulls of each CSU-month, against a file in git.
//!
//! The file is CSV: `csu,month,rows,collected,nulls`, one line a CSU-month; `nulls` counts the nulls of each column that has
//! some, as `name=count` separated by blanks. A change of gold that loses rows or figures cannot pass unseen: the file
//! changes with it, in the same commit, with a reason.

use super::gold::Gold;
use super::{CheckError, OfGold, Subject};
use lake::failure::Failure;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Why a file of expectations cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExpectError {
    /// It cannot be read or written.
    #[error("cannot {action} the expectations {}: {source}\nhint: `panel check --expect FILE --bless` writes the file from gold as it is", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// It is no file of expectations.
    #[error("{}: {why}\nhint: its lines are {HEADER}; `panel check --expect FILE --bless` writes them from gold as it is", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
}

const HEADER: &str = "csu,month,rows,collected,nulls";

/// Counts of one CSU-month.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Counts {
    rows: u64,
    collected: u64,
    nulls: BTreeMap<String, u64>,
}

type Months = BTreeMap<(String, String), Counts>;

fn counts(gold: &Gold) -> Months {
    let mut months = Months::new();
    let status = gold.texts("status");
    let there: Vec<(&str, Vec<bool>)> = (gold.columns().iter())
        .filter(|column| column.nullable)
        .map(|column| (column.name, gold.is_there(column.name)))
        .collect();
    for row in 0..gold.height() {
        let of = months.entry((gold.csus[row].clone(), gold.days[row].month())).or_default();
        of.rows += 1;
        of.collected += u64::from(status[row] == Some("collected"));
        for (name, _) in there.iter().filter(|(_, there)| !there[row]) {
            *of.nulls.entry((*name).to_owned()).or_default() += 1;
        }
    }
    months
}

/// Writes the file from gold as it is.
pub(super) fn write(gold: &Gold, path: &Path) -> Result<usize, ExpectError> {
    let months = counts(gold);
    let mut text = format!("{HEADER}\n");
    for ((csu, month), of) in &months {
        let nulls: Vec<String> = of.nulls.iter().map(|(name, nulls)| format!("{name}={nulls}")).collect();
        text += &format!("{csu},{month},{},{},{}\n", of.rows, of.collected, nulls.join(" "));
    }
    std::fs::write(path, text).map_err(|source| ExpectError::File {
        action: "write",
        path: path.to_owned(),
        source,
    })?;
    Ok(months.len())
}

fn read(path: &Path) -> Result<Months, ExpectError> {
    let text = std::fs::read_to_string(path).map_err(|source| ExpectError::File {
        action: "read",
        path: path.to_owned(),
        source,
    })?;
    let mut lines = (1_usize..).zip(text.lines());
    let malformed = |why: String| ExpectError::Malformed { path: path.to_owned(), why };
    if lines.next().is_none_or(|(_, header)| header != HEADER) {
        return Err(malformed("the first line is not the heading".to_owned()));
    }
    let mut months = Months::new();
    for (number, line) in lines {
        let wrong = || malformed(format!("line {number} cannot be read: `{line}`"));
        let [csu, month, rows, collected, nulls] =
            line.split(',').collect::<Vec<_>>().try_into().map_err(|_| wrong())?;
        let count = |text: &str| text.parse::<u64>().map_err(|_| wrong());
        let null = |text: &str| {
            let (name, nulls) = text.split_once('=').ok_or_else(wrong)?;
            Ok((name.to_owned(), count(nulls)?))
        };
        let of = Counts {
            rows: count(rows)?,
            collected: count(collected)?,
            nulls: nulls.split_whitespace().map(null).collect::<Result<_, ExpectError>>()?,
        };
        if months.insert((csu.to_owned(), month.to_owned()), of).is_some() {
            return Err(malformed(format!("line {number}: {csu} has {month} twice")));
        }
    }
    Ok(months)
}

/// Compares; without a file there is nothing to compare.
pub(super) fn compare(subject: &Subject<'_>) -> Result<Vec<Failure>, CheckError> {
    let Some(path) = subject.expectations else { return Ok(Vec::new()) };
    let (mut expected, found) = (read(path)?, counts(subject.gold));
    let mut failures = Vec::new();
    for ((csu, month), found) in found {
        let failure = |column: &str, found: u64, expected: u64| Failure {
            csu: Some(csu.clone()),
            ..Failure::new(format!("{month}: not what the file of expectations says"))
                .column(column)
                .found_number(Some(found as f64))
                .expected_number(Some(expected as f64))
        };
        let of = expected.remove(&(csu.clone(), month.clone())).unwrap_or_default();
        if found.rows != of.rows {
            failures.push(failure("rows", found.rows, of.rows));
        }
        if found.collected != of.collected {
            failures.push(failure("collected", found.collected, of.collected));
        }
        let names: std::collections::BTreeSet<&String> = found.nulls.keys().chain(of.nulls.keys()).collect();
        for name in names {
            let nulls = |of: &Counts| of.nulls.get(name).copied().unwrap_or_default();
            if nulls(&found) != nulls(&of) {
                failures.push(failure(name, nulls(&found), nulls(&of)));
            }
        }
    }
    for ((csu, month), of) in expected {
        let failure = Failure::new(format!("{month}: the file of expectations has it, gold does not"));
        let failure = Failure { csu: Some(csu), ..failure };
        failures.push(failure.column("rows").found_number(Some(0.0)).expected_number(Some(of.rows as f64)));
    }
    Ok(failures)
}
