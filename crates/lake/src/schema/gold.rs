//! Gold: the daily panel of CSUs.

use super::{Seconds, table};
use crate::day::Day;
use crate::status::{AuditLevel, Status, UsdStatus};

table! {
    /// One CSU on one day. Measures are null unless a status word says that they were measured.
    PanelDaily = "panel_daily", version "1.1.0", one row per "CSU and day" {
        key csu: String, "", "CSU id: one lending deployment on one chain.";
        col csu_num: i32, "", "Number of the CSU, for programs that want one.";
        key date: Day, "day", "Calendar day of the run's time zone.";
        col day_num: i32, "days", "Days since 1970-01-01.";
        col protocol: String, "", "Protocol.";
        col version: String, "", "Version of the protocol.";
        col family: String, "", "Family of contracts that reads it.";
        col chain: String, "", "Chain.";
        col chain_id: i64, "", "EIP-155 chain id.";
        col is_l2: bool, "", "Whether the chain is a rollup.";
        col status: Status, "", "Worst of snap_status and liq_status.";
        col snap_status: Status, "", "What became of the snapshot at the day's last block.";
        col usd_status: UsdStatus, "", "Whether every non-zero reserve has a price.";
        col liq_status: Status, "", "What became of the scan of the day's blocks for liquidations.";
        col liq_audit: Option<AuditLevel>, "", "How far that scan was checked against other operators: one_source, sampled, two_operators or receipts.", null "liq_status is not collected, or no audit of the scan can be read";
        col quality_flags: String, "", "Remarks of the reserves and liquidations, excluded:N and rejects:N, separated by semicolons.";
        col day_hours: i32, "hours", "Length of the day: 23, 24 or 25.";
        col block_number: Option<i64>, "block", "Snapshot block.", null "boundaries not collected, or no block in the day";
        col block_ts: Option<Seconds>, "UTC", "Time of the snapshot block.", null "as block_number";
        col snap_lag_s: Option<i32>, "seconds", "End of the day minus time of the snapshot block.", null "as block_number";
        col age_days: Option<i32>, "days", "Days since the deployment, negative before it.", null "day of deployment not known";
        col n_markets: Option<i32>, "", "Number of markets: pools, cTokens, Comets, vaults.", null "snap_status is not collected";
        col n_reserves: Option<i32>, "", "Number of reserves.", null "snap_status is not collected";
        col n_reserves_unpriced: Option<i32>, "", "Reserves with a balance and without a price.", null "snap_status is not collected";
        col supplied_usd: Option<f64>, "USD", "Claims of suppliers of lendable reserves, with accrued interest.", null "snap_status is not collected, or usd_status is not complete";
        col collateral_usd: Option<f64>, "USD", "Deposits that back debt and cannot be borrowed.", null "as supplied_usd";
        col borrowed_usd: Option<f64>, "USD", "Debt funded by suppliers, with accrued interest.", null "as supplied_usd";
        col minted_usd: Option<f64>, "USD", "Debt minted by a facilitator, such as GHO; not part of borrowed_usd.", null "as supplied_usd";
        col available_usd: Option<f64>, "USD", "Tokens that can be withdrawn or borrowed now, as the contract says.", null "as supplied_usd";
        col tvl_usd: Option<f64>, "USD", "Gross: supplied_usd + collateral_usd.", null "as supplied_usd";
        col tvl_net_usd: Option<f64>, "USD", "tvl_usd - borrowed_usd (DefiLlama's convention).", null "as supplied_usd";
        col tvl_priced_usd: Option<f64>, "USD", "Gross value of the reserves that have a price.", null "snap_status is not collected";
        col reserves_usd: Option<f64>, "USD", "The protocol's own share, signed.", null "as supplied_usd, or the family does not give it";
        col deficit_usd: Option<f64>, "USD", "Bad debt booked and not yet covered.", null "as supplied_usd, or the contract version keeps no such figure";
        col utilization: Option<f64>, "fraction", "borrowed_usd / supplied_usd.", null "as supplied_usd, or supplied_usd is 0";
        col stable_supply_share: Option<f64>, "fraction", "Share of stablecoins in supplied_usd.", null "as utilization";
        col stable_borrow_share: Option<f64>, "fraction", "Share of stablecoins in borrowed_usd.", null "as supplied_usd, or borrowed_usd is 0";
        col hhi_supply: Option<f64>, "0..1", "Herfindahl index of supplied_usd over tokens.", null "as utilization";
        col hhi_borrow: Option<f64>, "0..1", "Herfindahl index of borrowed_usd over tokens.", null "as stable_borrow_share";
        col top1_supply_share: Option<f64>, "fraction", "Share of the largest token in supplied_usd.", null "as utilization";
        col supply_apr: Option<f64>, "fraction per year", "Simple annual rate paid to suppliers, weighted by supplied_usd.", null "as utilization, or a weighted reserve has no rate";
        col borrow_apr: Option<f64>, "fraction per year", "Simple annual variable rate, weighted by borrowed_usd.", null "as stable_borrow_share, or a weighted reserve has no rate";
        col supply_apr_stable: Option<f64>, "fraction per year", "supply_apr over stablecoin reserves.", null "as supply_apr, or no stablecoin is supplied";
        col borrow_apr_stable: Option<f64>, "fraction per year", "borrow_apr over stablecoin reserves.", null "as borrow_apr, or no stablecoin is borrowed";
        col liq_threshold_wavg: Option<f64>, "fraction", "Liquidation threshold, weighted by supplied and collateral USD of tokens that may back debt.", null "as supplied_usd, or no such token";
        col liq_bonus_wavg: Option<f64>, "fraction", "Liquidation bonus, weighted as liq_threshold_wavg.", null "as liq_threshold_wavg";
        col liq_count: Option<i32>, "", "Liquidations: one position, one liquidator, one transaction, one debt.", null "liq_status is not collected or no_block";
        col liq_event_count: Option<i32>, "", "Liquidation logs.", null "as liq_count";
        col liq_tx_count: Option<i32>, "", "Transactions with a liquidation.", null "as liq_count";
        col liq_borrowers: Option<i32>, "", "Borrowers liquidated, each once.", null "as liq_count, or the family's events name none";
        col liq_liquidators: Option<i32>, "", "Liquidators, each once.", null "as liq_count";
        col liq_debt_usd: Option<f64>, "USD", "Debt repaid by liquidators.", null "as liq_count, or a leg has no price";
        col liq_coll_usd: Option<f64>, "USD", "Collateral received by liquidators.", null "as liq_debt_usd";
        col liq_bonus_usd: Option<f64>, "USD", "liq_coll_usd - liq_debt_usd.", null "as liq_debt_usd";
        col liq_max_usd: Option<f64>, "USD", "Debt repaid in the largest liquidation.", null "as liq_debt_usd, or liq_count is 0";
        col bad_debt_usd: Option<f64>, "USD", "Bad debt booked by the day's liquidations.", null "as liq_debt_usd, or the contracts do not tell";
        col hhi_liquidators: Option<f64>, "0..1", "Herfindahl index of debt repaid over liquidators.", null "as liq_max_usd, the debt repaid is worth 0, or a liquidator is not named";
        col top1_liquidator_share: Option<f64>, "fraction", "Share of the largest liquidator in debt repaid.", null "as hhi_liquidators";
        col liq_priced_share: Option<f64>, "fraction", "Share of liquidations with a price on both sides.", null "as liq_count, or liq_count is 0";
        col px_cov_share: Option<f64>, "fraction", "Priced reserves among those with a balance, by count.", null "snap_status is not collected, or no reserve has a balance";
        col px_protocol_share: Option<f64>, "fraction", "Share of the protocol's own oracle in tvl_priced_usd.", null "snap_status is not collected, or tvl_priced_usd is 0";
        col px_chainlink_share: Option<f64>, "fraction", "Share of Chainlink feeds in tvl_priced_usd.", null "as px_protocol_share";
        col px_other_share: Option<f64>, "fraction", "Share of every other source in tvl_priced_usd.", null "as px_protocol_share";
        col px_max_age_s: Option<i64>, "seconds", "Age of the oldest price used.", null "snap_status is not collected, or no source tells its age";
        col blocks_expected: Option<i64>, "blocks", "Blocks of the day.", null "boundaries not collected";
        col blocks_scanned: Option<i64>, "blocks", "Blocks whose logs were read.", null "as blocks_expected, or never scanned";
        col log_cov_share: Option<f64>, "fraction", "blocks_scanned / blocks_expected.", null "as blocks_scanned, or no block in the day";
        col schema_version: String, "", "Version of this table's definition.";
        col release: String, "", "Release of the data; `unreleased` until one is made.";
        col code_version: String, "", "Version of the program.";
        col registry_hash: String, "", "Digest of the registry.";
        col inputs_hash: String, "", "Digest over the bronze objects of this row, its audit left out; of nothing when there is none.";
        col row_hash: String, "", "Digest of the row's other columns.";
    }
}
