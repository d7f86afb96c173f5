//! A made-up lake: a registry, a run and silver for 24 CSUs and the 366 days of 2024, with gaps of every kind.
//!
//! The demo has twenty CSU-days, too few for a regression with effects of CSU and day, and for a look at a report. Every
//! name in this lake says that it is made up. `panel build` makes its gold, as it does of real silver.
//!
//! ```text
//! cargo run -p panel --example synthetic_lake -- target/synthetic
//! panel build --run target/synthetic/run.toml
//! ```
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use lake::day::{Day, DayRange, DayWindow, Zone};
use lake::digest::sha256_hex;
use lake::manifest::Manifest;
use lake::path::{check_rows, run_report, silver_manifest, silver_month, silver_whole};
use lake::registry::Registry;
use lake::schema::checks::Finding;
use lake::schema::silver::{Coverage, CsuRow, DayBlock, Liquidation, Reject, ReserveDay, TokenRow};
use lake::schema::{Row, Seconds};
use lake::status::{AuditLevel, CheckLevel, Dataset, PriceBasis, PriceSource, Reason, Role, Status};
use lake::store::Lake;
use lake::table_file::parquet_bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

const PROTOCOLS: [(&str, usize); 5] = [
    ("synthetic_alder", 8),
    ("synthetic_birch", 6),
    ("synthetic_cedar", 4),
    ("synthetic_larch", 4),
    ("synthetic_rowan", 2),
];
const CHAINS: usize = 10;
const FIRST_CHAIN_ID: i64 = 980_001;
const BLOCKS: i64 = 7_200;
/// What a chain may call its tokens. None of it may reach a reader's browser as anything but words.
const HOSTILE: &str = "<script>document.title='owned'</script>";
const HOSTILE_MESSAGE: &str = "node says: \"<img src=x onerror=document.title='owned'>\" & no more";

struct Csu {
    id: String,
    num: i32,
    protocol: &'static str,
    chain: usize,
    deployed: Option<Day>,
    retired: Option<Day>,
    size: f64,
    lent: f64,
}

/// Numbers that look random and are the same everywhere.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// About normal: the sum of twelve, less six.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.next()).sum::<f64>() - 6.0
    }
}

fn main() {
    let out = std::env::args().nth(1).expect("usage: synthetic_lake DIRECTORY");
    let out = Path::new(&out);
    let days = DayRange::new("2024-01-01".parse().unwrap(), "2024-12-31".parse().unwrap()).unwrap();
    let csus = csus();
    write_registry(out, &csus);
    let silver = silver(&csus, days);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(write_lake(out, silver));
    println!("{}", out.join("run.toml").display());
}

fn csus() -> Vec<Csu> {
    let mut dice = Dice(7);
    let mut csus = Vec::new();
    for (at, (protocol, count)) in PROTOCOLS.iter().enumerate() {
        for chain in 0..*count {
            let num = i32::try_from(csus.len()).unwrap() + 1;
            let day = |text: &str| Some(text.parse::<Day>().unwrap());
            csus.push(Csu {
                id: format!("{protocol}_{}", chain + 1),
                num,
                protocol,
                chain: (chain + at) % CHAINS,
                deployed: match num {
                    5 => day("2024-03-18"),
                    13 => day("2024-06-04"),
                    22 => day("2024-08-20"),
                    _ => day("2023-05-01"),
                },
                retired: if num == 18 { day("2024-09-30") } else { None },
                size: (16.0 + 5.0 * dice.next() - 0.35 * chain as f64).exp(),
                lent: 0.25 + 0.4 * dice.next(),
            });
        }
    }
    csus
}

fn chain_name(chain: usize) -> String {
    format!("synthetic_chain_{}", chain + 1)
}

fn write_registry(out: &Path, csus: &[Csu]) {
    let registry = out.join("registry");
    std::fs::create_dir_all(registry.join("csus")).unwrap();
    let mut chains = String::new();
    for chain in 0..CHAINS {
        let _ = write!(
            chains,
            "[[chain]]\nname = \"{}\"\nchain_id = {}\nnative_symbol = \"ETH\"\nis_l2 = {}\nblock_seconds = 12.0\nfinality_blocks = 64\nsource = \"made up\"\n\n",
            chain_name(chain),
            FIRST_CHAIN_ID + chain as i64,
            chain > 0
        );
    }
    let mut rows = String::new();
    for csu in csus {
        let _ = write!(
            rows,
            "[[csu]]\nid = \"{}\"\nnum = {}\nprotocol = \"{}\"\nversion = \"1\"\nchain = \"{}\"\nmarket = \"m{}\"\nentry_role = \"pool_addresses_provider\"\nentry = \"0x{:040}\"\nverified = \"no\"\nsource = \"made up\"\n",
            csu.id,
            csu.num,
            csu.protocol,
            chain_name(csu.chain),
            csu.num,
            csu.num
        );
        for (name, day) in [("deployed_date", csu.deployed), ("retired_date", csu.retired)] {
            if let Some(day) = day {
                let _ = writeln!(rows, "{name} = \"{day}\"");
            }
        }
        rows.push('\n');
    }
    std::fs::write(registry.join("chains.toml"), chains).unwrap();
    std::fs::write(registry.join("csus/synthetic.toml"), rows).unwrap();
    std::fs::write(registry.join("tokens.toml"), "").unwrap();
    std::fs::write(
        out.join("run.toml"),
        "# Made up by crates/panel/examples/synthetic_lake.rs: no figure in this lake is of a real chain.\nname = \"synthetic-2024\"\nfrom = \"2024-01-01\"\nto = \"2024-12-31\"\ncsus = [\"*\"]\nregistry = \"registry\"\nlake = \"lake\"\n",
    )
    .unwrap();
}

#[derive(Default)]
struct Silver {
    coverage: Vec<Coverage>,
    days: Vec<DayBlock>,
    reserves: Vec<ReserveDay>,
    liquidations: Vec<Liquidation>,
    csus: Vec<CsuRow>,
    tokens: Vec<TokenRow>,
}

/// What becomes of a CSU-day, and why.
fn fate(csu: &Csu, date: Day, of_year: i32) -> [(Status, Option<(Reason, String)>); 2] {
    let both = |status| [(status, None), (status, None)];
    if csu.deployed.is_some_and(|deployed| date < deployed) {
        return both(Status::NotDeployed);
    }
    if csu.retired.is_some_and(|retired| date > retired) {
        return both(Status::Retired);
    }
    let because = |status, reason, message: &str| (status, Some((reason, message.to_owned())));
    let fine = (Status::Collected, None);
    match (csu.num, of_year) {
        (3, 41..=47) => [
            because(
                Status::ArchiveUnavailable,
                Reason::NoArchive,
                "no endpoint of the chain has state of that block",
            ),
            fine,
        ],
        (7, 120..=131) => [
            because(Status::Failed, Reason::BadAnswer, HOSTILE_MESSAGE),
            because(Status::Failed, Reason::BadAnswer, HOSTILE_MESSAGE),
        ],
        (11, 200..=214) => {
            [fine, because(Status::Partial, Reason::BlocksMissing, "1,440 of 7,200 blocks were not scanned")]
        }
        (16, 290..=296) => {
            [because(Status::Failed, Reason::CallFailed, "getReserveData of 0x…02 returned nothing"), fine]
        }
        (_, 361..) if csu.chain == 4 => [
            because(Status::NotAttempted, Reason::NotFinal, "the end of the day is not final"),
            because(Status::NotAttempted, Reason::NotFinal, "the end of the day is not final"),
        ],
        _ => [fine.clone(), fine],
    }
}

fn silver(csus: &[Csu], days: DayRange) -> Silver {
    let zone = Zone::named("America/New_York").unwrap();
    let mut silver = Silver::default();
    let mut dice = Dice(2024);
    let mut market = 0.0_f64;
    let mut own: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
    for (of_year, date) in (1..).zip(days.days()) {
        let window = zone.window(date).unwrap();
        let shock = 0.025 * dice.normal();
        market += shock;
        for chain in 0..CHAINS {
            silver.days.push(day_block(chain, window));
        }
        for csu in csus {
            let (level, lent) = own.entry(&csu.id).or_insert((0.0, 0.0));
            *level = 0.985 * *level + 0.015 * dice.normal();
            *lent = 0.95 * *lent + 0.02 * dice.normal();
            let fates = fate(csu, date, of_year);
            for (dataset, (status, why)) in Dataset::ALL.iter().zip(&fates) {
                silver.coverage.push(coverage(csu, date, *dataset, *status, why.clone()));
            }
            // A falling market liquidates.
            let share = (csu.lent + *lent - 0.8 * shock).clamp(0.02, 0.93);
            let size = csu.size * (0.9 * market + *level).exp();
            let events =
                (4.0 * dice.next() * (1.0 + (-shock * 60.0).clamp(-0.9, 30.0)) - 1.6).max(0.0) as i32;
            if fates[0].0 == Status::Collected {
                let is_unpriced = csu.num == 9 && (80..=95).contains(&of_year);
                silver.reserves.extend(reserves(csu, date, size, share, market, is_unpriced));
            }
            if matches!(fates[1].0, Status::Collected | Status::Partial) {
                for number in 0..events {
                    let debt = size * 2e-4 * (2.2 * dice.normal()).exp() * (1.0 - 9.0 * shock).max(0.2);
                    silver.liquidations.push(liquidation(csu, window, number, debt));
                }
            }
        }
    }
    silver.csus = csus.iter().map(csu_row).collect();
    silver.tokens = (0..CHAINS).flat_map(token_rows).collect();
    silver
}

fn day_block(chain: usize, window: DayWindow) -> DayBlock {
    let first = i64::from(window.day.days_since_epoch()) * BLOCKS;
    DayBlock {
        chain: chain_name(chain),
        date: window.day,
        chain_id: FIRST_CHAIN_ID + chain as i64,
        day_start_utc: Seconds(window.start),
        day_end_utc: Seconds(window.end),
        day_hours: window.hours(),
        first_block: Some(first),
        last_block: Some(first + BLOCKS - 1),
        last_block_hash: Some("0xmade_up".into()),
        last_block_ts: Some(Seconds(window.end - 12)),
        next_block_ts: Some(Seconds(window.end)),
        n_blocks: Some(BLOCKS),
        status: Status::Collected,
        bronze_sha256: Some(sha256_hex(format!("{chain} {}", window.day).as_bytes())),
    }
}

fn coverage(
    csu: &Csu,
    date: Day,
    dataset: Dataset,
    status: Status,
    why: Option<(Reason, String)>,
) -> Coverage {
    let is_collected = status == Status::Collected;
    let scans = dataset == Dataset::Liquidations;
    let scanned = match status {
        Status::Collected => Some(BLOCKS),
        Status::Partial => Some(BLOCKS - 1_440),
        _ => None,
    };
    let (reason, message) = why.map_or((None, None), |(reason, message)| (Some(reason), Some(message)));
    Coverage {
        csu: csu.id.clone(),
        date,
        dataset,
        status,
        reason,
        message,
        calls_planned: Some(9),
        calls_ok: Some(if is_collected { 9 } else { 4 }),
        blocks_expected: scans.then_some(BLOCKS),
        blocks_scanned: if scans { scanned } else { None },
        audit_level: (scans && is_collected).then_some(AuditLevel::Sampled),
        object: None,
        sha256: is_collected.then(|| sha256_hex(format!("{dataset} {} {date}", csu.id).as_bytes())),
    }
}

/// Number, symbol, class, share of the supply, price and its source.
const TOKENS: [(u8, &str, &str, f64, f64, PriceSource); 5] = [
    (1, "USDX", "stablecoin", 0.38, 1.0, PriceSource::ProtocolOracle),
    (2, "WETHX", "eth", 0.34, 2_600.0, PriceSource::ProtocolOracle),
    (3, "WBTCX", "btc", 0.18, 61_000.0, PriceSource::Chainlink),
    (4, "ODDX", "other", 0.08, 7.5, PriceSource::OtherCsuOracle),
    (5, HOSTILE, "other", 0.02, 0.031, PriceSource::ProtocolOracle),
];

fn address(number: u8) -> String {
    format!("0x{number:040x}")
}

fn reserves(
    csu: &Csu,
    date: Day,
    size: f64,
    share: f64,
    market: f64,
    is_unpriced: bool,
) -> impl Iterator<Item = ReserveDay> {
    TOKENS.into_iter().map(move |(number, symbol, class, part, base, source)| {
        let is_stable = class == "stablecoin";
        let price = if is_stable { base } else { base * (0.8 * market).exp() };
        let price = (!is_unpriced || number != 4).then_some(price);
        let supplied_usd = size * part;
        let lent = (share * if is_stable { 1.5 } else { 0.7 }).min(0.98);
        let borrowed_usd = supplied_usd * lent;
        let tokens = |usd: f64| usd / price.unwrap_or(base);
        let raw = |usd: f64| Some(format!("{:.0}", tokens(usd) * 1e6));
        let worth = |usd: f64| price.is_some().then_some(usd);
        ReserveDay {
            csu: csu.id.clone(),
            date,
            market_id: address(100),
            token: address(number),
            role: Role::Reserve,
            block_number: i64::from(date.days_since_epoch()) * BLOCKS + BLOCKS - 1,
            symbol: Some(symbol.to_owned()),
            decimals: Some(6),
            supplied_raw: raw(supplied_usd),
            borrowed_raw: raw(borrowed_usd),
            available_raw: raw(supplied_usd - borrowed_usd),
            reserves_raw: Some("0".to_owned()),
            deficit_raw: None,
            supplied: Some(tokens(supplied_usd)),
            borrowed: Some(tokens(borrowed_usd)),
            available: Some(tokens(supplied_usd - borrowed_usd)),
            reserves: Some(0.0),
            deficit: None,
            identity_gap: Some(0.0),
            price_usd: price,
            price_source: price.map(|_| source),
            price_age_s: (source == PriceSource::Chainlink).then_some(1_800),
            supplied_usd: worth(supplied_usd),
            borrowed_usd: worth(borrowed_usd),
            available_usd: worth(supplied_usd - borrowed_usd),
            reserves_usd: Some(0.0),
            deficit_usd: None,
            supply_apr: Some(0.06 * lent * lent),
            borrow_apr: Some(0.015 + 0.07 * lent),
            borrow_apr_stable_mode: None,
            ltv: Some(0.7),
            liq_threshold: Some(0.8),
            liq_bonus: Some(0.05),
            reserve_factor: Some(0.1),
            supply_cap: None,
            borrow_cap: None,
            is_active: Some(true),
            is_frozen: Some(false),
            is_paused: Some(false),
            asset_class: class.to_owned(),
            is_stablecoin: is_stable,
            status: Status::Collected,
            flags: String::new(),
            bronze_sha256: sha256_hex(format!("tvl {} {date}", csu.id).as_bytes()),
        }
    })
}

fn liquidation(csu: &Csu, window: DayWindow, number: i32, debt: f64) -> Liquidation {
    let date = window.day;
    let log_index = csu.num * 100 + number;
    let tx = sha256_hex(format!("{} {date} {number}", csu.id).as_bytes());
    Liquidation {
        chain_id: FIRST_CHAIN_ID + csu.chain as i64,
        block_number: i64::from(date.days_since_epoch()) * BLOCKS + 60 + i64::from(number),
        log_index,
        leg: 0,
        csu: csu.id.clone(),
        date,
        block_ts: Seconds(window.start + 720),
        block_hash: "0xmade_up".into(),
        tx_hash: format!("0x{tx}"),
        tx_index: 0,
        event_name: "LiquidationCall".into(),
        liq_id: tx,
        market_id: address(100),
        liquidator: Some(address(u8::try_from(200 + number % 5).unwrap())),
        borrower: Some(format!(
            "0x{:040x}",
            i64::from(log_index) * 1_000 + i64::from(date.days_since_epoch())
        )),
        debt_token: Some(address(1)),
        debt_raw: Some(format!("{:.0}", debt * 1e6)),
        debt: Some(debt),
        debt_usd: Some(debt),
        coll_token: Some(address(2)),
        coll_raw: Some(format!("{:.0}", debt * 1.05 / 2_600.0 * 1e6)),
        coll: Some(debt * 1.05 / 2_600.0),
        coll_usd: Some(debt * 1.05),
        bad_debt_raw: None,
        bad_debt_usd: None,
        price_basis: PriceBasis::EventBlock,
        debt_price_usd: Some(1.0),
        coll_price_usd: Some(2_600.0),
        debt_price_source: Some(PriceSource::ProtocolOracle),
        coll_price_source: Some(PriceSource::ProtocolOracle),
        flags: String::new(),
        bronze_sha256: sha256_hex(format!("liquidations {} {date}", csu.id).as_bytes()),
    }
}

fn csu_row(csu: &Csu) -> CsuRow {
    CsuRow {
        csu: csu.id.clone(),
        csu_num: csu.num,
        protocol: csu.protocol.into(),
        version: "1".into(),
        family: "synthetic".into(),
        chain: chain_name(csu.chain),
        chain_id: FIRST_CHAIN_ID + csu.chain as i64,
        is_l2: csu.chain > 0,
        market: format!("m{}", csu.num),
        deployed_block: None,
        deployed_date: csu.deployed,
        retired_date: csu.retired,
        root_contract: format!("0x{:040x}", csu.num),
        has_borrower: true,
        has_debt_amount: true,
        bad_debt_method: "none".into(),
        verified: "no".into(),
        source: "made up".into(),
    }
}

fn token_rows(chain: usize) -> impl Iterator<Item = TokenRow> {
    TOKENS.into_iter().map(move |(number, symbol, class, ..)| TokenRow {
        chain_id: FIRST_CHAIN_ID + chain as i64,
        token: address(number),
        chain: chain_name(chain),
        symbol: Some(symbol.to_owned()),
        decimals: Some(6),
        decimals_source: Some("onchain".into()),
        asset_class: class.into(),
        is_stablecoin: class == "stablecoin",
        pricing: "oracle".into(),
        pricing_reason: None,
    })
}

async fn write_lake(out: &Path, silver: Silver) {
    let lake = Lake::open(out.join("lake").to_str().unwrap()).unwrap();
    let registry = Registry::load(&out.join("registry")).unwrap();
    let mut outputs = BTreeMap::new();
    write_months(&lake, &mut outputs, &silver.coverage, |row| row.date).await;
    write_months(&lake, &mut outputs, &silver.days, |row| row.date).await;
    write_months(&lake, &mut outputs, &silver.reserves, |row| row.date).await;
    write_months(&lake, &mut outputs, &silver.liquidations, |row| row.date).await;
    for month in 1..=12 {
        put(
            &lake,
            &mut outputs,
            &silver_month(Reject::TABLE.name, &format!("2024-{month:02}")),
            parquet_bytes::<Reject>(vec![]).unwrap(),
        )
        .await;
    }
    put(&lake, &mut outputs, &silver_whole(CsuRow::TABLE.name), parquet_bytes(silver.csus).unwrap()).await;
    put(&lake, &mut outputs, &silver_whole(TokenRow::TABLE.name), parquet_bytes(silver.tokens).unwrap())
        .await;
    let manifest = Manifest {
        schema: "silver/1".into(),
        code_version: "synthetic".into(),
        registry_sha256: registry.sha256().to_owned(),
        outputs,
        ..Manifest::default()
    };
    lake.replace(&silver_manifest(), manifest.to_bytes().unwrap()).await.unwrap();

    let findings = |check: &str, level, why: &str| {
        let row = |number| Finding {
            check: check.into(),
            number,
            level,
            csu: Some("synthetic_birch_1".into()),
            date: Some("2024-03-20".parse::<Day>().unwrap()),
            column: Some("supplied_usd".into()),
            found: Some("0.71".into()),
            expected: Some("0.5 or less".into()),
            why: why.into(),
        };
        parquet_bytes(vec![row(1), row(2)]).unwrap()
    };
    let warn =
        findings("stocks_jump", CheckLevel::Warn, "supplied_usd moved by more than half in a day; made up");
    let error = findings("silver_sums", CheckLevel::Error, HOSTILE_MESSAGE);
    lake.replace(&check_rows("gold", "stocks_jump"), warn).await.unwrap();
    lake.replace(&check_rows("gold", "silver_sums"), error).await.unwrap();
    lake.replace(&check_rows("gold", "frame"), parquet_bytes::<Finding>(vec![]).unwrap()).await.unwrap();

    let bill = serde_json::json!({
        "run": "synthetic-2024",
        "lake": "lake",
        "tasks": {"collected": 17_212, "failed": 31, "not_attempted": 8},
        "requests": {},
        "bill": [
            {"purpose": "day", "method": "eth_getBlockByNumber", "planned": 7_320, "sent": 7_344, "units_planned": 146_400, "units": 146_880},
            {"purpose": "snapshot", "method": "eth_call", "planned": 8_784, "sent": 8_790, "units_planned": 228_384, "units": 228_540},
            {"purpose": "scan", "method": "eth_getLogs", "planned": 26_352, "sent": 26_901, "units_planned": 1_581_120, "units": 1_614_060},
            {"purpose": "event", "method": "eth_call", "planned": null, "sent": 4_117, "units_planned": null, "units": 107_042}
        ],
        "made_again": 212,
        "unfinished": [],
        "warnings": [format!("made up: {HOSTILE_MESSAGE}")]
    });
    lake.replace_json(&run_report("synthetic-2024"), &bill).await.unwrap();
}

async fn write_months<R: Row + Clone>(
    lake: &Lake,
    outputs: &mut BTreeMap<String, String>,
    rows: &[R],
    date: impl Fn(&R) -> Day,
) {
    let months: BTreeSet<String> = rows.iter().map(|row| date(row).month()).collect();
    for month in months {
        let of_month: Vec<R> = rows.iter().filter(|row| date(row).month() == month).cloned().collect();
        put(lake, outputs, &silver_month(R::TABLE.name, &month), parquet_bytes(of_month).unwrap()).await;
    }
}

async fn put(
    lake: &Lake,
    outputs: &mut BTreeMap<String, String>,
    path: &object_store::path::Path,
    bytes: Vec<u8>,
) {
    outputs.insert(path.to_string(), sha256_hex(&bytes));
    lake.replace(path, bytes).await.unwrap();
}
