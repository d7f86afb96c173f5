//! Every event that is asked for: its signature, its topic as it stands in lists made elsewhere, and a place where it fires.
//!
//! A wrong signature gives no error, only silence. So each topic here was computed apart, from the contracts' own sources
//! (22 of them before any of this code; constants of public repositories agree; those of isolated pools and of Gearbox's
//! second version later, by another program), each is made again from the signature, the families ask for these and no
//! others, and each fires somewhere that a test looks at.

use alloy_primitives::{B256, keccak256};
use lake::bronze::{LiquidationLogs, Record};
use lake::registry::Csu;
use std::collections::BTreeSet;
use std::path::Path;

/// Where an event fires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fires {
    /// In the demo's recording: logs of contracts that ran.
    InDemo,
    /// In the story of this CSU, which `make test-contracts` plays.
    InStory(&'static str),
    /// In a family's unit tests alone: no version of the contract that emits it runs here.
    InUnitTests {
        /// File in `protocols`.
        file: &'static str,
        /// How it is written there.
        event: &'static str,
    },
    /// Nowhere: it is not asked for, and this is why.
    NotAsked(&'static str),
}

use Fires::{InDemo, InStory, InUnitTests, NotAsked};

#[rustfmt::skip]
const EVENTS: [(&str, &str, Fires); 25] = [
    ("LiquidationCall(address,address,address,uint256,uint256,address,bool)", "0xe413a321e8681d831f4dbccbca790d2952b56f977908e45be37335533e005286", InDemo),
    ("DeficitCreated(address,address,uint256)", "0x2bccfb3fad376d59d7accf970515eb77b2f27b082c90ed0fb15583dd5a942699", InUnitTests { file: "aave_v3/tests.rs", event: "IPool::DeficitCreated {" }),
    ("DeficitCovered(address,address,uint256)", "0x84b203e49f1a4b553088061534231969a68ad1c81be192205e96d23a206cb26a", NotAsked("who pays for bad debt later is no liquidation")),
    ("LiquidateBorrow(address,address,uint256,address,uint256)", "0x298637f684da70674f26509b10f07ec2fbc77a335ab1e7d6215a4b2484d8bb52", InDemo),
    ("HealBorrow(address,address,uint256)", "0x9fe0294717a8efbc6ace1c151b73a4c89982339b2228a27d1ca21394e348986f", InStory("venus_isolated_story")),
    ("BadDebtIncreased(address,uint256,uint256,uint256)", "0x90125ffdb441e57c4f6bf69789206424859f206bea5727f2d81ad2470826ef6a", InStory("venus_isolated_story")),
    ("LiquidateBorrowedTokens(address,address,uint256,address,address,uint256,uint256)", "0xdd091524d794aecdb5235b2d816620c2598790835e0f3849808504c2dcb4f1a9", InStory("venus_liquidator_story")),
    ("LiquidateVAI(address,address,uint256,address,uint256)", "0x42d401f96718a0c42e5cea8108973f0022677b7e2e5f4ee19851b2de7a0394e7", InStory("venus_liquidator_story")),
    ("RedeemFaceValue(address,address,uint256,address,uint256,uint256)", "0xe1db632d042670dabfe2a33b19612b1cbf4fe87ccdcb2eab98c00f975c0219e8", NotAsked("a redemption from a sound account")),
    ("AbsorbDebt(address,address,uint256,uint256)", "0x1547a878dc89ad3c367b6338b4be6a65a5dd74fb77ae044da1e8747ef1f4f62f", InDemo),
    ("AbsorbCollateral(address,address,address,uint256,uint256)", "0x9850ab1af75177e4a9201c65a2cf7976d5d28e40ef63494b44366f86b2f9412e", InDemo),
    ("BuyCollateral(address,address,uint256,uint256)", "0xf891b2a411b0e66a5f0a6ff1368670fefa287a13f541eb633a386a1a9cc7046b", NotAsked("the later sale of what was absorbed")),
    ("LogLiquidate(address,uint256,uint256,address)", "0x80fd9cc6b1821f4a510e45ffce6852ea3404807b5d3d833ffa85664408afcb66", InStory("fluid_story")),
    ("LogAbsorb(uint256,uint256)", "0x115609402b8e0707cb9654c5da38e5c0790ccad443a92f71160fe645aa342d04", NotAsked("parked for a later liquidation")),
    ("LogOperate(address,address,int256,int256,address,address,uint256,uint256)", "0x4d93b232a24e82b284ced7461bf4deacffe66759d5c24513e6f29e571ad78d15", NotAsked("a witness that the day's logs are there, and no liquidation")),
    ("Liquidate(bytes32,address,address,uint256,uint256,uint256,uint256,uint256)", "0xa4946ede45d0c6f06a0f5ce92c9ad3b4751452d2fe0e25010783bcab57a67e41", InDemo),
    ("CreateMarket(bytes32,(address,address,address,address,uint256))", "0xac4b2400f169220b0c0afdde7a0b32e775ba727ea1cb30b35f935cdaab8683ac", InDemo),
    ("LiquidateCreditAccount(address,address,address,uint256)", "0x7dfecd8419723a9d3954585a30c2a270165d70aafa146c11c1e1b88ae1439064", InStory("gearbox_story")),
    ("LiquidateExpiredCreditAccount(address,address,address,uint256)", "0xfada13ff2d5e1a1d9da37ad4a4130893b34e3c69c32b17f87ec31fd661b86707", InStory("gearbox_story")),
    ("LiquidateCreditAccount(address,address,uint256)", "0x5e5da6c348e62989f9cfe029252433fc99009b7d28fa3c20d675520a10ff5896", InUnitTests { file: "gearbox/tests/logs.rs", event: "IManagerV1::LiquidateCreditAccount {" }),
    ("PartiallyLiquidateCreditAccount(address,address,address,uint256,uint256,uint256)", "0x04d7a59a828995563eaa48eb65f11b681f7fec2fb7d6bc1a5426243882f9d249", InStory("gearbox_story")),
    ("Repay(address,uint256,uint256,uint256)", "0x2fe77b1c99aca6b022b8efc6e3e8dd1b48b30748709339b65c50ef3263443e09", InStory("gearbox_story")),
    ("IncurUncoveredLoss(address,uint256)", "0x33fc1787be707f18e553b02263e12d2fa6d2d40733535382066fd1d77e32c595", InStory("gearbox_story")),
    ("UncoveredLoss(address,uint256)", "0xef3653ded679720ab04913b6f3820be7cedc8286d42ff5dd8dff17e91bd2964c", InStory("gearbox_story")),
    ("Liquidate(address,address,address,uint256,uint256)", "0x8246cc71ab01533b5bebc672a636df812f10637ad720797319d5741d5ebb3962", InStory("cap_story")),
];

fn topic(text: &str) -> B256 {
    text.parse().unwrap()
}

#[test]
fn every_topic_is_that_of_its_signature() {
    for (signature, listed, _) in EVENTS {
        assert_eq!(keccak256(signature), topic(listed), "{signature}");
    }
    let distinct: BTreeSet<&str> = EVENTS.iter().map(|(_, listed, _)| *listed).collect();
    assert_eq!(distinct.len(), EVENTS.len());
}

#[test]
fn the_families_ask_for_these_events_and_no_others() {
    let mut asked = BTreeSet::new();
    for family in protocols::FAMILIES {
        for variant in ["", "venus_core", "venus_isolated", "sumer", "moolah"] {
            let csu = Csu {
                variant: variant.to_owned(),
                ..Csu::bare("any", family.name(), "any", "any", alloy_primitives::Address::repeat_byte(1))
            };
            asked.extend(family.filter(&csu, &[]).topic0);
            asked.extend(family.history(&csu).into_iter().flat_map(|filter| filter.topic0));
        }
    }
    let listed: BTreeSet<B256> = EVENTS
        .iter()
        .filter(|(_, _, fires)| !matches!(fires, NotAsked(_)))
        .map(|(_, listed, _)| topic(listed))
        .collect();
    assert_eq!(asked, listed);
    for (signature, _, fires) in EVENTS {
        if let NotAsked(why) = fires {
            assert!(!why.is_empty(), "{signature}");
        }
    }
}

#[test]
fn events_of_the_demo_fire_in_its_recording() {
    let file = crate::demo::repository().join("data/demo/recording.jsonl");
    let text = std::fs::read_to_string(file).unwrap();
    let mut fired = BTreeSet::new();
    for line in text.lines().filter(|line| line.contains("\"eth_getLogs\"")) {
        let exchange: serde_json::Value = serde_json::from_str(line).unwrap();
        for log in exchange["result"].as_array().into_iter().flatten() {
            fired.insert(topic(log["topics"][0].as_str().unwrap()));
        }
    }
    for (signature, listed, _) in EVENTS.iter().filter(|(_, _, fires)| *fires == InDemo) {
        assert!(fired.contains(&topic(listed)), "{signature} is in no answer of the recording");
    }
}

#[test]
fn events_without_a_contract_here_are_made_in_the_familys_unit_tests() {
    for (signature, _, fires) in EVENTS {
        let InUnitTests { file, event } = fires else { continue };
        let path = crate::demo::repository().join("crates/protocols/src").join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(event), "{signature} is not made in {}", path.display());
    }
}

/// Insists that the events of a CSU's story are in its bronze.
pub(crate) fn assert_fired(lake: &Path, csu: &str) {
    let mut fired = BTreeSet::new();
    for file in std::fs::read_dir(lake.join("bronze/liquidations").join(csu)).unwrap() {
        let logs = LiquidationLogs::from_bytes(&std::fs::read(file.unwrap().path()).unwrap()).unwrap();
        fired.extend(logs.logs.iter().filter_map(|log| log.topics.first().copied()));
    }
    for (signature, listed, _) in
        EVENTS.iter().filter(|(_, _, fires)| matches!(fires, InStory(story) if *story == csu))
    {
        assert!(fired.contains(&topic(listed)), "{signature} does not fire in {csu}");
    }
}
