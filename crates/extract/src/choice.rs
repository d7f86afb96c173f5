//! Which of a run's tasks are done: all that are missing, unless the command line says otherwise.

use lake::day::Day;
use lake::ledger::LedgerEntry;
use std::collections::BTreeSet;

/// Which of the missing tasks are done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Which {
    /// All of them.
    #[default]
    All,
    /// Those that were tried and failed, in part or in whole.
    Failed,
    /// Those that nobody has tried, or that were put off: a day that was not final, a key that was spent.
    Untried,
}

/// Which of a run's tasks are done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Choice {
    /// Which of the missing tasks.
    pub which: Which,
    /// Days that are collected anew, though they are there.
    pub forced: BTreeSet<Day>,
}

impl Choice {
    /// Whether a day is collected anew.
    pub fn forces(&self, day: Day) -> bool {
        self.forced.contains(&day)
    }

    /// Whether a missing task is left out, by what the ledger remembers of it.
    pub fn leaves_out(&self, day: Day, entry: Option<&LedgerEntry>) -> bool {
        let has_failed = entry.is_some_and(|entry| entry.status.is_tried_and_missing());
        match self.which {
            _ if self.forces(day) => false,
            Which::All => false,
            Which::Failed => !has_failed,
            Which::Untried => has_failed,
        }
    }
}
