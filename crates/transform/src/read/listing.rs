//! What the lake lists of bronze and ledger, by month.

use super::NameAndDay;
use super::fetching::REQUESTS;
use futures::{StreamExt, TryStreamExt, stream};
use lake::path::{
    BronzeKey, audits_prefix, blocks_prefix, bronze_prefix, fills_prefix, ledger_key, ledger_prefix,
    prices_prefix,
};
use lake::registry::Registry;
use lake::status::Dataset;
use lake::store::{Lake, StoreError};
use object_store::path::Path;
use protocols::oracle::defillama;
use std::collections::{BTreeMap, BTreeSet};

/// What the lake lists for one month, without having read it.
#[derive(Debug, Clone, Default)]
pub struct Listed {
    /// Chain-days with an object of their blocks.
    pub blocks: BTreeSet<NameAndDay>,
    /// CSU-days with an object.
    pub objects: BTreeSet<(NameAndDay, Dataset)>,
    /// Chain-days with an audit.
    pub audits: BTreeSet<NameAndDay>,
    /// Chain-days with a price book.
    pub prices: BTreeSet<NameAndDay>,
    /// Off-chain services and days with a fill.
    pub fills: BTreeSet<NameAndDay>,
    /// CSU-days with a ledger entry.
    pub ledger: BTreeSet<(NameAndDay, Dataset)>,
}

/// Lists bronze and ledger of the registry's CSUs and chains, by month (`YYYY-MM`).
///
/// # Errors
/// [`StoreError`] when the lake cannot be listed.
pub async fn list(lake: &Lake, registry: &Registry) -> Result<BTreeMap<String, Listed>, StoreError> {
    let chains: BTreeSet<&str> = registry.csus().map(|csu| csu.chain.as_str()).collect();
    let mut prefixes: Vec<Path> = chains
        .into_iter()
        .flat_map(|chain| [blocks_prefix(chain), audits_prefix(chain), prices_prefix(chain)])
        .collect();
    prefixes.push(fills_prefix(defillama::SERVICE));
    for csu in registry.csus() {
        for &dataset in Dataset::ALL {
            prefixes.push(bronze_prefix(dataset, &csu.id));
            prefixes.push(ledger_prefix(dataset, &csu.id));
        }
    }
    let found: Vec<Vec<Path>> = stream::iter(prefixes)
        .map(|prefix| async move { lake.list(&prefix).await })
        .buffered(REQUESTS)
        .try_collect()
        .await?;
    let mut months: BTreeMap<String, Listed> = BTreeMap::new();
    for path in found.into_iter().flatten() {
        match BronzeKey::parse(&path) {
            Some(BronzeKey::Blocks { chain, date }) => {
                months.entry(date.month()).or_default().blocks.insert((chain, date));
            }
            Some(BronzeKey::Tvl { csu, date }) => {
                months.entry(date.month()).or_default().objects.insert(((csu, date), Dataset::Tvl));
            }
            Some(BronzeKey::Liquidations { csu, date }) => {
                months.entry(date.month()).or_default().objects.insert(((csu, date), Dataset::Liquidations));
            }
            Some(BronzeKey::Audit { chain, date }) => {
                months.entry(date.month()).or_default().audits.insert((chain, date));
            }
            Some(BronzeKey::Prices { chain, date }) => {
                months.entry(date.month()).or_default().prices.insert((chain, date));
            }
            Some(BronzeKey::Fill { source, date }) => {
                months.entry(date.month()).or_default().fills.insert((source, date));
            }
            None => match ledger_key(&path) {
                Some((dataset, csu, date)) => {
                    months.entry(date.month()).or_default().ledger.insert(((csu, date), dataset));
                }
                None => {
                    tracing::warn!(%path, "is the path of no object that the lake knows, and is left alone")
                }
            },
        }
    }
    Ok(months)
}
