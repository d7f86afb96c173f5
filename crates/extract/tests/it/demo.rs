//! Bronze from the recording, compared with answers that the recorder got by another path (`data/demo/expected.json`).

use crate::{extract_demo, repository, said};
use lake::bronze::{DayBlocks, LiquidationLogs, Record, TvlSnapshot};
use lake::path::BronzeKey;
use lake::status::Dataset;
use std::path::Path;
use testkit::devnet::expected::Expected;
use testkit::tree::Tree;

fn read<R: Record>(lake: &Path, key: &BronzeKey) -> R {
    R::from_bytes(&std::fs::read(lake.join(key.to_string())).unwrap()).unwrap()
}

fn bronze(lake: &Path) -> Tree {
    Tree::of(&lake.join("bronze")).unwrap()
}

#[test]
fn bronze_holds_the_blocks_and_logs_that_the_recorder_found_by_itself() {
    let lake = tempfile::tempdir().unwrap();
    let output = extract_demo(lake.path(), &[]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));

    let expected = std::fs::read_to_string(repository().join("data/demo/expected.json")).unwrap();
    let expected: Expected = serde_json::from_str(&expected).unwrap();
    let mut liquidations = 0;
    for chain in &expected.chains {
        for day in &chain.days {
            let date = day.day.parse().unwrap();
            let blocks: DayBlocks =
                read(lake.path(), &BronzeKey::Blocks { chain: chain.chain.clone(), date });
            let (first, last) = (blocks.first.unwrap(), blocks.last.unwrap());
            assert_eq!(first.number.to_string(), day.first_block.number);
            assert_eq!(last.number.to_string(), day.last_block.number);
            assert_eq!(last.hash.to_string(), day.last_block.hash);
            assert_eq!(blocks.span().unwrap().count().to_string(), day.blocks);

            let snapshot: TvlSnapshot = read(lake.path(), &BronzeKey::of(Dataset::Tvl, &chain.csu, date));
            assert_eq!(snapshot.reads.block, last);

            let logs: LiquidationLogs =
                read(lake.path(), &BronzeKey::of(Dataset::Liquidations, &chain.csu, date));
            let found: Vec<_> = logs
                .logs
                .iter()
                .map(|log| (log.block_number.to_string(), log.log_index.to_string()))
                .collect();
            let wanted: Vec<_> =
                day.liquidations.iter().map(|log| (log.block.clone(), log.log_index.clone())).collect();
            assert_eq!(found, wanted, "{} {}", chain.chain, day.day);
            liquidations += found.len();
        }
    }
    for csu in &expected.csus {
        for day in &csu.days {
            let date = day.day.parse().unwrap();
            let blocks: DayBlocks = read(lake.path(), &BronzeKey::Blocks { chain: csu.chain.clone(), date });
            assert_eq!(blocks.first.unwrap().number.to_string(), day.first_block);
            let last = blocks.last.unwrap();
            assert_eq!(
                (last.number.to_string(), last.hash.to_string()),
                (day.last_block.clone(), day.last_hash.clone())
            );

            let snapshot: TvlSnapshot = read(lake.path(), &BronzeKey::of(Dataset::Tvl, &csu.csu, date));
            assert_eq!(snapshot.reads.block, last);

            let logs: LiquidationLogs =
                read(lake.path(), &BronzeKey::of(Dataset::Liquidations, &csu.csu, date));
            let found = logs.logs.iter().map(|log| (log.block_number.to_string(), log.log_index.to_string()));
            let found: Vec<_> = found.collect();
            let wanted: Vec<_> =
                day.legs.iter().map(|leg| (leg.block.clone(), leg.log_index.clone())).collect();
            assert_eq!(found, wanted, "{} {}", csu.csu, day.day);
            liquidations += found.len();
        }
    }
    assert_eq!(liquidations, 11 + 14);
}

#[test]
fn bytes_do_not_depend_on_order_or_on_what_was_there_before() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    assert!(extract_demo(one.path(), &["--jobs", "1"]).status.success());
    // The days backwards, one at a time, the CSUs apart.
    for day in ["2024-11-05", "2024-11-04", "2024-11-03", "2024-11-02"] {
        for csu in [
            "venus_core_pool_devnet_c",
            "aave_v3_devnet_b",
            "morpho_blue_devnet_c",
            "aave_v3_devnet_a",
            "compound_v3_usdc_devnet_c",
        ] {
            let output = extract_demo(other.path(), &["--from", day, "--to", day, "--csu", csu]);
            assert!(output.status.success(), "{}", said(&output));
        }
    }
    assert!(extract_demo(other.path(), &[]).status.success());
    // Audits say how often a chain was asked, and three CSUs of one chain had a scan each.
    let mut differences = bronze(one.path()).differences(&bronze(other.path()));
    differences.retain(|file| !file.starts_with("audits/devnet_c/"));
    assert_eq!(differences, Vec::<String>::new());
}

#[test]
fn a_second_run_asks_nothing_and_what_was_lost_is_collected_again() {
    let lake = tempfile::tempdir().unwrap();
    assert!(extract_demo(lake.path(), &[]).status.success());
    let before = bronze(lake.path());

    let again = extract_demo(lake.path(), &["--json"]);
    assert!(again.status.success());
    let summary: serde_json::Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!(summary["requests"], serde_json::json!({}));
    assert_eq!(summary["tasks"], serde_json::json!({ "collected": 40 }));

    for lost in [
        "bronze/liquidations/aave_v3_devnet_a/2024-11-05.json",
        "bronze/tvl/aave_v3_devnet_a/2024-11-02.json",
        "bronze/tvl/aave_v3_devnet_b/2024-11-04.json",
        "bronze/blocks/devnet_b/2024-11-03.json",
        "bronze/tvl/morpho_blue_devnet_c/2024-11-04.json",
        "bronze/liquidations/venus_core_pool_devnet_c/2024-11-05.json",
        "bronze/prices/devnet_c/2024-11-04.json",
    ] {
        std::fs::remove_file(lake.path().join(lost)).unwrap();
        let output = extract_demo(lake.path(), &[]);
        assert!(output.status.success(), "{lost}: {}", said(&output));
        assert!(lake.path().join(lost).exists(), "{lost} was not collected again");
    }
    // The one CSU's scan that was lost is audited apart from that of the others of its chain.
    let mut differences = before.differences(&bronze(lake.path()));
    differences.retain(|file| file != "audits/devnet_c/2024-11-05.json");
    assert_eq!(differences, Vec::<String>::new());
}

#[test]
fn a_request_that_is_not_in_the_recording_is_told_and_leaves_nothing_behind() {
    let scratch = tempfile::tempdir().unwrap();
    let registry = repository().join("data/demo/registry");
    let recording = std::fs::read_to_string(repository().join("data/demo/recording.jsonl")).unwrap();
    let without_logs_of_a: Vec<&str> = recording
        .lines()
        .filter(|line| !(line.contains("\"chain\":\"devnet_a\"") && line.contains("eth_getLogs")))
        .collect();
    std::fs::write(scratch.path().join("recording.jsonl"), without_logs_of_a.join("\n")).unwrap();
    let providers = std::fs::read_to_string(registry.join("providers.toml")).unwrap();
    let providers = providers.replace("replay:../recording.jsonl", "replay:recording.jsonl");
    std::fs::write(scratch.path().join("providers.toml"), providers).unwrap();

    let lake = scratch.path().join("lake");
    let output =
        extract_demo(&lake, &["--providers", scratch.path().join("providers.toml").to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let said = said(&output);
    assert!(said.contains("the request is not in the recording"), "{said}");
    assert!(said.contains("make record-demo"), "{said}");
    assert!(said.contains("aave_v3_devnet_a 2024-11-02 liquidations"), "{said}");
    let tree = Tree::of(&lake.join("bronze/liquidations")).unwrap();
    let files: Vec<_> = tree.files().collect();
    assert_eq!(files.len(), 16, "{files:?}");
    assert!(files.iter().all(|file| !file.starts_with("aave_v3_devnet_a/")), "{files:?}");
}

#[test]
fn the_bill_is_told_before_anything_is_sent_and_holds() {
    let lake = tempfile::tempdir().unwrap();
    let bill =
        crate::extract(&["plan", "--run", "pipelines/runs/demo.toml", "--json", "--lake"], lake.path());
    assert_eq!(bill.status.code(), Some(0), "{}", said(&bill));
    let bill: serde_json::Value = serde_json::from_slice(&bill.stdout).unwrap();
    assert_eq!((&bill["open"], bill["settled"].as_object().unwrap().len()), (&serde_json::json!(40), 0));
    assert!(!lake.path().join("bronze").exists(), "a plan collects nothing");

    let run = extract_demo(lake.path(), &["--json"]);
    let run: serde_json::Value = serde_json::from_slice(&run.stdout).unwrap();
    let planned: u64 =
        bill["rows"].as_array().unwrap().iter().map(|row| row["calls"].as_u64().unwrap()).sum();
    let rows = run["bill"].as_array().unwrap();
    assert_eq!(rows.iter().map(|row| row["planned"].as_u64().unwrap()).sum::<u64>(), planned);
    let sent: u64 = rows.iter().map(|row| row["sent"].as_u64().unwrap()).sum();
    let requests = run["requests"].as_object().unwrap().values();
    let counted = requests.flat_map(|methods| methods.as_object().unwrap().values());
    assert_eq!(sent, counted.map(|count| count.as_u64().unwrap()).sum::<u64>());
    for row in rows {
        let (planned, sent) = (row["planned"].as_u64().unwrap(), row["sent"].as_u64().unwrap());
        match row["basis"].as_str() {
            None => assert_eq!((planned, &row["purpose"]), (0, &serde_json::json!("event")), "{row}"),
            Some("counted") => assert_eq!(planned, sent, "{row}"),
            // The headers of a listing's logs are as many as there are, up to a limit. Here two markets are listed.
            Some(_) if row["purpose"] == "sample" => assert!(0 < sent && sent <= planned, "{row}"),
            // One query has a whole day here. Where no state names a log, up to three headers say which block has one.
            Some(_) if row["purpose"] == "witness" && planned == 0 => assert!(sent <= 3 * 12, "{row}"),
            // How many headers a search reads depends on how even the chain's pace is.
            Some(_) => assert!(sent <= 2 * planned && planned <= 2 * sent, "{row}"),
        }
    }

    let done = crate::extract(&["plan", "--run", "pipelines/runs/demo.toml", "--lake"], lake.path());
    assert_eq!(String::from_utf8_lossy(&done.stdout), "0 tasks to do; 40 collected\n");
}
