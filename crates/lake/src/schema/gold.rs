//! Gold: the daily panel of CSUs, and its optional companions.

use super::{Range, Row, Seconds, Table, table};
use crate::day::Day;
use crate::status::{AssetClass, AuditLevel, Status, UsdStatus};

table! {
    /// One CSU on one day. Measures are null unless a status word says that they were measured.
    PanelDaily = "panel_daily", version "1.1.0", one row per "CSU and day" {
        key csu: String, "", "CSU id: one lending deployment on one chain.",
            book { sources: &["registry"] };
        col csu_num: i32, "", "Number of the CSU, for programs that want one.",
            book { range: Range::NonNegative, sources: &["registry"] };
        key date: Day, "day", "Calendar day of the run's time zone.",
            book { label: "Calendar day (New York unless the run says otherwise)", sources: &["day_block"] };
        col day_num: i32, "days", "Days since 1970-01-01.",
            book { formula: "date - 1970-01-01", sources: &["day_block"] };
        col protocol: String, "", "Protocol.",
            book { sources: &["registry"] };
        col version: String, "", "Version of the protocol.",
            book { sources: &["registry"] };
        col family: String, "", "Family of contracts that reads it.",
            book { sources: &["registry"] };
        col chain: String, "", "Chain.",
            book { sources: &["registry"] };
        col chain_id: i64, "", "EIP-155 chain id.",
            book { range: Range::NonNegative, sources: &["registry"] };
        col is_l2: bool, "", "Whether the chain is a rollup.",
            book { sources: &["registry"] };
        col status: Status, "", "Worst of snap_status and liq_status.",
            book { formula: "max(snap_status, liq_status), from best to worst as listed", sources: &["coverage"] };
        col snap_status: Status, "", "What became of the snapshot at the day's last block.",
            book { formula: "coverage.status of dataset tvl; not_attempted where there is none", sources: &["coverage"] };
        col usd_status: UsdStatus, "", "Whether every non-zero reserve has a price.",
            book { formula: "complete: n_reserves_unpriced = 0 and no figure is missing; else partial if any reserve is priced; else none", sources: &["reserve_day", "token"] };
        col liq_status: Status, "", "What became of the scan of the day's blocks for liquidations.",
            book { label: "What became of the scan of the day's blocks", formula: "coverage.status of dataset liquidations; not_attempted where there is none", sources: &["coverage"] };
        col liq_audit: Option<AuditLevel>, "", "How far that scan was checked against other operators: one_source, sampled, two_operators or receipts.", null "liq_status is not collected, or no audit of the scan can be read",
            book { label: "How far the scan was checked against other operators", formula: "coverage.audit_level of dataset liquidations", sources: &["coverage"], since: "1.1.0" };
        col quality_flags: String, "", "Remarks of the reserves and liquidations, excluded:N and rejects:N, separated by semicolons.",
            book { label: "Remarks, separated by semicolons", formula: "distinct words of flags in order, then excluded:N (reserves of excluded tokens) and rejects:N (logs not decoded)", sources: &["reserve_day", "liquidation", "reject", "token"] };
        col day_hours: i32, "hours", "Length of the day: 23, 24 or 25.",
            book { range: Range::Whole(23, 25), formula: "day_end_utc - day_start_utc", sources: &["day_block"] };
        col block_number: Option<i64>, "block", "Snapshot block.", null "boundaries not collected, or no block in the day",
            book { label: "Snapshot block: the last of the day", range: Range::NonNegative, formula: "day_block.last_block", sources: &["day_block"] };
        col block_ts: Option<Seconds>, "UTC", "Time of the snapshot block.", null "as block_number",
            book { formula: "day_block.last_block_ts", sources: &["day_block"] };
        col snap_lag_s: Option<i32>, "seconds", "End of the day minus time of the snapshot block.", null "as block_number",
            book { range: Range::NonNegative, formula: "day_end_utc - block_ts", sources: &["day_block"] };
        col age_days: Option<i32>, "days", "Days since the deployment, negative before it.", null "day of deployment not known",
            book { formula: "date - deployed_date", sources: &["registry"] };
        col n_markets: Option<i32>, "", "Number of markets: pools, cTokens, Comets, vaults.", null "snap_status is not collected",
            book { range: Range::NonNegative, formula: "distinct market_id", sources: &["reserve_day"] };
        col n_reserves: Option<i32>, "", "Number of reserves.", null "snap_status is not collected",
            book { range: Range::NonNegative, formula: "distinct (market_id, token)", sources: &["reserve_day"] };
        col n_reserves_unpriced: Option<i32>, "", "Reserves with a balance and without a price.", null "snap_status is not collected",
            book { range: Range::NonNegative, formula: "distinct (market_id, token) with any raw amount above 0 and no price_usd, excluded tokens left out", sources: &["reserve_day", "token"] };
        col supplied_usd: Option<f64>, "USD", "Claims of suppliers of lendable reserves, with accrued interest.", null "snap_status is not collected, or usd_status is not complete",
            book { label: "Supplied, USD", range: Range::NonNegative, formula: "sum of supplied_usd where role is not collateral", sources: &["reserve_day", "token"] };
        col collateral_usd: Option<f64>, "USD", "Deposits that back debt and cannot be borrowed.", null "as supplied_usd",
            book { label: "Collateral that cannot be borrowed, USD", range: Range::NonNegative, formula: "sum of supplied_usd where role is collateral", sources: &["reserve_day", "token"] };
        col borrowed_usd: Option<f64>, "USD", "Debt funded by suppliers, with accrued interest.", null "as supplied_usd",
            book { label: "Borrowed, USD", range: Range::NonNegative, formula: "sum of borrowed_usd where role is reserve or base", sources: &["reserve_day", "token"] };
        col minted_usd: Option<f64>, "USD", "Debt minted by a facilitator, such as GHO; not part of borrowed_usd.", null "as supplied_usd",
            book { label: "Debt minted by a facilitator, USD", range: Range::NonNegative, formula: "sum of borrowed_usd where role is minted", sources: &["reserve_day", "token"] };
        col available_usd: Option<f64>, "USD", "Tokens that can be withdrawn or borrowed now, as the contract says.", null "as supplied_usd, or a lendable reserve does not tell",
            book { label: "Available to withdraw or borrow, USD", formula: "sum of available_usd", sources: &["reserve_day", "token"] };
        col tvl_usd: Option<f64>, "USD", "Gross: supplied_usd + collateral_usd.", null "as supplied_usd",
            book { label: "TVL gross: supplied + collateral, USD", range: Range::NonNegative, formula: "supplied_usd + collateral_usd", sources: &["reserve_day", "token"] };
        col tvl_net_usd: Option<f64>, "USD", "tvl_usd - borrowed_usd (DefiLlama's convention).", null "as supplied_usd",
            book { label: "TVL net of borrowed, USD", formula: "tvl_usd - borrowed_usd", sources: &["reserve_day", "token"] };
        col tvl_priced_usd: Option<f64>, "USD", "Gross value of the reserves that have a price.", null "snap_status is not collected",
            book { label: "TVL gross of the reserves that have a price, USD", range: Range::NonNegative, formula: "tvl_usd over the reserves that have a price_usd", sources: &["reserve_day", "token"] };
        col reserves_usd: Option<f64>, "USD", "The protocol's own share, signed.", null "as supplied_usd, or the family does not give it",
            book { label: "Protocol's own share, signed, USD", formula: "sum of reserves_usd, null if a lendable reserve does not tell", sources: &["reserve_day", "token"] };
        col deficit_usd: Option<f64>, "USD", "Bad debt booked and not yet covered.", null "as supplied_usd, or the contract version keeps no such figure",
            book { label: "Bad debt booked and not covered, USD", range: Range::NonNegative, formula: "sum of deficit_usd", sources: &["reserve_day", "token"] };
        col utilization: Option<f64>, "fraction", "borrowed_usd / supplied_usd.", null "as supplied_usd, or supplied_usd is 0",
            book { label: "Utilization: borrowed / supplied", range: Range::NonNegative, formula: "borrowed_usd / supplied_usd", sources: &["reserve_day", "token"] };
        col stable_supply_share: Option<f64>, "fraction", "Share of stablecoins in supplied_usd.", null "as utilization",
            book { range: Range::Fraction, formula: "supplied_usd where is_stablecoin / supplied_usd", sources: &["reserve_day", "token"] };
        col stable_borrow_share: Option<f64>, "fraction", "Share of stablecoins in borrowed_usd.", null "as supplied_usd, or borrowed_usd is 0",
            book { range: Range::Fraction, formula: "borrowed_usd where is_stablecoin / borrowed_usd", sources: &["reserve_day", "token"] };
        col hhi_supply: Option<f64>, "0..1", "Herfindahl index of supplied_usd over tokens.", null "as utilization",
            book { range: Range::Fraction, formula: "sum over tokens of (supplied_usd of the token / supplied_usd)^2", sources: &["reserve_day", "token"] };
        col hhi_borrow: Option<f64>, "0..1", "Herfindahl index of borrowed_usd over tokens.", null "as stable_borrow_share",
            book { range: Range::Fraction, formula: "sum over tokens of (borrowed_usd of the token / borrowed_usd)^2", sources: &["reserve_day", "token"] };
        col top1_supply_share: Option<f64>, "fraction", "Share of the largest token in supplied_usd.", null "as utilization",
            book { range: Range::Fraction, formula: "max over tokens of supplied_usd of the token / supplied_usd", sources: &["reserve_day", "token"] };
        col supply_apr: Option<f64>, "fraction per year", "Simple annual rate paid to suppliers, weighted by supplied_usd.", null "as utilization, or a weighted reserve has no rate",
            book { range: Range::NonNegative, formula: "sum(supplied_usd x supply_apr) / supplied_usd", sources: &["reserve_day", "token"] };
        col borrow_apr: Option<f64>, "fraction per year", "Simple annual variable rate, weighted by borrowed_usd.", null "as stable_borrow_share, or a weighted reserve has no rate",
            book { range: Range::NonNegative, formula: "sum(borrowed_usd x borrow_apr) / borrowed_usd", sources: &["reserve_day", "token"] };
        col supply_apr_stable: Option<f64>, "fraction per year", "supply_apr over stablecoin reserves.", null "as supply_apr, or no stablecoin is supplied",
            book { range: Range::NonNegative, formula: "supply_apr over reserves with is_stablecoin", sources: &["reserve_day", "token"] };
        col borrow_apr_stable: Option<f64>, "fraction per year", "borrow_apr over stablecoin reserves.", null "as borrow_apr, or no stablecoin is borrowed",
            book { range: Range::NonNegative, formula: "borrow_apr over reserves with is_stablecoin", sources: &["reserve_day", "token"] };
        col liq_threshold_wavg: Option<f64>, "fraction", "Liquidation threshold, weighted by supplied and collateral USD of tokens that may back debt.", null "as supplied_usd, or no such token",
            book { label: "Liquidation threshold, weighted by the USD that may back debt", range: Range::Fraction, formula: "sum(supplied_usd x liq_threshold) / sum(supplied_usd), where liq_threshold > 0", sources: &["reserve_day", "token"] };
        col liq_bonus_wavg: Option<f64>, "fraction", "Liquidation bonus, weighted as liq_threshold_wavg.", null "as liq_threshold_wavg, or a weighted reserve has none",
            book { range: Range::NonNegative, formula: "sum(supplied_usd x liq_bonus) / sum(supplied_usd), where liq_threshold > 0", sources: &["reserve_day", "token"] };
        col liq_count: Option<i32>, "", "Liquidations: one position, one liquidator, one transaction, one debt.", null "liq_status is not collected or no_block",
            book { range: Range::NonNegative, formula: "distinct liq_id of legs with a debt side; any leg but one of bad debt alone where the family gives no debt", sources: &["liquidation"] };
        col liq_event_count: Option<i32>, "", "Liquidation logs.", null "as liq_count",
            book { label: "Liquidation logs", range: Range::NonNegative, formula: "distinct (block_number, log_index)", sources: &["liquidation"] };
        col liq_tx_count: Option<i32>, "", "Transactions with a liquidation.", null "as liq_count",
            book { range: Range::NonNegative, formula: "distinct tx_hash of the legs that liq_count counts", sources: &["liquidation"] };
        col liq_borrowers: Option<i32>, "", "Borrowers liquidated, each once.", null "as liq_count, or the family's events name none",
            book { range: Range::NonNegative, formula: "distinct borrower of the legs that liq_count counts", sources: &["liquidation", "csu"] };
        col liq_liquidators: Option<i32>, "", "Liquidators, each once.", null "as liq_count",
            book { range: Range::NonNegative, formula: "distinct liquidator of the legs that liq_count counts", sources: &["liquidation"] };
        col liq_debt_usd: Option<f64>, "USD", "Debt repaid by liquidators.", null "as liq_count, a leg has no price, or the family's events give no debt",
            book { label: "Debt repaid by liquidators, USD", range: Range::NonNegative, formula: "sum of debt_usd", sources: &["liquidation", "csu"] };
        col liq_coll_usd: Option<f64>, "USD", "Collateral received by liquidators.", null "as liq_count, or a leg has no price",
            book { label: "Collateral received by liquidators, USD", range: Range::NonNegative, formula: "sum of coll_usd", sources: &["liquidation"] };
        col liq_bonus_usd: Option<f64>, "USD", "liq_coll_usd - liq_debt_usd.", null "as liq_debt_usd",
            book { label: "Collateral less debt of liquidations, USD", formula: "liq_coll_usd - liq_debt_usd", sources: &["liquidation", "csu"] };
        col liq_max_usd: Option<f64>, "USD", "Debt repaid in the largest liquidation.", null "as liq_debt_usd, or liq_count is 0",
            book { label: "Debt repaid in the largest liquidation, USD", range: Range::NonNegative, formula: "max over liq_id of the sum of debt_usd", sources: &["liquidation", "csu"] };
        col bad_debt_usd: Option<f64>, "USD", "Bad debt booked by the day's liquidations.", null "as liq_count, a leg has no price, or the contracts do not tell",
            book { label: "Bad debt booked by the day's liquidations, USD", range: Range::NonNegative, formula: "sum of bad_debt_usd", sources: &["liquidation", "csu", "reserve_day"] };
        col hhi_liquidators: Option<f64>, "0..1", "Herfindahl index of debt repaid over liquidators.", null "as liq_max_usd, the debt repaid is worth 0, or a liquidator is not named",
            book { range: Range::Fraction, formula: "sum over liquidators of (their debt_usd / liq_debt_usd)^2", sources: &["liquidation", "csu"] };
        col top1_liquidator_share: Option<f64>, "fraction", "Share of the largest liquidator in debt repaid.", null "as hhi_liquidators",
            book { range: Range::Fraction, formula: "max over liquidators of their debt_usd / liq_debt_usd", sources: &["liquidation", "csu"] };
        col liq_priced_share: Option<f64>, "fraction", "Share of liquidations with a price on both sides.", null "as liq_count, or liq_count is 0",
            book { range: Range::Fraction, formula: "liquidations whose every debt and collateral amount has a price / liq_count", sources: &["liquidation"] };
        col px_cov_share: Option<f64>, "fraction", "Priced reserves among those with a balance, by count.", null "snap_status is not collected, or no reserve has a balance",
            book { range: Range::Fraction, formula: "(reserves with a balance - n_reserves_unpriced) / reserves with a balance", sources: &["reserve_day", "token"] };
        col px_protocol_share: Option<f64>, "fraction", "Share of the protocol's own oracle in tvl_priced_usd.", null "snap_status is not collected, or tvl_priced_usd is 0",
            book { range: Range::Fraction, formula: "supplied_usd with price_source protocol_oracle / tvl_priced_usd", sources: &["reserve_day", "token"] };
        col px_chainlink_share: Option<f64>, "fraction", "Share of Chainlink feeds in tvl_priced_usd.", null "as px_protocol_share",
            book { range: Range::Fraction, formula: "supplied_usd with price_source chainlink / tvl_priced_usd", sources: &["reserve_day", "token"] };
        col px_other_share: Option<f64>, "fraction", "Share of every other source in tvl_priced_usd.", null "as px_protocol_share",
            book { range: Range::Fraction, formula: "1 - px_protocol_share - px_chainlink_share, as sums", sources: &["reserve_day", "token"] };
        col px_max_age_s: Option<i64>, "seconds", "Age of the oldest price used.", null "snap_status is not collected, or no source tells its age",
            book { label: "Age of the oldest price used, seconds", formula: "max of price_age_s over reserves with a balance", sources: &["reserve_day", "token"] };
        col blocks_expected: Option<i64>, "blocks", "Blocks of the day.", null "boundaries not collected",
            book { label: "Blocks of the day", range: Range::NonNegative, formula: "day_block.n_blocks", sources: &["day_block", "coverage"] };
        col blocks_scanned: Option<i64>, "blocks", "Blocks whose logs were read.", null "as blocks_expected, or never scanned",
            book { range: Range::NonNegative, formula: "coverage.blocks_scanned of dataset liquidations", sources: &["coverage"] };
        col log_cov_share: Option<f64>, "fraction", "blocks_scanned / blocks_expected.", null "as blocks_scanned, or no block in the day",
            book { range: Range::Fraction, formula: "blocks_scanned / blocks_expected", sources: &["day_block", "coverage"] };
        col schema_version: String, "", "Version of this table's definition.",
            book { sources: &["program"] };
        col release: String, "", "Release of the data; `unreleased` until one is made.",
            book { label: "Release of the data", sources: &["program"] };
        col code_version: String, "", "Version of the program.",
            book { sources: &["program"] };
        col registry_hash: String, "", "Digest of the registry.",
            book { formula: "sha256 over a line `file sha256` for each file of the registry, in order", sources: &["registry"] };
        col inputs_hash: String, "", "Digest over the bronze objects of this row, its audit left out; of nothing when there is none.",
            book { label: "Digest over the row's bronze objects", formula: "sha256 over a line `path sha256` for each object, in order of path: the root of a Merkle tree whose leaves are the objects (blocks, snapshot, logs, price book, off-chain prices used)", sources: &["day_block", "coverage"] };
        col row_hash: String, "", "Digest of the row's other columns.",
            book { formula: "sha256 over a line `name=value` (`name` for a null) for each other column, in order of the table", sources: &["program"] };
    }
}

table! {
    /// One class of assets of one CSU on one day: every class on every day, zero where the CSU has none of it. Where
    /// `panel_daily` has a total, the classes add up to it.
    PanelDailyAsset = "panel_daily_asset", version "1.0.0", one row per "CSU, day and class of assets" {
        key csu: String, "", "CSU id: one lending deployment on one chain.",
            book { sources: &["registry"] };
        col csu_num: i32, "", "Number of the CSU, for programs that want one.",
            book { range: Range::NonNegative, sources: &["registry"] };
        key date: Day, "day", "Calendar day of the run's time zone.",
            book { sources: &["day_block"] };
        col day_num: i32, "days", "Days since 1970-01-01.",
            book { formula: "date - 1970-01-01", sources: &["day_block"] };
        key asset_class: AssetClass, "", "Class of the tokens in the registry: stablecoin, eth, btc or other.",
            book { formula: "reserve_day.asset_class", sources: &["reserve_day"] };
        col snap_status: Status, "", "What became of the snapshot, as in panel_daily.",
            book { sources: &["coverage"] };
        col usd_status: UsdStatus, "", "Whether every non-zero reserve of the class has a price.",
            book { formula: "as in panel_daily, over the reserves of the class", sources: &["reserve_day", "token"] };
        col n_reserves: Option<i32>, "", "Number of reserves of the class.", null "snap_status is not collected",
            book { range: Range::NonNegative, formula: "distinct (market_id, token)", sources: &["reserve_day"] };
        col n_reserves_unpriced: Option<i32>, "", "Reserves of the class with a balance and without a price.", null "snap_status is not collected",
            book { range: Range::NonNegative, formula: "as in panel_daily", sources: &["reserve_day", "token"] };
        col supplied_usd: Option<f64>, "USD", "Claims of suppliers of lendable reserves of the class.", null "snap_status is not collected, or usd_status is not complete",
            book { label: "Supplied in the class, USD", range: Range::NonNegative, formula: "as in panel_daily", sources: &["reserve_day", "token"] };
        col collateral_usd: Option<f64>, "USD", "Deposits of the class that back debt and cannot be borrowed.", null "as supplied_usd",
            book { label: "Collateral of the class that cannot be borrowed, USD", range: Range::NonNegative, formula: "as in panel_daily", sources: &["reserve_day", "token"] };
        col borrowed_usd: Option<f64>, "USD", "Debt in the class funded by suppliers.", null "as supplied_usd",
            book { label: "Borrowed in the class, USD", range: Range::NonNegative, formula: "as in panel_daily", sources: &["reserve_day", "token"] };
        col minted_usd: Option<f64>, "USD", "Debt in the class minted by a facilitator.", null "as supplied_usd",
            book { label: "Debt in the class minted by a facilitator, USD", range: Range::NonNegative, formula: "as in panel_daily", sources: &["reserve_day", "token"] };
        col available_usd: Option<f64>, "USD", "Tokens of the class that can be withdrawn or borrowed now.", null "as supplied_usd, or a lendable reserve of the class does not tell",
            book { label: "Available in the class, USD", formula: "as in panel_daily", sources: &["reserve_day", "token"] };
        col tvl_usd: Option<f64>, "USD", "Gross: supplied_usd + collateral_usd.", null "as supplied_usd",
            book { label: "TVL gross of the class, USD", range: Range::NonNegative, formula: "supplied_usd + collateral_usd", sources: &["reserve_day", "token"] };
        col tvl_net_usd: Option<f64>, "USD", "tvl_usd - borrowed_usd.", null "as supplied_usd",
            book { label: "TVL of the class net of borrowed, USD", formula: "tvl_usd - borrowed_usd", sources: &["reserve_day", "token"] };
        col tvl_priced_usd: Option<f64>, "USD", "Gross value of the reserves of the class that have a price.", null "snap_status is not collected",
            book { label: "TVL gross of the priced reserves of the class, USD", range: Range::NonNegative, formula: "tvl_usd over the reserves that have a price_usd", sources: &["reserve_day", "token"] };
        col reserves_usd: Option<f64>, "USD", "The protocol's own share in the class, signed.", null "as supplied_usd, a lendable reserve of the class does not tell, or the class has none",
            book { label: "Protocol's own share in the class, USD", formula: "as in panel_daily", sources: &["reserve_day", "token"] };
        col deficit_usd: Option<f64>, "USD", "Bad debt booked in the class and not yet covered.", null "as supplied_usd, or no reserve of the class keeps such a figure",
            book { label: "Bad debt booked in the class, USD", range: Range::NonNegative, formula: "as in panel_daily", sources: &["reserve_day", "token"] };
        col utilization: Option<f64>, "fraction", "borrowed_usd / supplied_usd.", null "as supplied_usd, or supplied_usd is 0",
            book { range: Range::NonNegative, formula: "borrowed_usd / supplied_usd", sources: &["reserve_day", "token"] };
        col supply_apr: Option<f64>, "fraction per year", "Simple annual rate paid to suppliers, weighted by supplied_usd.", null "as utilization, or a weighted reserve has no rate",
            book { range: Range::NonNegative, formula: "sum(supplied_usd x supply_apr) / supplied_usd", sources: &["reserve_day", "token"] };
        col borrow_apr: Option<f64>, "fraction per year", "Simple annual variable rate, weighted by borrowed_usd.", null "as supplied_usd, borrowed_usd is 0, or a weighted reserve has no rate",
            book { range: Range::NonNegative, formula: "sum(borrowed_usd x borrow_apr) / borrowed_usd", sources: &["reserve_day", "token"] };
        col schema_version: String, "", "Version of this table's definition.",
            book { sources: &["program"] };
        col release: String, "", "Release of the data; `unreleased` until one is made.",
            book { label: "Release of the data", sources: &["program"] };
        col code_version: String, "", "Version of the program.",
            book { sources: &["program"] };
        col registry_hash: String, "", "Digest of the registry.",
            book { formula: "sha256 over a line `file sha256` for each file of the registry, in order", sources: &["registry"] };
        col inputs_hash: String, "", "Digest over the bronze objects of this row, its audit left out; of nothing when there is none.",
            book { label: "Digest over the row's bronze objects", formula: "sha256 over a line `path sha256` for each object, in order of path: the root of a Merkle tree whose leaves are the objects", sources: &["day_block", "coverage"] };
        col row_hash: String, "", "Digest of the row's other columns.",
            book { formula: "sha256 over a line `name=value` (`name` for a null) for each other column, in order of the table", sources: &["program"] };
    }
}

/// The tables of gold.
pub fn tables() -> Vec<Table> {
    vec![PanelDaily::TABLE, PanelDailyAsset::TABLE]
}
