use crate::small_lake::*;
use lake::status::{Dataset, Status};
use serde_json::Value;
use std::path::Path;
use std::process::Command;

fn diff(before: &Path, after: &Path, arguments: &[&str]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_panel"));
    Ran::of(command.arg("diff").arg(before).arg(after).args(arguments).output().unwrap())
}

fn lake() -> SmallLake {
    let mut lake = SmallLake::collected();
    for date in DAYS {
        lake.reserves.push(reserve(ALPHA, date, 1, [100.0, 40.0, 60.0], Some(2.0)));
        lake.reserves.push(reserve(BETA, date, 1, [10.0, 4.0, 6.0], Some(2.0)));
    }
    lake
}

/// Builds, and keeps the panel as it is now under another name.
fn kept(lake: &SmallLake, name: &str) -> std::path::PathBuf {
    let ran = lake.write().run("build", &[]);
    assert!(ran.code < 2, "{}", ran.stderr);
    let file = lake.root().join(format!("{name}.parquet"));
    std::fs::write(&file, lake.file("gold/panel_daily.parquet")).unwrap();
    file
}

fn json(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout).unwrap()
}

#[test]
fn a_panel_is_the_same_as_itself() {
    let lake = lake();
    let before = kept(&lake, "before");
    let ran = diff(&before, &lake.lake(), &[]);
    assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stdout.contains("rows: 6 the same, 0 changed, 0 added, 0 removed"), "{}", ran.stdout);
    assert!(ran.stdout.contains("the panels hold the same values"));
}

#[test]
fn a_change_is_told_by_column_amount_and_reason() {
    let mut lake = lake();
    let before = kept(&lake, "before");
    // The same inputs, another amount: nothing accounts for it.
    lake.reserves[0].supplied_usd = Some(250.0);
    // Other inputs, and a day that is measured no longer.
    lake.set_status(BETA, DAYS[1], Dataset::Tvl, Status::Failed);
    let ran = diff(&before, &kept(&lake, "after"), &["--json"]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    let told = json(&ran);
    assert_eq!(told["rows_same"], 4);
    assert_eq!(told["reasons"], serde_json::json!({"unexplained": 1, "status": 1, "inputs": 1}));
    assert_eq!(told["statuses"], serde_json::json!({"collected -> failed": 1}));
    let column = |name: &str| {
        let columns = told["columns"].as_array().unwrap();
        columns
            .iter()
            .find(|column| column["column"] == name)
            .unwrap_or_else(|| panic!("{name}: {columns:?}"))
    };
    let supplied = column("supplied_usd");
    assert_eq!(
        (&supplied["changed"], &supplied["filled"], &supplied["emptied"]),
        (&1.into(), &0.into(), &1.into())
    );
    assert_eq!((supplied["max_abs"].as_f64(), supplied["max_rel"].as_f64()), (Some(50.0), Some(0.2)));
    assert_eq!(supplied["at"], serde_json::json!({"csu": ALPHA, "date": DAYS[0]}));
    let rows = told["rows_changed"].as_array().unwrap();
    assert_eq!(rows[0]["cells"]["supplied_usd"], serde_json::json!(["200.0", "250.0"]));
    assert_eq!(rows[0]["reasons"], serde_json::json!(["unexplained"]));
    assert_eq!(rows[1]["cells"]["supplied_usd"], serde_json::json!(["20.0", null]));

    let table = diff(&before, &lake.lake(), &[]).stdout;
    for part in [
        "rows: 4 the same, 2 changed, 0 added, 0 removed",
        "│ supplied_usd ",
        "50.0000",
        "0.2000",
        "│ unexplained ┆    1 ┆ same inputs, registry, code and status: look into it ",
        "status collected -> failed: 1 rows",
        &format!("changed: {BETA} {} (status, inputs): ", DAYS[1]),
        "lineage moved: inputs_hash in 1 rows, row_hash in 2 rows",
    ] {
        assert!(table.contains(part), "{part} is not in\n{table}");
    }
}

#[test]
fn rows_that_only_one_panel_has_are_named() {
    let lake = lake();
    let before = kept(&lake, "before");
    assert_eq!(lake.run("build", &["--from", DAYS[1]]).code, 0);
    let ran = diff(&before, &lake.lake(), &[]);
    assert_eq!(ran.code, 1);
    assert!(ran.stdout.contains(&format!("removed: {ALPHA} {}\nremoved: {BETA} {}", DAYS[0], DAYS[0])));
    let ran = diff(&lake.lake(), &before, &[]);
    assert_eq!(ran.code, 1);
    assert!(ran.stdout.contains(&format!("added: {ALPHA} {}", DAYS[0])), "{}", ran.stdout);
}

#[test]
fn a_difference_within_the_tolerance_does_not_count() {
    let mut lake = lake();
    let before = kept(&lake, "before");
    lake.reserves[0].supplied_usd = Some(200.000_000_1);
    let after = kept(&lake, "after");
    assert_eq!(diff(&before, &after, &[]).code, 1);
    assert_eq!(diff(&before, &after, &["--tolerance", "1e-8"]).code, 0);
    assert_eq!(diff(&before, &after, &["--tolerance", "1e-10"]).code, 1);
    assert_eq!(diff(&before, &after, &["--tolerance", "2"]).code, 2);
}

#[test]
fn another_release_of_the_same_figures_is_the_same() {
    let lake = lake();
    let before = kept(&lake, "before");
    let gold = panel::rows::Rows::parse("gold", lake.file("gold/panel_daily.parquet").into()).unwrap();
    let released = panel::release::as_release(&gold, "v2024.12.0").unwrap();
    let after = lake.root().join("after.parquet");
    std::fs::write(&after, lake::table_file::batch_bytes("panel_daily", &released).unwrap()).unwrap();
    let ran = diff(&before, &after, &[]);
    assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stdout.contains("lineage moved: release in 6 rows, row_hash in 6 rows"), "{}", ran.stdout);
}

#[test]
fn what_is_no_panel_cannot_be_compared() {
    let lake = lake();
    let before = kept(&lake, "before");
    let nowhere = lake.root().join("nowhere");
    diff(&before, &nowhere, &[]).failed_saying(&["cannot read", "nowhere", "hint: name a Parquet file"]);
    assert!(!nowhere.exists(), "a place that is not there is not made");
    let empty = lake.root().join("empty");
    std::fs::create_dir(&empty).unwrap();
    diff(&before, &empty, &[]).failed_saying(&["no panel in", "hint: name a Parquet file"]);
    let coverage = lake.lake().join("silver/csu/part.parquet");
    diff(&before, &coverage, &[]).failed_saying(&["cannot read", "has no column `date`"]);
    diff(&before, &lake.root().join("run.toml"), &[]).failed_saying(&["cannot read", "run.toml"]);
}
