//! `extract status` and the checkpoint: from listings alone.

use crate::{extract, extract_demo, repository, said};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::Path;
use std::process::Output;
use std::time::Instant;

fn status(lake: &Path, more: &[&str]) -> Output {
    let arguments =
        [&["status", "--run", "pipelines/runs/demo.toml", "--csu", "aave_v3_*"], more, &["--lake"]].concat();
    extract(&arguments, lake)
}

/// Collects of the demo what [`status`] looks at: two CSUs, four days, two datasets.
fn collect(lake: &Path, more: &[&str]) -> Output {
    extract_demo(lake, &[&["--csu", "aave_v3_*"], more].concat())
}

fn json_of(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", said(output)))
}

#[test]
fn a_lake_is_followed_from_nothing_to_all() {
    let lake = tempfile::tempdir().unwrap();
    let before = status(lake.path(), &["--json"]);
    assert_eq!(before.status.code(), Some(1), "{}", said(&before));
    assert_eq!(json_of(&before)["tasks"], json!({ "not_attempted": 16 }));
    assert_eq!(json_of(&before)["hours_left"], Value::Null);

    assert!(collect(lake.path(), &["--to", "2024-11-03"]).status.success());
    let half = status(lake.path(), &["--json"]);
    assert_eq!(half.status.code(), Some(1));
    let half = json_of(&half);
    assert_eq!(
        (&half["tasks"], half["percent"].as_f64()),
        (&json!({ "collected": 8, "not_attempted": 8 }), Some(50.0))
    );
    assert!(half["blocks_left"].as_u64() > Some(0) && half["hours_left"].as_f64() > Some(0.0), "{half}");

    assert!(collect(lake.path(), &[]).status.success());
    let all = status(lake.path(), &[]);
    assert_eq!(all.status.code(), Some(0), "{}", said(&all));
    assert!(said(&all).contains("100.0% done; 16 collected\nnothing is left to do"), "{}", said(&all));
}

#[test]
fn what_was_lost_or_failed_is_told_with_its_reason_and_the_checkpoint_says_the_same() {
    let lake = tempfile::tempdir().unwrap();
    assert!(collect(lake.path(), &[]).status.success());
    let gone = |path: &str| std::fs::remove_file(lake.path().join(path)).unwrap();
    gone("bronze/tvl/aave_v3_devnet_a/2024-11-03.json");
    gone("bronze/blocks/devnet_b/2024-11-04.json");
    gone("bronze/liquidations/aave_v3_devnet_a/2024-11-05.json");
    let entry = json!({
        "csu": "aave_v3_devnet_a", "date": "2024-11-05", "dataset": "liquidations", "status": "failed",
        "reason": "unreachable", "message": "no endpoint answered\nhint: later", "attempts": 3, "calls_planned": 9,
        "calls_ok": 4, "last_try_at": "2025-01-07T18:00:00Z",
    });
    std::fs::write(
        lake.path().join("state/ledger/liquidations/aave_v3_devnet_a/2024-11-05.json"),
        entry.to_string(),
    )
    .unwrap();

    let told = status(lake.path(), &["--json"]);
    assert_eq!(told.status.code(), Some(1));
    let told = json_of(&told);
    assert_eq!(told["tasks"], json!({ "collected": 12, "failed": 1, "not_attempted": 1, "partial": 2 }));
    let words = said(&status(lake.path(), &[]));
    let failed =
        "failed (unreachable): 1, such as aave_v3_devnet_a 2024-11-05 liquidations: no endpoint answered";
    assert!(words.contains(failed), "{words}");
    assert!(words.contains("partial (blocks_missing): 2"), "{words}");

    // The next run mends what its recording has, and writes the checkpoint of the plan's shape.
    assert!(extract_demo(lake.path(), &["--csu", "aave_v3_devnet_b"]).status.success());
    let checkpoint = std::fs::read(lake.path().join("state/checkpoint.json")).unwrap();
    let checkpoint: Value = serde_json::from_slice(&checkpoint).unwrap();
    assert!(checkpoint["last_updated"].as_str().unwrap().ends_with('Z'));
    let completed = checkpoint["completed_tasks"].as_array().unwrap();
    let whole = json!({ "csu": "aave_v3_devnet_b", "date": "2024-11-04", "tvl": true, "liquidations": true });
    assert_eq!((completed.len(), completed.contains(&whole)), (8, true), "{checkpoint}");

    // What the checkpoint says of CSUs outside a run stays; what it says of the run's is new.
    assert_eq!(checkpoint["failed_tasks"], json!([]), "of a's failure it knows since nobody ran a again");
}

#[test]
fn the_page_says_what_the_words_say_and_loads_nothing() {
    let lake = tempfile::tempdir().unwrap();
    assert!(collect(lake.path(), &["--to", "2024-11-03"]).status.success());
    let page = lake.path().join("status.html");
    let told = status(lake.path(), &["--html", page.to_str().unwrap()]);
    assert_eq!(told.status.code(), Some(1), "{}", said(&told));
    let html = std::fs::read_to_string(&page).unwrap();
    for expected in [
        "<h1>demo: 50.0% done</h1>",
        "aria-label=\"2 collected, 2 not_attempted\"",
        "<title>2024-11-04 to 2024-11-05: not_attempted</title>",
        "0 of 4",
        "undivided",
    ] {
        assert!(html.contains(expected), "{html}\ndoes not say: {expected}");
    }
    assert!(!html.contains("http:") && !html.contains("https:") && !html.contains("<script"), "{html}");
    let nowhere = status(lake.path(), &["--html", "/nowhere/status.html"]);
    assert_eq!(nowhere.status.code(), Some(2));
    assert!(said(&nowhere).contains("cannot write the page to /nowhere/status.html: "), "{}", said(&nowhere));
}

const CSUS: usize = 224;
const DAYS: usize = 366;

/// A lake of objects that have a name and no bytes: whoever opened one would fail.
#[test]
fn a_year_of_224_csus_is_told_from_names_alone() {
    let scratch = tempfile::tempdir().unwrap();
    let registry = scratch.path().join("registry");
    std::fs::create_dir_all(registry.join("csus")).unwrap();
    for file in ["chains.toml", "tokens.toml", "providers.toml"] {
        std::fs::copy(repository().join("data/demo/registry").join(file), registry.join(file)).unwrap();
    }
    let mut rows = String::new();
    for number in 1..=CSUS {
        let chain = ["devnet_a", "devnet_b"][number % 2];
        write!(
            rows,
            "[[csu]]\nid = \"csu_{number}\"\nnum = {number}\nprotocol = \"aave_v3\"\nversion = \"v3\"\n\
             chain = \"{chain}\"\nmarket = \"m{number}\"\nentry_role = \"pool_addresses_provider\"\n\
             entry = \"0x{number:040}\"\nverified = \"no\"\nsource = \"a test\"\n\n"
        )
        .unwrap();
    }
    std::fs::write(registry.join("csus/aave_v3.toml"), rows).unwrap();
    let run = scratch.path().join("run.toml");
    std::fs::write(
        &run,
        "name = \"year\"\nfrom = \"2024-01-01\"\nto = \"2024-12-31\"\ncsus = [\"*\"]\nregistry = \"registry\"\nlake = \"lake\"\n",
    )
    .unwrap();
    let lake = scratch.path().join("lake");
    let first: lake::day::Day = "2024-01-01".parse().unwrap();
    let days: Vec<String> = (0..DAYS)
        .map(|nth| {
            format!("{}.json", lake::day::Day::from_days_since_epoch(first.days_since_epoch() + nth as i32))
        })
        .collect();
    let fill = |directory: String, days: &[String]| {
        let directory = lake.join(directory);
        std::fs::create_dir_all(&directory).unwrap();
        for day in days {
            std::fs::write(directory.join(day), "").unwrap();
        }
    };
    for chain in ["devnet_a", "devnet_b"] {
        fill(format!("bronze/blocks/{chain}"), &days);
    }
    for number in 1..=CSUS {
        fill(format!("bronze/tvl/csu_{number}"), &days);
        // Of the last, the last day is missing.
        let days = if number == CSUS { &days[..DAYS - 1] } else { &days[..] };
        fill(format!("bronze/liquidations/csu_{number}"), days);
    }
    let began = Instant::now();
    let output = extract(&["status", "--json", "--run", run.to_str().unwrap(), "--lake"], &lake);
    println!("status of {} objects: {:?}", 2 * CSUS * DAYS, began.elapsed());
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let told = json_of(&output);
    assert_eq!(told["tasks"], json!({ "collected": 2 * CSUS * DAYS - 1, "not_attempted": 1 }));
    assert_eq!(told["rows"].as_array().unwrap().len(), 2 * CSUS);
}
