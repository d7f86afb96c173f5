//! Which months are built again: those whose inputs changed, and no other; always to the bytes of a build from nothing.

use crate::chain::{DAY, Pool};
use crate::house::{House, audit_path, cell, cells, csu_row, object, token_row};
use crate::{audit, large, ledger_entry_of, manifest};
use lake::bronze::Record;
use lake::path::{BronzeKey, ledger_entry};
use lake::status::{AuditLevel, Dataset, Reason, Status};
use std::process::{Child, Command, Stdio};

const NOVEMBER: &str = "2024-11";
const DECEMBER: &str = "2024-12";

/// Runs, and returns what was built, each month with its reasons.
fn built(house: &House, code: i32, more: &[&str]) -> Vec<(String, String)> {
    let output = house.transform(&[more, &["--json"]].concat());
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let months = summary["built"].as_object().unwrap();
    for month in summary["months"].as_array().unwrap() {
        let month = month.as_str().unwrap();
        let word = if months.contains_key(month) { "built: " } else { "left as it is" };
        assert!(stderr.contains(&format!("{month}: {word}")), "{stderr}");
    }
    let text = |reasons: &serde_json::Value| {
        let reasons: Vec<&str> =
            reasons.as_array().unwrap().iter().map(|reason| reason.as_str().unwrap()).collect();
        reasons.join("; ")
    };
    months.iter().map(|(month, reasons)| (month.clone(), text(reasons))).collect()
}

/// Silver is what a build from nothing makes of the lake.
fn is_as_from_nothing(house: &House, code: i32) {
    let incremental = house.silver();
    assert_eq!(house.transform(&["--all"]).status.code(), Some(code));
    assert_eq!(house.silver(), incremental, "--all gives other bytes");
    for layer in ["lake/silver", "lake/state/silver", "lake/checks"] {
        std::fs::remove_dir_all(house.path(layer)).unwrap();
    }
    assert_eq!(house.transform(&[]).status.code(), Some(code));
    assert_eq!(house.silver(), incremental, "a build from nothing gives other bytes");
}

/// A lake of two months, built; a change; these months are built again for a reason that has these words.
fn rebuilds(code: i32, months: &[&str], words: &str, change: impl FnOnce(&House)) {
    let house = large();
    house.build(0);
    change(&house);
    let built = built(&house, code, &[]);
    assert_eq!(built.iter().map(|(month, _)| month.as_str()).collect::<Vec<_>>(), months, "{built:?}");
    assert!(built.iter().all(|(_, reasons)| reasons.contains(words)), "{built:?}");
    is_as_from_nothing(&house, code);
}

#[test]
fn nothing_is_built_when_nothing_changed_whatever_the_files_times() {
    let house = large();
    assert_eq!(built(&house, 0, &[]).len(), 2);
    let first = house.silver();
    let bronze = std::fs::File::options()
        .append(true)
        .open(house.path(&object(&Pool::one(), Dataset::Tvl, "2024-12-01")))
        .unwrap();
    bronze.set_modified(std::time::SystemTime::now()).unwrap();
    assert_eq!(built(&house, 0, &[]), []);
    assert_eq!(house.silver(), first);
    let all = built(&house, 0, &["--all"]);
    assert_eq!(all.len(), 2);
    assert!(all.iter().all(|(_, reasons)| reasons == "all was asked for"), "{all:?}");
    is_as_from_nothing(&house, 0);
}

#[test]
fn a_month_left_alone_tells_its_gaps_again() {
    let house = large();
    let path = object(&Pool::one(), Dataset::Tvl, "2024-11-30");
    let bytes = house.read(&path);
    house.write(&path, &bytes[..100]);
    let first = house.build(1);
    let again = house.build(1);
    assert!(again.contains("2024-11: left as it is"), "{again}");
    let without_months = |text: &str| {
        text.lines().filter(|line| !line.starts_with("2024-1")).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(without_months(&again), without_months(&first));
}

#[test]
fn bronze_that_is_new_changed_or_gone() {
    let path = object(&Pool::one(), Dataset::Tvl, "2024-12-01");
    let short = path.trim_start_matches("lake/").to_owned();
    rebuilds(0, &[DECEMBER], &format!("bronze changed: 1 object is changed ({short})"), |house| {
        let mut pool = Pool::one();
        pool.reserves[0].supply += lake::U256::ONE;
        house.put_snapshot(&pool, "2024-12-01");
    });
    rebuilds(1, &[DECEMBER], &format!("1 object is gone ({short})"), |house| {
        std::fs::remove_file(house.path(&path)).unwrap();
    });
    rebuilds(0, &[DECEMBER], "3 objects are new (first bronze/blocks/ethereum/2024-12-03.json)", |house| {
        house.put_day(&Pool::one(), "2024-12-03");
    });
}

#[test]
fn an_audit_or_the_ledger_s_words_but_not_its_tries() {
    rebuilds(0, &[NOVEMBER], "audits changed", |house| {
        house.put_audit(&audit(&[&Pool::one()], "2024-11-30", AuditLevel::Sampled));
    });
    let house = large();
    let one = Pool::one();
    let path = object(&one, Dataset::Tvl, "2024-12-01");
    std::fs::remove_file(house.path(&path)).unwrap();
    house.build(1);
    let mut entry = lake::ledger::LedgerEntry {
        date: "2024-12-01".parse().unwrap(),
        reason: Some(Reason::RateLimited),
        message: "slow down".into(),
        ..ledger_entry_of(&one, Dataset::Tvl, Status::Failed)
    };
    let path = format!("lake/{}", ledger_entry(Dataset::Tvl, one.csu, entry.date));
    house.write(&path, &serde_json::to_vec(&entry).unwrap());
    let first = built(&house, 1, &[]);
    assert_eq!(first.len(), 1);
    assert!(first[0].1.contains("the ledger says otherwise"), "{first:?}");
    (entry.attempts, entry.last_try_at) = (9, "2026-02-02T00:00:00Z".into());
    house.write(&path, &serde_json::to_vec(&entry).unwrap());
    assert_eq!(built(&house, 1, &[]), [], "when it was tried changes nothing");
    is_as_from_nothing(&house, 1);
}

#[test]
fn the_registry_and_the_promise() {
    rebuilds(0, &[NOVEMBER, DECEMBER], "the registry changed", |house| {
        let facts = "asset_class = \"eth\"\nis_stablecoin = false\npricing = \"oracle\"";
        house.write("registry/tokens.toml", token_row(crate::weth().asset, facts).as_bytes());
    });
    let house = large();
    house.build(0);
    let wider = built(&house, 1, &["--to", "2024-12-03"]);
    assert_eq!(wider, [(DECEMBER.to_owned(), "other CSU-days are promised".to_owned())]);
}

#[test]
fn a_file_of_silver_that_is_gone_or_edited_and_a_build_of_which_nothing_is_known() {
    for table in ["price", "coverage", "reject"] {
        let path = format!("silver/{table}/month=2024-11/part.parquet");
        rebuilds(0, &[NOVEMBER], &format!("{path} is gone"), |house| {
            std::fs::remove_file(house.path(&format!("lake/{path}"))).unwrap();
        });
    }
    rebuilds(0, &[DECEMBER], "reserve_day/month=2024-12/part.parquet is not what was written", |house| {
        house.write("lake/silver/reserve_day/month=2024-12/part.parquet", b"PAR1PAR1");
    });
    rebuilds(0, &[DECEMBER], "its list of missing prices is not what was written", |house| {
        house.write("lake/checks/silver/missing_prices/2024-12.json", b"{}");
    });
    for notes in [&b"{"[..], b"{\"mark\":{},\"tokens\":[],\"bad_objects\":[],\"contradictions\":[],\"missing_prices\":0,\"rows\":{}}"] {
        rebuilds(0, &[DECEMBER], "nothing is known of how it was built", |house| {
            house.write("lake/state/silver/2024-12.json", notes);
        });
    }
    rebuilds(0, &[NOVEMBER, DECEMBER], "it was not built before", |house| {
        house.write("lake/silver/manifest.json", b"{}");
    });
}

#[test]
fn other_code_or_other_definitions_of_the_tables() {
    for (part, words) in [("code", "the code changed"), ("schema", "the definitions of the tables changed")] {
        rebuilds(0, &[NOVEMBER, DECEMBER], words, |house| {
            // As a build by another version left them.
            let digest = manifest(house).months[NOVEMBER][part].clone();
            for file in ["silver/manifest.json", "state/silver/2024-11.json", "state/silver/2024-12.json"] {
                let path = format!("lake/{file}");
                let text = String::from_utf8(house.read(&path)).unwrap();
                house.write(&path, text.replace(&digest, &"0".repeat(64)).as_bytes());
            }
        });
    }
}

#[test]
fn decimals_in_an_earlier_month_that_came_later() {
    let pool = Pool::one();
    let house = House::new(std::slice::from_ref(&pool));
    house.put_day(&pool, DAY);
    house.build(0);
    // November is collected afterwards, with other decimals: December's rows get a remark.
    let mut earlier = pool.clone();
    earlier.reserves[0].decimals = 8;
    house.put_day(&earlier, "2024-11-05");
    let december = built(&house, 1, &[]);
    assert_eq!(
        december,
        [(DECEMBER.to_owned(), "a token had other decimals in an earlier month".to_owned())]
    );
    let flags = house.rows("reserve_day").iter().map(|row| cell(row, "flags").to_owned()).collect::<Vec<_>>();
    assert!(flags.iter().any(|flags| flags.contains("decimals_changed")), "{flags:?}");
    assert_eq!(built(&house, 1, &[]), []);
    is_as_from_nothing(&house, 1);
}

#[test]
fn bronze_that_grows_while_its_month_is_left_alone_is_seen_by_the_next_run_of_that_month() {
    let house = large();
    house.build(0);
    let mut pool = Pool::one();
    pool.reserves[0].supply += lake::U256::ONE;
    house.put_snapshot(&pool, "2024-11-30");
    house.put_snapshot(&pool, "2024-12-01");
    let december = built(&house, 0, &["--from", "2024-12-01"]);
    assert_eq!(december.iter().map(|(month, _)| month.as_str()).collect::<Vec<_>>(), [DECEMBER]);
    let both = built(&house, 0, &[]);
    assert_eq!(both.iter().map(|(month, _)| month.as_str()).collect::<Vec<_>>(), [NOVEMBER]);
    is_as_from_nothing(&house, 0);
}

#[test]
fn a_record_of_an_older_or_newer_schema_is_refused_and_says_which() {
    for (schema, words) in [
        ("bronze.tvl/0", "it was written by an older lendlake and must be collected again"),
        ("bronze.tvl/2", "it was written by a newer lendlake, which must read it"),
    ] {
        let pool = Pool::one();
        let house = House::new(std::slice::from_ref(&pool));
        house.put_day(&pool, DAY);
        let path = object(&pool, Dataset::Tvl, DAY);
        let text = String::from_utf8(pool.snapshot(DAY).to_bytes().unwrap()).unwrap();
        let body = &text[..text.rfind(",\"sha256\"").unwrap()];
        let body = format!("{}}}", body.replacen("bronze.tvl/1", schema, 1));
        house.write(&path, &crate::check::sealed(&body));
        let stderr = house.build(1);
        assert!(stderr.contains(&format!("its schema is `{schema}`")) && stderr.contains(words), "{stderr}");
        let covered = house.covered(pool.csu, "tvl");
        assert_eq!(cells(&covered, ["status", "reason"]), ["failed", "bad_object"]);
    }
}

fn start(house: &House, more: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_transform"))
        .args(["run", "--run"])
        .arg(house.path("run.toml"))
        .args(more)
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn two_transforms_at_once_do_no_harm() {
    let house = large();
    house.build(0);
    let alone = house.silver();
    for round in 0..5 {
        std::fs::remove_dir_all(house.path("lake/silver")).unwrap();
        let runs: [&[&str]; 3] = if round % 2 == 0 {
            [&[], &["--all"], &["--jobs", "1"]]
        } else {
            [&["--to", "2024-11-30"], &["--from", "2024-12-01"], &["--all"]]
        };
        let children: Vec<Child> = runs.iter().map(|more| start(&house, more)).collect();
        for mut child in children {
            assert_eq!(child.wait().unwrap().code(), Some(0));
        }
        // Whoever wrote last: what a run finds wanting it builds again.
        house.build(0);
        assert_eq!(house.silver(), alone, "round {round}");
    }
}

#[test]
fn audits_and_csus_of_no_interest_leave_a_month_alone() {
    let house = large();
    house.build(0);
    // Another CSU's objects, which the registry does not have.
    let other = Pool { csu: "aave_v3_other", entry: lake::Address::repeat_byte(0x44), ..Pool::one() };
    house.put_snapshot(&other, "2024-12-01");
    house.put_audit(&audit(&[&Pool::one()], "2025-01-05", AuditLevel::Sampled));
    assert!(house.path(&audit_path("ethereum", "2025-01-05".parse().unwrap())).exists());
    assert_eq!(built(&house, 0, &[]), []);
    let key = BronzeKey::of(Dataset::Tvl, other.csu, "2024-12-01".parse().unwrap());
    assert!(!manifest(&house).inputs.contains_key(&key.to_string()));
    // Once it has, everything is built again.
    let rows = [&Pool::one(), &Pool::two(), &other].map(|pool| csu_row(pool, i32::from(pool.entry[0]), ""));
    house.write("registry/csus/aave_v3.toml", rows.concat().as_bytes());
    assert_eq!(built(&house, 1, &[]).len(), 2);
}
