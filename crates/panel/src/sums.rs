//! Sums that do not depend on the machine.
//!
//! Floating-point addition is not associative, and a lazy `group_by` adds partial sums of as many pieces as there are
//! threads. So polars does what does not depend on order (filters, joins, products, sorting), the rows of a CSU-day
//! are brought to stand together, and [`Runs`] adds them one by one, in the order of the table's key.

use polars::prelude::*;
use std::ops::Range;

/// A CSU, by its place among the run's CSUs, and a day number (days since 1970-01-01).
pub(crate) type CsuDay = (u32, i32);

/// What is known of CSU-days. It is looked up, never walked through: its order is another in every process.
pub(crate) type ByCsuDay<T> = PlHashMap<CsuDay, T>;

/// Name of the keys of [`CsuDay`], in frames.
pub(crate) const CSU_DAY: [&str; 2] = ["csu_at", "date"];

/// Runs of rows with equal keys, in a frame where such rows stand together.
pub(crate) struct Runs {
    /// Where each run begins, and the height of the frame.
    bounds: Vec<usize>,
}

impl Runs {
    /// The runs of equal `keys` (text, Int32, UInt32 or Int64).
    pub(crate) fn of(frame: &DataFrame, keys: &[&str]) -> PolarsResult<Self> {
        let whole = if frame.height() == 0 { vec![0] } else { vec![0, frame.height()] };
        Self { bounds: whole }.by(frame, keys)
    }

    /// The runs within these, of rows that are equal in further `keys`, too.
    pub(crate) fn by(&self, frame: &DataFrame, keys: &[&str]) -> PolarsResult<Self> {
        let mut begins = vec![false; frame.height()];
        for run in self.ranges() {
            if let Some(begin) = begins.get_mut(run.start) {
                *begin = true;
            }
        }
        for key in keys {
            each_pair(frame.column(key)?, |row, ordering| {
                if let Some(begins) = begins.get_mut(row) {
                    *begins |= ordering.is_ne();
                }
            })?;
        }
        let mut bounds: Vec<usize> =
            begins.iter().enumerate().filter_map(|(row, begins)| begins.then_some(row)).collect();
        bounds.push(frame.height());
        Ok(Self { bounds })
    }

    /// How many runs there are.
    pub(crate) fn len(&self) -> usize {
        self.bounds.len() - 1
    }

    /// The rows of each run.
    pub(crate) fn ranges(&self) -> impl Iterator<Item = Range<usize>> {
        self.bounds.windows(2).map(|pair| pair[0]..pair[1])
    }

    /// The sum of each run, from its first row to its last.
    pub(crate) fn sums(&self, values: &[f64]) -> Vec<f64> {
        let of_run = |run: Range<usize>| {
            values.get(run).unwrap_or_default().iter().fold(0.0, |sum, value| sum + value)
        };
        self.ranges().map(of_run).collect()
    }

    /// How many rows of each run the condition holds for.
    pub(crate) fn counts(&self, condition: &[bool]) -> Vec<i32> {
        let of_run = |run: Range<usize>| count(condition.get(run).unwrap_or_default());
        self.ranges().map(of_run).collect()
    }

    /// How many of the `finer` runs within each run `counts`.
    pub(crate) fn counts_of(&self, finer: &Self, counts: impl Fn(Range<usize>) -> bool) -> Vec<i32> {
        let mut totals = Vec::with_capacity(self.len());
        let mut finer = finer.ranges().peekable();
        for run in self.ranges() {
            let mut total = 0;
            while let Some(part) = finer.next_if(|part| part.start < run.end) {
                total += i32::from(counts(part));
            }
            totals.push(total);
        }
        totals
    }
}

fn count(flags: &[bool]) -> i32 {
    // A run has as many rows as a CSU has reserves or legs in a day.
    flags.iter().fold(0, |count, flag| count + i32::from(*flag))
}

/// Calls `seen` with each row but the first, and how the column's value there compares with the one before.
fn each_pair(column: &Column, mut seen: impl FnMut(usize, std::cmp::Ordering)) -> PolarsResult<()> {
    fn pairs<T: Ord>(values: impl Iterator<Item = T>, seen: &mut impl FnMut(usize, std::cmp::Ordering)) {
        let mut before = None;
        for (row, value) in values.enumerate() {
            if let Some(before) = &before {
                seen(row, value.cmp(before));
            }
            before = Some(value);
        }
    }
    match column.dtype() {
        DataType::String => pairs(column.str()?.iter(), &mut seen),
        DataType::Int32 => pairs(column.i32()?.iter(), &mut seen),
        DataType::UInt32 => pairs(column.u32()?.iter(), &mut seen),
        DataType::Int64 => pairs(column.i64()?.iter(), &mut seen),
        other => polars_bail!(ComputeError: "{}: no key is of type {other}", column.name()),
    }
    Ok(())
}

/// The frame in ascending order of `keys`, sorted only where it is not: silver's files are in order of their key.
pub(crate) fn in_order(frame: DataFrame, keys: &[&str]) -> PolarsResult<DataFrame> {
    if is_in_order(&frame, keys)? {
        return Ok(frame);
    }
    frame.sort(keys.iter().copied(), SortMultipleOptions::default().with_maintain_order(true))
}

/// Whether the frame is in ascending order of `keys`.
pub(crate) fn is_in_order(frame: &DataFrame, keys: &[&str]) -> PolarsResult<bool> {
    // Whether an earlier key has settled that a row comes after the one before it.
    let mut is_settled = vec![false; frame.height()];
    let mut in_order = true;
    for key in keys {
        each_pair(frame.column(key)?, |row, ordering| {
            if let Some(settled) = is_settled.get_mut(row).filter(|settled| !**settled) {
                in_order &= ordering.is_ge();
                *settled = ordering.is_gt();
            }
        })?;
        if !in_order {
            break;
        }
    }
    Ok(in_order)
}

/// How an amount is spread over names (tokens, liquidators).
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Shares {
    total: f64,
    squares: f64,
    largest: f64,
}

impl Shares {
    /// From the parts, in an order that does not change.
    pub(crate) fn of(parts: impl IntoIterator<Item = f64>) -> Self {
        parts.into_iter().fold(Self::default(), |shares, part| Self {
            total: shares.total + part,
            squares: shares.squares + part * part,
            largest: shares.largest.max(part),
        })
    }

    /// Herfindahl index, 0..1; null when there is nothing to spread.
    pub(crate) fn hhi(self) -> Option<f64> {
        (self.total > 0.0).then(|| (self.squares / (self.total * self.total)).min(1.0))
    }

    /// Share of the largest name, 0..1; null when there is nothing to spread.
    pub(crate) fn top1(self) -> Option<f64> {
        (self.total > 0.0).then(|| (self.largest / self.total).min(1.0))
    }
}

/// The values of a Float64 column; what is null adds nothing.
pub(crate) fn floats(frame: &DataFrame, name: &str) -> PolarsResult<Vec<f64>> {
    let column = frame.column(name)?.f64()?.fill_null_with_values(0.0)?;
    Ok(column.into_no_null_iter().collect())
}

/// The values of a Boolean column; what is null is not so.
pub(crate) fn flags(frame: &DataFrame, name: &str) -> PolarsResult<Vec<bool>> {
    let column = frame.column(name)?.bool()?.fill_null_with_values(false)?;
    Ok(column.downcast_iter().flat_map(|values| values.values_iter()).collect())
}

/// The values of a text column.
pub(crate) fn texts<'a>(frame: &'a DataFrame, name: &str) -> PolarsResult<Vec<Option<&'a str>>> {
    Ok(frame.column(name)?.str()?.iter().collect())
}

/// CSU and day of each row. The columns are those of [`CSU_DAY`] and hold no null.
pub(crate) fn csu_days(frame: &DataFrame) -> PolarsResult<Vec<CsuDay>> {
    let [csu_at, date] = CSU_DAY;
    let pairs = frame.column(csu_at)?.u32()?.iter().zip(frame.column(date)?.i32()?.iter());
    pairs
        .map(|pair| match pair {
            (Some(csu), Some(date)) => Ok((csu, date)),
            _ => Err(polars_err!(ComputeError: "a row has no csu or no date")),
        })
        .collect()
}

/// The value where the condition holds, null elsewhere.
pub(crate) fn only_if(condition: Expr, value: Expr) -> Expr {
    when(condition).then(value).otherwise(lit(NULL))
}

/// Cells of a small frame, by name and row.
pub(crate) struct Cells<'a>(pub(crate) &'a DataFrame);

impl Cells<'_> {
    pub(crate) fn rows(&self) -> Range<usize> {
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame() -> DataFrame {
        df!(
            "csu_at" => [0_u32, 0, 0, 1],
            "date" => [1_i32, 1, 2, 2],
            "token" => ["a", "b", "b", "b"],
            "x" => [Some(1e16), Some(1.0), None, Some(-2.0)],
        )
        .unwrap()
    }

    #[test]
    fn runs_of_equal_keys_are_summed_in_order() {
        let frame = frame();
        let runs = Runs::of(&frame, &CSU_DAY).unwrap();
        assert_eq!(runs.ranges().collect::<Vec<_>>(), [0..2, 2..3, 3..4]);
        assert_eq!(runs.sums(&floats(&frame, "x").unwrap()), [1e16, 0.0, -2.0]);
        assert_eq!(runs.counts(&[true, true, false, true]), [2, 0, 1]);
        let finer = Runs::of(&frame, &["csu_at", "date", "token"]).unwrap();
        assert_eq!(runs.counts_of(&finer, |part| part.start != 1), [1, 1, 1]);
    }

    #[test]
    fn no_rows_have_no_runs() {
        let runs = Runs::of(&frame().head(Some(0)), &CSU_DAY).unwrap();
        assert_eq!((runs.len(), runs.sums(&[]).len()), (0, 0));
    }

    #[test]
    fn a_float_is_no_key() {
        assert!(Runs::of(&frame(), &["x"]).is_err());
    }

    #[test]
    fn shares_of_nothing_are_null_and_others_at_most_one() {
        assert_eq!((Shares::of([]).hhi(), Shares::of([0.0]).top1()), (None, None));
        assert_eq!((Shares::of([3.0]).hhi(), Shares::of([3.0]).top1()), (Some(1.0), Some(1.0)));
        assert_eq!(Shares::of([1.0, 3.0]).top1(), Some(0.75));
    }

    proptest! {
        #[test]
        fn what_is_in_order_is_left_alone_and_the_rest_is_sorted(rows in prop::collection::vec((0_u32..3, 0_i32..3, "[ab]{1,2}"), 0..20)) {
            let build = |rows: &[(u32, i32, String)]| df!(
                "csu_at" => rows.iter().map(|row| row.0).collect::<Vec<_>>(),
                "date" => rows.iter().map(|row| row.1).collect::<Vec<_>>(),
                "token" => rows.iter().map(|row| row.2.clone()).collect::<Vec<_>>(),
            ).unwrap();
            let keys = ["csu_at", "date", "token"];
            let mut sorted = rows.clone();
            sorted.sort();
            prop_assert_eq!(is_in_order(&build(&rows), &keys).unwrap(), rows == sorted);
            prop_assert_eq!(in_order(build(&rows), &keys).unwrap(), build(&sorted));
        }
    }
}
