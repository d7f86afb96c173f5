//! `testkit serve`: simulated providers on loopback ports, for tools that speak JSON-RPC over HTTP.

use crate::contracts::{AaveReserve, AaveV3, Liquidation, Price};
use crate::server::clock::{Clock as TimeOfDay, TokioClock};
use crate::server::presets::{PRESETS, Preset};
use crate::server::{Provider, Server};
use crate::simchain::{Clock, Emitted, SimChain};
use alloy_primitives::{Address, U256};
use anyhow::{Context, bail, ensure};
use clap::Args;
use std::fmt::Write as _;
use std::ops::RangeInclusive;
use std::sync::Arc;

/// Serve a simulated chain through providers that refuse, fail or lie in known ways
///
/// All the providers stand in front of one chain and each has a port of its own. The chain has one small Aave V3
/// market with liquidations spread evenly over its blocks. Nothing is asked of the world outside, and nothing costs.
#[derive(Debug, Clone, Args)]
#[command(after_long_help = policies())]
pub struct Serve {
    /// The chain's id
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub chain_id: u64,
    /// First and last block; millions of them take no room
    #[arg(long, value_name = "A-B", default_value = "21306000-21528000", value_parser = block_range)]
    pub blocks: RangeInclusive<u64>,
    /// Seconds from block to block; below 1, blocks share seconds as on Arbitrum
    #[arg(long, value_name = "S", default_value_t = 12.0)]
    pub block_seconds: f64,
    /// Time of the first block
    #[arg(long, value_name = "TIME", default_value = "2024-12-01T05:00:00Z")]
    pub start: jiff::Timestamp,
    /// How many of the last blocks are not final
    #[arg(long, value_name = "BLOCKS", default_value_t = 64)]
    pub finality: u64,
    /// How many liquidations the chain has
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    pub liquidations: u64,
    /// Port of the first provider, the next ones follow; 0 takes free ones
    #[arg(long, value_name = "P", default_value_t = 8545)]
    pub port: u16,
    /// A provider of this kind (the kinds are below); give it again for another
    #[arg(long = "policy", value_name = "KIND", default_value = "honest", value_parser = kind)]
    pub policies: Vec<String>,
    /// What chance is made from: the same number gives the same faults to the same requests, in any order
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
}

fn policies() -> String {
    let mut text = "Kinds of providers:\n".to_owned();
    for Preset { name, about, .. } in PRESETS {
        // Writing to a string does not fail.
        let _ = writeln!(text, "  {name:<16} {about}");
    }
    text + "\nExamples:\n  \
        testkit serve --policy alchemy-free --policy official-10k --policy silent-empty\n  \
        testkit serve --chain-id 42161 --blocks 280000000-290713600 --block-seconds 0.25 --policy arbitrum\n\n  \
        curl -s http://127.0.0.1:8545/ -d '{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"eth_blockNumber\",\"params\":[]}'\n"
}

fn kind(name: &str) -> Result<String, String> {
    Preset::find(name).map(|preset| preset.name.to_owned()).ok_or_else(|| {
        let names: Vec<&str> = PRESETS.iter().map(|preset| preset.name).collect();
        format!("the kinds are {}", names.join(", "))
    })
}

fn block_range(text: &str) -> Result<RangeInclusive<u64>, String> {
    let (first, last) = text.split_once('-').ok_or("write it as 100-200")?;
    let number = |text: &str| {
        text.trim().replace('_', "").parse::<u64>().map_err(|error| format!("`{text}`: {error}"))
    };
    let (first, last) = (number(first)?, number(last)?);
    if first > last { Err("the first block comes after the last".to_owned()) } else { Ok(first..=last) }
}

/// Serves until the process is told to stop.
///
/// # Errors
/// When the chain cannot be made, a port is taken, or the signal cannot be waited for.
pub fn run(options: &Serve) -> anyhow::Result<()> {
    let (chain, market) = chain(options)?;
    let servers = servers(options, &chain)?;
    for (kind, server) in options.policies.iter().zip(&servers) {
        println!("{kind:<16} {}", server.url());
    }
    eprintln!(
        "chain {} with blocks {} to {}; Aave V3 market with PoolAddressesProvider {}; Ctrl-C ends it",
        options.chain_id,
        chain.first(),
        chain.head(),
        market.provider,
    );
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(tokio::signal::ctrl_c())
        .context("waiting for Ctrl-C")?;
    for (kind, server) in options.policies.iter().zip(&servers) {
        let (tally, spent) = (server.provider().tally(), server.provider().account().spent());
        eprintln!(
            "{kind:<16} {} requests, {} units, {} too fast, {} over quota, {} broken; {:?}",
            tally.requests, spent.units, spent.too_fast, spent.over_quota, tally.broken, tally.methods,
        );
    }
    Ok(())
}

/// The chain and the market on it.
fn chain(options: &Serve) -> anyhow::Result<(Arc<SimChain>, AaveV3)> {
    let milliseconds = (options.block_seconds * 1_000.0).round();
    ensure!((1.0..=86_400_000.0).contains(&milliseconds), "a block takes from 0.001 to 86400 seconds");
    // Whole and in range, so nothing is lost.
    let milliseconds = milliseconds as u64;
    let start = u64::try_from(options.start.as_second()).context("the chain starts before 1970")?;
    let clock = Clock::every_ms(milliseconds, options.blocks.clone(), start)?;
    let market = market();
    let chain = SimChain::new(options.chain_id, options.blocks.clone(), clock)?
        .with_finality(options.finality)
        .with_logs(liquidations(&market, &options.blocks, options.liquidations)?)?
        .with_contracts(market.clone());
    Ok((Arc::new(chain), market))
}

fn servers(options: &Serve, chain: &Arc<SimChain>) -> anyhow::Result<Vec<Server>> {
    let clock: Arc<dyn TimeOfDay> = Arc::new(TokioClock::of_day());
    let mut servers = Vec::new();
    for (kind, nth) in options.policies.iter().zip(0_u16..) {
        let Some(preset) = Preset::find(kind) else { bail!("there is no provider `{kind}`") };
        let port = match options.port {
            0 => 0,
            first => first.checked_add(nth).context("there are no ports above 65535")?,
        };
        let provider = Provider::new(chain, preset.policy().with_seed(options.seed), &clock);
        let server = Server::serve(Arc::new(provider), port).with_context(|| format!("port {port}"))?;
        servers.push(server);
    }
    Ok(servers)
}

fn market() -> AaveV3 {
    let dollars = |dollars: u64| Price::Always(U256::from(dollars * 100_000_000));
    let (million, thousand) = (1_000_000_000_000_u128, 1_000_000_000_000_000_000_000_u128);
    AaveV3::named(
        "testkit serve",
        vec![
            AaveReserve::new(Address::repeat_byte(0x51), "USDS", 6, 5 * million, 2 * million, dollars(1)),
            AaveReserve::new(Address::repeat_byte(0xe7), "WETH", 18, thousand, thousand / 10, dollars(3_700)),
        ],
    )
}

/// So many liquidations, spread evenly; where there are more than blocks, a block has several.
fn liquidations(market: &AaveV3, blocks: &RangeInclusive<u64>, number: u64) -> anyhow::Result<Vec<Emitted>> {
    let (first, last) = (*blocks.start(), *blocks.end());
    let span = u128::from(last - first) + 1;
    let (debt, collateral) = (market.reserves[0].asset, market.reserves[1].asset);
    (0..number)
        .map(|nth| {
            let offset = u64::try_from(u128::from(nth) * span / u128::from(number))?;
            Ok(market.liquidation(&Liquidation {
                block: first + offset,
                // By number, so that those of one block differ.
                tx_index: nth,
                log_index: nth,
                collateral,
                debt,
                borrower: Address::from_word(U256::from(nth + 1).into()),
                liquidator: Address::repeat_byte(0x11),
                debt_amount: 1_000_000_000 + u128::from(nth),
                collateral_amount: 280_000_000_000_000_000,
            }))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use serde_json::json;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        serve: Serve,
    }

    fn options(arguments: &[&str]) -> Result<Serve, clap::Error> {
        Cli::try_parse_from([&["serve"], arguments].concat()).map(|cli| cli.serve)
    }

    #[test]
    fn every_kind_is_served_on_its_own_port() {
        let mut arguments = vec!["--port", "0", "--blocks", "100-20_100", "--liquidations", "50"];
        for preset in PRESETS {
            arguments.extend(["--policy", preset.name]);
        }
        let options = options(&arguments).unwrap();
        let (chain, _) = chain(&options).unwrap();
        assert_eq!(chain.logs(100..=20_100).count(), 50);
        let servers = servers(&options, &chain).unwrap();
        let ports: std::collections::BTreeSet<String> = servers.iter().map(Server::url).collect();
        assert_eq!(ports.len(), PRESETS.len());
    }

    #[test]
    fn the_market_answers_and_its_logs_are_found() {
        let options =
            options(&["--blocks", "0-99", "--liquidations", "300", "--block-seconds", "0.25"]).unwrap();
        let (chain, market) = chain(&options).unwrap();
        let filter = json!([{ "fromBlock": "0x0", "toBlock": "0x63", "address": market.pool }]);
        assert_eq!(chain.answer("eth_getLogs", &filter).unwrap().as_array().unwrap().len(), 300);
        let code = chain.answer("eth_getCode", &json!([market.provider, "latest"])).unwrap();
        assert_ne!(code, json!("0x"));
    }

    #[test]
    fn nonsense_is_refused_with_a_reason() {
        for (arguments, reason) in [
            (vec!["--policy", "nonsense"], "alchemy-free"),
            (vec!["--blocks", "5"], "100-200"),
            (vec!["--blocks", "9-5"], "comes after"),
            (vec!["--start", "yesterday"], "yesterday"),
        ] {
            let error = options(&arguments).unwrap_err().to_string();
            assert!(error.contains(reason), "{arguments:?}: {error}");
        }
        let still = options(&["--block-seconds", "0"]).unwrap();
        assert!(chain(&still).is_err());
    }
}
