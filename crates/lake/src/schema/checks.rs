//! What a check of a layer finds: one table for all checks, one file a check.

use super::table;
use crate::day::Day;
use crate::status::CheckLevel;

table! {
    /// One row, or one fact of a whole table, that fails a check.
    Finding = "finding", version "1.0.0", one row per "failure of a check" {
        key check: String, "", "Check that failed.";
        key number: i32, "", "Number of the failure within the check, from 1.";
        col level: CheckLevel, "", "error: the layer is wrong; warn: look at it.";
        col csu: Option<String>, "", "CSU of the row.", null "the failure is not of one CSU";
        col date: Option<Day>, "day", "Day of the row.", null "the failure is not of one day";
        col column: Option<String>, "", "Column at fault.", null "the failure is not of one column";
        col found: Option<String>, "", "What the table has.", null "it has nothing, or a null";
        col expected: Option<String>, "", "What it should have.", null "nothing, a null, or not one value";
        col why: String, "", "What is wrong, in words.";
    }
}
