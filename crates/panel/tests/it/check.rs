//! Each check of `panel check`, made to fire.

use crate::faults::written;
use crate::small_lake::*;
use arrow_array::cast::AsArray;
use arrow_array::types::{Date32Type, Float64Type, Int32Type};
use arrow_array::{
    Array, ArrayRef, Date32Array, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
};
use lake::schema::silver::ReserveDay;
use lake::status::{AuditLevel, Dataset, Role, Status};
use lake::table_file::read_batch;
use std::sync::Arc;

const PANEL: &str = "gold/panel_daily.parquet";
const ASSETS: &str = "gold/panel_daily_asset.parquet";

/// What `panel check --json` says.
struct Checked {
    code: i32,
    report: serde_json::Value,
}

fn check(lake: &SmallLake, arguments: &[&str]) -> Checked {
    let ran = lake.run("check", &[&["--json"], arguments].concat());
    assert!(ran.code < 2, "{}", ran.stderr);
    let report = serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{}", ran.stdout));
    Checked { code: ran.code, report }
}

impl Checked {
    fn outcome(&self, check: &str) -> &serde_json::Value {
        let checks = self.report["checks"].as_array().unwrap();
        checks.iter().find(|outcome| outcome["check"] == check).unwrap_or_else(|| panic!("no check {check}"))
    }

    fn failures(&self, check: &str) -> Option<u64> {
        self.outcome(check)["failures"].as_u64()
    }

    fn first(&self, check: &str) -> &serde_json::Value {
        &self.outcome(check)["first"][0]
    }

    /// Names of the checks that found something.
    fn fired(&self) -> Vec<&str> {
        let checks = self.report["checks"].as_array().unwrap();
        let fired = checks.iter().filter(|outcome| outcome["failures"].as_u64() != Some(0));
        fired.map(|outcome| outcome["check"].as_str().unwrap()).collect()
    }
}

/// Both CSUs with two stablecoins and an ether, lent and borrowed, and a liquidation each.
fn busy_lake() -> SmallLake {
    let mut lake = SmallLake::collected();
    for csu in [ALPHA, BETA] {
        for (at, date) in DAYS.into_iter().enumerate() {
            let more = at as f64;
            for (number, price, class) in [(1, 1.0, "stablecoin"), (2, 1.0, "stablecoin"), (3, 3000.0, "eth")]
            {
                let row = reserve(csu, date, number, [100.0 + more, 40.0, 60.0 + more], Some(price));
                lake.reserves.push(ReserveDay {
                    asset_class: class.into(),
                    is_stablecoin: class == "stablecoin",
                    ..row
                });
            }
            let log = if csu == ALPHA { 1 } else { 11 };
            lake.liquidations.push(liquidation(csu, date, log, 10.0, 10.5));
        }
    }
    for row in lake.coverage.iter_mut().filter(|row| row.dataset == Dataset::Liquidations) {
        row.audit_level = Some(AuditLevel::Sampled);
    }
    lake
}

fn built(lake: &SmallLake) {
    let ran = lake.write().run("build", &["--by-asset"]);
    assert!(ran.code < 2, "{}", ran.stderr);
}

fn gold(lake: &SmallLake, path: &str) -> RecordBatch {
    read_batch(lake.file(path).into()).unwrap()
}

/// Puts another column in the place of one.
fn replace(lake: &SmallLake, path: &str, name: &str, change: impl Fn(&ArrayRef) -> ArrayRef) {
    let batch = gold(lake, path);
    let at = batch.schema().index_of(name).unwrap();
    let mut columns = batch.columns().to_vec();
    columns[at] = change(&columns[at]);
    let mut fields: Vec<_> = batch.schema().fields().iter().cloned().collect();
    let field =
        fields[at].as_ref().clone().with_data_type(columns[at].data_type().clone()).with_nullable(true);
    fields[at] = Arc::new(field);
    let schema = arrow_schema::Schema::new(fields);
    lake.put(path, &written(&RecordBatch::try_new(Arc::new(schema), columns).unwrap()));
}

/// Puts another number in the first row.
fn set_first(lake: &SmallLake, name: &str, value: Option<f64>) {
    replace(lake, PANEL, name, |array| match array.data_type() {
        arrow_schema::DataType::Float64 => {
            let old = array.as_primitive::<Float64Type>();
            Arc::new(Float64Array::from_iter(
                old.iter().enumerate().map(|(row, old)| if row == 0 { value } else { old }),
            ))
        }
        arrow_schema::DataType::Int32 => {
            let old = array.as_primitive::<Int32Type>();
            let value = value.map(|value| value as i32);
            Arc::new(Int32Array::from_iter(
                old.iter().enumerate().map(|(row, old)| if row == 0 { value } else { old }),
            ))
        }
        other => panic!("{other}"),
    });
}

fn set_first_word(lake: &SmallLake, name: &str, word: &str) {
    replace(lake, PANEL, name, |array| {
        let old = array.as_string::<i32>();
        Arc::new(StringArray::from_iter(
            old.iter().enumerate().map(|(row, old)| if row == 0 { Some(word) } else { old }),
        ))
    });
}

fn rows(lake: &SmallLake, path: &str, keep: impl Fn(usize) -> usize) {
    let batch = gold(lake, path);
    let pieces: Vec<RecordBatch> =
        (0..batch.num_rows()).flat_map(|row| std::iter::repeat_n(batch.slice(row, 1), keep(row))).collect();
    let batch = arrow_select::concat::concat_batches(&batch.schema(), &pieces).unwrap();
    lake.put(path, &written(&batch));
}

#[test]
fn what_build_makes_is_sound() {
    let lake = busy_lake();
    built(&lake);
    let checked = check(&lake, &[]);
    assert_eq!(checked.code, 0, "{:#}", checked.report);
    // ALPHA's contracts tell no bad debt, nobody's keeps a deficit, and prices have no age.
    let empty: Vec<_> = checked.outcome("g9_empty_column")["first"]
        .as_array()
        .unwrap()
        .iter()
        .map(|lead| lead["column"].as_str().unwrap())
        .collect();
    assert_eq!(empty, ["reserves_usd", "deficit_usd", "px_max_age_s"]);
    assert_eq!(checked.fired(), ["g9_empty_column"]);
    for outcome in checked.report["checks"].as_array().unwrap() {
        let file = lake.file(outcome["rows"].as_str().unwrap());
        let batch = read_batch(file.into()).unwrap();
        assert_eq!(batch.num_rows() as u64, outcome["failures"].as_u64().unwrap());
        assert_eq!(batch.num_columns(), 9);
    }
    let ran = lake.run("check", &[]);
    for part in [
        "g5_sums",
        "what must hold",
        "g9_empty_column: deficit_usd: null in all 6 rows",
        "all in ",
        "checks/gold/g9_empty_column.parquet",
    ] {
        assert!(ran.stdout.contains(part), "{part} is not in\n{}", ran.stdout);
    }
    assert!(ran.stderr.ends_with("6 rows, gold is sound; warnings: 3\n"), "{}", ran.stderr);
}

#[test]
fn the_failing_rows_are_kept_until_they_are_mended() {
    let lake = busy_lake();
    built(&lake);
    set_first(&lake, "borrowed_usd", Some(1.0));
    lake.put("checks/gold/of_old.parquet", b"a check that is no more");
    let checked = check(&lake, &[]);
    assert_eq!(checked.code, 1);
    let failing = read_batch(lake.file("checks/gold/g5_sums.parquet").into()).unwrap();
    let text = |name: &str| failing.column_by_name(name).unwrap().as_string::<i32>().value(0).to_owned();
    assert_eq!(
        (text("csu"), text("column"), text("found")),
        (ALPHA.into(), "borrowed_usd".into(), "1.0".into())
    );
    assert_eq!(
        (text("check"), text("level"), text("expected")),
        ("g5_sums".into(), "error".into(), "120080.0".into())
    );
    let date = failing.column_by_name("date").unwrap().as_primitive::<Date32Type>().value(0);
    assert_eq!(date, day(DAYS[0]).days_since_epoch());
    assert!(!lake.lake().join("checks/gold/of_old.parquet").exists());

    assert_eq!(lake.run("build", &["--by-asset"]).code, 0);
    assert_eq!(check(&lake, &[]).code, 0);
    assert_eq!(read_batch(lake.file("checks/gold/g5_sums.parquet").into()).unwrap().num_rows(), 0);
}

#[test]
fn g1_sees_rows_that_are_missing_doubled_or_foreign() {
    let lake = busy_lake();
    built(&lake);
    rows(&lake, PANEL, |row| match row {
        1 => 0,
        3 => 2,
        _ => 1,
    });
    let checked = check(&lake, &[]);
    assert_eq!(checked.failures("g1_frame"), Some(2));
    assert_eq!(checked.first("g1_frame")["date"], DAYS[1]);
    assert!(checked.failures("g2_days").unwrap() >= 2, "the days jump and stand still");
    assert_eq!(checked.code, 1);

    assert_eq!(lake.run("build", &[]).code, 0);
    let narrower = check(&lake, &["--to", DAYS[1]]);
    assert_eq!(narrower.failures("g1_frame"), Some(2), "two rows are of no day of this run");
    assert_eq!(narrower.first("g1_frame")["why"], "the row is not of this run");

    replace(&lake, PANEL, "csu_num", |_| Arc::new(Int32Array::from(vec![1; 6])));
    let checked = check(&lake, &[]);
    assert_eq!(checked.failures("g1_frame"), Some(3));
    assert_eq!(checked.first("g1_frame")["column"], "csu_num");
    assert_eq!(lake.run("build", &[]).code, 0);
    set_first(&lake, "day_num", Some(1.0));
    assert_eq!(check(&lake, &[]).first("g1_frame")["column"], "day_num");
}

#[test]
fn g2_sees_days_out_of_order() {
    let lake = busy_lake();
    built(&lake);
    let [first, second, third] = DAYS.map(|date| day(date).days_since_epoch());
    replace(&lake, PANEL, "date", |_| {
        Arc::new(Date32Array::from(vec![first, third, second, first, second, third]))
    });
    let checked = check(&lake, &[]);
    assert_eq!(checked.failures("g2_days"), Some(2));
    assert_eq!(checked.first("g2_days")["expected"], DAYS[1]);
}

#[test]
fn g3_sees_words_that_coverage_does_not_imply() {
    let mut lake = busy_lake();
    lake.set_status(BETA, DAYS[0], Dataset::Tvl, Status::Failed);
    built(&lake);
    replace(&lake, PANEL, "status", |_| Arc::new(StringArray::from(vec!["collected"; 6])));
    let checked = check(&lake, &[]);
    assert_eq!(checked.failures("g3_status"), Some(1));
    assert_eq!(
        (&checked.first("g3_status")["csu"], &checked.first("g3_status")["expected"]),
        (&BETA.into(), &"failed".into())
    );
    assert_eq!(lake.run("build", &[]).code, 1);
    replace(&lake, PANEL, "liq_audit", |_| Arc::new(StringArray::from(vec![Some("receipts"); 6])));
    assert_eq!(check(&lake, &[]).failures("g3_status"), Some(6));
}

#[test]
fn g4_sees_figures_that_were_not_measured_and_measured_ones_that_are_null() {
    let mut lake = busy_lake();
    lake.set_status(ALPHA, DAYS[0], Dataset::Liquidations, Status::Partial);
    lake.set_status(BETA, DAYS[0], Dataset::Tvl, Status::Failed);
    built(&lake);
    assert_eq!(check(&lake, &[]).failures("g4_nulls"), Some(0));
    // A scan that is not whole does not say zero.
    set_first(&lake, "liq_count", Some(0.0));
    let checked = check(&lake, &[]);
    assert_eq!(checked.first("g4_nulls")["column"], "liq_count");
    assert!(checked.first("g4_nulls")["why"].as_str().unwrap().starts_with("there, though"));
    for (name, why) in [("supplied_usd", "null, though"), ("utilization", "null, though")] {
        assert_eq!(lake.run("build", &[]).code, 1);
        set_first(&lake, name, None);
        let checked = check(&lake, &[]);
        assert_eq!(checked.first("g4_nulls")["column"], name, "{:#}", checked.report);
        assert!(checked.first("g4_nulls")["why"].as_str().unwrap().starts_with(why));
    }
    // ALPHA's contracts do not tell.
    assert_eq!(lake.run("build", &[]).code, 1);
    replace(&lake, PANEL, "bad_debt_usd", |_| Arc::new(Float64Array::from(vec![0.0; 6])));
    assert_eq!(check(&lake, &[]).failures("g4_nulls"), Some(3));
    for bad in [f64::NAN, f64::INFINITY] {
        assert_eq!(lake.run("build", &[]).code, 1);
        set_first(&lake, "supply_apr", Some(bad));
        assert_eq!(check(&lake, &[]).first("g4_nulls")["why"], "no number");
    }
    assert_eq!(lake.run("build", &[]).code, 1);
    replace(&lake, PANEL, "blocks_scanned", |_| Arc::new(Int64Array::from(vec![BLOCKS - 1; 6])));
    assert_eq!(check(&lake, &[]).failures("g4_nulls"), Some(5), "scanned in part, said to be scanned whole");
}

#[test]
fn g5_sees_sums_means_and_counts_that_are_not_silvers() {
    let lake = busy_lake();
    for (name, value) in [
        ("supplied_usd", 300_201.0),
        ("hhi_supply", 0.9),
        ("supply_apr", 0.021),
        ("liq_debt_usd", 11.0),
        ("liq_count", 2.0),
        ("n_reserves", 4.0),
    ] {
        built(&lake);
        set_first(&lake, name, Some(value));
        let checked = check(&lake, &[]);
        assert_eq!(
            (checked.failures("g5_sums"), &checked.first("g5_sums")["column"]),
            (Some(1), &name.into())
        );
        assert_eq!(checked.code, 1);
    }
}

#[test]
fn g5_sees_classes_that_do_not_add_up() {
    let lake = busy_lake();
    built(&lake);
    assert_eq!(check(&lake, &[]).failures("g5_assets"), Some(0));
    replace(&lake, ASSETS, "supplied_usd", |array| {
        let old = array.as_primitive::<Float64Type>();
        Arc::new(Float64Array::from_iter(old.iter().map(|old| old.map(|old| old * 2.0))))
    });
    assert_eq!(check(&lake, &[]).failures("g5_assets"), Some(6));
    assert_eq!(lake.run("build", &["--by-asset"]).code, 0);
    rows(&lake, ASSETS, |row| usize::from(row != 0));
    let checked = check(&lake, &[]);
    assert_eq!(checked.first("g5_assets")["column"], "asset_class");
    assert_eq!(checked.first("g5_assets")["expected"], "btc eth other stablecoin");
}

#[test]
fn g6_sees_identities_that_do_not_hold() {
    let lake = busy_lake();
    for (name, value, failing) in [
        ("tvl_usd", 1.0, "tvl_usd"),
        ("tvl_net_usd", 1.0, "tvl_net_usd"),
        ("utilization", 0.5, "utilization"),
        ("liq_bonus_usd", 3.0, "liq_bonus_usd"),
        ("px_protocol_share", 0.5, "px_other_share"),
        ("liq_event_count", 0.0, "liq_count"),
        ("liq_borrowers", 7.0, "liq_borrowers"),
        ("liq_max_usd", 70.0, "liq_max_usd"),
    ] {
        built(&lake);
        set_first(&lake, name, Some(value));
        let checked = check(&lake, &[]);
        assert_eq!(checked.first("g6_identities")["column"], failing, "{name}: {:#}", checked.report);
    }
}

#[test]
fn g7_sees_what_is_out_of_range_and_what_is_unusual() {
    let lake = busy_lake();
    for (name, value) in
        [("hhi_supply", 1.5), ("log_cov_share", -0.1), ("day_hours", 26.0), ("supplied_usd", -1.0)]
    {
        built(&lake);
        set_first(&lake, name, Some(value));
        let checked = check(&lake, &[]);
        assert_eq!(
            (checked.failures("g7_ranges"), &checked.first("g7_ranges")["column"]),
            (Some(1), &name.into())
        );
        assert_eq!(checked.failures("g7_unusual"), Some(0));
    }
    let mut lake = SmallLake::collected();
    lake.reserves.push(reserve(ALPHA, DAYS[0], 1, [100.0, 140.0, 0.0], Some(1.0)));
    built(&lake);
    let checked = check(&lake, &[]);
    assert_eq!((checked.failures("g7_unusual"), checked.failures("g7_ranges")), (Some(1), Some(0)));
    assert_eq!(checked.code, 0, "a warning is no error");
}

#[test]
fn g8_sees_supply_that_jumps_at_the_same_prices() {
    let mut lake = SmallLake::collected();
    let row = |csu: &str, date: &str, supplied: f64, price: f64| {
        reserve(csu, date, 1, [supplied, 0.0, supplied], Some(price))
    };
    lake.reserves.extend([
        row(ALPHA, DAYS[0], 100.0, 1.0),
        row(ALPHA, DAYS[1], 180.0, 1.0),
        row(ALPHA, DAYS[2], 190.0, 1.0),
    ]);
    // A price that doubles is a reason, and so is a new reserve.
    lake.reserves.extend([
        row(BETA, DAYS[0], 100.0, 1.0),
        row(BETA, DAYS[1], 100.0, 2.0),
        row(BETA, DAYS[2], 100.0, 2.0),
    ]);
    lake.reserves.push(reserve(BETA, DAYS[2], 2, [500.0, 0.0, 500.0], Some(1.0)));
    built(&lake);
    let checked = check(&lake, &[]);
    assert_eq!(checked.failures("g8_jump"), Some(1), "{:#}", checked.report);
    let first = checked.first("g8_jump");
    assert_eq!((&first["csu"], &first["date"]), (&ALPHA.into(), &DAYS[1].into()));
    assert_eq!(first["why"], "+80% in a day, with the same reserves and prices");
    assert_eq!(checked.code, 0);
}

#[test]
fn g8_sees_value_that_is_gone() {
    let mut lake = SmallLake::collected();
    for (date, supplied) in DAYS.into_iter().zip([1000.0, 9.0, 9.0]) {
        lake.reserves.push(reserve(ALPHA, date, 1, [supplied, 0.0, supplied], Some(1.0)));
    }
    built(&lake);
    let checked = check(&lake, &[]);
    assert_eq!(checked.failures("g8_collapse"), Some(1));
    assert_eq!(checked.first("g8_collapse")["why"], "0.90% of the day before");
}

/// A lake of more days than the small one, with liquidations of BETA on some.
fn long_lake(days: i32, of_beta: &[i32], unmeasured: i32) -> SmallLake {
    let mut lake = SmallLake::collected();
    let first = day(DAYS[0]).days_since_epoch();
    lake.coverage.clear();
    lake.days.clear();
    for number in 0..days {
        let date = lake::day::Day::from_days_since_epoch(first + number);
        lake.days.push(day_block(date));
        for csu in [ALPHA, BETA] {
            for dataset in Dataset::ALL {
                let is_gap = csu == ALPHA && number < unmeasured && *dataset == Dataset::Liquidations;
                let status = if is_gap { Status::Failed } else { Status::Collected };
                lake.coverage.push(coverage(csu, date, *dataset, status));
            }
        }
        if of_beta.contains(&number) {
            lake.liquidations.push(liquidation(BETA, &date.to_string(), 11, 1.0, 1.1));
        }
    }
    lake
}

#[test]
fn g8_sees_a_signature_that_never_fires() {
    let to = |days: i32| {
        lake::day::Day::from_days_since_epoch(day(DAYS[0]).days_since_epoch() + days - 1).to_string()
    };
    let failures = |lake: &SmallLake, days: i32| {
        assert!(lake.write().run("build", &["--to", &to(days)]).code < 2);
        let checked = check(lake, &["--to", &to(days)]);
        (
            checked.failures("g8_dead_signature"),
            checked.first("g8_dead_signature")["why"].as_str().map(str::to_owned),
        )
    };
    let (found, why) = failures(&long_lake(180, &[5, 100], 0), 180);
    assert_eq!(found, Some(1));
    assert_eq!(
        why.unwrap(),
        "no liquidation in 180 measured days since 2024-11-02, aave_v3_beta had 2: is the event's signature right?"
    );
    assert_eq!(failures(&long_lake(179, &[5], 0), 179).0, Some(0), "a day short");
    assert_eq!(failures(&long_lake(180, &[], 0), 180).0, Some(0), "nobody had any");
    assert_eq!(
        failures(&long_lake(180, &[5], 1), 180).0,
        Some(0),
        "a day that nobody scanned is no calm day"
    );
    assert_eq!(failures(&long_lake(181, &[5], 1), 181).0, Some(1));
}

#[test]
fn g9_sees_columns_that_are_not_the_codebooks() {
    let lake = busy_lake();
    built(&lake);
    // Another type: the others cannot look.
    replace(&lake, PANEL, "supplied_usd", |_| Arc::new(StringArray::from(vec!["1.0"; 6])));
    let checked = check(&lake, &[]);
    assert_eq!(checked.failures("g9_schema"), Some(1));
    assert_eq!((checked.failures("g1_frame"), checked.code), (None, 1));
    assert!(!lake.lake().join("checks/gold/g1_frame.parquet").exists());

    let batch = gold(&lake, PANEL);
    let without: Vec<usize> = (0..batch.num_columns()).filter(|at| *at != 20).collect();
    lake.put(PANEL, &written(&batch.project(&without).unwrap()));
    let checked = check(&lake, &[]);
    assert!(
        checked.first("g9_schema")["why"]
            .as_str()
            .unwrap()
            .contains("the codebook has the column, the file does not")
            || checked.failures("g9_schema").unwrap() > 1
    );

    assert_eq!(lake.run("build", &[]).code, 0);
    set_first_word(&lake, "usd_status", "fine");
    let checked = check(&lake, &[]);
    assert_eq!(
        (checked.failures("g9_schema"), &checked.first("g9_schema")["found"]),
        (Some(1), &"fine".into())
    );

    assert_eq!(lake.run("build", &[]).code, 0);
    let batch = gold(&lake, PANEL);
    let mut fields: Vec<_> = batch.schema().fields().iter().cloned().collect();
    fields.push(Arc::new(arrow_schema::Field::new("log_tvl", arrow_schema::DataType::Float64, true)));
    let mut columns = batch.columns().to_vec();
    columns.push(Arc::new(Float64Array::from(vec![1.0; 6])));
    let more = RecordBatch::try_new(Arc::new(arrow_schema::Schema::new(fields)), columns).unwrap();
    lake.put(PANEL, &written(&more));
    let checked = check(&lake, &[]);
    assert_eq!(checked.first("g9_schema")["column"], "log_tvl");
    assert_eq!(checked.failures("g1_frame"), Some(0), "a further column keeps nobody from looking");
}

#[test]
fn g10_sees_rows_that_were_edited_and_silver_that_moved() {
    let mut lake = busy_lake();
    built(&lake);
    set_first(&lake, "age_days", Some(7.0));
    let checked = check(&lake, &[]);
    assert_eq!(checked.fired(), ["g9_empty_column", "g10_rebuild"], "no other rule knows the age");
    assert!(checked.first("g10_rebuild")["why"].as_str().unwrap().contains("it was edited"));

    assert_eq!(lake.run("build", &[]).code, 0);
    // The same figures from other bronze.
    let of_first = |row: &&mut lake::schema::silver::Coverage| row.csu == ALPHA && row.date == day(DAYS[0]);
    let row = lake.coverage.iter_mut().find(of_first).unwrap();
    row.sha256 = Some("other bytes".into());
    lake.write();
    let checked = check(&lake, &[]);
    assert_eq!((checked.failures("g10_rebuild"), checked.code), (Some(2), 1));
    assert_eq!(checked.first("g10_rebuild")["column"], "inputs_hash");
}

#[test]
fn g10_sees_rows_and_nulls_that_nobody_expects() {
    let mut lake = busy_lake();
    built(&lake);
    let file = lake.root().join("expected.csv");
    let file = file.to_str().unwrap();
    lake.run("check", &["--expect", file]).failed_saying(&["cannot read the expectations", "--bless"]);
    let ran = lake.run("check", &["--expect", file, "--bless"]);
    assert_eq!((ran.code, ran.stderr.ends_with("2 CSU-months\n")), (0, true), "{}", ran.stderr);
    let text = std::fs::read_to_string(file).unwrap();
    assert!(
        text.starts_with(
            "csu,month,rows,collected,nulls\naave_v3_alpha,2024-11,3,3,bad_debt_usd=3 deficit_usd=3 "
        ),
        "{text}"
    );
    assert_eq!(check(&lake, &["--expect", file]).failures("g10_expected"), Some(0));

    lake.set_status(ALPHA, DAYS[0], Dataset::Tvl, Status::Failed);
    built(&lake);
    let checked = check(&lake, &["--expect", file]);
    assert_eq!((checked.code, &checked.first("g10_expected")["column"]), (1, &"collected".into()));
    assert!(checked.failures("g10_expected").unwrap() > 20);

    std::fs::write(file, text.replace("aave_v3_beta", "aave_v3_gamma")).unwrap();
    assert!(check(&lake, &["--expect", file]).failures("g10_expected").unwrap() > 20);
    std::fs::write(file, "csu,month\n").unwrap();
    lake.run("check", &["--expect", file]).failed_saying(&["the first line is not the heading"]);
    std::fs::write(file, text.replace(",3,3,", ",3,")).unwrap();
    lake.run("check", &["--expect", file]).failed_saying(&["line 2 cannot be read"]);
}

#[test]
fn there_must_be_gold_and_it_must_be_readable() {
    let lake = busy_lake();
    lake.write();
    lake.run("check", &[]).failed_saying(&["no panel in the lake", "hint: run `panel build`"]);
    built(&lake);
    let whole = lake.file(PANEL);
    lake.put(PANEL, &whole[..whole.len() / 2]);
    lake.run("check", &[]).failed_saying(&["cannot read gold/panel_daily.parquet"]);
    assert_eq!(lake.run("check", &["--bless"]).code, 2, "bless what?");
}

#[test]
fn minted_tokens_and_collateral_are_counted_alike_by_both_queries() {
    let mut lake = busy_lake();
    for (number, role) in [(4, Role::Minted), (5, Role::Collateral), (3, Role::Collateral)] {
        let row = reserve(ALPHA, DAYS[0], number, [7.0, 9.0, 0.0], Some(2.0));
        lake.reserves.push(ReserveDay { role, ..row });
    }
    built(&lake);
    assert_eq!(check(&lake, &[]).code, 0);
}
