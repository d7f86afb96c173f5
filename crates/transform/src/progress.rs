//! A bar for work that takes long, one step a month; nothing where stderr is no terminal.

use indicatif::{ProgressBar, ProgressStyle};
use std::collections::BTreeSet;

/// The bar of a run's months.
pub(crate) struct Months(ProgressBar);

/// A bar for these months.
pub(crate) fn months(months: impl Iterator<Item = String>) -> Months {
    let count = months.collect::<BTreeSet<_>>().len();
    let bar = ProgressBar::new(u64::try_from(count).unwrap_or(u64::MAX));
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} months {elapsed_precise} {msg}");
    // The template is the one above; if it were none, the plain bar serves as well.
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.tick();
    Months(bar)
}

impl Months {
    /// A month is done.
    pub(crate) fn done(&self, month: &str) {
        self.0.set_message(month.to_owned());
        self.0.inc(1);
    }

    /// Takes the bar away.
    pub(crate) fn clear(&self) {
        self.0.finish_and_clear();
    }
}
