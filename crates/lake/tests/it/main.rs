//! The facts in `pipelines/` and in the demo load, and say what the registry promises.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod stores;

use lake::registry::{AssetClass, BITCOIN, Feed, FeedQuote, NATIVE_COIN, Registry};
use lake::run::{Overrides, Run};
use std::collections::BTreeSet;
use std::path::PathBuf;

fn repository(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

#[test]
fn every_run_file_loads_with_its_registry() {
    let mut seen = 0;
    for entry in std::fs::read_dir(repository("pipelines/runs")).unwrap() {
        let file = entry.unwrap().path();
        if file.extension().is_some_and(|extension| extension == "toml") {
            let run = Run::load(&file, &Overrides::default()).unwrap();
            assert_eq!(Some(run.name.as_str()), file.file_stem().and_then(|stem| stem.to_str()));
            assert!(run.providers.is_file(), "{} does not exist", run.providers.display());
            assert!(run.csus().count() > 0);
            seen += 1;
        }
    }
    assert!(seen > 0, "there are no run files");
}

/// The plan's 43 with the one that is there twice left out (see the run file).
#[test]
fn the_run_of_the_plan_has_its_csus_on_its_chains() {
    let run = Run::load(&repository("pipelines/runs/plan-2024-12.toml"), &Overrides::default()).unwrap();
    let mut by_chain: std::collections::BTreeMap<&str, usize> = std::collections::BTreeMap::new();
    for csu in run.csus() {
        *by_chain.entry(csu.chain.as_str()).or_default() += 1;
    }
    let expected = [
        ("arbitrum", 6),
        ("avalanche", 2),
        ("base", 7),
        ("binance", 3),
        ("cronos", 3),
        ("ethereum", 9),
        ("flare", 1),
        ("linea", 1),
        ("meter", 1),
        ("optimism", 4),
        ("polygon", 3),
        ("scroll", 1),
        ("xdai", 1),
    ];
    assert_eq!(by_chain.into_iter().collect::<Vec<_>>(), expected);
    assert_eq!(run.days.days().count(), 31);
}

#[test]
fn a_token_is_a_stablecoin_exactly_when_its_class_says_so() {
    let registry = Registry::load(&repository("pipelines/registry")).unwrap();
    let text = std::fs::read_to_string(repository("pipelines/registry/tokens.toml")).unwrap();
    let file: toml::Table = toml::from_str(&text).unwrap();
    for row in file["token"].as_array().unwrap() {
        let (chain, address) = (row["chain"].as_str().unwrap(), row["address"].as_str().unwrap());
        let token = registry.token(chain, address.parse().unwrap()).unwrap();
        assert_eq!(
            token.is_stablecoin,
            token.asset_class == AssetClass::Stablecoin,
            "{} on {chain}",
            token.symbol
        );
    }
}

#[test]
fn ghos_debt_is_minted_on_ethereums_main_market() {
    let registry = Registry::load(&repository("pipelines/registry")).unwrap();
    let minters: Vec<_> = registry.csus().filter(|csu| !csu.minted_tokens.is_empty()).collect();
    assert_eq!(minters.iter().map(|csu| csu.id.as_str()).collect::<Vec<_>>(), ["aave_v3_ethereum"]);
    for token in &minters[0].minted_tokens {
        assert_eq!(registry.token("ethereum", *token).map(|facts| facts.symbol.as_str()), Some("GHO"));
    }
}

/// Chains whose feeds were looked for and found. Of the others some have none in the list that the addresses are from
/// (fantom, harmony, ink, megaeth, monad, plasma, xlayer), and the rest came into the registry later.
const WITH_FEEDS: usize = 16;

#[test]
fn a_chain_with_feeds_has_those_of_its_native_coin_ether_bitcoin_and_dollars() {
    let registry = Registry::load(&repository("pipelines/registry")).unwrap();
    let of_chains =
        registry.chains().map(|chain| (chain, registry.feeds(&chain.name).collect::<Vec<&Feed>>()));
    let with_feeds: Vec<_> = of_chains.filter(|(_, feeds)| !feeds.is_empty()).collect();
    assert_eq!(with_feeds.len(), WITH_FEEDS);
    for (chain, feeds) in with_feeds {
        let prices = |token| feeds.iter().any(|feed| feed.tokens.contains(&token));
        let pair = |name: &str| feeds.iter().any(|feed| feed.description == name);
        assert!(prices(NATIVE_COIN), "{}: the native coin", chain.name);
        assert!(chain.wrapped_native.is_none_or(prices), "{}: the wrapped native coin", chain.name);
        assert!(prices(BITCOIN) && pair("ETH / USD"), "{}: bitcoin or ether", chain.name);
        assert!(pair("USDC / USD") || pair("USDT / USD"), "{}: a dollar", chain.name);
    }
}

#[test]
fn every_quote_currency_of_a_feed_becomes_dollars_on_its_chain() {
    let registry = Registry::load(&repository("pipelines/registry")).unwrap();
    let mut quoted = 0;
    for feed in registry.chains().flat_map(|chain| registry.feeds(&chain.name)) {
        let FeedQuote::Token(currency) = feed.quote else { continue };
        let of_currency = registry.feeds_for(&feed.chain, &BTreeSet::from([currency]));
        let in_dollars = of_currency.iter().any(|feed| feed.quote == FeedQuote::Usd);
        assert!(in_dollars, "{} on {}", feed.description, feed.chain);
        quoted += 1;
    }
    assert!(quoted > 10, "{quoted}");
}

#[test]
fn a_feed_says_in_its_pair_in_which_currency_it_answers() {
    let registry = Registry::load(&repository("pipelines/registry")).unwrap();
    for feed in registry.chains().flat_map(|chain| registry.feeds(&chain.name)) {
        let half = feed.description.rsplit('/').next().unwrap_or_default().trim();
        let currency = half.split(' ').next().unwrap_or_default();
        let expected = match feed.quote {
            FeedQuote::Usd => "USD",
            FeedQuote::Token(BITCOIN) => "BTC",
            FeedQuote::Token(_) => "ETH",
        };
        assert_eq!(currency, expected, "{} on {}", feed.description, feed.chain);
    }
}
