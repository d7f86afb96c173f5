//! Usage warnings with stable codes: what to know before a column, or a CSU, is used.

use super::applicability::applies;
use lake::registry::{Csu, Registry, Verified};
use protocols::{FAMILIES, Family};
use std::fmt::Write as _;

/// Where a warning holds.
#[derive(Debug, Clone, Copy)]
pub enum Holds {
    /// For every CSU.
    Everywhere,
    /// For the CSUs of some families.
    Family(fn(&dyn Family) -> bool),
    /// For some CSUs.
    Csu(fn(&Csu) -> bool),
}

/// One warning.
#[derive(Debug, Clone, Copy)]
pub struct Warning {
    /// Code, which does not change.
    pub code: &'static str,
    /// What to know.
    pub meaning: &'static str,
    /// Columns that it is about.
    pub columns: &'static [&'static str],
    /// Where it holds.
    pub holds: Holds,
}

const FLOWS: &[&str] = &[
    "liq_count",
    "liq_event_count",
    "liq_tx_count",
    "liq_borrowers",
    "liq_liquidators",
    "liq_debt_usd",
    "liq_coll_usd",
    "liq_bonus_usd",
    "liq_max_usd",
    "bad_debt_usd",
];

/// Every warning, in order of code.
pub const WARNINGS: &[Warning] = &[
    Warning {
        code: "age_unknown",
        meaning: "The registry does not know the day of the deployment: age_days is null, and days before it are not_attempted.",
        columns: &["age_days", "status"],
        holds: Holds::Csu(|csu| csu.deployed_date.is_none()),
    },
    Warning {
        code: "audit_depends_on_collector",
        meaning: "How far a scan was checked hangs on the endpoints of whoever ran extract, and so does the digest of the row.",
        columns: &["liq_audit", "row_hash"],
        holds: Holds::Everywhere,
    },
    Warning {
        code: "bad_debt_by_version",
        meaning: "Only contract versions that keep a figure for booked bad debt tell of it; before the upgrade it is null, not 0.",
        columns: &["bad_debt_usd", "deficit_usd"],
        holds: Holds::Family(|family| {
            let applies = applies(family, "bad_debt_usd");
            applies.word == "yes" && !applies.why.is_empty()
        }),
    },
    Warning {
        code: "bad_debt_estimated",
        meaning: "Bad debt is computed from other figures of the event, not read.",
        columns: &["bad_debt_usd"],
        holds: Holds::Family(|family| applies(family, "bad_debt_usd").word == "estimated"),
    },
    Warning {
        code: "column_estimated",
        meaning: "The family fills some columns by an estimate: the applicability matrix has which, and how.",
        columns: &[],
        holds: Holds::Family(|family| limited(family, "estimated")),
    },
    Warning {
        code: "column_never",
        meaning: "The family never fills some columns: the applicability matrix has which, and why. Their nulls are no gaps.",
        columns: &[],
        holds: Holds::Family(|family| limited(family, "never")),
    },
    Warning {
        code: "day_end_stock",
        meaning: "Stocks, rates and shares are those of the day's last block, not means over the day.",
        columns: &["supplied_usd", "borrowed_usd", "tvl_usd", "utilization", "supply_apr", "borrow_apr"],
        holds: Holds::Everywhere,
    },
    Warning {
        code: "dst_day",
        meaning: "Two days a year have 23 and 25 hours: scale flows by 24 / day_hours where a rate per day matters.",
        columns: FLOWS,
        holds: Holds::Everywhere,
    },
    Warning {
        code: "events_are_logs",
        meaning: "A liquidation may have several logs, and a log of bad debt alone is no liquidation: count with liq_count.",
        columns: &["liq_event_count"],
        holds: Holds::Everywhere,
    },
    Warning {
        code: "gho_minted",
        meaning: "Some debt is minted by a facilitator, not lent (GHO): it is in minted_usd, outside borrowed_usd and utilization.",
        columns: &["minted_usd", "borrowed_usd", "utilization", "tvl_net_usd"],
        holds: Holds::Csu(|csu| !csu.minted_tokens.is_empty()),
    },
    Warning {
        code: "gross_tvl",
        meaning: "Gross of borrowing, as Messari counts; DefiLlama's TVL is tvl_net_usd.",
        columns: &["tvl_usd", "tvl_priced_usd"],
        holds: Holds::Everywhere,
    },
    Warning {
        code: "local_day",
        meaning: "Days are those of the run's zone (New York): merge with UTC series on the day's instants, not on the label.",
        columns: &["date", "day_num"],
        holds: Holds::Everywhere,
    },
    Warning {
        code: "no_bad_debt",
        meaning: "The contracts do not tell of bad debt.",
        columns: &["bad_debt_usd"],
        holds: Holds::Family(|family| applies(family, "bad_debt_usd").word == "never"),
    },
    Warning {
        code: "no_borrower",
        meaning: "The family's events do not name the borrower.",
        columns: &["liq_borrowers"],
        holds: Holds::Family(|family| applies(family, "liq_borrowers").word == "never"),
    },
    Warning {
        code: "no_debt_amount",
        meaning: "The family's events do not give the debt repaid; liquidations are counted all the same.",
        columns: &[
            "liq_debt_usd",
            "liq_bonus_usd",
            "liq_max_usd",
            "hhi_liquidators",
            "top1_liquidator_share",
        ],
        holds: Holds::Family(|family| applies(family, "liq_debt_usd").word == "never"),
    },
    Warning {
        code: "partial_value",
        meaning: "The value of what could be priced: where usd_status is not complete it is less than the whole.",
        columns: &["tvl_priced_usd"],
        holds: Holds::Everywhere,
    },
    Warning {
        code: "unverified_csu",
        meaning: "The registry row was not checked against two sources or an official one.",
        columns: &["csu"],
        holds: Holds::Csu(|csu| csu.verified != Verified::Yes),
    },
];

/// Whether a family leaves a column out that no warning of its own speaks of.
fn limited(family: &dyn Family, word: &str) -> bool {
    let has_its_own = ["bad_debt_usd", "liq_borrowers"];
    let mut limits = family.limits().iter().map(|limit| limit.column);
    limits.any(|column| !has_its_own.contains(&column) && applies(family, column).word == word)
}

impl Warning {
    /// Whether it holds for a CSU.
    pub fn holds_for(&self, csu: &Csu) -> bool {
        match self.holds {
            Holds::Everywhere => true,
            Holds::Family(holds) => protocols::family(&csu.family).is_some_and(holds),
            Holds::Csu(holds) => holds(csu),
        }
    }

    fn place(&self) -> String {
        match self.holds {
            Holds::Everywhere => "every CSU".to_owned(),
            Holds::Csu(_) => "some CSUs".to_owned(),
            Holds::Family(holds) => {
                let families = FAMILIES.iter().filter(|family| holds(**family)).map(|family| family.name());
                let families: Vec<&str> = families.collect();
                if families.is_empty() { "no family so far".to_owned() } else { families.join(", ") }
            }
        }
    }
}

/// Codes of the warnings about a column.
pub(super) fn codes(column: &str) -> Vec<&'static str> {
    WARNINGS.iter().filter(|warning| warning.columns.contains(&column)).map(|warning| warning.code).collect()
}

/// The warnings as a page.
pub(super) fn page(generated: &str) -> String {
    let mut text = format!("{generated}# Usage warnings\n\n");
    text.push_str(
        "What to know before a column is used. Codes do not change. Which of them hold for which CSU of a run is in \
         `gold/codebook/csu_warnings.csv`\nof its lake (`panel dictionary --run FILE`).\n\n\
         | code | holds for | columns | what to know |\n|---|---|---|---|\n",
    );
    for warning in WARNINGS {
        let columns: Vec<String> = warning.columns.iter().map(|name| format!("`{name}`")).collect();
        let columns = if columns.is_empty() {
            "see [applicability](applicability.md)".into()
        } else {
            columns.join(", ")
        };
        let _ =
            writeln!(text, "| `{}` | {} | {columns} | {} |", warning.code, warning.place(), warning.meaning);
    }
    text
}

/// The warnings for programs.
pub(super) fn records() -> Vec<Vec<String>> {
    let mut records = vec![["code", "holds_for", "columns", "meaning"].map(str::to_owned).to_vec()];
    for warning in WARNINGS {
        let columns = warning.columns.join(" ");
        records.push(vec![warning.code.to_owned(), warning.place(), columns, warning.meaning.to_owned()]);
    }
    records
}

/// The warnings of each CSU that are not of every CSU.
pub(super) fn of_csus<'a>(registry: &Registry, csus: impl Iterator<Item = &'a str>) -> Vec<Vec<String>> {
    let mut records = vec![["csu", "code", "columns", "meaning"].map(str::to_owned).to_vec()];
    for csu in csus.filter_map(|csu| registry.csu(csu)) {
        for warning in WARNINGS.iter().filter(|warning| !matches!(warning.holds, Holds::Everywhere)) {
            if warning.holds_for(csu) {
                let fields = [&csu.id, warning.code, &warning.columns.join(" "), warning.meaning];
                records.push(fields.map(str::to_owned).to_vec());
            }
        }
    }
    records
}

#[cfg(test)]
mod tests {
    use super::*;
    use lake::schema::Row;
    use lake::schema::gold::PanelDaily;

    #[test]
    fn codes_are_in_order_once_and_about_columns_that_exist() {
        assert!(WARNINGS.is_sorted_by(|one, two| one.code < two.code));
        for warning in WARNINGS {
            assert!(warning.code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{}", warning.code);
            assert!(warning.meaning.ends_with('.'), "{}", warning.code);
            for name in warning.columns {
                assert!(PanelDaily::TABLE.columns.iter().any(|column| column.name == *name), "{name}");
            }
        }
    }

    #[test]
    fn a_csu_has_the_warnings_of_its_family_and_its_own() {
        let mut csu = Csu::bare("a", "aave_v3", "ethereum", "pool", Default::default());
        let codes = |csu: &Csu| -> Vec<&str> {
            let held = WARNINGS
                .iter()
                .filter(|warning| !matches!(warning.holds, Holds::Everywhere) && warning.holds_for(csu));
            held.map(|warning| warning.code).collect()
        };
        assert_eq!(codes(&csu), ["age_unknown", "bad_debt_by_version", "unverified_csu"]);
        csu.minted_tokens.push(Default::default());
        csu.deployed_date = Some("2024-12-01".parse().unwrap());
        csu.verified = Verified::Yes;
        assert_eq!(codes(&csu), ["bad_debt_by_version", "gho_minted"]);
    }
}
