//! Which tasks of a run are done: what failed, what nobody tried, and days that are collected anew.

use crate::{extract_demo, said};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use testkit::tree::Tree;

const FAILED: &str = "liquidations/aave_v3_devnet_a/2024-11-05.json";
const UNTRIED: &str = "tvl/aave_v3_devnet_b/2024-11-03.json";

/// A lake of the demo in which one task has failed and another was never tried.
fn with_gaps() -> tempfile::TempDir {
    let lake = tempfile::tempdir().unwrap();
    assert!(extract_demo(lake.path(), &[]).status.success());
    std::fs::remove_file(bronze(lake.path(), FAILED)).unwrap();
    std::fs::remove_file(bronze(lake.path(), UNTRIED)).unwrap();
    let entry = json!({
        "csu": "aave_v3_devnet_a", "date": "2024-11-05", "dataset": "liquidations", "status": "failed",
        "reason": "unreachable", "message": "no endpoint answered\nhint: later", "attempts": 3, "calls_planned": 9,
        "calls_ok": 4, "last_try_at": "2025-01-07T18:00:00Z",
    });
    std::fs::write(lake.path().join("state/ledger").join(FAILED), entry.to_string()).unwrap();
    std::fs::remove_file(lake.path().join("state/ledger").join(UNTRIED)).unwrap();
    lake
}

fn bronze(lake: &Path, path: &str) -> PathBuf {
    lake.join("bronze").join(path)
}

#[test]
fn what_failed_and_what_nobody_tried_can_be_done_apart() {
    let lake = with_gaps();
    let untried = extract_demo(lake.path(), &["--only-missing"]);
    assert_eq!(untried.status.code(), Some(1), "{}", said(&untried));
    assert!(bronze(lake.path(), UNTRIED).exists() && !bronze(lake.path(), FAILED).exists());
    let told =
        "missing: aave_v3_devnet_a 2024-11-05 liquidations: failed (unreachable)\n  no endpoint answered";
    assert!(said(&untried).contains(told), "{}", said(&untried));

    let failed = extract_demo(lake.path(), &["--retry-failed"]);
    assert_eq!(failed.status.code(), Some(0), "{}", said(&failed));
    assert!(bronze(lake.path(), FAILED).exists());
    let entry = std::fs::read(lake.path().join("state/ledger").join(FAILED)).unwrap();
    let entry: Value = serde_json::from_slice(&entry).unwrap();
    assert_eq!(
        (&entry["status"], &entry["attempts"]),
        (&json!("collected"), &json!(4)),
        "its history goes on"
    );
}

#[test]
fn without_a_word_both_are_done_and_retry_failed_alone_leaves_what_was_never_tried() {
    let lake = with_gaps();
    let failed = extract_demo(lake.path(), &["--retry-failed"]);
    assert_eq!(failed.status.code(), Some(1), "{}", said(&failed));
    assert!(bronze(lake.path(), FAILED).exists() && !bronze(lake.path(), UNTRIED).exists());
    assert!(said(&failed).contains("it was never tried, and --retry-failed leaves it"), "{}", said(&failed));
    assert!(
        said(&failed).contains(": not_attempted\n"),
        "a task without a reason has no brackets: {}",
        said(&failed)
    );

    let lake = with_gaps();
    assert_eq!(extract_demo(lake.path(), &[]).status.code(), Some(0));
    assert!(bronze(lake.path(), FAILED).exists() && bronze(lake.path(), UNTRIED).exists());

    let empty = tempfile::tempdir().unwrap();
    let nothing = extract_demo(empty.path(), &["--retry-failed"]);
    assert_eq!(nothing.status.code(), Some(1));
    assert!(said(&nothing).contains("0 requests sent"), "{}", said(&nothing));
}

fn requests(output: &std::process::Output) -> u64 {
    let summary: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", said(output)));
    let methods = summary["requests"].as_object().unwrap().values();
    methods.flat_map(|methods| methods.as_object().unwrap().values()).map(|sent| sent.as_u64().unwrap()).sum()
}

#[test]
fn a_forced_day_is_asked_for_again_and_gives_the_same_bytes() {
    let lake = tempfile::tempdir().unwrap();
    assert!(extract_demo(lake.path(), &[]).status.success());
    let before = Tree::of(&lake.path().join("bronze")).unwrap();
    let idle = extract_demo(lake.path(), &["--json"]);
    assert_eq!(requests(&idle), 0);

    let forced = extract_demo(lake.path(), &["--json", "--force-date", "2024-11-03"]);
    assert_eq!(forced.status.code(), Some(0), "{}", said(&forced));
    assert!(requests(&forced) > 0);
    let after = Tree::of(&lake.path().join("bronze")).unwrap();
    assert!(before.files().eq(after.files()) && before == after, "bronze changed");
    assert!(!lake.path().join("state/replaced").exists());
}

#[test]
fn a_spoiled_object_of_a_forced_day_is_replaced_and_kept_aside() {
    let lake = tempfile::tempdir().unwrap();
    assert!(extract_demo(lake.path(), &[]).status.success());
    let before = Tree::of(&lake.path().join("bronze")).unwrap();
    let spoiled = bronze(lake.path(), "tvl/aave_v3_devnet_a/2024-11-03.json");
    std::fs::write(&spoiled, "{}").unwrap();
    assert_eq!(extract_demo(lake.path(), &[]).status.code(), Some(1), "left alone without the word");

    let forced = extract_demo(lake.path(), &["--force-date", "2024-11-03"]);
    assert_eq!(forced.status.code(), Some(0), "{}", said(&forced));
    assert!(
        said(&forced).contains("has other bytes than before; what was there is kept in"),
        "{}",
        said(&forced)
    );
    assert!(before == Tree::of(&lake.path().join("bronze")).unwrap());
    let kept = lake.path().join("state/replaced/bronze/tvl/aave_v3_devnet_a");
    let kept: Vec<PathBuf> = std::fs::read_dir(kept).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(kept.len(), 1);
    assert_eq!(std::fs::read(&kept[0]).unwrap(), b"{}");
}

#[test]
fn words_that_make_no_choice_are_refused() {
    let lake = tempfile::tempdir().unwrap();
    for (arguments, why) in [
        (["--force-date", "2024-12-24"].as_slice(), "the run is of 2024-11-02 to 2024-11-05\nhint: "),
        (&["--force-date", "yesterday"], "`yesterday` is not a date"),
        (&["--force-date", "2024-11-03", "--shard", "1/2"], "cannot be used with"),
        (&["--retry-failed", "--only-missing"], "cannot be used with"),
    ] {
        let output = extract_demo(lake.path(), arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", said(&output));
        assert!(said(&output).contains(why), "{}", said(&output));
    }
}
