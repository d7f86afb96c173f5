//! The engine over days of the simulated month: its run file, its endpoints, and what it left in the lake.

use anyhow::Context;
use extract::collect::Collector;
use extract::report::{Progress, Summary};
use extract::rpc::providers::{Providers, Reach};
use extract::schedule::Schedule;
use lake::Lake;
use lake::bronze::{LiquidationLogs, Record, TvlSnapshot};
use lake::path::BronzeKey;
use lake::run::{Overrides, Run};
use lake::span::BlockSpan;
use lake::status::{AuditLevel, Dataset};
use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::path::Path;
use testkit::december::lineup::{Endpoint, Operator};
use testkit::december::world::is_liquidation;
use testkit::december::{DAY, DAYS, LineUp, Reading, World, date};
use testkit::setting::Setting;

/// Requests under way at once on a chain: the program's default.
const AT_ONCE: usize = 8;

/// Endpoints of chains that the registry has no CSU on and so no row for, at what `facts/rpc_providers.md` 1.2 says of them.
const ROWS: &str = r#"
[[endpoint]]
label = "cronos_official"
operator = "cronos"
chain = "cronos"
url = "https://evm.cronos.org"
log_window = 2000
requests_per_second = 5.0
source = "captured refusal of 2026-09-08: distance of 2,000; 130 ms between requests were let in"

[[endpoint]]
label = "flare_official"
operator = "flare"
chain = "flare"
url = "https://flare-api.flare.network/ext/C/rpc"
log_window = 30
requests_per_second = 3.0
source = "captured refusal of 2026-09-08: maximum is set to 30"

[[endpoint]]
label = "meter_official"
operator = "meter"
chain = "meter"
url = "https://rpc.meter.io"
log_window = 1000
requests_per_second = 2.0
source = "window not found, 1,000 is a cautious guess"
"#;

/// Collects these days of the month, counted from zero, and reads back what is in the lake.
///
/// # Errors
/// When the run cannot begin. What it could not read is in the [`Reading`].
pub(crate) async fn collect(
    world: &World,
    line_up: &LineUp,
    days: RangeInclusive<u64>,
) -> anyhow::Result<Reading> {
    let setting = world.chains.iter().fold(Setting::new()?, |setting, chain| {
        let block_seconds = (DAYS * DAY) as f64 / chain.of.blocks as f64;
        let setting = setting.with_chain(chain.of.name, chain.of.chain_id, block_seconds);
        let with = |setting: Setting, csu: &str, provider| setting.with_aave_v3(csu, chain.of.name, provider);
        chain.markets.iter().fold(setting, |setting, market| with(setting, &market.csu, market.aave.provider))
    });
    let file = setting.run_file(&date(*days.start()), &date(*days.end()))?;
    let run = Run::load(&file, &Overrides::default())?;
    let lake = run.open_lake()?;
    let providers = providers(setting.path(), line_up)?;
    let progress = Progress::to_stderr();
    let started = tokio::time::Instant::now();
    let collector = Collector {
        run: &run,
        lake: &lake,
        providers: &providers,
        recorder: None,
        at_once: AT_ONCE,
        audit: AuditLevel::Sampled,
        progress: &progress,
        schedule: &Schedule::default(),
    };
    let plan = collector.plan().await;
    let collected = collector.collect().await;
    let took = started.elapsed();
    eprint!("{}", Summary::new(&run.name, lake.location(), &collected, &plan).in_words());
    Ok(Reading { took, ..read_back(world, &run, &lake, days).await? })
}

/// The registry's own endpoints file, with the line-up behind its rows and what nobody plays left out.
fn providers(directory: &Path, line_up: &LineUp) -> anyhow::Result<Providers> {
    let registry = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pipelines/registry/providers.toml");
    let mut text =
        std::fs::read_to_string(&registry).with_context(|| format!("cannot read {}", registry.display()))?;
    let known: toml::Table = text.parse()?;
    let rows: toml::Table = ROWS.parse()?;
    let of_chain = |row: &toml::Value| row.get("chain").and_then(toml::Value::as_str).map(str::to_owned);
    let chains = |table: &toml::Table| -> BTreeSet<String> {
        let rows = table.get("endpoint").and_then(toml::Value::as_array);
        rows.into_iter().flatten().filter_map(of_chain).collect()
    };
    if chains(&known).is_disjoint(&chains(&rows)) {
        text.push_str(ROWS);
    }
    let file = directory.join("providers-december.toml");
    std::fs::write(&file, text)?;
    let mut providers = Providers::load(&file, |name| {
        let number = name.strip_prefix("ALCHEMY_KEY_")?.parse::<usize>().ok()?;
        (1..=line_up.keys.len()).contains(&number).then(|| format!("simulated-key-{number}"))
    })?;
    providers.left_out.clear();
    let mut played = BTreeSet::new();
    providers.endpoints.retain_mut(|endpoint| {
        let is_alchemy = endpoint.operator == "alchemy";
        let plays = |player: &&Endpoint| match player.operator {
            Operator::Alchemy { .. } => player.label == endpoint.label,
            Operator::Official => !is_alchemy,
        };
        let player = line_up.of_chain(&endpoint.chain).find(plays);
        let Some(player) = player.filter(|player| played.insert(player.label.clone())) else { return false };
        endpoint.reach = Reach::InProcess(player.carrier());
        true
    });
    let idle = line_up.endpoints.iter().find(|player| !played.contains(&player.label));
    anyhow::ensure!(idle.is_none(), "the registry has no row for {}", idle.map_or("", |idle| &idle.label));
    Ok(providers)
}

/// What of the truth is in the lake.
async fn read_back(
    world: &World,
    run: &Run,
    lake: &Lake,
    days: RangeInclusive<u64>,
) -> anyhow::Result<Reading> {
    let mut reading = Reading::default();
    for chain in &world.chains {
        for market in &chain.markets {
            for (nth, day) in days.clone().zip(run.days.days()) {
                let blocks = chain.of.day(nth);
                let span = BlockSpan::new(*blocks.start(), *blocks.end())?;
                let snapshot = lake.get(&BronzeKey::of(Dataset::Tvl, &market.csu, day).path()).await?;
                let has_snapshot = snapshot.is_some_and(|bytes| TvlSnapshot::from_bytes(&bytes).is_ok());
                let logs = lake.get(&BronzeKey::of(Dataset::Liquidations, &market.csu, day).path()).await?;
                let logs = logs.map(|bytes| LiquidationLogs::from_bytes(&bytes)).transpose()?;
                let unread = match &logs {
                    Some(logs) => logs.scanned.missing_in(span).iter().map(|span| span.count()).sum(),
                    None => span.count(),
                };
                reading.tasks += 1;
                reading.whole_tasks += u64::from(has_snapshot && unread == 0);
                reading.snapshots_lost += u64::from(!has_snapshot);
                reading.blocks += span.count();
                reading.blocks_unread += unread;
                let found = logs.into_iter().flat_map(|logs| logs.logs).filter(is_liquidation);
                reading.found.extend(found.map(|log| (market.csu.clone(), log.block_number, log.log_index)));
            }
        }
    }
    Ok(reading)
}
