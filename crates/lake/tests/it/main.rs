//! The facts in `pipelines/` and in the demo load, and say what the registry promises.

mod stores;

use lake::registry::{AssetClass, Registry};
use lake::run::{Overrides, Run};
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
