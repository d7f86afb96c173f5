//! The check of a registry in words and a table, for a terminal.

use super::{CheckedRow, Code, RegistryReport, Shown, Soundness};
use crate::doctor::with_noun;
use crate::plan::{right, with_separators};
use comfy_table::{Cell, ContentArrangement, Table, presets};
use std::fmt::Write as _;

impl RegistryReport {
    /// The report in words and a table.
    pub fn in_words(&self) -> String {
        let mut text = format!("{}\n", self.table());
        let count = |of: Soundness| self.rows.iter().filter(|row| row.soundness == of).count();
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{}: {} as the registry says, {} not, {} not known",
            with_noun(self.rows.len() as u64, "row"),
            count(Soundness::Sound),
            count(Soundness::Wrong),
            count(Soundness::Unknown)
        );
        // Many rows share what is wrong with their chain.
        let mut told: Vec<(&str, Vec<&str>)> = Vec::new();
        for row in &self.rows {
            for finding in &row.findings {
                match told.iter_mut().find(|(known, _)| known == finding) {
                    Some((_, csus)) => csus.push(&row.csu),
                    None => told.push((finding, vec![&row.csu])),
                }
            }
        }
        for (finding, csus) in told {
            let others = match csus.len() {
                1 => String::new(),
                more => format!(" and {} more", more - 1),
            };
            let _ = writeln!(text, "{}{others}: {finding}", csus[0]);
        }
        text
    }

    fn table(&self) -> Table {
        let mut table = Table::new();
        table.set_content_arrangement(ContentArrangement::Dynamic);
        table.load_style(presets::UTF8_FULL_CONDENSED).set_header([
            "csu",
            "deployed in block",
            "code then",
            "code before",
            "looked at in block",
            "code there",
            "markets",
            "contracts that answer",
            "as the registry says",
        ]);
        let number = |number: Option<u64>| right(number.map_or_else(|| "-".to_owned(), with_separators));
        for row in &self.rows {
            table.add_row([
                Cell::new(&row.csu),
                number(row.deployed_block),
                Cell::new(code(&row.at_deployment)),
                Cell::new(code(&row.before_deployment)),
                number(row.block),
                Cell::new(code(&row.at_block)),
                number(row.markets.map(|markets| markets as u64)),
                right(answered(row)),
                Cell::new(match row.soundness {
                    Soundness::Sound => "yes",
                    Soundness::Wrong => "no",
                    Soundness::Unknown => "?",
                }),
            ]);
        }
        table
    }
}

fn code(code: &Code) -> &'static str {
    match code {
        Code::There => "yes",
        Code::None => "no",
        Code::NotAsked => "-",
        Code::Unknown(_) => "?",
    }
}

fn answered(row: &CheckedRow) -> String {
    let good = |shown: Shown| matches!(shown, Shown::Answered | Shown::HasCode);
    match row.roles.len() {
        0 => "-".to_owned(),
        all => format!("{} of {all}", row.roles.iter().filter(|role| good(role.shown)).count()),
    }
}
