//! Checks of the frame and of its columns: G1, G2, G9.

use super::{CheckError, OfGold, Subject};
use arrow_array::cast::AsArray;
use arrow_array::{Array, RecordBatch};
use lake::day::Day;
use lake::failure::Failure;
use lake::schema::Table;
use std::collections::{BTreeMap, BTreeSet};

/// Columns in the file are those of the table, in its order and types, and words are words.
pub(super) fn schema(table: &Table, batch: &RecordBatch) -> Vec<Failure> {
    let mut failures = Vec::new();
    let schema = batch.schema();
    for (at, column) in table.columns.iter().enumerate() {
        let wrong = |why: &str| Failure::new(format!("{}: {why}", table.name)).column(column.name);
        let Ok(have_at) = schema.index_of(column.name) else {
            failures.push(wrong("the codebook has the column, the file does not"));
            continue;
        };
        let (have, array) = (schema.field(have_at).data_type(), batch.column(have_at));
        let wanted = column.kind.data_type();
        if *have != wanted {
            let failure = wrong("the column is of another type");
            failures.push(failure.found(have).expected(wanted));
            continue;
        }
        if have_at != at {
            let place = |at: usize| Some(format!("column {}", at + 1));
            failures.push(
                wrong("the column stands elsewhere").found_text(place(have_at)).expected_text(place(at)),
            );
        }
        if !column.nullable && array.null_count() > 0 {
            let nulls = format!("{} nulls", array.null_count());
            failures.push(wrong("the column is never null").found(nulls));
        }
        if let Some(words) = array.as_string_opt::<i32>().filter(|_| !column.words.is_empty()) {
            let unknown: BTreeSet<&str> =
                words.iter().flatten().filter(|word| !column.words.contains(word)).collect();
            let failure = |word: &&str| wrong("not one of the column's words").found(*word);
            failures.extend(unknown.iter().map(failure));
        }
    }
    for field in schema.fields() {
        if !table.columns.iter().any(|column| column.name == field.name()) {
            let why = format!("{}: the file has the column, the codebook does not", table.name);
            failures.push(Failure::new(why).column(field.name()));
        }
    }
    failures
}

/// G1: rows are CSUs times days, each once; `csu` and `csu_num`, `date` and `day_num` are one to one.
pub(super) fn frame(subject: &Subject<'_>) -> Result<Vec<Failure>, CheckError> {
    let (run, gold) = (subject.run, subject.gold);
    let mut failures = Vec::new();
    let mut seen: BTreeMap<(&str, Day), usize> = BTreeMap::new();
    for (csu, day) in gold.csus.iter().zip(&gold.days) {
        *seen.entry((csu, *day)).or_default() += 1;
    }
    for csu in &run.csus {
        for day in run.days.days() {
            match seen.remove(&(csu.as_str(), day)).unwrap_or_default() {
                1 => {}
                0 => failures.push(Failure::new("the row is missing").csu(csu).date(day)),
                rows => failures.push(
                    Failure::new("the row is there more than once")
                        .csu(csu)
                        .date(day)
                        .found_number(Some(rows as f64))
                        .expected_number(Some(1.0)),
                ),
            }
        }
    }
    let foreign =
        seen.keys().map(|(csu, day)| Failure::new("the row is not of this run").csu(csu).date(*day));
    failures.extend(foreign);

    let (nums, day_nums) = (gold.numbers("csu_num"), gold.numbers("day_num"));
    let mut of_num: BTreeMap<i64, &str> = BTreeMap::new();
    for (row, num) in nums.iter().enumerate() {
        let csu = gold.csus[row].as_str();
        let expected = run.registry.csu(csu).map(|csu| f64::from(csu.num));
        let num = num.unwrap_or_default();
        let other = *of_num.entry(num as i64).or_insert(csu);
        if other != csu || expected.is_some_and(|expected| expected != num) {
            let failure = Failure::new(format!("csu_num is not the CSU's alone (also of {other})"));
            failures.push(
                failure.of_row(gold, row).column("csu_num").found_number(Some(num)).expected_number(expected),
            );
        }
        let expected = f64::from(gold.days[row].days_since_epoch());
        if day_nums[row] != Some(expected) {
            let failure = Failure::new("day_num is not that of the date").of_row(gold, row);
            failures
                .push(failure.column("day_num").found_number(day_nums[row]).expected_number(Some(expected)));
        }
    }
    Ok(failures)
}

/// G2: a CSU's days follow each other, in order.
pub(super) fn days(subject: &Subject<'_>) -> Result<Vec<Failure>, CheckError> {
    let gold = subject.gold;
    let mut failures = Vec::new();
    for row in 1..gold.height() {
        let (before, here) = (gold.days[row - 1], gold.days[row]);
        if gold.csus[row - 1] == gold.csus[row] && before.next() != here {
            let failure =
                Failure::new("the day does not follow the one before it").of_row(gold, row).column("date");
            failures.push(failure.found(here).expected(before.next()));
        } else if gold.csus[row - 1] > gold.csus[row] {
            failures.push(Failure::new("rows are not in order of csu").of_row(gold, row).column("csu"));
        }
    }
    Ok(failures)
}

/// Columns without any value. That may be right (a panel of one version of one family), and should be known.
pub(super) fn empty_columns(subject: &Subject<'_>) -> Result<Vec<Failure>, CheckError> {
    let gold = subject.gold;
    let is_empty = |name: &str| gold.height() > 0 && !gold.is_there(name).contains(&true);
    let failure = |column: &lake::schema::Column| {
        Failure::new(format!("null in all {} rows; null when {}", gold.height(), column.null_when))
            .column(column.name)
    };
    Ok(gold.columns().iter().filter(|column| is_empty(column.name)).map(failure).collect())
}
