use crate::small_lake::*;
use lake::manifest::Manifest;
use lake::schema::silver::Coverage;
use lake::status::{Dataset, Status};
use lake::table_file::parquet_bytes;

const RESERVES: &str = "silver/reserve_day/month=2024-11/part.parquet";

#[test]
fn no_silver_at_all() {
    let lake = SmallLake::empty();
    lake.run("build", &[])
        .failed_saying(&["no silver for 2024-11 in the lake at ", "hint: run `transform run`"]);
    lake.run("show", &[]).failed_saying(&["no panel in the lake", "hint: run `panel build`"]);
    assert!(!lake.lake().join("gold").exists());
}

#[test]
fn a_month_that_lacks_a_table() {
    let lake = SmallLake::collected();
    lake.write();
    std::fs::remove_file(lake.lake().join(RESERVES)).unwrap();
    lake.run("build", &[]).failed_saying(&["incomplete", RESERVES]);
}

#[test]
fn a_file_that_is_cut_off_or_scrambled_is_named() {
    let mut lake = SmallLake::collected();
    lake.reserves.push(reserve(ALPHA, DAYS[0], 1, [1.0, 0.0, 1.0], Some(1.0)));
    lake.write();
    let whole = lake.file(RESERVES);
    for length in [0, 3, 4, 8, 100, whole.len() / 2, whole.len() - 9, whole.len() - 1] {
        lake.put(RESERVES, &whole[..length]);
        lake.run("build", &[]).failed_saying(&["cannot read ", RESERVES]);
    }
    lake.put(RESERVES, b"PAR1 this is no table PAR1");
    lake.run("build", &[]).failed_saying(&["cannot read ", RESERVES]);
    assert!(!lake.lake().join("gold").exists(), "nothing is written after an error");

    lake.put(RESERVES, &whole);
    assert_eq!(lake.run("build", &[]).code, 0);
    let gold = lake.file("gold/panel_daily.parquet");
    lake.put("gold/panel_daily.parquet", &gold[..gold.len() / 2]);
    lake.run("show", &[]).failed_saying(&["cannot read gold/panel_daily.parquet", "hint: run `panel build`"]);
}

#[test]
fn a_file_other_than_silvers_manifest_says() {
    let lake = SmallLake::collected();
    lake.write();
    let manifest = |digest: &str| {
        let outputs = [(RESERVES.to_owned(), digest.to_owned())].into();
        Manifest { schema: "silver/1".into(), outputs, ..Manifest::default() }.to_bytes().unwrap()
    };
    lake.put("silver/manifest.json", &manifest(&lake::digest::sha256_hex(&lake.file(RESERVES))));
    assert_eq!(lake.run("build", &[]).code, 0);
    lake.put("silver/manifest.json", &manifest("0000"));
    lake.run("build", &[]).failed_saying(&["silver's manifest says 0000", RESERVES]);
    lake.put("silver/manifest.json", b"{");
    lake.run("build", &[]).failed_saying(&["cannot read silver/manifest.json"]);
}

#[test]
fn a_table_of_another_schema() {
    let lake = SmallLake::collected();
    lake.write();
    lake.put(RESERVES, &parquet_bytes::<Coverage>(vec![]).unwrap());
    lake.run("build", &[]).failed_saying(&[RESERVES, "it has no column `market_id`"]);
}

#[test]
fn a_level_that_nobody_knows() {
    use lake::schema::Row;
    use std::sync::Arc;
    let lake = SmallLake::collected();
    lake.write();
    let batch = Coverage::to_batch(&lake.coverage).unwrap();
    let words = arrow_array::StringArray::from(vec!["sworn"; batch.num_rows()]);
    let at = batch.schema().index_of("audit_level").unwrap();
    let mut columns = batch.columns().to_vec();
    columns[at] = Arc::new(words);
    let batch = arrow_array::RecordBatch::try_new(batch.schema(), columns).unwrap();
    let mut bytes = Vec::new();
    let mut writer = parquet::arrow::ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    lake.put("silver/coverage/month=2024-11/part.parquet", &bytes);
    lake.run("build", &[])
        .failed_saying(&["silver contradicts itself: coverage of ", "`sworn` is no AuditLevel of the lake"]);
}

#[test]
fn silver_of_another_zone() {
    let lake = SmallLake::collected();
    lake.write();
    let run = lake.root().join("run.toml");
    let text = std::fs::read_to_string(&run).unwrap();
    std::fs::write(&run, format!("zone = \"UTC\"\n{text}")).unwrap();
    lake.run("build", &[])
        .failed_saying(&["2024-11-02 of testnet begins and ends at other instants than in UTC"]);
}

#[test]
fn a_scan_that_counts_as_whole_and_is_not() {
    let mut lake = SmallLake::collected();
    let row = lake.coverage.iter_mut().find(|row| row.dataset == Dataset::Liquidations).unwrap();
    row.blocks_scanned = Some(BLOCKS - 1);
    lake.write().run("build", &[]).failed_saying(&["silver contradicts itself", "479 of 480 blocks"]);
}

#[test]
fn a_day_without_blocks_on_a_chain_that_has_some() {
    let mut lake = SmallLake::collected();
    lake.set_status(ALPHA, DAYS[0], Dataset::Liquidations, Status::NoBlock);
    lake.write()
        .run("build", &[])
        .failed_saying(&["silver contradicts itself", "counts as no_block, its chain has blocks"]);
}

#[test]
fn names_and_days_that_are_wrong() {
    let lake = SmallLake::collected();
    lake.write();
    lake.run("build", &["--csu", "aave_v3_alfa"])
        .failed_saying(&["no CSU is called `aave_v3_alfa` (did you mean"]);
    lake.run("build", &["--from", "2024-12-01"]).failed_saying(&["is empty"]);
    let ran = lake.run("build", &["--from", "yesterday"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("write it as YYYY-MM-DD"), "{}", ran.stderr);
    lake.run("build", &["--lake", "ftp://example.org/x"]).failed_saying(&["cannot open the lake"]);
    std::fs::remove_file(lake.root().join("run.toml")).unwrap();
    lake.run("build", &[]).failed_saying(&["cannot read the run file"]);
}
