//! A small lake in a temporary directory: silver rows, a registry and a run file, and the program run over them.

use lake::day::{Day, Zone};
use lake::digest::sha256_hex;
use lake::manifest::Manifest;
use lake::path::{silver_month, silver_whole};
use lake::schema::silver::{Coverage, CsuRow, DayBlock, Liquidation, Reject, ReserveDay, TokenRow};
use lake::schema::{Row, Seconds};
use lake::status::{Dataset, PriceBasis, PriceSource, Role, Status};
use lake::store::Lake;
use lake::table_file::parquet_bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

pub(crate) const CHAIN_ID: i64 = 77;
pub(crate) const ALPHA: &str = "aave_v3_alpha";
pub(crate) const BETA: &str = "aave_v3_beta";
pub(crate) const DAYS: [&str; 3] = ["2024-11-02", "2024-11-03", "2024-11-04"];
pub(crate) const BLOCKS: i64 = 480;

const CHAINS: &str = r#"
[[chain]]
name = "testnet"
chain_id = 77
native_symbol = "ETH"
is_l2 = true
block_seconds = 180.0
finality_blocks = 64
source = "a test"
"#;

const CSUS: &str = r#"
[[csu]]
id = "aave_v3_alpha"
num = 1
protocol = "aave"
version = "3.0"
chain = "testnet"
market = "alpha"
entry_role = "pool_addresses_provider"
entry = "0x0000000000000000000000000000000000000001"
deployed_date = "2024-11-01"
verified = "no"
source = "a test"

[[csu]]
id = "aave_v3_beta"
num = 7
protocol = "aave"
version = "3.3"
chain = "testnet"
market = "beta"
entry_role = "pool_addresses_provider"
entry = "0x0000000000000000000000000000000000000002"
verified = "no"
source = "a test"
"#;

pub(crate) fn day(text: &str) -> Day {
    text.parse().unwrap()
}

/// A token address.
pub(crate) fn token(number: u8) -> String {
    format!("0x{number:040x}")
}

#[derive(Debug)]
pub(crate) struct SmallLake {
    directory: tempfile::TempDir,
    pub(crate) coverage: Vec<Coverage>,
    pub(crate) days: Vec<DayBlock>,
    pub(crate) reserves: Vec<ReserveDay>,
    pub(crate) liquidations: Vec<Liquidation>,
    pub(crate) rejects: Vec<Reject>,
    pub(crate) csus: Vec<CsuRow>,
    pub(crate) tokens: Vec<TokenRow>,
    /// What the manifest says that silver was made from.
    pub(crate) bronze: BTreeMap<String, String>,
}

impl SmallLake {
    /// Both CSUs on all days, everything collected, nothing lent.
    pub(crate) fn collected() -> Self {
        let mut lake = Self::empty();
        for date in DAYS.map(day) {
            lake.days.push(day_block(date));
            for csu in [ALPHA, BETA] {
                for dataset in Dataset::ALL {
                    lake.coverage.push(coverage(csu, date, *dataset, Status::Collected));
                }
            }
        }
        lake.csus = vec![csu_row(ALPHA, true, "none"), csu_row(BETA, true, "event")];
        lake
    }

    pub(crate) fn empty() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let registry = directory.path().join("registry");
        std::fs::create_dir_all(registry.join("csus")).unwrap();
        std::fs::write(registry.join("chains.toml"), CHAINS).unwrap();
        std::fs::write(registry.join("csus/aave_v3.toml"), CSUS).unwrap();
        std::fs::write(registry.join("tokens.toml"), "").unwrap();
        let run = format!(
            "name = \"small\"\nfrom = \"{}\"\nto = \"{}\"\ncsus = [\"aave_v3_*\"]\nregistry = \"registry\"\nlake = \"lake\"\n",
            DAYS[0], DAYS[2]
        );
        std::fs::write(directory.path().join("run.toml"), run).unwrap();
        Self {
            directory,
            coverage: vec![],
            days: vec![],
            reserves: vec![],
            liquidations: vec![],
            rejects: vec![],
            csus: vec![],
            tokens: vec![],
            bronze: BTreeMap::new(),
        }
    }

    pub(crate) fn set_status(&mut self, csu: &str, date: &str, dataset: Dataset, status: Status) {
        let date = day(date);
        self.coverage.retain(|row| (row.csu.as_str(), row.date, row.dataset) != (csu, date, dataset));
        self.coverage.push(coverage(csu, date, dataset, status));
    }

    /// Writes silver: every table, by month where it is partitioned, and the manifest last.
    pub(crate) fn write(&self) -> &Self {
        write_months(self, &self.coverage, |row| row.date);
        write_months(self, &self.days, |row| row.date);
        write_months(self, &self.reserves, |row| row.date);
        write_months(self, &self.liquidations, |row| row.date);
        write_months(self, &self.rejects, |row| row.date);
        self.put(silver_whole("csu").as_ref(), &parquet_bytes(self.csus.clone()).unwrap());
        self.put(silver_whole("token").as_ref(), &parquet_bytes(self.tokens.clone()).unwrap());
        self.list();
        self
    }

    /// Writes a table of a month, whatever its rows, and lists it in the manifest.
    pub(crate) fn put_listed(&self, path: &str, bytes: &[u8]) {
        self.put(path, bytes);
        self.list();
    }

    /// Writes silver's manifest of what is there.
    pub(crate) fn list(&self) {
        let registry = lake::registry::Registry::load(&self.root().join("registry")).unwrap();
        let lake = Lake::open(self.lake().to_str().unwrap()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let files = runtime.block_on(lake.list(&object_store::path::Path::from("silver"))).unwrap();
        let parts = files.iter().map(ToString::to_string).filter(|path| path.ends_with(".parquet"));
        let manifest = Manifest {
            schema: "silver/1".into(),
            registry_sha256: registry.sha256().to_owned(),
            inputs: self.bronze.clone(),
            outputs: parts.map(|path| (path.clone(), sha256_hex(&self.file(&path)))).collect(),
            ..Manifest::default()
        };
        self.put("silver/manifest.json", &manifest.to_bytes().unwrap());
    }

    pub(crate) fn put(&self, path: &str, bytes: &[u8]) {
        let path = object_store::path::Path::from(path);
        let lake = Lake::open(self.lake().to_str().unwrap()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(lake.replace(&path, bytes.to_vec())).unwrap();
    }

    pub(crate) fn root(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn lake(&self) -> PathBuf {
        self.root().join("lake")
    }

    pub(crate) fn file(&self, path: &str) -> Vec<u8> {
        let file = self.lake().join(path);
        std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
    }

    /// The program with a subcommand over this lake's run.
    pub(crate) fn command(&self, subcommand: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_panel"));
        command.arg(subcommand).arg("--run").arg(self.root().join("run.toml")).args(arguments);
        command
    }

    pub(crate) fn run(&self, subcommand: &str, arguments: &[&str]) -> Ran {
        Ran::of(self.command(subcommand, arguments).output().unwrap())
    }

    /// Writes silver, builds, and reads the panel back from its CSV.
    pub(crate) fn panel(&self) -> Panel {
        let ran = self.write().run("build", &[]);
        assert!(ran.code < 2, "{}", ran.stderr);
        self.read_panel()
    }

    pub(crate) fn read_panel(&self) -> Panel {
        self.read_csv("gold/panel_daily.csv")
    }

    pub(crate) fn read_csv(&self, path: &str) -> Panel {
        let bytes = self.file(path);
        let mut reader = csv::Reader::from_reader(bytes.as_slice());
        let names: Vec<String> = reader.headers().unwrap().iter().map(str::to_owned).collect();
        let rows = reader
            .records()
            .map(|record| {
                let record = record.unwrap();
                let cells = record.iter().map(|cell| (!cell.is_empty()).then(|| cell.to_owned()));
                PanelRow(names.iter().cloned().zip(cells).collect())
            })
            .collect();
        Panel(rows)
    }
}

fn write_months<R: Row + Clone>(lake: &SmallLake, rows: &[R], date: impl Fn(&R) -> Day) {
    // A month that has coverage has every table, if without rows.
    let months: BTreeSet<String> = lake.coverage.iter().map(|row| row.date.month()).collect();
    for month in months {
        let of_month = rows.iter().filter(|row| date(row).month() == month).cloned().collect();
        let path = silver_month(R::TABLE.name, &month).to_string();
        lake.put(&path, &parquet_bytes::<R>(of_month).unwrap());
    }
}

/// What the program did.
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    pub(crate) fn of(output: Output) -> Self {
        Self {
            code: output.status.code().expect("not killed"),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// An error is reported once, with a hint on a line of its own, and never by a panic.
    pub(crate) fn failed_saying(&self, parts: &[&str]) {
        assert_eq!(self.code, 2, "{}", self.stderr);
        for part in parts {
            assert!(self.stderr.contains(part), "{part} is not in\n{}", self.stderr);
        }
        assert!(self.stderr.starts_with("error: "), "{}", self.stderr);
        assert_eq!(self.stderr.matches("error: ").count(), 1, "{}", self.stderr);
        assert_eq!(
            self.stderr.lines().filter(|line| line.starts_with("hint: ")).count(),
            1,
            "{}",
            self.stderr
        );
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
    }
}

/// Gold, as its CSV says.
pub(crate) struct Panel(pub(crate) Vec<PanelRow>);

impl Panel {
    pub(crate) fn row(&self, csu: &str, date: &str) -> &PanelRow {
        let found = self.0.iter().find(|row| row.text("csu") == Some(csu) && row.text("date") == Some(date));
        found.unwrap_or_else(|| panic!("no row of {csu} on {date}"))
    }
}

pub(crate) struct PanelRow(BTreeMap<String, Option<String>>);

impl PanelRow {
    pub(crate) fn text(&self, column: &str) -> Option<&str> {
        self.0.get(column).unwrap_or_else(|| panic!("no column {column}")).as_deref()
    }

    pub(crate) fn number(&self, column: &str) -> Option<f64> {
        self.text(column).map(|text| text.parse().unwrap_or_else(|_| panic!("{column} is `{text}`")))
    }

    pub(crate) fn columns(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_deref()))
    }
}

pub(crate) fn day_block(date: Day) -> DayBlock {
    let window = Zone::named("America/New_York").unwrap().window(date).unwrap();
    let first = i64::from(date.days_since_epoch()) * BLOCKS;
    DayBlock {
        chain: "testnet".into(),
        date,
        chain_id: CHAIN_ID,
        day_start_utc: Seconds(window.start),
        day_end_utc: Seconds(window.end),
        day_hours: window.hours(),
        first_block: Some(first),
        last_block: Some(first + BLOCKS - 1),
        last_block_hash: Some("0xabc".into()),
        last_block_ts: Some(Seconds(window.end - 12)),
        next_block_ts: Some(Seconds(window.end)),
        n_blocks: Some(BLOCKS),
        status: Status::Collected,
        bronze_sha256: Some(format!("blocks of {date}")),
    }
}

pub(crate) fn coverage(csu: &str, date: Day, dataset: Dataset, status: Status) -> Coverage {
    let is_collected = status == Status::Collected;
    let scans = dataset == Dataset::Liquidations;
    Coverage {
        csu: csu.into(),
        date,
        dataset,
        status,
        reason: None,
        message: None,
        calls_planned: Some(3),
        calls_ok: Some(if is_collected { 3 } else { 1 }),
        blocks_expected: scans.then_some(BLOCKS),
        blocks_scanned: scans.then_some(if is_collected { BLOCKS } else { BLOCKS / 4 }),
        audit_level: None,
        object: None,
        sha256: is_collected.then(|| format!("{dataset} of {csu} on {date}")),
    }
}

pub(crate) fn csu_row(csu: &str, has_borrower: bool, bad_debt_method: &str) -> CsuRow {
    CsuRow {
        csu: csu.into(),
        csu_num: if csu == ALPHA { 1 } else { 7 },
        protocol: "aave".into(),
        version: "3.0".into(),
        family: "aave_v3".into(),
        chain: "testnet".into(),
        chain_id: CHAIN_ID,
        is_l2: true,
        market: "main".into(),
        deployed_block: None,
        deployed_date: None,
        retired_date: None,
        root_contract: token(200),
        has_borrower,
        has_debt_amount: true,
        bad_debt_method: bad_debt_method.into(),
        verified: "no".into(),
        source: "a test".into(),
    }
}

pub(crate) fn excluded(number: u8) -> TokenRow {
    TokenRow {
        chain_id: CHAIN_ID,
        token: token(number),
        chain: "testnet".into(),
        symbol: None,
        decimals: Some(6),
        decimals_source: Some("onchain".into()),
        asset_class: "other".into(),
        is_stablecoin: false,
        pricing: "excluded".into(),
        pricing_reason: Some("dead".into()),
    }
}

/// A reserve with amounts in whole tokens; the USD columns follow the rule of silver (0 when the amount is 0).
pub(crate) fn reserve(
    csu: &str,
    date: &str,
    number: u8,
    amounts: [f64; 3],
    price: Option<f64>,
) -> ReserveDay {
    let [supplied, borrowed, available] = amounts;
    let raw = |amount: f64| Some(format!("{:.0}", amount * 1e6));
    let usd = |amount: f64| if amount == 0.0 { Some(0.0) } else { price.map(|price| amount * price) };
    ReserveDay {
        csu: csu.into(),
        date: day(date),
        market_id: token(100),
        token: token(number),
        role: Role::Reserve,
        block_number: 1,
        symbol: None,
        decimals: Some(6),
        supplied_raw: raw(supplied),
        borrowed_raw: raw(borrowed),
        available_raw: raw(available),
        reserves_raw: None,
        deficit_raw: None,
        supplied: Some(supplied),
        borrowed: Some(borrowed),
        available: Some(available),
        reserves: None,
        deficit: None,
        identity_gap: None,
        price_usd: price,
        price_source: price.map(|_| PriceSource::ProtocolOracle),
        price_age_s: None,
        supplied_usd: usd(supplied),
        borrowed_usd: usd(borrowed),
        available_usd: usd(available),
        reserves_usd: None,
        deficit_usd: None,
        supply_apr: Some(0.02),
        borrow_apr: Some(0.05),
        borrow_apr_stable_mode: None,
        ltv: None,
        liq_threshold: Some(0.8),
        liq_bonus: Some(0.05),
        reserve_factor: None,
        supply_cap: None,
        borrow_cap: None,
        is_active: Some(true),
        is_frozen: Some(false),
        is_paused: Some(false),
        asset_class: "other".into(),
        is_stablecoin: false,
        status: Status::Collected,
        flags: String::new(),
        bronze_sha256: "tvl".into(),
    }
}

/// One liquidation with both sides in USD; token prices are 1.
pub(crate) fn liquidation(csu: &str, date: &str, log_index: i32, debt: f64, coll: f64) -> Liquidation {
    let number = log_index as u8;
    Liquidation {
        chain_id: CHAIN_ID,
        block_number: i64::from(day(date).days_since_epoch()) * BLOCKS + 5,
        log_index,
        leg: 0,
        csu: csu.into(),
        date: day(date),
        block_ts: Seconds(0),
        block_hash: "0xabc".into(),
        tx_hash: format!("0xtx{log_index}"),
        tx_index: 0,
        event_name: "LiquidationCall".into(),
        liq_id: format!("liq{log_index}"),
        market_id: token(100),
        liquidator: Some(token(number)),
        borrower: Some(token(number)),
        debt_token: Some(token(1)),
        debt_raw: Some(format!("{:.0}", debt * 1e6)),
        debt: Some(debt),
        debt_usd: Some(debt),
        coll_token: Some(token(2)),
        coll_raw: Some(format!("{:.0}", coll * 1e6)),
        coll: Some(coll),
        coll_usd: Some(coll),
        bad_debt_raw: None,
        bad_debt_usd: None,
        price_basis: PriceBasis::EventBlock,
        debt_price_usd: Some(1.0),
        coll_price_usd: Some(1.0),
        debt_price_source: Some(PriceSource::ProtocolOracle),
        coll_price_source: Some(PriceSource::ProtocolOracle),
        flags: String::new(),
        bronze_sha256: "liquidations".into(),
    }
}

/// A log that only books bad debt.
pub(crate) fn bad_debt(csu: &str, date: &str, log_index: i32, usd: f64) -> Liquidation {
    Liquidation {
        event_name: "DeficitCreated".into(),
        liquidator: None,
        debt_raw: None,
        debt: None,
        debt_usd: None,
        coll_token: None,
        coll_raw: None,
        coll: None,
        coll_usd: None,
        bad_debt_raw: Some("1".into()),
        bad_debt_usd: Some(usd),
        ..liquidation(csu, date, log_index, 0.0, 0.0)
    }
}

pub(crate) fn reject(csu: &str, date: &str, log_index: i32) -> Reject {
    Reject {
        chain_id: CHAIN_ID,
        block_number: 9,
        log_index,
        csu: csu.into(),
        date: day(date),
        tx_hash: "0xtx".into(),
        topic0: None,
        why: "too short".into(),
        bronze_sha256: "liquidations".into(),
    }
}
