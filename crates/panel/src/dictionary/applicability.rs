//! Which of gold's columns a family of contracts can fill: read, by estimate, or never.
//!
//! What a family cannot fill it says itself ([`Family::limits`], [`Family::gives`]); everything else it reads.

use lake::schema::gold::PanelDaily;
use lake::schema::{Column, Row};
use protocols::{BadDebt, Extent, FAMILIES, Family};
use std::fmt::Write as _;

/// How far a family fills a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Applies {
    /// `yes`, `estimated` or `never`.
    pub word: &'static str,
    /// Why no further; what `yes` leaves out. Empty where there is nothing to say.
    pub why: &'static str,
}

const YES: Applies = Applies { word: "yes", why: "" };

/// Columns that hang on the debt that a liquidation repaid.
const OF_DEBT: [&str; 5] =
    ["liq_debt_usd", "liq_bonus_usd", "liq_max_usd", "hhi_liquidators", "top1_liquidator_share"];

/// How far a family fills a column of `panel_daily`.
pub fn applies(family: &dyn Family, column: &str) -> Applies {
    if let Some(limit) = family.limits().iter().find(|limit| limit.column == column) {
        let word = match limit.extent {
            Extent::Estimated => "estimated",
            Extent::Never => "never",
        };
        return Applies { word, why: limit.why };
    }
    let gives = family.gives();
    let never = |why| Applies { word: "never", why };
    match column {
        "liq_borrowers" if !gives.borrower => never("its events name no borrower"),
        column if !gives.debt_amount && OF_DEBT.contains(&column) => {
            never("its events do not give the debt repaid")
        }
        "bad_debt_usd" => match gives.bad_debt {
            BadDebt::Event => YES,
            BadDebt::EventIfDeficit => {
                Applies { why: "only for contract versions that keep a figure for booked bad debt", ..YES }
            }
            BadDebt::Estimate => {
                Applies { word: "estimated", why: "computed from other figures of the event" }
            }
            BadDebt::None => never("its contracts do not tell"),
        },
        _ => YES,
    }
}

/// The columns that a family may not fill: all that can be null.
pub fn columns() -> impl Iterator<Item = &'static Column> {
    PanelDaily::TABLE.columns.iter().filter(|column| column.nullable)
}

/// Families of one word for a column, such as all that read it.
pub(super) fn families(column: &str, word: &str) -> Vec<&'static str> {
    let of_word = FAMILIES.iter().filter(|family| applies(**family, column).word == word);
    of_word.map(|family| family.name()).collect()
}

/// The matrix as a page: columns down, families across, then the reasons.
pub(super) fn page(generated: &str) -> String {
    let mut text = format!("{generated}# Applicability\n\n");
    text.push_str(
        "Which columns of [panel_daily](panel_daily.md) a family of contracts fills: `yes` (read), `estimated`, or `never` \
         (always null). Columns\nthat are never null are left out. An `*` has a reason below.\n\n| column |",
    );
    for family in FAMILIES {
        let _ = write!(text, " {} |", family.name());
    }
    text.push_str("\n|---|");
    text.push_str(&"---|".repeat(FAMILIES.len()));
    text.push('\n');
    for column in columns() {
        let _ = write!(text, "| `{}` |", column.name);
        for family in FAMILIES {
            let applies = applies(*family, column.name);
            let star = if applies.why.is_empty() { "" } else { " *" };
            let _ = write!(text, " {}{star} |", applies.word);
        }
        text.push('\n');
    }
    text.push_str("\n## Reasons\n\n| family | column | | why |\n|---|---|---|---|\n");
    for family in FAMILIES {
        for column in columns() {
            let Applies { word, why } = applies(*family, column.name);
            if !why.is_empty() {
                let why = super::escaped(why);
                let _ = writeln!(text, "| {} | `{}` | {word} | {why} |", family.name(), column.name);
            }
        }
    }
    text
}

/// The matrix for programs: one line a family and column.
pub(super) fn records() -> Vec<Vec<String>> {
    let mut records = vec![["family", "column", "applies", "why"].map(str::to_owned).to_vec()];
    for family in FAMILIES {
        for column in columns() {
            let Applies { word, why } = applies(*family, column.name);
            records.push([family.name(), column.name, word, why].map(str::to_owned).to_vec());
        }
    }
    records
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_familys_limits_are_of_columns_that_exist_and_can_be_null() {
        for family in FAMILIES {
            let mut seen = BTreeSet::new();
            for limit in family.limits() {
                let name = format!("{}: {}", family.name(), limit.column);
                let column = PanelDaily::TABLE.columns.iter().find(|column| column.name == limit.column);
                let column = column.unwrap_or_else(|| panic!("{name} is no column of panel_daily"));
                assert!(column.nullable, "{name} is never null, so a family cannot leave it out");
                assert!(seen.insert(limit.column), "{name} is limited twice");
                assert!(limit.why.len() > 10, "{name} has no reason");
            }
        }
    }

    #[test]
    fn what_a_family_says_twice_it_says_alike() {
        for family in FAMILIES {
            let (gives, name) = (family.gives(), family.name());
            for limit in family.limits() {
                match limit.column {
                    "liq_borrowers" => {
                        assert_eq!(gives.borrower, limit.extent == Extent::Estimated, "{name}")
                    }
                    "bad_debt_usd" if limit.extent == Extent::Never => {
                        assert_eq!(gives.bad_debt, BadDebt::None, "{name}");
                    }
                    "bad_debt_usd" => assert_eq!(gives.bad_debt, BadDebt::Estimate, "{name}"),
                    _ => {}
                }
            }
        }
    }

    #[test]
    fn what_follows_from_a_column_that_is_never_filled_is_never_filled() {
        let follow = [
            ("supplied_usd", vec!["tvl_usd", "tvl_net_usd", "utilization", "supply_apr", "hhi_supply"]),
            (
                "borrowed_usd",
                vec!["tvl_net_usd", "utilization", "borrow_apr", "hhi_borrow", "stable_borrow_share"],
            ),
            ("liq_debt_usd", OF_DEBT.to_vec()),
            ("liq_coll_usd", vec!["liq_bonus_usd"]),
        ];
        for family in FAMILIES {
            for (column, others) in &follow {
                let is_never = |column: &str| applies(*family, column).word == "never";
                for other in others.iter().filter(|_| is_never(column)) {
                    assert!(is_never(other), "{}: {other} follows from {column}", family.name());
                }
            }
        }
    }
}
