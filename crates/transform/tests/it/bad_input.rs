//! Bad input, by driving the program: a reason in coverage, a row in checks, everybody else unharmed, never a panic.

use crate::chain::{DAY, Pool, liquidation};
use crate::check::sealed;
use crate::house::{House, Row, cell, cells, object};
use lake::Address;
use lake::bronze::Record;
use lake::status::Dataset;
use serde_json::Value;

/// Two pools and two months; the first pool's object of the second month is spoilt.
fn lake_with(dataset: Dataset, spoil: impl FnOnce(&House, &str)) -> House {
    let pools = [Pool::one(), Pool::two()];
    let house = House::new(&pools);
    house.write_run("2024-11-30", DAY);
    for date in ["2024-11-30", "2024-12-01", "2024-12-02", DAY] {
        for pool in &pools {
            house.put_day(pool, date);
            let logs = vec![pool.log(&liquidation(0xa1), date, 10, 5, u64::from(pool.entry[0]))];
            house.put_logs(pool, date, &pool.liquidations(date, logs, pool));
        }
    }
    house.build(0);
    spoil(&house, &object(&Pool::one(), dataset, DAY));
    house
}

/// The object is refused with these words; its neighbours in the month, and the other month, are as before.
fn refused(dataset: Dataset, words: &str, spoil: impl FnOnce(&House, &str)) {
    let house = lake_with(dataset, spoil);
    let november = |house: &House| -> Vec<(String, String)> {
        house.silver().into_iter().filter(|(path, _)| path.contains("month=2024-11")).collect()
    };
    let before = november(&house);
    let stderr = house.build(1);
    assert!(stderr.contains(words), "{stderr}");
    let is_it = |row: &Row| {
        cells(row, ["csu", "dataset"]) == [Pool::one().csu, dataset.as_str()]
            && cell(row, "date").starts_with(DAY)
    };
    let coverage = house.rows("coverage");
    let (spoilt, others): (Vec<&Row>, Vec<&Row>) = coverage.iter().partition(|row| is_it(row));
    assert_eq!(spoilt.len(), 1);
    assert_eq!(cells(spoilt[0], ["status", "reason", "object"]), ["failed", "bad_object", "null"]);
    assert!(cell(spoilt[0], "message").contains(words), "{spoilt:?}");
    assert!(others.iter().all(|row| cell(row, "status") == "collected"));
    assert_eq!(november(&house), before);

    let output = house.command("check", &[]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(!text.contains("panicked"), "{text}");
    let rows = house.rows_at("lake/checks/bronze/b1_record.parquet");
    let about: Vec<&str> = rows.iter().map(|row| cell(row, "column")).collect();
    assert_eq!(about, [object(&Pool::one(), dataset, DAY).trim_start_matches("lake/")]);
    assert!(cell(&rows[0], "why").contains(words), "{rows:?}");
}

fn resealed(house: &House, path: &str, change: impl FnOnce(String) -> String) {
    let text = String::from_utf8(house.read(path)).unwrap();
    let body = format!("{}}}", &text[..text.rfind(",\"sha256\"").unwrap()]);
    house.write(path, &sealed(&change(body)));
}

fn edited(house: &House, path: &str, change: impl FnOnce(&mut Value)) {
    resealed(house, path, |body| {
        let mut record = serde_json::from_str(&body).unwrap();
        change(&mut record);
        record.to_string()
    });
}

#[test]
fn cut_off_empty_or_no_text() {
    for dataset in Dataset::ALL {
        refused(*dataset, "it is cut off", |house, path| {
            let bytes = house.read(path);
            house.write(path, &bytes[..bytes.len() / 2]);
        });
    }
    refused(Dataset::Tvl, "it is cut off", |house, path| house.write(path, b""));
    refused(Dataset::Liquidations, "it is not a valid record", |house, path| {
        house.write(path, &[0xff, 0xfe, 0x00, 0x80]);
    });
}

#[test]
fn two_hundred_megabytes() {
    refused(Dataset::Tvl, "it has 200000000 bytes", |house, path| {
        std::fs::File::create(house.path(path)).unwrap().set_len(200_000_000).unwrap();
    });
}

#[test]
fn a_hundred_thousand_levels_deep() {
    for (field, words) in
        [("calls", "duplicate field `calls`"), ("nothing_of_ours", "unknown field `nothing_of_ours`")]
    {
        refused(Dataset::Tvl, words, |house, path| {
            let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
            resealed(house, path, |body| format!("{},\"{field}\":{deep}}}", &body[..body.len() - 1]));
        });
    }
    refused(Dataset::Tvl, "invalid type: sequence, expected a string", |house, path| {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        resealed(house, path, |body| {
            let at = body.find("\"calls\":").unwrap() + "\"calls\":".len();
            format!("{}{deep}}}", &body[..at])
        });
    });
}

#[test]
fn no_number_where_one_must_be() {
    for number in ["NaN", "-1", "1e400", "18446744073709551616", "\"7\"", "null"] {
        refused(Dataset::Tvl, "it is not a valid record", |house, path| {
            resealed(house, path, |body| {
                let at = body.find("\"timestamp\":").unwrap() + "\"timestamp\":".len();
                let end = at + body[at..].find(['}', ',']).unwrap();
                format!("{}{number}{}", &body[..at], &body[end..])
            });
        });
    }
}

#[test]
fn logs_that_are_there_twice_or_outside_their_day() {
    refused(Dataset::Liquidations, "is out of order or there twice", |house, path| {
        edited(house, path, |record| {
            let log = record["logs"][0].clone();
            record["logs"].as_array_mut().unwrap().push(log);
        });
    });
    refused(Dataset::Liquidations, "lies outside the day", |house, path| {
        edited(house, path, |record| record["logs"][0]["blockNumber"] = "0x1".into());
    });
}

#[test]
fn a_log_with_short_data_is_a_reject_and_its_neighbour_a_leg() {
    let house = lake_with(Dataset::Liquidations, |house, _| {
        let pool = Pool::one();
        let mut short = pool.log(&liquidation(0xa2), DAY, 11, 6, 2);
        short.data = short.data[..31].to_vec().into();
        let logs = vec![pool.log(&liquidation(0xa1), DAY, 10, 5, 1), short];
        house.put_logs(&pool, DAY, &pool.liquidations(DAY, logs, &pool));
    });
    house.build(0);
    let [reject] = <[Row; 1]>::try_from(house.rows("reject")).unwrap();
    assert_eq!(cells(&reject, ["csu", "log_index"]), ["aave_v3_one", "2"]);
    assert!(cell(&reject, "why").contains("31 bytes"), "{reject:?}");
    assert_eq!(house.rows("liquidation").len(), 6, "two pools, three days of December");
    assert_eq!(house.command("check", &[]).status.code(), Some(0), "every log is told of");
}

#[test]
fn an_address_in_another_case() {
    // As the object of a question: the answer is not found, and its reserve lacks figures.
    let house = lake_with(Dataset::Tvl, |house, path| {
        edited(house, path, |record| {
            for call in record["calls"].as_array_mut().unwrap() {
                if call["key"] == "a_token.totalSupply" {
                    call["item"] = call["item"].as_str().unwrap().to_uppercase().into();
                }
            }
        });
    });
    house.build(1);
    let covered = house.rows("coverage");
    let partial: Vec<&Row> = covered.iter().filter(|row| cell(row, "status") == "partial").collect();
    assert_eq!(partial.len(), 1);
    assert_eq!(cells(partial[0], ["csu", "reason"]), ["aave_v3_one", "call_failed"]);
    assert!(cell(partial[0], "message").contains("a_token.totalSupply"), "{partial:?}");

    // As an address it is the same one: hex has no case.
    let house = lake_with(Dataset::Tvl, |house, path| {
        edited(house, path, |record| {
            let entry = record["entry"].as_str().unwrap().replace('x', "X").to_uppercase();
            record["entry"] = entry.replacen("0X", "0x", 1).into();
        });
    });
    house.build(0);

    // As a CSU's name it is a stranger.
    let house = lake_with(Dataset::Tvl, |house, _| {
        house.write(
            "lake/bronze/tvl/Aave_V3_One/2024-12-03.json",
            &Pool::one().snapshot(DAY).to_bytes().unwrap(),
        );
    });
    house.build(0);
    assert_eq!(house.command("check", &[]).status.code(), Some(1));
    let rows = house.rows_at("lake/checks/bronze/b3_registry.parquet");
    assert_eq!(cells(&rows[0], ["csu", "why"]), ["Aave_V3_One", "the registry has no such CSU"]);
}

#[test]
fn a_token_that_nobody_knows() {
    let unknown = Address::repeat_byte(0x99);
    let house = lake_with(Dataset::Liquidations, |house, _| {
        let pool = Pool::one();
        let mut event = liquidation(0xa1);
        event.collateralAsset = unknown;
        let logs = vec![pool.log(&event, DAY, 10, 5, 1)];
        house.put_logs(&pool, DAY, &pool.liquidations(DAY, logs, &pool));
    });
    house.build(0);
    let legs = house.rows("liquidation");
    let leg = legs.iter().find(|leg| cell(leg, "coll_token") == protocols::token::item(unknown)).unwrap();
    assert_eq!(cells(leg, ["coll", "coll_usd", "debt"]), ["null", "null", "1500"]);
    assert!(cell(leg, "flags").contains("no_decimals"), "{leg:?}");
    house.command("check", &[]);
    let rows = house.rows_at("lake/checks/silver/s4_no_decimals.parquet");
    assert_eq!(cells(&rows[0], ["csu", "column", "level"]), ["aave_v3_one", "coll_raw", "warn"]);
}

#[test]
fn two_objects_that_disagree() {
    // One oracle, two answers: neither is believed.
    let (one, mut two) = (Pool::one(), Pool::two());
    two.oracle = one.oracle;
    two.reserves[1].price = Some(390_000_000_000);
    let house = House::new(&[one.clone(), two.clone()]);
    house.put_day(&one, DAY);
    house.put_day(&two, DAY);
    let stderr = house.build(1);
    assert!(stderr.contains("gives two answers for token"), "{stderr}");
    assert_eq!(house.command("check", &[]).status.code(), Some(1));
    let rows = house.rows_at("lake/checks/silver/s7_conflict.parquet");
    assert!(cell(&rows[0], "why").contains("two objects of bronze give two answers"), "{rows:?}");

    // One block, two hashes.
    let house = lake_with(Dataset::Liquidations, |house, path| {
        edited(house, path, |record| {
            let hash = record["logs"][0]["transactionHash"].clone();
            record["logs"][0]["blockHash"] = hash.clone();
            record["reads"][0]["block"]["hash"] = hash;
        });
    });
    let stderr = house.build(1);
    assert!(stderr.contains("the chain reorganised between them"), "{stderr}");
    assert_eq!(house.command("check", &[]).status.code(), Some(1));
    let rows = house.rows_at("lake/checks/bronze/b8_logs.parquet");
    assert!(rows.iter().any(|row| cell(row, "why").contains("has another hash")), "{rows:?}");
}

#[test]
fn a_ledger_entry_that_is_none() {
    let house = lake_with(Dataset::Tvl, |house, path| {
        std::fs::remove_file(house.path(path)).unwrap();
        let path = lake::path::ledger_entry(Dataset::Tvl, Pool::one().csu, DAY.parse().unwrap());
        house.write(&format!("lake/{path}"), "[".repeat(100_000).as_bytes());
    });
    house.build(1);
    assert_eq!(house.command("check", &[]).status.code(), Some(1));
    let rows = house.rows_at("lake/checks/bronze/b9_reasons.parquet");
    assert!(cell(&rows[0], "why").contains("it is no ledger entry"), "{rows:?}");
}
