//! The answers lendlake should give, found without any of lendlake's code.
//!
//! Every header is read, one by one; every receipt of every transaction is read and its logs counted; every figure is
//! one plain `eth_call`, through Aave's data provider where lendlake reads the pool's storage words. What the two roads
//! share is the chain.

use alloy_primitives::{Address, B256, U256, keccak256};
use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::aave::MULTICALL3;
use super::abi::{self, address_at, uint_at};
use super::decimal::Decimal;
use super::expected_families::ExpectedCsu;
use super::rpc::{Rpc, number, quantity, text};
use super::story::{Header, read_headers};
use super::{DAYS, DEVNET_A, DEVNET_B, Day, Demo, Played, REPEATED_HOUR};

/// The whole of `data/demo/expected.json`. All integers are decimal text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    /// Where this comes from.
    pub source: String,
    /// The zone of the days.
    pub zone: String,
    /// Decimals of every oracle price (USD).
    pub price_decimals: String,
    /// One entry for each chain with Aave V3.
    pub chains: Vec<ExpectedChain>,
    /// The CSUs of the chain with three other families.
    pub csus: Vec<ExpectedCsu>,
}

/// One chain and its only market.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectedChain {
    /// Name in the registry.
    pub chain: String,
    /// EIP-155 chain id.
    pub chain_id: String,
    /// The market's name in the registry.
    pub csu: String,
    /// Its entry point.
    pub pool_addresses_provider: String,
    /// Its pool.
    pub pool: String,
    /// Its oracle.
    pub oracle: String,
    /// Where Multicall3 is.
    pub multicall3: String,
    /// The first block with Multicall3.
    pub multicall3_block: String,
    /// The block of the addresses provider.
    pub deployed_block: String,
    /// The last block of the chain.
    pub head: String,
    /// The four days of the demo.
    pub days: Vec<ExpectedDay>,
    /// Liquidations outside these days, which lendlake must leave out.
    pub liquidations_outside: Vec<ExpectedLiquidation>,
}

/// One day of one chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectedDay {
    /// The date in the zone.
    pub day: String,
    /// First second of the day.
    pub day_start: String,
    /// First second of the next day.
    pub day_end: String,
    /// First block of the day.
    pub first_block: ExpectedBlock,
    /// Last block of the day, at which everything is read.
    pub last_block: ExpectedBlock,
    /// Number of blocks in the day.
    pub blocks: String,
    /// Sum of the aTokens at the oracle's prices, in USD, exact.
    pub supplied_usd: String,
    /// Sum of the debts at the oracle's prices, in USD, exact.
    pub borrowed_usd: String,
    /// Number of liquidations.
    pub liquidations_count: String,
    /// Debt repaid by liquidators, each at its own block's price, in USD, exact.
    pub liq_debt_usd: String,
    /// Collateral they received, likewise.
    pub liq_coll_usd: String,
    /// In the pool's order.
    pub reserves: Vec<ExpectedReserve>,
    /// In the chain's order.
    pub liquidations: Vec<ExpectedLiquidation>,
}

/// A block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectedBlock {
    /// Its number.
    pub number: String,
    /// Its timestamp.
    pub timestamp: String,
    /// Its hash.
    pub hash: String,
}

/// A reserve at the last block of a day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectedReserve {
    /// The token.
    pub token: String,
    /// Its symbol.
    pub symbol: String,
    /// Its decimals.
    pub decimals: String,
    /// Its aToken.
    pub a_token: String,
    /// Its stable debt token.
    pub stable_debt_token: String,
    /// Its variable debt token.
    pub variable_debt_token: String,
    /// `aToken.totalSupply()`.
    pub a_token_supply: String,
    /// `stableDebtToken.totalSupply()`.
    pub stable_debt: String,
    /// `variableDebtToken.totalSupply()`.
    pub variable_debt: String,
    /// `underlying.balanceOf(aToken)`.
    pub cash: String,
    /// The oracle's price.
    pub price: String,
    /// Liquidity rate, in rays a year.
    pub liquidity_rate: String,
    /// Variable borrow rate, in rays a year.
    pub variable_borrow_rate: String,
    /// Loan to value in basis points.
    pub ltv: String,
    /// Liquidation threshold in basis points.
    pub liquidation_threshold: String,
}

/// One `LiquidationCall`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectedLiquidation {
    /// Its block.
    pub block: String,
    /// The block's timestamp.
    pub timestamp: String,
    /// Position among the logs of the block.
    pub log_index: String,
    /// Its transaction.
    pub tx_hash: String,
    /// The token seized.
    pub collateral: String,
    /// Its symbol.
    pub collateral_symbol: String,
    /// The token repaid.
    pub debt: String,
    /// Its symbol.
    pub debt_symbol: String,
    /// Who was liquidated.
    pub user: String,
    /// Who liquidated.
    pub liquidator: String,
    /// Amount repaid.
    pub debt_to_cover: String,
    /// Amount the liquidator received.
    pub liquidated_collateral: String,
    /// Whether it was paid in aTokens.
    pub receive_a_token: bool,
    /// The oracle's price of the collateral at the end of the block.
    pub collateral_price: String,
    /// The oracle's price of the debt at the end of the block.
    pub debt_price: String,
    /// Amount repaid in USD, exact.
    pub debt_usd: String,
    /// Amount received in USD, exact.
    pub collateral_usd: String,
}

/// Reads the answers off the chains.
///
/// # Errors
/// When a call fails, or the chain contradicts itself or the story.
pub fn read(demo: &mut Demo) -> Result<Expected> {
    let csus = super::expected_families::read(&mut demo.families)?;
    let chains = std::thread::scope(|scope| {
        let threads: Vec<_> =
            demo.aave.iter().map(|played| scope.spawn(move || read_chain(played))).collect();
        threads
            .into_iter()
            .map(|t| t.join().unwrap_or_else(|_| bail!("the thread reading a chain panicked")))
            .collect::<Result<Vec<_>>>()
    })?;
    let expected = Expected {
        source: "crates/testkit/src/devnet/expected.rs, written by make record-demo".to_owned(),
        zone: "America/New_York".to_owned(),
        price_decimals: PRICE_DECIMALS.to_string(),
        chains,
        csus,
    };
    check_story(&expected)?;
    Ok(expected)
}

impl From<&Header> for ExpectedBlock {
    fn from(header: &Header) -> Self {
        Self {
            number: header.number.to_string(),
            timestamp: header.timestamp.to_string(),
            hash: header.hash.clone(),
        }
    }
}

fn read_chain(played: &Played) -> Result<ExpectedChain> {
    let mut rpc = played.node.rpc();
    let rpc = &mut rpc;
    let name = played.spec.name;
    let headers =
        read_headers(rpc, played.spec, played.head).with_context(|| format!("the headers of {name}"))?;
    let provider = played.market.provider;
    let pool = address_of(rpc, provider, "getPool()", played.head)?;
    let oracle = address_of(rpc, provider, "getPriceOracle()", played.head)?;
    ensure!(pool == played.market.pool, "{name}: the provider names another pool than at deployment");

    let mut outside = Vec::new();
    let mut by_day: Vec<Vec<ExpectedLiquidation>> = vec![Vec::new(); DAYS.len()];
    for header in headers.iter().filter(|h| h.transactions > 0) {
        let found = read_liquidations(rpc, header, provider, pool)
            .with_context(|| format!("the liquidations in block {} of {name}", header.number))?;
        match DAYS.iter().position(|d| d.start <= header.timestamp && header.timestamp < d.end) {
            Some(day) => by_day[day].extend(found),
            None => outside.extend(found),
        }
    }
    let days = DAYS
        .iter()
        .zip(by_day)
        .map(|(day, liquidations)| {
            read_day(rpc, provider, &headers, day, liquidations)
                .with_context(|| format!("{} of {name}", day.date))
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(ExpectedChain {
        chain: name.to_owned(),
        chain_id: played.spec.chain_id.to_string(),
        csu: format!("aave_v3_{name}"),
        pool_addresses_provider: provider.to_string(),
        pool: pool.to_string(),
        oracle: oracle.to_string(),
        multicall3: MULTICALL3.to_string(),
        multicall3_block: played.market.multicall3_block.to_string(),
        deployed_block: played.market.provider_block.to_string(),
        head: played.head.to_string(),
        days,
        liquidations_outside: outside,
    })
}

fn read_day(
    rpc: &mut Rpc,
    provider: Address,
    headers: &[Header],
    day: &Day,
    liquidations: Vec<ExpectedLiquidation>,
) -> Result<ExpectedDay> {
    let blocks: Vec<&Header> =
        headers.iter().filter(|h| day.start <= h.timestamp && h.timestamp < day.end).collect();
    let (Some(first), Some(last)) = (blocks.first(), blocks.last()) else { bail!("no blocks") };
    let at = last.number;
    let pool = address_of(rpc, provider, "getPool()", at)?;
    let list = rpc.eth_call(pool, &abi::call("getReservesList()", &[]), at)?;
    let count = u64::try_from(uint_at(&list, 1)?).context("the number of reserves")?;
    let (mut supplied, mut borrowed) = (Decimal::ZERO, Decimal::ZERO);
    let mut reserves = Vec::new();
    for index in 0..count {
        let token = address_at(&list, usize::try_from(2 + index)?)?;
        let reserve = read_reserve(rpc, provider, token, at).with_context(|| format!("reserve {token}"))?;
        let decimals: u8 = reserve.decimals.parse()?;
        let price = reserve.price.parse()?;
        supplied = supplied.plus(usd(reserve.a_token_supply.parse()?, decimals, price)?)?;
        borrowed = borrowed.plus(usd(reserve.stable_debt.parse()?, decimals, price)?)?;
        borrowed = borrowed.plus(usd(reserve.variable_debt.parse()?, decimals, price)?)?;
        reserves.push(reserve);
    }
    let sum = |part: fn(&ExpectedLiquidation) -> &str| -> Result<String> {
        let mut total = Decimal::ZERO;
        for liquidation in &liquidations {
            total = total.plus(part(liquidation).parse()?)?;
        }
        Ok(total.to_string())
    };
    Ok(ExpectedDay {
        day: day.date.to_owned(),
        day_start: day.start.to_string(),
        day_end: day.end.to_string(),
        first_block: (*first).into(),
        last_block: (*last).into(),
        blocks: blocks.len().to_string(),
        supplied_usd: supplied.to_string(),
        borrowed_usd: borrowed.to_string(),
        liquidations_count: liquidations.len().to_string(),
        liq_debt_usd: sum(|l| &l.debt_usd)?,
        liq_coll_usd: sum(|l| &l.collateral_usd)?,
        reserves,
        liquidations,
    })
}

fn read_reserve(rpc: &mut Rpc, provider: Address, token: Address, at: u64) -> Result<ExpectedReserve> {
    let data_provider = address_of(rpc, provider, "getPoolDataProvider()", at)?;
    let oracle = address_of(rpc, provider, "getPriceOracle()", at)?;
    let tokens =
        rpc.eth_call(data_provider, &abi::call("getReserveTokensAddresses(address)", &[token.into()]), at)?;
    let data = rpc.eth_call(data_provider, &abi::call("getReserveData(address)", &[token.into()]), at)?;
    let configuration =
        rpc.eth_call(data_provider, &abi::call("getReserveConfigurationData(address)", &[token.into()]), at)?;
    let (a_token, stable, variable) =
        (address_at(&tokens, 0)?, address_at(&tokens, 1)?, address_at(&tokens, 2)?);
    let a_token_supply = uint_of(rpc, a_token, "totalSupply()", at)?;
    let stable_debt = uint_of(rpc, stable, "totalSupply()", at)?;
    let variable_debt = uint_of(rpc, variable, "totalSupply()", at)?;
    ensure!(
        [a_token_supply, stable_debt, variable_debt]
            == [uint_at(&data, 2)?, uint_at(&data, 3)?, uint_at(&data, 4)?],
        "the tokens and the data provider disagree on the totals"
    );
    let cash = rpc.eth_call(token, &abi::call("balanceOf(address)", &[a_token.into()]), at)?;
    let symbol = rpc.eth_call(token, &abi::call("symbol()", &[]), at)?;
    let decimals = uint_of(rpc, token, "decimals()", at)?;
    ensure!(decimals == uint_at(&configuration, 0)?, "the token and the pool disagree on the decimals");
    Ok(ExpectedReserve {
        token: token.to_string(),
        symbol: abi::string(&symbol)?,
        decimals: decimals.to_string(),
        a_token: a_token.to_string(),
        stable_debt_token: stable.to_string(),
        variable_debt_token: variable.to_string(),
        a_token_supply: a_token_supply.to_string(),
        stable_debt: stable_debt.to_string(),
        variable_debt: variable_debt.to_string(),
        cash: uint_at(&cash, 0)?.to_string(),
        price: price_of(rpc, oracle, token, at)?.to_string(),
        liquidity_rate: uint_at(&data, 5)?.to_string(),
        variable_borrow_rate: uint_at(&data, 6)?.to_string(),
        ltv: uint_at(&configuration, 1)?.to_string(),
        liquidation_threshold: uint_at(&configuration, 2)?.to_string(),
    })
}

fn read_liquidations(
    rpc: &mut Rpc,
    header: &Header,
    provider: Address,
    pool: Address,
) -> Result<Vec<ExpectedLiquidation>> {
    let signature =
        keccak256("LiquidationCall(address,address,address,uint256,uint256,address,bool)").to_string();
    let receipts = rpc.call("eth_getBlockReceipts", json!([quantity(header.number)]))?;
    let receipts = receipts.as_array().context("eth_getBlockReceipts gave no list")?;
    ensure!(receipts.len() == header.transactions, "not every transaction has a receipt");
    let mut found = Vec::new();
    let mut log_index = 0u64;
    for receipt in receipts {
        for log in receipt["logs"].as_array().context("a receipt without logs")? {
            let at = log_index;
            log_index += 1;
            // counted here, so that a node that numbers logs by transaction would be noticed
            ensure!(number(&log["logIndex"])? == at, "the node numbers log {at} as {}", log["logIndex"]);
            let topics: Vec<&str> = log["topics"]
                .as_array()
                .context("a log without topics")?
                .iter()
                .map(text)
                .collect::<Result<_>>()?;
            let emitter: Address = text(&log["address"])?.parse()?;
            if emitter != pool || topics.first() != Some(&signature.as_str()) {
                continue;
            }
            let [_, collateral, debt, user] = topics[..] else {
                bail!("log {at} has {} topics", topics.len())
            };
            let [collateral, debt, user] = [collateral, debt, user].map(|t| t.parse::<B256>());
            let [collateral, debt, user] = [collateral?, debt?, user?].map(Address::from_word);
            let data = alloy_primitives::hex::decode(text(&log["data"])?)?;
            ensure!(data.len() == 4 * 32, "log {at} has {} bytes of data", data.len());
            let block = header.number;
            let oracle = address_of(rpc, provider, "getPriceOracle()", block)?;
            let collateral_price = price_of(rpc, oracle, collateral, block)?;
            let debt_price = price_of(rpc, oracle, debt, block)?;
            let (debt_to_cover, seized) = (uint_at(&data, 0)?, uint_at(&data, 1)?);
            let symbol = |rpc: &mut Rpc, token: Address| -> Result<String> {
                abi::string(&rpc.eth_call(token, &abi::call("symbol()", &[]), block)?)
            };
            let decimals = |rpc: &mut Rpc, token: Address| -> Result<u8> {
                Ok(u8::try_from(uint_of(rpc, token, "decimals()", block)?)?)
            };
            found.push(ExpectedLiquidation {
                block: block.to_string(),
                timestamp: header.timestamp.to_string(),
                log_index: at.to_string(),
                tx_hash: text(&log["transactionHash"])?.to_owned(),
                collateral: collateral.to_string(),
                collateral_symbol: symbol(rpc, collateral)?,
                debt: debt.to_string(),
                debt_symbol: symbol(rpc, debt)?,
                user: user.to_string(),
                liquidator: address_at(&data, 2)?.to_string(),
                debt_to_cover: debt_to_cover.to_string(),
                liquidated_collateral: seized.to_string(),
                receive_a_token: !uint_at(&data, 3)?.is_zero(),
                collateral_price: collateral_price.to_string(),
                debt_price: debt_price.to_string(),
                debt_usd: usd(debt_to_cover, decimals(rpc, debt)?, debt_price)?.to_string(),
                collateral_usd: usd(seized, decimals(rpc, collateral)?, collateral_price)?.to_string(),
            });
        }
    }
    Ok(found)
}

fn address_of(rpc: &mut Rpc, to: Address, signature: &str, at: u64) -> Result<Address> {
    address_at(&rpc.eth_call(to, &abi::call(signature, &[]), at)?, 0)
        .with_context(|| format!("{signature} of {to}"))
}

fn uint_of(rpc: &mut Rpc, to: Address, signature: &str, at: u64) -> Result<U256> {
    uint_at(&rpc.eth_call(to, &abi::call(signature, &[]), at)?, 0)
        .with_context(|| format!("{signature} of {to}"))
}

fn price_of(rpc: &mut Rpc, oracle: Address, token: Address, at: u64) -> Result<U256> {
    uint_at(&rpc.eth_call(oracle, &abi::call("getAssetPrice(address)", &[token.into()]), at)?, 0)
        .with_context(|| format!("the price of {token}"))
}

const PRICE_DECIMALS: u8 = 8;

/// An amount at a price, exact.
fn usd(amount: U256, decimals: u8, price: U256) -> Result<Decimal> {
    Decimal::of(amount, decimals).times(Decimal::of(price, PRICE_DECIMALS))
}

/// The cases the demo is there to show. A change of the story that loses one of them must not pass unnoticed.
fn check_story(expected: &Expected) -> Result<()> {
    let [a, b] = &expected.chains[..] else { bail!("expected two chains") };
    let counts = |c: &ExpectedChain| c.days.iter().map(|d| d.liquidations.len()).collect::<Vec<_>>();
    ensure!(counts(a) == [2, 0, 2, 2], "{}: liquidations by day are {:?}", a.chain, counts(a));
    ensure!(counts(b) == [0, 1, 0, 4], "{}: liquidations by day are {:?}", b.chain, counts(b));
    let midnight = DAYS[3].start.to_string();
    ensure!(
        a.days[3].liquidations[0].timestamp == midnight && a.days[3].first_block.timestamp == midnight,
        "{}: no liquidation at midnight exactly",
        a.chain
    );
    ensure!(
        a.liquidations_outside.len() == 1 && a.liquidations_outside[0].timestamp == DAYS[3].end.to_string(),
        "{}: no liquidation in the first block after the last day",
        a.chain
    );
    let repeated: u64 = b.days[1].liquidations[0].timestamp.parse()?;
    ensure!(REPEATED_HOUR.contains(&repeated), "{}: not in the repeated hour", b.chain);
    let last = &b.days[3].liquidations;
    ensure!(
        last[0].block == last[2].block
            && last[0].tx_hash == last[1].tx_hash
            && last[1].tx_hash != last[2].tx_hash,
        "{}: three in one block, two of them in one transaction, are gone",
        b.chain
    );
    ensure!(
        [a, b].iter().all(|c| c.days.iter().flat_map(|d| &d.liquidations).any(|l| l.receive_a_token)),
        "no liquidation is paid in aTokens"
    );
    ensure!(
        b.days.iter().all(|d| d.reserves.iter().any(|r| r.stable_debt != "0")),
        "{}: no stable debt",
        b.chain
    );
    let listed = |c: &ExpectedChain| c.days.iter().map(|d| d.reserves.len()).collect::<Vec<_>>();
    ensure!(listed(a) == [3, 3, 4, 4], "{}: reserves by day are {:?}", a.chain, listed(a));
    ensure!(listed(b) == [4, 4, 4, 4], "{}: reserves by day are {:?}", b.chain, listed(b));
    for (played, chain) in [&DEVNET_A, &DEVNET_B].into_iter().zip(&expected.chains) {
        ensure!(played.name == chain.chain, "the chains are out of order");
    }
    Ok(())
}
