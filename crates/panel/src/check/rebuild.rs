//! G10, first half: the same silver gives the same rows, and a row is what its digest says.

use super::{CheckError, OfGold, Subject};
use crate::seal::{digests, seal};
use arrow_array::cast::AsArray;
use lake::day::Day;
use lake::failure::Failure;
use lake::schema::Row;
use lake::schema::gold::PanelDaily;
use std::collections::HashMap;

/// Builds the panel again, in memory, and compares digests; computes each row's digest from its own cells, too, so that an
/// edited cell is found even where the digest was left alone.
pub(super) fn rebuild(subject: &Subject<'_>) -> Result<Vec<Failure>, CheckError> {
    let mut again: HashMap<(String, Day), [String; 2]> = HashMap::new();
    for csu in subject.frame.csus() {
        let rows = subject.frame.rows(csu)?;
        let sealed = seal(&rows)?;
        let hashes = sealed.batch.column_by_name("row_hash").and_then(|array| array.as_string_opt::<i32>());
        for (row, hash) in rows.into_iter().zip(hashes.into_iter().flatten()) {
            let hash = hash.unwrap_or_default().to_owned();
            again.insert((row.csu, row.date), [row.inputs_hash, hash]);
        }
    }
    let gold = subject.gold;
    let mut failures = Vec::new();
    let own = digests(&PanelDaily::TABLE, &gold.batch)?;
    let names = ["inputs_hash", "row_hash"];
    let found = names.map(|name| gold.texts(name));
    for row in 0..gold.height() {
        if found[1][row] != Some(own[row].as_str()) {
            let failure =
                Failure::new("the row's cells have another digest: it was edited").of_row(gold, row);
            failures.push(failure.column("row_hash").found_text(found[1][row]).expected(&own[row]));
            continue;
        }
        let Some(expected) = again.get(&(gold.csus[row].clone(), gold.days[row])) else { continue };
        for ((name, found), expected) in names.iter().zip(&found).zip(expected) {
            if found[row] != Some(expected.as_str()) {
                let failure = Failure::new("silver, registry and program give another row").of_row(gold, row);
                failures.push(failure.column(name).found_text(found[row]).expected(expected));
            }
        }
    }
    Ok(failures)
}
