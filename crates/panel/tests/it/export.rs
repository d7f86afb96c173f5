use crate::small_lake::*;
use lake::status::{Dataset, Status};
use std::path::PathBuf;

fn lake() -> SmallLake {
    let mut lake = SmallLake::collected();
    lake.reserves.push(reserve(ALPHA, DAYS[0], 1, [100.0, 40.0, 60.0], Some(2.0)));
    lake.reserves.push(reserve(ALPHA, DAYS[1], 1, [100.0, 40.0, 60.0], None));
    lake.set_status(ALPHA, DAYS[2], Dataset::Tvl, Status::ArchiveUnavailable);
    lake.set_status(ALPHA, DAYS[2], Dataset::Liquidations, Status::Failed);
    lake.liquidations.push(liquidation(ALPHA, DAYS[0], 3, 10.0, 11.0));
    assert!(lake.write().run("build", &[]).code < 2);
    lake
}

fn path(lake: &SmallLake, name: &str) -> PathBuf {
    lake.root().join("out").join(name)
}

fn export(lake: &SmallLake, arguments: &[&str]) -> Ran {
    lake.run("export", arguments)
}

#[test]
fn parquet_and_csv_of_the_whole_run_are_the_bytes_of_gold() {
    let lake = lake();
    let (parquet, csv) = (path(&lake, "p.parquet"), path(&lake, "p.csv"));
    let ran = export(&lake, &["--parquet", parquet.to_str().unwrap(), "--csv", csv.to_str().unwrap()]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(std::fs::read(parquet).unwrap(), lake.file("gold/panel_daily.parquet"));
    assert_eq!(std::fs::read(csv).unwrap(), lake.file("gold/panel_daily.csv"));
}

#[test]
fn a_part_of_the_run_has_the_rows_of_that_part() {
    let lake = lake();
    let csv = path(&lake, "p.csv");
    let ran =
        export(&lake, &["--csu", ALPHA, "--from", DAYS[1], "--to", DAYS[1], "--csv", csv.to_str().unwrap()]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let text = std::fs::read_to_string(csv).unwrap();
    assert_eq!(text.lines().count(), 2);
    assert!(text.lines().nth(1).unwrap().starts_with(&format!("{ALPHA},1,{},", DAYS[1])));
}

/// What the writer's own reader says of the file; `make test-readers` asks pandas and haven.
#[test]
fn a_null_in_the_stata_file_says_why_it_is_null() {
    use dta::stata::dta::dta_reader::DtaReader;
    use dta::stata::dta::value::Value;
    use dta::stata::missing_value::MissingValue;
    use dta::stata::stata_double::StataDouble;
    use dta::stata::stata_long::StataLong;

    let lake = lake();
    let file = path(&lake, "p.dta");
    let ran = export(&lake, &["--dta", file.to_str().unwrap()]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let again = path(&lake, "again.dta");
    export(&lake, &["--dta", again.to_str().unwrap()]);
    assert_eq!(std::fs::read(&file).unwrap(), std::fs::read(&again).unwrap(), "no clock in the file");

    let mut reader = DtaReader::new().from_path(&file).unwrap().read_header().unwrap().read_schema().unwrap();
    reader.skip_to_end().unwrap();
    let mut reader = reader.into_record_reader().unwrap();
    let schema = reader.schema().clone();
    let at = |name: &str| schema.variables().iter().position(|variable| variable.name() == name).unwrap();
    let mut rows = Vec::new();
    while let Some(record) = reader.read_record().unwrap() {
        let cell = |name: &str| match &record.values()[at(name)] {
            Value::Double(StataDouble::Missing(letter)) | Value::Long(StataLong::Missing(letter)) => {
                Err(*letter)
            }
            Value::Double(StataDouble::Present(value)) => Ok(*value),
            Value::Long(StataLong::Present(value)) => Ok(f64::from(*value)),
            other => panic!("{name} is {other:?}"),
        };
        rows.push(
            ["date", "tvl_usd", "tvl_priced_usd", "liq_count", "liq_debt_usd", "deficit_usd"].map(cell),
        );
    }
    // 2024-11-02 is day 23,682 of Stata's.
    assert_eq!(rows[0][..5], [Ok(23_682.0), Ok(200.0), Ok(200.0), Ok(1.0), Ok(10.0)]);
    assert_eq!(rows[0][5], Err(MissingValue::System), "measured, and the contract keeps no such figure");
    assert_eq!(rows[1][1..4], [Err(MissingValue::X), Ok(0.0), Ok(0.0)], "a price is missing");
    assert_eq!(rows[2][1..4], [Err(MissingValue::A), Err(MissingValue::A), Err(MissingValue::F)]);
    assert_eq!(rows.len(), 6);
    assert_eq!(schema.variables()[at("date")].format(), "%tdCCYY-NN-DD");
    assert_eq!(schema.variables()[at("tvl_usd")].label(), "TVL gross: supplied + collateral, USD");
}

#[test]
fn what_cannot_be_exported_is_said() {
    let lake = lake();
    assert_eq!(export(&lake, &[]).code, 2, "nothing to write was named");
    let csv = path(&lake, "p.csv");
    let csv = csv.to_str().unwrap();
    export(&lake, &["--csv", csv, "--from", "2025-01-01", "--to", "2025-01-02"])
        .failed_saying(&["has no row of this run", "hint: run `panel build`"]);
    let below_a_file = lake.root().join("run.toml/p.csv");
    export(&lake, &["--csv", below_a_file.to_str().unwrap()]).failed_saying(&["cannot write", "p.csv"]);

    let gold = lake.file("gold/panel_daily.parquet");
    for length in [0, 3, 100, gold.len() / 2, gold.len() - 1] {
        lake.put("gold/panel_daily.parquet", &gold[..length]);
        export(&lake, &["--csv", csv]).failed_saying(&[
            "cannot read",
            "gold/panel_daily.parquet",
            "hint: the file was cut off",
        ]);
    }
    std::fs::remove_dir_all(lake.lake().join("gold")).unwrap();
    export(&lake, &["--csv", csv]).failed_saying(&["no panel in the lake", "hint: run `panel build`"]);
}
