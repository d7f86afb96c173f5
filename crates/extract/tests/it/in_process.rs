//! Worlds within this process: simulated chains with their deployments, endpoints before them, a lake in memory, and a
//! time that jumps to whatever comes next.

pub(crate) use crate::exchanges::{Exchange, Scanned};
use crate::exchanges::{Exchanges, overheard};
use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use extract::collect::{Collected, Collector};
use extract::plan::Plan;
use extract::report::Progress;
use extract::rpc::budget::{Purse, Tariff};
use extract::rpc::clock::Clock;
use extract::rpc::providers::{EndpointConfig, Providers, Reach};
use extract::rpc::secret::Scrubber;
use extract::rpc::tally::Purpose;
use jiff::Timestamp;
use lake::Lake;
use lake::bronze::{Audit, LiquidationLogs, RawLog, Record};
use lake::path::{self, BronzeKey};
use lake::registry::Chain;
use lake::run::{Overrides, Run};
use lake::span::BlockSpan;
use lake::status::{AuditLevel, Dataset, Reason};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use testkit::contracts::{AaveReserve, AaveV3, Liquidation, Price};
use testkit::server::clock::Clock as ProviderClock;
use testkit::server::limits::{Account, Limits, Period};
use testkit::server::{Policy, Provider, TokioClock};
use testkit::setting::Setting;
use testkit::simchain::{self, Contracts, Emitted, SimChain};
use tokio::time::Instant;

/// The days of a world, as many as it has.
pub(crate) const DAYS: [&str; 3] = ["2024-12-10", "2024-12-11", "2024-12-12"];
/// Midnight of the first of them in New York, 2024-12-10 05:00 UTC.
const MIDNIGHT: u64 = 1_733_806_800;
/// When a world is collected, 2025-01-15 12:00 UTC: far from the end of a month or day.
const TODAY: i64 = 1_736_942_400;
/// Blocks before the first day.
const BEFORE: u64 = 500;
/// Blocks after the last day.
const AFTER: u64 = 300;
/// Blocks of the head that are not final.
const FINALITY: u64 = 64;
/// Seconds between two blocks.
pub(crate) const BLOCK_SECONDS: u64 = 60;
const CHAINS: [(&str, u64); 2] = [("simnet", 7_001), ("othernet", 7_002)];

/// How large a world is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) chains: usize,
    pub(crate) days: usize,
    /// Deployments on each chain.
    pub(crate) csus: usize,
    /// Liquidations on each chain, besides those at the edges.
    pub(crate) liquidations: usize,
    pub(crate) block_seconds: u64,
    /// The day at whose middle every deployment was touched last, as its state says.
    pub(crate) touched: Option<usize>,
    /// Whether that state names a second in which no block was made and nothing logged.
    pub(crate) touched_between_blocks: bool,
    /// Whether the first reserve of every deployment is touched in the middle of every day as well.
    pub(crate) touched_daily: bool,
    /// Whether the chains have Multicall3.
    pub(crate) multicall3: bool,
    /// Whether slots are missed and the chain was slower once, as Ethereum: then a block takes a little longer on average
    /// than `block_seconds`.
    pub(crate) uneven: bool,
}

impl Default for Shape {
    fn default() -> Self {
        let (chains, days, csus, liquidations) = (1, 2, 2, 14);
        Self {
            chains,
            days,
            csus,
            liquidations,
            block_seconds: BLOCK_SECONDS,
            touched: None,
            touched_between_blocks: false,
            touched_daily: false,
            multicall3: true,
            uneven: false,
        }
    }
}

/// When the blocks of a world's chains were made, and which are those of its days.
#[derive(Debug, Clone)]
struct Calendar {
    clock: simchain::Clock,
    last: u64,
    days: Vec<BlockSpan>,
    /// Seconds from block to block on average, as a registry has it.
    block_seconds: f64,
}

impl Calendar {
    fn of(shape: Shape) -> Self {
        if shape.uneven { Self::uneven(shape) } else { Self::even(shape) }
    }

    fn even(shape: Shape) -> Self {
        let a_day = 86_400 / shape.block_seconds;
        let day = |day: usize| {
            let first = BEFORE + a_day * day as u64;
            BlockSpan::new(first, first + a_day - 1).unwrap()
        };
        let days: Vec<BlockSpan> = (0..shape.days).map(day).collect();
        let last = days.last().unwrap().last() + AFTER;
        let start = MIDNIGHT - BEFORE * shape.block_seconds;
        let clock = simchain::Clock::every(shape.block_seconds, 0..=last, start).unwrap();
        Self { clock, last, days, block_seconds: shape.block_seconds as f64 }
    }

    /// Years at a slower pace, a hundred days of slots of which one in a hundred is missed, the days, and three weeks more.
    fn uneven(shape: Shape) -> Self {
        let slot = shape.block_seconds;
        let mut time = MIDNIGHT - 100 * 86_400;
        let (mut number, slow) = (300_000, 300_000);
        let mut anchors = vec![(0, time - slow * slot * 6 / 5), (number, time)];
        let mut dice = 7_u64;
        while time < MIDNIGHT + (shape.days as u64 + 21) * 86_400 {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let regular = 1 + (dice >> 33) % 198;
            (number, time) = (number + regular, time + regular * slot);
            anchors.push((number, time));
            (number, time) = (number + 1, time + 2 * slot);
            anchors.push((number, time));
        }
        let clock = simchain::Clock::through(anchors).unwrap();
        let first_from = |second: u64| {
            let (mut low, mut high) = (0, number);
            while low < high {
                let middle = low + (high - low) / 2;
                if clock.time(middle).unwrap() < second { low = middle + 1 } else { high = middle }
            }
            low
        };
        let midnight = |day: usize| first_from(MIDNIGHT + day as u64 * 86_400);
        let days = (0..shape.days)
            .map(|day| BlockSpan::new(midnight(day), midnight(day + 1) - 1).unwrap())
            .collect();
        Self { clock, last: number, days, block_seconds: slot as f64 * 1.01 }
    }

    fn time(&self, block: u64) -> u64 {
        self.clock.time(block).unwrap()
    }
}

/// Runs a future in a time of its own, which jumps.
pub(crate) fn paused<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    runtime.unwrap().block_on(future)
}

/// Chains, and the run over them.
pub(crate) struct World {
    setting: Setting,
    shape: Shape,
    calendar: Calendar,
    chains: Vec<Arc<SimChain>>,
    markets: Vec<Vec<AaveV3>>,
}

impl World {
    pub(crate) fn new(shape: Shape) -> Self {
        let mut setting = Setting::new().unwrap();
        let (mut chains, mut markets) = (Vec::new(), Vec::new());
        let calendar = Calendar::of(shape);
        for (name, id) in CHAINS.into_iter().take(shape.chains) {
            setting = match shape.multicall3 {
                true => setting.with_chain(name, id, calendar.block_seconds),
                false => setting.with_chain_without_multicall3(name, id, calendar.block_seconds),
            };
            let of_chain: Vec<AaveV3> =
                (0..shape.csus).map(|csu| market(name, csu, shape, &calendar)).collect();
            for (index, market) in of_chain.iter().enumerate() {
                setting = setting.with_aave_v3(&csu_id(name, index), name, market.provider);
            }
            chains.push(Arc::new(chain(id, &of_chain, shape, &calendar)));
            markets.push(of_chain);
        }
        setting.run_file(DAYS[0], DAYS[shape.days - 1]).unwrap();
        Self { setting, shape, calendar, chains, markets }
    }

    /// Ids of all CSUs of a chain.
    pub(crate) fn csus(&self, chain: usize) -> Vec<String> {
        (0..self.shape.csus).map(|csu| csu_id(CHAINS[chain].0, csu)).collect()
    }

    /// The contract that emits a CSU's liquidations.
    pub(crate) fn pool(&self, chain: usize, csu: usize) -> Address {
        self.markets[chain][csu].pool
    }

    /// Blocks of a day.
    pub(crate) fn blocks(&self, day: usize) -> BlockSpan {
        self.calendar.days[day]
    }

    /// The liquidations of these blocks, by any deployment.
    pub(crate) fn logs_in(&self, span: BlockSpan) -> Vec<RawLog> {
        let topic = liquidation_topic();
        let logs = self.chains[0].logs(span.first()..=span.last());
        logs.filter(|log| log.topics.first() == Some(&topic)).cloned().collect()
    }

    /// What every run must ask before it goes on: chain ids, the last final block, the first block of the chain and those
    /// of the days, whose headers the journals of their days may not have.
    pub(crate) fn is_introduction(&self, question: &str) -> bool {
        let firsts = (0..self.shape.days).map(|day| format!("{:#x}", self.blocks(day).first()));
        let tags = ["finalized", "latest", "0x0"].map(str::to_owned);
        let headers = tags.into_iter().chain(firsts).map(|block| format!("[\"{block}\",false]"));
        question.contains("eth_chainId") || headers.into_iter().any(|header| question.contains(&header))
    }

    /// The directory with the registry and the run file.
    pub(crate) fn setting(&self) -> &Setting {
        &self.setting
    }

    /// The first chain's row in the registry.
    pub(crate) fn registered(&self) -> Chain {
        self.run(&Wish::default()).registry.chain(CHAINS[0].0).unwrap().clone()
    }

    pub(crate) fn chain(&self) -> &SimChain {
        &self.chains[0]
    }

    pub(crate) fn shared_chain(&self) -> &Arc<SimChain> {
        &self.chains[0]
    }

    fn run(&self, wish: &Wish) -> Run {
        let day = |index: usize| DAYS[index].parse().unwrap();
        let overrides = Overrides {
            from: Some(day(wish.days.0)),
            to: Some(day(wish.days.1.min(self.shape.days - 1))),
            csus: wish.csus.clone(),
            lake: None,
        };
        Run::load(&self.setting.path().join("run.toml"), &overrides).unwrap()
    }

    /// Collects into a lake, as `extract run` does.
    pub(crate) async fn collect(&self, lake: &Lake, site: &Site, wish: &Wish) -> Collected {
        let run = self.run(wish);
        for purse in site.providers.purses() {
            purse.take_up(lake).await.unwrap();
        }
        let progress = Progress::to_stderr();
        let collector = Collector {
            run: &run,
            lake,
            providers: &site.providers,
            recorder: None,
            at_once: wish.at_once,
            audit: wish.audit,
            progress: &progress,
        };
        collector.collect().await
    }

    /// What collecting into a lake will take, as `extract plan` says.
    pub(crate) async fn plan(&self, lake: &Lake, site: &Site, wish: &Wish) -> Plan {
        let run = self.run(wish);
        let progress = Progress::to_stderr();
        let collector = Collector {
            run: &run,
            lake,
            providers: &site.providers,
            recorder: None,
            at_once: wish.at_once,
            audit: wish.audit,
            progress: &progress,
        };
        collector.plan().await
    }

    /// The bronze of one faultless endpoint a chain, in a time of its own.
    pub(crate) fn truth(&self) -> Bronze {
        paused(async {
            let hosts = (0..self.shape.chains)
                .map(|chain| Host::new(&format!("true_{chain}"), Policy::honest()).on(chain).window(100_000));
            let (lake, site) = (memory(), Site::open(self, hosts.collect()));
            assert_complete(&self.collect(&lake, &site, &Wish::default()).await);
            let bronze = bronze(&lake).await;
            let objects = self.shape.chains * self.shape.days * (1 + 2 * self.shape.csus);
            assert_eq!(bronze.len(), objects, "blocks a chain and day, two objects a CSU and day");
            bronze
        })
    }
}

/// Aave V3's `LiquidationCall`.
pub(crate) fn liquidation_topic() -> B256 {
    keccak256("LiquidationCall(address,address,address,uint256,uint256,address,bool)")
}

fn csu_id(chain: &str, csu: usize) -> String {
    format!("aave_v3_{chain}_{csu}")
}

fn middle(span: BlockSpan) -> u64 {
    span.first() + span.count() / 2
}

fn market(chain: &str, csu: usize, shape: Shape, calendar: &Calendar) -> AaveV3 {
    let name = csu_id(chain, csu);
    let token = |of: &str| Address::from_word(keccak256(format!("{name} {of}")));
    let usd = |cents: u64| U256::from(cents * 1_000_000);
    let stable = Price::Always(usd(100));
    let mut stable =
        AaveReserve::new(token("stable"), "USDS", 6, 5_000_000_000_000, 2_000_000_000_000, stable);
    let noon = |day: &BlockSpan| calendar.time(middle(*day));
    let late = u64::from(shape.touched_between_blocks);
    stable.touched_at = shape.touched.map_or(0, |day| noon(&calendar.days[day]) + late);
    if shape.touched_daily {
        stable.touches = calendar.days.iter().map(noon).collect();
    }
    // Another price every few blocks, so that a read at the wrong block shows.
    let steps = (0..2_000).map(|step| (step * 7, usd(300_000 + step * 7 + csu as u64))).collect();
    let (supplied, borrowed) = (900_000_000_000_000_000_000, 100_000_000_000_000_000_000);
    let ether = AaveReserve::new(token("ether"), "WETH", 18, supplied, borrowed, Price::FromBlock(steps));
    AaveV3::named(&name, vec![stable, ether])
}

fn chain(id: u64, markets: &[AaveV3], shape: Shape, calendar: &Calendar) -> SimChain {
    let contracts: Vec<Box<dyn Contracts>> =
        markets.iter().map(|market| Box::new(market.clone()) as Box<dyn Contracts>).collect();
    SimChain::new(id, 0..=calendar.last, calendar.clock.clone())
        .unwrap()
        .with_finality(FINALITY)
        .with_multicall3_from(shape.multicall3.then_some(0))
        .with_contracts(contracts)
        .with_logs(logs(markets, shape, &calendar.days))
        .unwrap()
}

/// Liquidations at the edges of the days, two in one block, one just outside on either side, one of every deployment where
/// it was touched, and the others anywhere; beside them a log that is nobody's.
fn logs(markets: &[AaveV3], shape: Shape, days: &[BlockSpan]) -> Vec<Emitted> {
    let (first, last) = (days[0].first(), days[days.len() - 1].last());
    let edges = days.iter().flat_map(|day| [day.first(), day.last()]);
    let mut places: Vec<(u64, usize)> =
        edges.chain([first - 1, last + 1, first + 77, first + 77]).map(|block| (block, 0)).collect();
    let anywhere = |nth: u64| first + (nth * 7_919 + nth * nth * 131 + 29) % (last - first);
    places.extend((0..shape.liquidations).map(|nth| (anywhere(nth as u64), nth % markets.len())));
    if let Some(day) = shape.touched.filter(|_| !shape.touched_between_blocks) {
        places.extend((0..markets.len()).map(|csu| (middle(days[day]), csu)));
    }
    let liquidation = |(nth, (block, csu)): (usize, (u64, usize))| {
        let market = &markets[csu];
        market.liquidation(&Liquidation {
            block,
            tx_index: nth as u64 % 3,
            log_index: nth as u64,
            collateral: market.reserves[1].asset,
            debt: market.reserves[0].asset,
            borrower: Address::from_word(U256::from(nth).into()),
            liquidator: Address::repeat_byte(0x11),
            debt_amount: 1_000_000_000 + u128::from(block),
            collateral_amount: 350_000_000_000_000_000,
        })
    };
    let stray = Emitted {
        block: first,
        tx_index: 9,
        log_index: 9_999,
        address: Address::repeat_byte(0xaa),
        topics: vec![keccak256("Transfer(address,address,uint256)")],
        data: Bytes::new(),
    };
    let daily = if shape.touched_daily { days } else { &[] };
    let touches = daily.iter().enumerate().flat_map(|(day, blocks)| {
        let touch = move |(csu, market): (usize, &AaveV3)| {
            market.touch(&market.reserves[0], middle(*blocks), 5, 20_000 + (10 * day + csu) as u64)
        };
        markets.iter().enumerate().map(touch)
    });
    places.into_iter().enumerate().map(liquidation).chain(touches).chain([stray]).collect()
}

/// What a run is to do.
#[derive(Debug, Clone)]
pub(crate) struct Wish {
    pub(crate) at_once: usize,
    pub(crate) audit: AuditLevel,
    /// CSUs; none stands for all.
    pub(crate) csus: Vec<String>,
    /// First and last day.
    pub(crate) days: (usize, usize),
}

impl Default for Wish {
    fn default() -> Self {
        Self { at_once: 8, audit: AuditLevel::Sampled, csus: Vec::new(), days: (0, DAYS.len()) }
    }
}

/// An endpoint: what it does, and what the providers file says of it.
#[derive(Clone)]
pub(crate) struct Host {
    label: String,
    operator: String,
    chain: usize,
    policy: Policy,
    window: u64,
    tariff: Tariff,
    key: Option<&'static str>,
}

impl fmt::Debug for Host {
    /// On one line: a failed property prints several.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { label, window, policy, .. } = self;
        write!(f, "{label} (window {window}): {policy:?}")
    }
}

impl Host {
    /// An endpoint of the first chain with an operator of its own, that may be asked as fast as it answers and is said to
    /// take 1,000 blocks.
    pub(crate) fn new(label: &str, policy: Policy) -> Self {
        Self {
            label: label.to_owned(),
            operator: label.to_owned(),
            chain: 0,
            policy,
            window: 1_000,
            tariff: Tariff::by_requests(label, 10_000.0),
            key: None,
        }
    }

    pub(crate) fn on(self, chain: usize) -> Self {
        Self { chain, ..self }
    }

    /// What the providers file says of its log window.
    pub(crate) fn window(self, window: u64) -> Self {
        Self { window, ..self }
    }

    pub(crate) fn run_by(self, operator: &str) -> Self {
        Self { operator: operator.to_owned(), ..self }
    }

    /// With limits of its key that the providers file states truly.
    pub(crate) fn limited(self, limits: Limits) -> Self {
        let tariff = tariff_of(&self.operator, &limits);
        Self { policy: Policy { limits, ..self.policy }, tariff, ..self }
    }

    /// With a key that others have too. What the first of them charges counts for all.
    pub(crate) fn with_key(self, key: &'static str) -> Self {
        Self { key: Some(key), ..self }
    }
}

/// What a truthful providers file says of limits.
fn tariff_of(operator: &str, limits: &Limits) -> Tariff {
    let cost = |units: u64| u32::try_from(units).unwrap();
    let of_period = |period| limits.quota.filter(|quota| quota.period == period).map(|quota| quota.units);
    Tariff {
        operator: operator.to_owned(),
        unit: format!("units of {operator}"),
        units_per_second: limits.per_second.map_or(10_000.0, |rate| rate.units as f64),
        units_per_month: of_period(Period::Month),
        units_per_day: of_period(Period::Day),
        cost: limits
            .prices
            .methods
            .iter()
            .map(|price| (price.method.to_owned(), cost(price.units)))
            .collect(),
        other: cost(limits.prices.other),
        batch: cost(limits.prices.batch),
        source: "simulated".to_owned(),
    }
}

/// Endpoints with the providers behind them. To be opened within the time in which they are asked.
pub(crate) struct Site {
    pub(crate) providers: Providers,
    hosts: BTreeMap<String, Arc<Provider>>,
    opened: Instant,
    exchanges: Exchanges,
}

impl Site {
    pub(crate) fn open(world: &World, hosts: Vec<Host>) -> Self {
        let clock = Clock::at(Timestamp::from_second(TODAY).unwrap());
        let time: Arc<dyn ProviderClock> = Arc::new(TokioClock::at(TODAY as u64));
        let mut keys: BTreeMap<&'static str, (Arc<Purse>, Arc<Account>)> = BTreeMap::new();
        let providers = Providers { clock, ..Providers::default() };
        let exchanges = Exchanges::default();
        let mut site = Self { providers, hosts: BTreeMap::new(), opened: Instant::now(), exchanges };
        for host in hosts {
            let name = host.key.unwrap_or(&host.label);
            let new_key = || {
                let account = Arc::new(Account::new(host.policy.limits, Arc::clone(&time)));
                (Arc::new(Purse::new(name, host.tariff.clone(), clock)), account)
            };
            let (purse, account) = match host.key {
                Some(key) => keys.entry(key).or_insert_with(new_key).clone(),
                None => new_key(),
            };
            let provider = Provider::new(&world.chains[host.chain], host.policy, &time);
            let provider = Arc::new(provider.with_account(&account));
            let carrier = overheard(host.label.clone(), provider.carrier(), Arc::clone(&site.exchanges));
            site.providers.endpoints.push(EndpointConfig {
                label: host.label.clone(),
                operator: host.operator,
                chain: CHAINS[host.chain].0.to_owned(),
                reach: Reach::InProcess(carrier),
                scrubber: Scrubber::default(),
                log_window: host.window,
                purse: Some(purse),
            });
            assert!(site.hosts.insert(host.label, provider).is_none(), "two endpoints have one label");
        }
        site
    }

    /// The same providers as another process meets them, later: its purses are new, the providers' accounts are not.
    pub(crate) fn again(&self) -> Self {
        let now = Timestamp::from_second(TODAY).unwrap() + self.opened.elapsed();
        let clock = Clock::at(now);
        let mut purses: BTreeMap<String, Arc<Purse>> = BTreeMap::new();
        let mut providers = Providers { clock, ..self.providers.clone() };
        for endpoint in &mut providers.endpoints {
            let old = endpoint.purse.as_ref().unwrap();
            let new = || Arc::new(Purse::new(old.name(), old.tariff().clone(), clock));
            endpoint.purse = Some(Arc::clone(purses.entry(old.name().to_owned()).or_insert_with(new)));
        }
        let exchanges = Arc::clone(&self.exchanges);
        Self { providers, hosts: self.hosts.clone(), opened: self.opened, exchanges }
    }

    /// What the providers' accounts say, a key once.
    pub(crate) fn accounts(&self) -> Vec<&Arc<Account>> {
        let mut accounts: Vec<&Arc<Account>> = Vec::new();
        for account in self.hosts.values().map(|provider| provider.account()) {
            if !accounts.iter().any(|known| Arc::ptr_eq(known, account)) {
                accounts.push(account);
            }
        }
        accounts
    }

    /// All requests so far, in order, with their replies.
    pub(crate) fn exchanges(&self) -> Vec<Exchange> {
        self.exchanges.lock().unwrap().clone()
    }

    /// Requests that are on their way.
    pub(crate) fn under_way(&self) -> usize {
        self.exchanges.lock().unwrap().iter().filter(|exchange| !exchange.ended).count()
    }

    /// Requests that reached the providers.
    pub(crate) fn requests(&self) -> usize {
        self.exchanges.lock().unwrap().len()
    }

    /// The log queries that an endpoint was asked, in order.
    pub(crate) fn scans(&self, label: &str) -> Vec<Scanned> {
        let exchanges = self.exchanges();
        exchanges.iter().filter(|exchange| exchange.label == label).filter_map(Exchange::scan).collect()
    }
}

/// A new lake.
pub(crate) fn memory() -> Lake {
    Lake::open("memory:///").unwrap()
}

/// Objects of bronze by path, without audits: those say who was asked, and differ as they should.
pub(crate) type Bronze = BTreeMap<String, Vec<u8>>;

pub(crate) async fn bronze(lake: &Lake) -> Bronze {
    let mut objects = Bronze::new();
    for path in lake.list(&path::BRONZE.into()).await.unwrap() {
        if !matches!(BronzeKey::parse(&path), Some(BronzeKey::Audit { .. })) {
            let bytes = lake.get(&path).await.unwrap().unwrap();
            objects.insert(path.to_string(), bytes.to_vec());
        }
    }
    objects
}

/// The objects that are in one lake only, or differ.
pub(crate) fn differences(one: &Bronze, two: &Bronze) -> Vec<String> {
    let names: BTreeSet<&String> = one.keys().chain(two.keys()).collect();
    names.into_iter().filter(|name| one.get(*name) != two.get(*name)).cloned().collect()
}

#[track_caller]
pub(crate) fn assert_same(truth: &Bronze, other: &Bronze) {
    assert_eq!(differences(truth, other), Vec::<String>::new(), "bronze objects differ");
}

/// Insists that nothing is left to do, and says otherwise what is.
#[track_caller]
pub(crate) fn assert_complete(collected: &Collected) {
    assert!(!collected.outcomes.is_empty());
    let left = unfinished(collected);
    assert!(left.is_empty(), "{}\nwarnings: {:#?}", left.join("\n"), collected.warnings);
}

/// Tasks that are not done, with their reasons.
pub(crate) fn unfinished(collected: &Collected) -> Vec<String> {
    let left = collected.outcomes.iter().filter(|outcome| !outcome.is_done());
    left.map(|of| format!("{} {} {}: {:?}: {}", of.csu, of.date, of.dataset, of.reason, of.message)).collect()
}

/// CSU-days of a dataset that are done.
pub(crate) fn done(collected: &Collected, dataset: Dataset, day: usize) -> usize {
    let of_day = |outcome: &&extract::ledger::Outcome| {
        outcome.dataset == dataset && outcome.date.to_string() == DAYS[day] && outcome.is_done()
    };
    collected.outcomes.iter().filter(of_day).count()
}

/// The reasons for which tasks are not done.
pub(crate) fn reasons(collected: &Collected) -> BTreeSet<Reason> {
    collected.outcomes.iter().filter_map(|outcome| outcome.reason).collect()
}

/// Requests of a method that an endpoint was sent for a purpose.
pub(crate) fn asked(collected: &Collected, label: &str, purpose: Purpose, method: &'static str) -> u64 {
    let counts = collected.asked.get(label).map(|asked| asked.counts().clone()).unwrap_or_default();
    counts.get(&(purpose, method)).map_or(0, |count| count.sent)
}

/// A CSU's liquidation object of a day.
pub(crate) async fn liquidations(lake: &Lake, csu: &str, day: usize) -> Option<LiquidationLogs> {
    let key = BronzeKey::of(Dataset::Liquidations, csu, DAYS[day].parse().unwrap());
    let bytes = lake.get(&key.path()).await.unwrap()?;
    Some(LiquidationLogs::from_bytes(&bytes).unwrap())
}

/// The audit of the first chain's day.
pub(crate) async fn audit(lake: &Lake, day: usize) -> Audit {
    let key = BronzeKey::Audit { chain: CHAINS[0].0.to_owned(), date: DAYS[day].parse().unwrap() };
    Audit::from_bytes(&lake.get(&key.path()).await.unwrap().unwrap()).unwrap()
}
