//! `transform check`: a sound lake passes every check, and each check fires on the lake that it is for.

use crate::chain::{DAY, Pool, liquidation, usdc, weth};
use crate::house::{House, cell, cells, csu_row, object, token_row};
use arrow_array::{Array, Float64Array, RecordBatch};
use lake::bronze::Record;
use lake::digest::sha256_hex;
use lake::ledger::LedgerEntry;
use lake::path::{BronzeKey, ledger_entry};
use lake::schema::silver::{DayBlock, Liquidation, Price, Reject, ReserveDay, TokenRow};
use lake::schema::{Row as _, Seconds};
use lake::status::{Dataset, Status};
use lake::table_file::{TableWriter, read_batch};
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::Arc;

const NEXT: &str = "2024-12-04";

/// Two days of two pools with a liquidation each, built. Prices fit: half a WETH of 4,000 for 1,900 USDC of 0.99.
fn sound() -> House {
    let pools = [Pool::one(), Pool::two()];
    let house = House::new(&pools);
    let facts = "asset_class = \"stablecoin\"\nis_stablecoin = true\npricing = \"oracle\"";
    house.write("registry/tokens.toml", token_row(usdc().asset, facts).as_bytes());
    house.write_run(DAY, NEXT);
    for date in [DAY, NEXT] {
        for pool in &pools {
            put(&house, pool, date);
        }
    }
    house.build(0);
    house
}

fn put(house: &House, pool: &Pool, date: &str) {
    house.put_day(pool, date);
    let mut event = liquidation(0xa1);
    event.debtToCover = lake::U256::from(1_900_000_000_u64);
    let tx = date.as_bytes()[9];
    let logs = vec![pool.log(&event, date, 10, tx, u64::from(pool.entry[0]))];
    house.put_logs(pool, date, &pool.liquidations(date, logs, pool));
}

/// Runs the checks, and returns those that found something. The table and the exit code must say the same.
fn firing(house: &House) -> BTreeSet<String> {
    let output = house.command("check", &["--json"]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(!stderr.contains("panicked"), "{stderr}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{stderr}"));
    let mut found = BTreeSet::new();
    let mut is_sound = true;
    for check in report["checks"].as_array().unwrap() {
        let id = check["check"].as_str().unwrap();
        let file = format!("lake/checks/{}/{id}.parquet", check["layer"].as_str().unwrap());
        let failures = check["failures"].as_u64().unwrap();
        assert_eq!(house.path(&file).exists(), failures > 0, "{id}");
        if failures > 0 {
            let rows = house.rows_at(&file);
            assert_eq!(rows.len() as u64, failures, "{id}");
            assert_eq!(cells(&rows[0], ["check", "number"]), [id, "1"]);
            assert!(!cell(&rows[0], "why").is_empty());
            is_sound &= check["level"] == "warn";
            found.insert(id.to_owned());
        }
    }
    assert_eq!(output.status.code(), Some(i32::from(!is_sound)), "{stderr}");
    found
}

/// A sound lake, spoilt: this check fires.
fn fires(id: &str, spoil: impl FnOnce(&House)) {
    let house = sound();
    spoil(&house);
    let found = firing(&house);
    assert!(found.contains(id), "{id} did not fire, but {found:?}");
}

#[test]
fn a_sound_lake_passes_every_check_and_keeps_no_row() {
    let house = sound();
    assert_eq!(firing(&house), BTreeSet::new());
    let output = house.command("check", &[]);
    let (stdout, stderr) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(stdout.contains("b6_chain") && stdout.contains("s9_bonus"), "{stdout}");
    assert!(stderr.contains("bronze and silver are sound; warnings: 0"), "{stderr}");
}

#[test]
fn what_a_check_found_goes_when_it_finds_nothing_more() {
    let house = sound();
    let path = object(&Pool::one(), Dataset::Tvl, DAY);
    let bytes = house.read(&path);
    house.write(&path, &bytes[..100]);
    assert!(firing(&house).contains("b1_record"));
    house.write(&path, &bytes);
    house.write("lake/checks/silver/s99_gone.parquet", b"of an older program");
    house.write("lake/checks/silver/missing_prices/2024-12.json", b"{}");
    assert_eq!(firing(&house), BTreeSet::new());
    assert!(!house.path("lake/checks/silver/s99_gone.parquet").exists());
    assert!(house.path("lake/checks/silver/missing_prices/2024-12.json").exists());
}

#[test]
fn the_first_failures_and_the_threshold_are_told() {
    let house = sound();
    edit::<ReserveDay>(&house, |rows| rows[0].price_usd = Some(0.9));
    let output = house.command("check", &[]);
    assert_eq!(output.status.code(), Some(0), "a warning is no error");
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(stdout.contains("s8_peg: aave_v3_one 2024-12-03 price_usd: token 0x1010"), "{stdout}");
    assert!(stdout.contains("s8_peg: the threshold: beyond 5% a peg is lost"), "{stdout}");
    assert!(stdout.contains("checks/silver/s8_peg.parquet"), "{stdout}");
}

// Bronze.

/// Writes the record of an object with other words, sealed as if it had been written so.
fn reseal(house: &House, path: &str, change: impl FnOnce(&mut Value)) {
    let mut record: Value = serde_json::from_slice(&house.read(path)).unwrap();
    record.as_object_mut().unwrap().remove("sha256");
    change(&mut record);
    house.write(path, &sealed(&record.to_string()));
}

/// A JSON text with a seal that fits.
pub(crate) fn sealed(body: &str) -> Vec<u8> {
    let seal = sha256_hex(body.as_bytes());
    format!("{},\"sha256\":\"{seal}\"}}\n", &body[..body.len() - 1]).into_bytes()
}

fn blocks_path(date: &str) -> String {
    let key = BronzeKey::Blocks { chain: "ethereum".into(), date: date.parse().unwrap() };
    format!("lake/{key}")
}

fn snapshot_path() -> String {
    object(&Pool::one(), Dataset::Tvl, NEXT)
}

fn logs_path() -> String {
    object(&Pool::one(), Dataset::Liquidations, NEXT)
}

#[test]
fn b1_an_object_that_is_none() {
    fires("b1_record", |house| house.write(&snapshot_path(), b"{}"));
}

#[test]
fn b2_a_second_copy_an_overwritten_and_a_removed_object() {
    fires("b2_once", |house| {
        house.write("lake/bronze/tvl/aave_v3_one/2024-12-03 (1).json", b"{}");
    });
    fires("b2_once", |house| {
        let mut pool = Pool::one();
        pool.reserves[0].supply += lake::U256::ONE;
        house.put_snapshot(&pool, NEXT);
    });
    fires("b2_once", |house| std::fs::remove_file(house.path(&snapshot_path())).unwrap());
}

#[test]
fn b3_another_csu_entry_or_chain() {
    fires("b3_registry", |house| reseal(house, &snapshot_path(), |of| of["csu"] = "aave_v3_two".into()));
    fires("b3_registry", |house| reseal(house, &logs_path(), |of| of["chain_id"] = 5.into()));
    fires("b3_registry", |house| {
        let pool = Pool::one();
        house.write("lake/bronze/tvl/AAVE_V3_ONE/2024-12-03.json", &pool.snapshot(DAY).to_bytes().unwrap());
    });
}

#[test]
fn b4_another_window() {
    fires("b4_window", |house| reseal(house, &snapshot_path(), |of| of["day_start"] = 1_733_300_000.into()));
    fires("b4_window", |house| reseal(house, &blocks_path(NEXT), |of| of["zone"] = "UTC".into()));
}

#[test]
fn b5_a_snapshot_of_another_block_and_a_block_outside_its_day() {
    fires("b5_snapshot", |house| {
        let mut record = Pool::one().snapshot(NEXT);
        record.reads.block = crate::chain::header(record.reads.block.number - 1);
        house.write(&snapshot_path(), &record.to_bytes().unwrap());
    });
    fires("b5_snapshot", |house| {
        reseal(house, &blocks_path(NEXT), |of| {
            let end = of["day_end"].clone();
            of["last"]["timestamp"] = end;
        });
    });
}

#[test]
fn b6_days_that_do_not_link() {
    fires("b6_chain", |house| {
        reseal(house, &blocks_path(NEXT), |of| {
            let hash = of["after"]["hash"].clone();
            of["before"]["hash"] = hash.clone();
            of["first"]["parent_hash"] = hash;
        });
    });
}

#[test]
fn b7_blocks_that_were_not_scanned_or_not_read() {
    fires("b7_whole", |house| {
        reseal(house, &logs_path(), |of| {
            let first = of["scanned"][0][0].as_u64().unwrap();
            of["scanned"][0][0] = (first + 1).into();
        });
    });
    fires("b7_whole", |house| reseal(house, &logs_path(), |of| of["reads"] = Value::Array(Vec::new())));
    fires("b7_whole", |house| {
        let entry = ledger(Status::Collected);
        let entry = LedgerEntry { blocks_expected: Some(100), blocks_scanned: Some(99), ..entry };
        put_ledger(house, &entry);
    });
}

#[test]
fn b8_logs_outside_the_day_or_the_filter_or_there_twice() {
    fires("b8_logs", |house| {
        reseal(house, &logs_path(), |of| {
            let log = of["logs"][0].clone();
            of["logs"].as_array_mut().unwrap().push(log);
        });
    });
    fires("b8_logs", |house| reseal(house, &logs_path(), |of| of["logs"][0]["blockNumber"] = "0x1".into()));
    fires("b8_logs", |house| {
        reseal(house, &logs_path(), |of| of["filter"]["addresses"] = Value::Array(Vec::new()));
    });
    fires("b8_logs", |house| {
        reseal(house, &logs_path(), |of| {
            let hash = of["logs"][0]["transactionHash"].clone();
            of["logs"][0]["blockHash"] = hash.clone();
            of["reads"][0]["block"]["hash"] = hash;
        });
    });
}

fn ledger(status: Status) -> LedgerEntry {
    LedgerEntry {
        csu: Pool::one().csu.into(),
        date: NEXT.parse().unwrap(),
        dataset: Dataset::Liquidations,
        status,
        reason: None,
        message: String::new(),
        attempts: 1,
        calls_planned: 1,
        calls_ok: 1,
        blocks_expected: None,
        blocks_scanned: None,
        endpoints: Vec::new(),
        last_try_at: "2026-01-01T00:00:00Z".into(),
    }
}

fn put_ledger(house: &House, entry: &LedgerEntry) {
    let path = format!("lake/{}", ledger_entry(entry.dataset, &entry.csu, entry.date));
    house.write(&path, &serde_json::to_vec(entry).unwrap());
}

#[test]
fn b9_a_failure_without_a_reason_and_a_url_in_a_message() {
    fires("b9_reasons", |house| put_ledger(house, &ledger(Status::Failed)));
    fires("b9_reasons", |house| {
        let path = format!("lake/{}", ledger_entry(Dataset::Tvl, Pool::one().csu, NEXT.parse().unwrap()));
        house.write(&path, b"{");
    });
    fires("b9_secrets", |house| {
        let message = "no answer from https://rpc.example/v2/key".to_owned();
        put_ledger(house, &LedgerEntry { message, ..ledger(Status::NotAttempted) });
    });
    fires("b9_secrets", |house| {
        reseal(house, &snapshot_path(), |of| of["calls"][0]["key"] = "/root/x".into())
    });
}

#[test]
fn b10_a_plan_that_shrinks_by_more_than_a_fifth() {
    fires("b10_calls", |house| {
        let mut record = Pool::one().snapshot(NEXT);
        let left = record.reads.calls.len() * 3 / 4;
        record.reads.calls.truncate(left);
        house.write(&snapshot_path(), &record.to_bytes().unwrap());
    });
}

// Silver.

fn file(table: &str) -> String {
    if table == TokenRow::TABLE.name {
        return "lake/silver/token/part.parquet".to_owned();
    }
    format!("lake/silver/{table}/month=2024-12/part.parquet")
}

fn batch<R: lake::schema::Row>(house: &House) -> RecordBatch {
    read_batch(house.read(&file(R::TABLE.name)).into()).unwrap()
}

fn put_batch<R: lake::schema::Row>(house: &House, batch: &RecordBatch) {
    let mut writer = TableWriter::<R>::new().unwrap();
    writer.write(batch).unwrap();
    house.write(&file(R::TABLE.name), &writer.finish().unwrap());
}

/// Writes a table with changed rows, as no build would.
fn edit<R: lake::schema::Row>(house: &House, change: impl FnOnce(&mut Vec<R>)) {
    let mut rows = R::from_batch(&batch::<R>(house)).unwrap();
    change(&mut rows);
    put_batch::<R>(house, &R::to_batch(&rows).unwrap());
}

#[test]
fn s1_a_key_that_is_there_twice_and_rows_out_of_order() {
    fires("s1_keys", |house| {
        edit::<ReserveDay>(house, |rows| {
            let again = rows[0].clone();
            rows.insert(0, again);
        });
    });
    fires("s1_keys", |house| edit::<Price>(house, |rows| rows.reverse()));
}

#[test]
fn s2_a_table_that_is_not_there_or_of_another_schema() {
    fires("s2_schema", |house| std::fs::remove_file(house.path(&file("price"))).unwrap());
    fires("s2_schema", |house| house.write(&file("coverage"), b"PAR1"));
    fires("s2_schema", |house| house.write(&file("reserve_day"), &house.read(&file("reject"))));
    fires("s2_schema", |house| {
        let narrow = batch::<Reject>(house).project(&[0, 1, 2]).unwrap();
        let mut bytes = Vec::new();
        let mut writer = parquet::arrow::ArrowWriter::try_new(&mut bytes, narrow.schema(), None).unwrap();
        writer.write(&narrow).unwrap();
        writer.close().unwrap();
        house.write(&file("reject"), &bytes);
    });
}

#[test]
fn s3_a_leg_or_a_reserve_that_is_lost_or_invented() {
    fires("s3_conservation", |house| edit::<Liquidation>(house, |rows| drop(rows.remove(0))));
    fires("s3_conservation", |house| edit::<ReserveDay>(house, |rows| drop(rows.remove(0))));
    fires("s3_conservation", |house| edit::<Liquidation>(house, |rows| rows[0].log_index += 100));
}

#[test]
fn s4_decimals_that_change_or_were_not_read_and_another_symbol() {
    fires("s4_decimals", |house| {
        edit::<ReserveDay>(house, |rows| rows.last_mut().unwrap().decimals = Some(8));
    });
    fires("s4_decimals", |house| {
        edit::<TokenRow>(house, |rows| rows[0].decimals_source = Some("registry".into()));
    });
    fires("s4_no_decimals", |house| {
        edit::<ReserveDay>(house, |rows| rows[0].decimals = None);
    });
    fires("s4_symbol", |house| {
        edit::<ReserveDay>(house, |rows| rows.last_mut().unwrap().symbol = Some("SCAM".into()));
    });
}

#[test]
fn s5_an_identity_that_does_not_hold() {
    fires("s5_identity", |house| edit::<ReserveDay>(house, |rows| rows[0].identity_gap = Some(-0.1)));
    fires("s5_identity_large", |house| edit::<ReserveDay>(house, |rows| rows[0].identity_gap = Some(2.0)));
    let house = sound();
    edit::<ReserveDay>(&house, |rows| rows[0].identity_gap = Some(1e-3));
    assert_eq!(firing(&house), BTreeSet::new(), "a millionth of 1,000 tokens is rounding");
}

#[test]
fn s6_amounts_shares_rates_and_floats_out_of_range() {
    let changes: [fn(&mut ReserveDay); 6] = [
        |row| row.supplied_raw = Some("-1".into()),
        |row| row.reserves_raw = Some("1.5".into()),
        |row| row.ltv = Some(1.1),
        |row| row.liq_threshold = Some(0.1),
        |row| row.borrow_apr = Some(11.0),
        |row| row.supply_apr = Some(-0.01),
    ];
    for change in changes {
        fires("s6_ranges", |house| edit::<ReserveDay>(house, |rows| change(&mut rows[0])));
    }
    fires("s6_ranges", |house| {
        edit::<Liquidation>(house, |rows| rows[0].coll_raw = Some("one".into()));
    });
    fires("s6_ranges", |house| {
        let sound = batch::<ReserveDay>(house);
        let at = sound.schema().index_of("supplied_usd").unwrap();
        let mut columns = sound.columns().to_vec();
        columns[at] = Arc::new(Float64Array::from(vec![f64::NAN; columns[at].len()]));
        put_batch::<ReserveDay>(house, &RecordBatch::try_new(sound.schema(), columns).unwrap());
    });
}

#[test]
fn s7_prices_that_are_none_or_stale_or_disagree() {
    fires("s7_price", |house| edit::<Price>(house, |rows| rows[0].price_usd = Some(-1.0)));
    fires("s7_price", |house| edit::<Price>(house, |rows| rows[0].price_usd = None));
    fires("s7_price", |house| edit::<Price>(house, |rows| rows[0].status = "stale".into()));
    fires("s7_price", |house| {
        let feed = format!(
            "[[feed]]\nchain = \"ethereum\"\naddress = \"{}\"\ndescription = \"USDC / USD\"\ntokens = [\"{}\"]\n\
             quote = \"USD\"\nheartbeat_s = 3600\nsource = \"a test\"\n",
            lake::Address::repeat_byte(8).to_checksum(None),
            usdc().asset.to_checksum(None)
        );
        house.write("registry/feeds.toml", feed.as_bytes());
        edit::<Price>(house, |rows| {
            rows[0].source = lake::status::PriceSource::Chainlink;
            rows[0].feed = protocols::token::item(lake::Address::repeat_byte(8));
            rows[0].age_s = Some(7_201);
        });
    });
    fires("s7_disagree", |house| edit::<Price>(house, |rows| rows[0].price_usd = Some(0.5)));
}

#[test]
fn s7_a_contract_with_two_answers() {
    fires("s7_conflict", |house| edit::<Price>(house, |rows| rows[0].status = "conflict".into()));
}

#[test]
fn s8_a_price_that_jumps_and_a_stablecoin_off_its_peg() {
    fires("s8_jump", |house| {
        edit::<ReserveDay>(house, |rows| rows.last_mut().unwrap().price_usd = Some(2_900.0));
    });
    fires("s8_peg", |house| edit::<ReserveDay>(house, |rows| rows[0].price_usd = Some(1.06)));
}

#[test]
fn s9_an_unusual_bonus_and_an_event_outside_its_day() {
    fires("s9_bonus", |house| edit::<Liquidation>(house, |rows| rows[0].coll_usd = Some(2_500.0)));
    fires("s9_window", |house| edit::<Liquidation>(house, |rows| rows[0].block_number = 1));
    fires("s9_window", |house| edit::<Liquidation>(house, |rows| rows[0].block_ts = Seconds(1)));
}

#[test]
fn s10_a_row_without_its_csu_token_day_or_coverage() {
    fires("s10_relations", |house| edit::<TokenRow>(house, |rows| drop(rows.remove(0))));
    fires("s10_relations", |house| edit::<DayBlock>(house, |rows| drop(rows.remove(0))));
    fires("s10_relations", |house| {
        edit::<lake::schema::silver::Coverage>(house, |rows| rows[0].status = Status::Failed);
    });
    fires("s10_relations", |house| {
        let rows = [csu_row(&Pool::one(), 1, ""), csu_row(&Pool::two(), 2, "")];
        let other = Pool { csu: "aave_v3_three", ..Pool::one() };
        let rows = [rows.concat(), csu_row(&Pool { entry: weth().asset, ..other }, 3, "")].concat();
        house.write("registry/csus/aave_v3.toml", rows.as_bytes());
        edit::<ReserveDay>(house, |rows| rows.last_mut().unwrap().csu = "aave_v3_three".into());
    });
}
