//! Silver of a made-up year: CSUs with 4 to 60 reserves, liquidations in bursts, some reserves without a price, some days
//! that were not collected. The same arguments give the same bytes.

use anyhow::{Context, Result};
use lake::day::{Day, DayRange, Zone};
use lake::digest::sha256_hex;
use lake::manifest::Manifest;
use lake::path::{silver_manifest, silver_month, silver_whole};
use lake::registry::Registry;
use lake::schema::silver::{Coverage, CsuRow, DayBlock, Liquidation, Reject, ReserveDay, TokenRow};
use lake::schema::{Row, Seconds};
use lake::status::{AuditLevel, Dataset, PriceBasis, PriceSource, Role, Status};
use lake::store::Lake;
use lake::table_file::parquet_bytes;
use lake::{Address, run::DEFAULT_ZONE};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

/// Changed with the generator, so that an older lake is made anew.
const EDITION: &str = "made up, second edition";
const CHAINS: usize = 13;
const BLOCKS: i64 = 7_200;

/// What was made.
pub(crate) struct MadeUp {
    pub(crate) reserves: usize,
    pub(crate) legs: usize,
    pub(crate) bytes: usize,
}

/// Numbers without a pattern that are the same everywhere (SplitMix64, Steele and others 2014).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 to 1.
    fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    fn address(&mut self) -> String {
        let mut bytes = [0; 20];
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_be_bytes()[..chunk.len()]);
        }
        format!("{:#x}", Address::from(bytes))
    }

    fn hash(&mut self) -> String {
        format!("0x{:016x}{:016x}{:016x}{:016x}", self.next(), self.next(), self.next(), self.next())
    }
}

/// One token in one CSU.
struct Reserve {
    market: String,
    token: String,
    symbol: String,
    decimals: i32,
    price: f64,
    supplied: f64,
    lent: f64,
    class: &'static str,
    source: PriceSource,
}

struct Csu {
    id: String,
    num: i32,
    chain: usize,
    reserves: Vec<Reserve>,
}

/// Makes the lake, its registry and its run file, unless they are there.
///
/// # Errors
/// What the file system or the schema says.
pub(crate) fn made_up(directory: &Path, csus: u16, days: u16) -> Result<MadeUp> {
    let receipt = directory.join("made-up.txt");
    if let Ok(text) = std::fs::read_to_string(&receipt) {
        let mut lines = text.lines();
        if lines.next() == Some(EDITION) {
            let mut number = || lines.next().and_then(|line| line.parse().ok()).unwrap_or_default();
            return Ok(MadeUp { reserves: number(), legs: number(), bytes: number() });
        }
    }
    let mut dice = Dice(2024);
    let csus: Vec<Csu> = (0..csus).map(|number| csu(number, &mut dice)).collect();
    let first: Day = "2024-01-01".parse()?;
    let last = Day::from_days_since_epoch(first.days_since_epoch() + i32::from(days.max(1)) - 1);
    let days = DayRange::new(first, last)?;
    write_registry(directory, &csus, days)?;
    let registry = Registry::load(&directory.join("registry"))?;
    let lake = Lake::open(&directory.join("lake").display().to_string())?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let mut writer = Writer { lake: &lake, runtime: &runtime, outputs: BTreeMap::new(), bytes: 0 };
    let mut made = MadeUp { reserves: 0, legs: 0, bytes: 0 };
    let mut months: BTreeMap<String, Vec<Day>> = BTreeMap::new();
    for day in days.days() {
        months.entry(day.month()).or_default().push(day);
    }
    for (month, days) in months {
        let of_month = Month::of(&csus, &days, &mut dice)?;
        made.reserves += of_month.reserves.len();
        made.legs += of_month.legs.len();
        writer.month(&month, of_month.reserves)?;
        writer.month(&month, of_month.legs)?;
        writer.month(&month, of_month.coverage)?;
        writer.month(&month, of_month.blocks)?;
        writer.month::<Reject>(&month, Vec::new())?;
    }
    writer.table(silver_whole(CsuRow::TABLE.name), csus.iter().map(csu_row).collect::<Vec<_>>())?;
    writer.table(silver_whole(TokenRow::TABLE.name), tokens(&csus))?;
    made.bytes = writer.bytes;
    let manifest = Manifest {
        schema: "silver/1".to_owned(),
        code_version: EDITION.to_owned(),
        registry_sha256: registry.sha256().to_owned(),
        outputs: writer.outputs,
        ..Manifest::default()
    };
    runtime.block_on(lake.replace(&silver_manifest(), manifest.to_bytes()?))?;
    let text = format!("{EDITION}\n{}\n{}\n{}\n", made.reserves, made.legs, made.bytes);
    std::fs::write(&receipt, text).with_context(|| format!("cannot write {}", receipt.display()))?;
    Ok(made)
}

struct Writer<'a> {
    lake: &'a Lake,
    runtime: &'a tokio::runtime::Runtime,
    outputs: BTreeMap<String, String>,
    bytes: usize,
}

impl Writer<'_> {
    fn month<R: Row>(&mut self, month: &str, rows: Vec<R>) -> Result<()> {
        self.table(silver_month(R::TABLE.name, month), rows)
    }

    fn table<R: Row>(&mut self, path: object_store::path::Path, rows: Vec<R>) -> Result<()> {
        let bytes = parquet_bytes(rows)?;
        self.bytes += bytes.len();
        self.outputs.insert(path.to_string(), sha256_hex(&bytes));
        Ok(self.runtime.block_on(self.lake.replace(&path, bytes))?)
    }
}

fn chain(number: usize) -> String {
    format!("made_up_{number:02}")
}

fn chain_id(number: usize) -> i64 {
    9_900_000 + number as i64
}

fn csu(number: u16, dice: &mut Dice) -> Csu {
    // Most deployments have a handful of reserves, some have many.
    let n_reserves = 4 + dice.below(12) + if number.is_multiple_of(5) { dice.below(45) } else { 0 };
    let has_one_market = !number.is_multiple_of(3);
    let market = dice.address();
    let reserves = (0..n_reserves).map(|place| {
        let class = ["stablecoin", "eth", "btc", "other", "stablecoin", "other"][(place % 6) as usize];
        let price = match class {
            "stablecoin" => 1.0,
            "eth" => 2_500.0,
            "btc" => 60_000.0,
            _ => 0.05 + 20.0 * dice.share(),
        };
        Reserve {
            market: if has_one_market { market.clone() } else { dice.address() },
            token: dice.address(),
            symbol: format!("TOK{place}"),
            decimals: if class == "stablecoin" { 6 } else { 18 },
            price,
            supplied: 10_f64.powf(3.0 + 4.0 * dice.share()) / price,
            lent: 0.9 * dice.share(),
            class,
            source: if dice.below(10) == 0 { PriceSource::Chainlink } else { PriceSource::ProtocolOracle },
        }
    });
    Csu {
        id: format!("aave_v3_made_up_{number:03}"),
        num: i32::from(number) + 1,
        chain: usize::from(number) % CHAINS,
        reserves: reserves.collect(),
    }
}

fn write_registry(directory: &Path, csus: &[Csu], days: DayRange) -> Result<()> {
    let write = |name: &str, text: String| {
        let path = directory.join(name);
        let parent = path.parent().unwrap_or(directory);
        std::fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    };
    let mut chains = String::new();
    for number in 0..CHAINS {
        let (name, id) = (chain(number), chain_id(number));
        writeln!(
            chains,
            "[[chain]]\nname = \"{name}\"\nchain_id = {id}\nnative_symbol = \"ETH\"\nis_l2 = {}\nblock_seconds = 12.0\n\
             finality_blocks = 64\nsource = \"made up\"\n",
            number > 0
        )?;
    }
    let mut rows = String::new();
    for csu in csus {
        let entry = Address::left_padding_from(&csu.num.to_be_bytes());
        writeln!(
            rows,
            "[[csu]]\nid = \"{}\"\nnum = {}\nprotocol = \"made_up_{}\"\nversion = \"3.3\"\nchain = \"{}\"\nmarket = \"m{}\"\n\
             entry_role = \"pool_addresses_provider\"\nentry = \"{entry}\"\ndeployed_date = \"2023-06-01\"\nverified = \"no\"\n\
             source = \"made up\"\n",
            csu.id,
            csu.num,
            csu.num % 9,
            chain(csu.chain),
            csu.num
        )?;
    }
    write("registry/chains.toml", chains)?;
    write("registry/csus/aave_v3.toml", rows)?;
    write("registry/tokens.toml", String::new())?;
    let (from, to) = (days.from(), days.to());
    write(
        "run.toml",
        format!(
            "name = \"made-up\"\nfrom = \"{from}\"\nto = \"{to}\"\ncsus = [\"*\"]\nregistry = \"registry\"\nlake = \"lake\"\n"
        ),
    )
}

#[derive(Default)]
struct Month {
    reserves: Vec<ReserveDay>,
    legs: Vec<Liquidation>,
    coverage: Vec<Coverage>,
    blocks: Vec<DayBlock>,
}

impl Month {
    fn of(csus: &[Csu], days: &[Day], dice: &mut Dice) -> Result<Self> {
        let zone = Zone::named(DEFAULT_ZONE)?;
        let mut month = Self::default();
        for day in days {
            for number in 0..CHAINS {
                month.blocks.push(day_block(number, *day, &zone, dice)?);
            }
            // A few days of a year are crashes.
            let crash = dice.below(40) == 0;
            for csu in csus {
                let is_collected = dice.below(200) != 0;
                for dataset in Dataset::ALL {
                    let status = if is_collected { Status::Collected } else { Status::ArchiveUnavailable };
                    month.coverage.push(coverage(csu, *day, *dataset, status, dice));
                }
                if is_collected {
                    let bronze = dice.hash();
                    month
                        .reserves
                        .extend(csu.reserves.iter().map(|of| reserve(csu, of, *day, &bronze, dice)));
                    let bursts = if crash { dice.below(30) } else { dice.below(3) / 2 };
                    for log in 0..bursts {
                        month.legs.push(leg(csu, *day, log, &bronze, dice));
                    }
                }
            }
        }
        Ok(month)
    }
}

fn first_block(day: Day) -> i64 {
    i64::from(day.days_since_epoch()) * BLOCKS
}

fn day_block(number: usize, date: Day, zone: &Zone, dice: &mut Dice) -> Result<DayBlock> {
    let window = zone.window(date)?;
    let first = first_block(date);
    Ok(DayBlock {
        chain: chain(number),
        date,
        chain_id: chain_id(number),
        day_start_utc: Seconds(window.start),
        day_end_utc: Seconds(window.end),
        day_hours: window.hours(),
        first_block: Some(first),
        last_block: Some(first + BLOCKS - 1),
        last_block_hash: Some(dice.hash()),
        last_block_ts: Some(Seconds(window.end - 7)),
        next_block_ts: Some(Seconds(window.end + 5)),
        n_blocks: Some(BLOCKS),
        status: Status::Collected,
        bronze_sha256: Some(dice.hash()),
    })
}

fn coverage(csu: &Csu, date: Day, dataset: Dataset, status: Status, dice: &mut Dice) -> Coverage {
    let (is_scan, is_there) = (dataset == Dataset::Liquidations, status == Status::Collected);
    Coverage {
        csu: csu.id.clone(),
        date,
        dataset,
        status,
        reason: None,
        message: None,
        calls_planned: Some(40),
        calls_ok: Some(40),
        blocks_expected: is_scan.then_some(BLOCKS),
        blocks_scanned: (is_scan && is_there).then_some(BLOCKS),
        audit_level: (is_scan && is_there).then_some(AuditLevel::Sampled),
        object: None,
        sha256: is_there.then(|| dice.hash()),
    }
}

fn reserve(csu: &Csu, of: &Reserve, date: Day, bronze: &str, dice: &mut Dice) -> ReserveDay {
    let swing = 0.9 + 0.2 * dice.share();
    let (supplied, price) = (of.supplied * swing, of.price * (0.95 + 0.1 * dice.share()));
    let borrowed = supplied * of.lent;
    let price = (dice.below(5_000) != 0).then_some(price);
    let scale = 10_f64.powi(of.decimals);
    let raw = |amount: f64| Some(format!("{:.0}", amount * scale));
    let usd = |amount: f64| price.map(|price| amount * price);
    ReserveDay {
        csu: csu.id.clone(),
        date,
        market_id: of.market.clone(),
        token: of.token.clone(),
        role: Role::Reserve,
        block_number: first_block(date) + BLOCKS - 1,
        symbol: Some(of.symbol.clone()),
        decimals: Some(of.decimals),
        supplied_raw: raw(supplied),
        borrowed_raw: raw(borrowed),
        available_raw: raw(supplied - borrowed),
        reserves_raw: raw(supplied * 1e-4),
        deficit_raw: Some("0".to_owned()),
        supplied: Some(supplied),
        borrowed: Some(borrowed),
        available: Some(supplied - borrowed),
        reserves: Some(supplied * 1e-4),
        deficit: Some(0.0),
        identity_gap: Some(supplied * 1e-9),
        price_usd: price,
        price_source: price.map(|_| of.source),
        price_age_s: price.and((of.source == PriceSource::Chainlink).then(|| dice.below(3_600) as i64)),
        supplied_usd: usd(supplied),
        borrowed_usd: usd(borrowed),
        available_usd: usd(supplied - borrowed),
        reserves_usd: usd(supplied * 1e-4),
        deficit_usd: Some(0.0),
        supply_apr: Some(0.05 * dice.share()),
        borrow_apr: Some(0.1 * dice.share()),
        borrow_apr_stable_mode: None,
        ltv: Some(0.7),
        liq_threshold: Some(if of.class == "other" { 0.0 } else { 0.8 }),
        liq_bonus: Some(0.05),
        reserve_factor: Some(0.1),
        supply_cap: Some(of.supplied * 4.0),
        borrow_cap: None,
        is_active: Some(true),
        is_frozen: Some(false),
        is_paused: Some(false),
        asset_class: of.class.to_owned(),
        is_stablecoin: of.class == "stablecoin",
        status: Status::Collected,
        flags: if of.decimals == 6 { "available_by_balance".to_owned() } else { String::new() },
        bronze_sha256: bronze.to_owned(),
    }
}

fn leg(csu: &Csu, date: Day, log: u64, bronze: &str, dice: &mut Dice) -> Liquidation {
    let debt = 10_f64.powf(2.0 + 3.0 * dice.share());
    let tx = dice.hash();
    Liquidation {
        chain_id: chain_id(csu.chain),
        block_number: first_block(date) + dice.below(BLOCKS as u64) as i64,
        // CSUs of one chain have logs of their own.
        log_index: csu.num * 100 + log as i32,
        leg: 0,
        csu: csu.id.clone(),
        date,
        block_ts: Seconds(0),
        block_hash: tx.clone(),
        tx_hash: tx,
        tx_index: 1,
        event_name: "LiquidationCall".to_owned(),
        liq_id: dice.hash(),
        market_id: csu.reserves[0].market.clone(),
        liquidator: Some(format!("0x{:040x}", dice.below(12))),
        borrower: Some(dice.address()),
        debt_token: Some(csu.reserves[0].token.clone()),
        debt_raw: Some(format!("{:.0}", debt * 1e6)),
        debt: Some(debt),
        debt_usd: Some(debt),
        coll_token: Some(csu.reserves[1].token.clone()),
        coll_raw: Some(format!("{:.0}", debt * 1.05e6)),
        coll: Some(debt * 1.05),
        coll_usd: Some(debt * 1.05),
        bad_debt_raw: None,
        bad_debt_usd: None,
        price_basis: PriceBasis::EventBlock,
        debt_price_usd: Some(1.0),
        coll_price_usd: Some(1.0),
        debt_price_source: Some(PriceSource::ProtocolOracle),
        coll_price_source: Some(PriceSource::ProtocolOracle),
        flags: String::new(),
        bronze_sha256: bronze.to_owned(),
    }
}

fn csu_row(csu: &Csu) -> CsuRow {
    CsuRow {
        csu: csu.id.clone(),
        csu_num: csu.num,
        protocol: format!("made_up_{}", csu.num % 9),
        version: "3.3".to_owned(),
        family: "aave_v3".to_owned(),
        chain: chain(csu.chain),
        chain_id: chain_id(csu.chain),
        is_l2: csu.chain > 0,
        market: format!("m{}", csu.num),
        deployed_block: None,
        deployed_date: "2023-06-01".parse().ok(),
        retired_date: None,
        root_contract: format!("0x{:040x}", csu.num),
        has_borrower: true,
        has_debt_amount: true,
        bad_debt_method: "event_if_deficit".to_owned(),
        verified: "no".to_owned(),
        source: "made up".to_owned(),
    }
}

/// One token of each hundred can never be priced.
fn tokens(csus: &[Csu]) -> Vec<TokenRow> {
    let of_csu = |csu: &Csu| {
        let (chain, chain_id) = (chain(csu.chain), chain_id(csu.chain));
        let row = move |of: &Reserve| {
            let is_excluded = of.token.ends_with("ab");
            TokenRow {
                chain_id,
                token: of.token.clone(),
                chain: chain.clone(),
                symbol: Some(of.symbol.clone()),
                decimals: Some(of.decimals),
                decimals_source: Some("onchain".to_owned()),
                asset_class: of.class.to_owned(),
                is_stablecoin: of.class == "stablecoin",
                pricing: if is_excluded { "excluded" } else { "oracle" }.to_owned(),
                pricing_reason: is_excluded.then(|| "made up".to_owned()),
            }
        };
        csu.reserves.iter().map(row).collect::<Vec<_>>()
    };
    csus.iter().flat_map(of_csu).collect()
}
