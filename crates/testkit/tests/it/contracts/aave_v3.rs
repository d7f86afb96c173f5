//! The demo's story, played anew and read from the nodes instead of the recording: Aave V3.0.2 on two chains, Venus, a
//! Compound III and Morpho Blue on a third.

use super::target;
use crate::demo::{compare_silver, repository};
use crate::stages::{ends_with, extract, transform};
use testkit::devnet::artifacts::Artifacts;
use testkit::devnet::{expected, play, registry};

#[test]
#[ignore = "takes anvil and contracts from npm: make test-contracts"]
fn aave_v3_and_the_rest_of_the_demo_are_what_contracts_and_receipts_say() {
    let artifacts = Artifacts::fetch(&target().join("devnet-npm")).unwrap();
    let states = target().join("devnet-states");
    std::fs::create_dir_all(&states).unwrap();
    let states = tempfile::Builder::new().prefix("aave-").tempdir_in(states).unwrap();
    let mut chains = play(&artifacts, states.path()).unwrap();
    let demo = repository().join("data/demo");
    registry::verify(&demo.join("registry"), &registry::render(&chains).unwrap(), false).unwrap();
    let expected = expected::read(&mut chains).unwrap();
    // The recording that everyone has is of these very chains.
    let recorded = std::fs::read_to_string(demo.join("expected.json")).unwrap();
    assert_eq!(expected, serde_json::from_str(&recorded).unwrap());

    let providers = states.path().join("providers.toml");
    std::fs::write(&providers, registry::live_providers(&chains)).unwrap();
    let lake = states.path().join("lake");
    let run = repository().join("pipelines/runs/demo.toml");
    ends_with(&extract(&run, &lake, &providers, &[]), 0);
    ends_with(&transform(&run, &lake), 0);
    compare_silver(&lake, &expected);
    eprintln!("the demo's five CSUs: 84 reserve rows, 25 liquidation legs as expected.json has them");
}
