//! How far the scans of a chain's day were checked.

use super::{BronzeError, DayOfChain, Record, require};
use crate::status::AuditLevel;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// `bronze/audits/<chain>/<date>.json`: how far the scans of a chain's day were checked, and by whom.
///
/// It is about how well the data was checked, not chain data. So it is the one bronze object that may be replaced, by a
/// later and better audit of the same day, and it is left out of the promise that bronze has the same bytes whatever
/// the endpoints. It may be missing: then nobody says more of the day's logs than that they are there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audit {
    /// Which day of which chain.
    #[serde(flatten)]
    pub day: DayOfChain,
    /// One entry a log scan, in order of their first CSU. A CSU is in one scan at most.
    pub scans: Vec<AuditedScan>,
}

/// How one log scan of a chain's day was checked.
///
/// Its counts are of the whole scan, also when some of the CSUs it was made for have been scanned again since and stand
/// in another entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditedScan {
    /// CSUs whose logs came from this scan: sorted, at least one.
    pub csus: Vec<String>,
    /// The level that was reached.
    pub level: AuditLevel,
    /// Operators who gave the logs, sorted.
    pub operators: Vec<String>,
    /// Operators who were asked for blocks of the day again, sorted. One who gave logs may be among them, asked for
    /// what another gave.
    pub asked_again: Vec<String>,
    /// Blocks of the day.
    pub blocks: u64,
    /// Blocks that another operator answered alike; at most `blocks`.
    pub blocks_asked_again: u64,
    /// Requests for logs whose replies were accepted.
    pub windows: u64,
    /// Requests for logs that were made again of another operator, whose replies agreed.
    pub windows_asked_again: u64,
    /// Logs that the scan found.
    pub logs: u64,
    /// Logs that stand in the receipt of their transaction; at most `logs`.
    pub logs_in_receipts: u64,
    /// Whether everyone who gave logs showed one that the contracts' state says must exist.
    pub witnessed: bool,
}

impl Audit {
    /// The audit with a new scan in it. CSUs of the new scan leave the entries that they were in, since their logs now
    /// come from it; an entry that has no CSU left goes.
    #[must_use]
    pub fn with(mut self, scan: AuditedScan) -> Self {
        for older in &mut self.scans {
            older.csus.retain(|csu| !scan.csus.contains(csu));
        }
        self.scans.retain(|older| !older.csus.is_empty());
        self.scans.push(scan);
        self.scans.sort_by(|one, other| one.csus.cmp(&other.csus));
        self
    }

    /// The level that the scan of a CSU reached; `None` when no scan of it was audited.
    pub fn level_of(&self, csu: &str) -> Option<AuditLevel> {
        let is_of = |scan: &&AuditedScan| scan.csus.iter().any(|of| of == csu);
        self.scans.iter().find(is_of).map(|scan| scan.level)
    }
}

impl Record for Audit {
    const SCHEMA: &'static str = "bronze.audit/1";

    fn check(&self) -> Result<(), BronzeError> {
        let mut seen = BTreeSet::new();
        for scan in &self.scans {
            scan.check()?;
            if let Some(csu) = scan.csus.iter().find(|csu| !seen.insert(csu.as_str())) {
                return require(false, || format!("{csu} is in two scans"));
            }
        }
        let in_order = self.scans.is_sorted_by(|one, other| one.csus.first() < other.csus.first());
        require(in_order, || "the scans are not in order of their first CSU".into())
    }
}

impl AuditedScan {
    fn check(&self) -> Result<(), BronzeError> {
        let name = || self.csus.first().map_or("a CSU", String::as_str);
        let require = |holds: bool, why: &str| require(holds, || format!("the scan of {}: {why}", name()));
        let is_sorted = |words: &[String]| words.is_sorted_by(|one, other| one < other);
        require(!self.csus.is_empty(), "it is of no CSU")?;
        require(is_sorted(&self.csus), "its CSUs are not in order, or one is there twice")?;
        require(
            is_sorted(&self.operators) && is_sorted(&self.asked_again),
            "its operators are not in order, or one is there twice",
        )?;
        require(self.blocks_asked_again <= self.blocks, "more blocks were asked again than the day has")?;
        require(self.logs_in_receipts <= self.logs, "more logs stand in receipts than there are")?;
        if self.level > AuditLevel::OneSource {
            let operators: BTreeSet<&String> = self.operators.iter().chain(&self.asked_again).collect();
            require(operators.len() > 1, "its level takes two operators")?;
            require(self.blocks_asked_again > 0, "its level takes blocks that were asked again")?;
        }
        if self.level >= AuditLevel::TwoOperators {
            require(
                self.blocks_asked_again == self.blocks,
                "its level takes every block of the day asked again",
            )?;
        }
        if self.level >= AuditLevel::Receipts {
            require(self.logs_in_receipts == self.logs, "its level takes every log in a receipt")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::day_of_chain;
    use super::*;

    fn scan(level: AuditLevel, csus: &[&str]) -> AuditedScan {
        AuditedScan {
            csus: csus.iter().map(|csu| (*csu).to_owned()).collect(),
            level,
            operators: vec!["alchemy".into()],
            asked_again: vec!["drpc".into(), "publicnode".into()],
            blocks: 11,
            blocks_asked_again: 11,
            windows: 4,
            windows_asked_again: 4,
            logs: 3,
            logs_in_receipts: 3,
            witnessed: true,
        }
    }

    fn audit(scans: Vec<AuditedScan>) -> Audit {
        Audit { day: day_of_chain(), scans }
    }

    #[test]
    fn an_audit_reads_back_and_a_cut_one_is_refused() {
        for level in AuditLevel::ALL {
            let audit = audit(vec![scan(*level, &["aave_v3_a", "aave_v3_c"]), scan(*level, &["aave_v3_b"])]);
            let bytes = audit.to_bytes().unwrap();
            assert_eq!(Audit::from_bytes(&bytes).unwrap(), audit);
            assert_eq!(Audit::from_bytes(&bytes).unwrap().to_bytes().unwrap(), bytes);
        }
        let bytes = audit(vec![scan(AuditLevel::Sampled, &["aave_v3_a"])]).to_bytes().unwrap();
        let text = String::from_utf8(bytes.clone()).unwrap();
        assert!(text.starts_with(r#"{"schema":"bronze.audit/1","chain":"ethereum""#), "{text}");
        assert!(text.contains(r#""level":"sampled""#), "{text}");
        for length in 0..bytes.len() {
            Audit::from_bytes(&bytes[..length]).unwrap_err();
        }
    }

    #[test]
    fn an_audit_that_contradicts_itself_is_refused() {
        type Spoil = fn(&mut Audit);
        let spoils: [(Spoil, &str); 15] = [
            (|a| a.scans.swap(0, 1), "order of their first CSU"),
            (|a| a.scans[1].csus[0] = "a".into(), "a is in two scans"),
            (|a| a.scans[1].csus = vec!["b".into(), "c".into()], "c is in two scans"),
            (|a| a.scans[0].csus.clear(), "no CSU"),
            (|a| a.scans[0].csus.reverse(), "the scan of c: its CSUs are not in order"),
            (|a| a.scans[0].csus[1] = "a".into(), "there twice"),
            (|a| a.scans[0].operators = vec!["z".into(), "y".into()], "operators are not in order"),
            (|a| a.scans[0].asked_again.reverse(), "operators are not in order"),
            (|a| a.scans[0].blocks_asked_again = 12, "more blocks"),
            (|a| a.scans[0].logs_in_receipts = 4, "more logs"),
            (|a| a.scans[0].logs_in_receipts = 2, "the scan of a: its level takes every log in a receipt"),
            (|a| a.scans[0].blocks_asked_again = 10, "every block"),
            (|a| (a.scans[0].blocks, a.scans[0].blocks_asked_again) = (0, 0), "blocks that were asked again"),
            (|a| a.scans[0].asked_again.clear(), "two operators"),
            (|a| a.scans[0].asked_again = vec!["alchemy".into()], "two operators"),
        ];
        let sound =
            audit(vec![scan(AuditLevel::Receipts, &["a", "c"]), scan(AuditLevel::TwoOperators, &["b"])]);
        sound.check().unwrap();
        for (spoil, words) in spoils {
            let mut spoiled = sound.clone();
            spoil(&mut spoiled);
            let error = spoiled.check().unwrap_err().to_string();
            assert!(error.contains(words), "`{error}` does not say `{words}`");
            spoiled.to_bytes().unwrap_err();
        }
    }

    #[test]
    fn a_level_takes_what_it_says_and_no_more() {
        let checked = |level, change: fn(&mut AuditedScan)| {
            let mut scan = scan(level, &["a"]);
            change(&mut scan);
            audit(vec![scan]).check()
        };
        let fewer_logs = |scan: &mut AuditedScan| scan.logs_in_receipts = 0;
        checked(AuditLevel::TwoOperators, fewer_logs).unwrap();
        checked(AuditLevel::Receipts, fewer_logs).unwrap_err();
        let fewer_blocks = |scan: &mut AuditedScan| scan.blocks_asked_again = 3;
        checked(AuditLevel::Sampled, fewer_blocks).unwrap();
        checked(AuditLevel::TwoOperators, fewer_blocks).unwrap_err();
        checked(AuditLevel::Receipts, fewer_blocks).unwrap_err();
        let nobody_else = |scan: &mut AuditedScan| {
            scan.asked_again.clear();
            scan.blocks_asked_again = 0;
        };
        checked(AuditLevel::OneSource, nobody_else).unwrap();
        checked(AuditLevel::Sampled, nobody_else).unwrap_err();
        // Two who gave the logs may have been asked for each other's part.
        let each_other = |scan: &mut AuditedScan| {
            scan.operators = vec!["alchemy".into(), "drpc".into()];
            scan.asked_again = scan.operators.clone();
        };
        checked(AuditLevel::Receipts, each_other).unwrap();
    }

    #[test]
    fn a_new_scan_takes_its_csus_from_the_older_ones() {
        use AuditLevel::{OneSource, Receipts, Sampled, TwoOperators};
        let first = audit(vec![]).with(scan(OneSource, &["b", "c", "d"]));
        let second = first.clone().with(scan(Sampled, &["e"])).with(scan(TwoOperators, &["a", "c"]));
        second.check().unwrap();
        let csus: Vec<_> = second.scans.iter().map(|scan| scan.csus.join(" ")).collect();
        assert_eq!(csus, ["a c", "b d", "e"]);
        let levels = ["a", "b", "c", "d", "e", "f"].map(|csu| second.level_of(csu));
        let expected = [TwoOperators, OneSource, TwoOperators, OneSource, Sampled].map(Some);
        assert_eq!((&levels[..5], levels[5]), (&expected[..], None));

        // The scan that has no CSU left goes; the same scan again changes nothing.
        let third = second.with(scan(Receipts, &["b", "d"])).with(scan(Sampled, &["e"]));
        third.check().unwrap();
        assert_eq!(third.scans.len(), 3);
        assert_eq!(third.clone().with(scan(Sampled, &["e"])), third);
        assert_eq!(third.level_of("d"), Some(Receipts));
        // What counts is the scan that the logs now come from, also when it was checked less.
        assert_eq!(third.with(scan(OneSource, &["d"])).level_of("d"), Some(OneSource));
    }
}
