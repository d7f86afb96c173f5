use crate::small_lake::*;
use lake::manifest::Manifest;
use lake::schema::silver::Coverage;
use lake::status::{Dataset, Status};
use lake::table_file::parquet_bytes;

const COVERAGE: &str = "silver/coverage/month=2024-11/part.parquet";
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
    // Not even when the manifest was made to agree.
    for length in [0, 8, whole.len() / 2, whole.len() - 1] {
        lake.put_listed(RESERVES, &whole[..length]);
        lake.run("build", &[]).failed_saying(&["cannot read ", RESERVES]);
    }
    assert!(!lake.lake().join("gold").exists(), "nothing is written after an error");

    lake.put_listed(RESERVES, &whole);
    assert_eq!(lake.run("build", &[]).code, 0);
    let gold = lake.file("gold/panel_daily.parquet");
    lake.put("gold/panel_daily.parquet", &gold[..gold.len() / 2]);
    lake.run("show", &[]).failed_saying(&["cannot read gold/panel_daily.parquet", "hint: run `panel build`"]);
}

fn manifest(lake: &SmallLake) -> Manifest {
    serde_json::from_slice(&lake.file("silver/manifest.json")).unwrap()
}

fn put_manifest(lake: &SmallLake, manifest: &Manifest) {
    lake.put("silver/manifest.json", &manifest.to_bytes().unwrap());
}

#[test]
fn a_file_other_than_silvers_manifest_says() {
    let lake = SmallLake::collected();
    lake.write();
    let sound = manifest(&lake);
    assert_eq!(lake.run("build", &[]).code, 0);
    let mut other = sound.clone();
    other.outputs.insert(RESERVES.to_owned(), "0000".to_owned());
    put_manifest(&lake, &other);
    lake.run("build", &[]).failed_saying(&["silver's manifest says 0000", RESERVES]);
    other.outputs.remove(RESERVES);
    put_manifest(&lake, &other);
    lake.run("build", &[]).failed_saying(&["silver's manifest does not list it", RESERVES]);
    lake.put("silver/manifest.json", b"{");
    lake.run("build", &[]).failed_saying(&["cannot read silver/manifest.json"]);
    put_manifest(&lake, &Manifest { schema: "silver/2".into(), ..sound });
    lake.run("build", &[])
        .failed_saying(&["silver/manifest.json", "it is of `silver/2`, this program reads `silver/1`"]);
}

#[test]
fn silver_that_a_transform_left_half_built() {
    let lake = SmallLake::collected();
    lake.write();
    std::fs::remove_file(lake.lake().join("silver/manifest.json")).unwrap();
    lake.run("build", &[]).failed_saying(&["incomplete: there is no silver/manifest.json"]);
    lake.list();
    // A month that is listed and gone is no month that was never made.
    std::fs::remove_file(lake.lake().join("silver/coverage/month=2024-11/part.parquet")).unwrap();
    lake.run("build", &[]).failed_saying(&["incomplete", "silver/coverage/month=2024-11/part.parquet"]);
    assert!(!lake.lake().join("gold").exists());
}

#[test]
fn silver_of_another_registry() {
    let lake = SmallLake::collected();
    lake.write();
    let chains = lake.root().join("registry/chains.toml");
    let text = std::fs::read_to_string(&chains).unwrap();
    std::fs::write(&chains, format!("# a remark\n{text}")).unwrap();
    lake.run("build", &[])
        .failed_saying(&["made with another registry", "hint: run `transform run` (make silver) again"]);
}

/// A table's file that says it is of another schema version, or does not say.
fn of_version(batch: &arrow_array::RecordBatch, version: Option<&str>) -> Vec<u8> {
    let schema = batch.schema();
    let mut metadata = schema.metadata().clone();
    metadata.remove("schema_version");
    metadata.extend(version.map(|version| ("schema_version".to_owned(), version.to_owned())));
    let schema = std::sync::Arc::new((*schema).clone().with_metadata(metadata));
    written(&arrow_array::RecordBatch::try_new(schema, batch.columns().to_vec()).unwrap())
}

pub(crate) fn written(batch: &arrow_array::RecordBatch) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = parquet::arrow::ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
    bytes
}

#[test]
fn silver_of_another_schema_version() {
    use lake::schema::Row;
    let lake = SmallLake::collected();
    lake.write();
    let batch = Coverage::to_batch(&lake.coverage).unwrap();
    lake.put_listed(COVERAGE, &of_version(&batch, Some("0.9.0")));
    lake.run("build", &[]).failed_saying(&[
        COVERAGE,
        "it is coverage 0.9.0, this program reads 1.1.0",
        "another version",
    ]);
}

#[test]
fn a_key_that_is_there_twice() {
    use lake::schema::Row;
    use lake::schema::silver::{CsuRow, DayBlock, Liquidation, ReserveDay};
    let part = |table: &str| format!("silver/{table}/month=2024-11/part.parquet");
    let twice = |change: &dyn Fn(&mut SmallLake) -> (String, arrow_array::RecordBatch), says: &str| {
        let mut lake = SmallLake::collected();
        lake.write();
        let (path, batch) = change(&mut lake);
        lake.put_listed(&path, &written(&batch));
        lake.run("build", &[]).failed_saying(&["silver contradicts itself", says]);
        assert!(!lake.lake().join("gold").exists(), "{says}");
    };
    let a_reserve = || reserve(ALPHA, DAYS[1], 3, [1.0, 0.0, 1.0], Some(1.0));
    twice(
        &|_| (part("reserve_day"), ReserveDay::to_batch(&[a_reserve(), a_reserve()]).unwrap()),
        "reserve_day has 2 rows of aave_v3_alpha on 2024-11-03 with market_id 0x0000000000000000000000000000000000000064, \
         token 0x0000000000000000000000000000000000000003, role reserve",
    );
    // One log cannot be of two CSUs.
    let logs = [liquidation(ALPHA, DAYS[0], 1, 1.0, 1.0), liquidation(BETA, DAYS[0], 1, 1.0, 1.0)];
    twice(
        &|_| (part("liquidation"), Liquidation::to_batch(&logs).unwrap()),
        "liquidation has 2 rows of leg 0 of log 1 in block 9613925 of chain 77",
    );
    twice(
        &|lake| {
            let row = lake.coverage[0].clone();
            lake.coverage.push(Coverage { status: Status::Failed, ..row });
            (part("coverage"), Coverage::to_batch(&lake.coverage).unwrap())
        },
        "coverage of aave_v3_alpha on 2024-11-02 has two rows of tvl",
    );
    twice(
        &|lake| {
            lake.days.push(day_block(day(DAYS[0])));
            (part("day_block"), DayBlock::to_batch(&lake.days).unwrap())
        },
        "day_block has two rows of testnet on 2024-11-02",
    );
    twice(
        &|lake| {
            lake.csus.push(csu_row(ALPHA, false, "none"));
            ("silver/csu/part.parquet".to_owned(), CsuRow::to_batch(&lake.csus).unwrap())
        },
        "csu has two rows of aave_v3_alpha",
    );
}

#[test]
fn ten_years_of_which_silver_has_three_days() {
    let lake = SmallLake::collected();
    let ran = lake.write().run("build", &["--from", "2015-01-01", "--to", "2024-12-31"]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(ran.stderr.contains("note: no silver for 2015-01 to 2024-10;"), "{}", ran.stderr);
    assert!(ran.stderr.contains("note: no silver for 2024-12;"), "{}", ran.stderr);
    let panel = lake.read_panel();
    assert_eq!(panel.0.len(), 2 * 3653);
    // ALPHA was deployed on 2024-11-01; of BETA nobody knows.
    let count = |csu: &str, status: &str| {
        panel
            .0
            .iter()
            .filter(|row| row.text("csu") == Some(csu) && row.text("status") == Some(status))
            .count()
    };
    assert_eq!((count(ALPHA, "not_deployed"), count(ALPHA, "collected")), (3591, 3));
    assert_eq!((count(BETA, "not_deployed"), count(BETA, "not_attempted")), (0, 3650));
    assert!(
        panel.0.iter().all(|row| row.text("status") == Some("collected") || row.text("tvl_usd").is_none())
    );
}

#[test]
fn a_table_of_another_schema() {
    use lake::schema::Row;
    let lake = SmallLake::collected();
    lake.write();
    lake.put_listed(RESERVES, &of_version(&Coverage::to_batch(&[]).unwrap(), None));
    lake.run("build", &[]).failed_saying(&[RESERVES, "it has no column `market_id`"]);
    lake.put_listed(RESERVES, &parquet_bytes::<Coverage>(vec![]).unwrap());
    lake.run("build", &[]).failed_saying(&[RESERVES, "it is reserve_day 1.1.0, this program reads 1.0.0"]);
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
    lake.put_listed(COVERAGE, &written(&batch));
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
