//! The rows of `csu`, from the registry and the families, and of `day_block`, from the boundaries of the days.

use crate::read::{Month, NameAndDay};
use lake::day::Zone;
use lake::registry::Registry;
use lake::schema::Seconds;
use lake::schema::silver::{CsuRow, DayBlock};
use lake::status::Status;
use std::collections::BTreeSet;

/// A registry file whose family this build cannot read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{file}: this build knows no family `{family}`\nhint: it knows {known}; take the file out of the registry, or build a version that has the family"
)]
pub struct UnknownFamily {
    /// The registry file.
    pub file: String,
    /// The family.
    pub family: String,
    /// Families of this build.
    pub known: String,
}

/// The rows of `csu`: every CSU of the registry.
///
/// # Errors
/// [`UnknownFamily`] when the registry has a family that this build does not.
pub fn csus(registry: &Registry) -> Result<Vec<CsuRow>, UnknownFamily> {
    let mut rows = Vec::new();
    for csu in registry.csus() {
        let family = protocols::family(&csu.family).ok_or_else(|| UnknownFamily {
            file: registry
                .directory()
                .join("csus")
                .join(format!("{}.toml", csu.family))
                .display()
                .to_string(),
            family: csu.family.clone(),
            known: protocols::FAMILIES.iter().map(|family| family.name()).collect::<Vec<_>>().join(", "),
        })?;
        // A registry refuses a CSU whose chain it does not have.
        let Some(chain) = registry.chain_of(csu) else { continue };
        let gives = family.gives();
        rows.push(CsuRow {
            csu: csu.id.clone(),
            csu_num: csu.num,
            protocol: csu.protocol.clone(),
            version: csu.version.clone(),
            family: csu.family.clone(),
            chain: csu.chain.clone(),
            chain_id: i64::try_from(chain.chain_id).unwrap_or(i64::MAX),
            is_l2: chain.is_l2,
            market: csu.market.clone(),
            deployed_block: csu.deployed_block.map(|block| i64::try_from(block).unwrap_or(i64::MAX)),
            deployed_date: csu.deployed_date,
            retired_date: csu.retired_date,
            root_contract: protocols::token::item(csu.entry),
            has_borrower: gives.borrower,
            has_debt_amount: gives.debt_amount,
            bad_debt_method: gives.bad_debt.as_str().to_owned(),
            verified: csu.verified.as_str().to_owned(),
            source: csu.source.clone(),
        });
    }
    Ok(rows)
}

/// The rows of `day_block` for these chain-days. Boundaries that are not there or of no use leave a row without
/// blocks.
pub fn day_blocks(
    registry: &Registry,
    zone: &Zone,
    chain_days: &BTreeSet<NameAndDay>,
    month: &Month,
) -> Vec<DayBlock> {
    let row = |key: &NameAndDay| {
        let (chain, date) = key;
        let window = zone.window(*date).ok()?;
        let object = month.blocks.get(key);
        let blocks = object.and_then(|object| object.sound());
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let status = match (object, blocks) {
            (None, _) => Status::NotAttempted,
            (Some(_), None) => Status::Failed,
            (Some(_), Some(blocks)) if blocks.span().is_none() => Status::NoBlock,
            (Some(_), Some(_)) => Status::Collected,
        };
        let last = blocks.and_then(|blocks| blocks.last);
        Some(DayBlock {
            chain: chain.clone(),
            date: *date,
            chain_id: number(registry.chain(chain)?.chain_id),
            day_start_utc: Seconds(window.start),
            day_end_utc: Seconds(window.end),
            day_hours: window.hours(),
            first_block: blocks.and_then(|blocks| blocks.first).map(|header| number(header.number)),
            last_block: last.map(|header| number(header.number)),
            last_block_hash: last.map(|header| format!("{:#x}", header.hash)),
            last_block_ts: last.map(|header| Seconds(number(header.timestamp))),
            next_block_ts: blocks.map(|blocks| Seconds(number(blocks.after.timestamp))),
            n_blocks: blocks.map(|blocks| blocks.span().map_or(0, |span| number(span.count()))),
            status,
            bronze_sha256: object.filter(|_| blocks.is_some()).map(|object| object.sha256.clone()),
        })
    };
    chain_days.iter().filter_map(row).collect()
}
