//! Sums that do not depend on the machine.
//!
//! Floating-point addition is not associative, and a lazy `group_by` adds partial sums of as many pieces as there are
//! threads. So polars does everything here whose result does not depend on order (filters, joins, counts, maxima),
//! and floats are added by [`ordered_sums`] alone: one by one, in the order of the table's key.

use polars::prelude::*;

/// A CSU and a day number (days since 1970-01-01).
pub(crate) type CsuDay = (String, i32);

/// Name of the keys of [`CsuDay`], in frames.
pub(crate) const CSU_DAY: [&str; 2] = ["csu", "date"];

/// One row for each run of equal keys, with the sums of the columns; nulls add nothing.
///
/// The frame must be sorted by `keys` first, then by what settles the order of addition.
pub(crate) fn ordered_sums(sorted: &DataFrame, keys: &[&str], columns: &[&str]) -> PolarsResult<DataFrame> {
    let group_of_row = groups(sorted, keys)?;
    let mut heads: Vec<IdxSize> = Vec::new();
    for (row, group) in group_of_row.iter().enumerate() {
        if *group == heads.len() {
            heads.push(row as IdxSize);
        }
    }
    let names = keys.to_vec();
    let mut summed =
        sorted.select(names)?.take(&IdxCa::from_vec(PlSmallStr::from_static("head"), heads.clone()))?;
    for name in columns {
        let mut totals = vec![0.0_f64; heads.len()];
        for (value, group) in sorted.column(name)?.f64()?.iter().zip(&group_of_row) {
            if let (Some(value), Some(total)) = (value, totals.get_mut(*group)) {
                *total += value;
            }
        }
        summed = summed.hstack(&[Column::new((*name).into(), totals)])?;
    }
    Ok(summed)
}

/// For each row, the number of its run of equal keys.
fn groups(sorted: &DataFrame, keys: &[&str]) -> PolarsResult<Vec<usize>> {
    let mut is_head = vec![false; sorted.height()];
    for key in keys {
        let column = sorted.column(key)?;
        let mut previous = None;
        for (row, head) in is_head.iter_mut().enumerate() {
            let value = column.get(row)?;
            *head |= previous.as_ref() != Some(&value);
            previous = Some(value);
        }
    }
    let mut groups = Vec::with_capacity(is_head.len());
    let mut next = 0;
    for head in is_head {
        next += usize::from(head);
        groups.push(next - 1);
    }
    Ok(groups)
}

/// Cells of a frame, by name and row.
pub(crate) struct Cells<'a>(pub(crate) &'a DataFrame);

impl Cells<'_> {
    pub(crate) fn rows(&self) -> std::ops::Range<usize> {
        0..self.0.height()
    }

    pub(crate) fn text(&self, name: &str, row: usize) -> PolarsResult<Option<String>> {
        Ok(self.0.column(name)?.str()?.get(row).map(str::to_owned))
    }

    pub(crate) fn float(&self, name: &str, row: usize) -> PolarsResult<Option<f64>> {
        Ok(self.0.column(name)?.f64()?.get(row))
    }

    pub(crate) fn long(&self, name: &str, row: usize) -> PolarsResult<Option<i64>> {
        Ok(self.0.column(name)?.i64()?.get(row))
    }

    pub(crate) fn int(&self, name: &str, row: usize) -> PolarsResult<Option<i32>> {
        Ok(self.0.column(name)?.i32()?.get(row))
    }

    pub(crate) fn boolean(&self, name: &str, row: usize) -> PolarsResult<Option<bool>> {
        Ok(self.0.column(name)?.bool()?.get(row))
    }

    /// The sum or count of a column that is never null.
    pub(crate) fn amount(&self, name: &str, row: usize) -> PolarsResult<f64> {
        Ok(self.float(name, row)?.unwrap_or_default())
    }

    /// A count that polars gives as Int64.
    pub(crate) fn count(&self, name: &str, row: usize) -> PolarsResult<i32> {
        let count = self.long(name, row)?.unwrap_or_default();
        i32::try_from(count).map_err(|_| polars_err!(ComputeError: "{name}: {count} rows do not fit"))
    }

    pub(crate) fn csu_day(&self, row: usize) -> PolarsResult<CsuDay> {
        match (self.text("csu", row)?, self.int("date", row)?) {
            (Some(csu), Some(day)) => Ok((csu, day)),
            _ => Err(polars_err!(ComputeError: "a row has no csu or no date")),
        }
    }
}

/// How many rows of the group the condition holds for.
pub(crate) fn how_many(condition: Expr) -> Expr {
    condition.cast(DataType::Int64).sum()
}

/// The value where the condition holds, null elsewhere.
pub(crate) fn only_if(condition: Expr, value: Expr) -> Expr {
    when(condition).then(value).otherwise(lit(NULL))
}

/// Ascending sort that leaves nothing to chance.
pub(crate) fn sorted_by(frame: LazyFrame, columns: &[&str]) -> LazyFrame {
    frame.sort(
        columns.iter().map(|name| PlSmallStr::from(*name)).collect::<Vec<_>>(),
        SortMultipleOptions::default().with_maintain_order(true),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_equal_keys_are_summed_in_order() {
        let frame = df!(
            "csu" => ["a", "a", "a", "b"],
            "date" => [1_i32, 1, 2, 2],
            "x" => [Some(1e16), Some(1.0), None, Some(-2.0)],
        )
        .unwrap();
        let sums = ordered_sums(&frame, &CSU_DAY, &["x"]).unwrap();
        let expected =
            df!("csu" => ["a", "a", "b"], "date" => [1_i32, 2, 2], "x" => [1e16, 0.0, -2.0]).unwrap();
        assert_eq!(sums, expected);
    }

    #[test]
    fn no_rows_give_no_sums() {
        let frame = df!("csu" => [""; 0], "date" => [0_i32; 0], "x" => [0.0; 0]).unwrap();
        assert_eq!(ordered_sums(&frame, &CSU_DAY, &["x"]).unwrap().height(), 0);
    }
}
