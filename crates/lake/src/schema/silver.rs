//! The tables of silver: the seven that describe, and the rejects.
//!
//! Raw amounts are decimal text (256 bits do not fit a column type that all readers know); unsuffixed amounts are in
//! whole tokens; `_usd` is US dollars at the price of that block; addresses are lower-case hex.

use super::{Row, Seconds, Table, table};
use crate::day::Day;
use crate::status::{AuditLevel, Dataset, PriceBasis, PriceSource, Reason, Role, Status};

table! {
    /// First and last block of a day of a chain.
    DayBlock = "day_block", version "1.0.0", one row per "chain and day" {
        key chain: String, "", "Chain, as in the registry.";
        key date: Day, "day", "Calendar day of the run's time zone.";
        col chain_id: i64, "", "EIP-155 chain id.";
        col day_start_utc: Seconds, "UTC", "First instant of the day.";
        col day_end_utc: Seconds, "UTC", "First instant of the next day.";
        col day_hours: i32, "hours", "Length of the day: 23, 24 or 25.";
        col first_block: Option<i64>, "block", "First block with a timestamp in the day.", null "no block in the day, or boundaries not collected";
        col last_block: Option<i64>, "block", "Last block with a timestamp in the day: the snapshot block.", null "no block in the day, or boundaries not collected";
        col last_block_hash: Option<String>, "", "Hash of the snapshot block.", null "as last_block";
        col last_block_ts: Option<Seconds>, "UTC", "Time of the snapshot block.", null "as last_block";
        col next_block_ts: Option<Seconds>, "UTC", "Time of the first block after the day.", null "boundaries not collected";
        col n_blocks: Option<i64>, "blocks", "Number of blocks in the day.", null "boundaries not collected";
        col status: Status, "", "Whether the boundaries were collected.";
        col bronze_sha256: Option<String>, "", "Digest of the bronze object.", null "boundaries not collected";
    }
}

table! {
    /// State of one token in one market at the snapshot block.
    ReserveDay = "reserve_day", version "1.0.0", one row per "CSU, day, market, token and role" {
        key csu: String, "", "CSU: one lending deployment on one chain.";
        key date: Day, "day", "Calendar day of the run's time zone.";
        key market_id: String, "", "Market within the CSU, an address or a 32-byte id: the pool of Aave V3, a cToken, a Comet.";
        key token: String, "", "Token address.";
        key role: Role, "", "Part the token plays: reserve, base, collateral or minted.";
        col block_number: i64, "block", "Snapshot block.";
        col symbol: Option<String>, "", "Token symbol as the contract gives it, control characters removed.", null "the contract gave none";
        col decimals: Option<i32>, "digits", "Decimals of the token as read on chain.", null "not readable; no figure in whole tokens is given then";
        col supplied_raw: Option<String>, "base units", "Claims of suppliers, with accrued interest.", null "not readable";
        col borrowed_raw: Option<String>, "base units", "Debt, with accrued interest.", null "not readable";
        col available_raw: Option<String>, "base units", "Tokens that can be withdrawn or borrowed now.", null "not readable";
        col reserves_raw: Option<String>, "base units", "The protocol's own share, signed.", null "not readable, or not a notion of the family";
        col deficit_raw: Option<String>, "base units", "Bad debt that the protocol has booked and not yet covered.", null "the contract version keeps no such figure";
        col supplied: Option<f64>, "tokens", "Claims of suppliers.", null "raw amount or decimals missing";
        col borrowed: Option<f64>, "tokens", "Debt, with accrued interest.", null "raw amount or decimals missing";
        col available: Option<f64>, "tokens", "Tokens that can be withdrawn or borrowed now.", null "raw amount or decimals missing";
        col reserves: Option<f64>, "tokens", "The protocol's own share, signed.", null "raw amount or decimals missing";
        col deficit: Option<f64>, "tokens", "Booked bad debt.", null "raw amount or decimals missing";
        col identity_gap: Option<f64>, "tokens", "What is left of the family's accounting identity.", null "a term is missing, or the identity does not hold for this role";
        col price_usd: Option<f64>, "USD per token", "Selected price at the snapshot block.", null "no price; flags say why";
        col price_source: Option<PriceSource>, "", "Where the selected price comes from.", null "no price";
        col price_age_s: Option<i64>, "seconds", "Snapshot time minus the time of the feed's round.", null "the source does not tell its round";
        col supplied_usd: Option<f64>, "USD", "supplied x price_usd.", null "amount or price missing (0 when the amount is 0)";
        col borrowed_usd: Option<f64>, "USD", "borrowed x price_usd.", null "amount or price missing (0 when the amount is 0)";
        col available_usd: Option<f64>, "USD", "available x price_usd.", null "amount or price missing (0 when the amount is 0)";
        col reserves_usd: Option<f64>, "USD", "reserves x price_usd.", null "amount or price missing (0 when the amount is 0)";
        col deficit_usd: Option<f64>, "USD", "deficit x price_usd.", null "amount or price missing (0 when the amount is 0)";
        col supply_apr: Option<f64>, "fraction per year", "Simple annual rate paid to suppliers.", null "not readable";
        col borrow_apr: Option<f64>, "fraction per year", "Simple annual variable rate paid by borrowers.", null "not readable";
        col borrow_apr_stable_mode: Option<f64>, "fraction per year", "Simple annual rate of stable-rate debt.", null "the family or version has no stable-rate debt";
        col ltv: Option<f64>, "fraction", "Loan to value at which a borrower may borrow.", null "not readable, or not a notion of the family";
        col liq_threshold: Option<f64>, "fraction", "Share of the collateral's value above which debt is liquidated.", null "not readable, or not a notion of the family";
        col liq_bonus: Option<f64>, "fraction", "Extra collateral for the liquidator, 0.05 is five per cent.", null "not readable, or the token is no collateral";
        col reserve_factor: Option<f64>, "fraction", "Share of interest that goes to the protocol.", null "not readable";
        col supply_cap: Option<f64>, "tokens", "Upper bound on supply.", null "no cap, or not readable";
        col borrow_cap: Option<f64>, "tokens", "Upper bound on debt.", null "no cap, or not readable";
        col is_active: Option<bool>, "", "Whether the reserve is active.", null "not readable";
        col is_frozen: Option<bool>, "", "Whether new supply and borrowing are off.", null "not readable";
        col is_paused: Option<bool>, "", "Whether all actions are off.", null "not readable";
        col asset_class: String, "", "Class of the token in the registry: stablecoin, eth, btc or other.";
        col is_stablecoin: bool, "", "Whether the registry lists the token as a stablecoin.";
        col status: Status, "", "collected, or partial when a figure of this reserve could not be read.";
        col flags: String, "", "Remarks, separated by semicolons.";
        col bronze_sha256: String, "", "Digest of the bronze object.";
    }
}

table! {
    /// One leg of a liquidation.
    Liquidation = "liquidation", version "1.0.0", one row per "liquidation log and leg" {
        key chain_id: i64, "", "EIP-155 chain id.";
        key block_number: i64, "block", "Block of the log.";
        key log_index: i32, "", "Index of the log in its block.";
        key leg: i32, "", "Leg within the log, from 0.";
        col csu: String, "", "CSU: one lending deployment on one chain.";
        col date: Day, "day", "Calendar day of the run's time zone.";
        col block_ts: Seconds, "UTC", "Time of the block.";
        col block_hash: String, "", "Hash of the block.";
        col tx_hash: String, "", "Hash of the transaction.";
        col tx_index: i32, "", "Index of the transaction in its block.";
        col event_name: String, "", "Name of the event.";
        col liq_id: String, "", "Liquidation that the leg belongs to: digest of CSU, transaction, borrower and debt token.";
        col market_id: String, "", "Market within the CSU.";
        col liquidator: Option<String>, "", "Address that repaid the debt.", null "the event does not name it";
        col borrower: Option<String>, "", "Address whose debt was repaid.", null "the event does not name it";
        col debt_token: Option<String>, "", "Token of the debt.", null "the leg has no debt side";
        col debt_raw: Option<String>, "base units", "Debt repaid.", null "the leg has no debt side";
        col debt: Option<f64>, "tokens", "Debt repaid.", null "raw amount or decimals missing";
        col debt_usd: Option<f64>, "USD", "Debt repaid at the price of price_basis.", null "amount or price missing (0 when the amount is 0)";
        col coll_token: Option<String>, "", "Token of the collateral.", null "the leg has no collateral side";
        col coll_raw: Option<String>, "base units", "Collateral that the liquidator received, without the protocol's fee.", null "the leg has no collateral side";
        col coll: Option<f64>, "tokens", "Collateral that the liquidator received.", null "raw amount or decimals missing";
        col coll_usd: Option<f64>, "USD", "Collateral at the price of price_basis.", null "amount or price missing (0 when the amount is 0)";
        col bad_debt_raw: Option<String>, "base units", "Debt left without collateral, in the debt token.", null "the leg books no bad debt";
        col bad_debt_usd: Option<f64>, "USD", "Bad debt at the price of price_basis.", null "no bad debt, or price missing";
        col price_basis: PriceBasis, "", "Block that the prices are of.";
        col debt_price_usd: Option<f64>, "USD per token", "Price of the debt token.", null "no price";
        col coll_price_usd: Option<f64>, "USD per token", "Price of the collateral token.", null "no price";
        col debt_price_source: Option<PriceSource>, "", "Where the price of the debt token comes from.", null "no price";
        col coll_price_source: Option<PriceSource>, "", "Where the price of the collateral token comes from.", null "no price";
        col flags: String, "", "Remarks, separated by semicolons.";
        col bronze_sha256: String, "", "Digest of the bronze object.";
    }
}

table! {
    /// One price answer, whether used or not.
    Price = "price", version "1.1.0", one row per "chain, token, block, source and feed" {
        key chain_id: i64, "", "EIP-155 chain id.";
        key token: String, "", "Token address; 0xbbbb...bbbb stands for Bitcoin itself, 0xeeee...eeee for the native coin.";
        key block_number: i64, "block", "Block of the answer.";
        key source: PriceSource, "", "Kind of source.";
        key feed: String, "", "Contract that was asked, or the name of an off-chain service.";
        col chain: String, "", "Chain, as in the registry.";
        col date: Day, "day", "Calendar day of the run's time zone.";
        col answer_raw: Option<String>, "", "The answer as an integer, which may be negative.", null "the call failed";
        col answer_unit: Option<String>, "", "What the answer is divided by, as an integer: 100000000 for 8 decimals.", null "the call failed";
        col quote: String, "", "Currency of the answer: USD, a token address, or unknown.";
        col via: Option<String>, "", "Feeds that turned the quote currency into US dollars at the same block, as source:feed, in order, separated by semicolons.", null "the answer is in US dollars, or no price";
        col price_usd: Option<f64>, "USD per token", "Price.", null "no usable answer; status says why";
        col updated_at: Option<Seconds>, "UTC", "Time of the feed's round.", null "the source does not tell";
        col age_s: Option<i64>, "seconds", "Block time minus updated_at; negative where an off-chain price is of a later time.", null "the source does not tell";
        col is_selected: bool, "", "Whether figures of that block use this answer, by itself or to turn a quote currency into US dollars.";
        col status: String, "", "ok, or why it is no price: call_failed, not_positive, stale, quote_unknown, quote_unpriced, conflict.";
        col flags: String, "", "Remarks, separated by semicolons.";
        col bronze_sha256: String, "", "Digest of the bronze object.";
    }
}

table! {
    /// What is there of a dataset, and why the rest is not.
    Coverage = "coverage", version "1.1.0", one row per "CSU, day and dataset" {
        key csu: String, "", "CSU: one lending deployment on one chain.";
        key date: Day, "day", "Calendar day of the run's time zone.";
        key dataset: Dataset, "", "tvl or liquidations.";
        col status: Status, "", "What became of it.";
        col reason: Option<Reason>, "", "Why it is not collected.", null "collected, or the status says it all";
        col message: Option<String>, "", "The reason in words.", null "as reason";
        col calls_planned: Option<i64>, "calls", "Calls that the plan has.", null "never tried";
        col calls_ok: Option<i64>, "calls", "Calls that returned data.", null "never tried";
        col blocks_expected: Option<i64>, "blocks", "Blocks of the day.", null "dataset without a scan, or boundaries not collected";
        col blocks_scanned: Option<i64>, "blocks", "Blocks whose logs were read.", null "as blocks_expected";
        col audit_level: Option<AuditLevel>, "", "How far the scan was checked against other operators: one_source, sampled, two_operators or receipts.", null "dataset without a scan, not collected, or no readable audit has the CSU";
        col object: Option<String>, "", "Bronze object.", null "not collected";
        col sha256: Option<String>, "", "Digest of the bronze object.", null "not collected";
    }
}

table! {
    /// A CSU, from the registry.
    CsuRow = "csu", version "1.0.0", one row per "CSU" {
        key csu: String, "", "CSU: one lending deployment on one chain.";
        col csu_num: i32, "", "Number of the CSU; given once, never used again.";
        col protocol: String, "", "Protocol.";
        col version: String, "", "Version of the protocol.";
        col family: String, "", "Family of contracts that reads it.";
        col chain: String, "", "Chain, as in the registry.";
        col chain_id: i64, "", "EIP-155 chain id.";
        col is_l2: bool, "", "Whether the chain is a rollup.";
        col market: String, "", "Market of the protocol on that chain.";
        col deployed_block: Option<i64>, "block", "Block of the deployment.", null "not known";
        col deployed_date: Option<Day>, "day", "UTC day of the deployment.", null "not known";
        col retired_date: Option<Day>, "day", "Last day of the deployment.", null "still there";
        col root_contract: String, "", "Entry contract.";
        col has_borrower: bool, "", "Whether liquidation events name the borrower.";
        col has_debt_amount: bool, "", "Whether liquidation events give the debt repaid.";
        col bad_debt_method: String, "", "How bad debt is known: event, event_if_deficit (only where the contracts keep a deficit), estimate or none.";
        col verified: String, "", "How far the registry row was checked: yes, partial or no.";
        col source: String, "", "Where the registry row comes from.";
    }
}

table! {
    /// A token, from the chain and the registry.
    TokenRow = "token", version "1.0.0", one row per "chain and token" {
        key chain_id: i64, "", "EIP-155 chain id.";
        key token: String, "", "Token address.";
        col chain: String, "", "Chain, as in the registry.";
        col symbol: Option<String>, "", "Symbol as the contract gives it, control characters removed.", null "the contract gave none";
        col decimals: Option<i32>, "digits", "Decimals.", null "not readable";
        col decimals_source: Option<String>, "", "onchain: read from the contract.", null "not readable";
        col asset_class: String, "", "Class of the token in the registry: stablecoin, eth, btc or other.";
        col is_stablecoin: bool, "", "Whether the registry lists the token as a stablecoin.";
        col pricing: String, "", "oracle, or excluded for a token that can never be priced.";
        col pricing_reason: Option<String>, "", "Why a token is excluded from pricing.", null "it is not";
    }
}

table! {
    /// A liquidation log that could not be decoded. Rows here are never dropped and never counted.
    Reject = "reject", version "1.0.0", one row per "liquidation log" {
        key chain_id: i64, "", "EIP-155 chain id.";
        key block_number: i64, "block", "Block of the log.";
        key log_index: i32, "", "Index of the log in its block.";
        col csu: String, "", "CSU: one lending deployment on one chain.";
        col date: Day, "day", "Calendar day of the run's time zone.";
        col tx_hash: String, "", "Hash of the transaction.";
        col topic0: Option<String>, "", "First topic of the log.", null "the log has no topic";
        col why: String, "", "What is wrong with the log.";
        col bronze_sha256: String, "", "Digest of the bronze object.";
    }
}

/// The tables of silver.
pub fn tables() -> Vec<Table> {
    vec![
        DayBlock::TABLE,
        ReserveDay::TABLE,
        Liquidation::TABLE,
        Price::TABLE,
        Coverage::TABLE,
        CsuRow::TABLE,
        TokenRow::TABLE,
        Reject::TABLE,
    ]
}
