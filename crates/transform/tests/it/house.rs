//! A lake in a directory of its own, with a registry and a run file, and the program that works on it.

use crate::chain::{DAY, Pool, day};
use lake::bronze::{Audit, LiquidationLogs, Record};
use lake::digest::sha256_hex;
use lake::path::BronzeKey;
use lake::status::Dataset;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

pub struct House {
    directory: tempfile::TempDir,
}

pub type Row = BTreeMap<String, Option<String>>;

/// A cell as text, `null` for null.
pub fn cell<'a>(row: &'a Row, name: &str) -> &'a str {
    row.get(name).unwrap_or_else(|| panic!("no column {name}")).as_deref().unwrap_or("null")
}

pub fn cells<'a, const N: usize>(row: &'a Row, names: [&str; N]) -> [&'a str; N] {
    names.map(|name| cell(row, name))
}

impl House {
    /// A registry with these pools, and a run of one day.
    pub fn new(pools: &[Pool]) -> Self {
        let house = Self { directory: tempfile::tempdir().unwrap() };
        let rows: Vec<String> = pools.iter().zip(1..).map(|(pool, num)| csu_row(pool, num, "")).collect();
        house.write("registry/chains.toml", CHAINS.as_bytes());
        house.write("registry/csus/aave_v3.toml", rows.join("\n").as_bytes());
        house.write("registry/tokens.toml", b"");
        house.write_run(DAY, DAY);
        house
    }

    pub fn write_run(&self, from: &str, to: &str) {
        let run = format!(
            "name = \"test\"\nfrom = \"{from}\"\nto = \"{to}\"\ncsus = [\"*\"]\nregistry = \"registry\"\nlake = \"lake\"\n"
        );
        self.write("run.toml", run.as_bytes());
    }

    pub fn path(&self, relative: &str) -> PathBuf {
        self.directory.path().join(relative)
    }

    pub fn write(&self, relative: &str, bytes: &[u8]) {
        let path = self.path(relative);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    pub fn read(&self, relative: &str) -> Vec<u8> {
        std::fs::read(self.path(relative)).unwrap()
    }

    pub fn put_blocks(&self, pool: &Pool, date: &str) {
        let key = BronzeKey::Blocks { chain: pool.chain.into(), date: day(date) };
        self.write(&format!("lake/{key}"), &pool.blocks(date).to_bytes().unwrap());
    }

    pub fn put_snapshot(&self, pool: &Pool, date: &str) {
        self.write(&object(pool, Dataset::Tvl, date), &pool.snapshot(date).to_bytes().unwrap());
    }

    pub fn put_logs(&self, pool: &Pool, date: &str, logs: &LiquidationLogs) {
        self.write(&object(pool, Dataset::Liquidations, date), &logs.to_bytes().unwrap());
    }

    pub fn put_audit(&self, audit: &Audit) {
        self.write(&audit_path(&audit.day.chain, audit.day.date), &audit.to_bytes().unwrap());
    }

    /// A whole day without liquidations.
    pub fn put_day(&self, pool: &Pool, date: &str) {
        self.put_blocks(pool, date);
        self.put_snapshot(pool, date);
        self.put_logs(pool, date, &pool.liquidations(date, Vec::new(), pool));
    }

    pub fn transform(&self, more: &[&str]) -> Output {
        self.command("run", more)
    }

    pub fn command(&self, command: &str, more: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_transform"))
            .args([command, "--run"])
            .arg(self.path("run.toml"))
            .args(more)
            .env_remove("RUST_LOG")
            .output()
            .unwrap()
    }

    /// Builds, and insists on the exit code. Returns what was printed on stderr.
    pub fn build(&self, code: i32) -> String {
        let output = self.transform(&[]);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{stderr}");
        assert!(!stderr.contains("panicked"), "{stderr}");
        stderr
    }

    pub fn rows(&self, table: &str) -> Vec<Row> {
        self.rows_at(&format!("lake/silver/{table}/month=2024-12/part.parquet"))
    }

    pub fn rows_at(&self, relative: &str) -> Vec<Row> {
        let reader = SerializedFileReader::new(std::fs::File::open(self.path(relative)).unwrap()).unwrap();
        let text = |field: &Field| match field {
            Field::Null => None,
            Field::Str(text) => Some(text.clone()),
            Field::Double(number) => Some(number.to_string()),
            other => Some(other.to_string()),
        };
        let row = |row: parquet::record::Row| {
            row.get_column_iter().map(|(name, field)| (name.clone(), text(field))).collect()
        };
        reader.get_row_iter(None).unwrap().map(|found| row(found.unwrap())).collect()
    }

    /// The coverage row of a CSU's dataset on the run's day.
    pub fn covered(&self, csu: &str, dataset: &str) -> Row {
        let is_it = |row: &Row| cells(row, ["csu", "dataset"]) == [csu, dataset];
        let [row] = <[Row; 1]>::try_from(self.rows("coverage").into_iter().filter(is_it).collect::<Vec<_>>())
            .unwrap();
        row
    }

    /// Digest of every file under `lake/silver`.
    pub fn silver(&self) -> BTreeMap<String, String> {
        fn walk(root: &Path, at: &Path, found: &mut BTreeMap<String, String>) {
            for entry in std::fs::read_dir(at).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    walk(root, &path, found);
                } else {
                    let name = path.strip_prefix(root).unwrap().display().to_string();
                    found.insert(name, sha256_hex(&std::fs::read(&path).unwrap()));
                }
            }
        }
        let mut found = BTreeMap::new();
        walk(&self.path("lake"), &self.path("lake/silver"), &mut found);
        found
    }
}

/// Path of an audit below the house.
pub fn audit_path(chain: &str, date: lake::day::Day) -> String {
    format!("lake/{}", BronzeKey::Audit { chain: chain.to_owned(), date })
}

/// Path of an object below the house.
pub fn object(pool: &Pool, dataset: Dataset, date: &str) -> String {
    format!("lake/{}", BronzeKey::of(dataset, pool.csu, day(date)))
}

pub fn csu_row(pool: &Pool, num: i32, more: &str) -> String {
    format!(
        "[[csu]]\nid = \"{}\"\nnum = {num}\nprotocol = \"aave_v3\"\nversion = \"v3\"\nchain = \"{}\"\nmarket = \"main\"\n\
         entry_role = \"pool_addresses_provider\"\nentry = \"{}\"\nverified = \"no\"\nsource = \"a test\"\n{more}\n",
        pool.csu,
        pool.chain,
        pool.entry.to_checksum(None)
    )
}

pub fn token_row(token: lake::Address, more: &str) -> String {
    format!(
        "[[token]]\nchain = \"ethereum\"\naddress = \"{}\"\nsymbol = \"X\"\nsource = \"a test\"\n{more}\n",
        token.to_checksum(None)
    )
}

const CHAINS: &str = r#"
[[chain]]
name = "ethereum"
chain_id = 1
native_symbol = "ETH"
is_l2 = false
block_seconds = 12
finality_blocks = 64
source = "a test"

[[chain]]
name = "silent"
chain_id = 2
native_symbol = "ETH"
is_l2 = true
block_seconds = 2
finality_blocks = 64
source = "a test"
"#;
