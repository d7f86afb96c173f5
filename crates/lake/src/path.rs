//! Where each object of the lake lives. Every path is made and read here, and nowhere else.

use crate::day::Day;
use crate::status::Dataset;
pub use object_store::path::Path;
use std::fmt;

/// Prefix under which bronze objects live. All are written once but [`BronzeKey::Audit`]
/// and [`BronzeKey::Fill`].
pub const BRONZE: &str = "bronze";
/// Prefix of silver tables.
pub const SILVER: &str = "silver";
/// Prefix of gold.
pub const GOLD: &str = "gold";
/// Prefix of the rows that fail a check.
pub const CHECKS: &str = "checks";

/// A bronze object: what it holds, for which CSU or chain, and for which day.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BronzeKey {
    /// `bronze/blocks/<chain>/<date>.json`: first and last block of the day, with both neighbours.
    Blocks {
        /// Chain.
        chain: String,
        /// Day.
        date: Day,
    },
    /// `bronze/tvl/<csu>/<date>.json`: every view call of the snapshot.
    Tvl {
        /// CSU.
        csu: String,
        /// Day.
        date: Day,
    },
    /// `bronze/prices/<chain>/<date>.json`: oracle reads shared by the CSUs of a chain.
    Prices {
        /// Chain.
        chain: String,
        /// Day.
        date: Day,
    },
    /// `bronze/liquidations/<csu>/<date>.json`: logs of the day, the filter, the scanned blocks, oracle reads.
    Liquidations {
        /// CSU.
        csu: String,
        /// Day.
        date: Day,
    },
    /// `bronze/audits/<chain>/<date>.json`: how far the day's scans were checked; replaced by a later, better one.
    Audit {
        /// Chain.
        chain: String,
        /// Day.
        date: Day,
    },
    /// `bronze/fills/<source>/<date>.json`: off-chain prices fetched later; a later fill adds to it.
    Fill {
        /// Source, such as `defillama`.
        source: String,
        /// Day.
        date: Day,
    },
}

impl BronzeKey {
    /// The object of a CSU's dataset on a day.
    pub fn of(dataset: Dataset, csu: &str, date: Day) -> Self {
        let csu = csu.to_owned();
        match dataset {
            Dataset::Tvl => Self::Tvl { csu, date },
            Dataset::Liquidations => Self::Liquidations { csu, date },
        }
    }

    fn parts(&self) -> (&'static str, &str, Day) {
        match self {
            Self::Blocks { chain, date } => ("blocks", chain, *date),
            Self::Tvl { csu, date } => ("tvl", csu, *date),
            Self::Prices { chain, date } => ("prices", chain, *date),
            Self::Liquidations { csu, date } => ("liquidations", csu, *date),
            Self::Audit { chain, date } => ("audits", chain, *date),
            Self::Fill { source, date } => ("fills", source, *date),
        }
    }

    /// Path of the object in the lake.
    pub fn path(&self) -> Path {
        let (kind, name, date) = self.parts();
        Path::from_iter([BRONZE, kind, name, &format!("{date}.json")])
    }

    /// The day that the object is about.
    pub fn date(&self) -> Day {
        self.parts().2
    }

    /// The key of a bronze path, or `None` for a path that no bronze object has.
    pub fn parse(path: impl AsRef<str>) -> Option<Self> {
        let mut parts = path.as_ref().split('/');
        let mut part = || parts.next();
        let (BRONZE, kind, name, file) = (part()?, part()?, part()?, part()?) else { return None };
        if part().is_some() {
            return None;
        }
        let date = file.strip_suffix(".json")?.parse().ok()?;
        let name = name.to_owned();
        match kind {
            "blocks" => Some(Self::Blocks { chain: name, date }),
            "tvl" => Some(Self::Tvl { csu: name, date }),
            "prices" => Some(Self::Prices { chain: name, date }),
            "liquidations" => Some(Self::Liquidations { csu: name, date }),
            "audits" => Some(Self::Audit { chain: name, date }),
            "fills" => Some(Self::Fill { source: name, date }),
            _ => None,
        }
    }
}

impl fmt::Display for BronzeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What `path` makes, without the detour. No name in the registry has a character that a path would encode.
        let (kind, name, date) = self.parts();
        for part in [BRONZE, "/", kind, "/", name, "/"] {
            f.write_str(part)?;
        }
        write!(f, "{date}.json")
    }
}

/// Prefix of one kind of bronze objects of one CSU or chain.
pub fn bronze_prefix(dataset: Dataset, csu: &str) -> Path {
    Path::from_iter([BRONZE, dataset.as_str(), csu])
}

/// Prefix of a chain's day-boundary objects.
pub fn blocks_prefix(chain: &str) -> Path {
    Path::from_iter([BRONZE, "blocks", chain])
}

/// Prefix of a chain's audits.
pub fn audits_prefix(chain: &str) -> Path {
    Path::from_iter([BRONZE, "audits", chain])
}

/// Prefix of a chain's price books.
pub fn prices_prefix(chain: &str) -> Path {
    Path::from_iter([BRONZE, "prices", chain])
}

/// Prefix of the off-chain prices of a service.
pub fn fills_prefix(service: &str) -> Path {
    Path::from_iter([BRONZE, "fills", service])
}

/// The prices that a month of silver lacks: `checks/silver/missing_prices/<YYYY-MM>.json`.
pub fn missing_prices(month: &str) -> Path {
    Path::from_iter(["checks", "silver", "missing_prices", &format!("{month}.json")])
}

/// What became of a chain's price book on a day: `state/ledger/prices/<chain>/<date>.json`.
pub fn prices_ledger(chain: &str, date: Day) -> Path {
    Path::from_iter(["state", "ledger", "prices", chain, &format!("{date}.json")])
}

/// One month of a silver table: `silver/<table>/month=<YYYY-MM>/part.parquet`.
pub fn silver_month(table: &str, month: &str) -> Path {
    Path::from_iter([SILVER, table, &format!("month={month}"), "part.parquet"])
}

/// A silver table without partitions: `silver/<table>/part.parquet`.
pub fn silver_whole(table: &str) -> Path {
    Path::from_iter([SILVER, table, "part.parquet"])
}

/// Prefix of a silver table.
pub fn silver_table(table: &str) -> Path {
    Path::from_iter([SILVER, table])
}

/// What silver was made from and what it holds.
pub fn silver_manifest() -> Path {
    Path::from_iter([SILVER, "manifest.json"])
}

/// What is known of the last build of a month of silver beyond its rows: `state/silver/<YYYY-MM>.json`.
pub fn silver_month_notes(month: &str) -> Path {
    Path::from_iter(["state", "silver", &format!("{month}.json")])
}

/// A file of gold, such as `panel_daily.parquet`.
pub fn gold_file(name: &str) -> Path {
    Path::from_iter([GOLD, name])
}

/// A page of the codebook that lies beside gold: `gold/codebook/<name>`.
pub fn codebook_file(name: &str) -> Path {
    Path::from_iter([GOLD, "codebook", name])
}

/// The rows of a layer that fail a check: `checks/<layer>/<check>.parquet`.
pub fn check_rows(layer: &str, check: &str) -> Path {
    Path::from_iter([CHECKS, layer, &format!("{check}.parquet")])
}

/// Prefix of a layer's failing rows.
pub fn checks_prefix(layer: &str) -> Path {
    Path::from_iter([CHECKS, layer])
}

/// The ledger's last word on one task: `state/ledger/<dataset>/<csu>/<date>.json`.
pub fn ledger_entry(dataset: Dataset, csu: &str, date: Day) -> Path {
    Path::from_iter(["state", "ledger", dataset.as_str(), csu, &format!("{date}.json")])
}

/// Prefix of one kind of ledger entries of one CSU.
pub fn ledger_prefix(dataset: Dataset, csu: &str) -> Path {
    Path::from_iter(["state", "ledger", dataset.as_str(), csu])
}

/// Dataset, CSU and day of a ledger entry's path, or `None` for a path that no ledger entry has.
pub fn ledger_key(path: &Path) -> Option<(Dataset, String, Day)> {
    let parts: Vec<_> = path.parts().collect();
    let [state, ledger, dataset, csu, file] = parts.as_slice() else { return None };
    if (state.as_ref(), ledger.as_ref()) != ("state", "ledger") {
        return None;
    }
    let date = file.as_ref().strip_suffix(".json")?.parse().ok()?;
    Some((dataset.as_ref().parse().ok()?, csu.as_ref().to_owned(), date))
}

/// The contracts last found for a CSU: `state/layouts/<csu>.json`.
pub fn layout_cache(csu: &str) -> Path {
    Path::from_iter(["state", "layouts", &format!("{csu}.json")])
}

/// The logs that list a CSU's markets: `state/history/<csu>.json`.
pub fn market_history(csu: &str) -> Path {
    Path::from_iter(["state", "history", &format!("{csu}.json")])
}

/// What was learned of an endpoint: `state/endpoints/<label>.json`.
pub fn endpoint_profile(label: &str) -> Path {
    Path::from_iter(["state", "endpoints", &format!("{label}.json")])
}

/// How the view calls of a chain are best sent: `state/reads/<chain>.json`.
pub fn read_memory(chain: &str) -> Path {
    Path::from_iter(["state", "reads", &format!("{chain}.json")])
}

/// What a chain's searches have cost: `state/costs/<chain>.json`.
pub fn search_costs(chain: &str) -> Path {
    Path::from_iter(["state", "costs", &format!("{chain}.json")])
}

/// Prefix of a chain's unfinished days: the answers that are there already.
pub fn partial_prefix(chain: &str) -> Path {
    Path::from_iter(["state", "partial", chain])
}

/// One answer of an unfinished day: `state/partial/<chain>/<date>/<name>.json`.
pub fn partial_answer(chain: &str, date: Day, name: &str) -> Path {
    Path::from_iter(["state", "partial", chain, &date.to_string(), &format!("{name}.json")])
}

/// What a key has spent this month: `state/quota/<name of its variable>.json`.
pub fn quota(purse: &str) -> Path {
    Path::from_iter(["state", "quota", &format!("{purse}.json")])
}

/// What the last `extract doctor --registry` found: `state/registry.json`.
pub fn registry_check() -> Path {
    Path::from_iter(["state", "registry.json"])
}

/// The report of the last `extract run` of a run file: `state/reports/<run>.json`.
pub fn run_report(run: &str) -> Path {
    Path::from_iter(["state", "reports", &format!("{run}.json")])
}

/// A shard's word that it is at work on a day of a chain: `state/claims/<chain>/<date>.json`.
pub fn claim(chain: &str, date: Day) -> Path {
    Path::from_iter(["state", "claims", chain, &format!("{date}.json")])
}

/// Prefix of the claims on days of a chain.
pub fn claims_prefix(chain: &str) -> Path {
    Path::from_iter(["state", "claims", chain])
}

/// Prefix of files that are being written into a lake that is a directory.
pub fn writing_prefix() -> Path {
    Path::from_iter(["state", "writing"])
}

/// An object that a shard writes to see the time of the store: `state/claims/clock-<shard>`.
pub fn claims_clock(shard: &str) -> Path {
    Path::from_iter(["state", "claims", &format!("clock-{shard}")])
}

/// Where an object goes in whose place another was put: `state/replaced/<path>.<digest>`.
pub fn replaced(path: &Path, sha256: &str) -> Path {
    let parts: Vec<String> = path.parts().map(|part| part.as_ref().to_owned()).collect();
    let head = ["state", "replaced"].into_iter().map(str::to_owned).chain(parts);
    Path::from(format!("{}.{}", Path::from_iter(head), sha256.get(..16).unwrap_or(sha256)))
}

/// Prefix of what runs say of how far they are.
pub fn progress_prefix() -> Path {
    Path::from_iter(["state", "progress"])
}

/// How far a run is: `state/progress/<run>.json`, with the shard's name where it is divided.
pub fn run_progress(run: &str) -> Path {
    progress_prefix().join(format!("{run}.json"))
}

/// Prefix of what keys have spent.
pub fn quota_prefix() -> Path {
    Path::from_iter(["state", "quota"])
}

/// What is done and what failed, for other tools: `state/checkpoint.json`.
pub fn checkpoint() -> Path {
    Path::from_iter(["state", "checkpoint.json"])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The registry and the run file refuse such names; a path would hold them all the same.
    #[test]
    fn no_name_leaves_its_prefix() {
        let day: Day = "2024-12-01".parse().unwrap();
        for name in
            ["..", ".", "../../etc/passwd", "/etc/passwd", "a/b", "a/../../b", "%2e%2e", "a\\b", "a\0b"]
        {
            let paths = [
                BronzeKey::of(Dataset::Tvl, name, day).path(),
                BronzeKey::Blocks { chain: name.to_owned(), date: day }.path(),
                layout_cache(name),
                claim(name, day),
                run_progress(name),
                quota(name),
                ledger_entry(Dataset::Tvl, name, day),
            ];
            for path in paths {
                let parts: Vec<_> = path.parts().map(|part| part.as_ref().to_owned()).collect();
                let is_held = ["bronze", "state"].contains(&parts[0].as_str()) && parts.len() <= 5;
                assert!(is_held && !parts.iter().any(|part| part == ".." || part == "."), "{name}: {path}");
            }
        }
        let at = replaced(&BronzeKey::of(Dataset::Tvl, "a", day).path(), &"0123456789abcdef".repeat(4));
        assert_eq!(at.as_ref(), "state/replaced/bronze/tvl/a/2024-12-01.json.0123456789abcdef");
    }

    #[test]
    fn bronze_paths_read_back() {
        let date: Day = "2024-12-01".parse().unwrap();
        let chain = || "ethereum".to_owned();
        let csu = || "aave_v3_ethereum".to_owned();
        for key in [
            BronzeKey::Blocks { chain: chain(), date },
            BronzeKey::Tvl { csu: csu(), date },
            BronzeKey::Prices { chain: chain(), date },
            BronzeKey::Liquidations { csu: csu(), date },
            BronzeKey::Audit { chain: chain(), date },
            BronzeKey::Fill { source: "defillama".into(), date },
        ] {
            assert_eq!(key.to_string(), key.path().to_string());
            assert_eq!(BronzeKey::parse(key.path()), Some(key));
        }
        assert_eq!(
            BronzeKey::of(Dataset::Tvl, "aave_v3_ethereum", date).to_string(),
            "bronze/tvl/aave_v3_ethereum/2024-12-01.json"
        );
        let audit = BronzeKey::Audit { chain: chain(), date };
        assert!(audit.path().prefix_matches(&audits_prefix("ethereum")));
        assert!(!audit.path().prefix_matches(&audits_prefix("base")));
    }

    #[test]
    fn ledger_paths_read_back() {
        let date: Day = "2024-12-01".parse().unwrap();
        let path = ledger_entry(Dataset::Tvl, "aave_v3_ethereum", date);
        assert!(path.prefix_matches(&ledger_prefix(Dataset::Tvl, "aave_v3_ethereum")));
        assert_eq!(ledger_key(&path), Some((Dataset::Tvl, "aave_v3_ethereum".into(), date)));
        assert_eq!(ledger_key(&run_report("demo")), None);
    }

    #[test]
    fn other_paths_are_no_bronze_keys() {
        for path in ["bronze/tvl/x/today.json", "silver/tvl/x/2024-12-01.json", "bronze/tvl/2024-12-01.json"]
        {
            assert_eq!(BronzeKey::parse(Path::from(path)), None);
        }
    }
}
