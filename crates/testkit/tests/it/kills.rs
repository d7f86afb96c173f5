//! A divided run whose programs die: shards of `extract` side by side over one lake, then `transform` and `panel`, each killed
//! with SIGKILL at random moments and run again. Bronze, silver and gold must have the bytes of one process after the other
//! that nobody disturbed.
//!
//! Lake after lake until there were so many kills: `LENDLAKE_KILLS`, a few where it is not set. A kill counts when the
//! program was alive and died of it. Where and when is drawn from a seed that is another in every run and is printed; to
//! draw the same again, set `LENDLAKE_SEED` to it. What is under way at a moment is the machine's, and differs a little.

use crate::stages::{ends_with, extract, find, panel, path, transform};
use alloy_primitives::{Address, U256};
use lake::manifest::Manifest;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use testkit::contracts::{AaveReserve, AaveV3, Liquidation, Price};
use testkit::drawn::Drawn;
use testkit::server::faults::Latency;
use testkit::server::{Policy, Server};
use testkit::setting::{Endpoint, Setting};
use testkit::simchain::{Clock, Contracts, SimChain};
use testkit::tree::Tree;

const LAYERS: [&str; 3] = ["bronze", "silver", "gold"];
/// Kills where `LENDLAKE_KILLS` says nothing.
const A_FEW: usize = 8;
/// So many that chance has met every program.
const MANY: usize = 100;
/// Shards at work at one time.
const SHARDS: usize = 3;
const CHAINS: [(&str, u64); 2] = [("simnet", 7_001), ("othernet", 7_002)];
const CSUS: u64 = 2;
/// Two days of November and two of December: silver has two months.
const DAYS: (&str, &str) = ("2024-11-29", "2024-12-02");
/// Midnight of the first in New York, 2024-11-29 05:00 UTC.
const MIDNIGHT: u64 = 1_732_856_400;
const BLOCK_SECONDS: u64 = 900;
/// Blocks before the first day.
const BEFORE: u64 = 100;
const LAST: u64 = BEFORE + 4 * 96 + 200;
const LATENCY: Duration = Duration::from_millis(4);
/// Signal 9: nobody can do anything about it.
const SIGKILL: i32 = 9;
/// A program that has not ended by then hangs.
const PATIENCE: Duration = Duration::from_secs(120);

fn market(chain: &str, csu: u64) -> AaveV3 {
    let dollars = |dollars: u64| Price::Always(U256::from(dollars * 100_000_000));
    let (million, ether) = (1_000_000_000_000_u128, 1_000_000_000_000_000_000_u128);
    AaveV3::named(
        &format!("kills {chain} {csu}"),
        vec![
            AaveReserve::new(Address::repeat_byte(0x51), "USDS", 6, 5 * million, 2 * million, dollars(1)),
            AaveReserve::new(
                Address::repeat_byte(0xe7),
                "WETH",
                18,
                900 * ether,
                100 * ether,
                dollars(3_700),
            ),
        ],
    )
}

fn csu_id(chain: &str, csu: u64) -> String {
    format!("aave_v3_{chain}_{csu}")
}

/// A chain with its markets, of which each has a liquidation every few hours.
fn chain(name: &str, id: u64) -> Arc<SimChain> {
    let clock = Clock::every(BLOCK_SECONDS, 0..=LAST, MIDNIGHT - BEFORE * BLOCK_SECONDS).unwrap();
    let mut contracts: Vec<Box<dyn Contracts>> = Vec::new();
    let mut logs = Vec::new();
    for csu in 0..CSUS {
        let market = market(name, csu);
        let (debt, collateral) = (market.reserves[0].asset, market.reserves[1].asset);
        logs.extend((BEFORE - 10..LAST - 70).step_by(13).map(|block| {
            market.liquidation(&Liquidation {
                block,
                tx_index: csu,
                log_index: csu,
                collateral,
                debt,
                borrower: Address::from_word(U256::from(block).into()),
                liquidator: Address::repeat_byte(0x11),
                debt_amount: 1_000_000_000 + u128::from(block),
                collateral_amount: 350_000_000_000_000_000,
            })
        }));
        contracts.push(Box::new(market));
    }
    let chain = SimChain::new(id, 0..=LAST, clock).unwrap().with_finality(64).with_contracts(contracts);
    Arc::new(chain.with_logs(logs).unwrap())
}

/// The chains, two operators before each, and the run.
struct World {
    setting: Setting,
    run: PathBuf,
    providers: PathBuf,
    servers: Vec<Server>,
}

impl World {
    fn new() -> Self {
        let mut setting = Setting::new().unwrap();
        let (mut servers, mut endpoints) = (Vec::new(), Vec::new());
        for (name, id) in CHAINS {
            setting = setting.with_chain(name, id, BLOCK_SECONDS as f64);
            for csu in 0..CSUS {
                setting = setting.with_aave_v3(&csu_id(name, csu), name, market(name, csu).provider);
            }
            let chain = chain(name, id);
            for (nth, window) in [(1, 12), (2, 9)] {
                let latency = Latency { usual: LATENCY, ..Latency::default() };
                let server = Server::spawn(&chain, Policy { latency, ..Policy::honest() }).unwrap();
                endpoints.push(Endpoint::new(&format!("{name}_{nth}"), name, server.url(), window));
                servers.push(server);
            }
        }
        let run = setting.run_file(DAYS.0, DAYS.1).unwrap();
        let providers = setting.providers("kills", &endpoints).unwrap();
        // `extract status` reads the run's own.
        std::fs::copy(&providers, setting.path().join("registry/providers.toml")).unwrap();
        Self { setting, run, providers, servers }
    }

    fn requests(&self) -> u64 {
        self.servers.iter().map(|server| server.provider().tally().requests).sum()
    }

    /// Starts a program of the run over a lake.
    fn start(&self, who: Who, lake: &Path, gaps: Gaps) -> Process {
        let log = lake.with_extension(format!("{who:?}.log"));
        let shard;
        let mut arguments = match who {
            Who::Panel => vec!["build"],
            _ => vec!["run"],
        };
        arguments.extend(["--run", path(&self.run), "--lake", path(lake)]);
        let name = match who {
            Who::Shard(number) => {
                shard = format!("{number}/{SHARDS}");
                arguments.extend(["--providers", path(&self.providers), "--shard", &shard]);
                // So that a shard that lives takes over from one that does not come back.
                arguments.extend(["--abandoned-after", "1"]);
                "extract"
            }
            Who::Transform => "transform",
            Who::Panel => "panel",
        };
        let words = File::create(&log).unwrap();
        let child = find(name)
            .command(arguments)
            .stdout(Stdio::from(words.try_clone().unwrap()))
            .stderr(Stdio::from(words))
            .spawn()
            .unwrap();
        Process { who, child, gaps, log, began: Instant::now() }
    }

    /// Starts these programs, at the same time, and waits until all have ended well. Says how long that took.
    fn run_to_the_end(&self, programs: &[Who], lake: &Path, gaps: Gaps) -> Duration {
        let began = Instant::now();
        let started: Vec<Process> = programs.iter().map(|who| self.start(*who, lake, gaps)).collect();
        for mut process in started {
            while !process.has_ended() {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        began.elapsed()
    }
}

/// A program of a divided run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Who {
    Shard(usize),
    Transform,
    Panel,
}

/// Whether a program may end with 1: finished, and some is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gaps {
    None,
    MayBe,
}

fn shards() -> Vec<Who> {
    (1..=SHARDS).map(Who::Shard).collect()
}

/// A program at work.
struct Process {
    who: Who,
    child: Child,
    gaps: Gaps,
    /// What it says.
    log: PathBuf,
    began: Instant,
}

impl Process {
    /// Whether it has ended by itself, and then well.
    fn has_ended(&mut self) -> bool {
        let status = self.child.try_wait().unwrap();
        if let Some(status) = status {
            let said = std::fs::read_to_string(&self.log).unwrap();
            let is_well = match self.gaps {
                Gaps::None => status.success(),
                Gaps::MayBe => matches!(status.code(), Some(0 | 1)),
            };
            assert!(is_well, "{:?} ended with {status}; it said:\n{said}", self.who);
        }
        if self.began.elapsed() > PATIENCE {
            self.child.kill().unwrap();
            panic!("{:?} hangs; it said:\n{}", self.who, std::fs::read_to_string(&self.log).unwrap());
        }
        status.is_some()
    }

    /// Kills it, and says whether that is what it died of.
    fn kill(mut self) -> bool {
        self.child.kill().unwrap();
        let status: ExitStatus = self.child.wait().unwrap();
        status.signal() == Some(SIGKILL)
    }
}

/// What an undisturbed life of a program has: moments are drawn from it.
#[derive(Debug, Clone, Copy)]
struct Life {
    time: Duration,
    /// Requests of the shards together.
    requests: u64,
    /// Files that are written into the lake's layers.
    files: u64,
}

/// When a program is killed, from the moment on in which this was drawn. A file is written in a small part of a life, and
/// there most can go wrong: so time alone would seldom meet it.
#[derive(Debug, Clone, Copy)]
enum Moment {
    After(Duration),
    /// So long after so many further requests.
    AfterRequests(u64, Duration),
    /// So long after so many further files have appeared.
    AfterFiles(u64, Duration),
}

impl Moment {
    /// A moment of a life's next part of so many.
    fn drawn(drawn: &mut Drawn, life: Life, parts: u64) -> Self {
        let micros = |most: Duration| u64::try_from(most.as_micros()).unwrap();
        let kinds = if life.requests == 0 { 2 } else { 3 };
        match drawn.below(kinds) {
            0 => Self::After(Duration::from_micros(drawn.below(micros(life.time) / parts))),
            1 => {
                let files = drawn.below(life.files / parts + 1);
                Self::AfterFiles(files, Duration::from_micros(drawn.below(1_500)))
            }
            // Long enough to come from one request to the next.
            _ => {
                let requests = drawn.below(life.requests / parts);
                Self::AfterRequests(requests, Duration::from_micros(drawn.below(micros(LATENCY))))
            }
        }
    }
}

/// Tells when a moment has come.
struct Watch<'w> {
    world: &'w World,
    moment: Moment,
    began: Instant,
    requests: u64,
    files: Written,
    reached: Option<Instant>,
}

impl<'w> Watch<'w> {
    fn new(world: &'w World, lake: &Path, moment: Moment) -> Self {
        let (began, requests) = (Instant::now(), world.requests());
        Self { world, moment, began, requests, files: Written::since_now(lake), reached: None }
    }

    fn has_come(&mut self) -> bool {
        let (is_reached, pause) = match self.moment {
            Moment::After(time) => return self.began.elapsed() >= time,
            Moment::AfterRequests(requests, pause) => {
                (self.world.requests() >= self.requests + requests, pause)
            }
            Moment::AfterFiles(files, pause) => {
                (self.reached.is_some() || self.files.count() >= files, pause)
            }
        };
        if is_reached {
            self.reached.get_or_insert_with(Instant::now);
        }
        self.reached.is_some_and(|reached| reached.elapsed() >= pause)
    }
}

/// Files of a lake's layers as they are written. One that is written again is another.
struct Written {
    lake: PathBuf,
    before: BTreeSet<(PathBuf, SystemTime)>,
    seen: BTreeSet<(PathBuf, SystemTime)>,
}

impl Written {
    fn since_now(lake: &Path) -> Self {
        let (before, seen) = (Self::files(lake), BTreeSet::new());
        Self { lake: lake.to_owned(), before, seen }
    }

    fn count(&mut self) -> u64 {
        self.seen.extend(Self::files(&self.lake).difference(&self.before).cloned());
        self.seen.len() as u64
    }

    fn files(lake: &Path) -> BTreeSet<(PathBuf, SystemTime)> {
        let mut files = BTreeSet::new();
        let mut directories: Vec<PathBuf> = LAYERS.iter().map(|name| lake.join(name)).collect();
        while let Some(directory) = directories.pop() {
            for entry in std::fs::read_dir(&directory).into_iter().flatten().flatten() {
                // A file may be gone since it was listed.
                let Ok(about) = entry.metadata() else { continue };
                if about.is_dir() {
                    directories.push(entry.path());
                } else {
                    files.insert((entry.path(), about.modified().unwrap_or(SystemTime::UNIX_EPOCH)));
                }
            }
        }
        files
    }
}

/// Kills that hit, by program, and how many shards were alive then.
#[derive(Debug, Default)]
struct Tally {
    kills: BTreeMap<Who, usize>,
    too_late: usize,
    /// Kills of a shard while so many were at work.
    at_work: BTreeMap<usize, usize>,
    lakes: usize,
}

impl Tally {
    fn total(&self) -> usize {
        self.kills.values().sum()
    }

    fn add(&mut self, who: Who, has_hit: bool) {
        if has_hit {
            *self.kills.entry(who).or_default() += 1;
        } else {
            self.too_late += 1;
        }
    }
}

/// Lives of undisturbed programs.
struct Lives {
    shards: Life,
    transform: Life,
    panel: Life,
}

/// One lake, and what was drawn for it.
struct Ground<'w> {
    world: &'w World,
    lives: &'w Lives,
    lake: PathBuf,
    drawn: Drawn,
}

impl Ground<'_> {
    /// Shards side by side, of which one after the other is killed: some come back at once, some only when all have ended.
    fn kill_shards(&mut self, kills: usize, tally: &mut Tally) {
        let mut alive: Vec<Process> =
            shards().into_iter().map(|who| self.world.start(who, &self.lake, Gaps::None)).collect();
        let mut hits = 0;
        while hits < kills && !alive.is_empty() {
            let moment = Moment::drawn(&mut self.drawn, self.lives.shards, 4);
            let mut watch = Watch::new(self.world, &self.lake, moment);
            let victim = alive[usize::try_from(self.drawn.below(alive.len() as u64)).unwrap()].who;
            let comes_back = !self.drawn.once_in(4);
            loop {
                alive.retain_mut(|process| !process.has_ended());
                let Some(at) = alive.iter().position(|process| process.who == victim) else {
                    tally.too_late += 1;
                    break;
                };
                if watch.has_come() {
                    let at_work = alive.len();
                    let has_hit = alive.swap_remove(at).kill();
                    tally.add(victim, has_hit);
                    hits += usize::from(has_hit);
                    *tally.at_work.entry(at_work).or_default() += usize::from(has_hit);
                    if comes_back {
                        alive.push(self.world.start(victim, &self.lake, Gaps::None));
                    }
                    break;
                }
                std::thread::sleep(Duration::from_micros(200));
            }
        }
        while !alive.is_empty() {
            alive.retain_mut(|process| !process.has_ended());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// A program that is killed so many times.
    fn kill_one(&mut self, who: Who, kills: usize, gaps: Gaps, tally: &mut Tally) {
        let life = if who == Who::Panel { self.lives.panel } else { self.lives.transform };
        for _ in 0..kills {
            let moment = Moment::drawn(&mut self.drawn, life, 1);
            let mut watch = Watch::new(self.world, &self.lake, moment);
            let mut process = self.world.start(who, &self.lake, gaps);
            loop {
                if process.has_ended() {
                    tally.too_late += 1;
                    break;
                }
                if watch.has_come() {
                    tally.add(who, process.kill());
                    break;
                }
                std::thread::sleep(Duration::from_micros(50));
            }
        }
    }

    /// Every program of the run is killed, and run again to its end.
    fn disturb(&mut self, kills: usize, tally: &mut Tally) {
        let (of_shards, of_each_other) = (kills - kills / 3, kills.div_ceil(6));
        self.kill_shards(of_shards, tally);
        if self.drawn.once_in(2) {
            // Silver and gold of what is there so far: they must not be what is left in the end.
            self.finish_layers(1, Gaps::MayBe, tally);
        }
        self.world.run_to_the_end(&shards(), &self.lake, Gaps::None);
        let arguments = ["status", "--run", path(&self.world.run), "--lake", path(&self.lake)];
        ends_with(&find("extract").run(arguments).unwrap(), 0);
        let claims = Tree::of(&self.lake.join("state/claims")).unwrap();
        let claims: Vec<&str> = claims.files().filter(|name| name.ends_with(".json")).collect();
        assert_eq!(claims, Vec::<&str>::new(), "claims that the dead have left");
        self.finish_layers(of_each_other, Gaps::None, tally);
    }

    /// Silver, then gold, of which the programs are killed so many times first.
    fn finish_layers(&mut self, kills: usize, gaps: Gaps, tally: &mut Tally) {
        for who in [Who::Transform, Who::Panel] {
            self.kill_one(who, kills, gaps, tally);
            self.world.run_to_the_end(&[who], &self.lake, gaps);
        }
    }
}

/// Every file of the lake's layers, but for audits: those say who was asked, which is no chain data. Silver's manifest is kept
/// without its words on them.
struct Layers {
    files: Tree,
    manifest: Manifest,
}

impl Layers {
    fn of(lake: &Path) -> Self {
        let is_of_layers = |name: &str| LAYERS.iter().any(|layer| name.starts_with(&format!("{layer}/")));
        let is_kept = |name: &str| {
            is_of_layers(name) && !name.starts_with("bronze/audits/") && name != "silver/manifest.json"
        };
        let files = Tree::of(lake).unwrap().only(is_kept);
        let manifest = std::fs::read(lake.join("silver/manifest.json")).unwrap();
        let mut manifest: Manifest = serde_json::from_slice(&manifest).unwrap();
        manifest.inputs.retain(|path, _| !path.starts_with("bronze/audits/"));
        for mark in manifest.months.values_mut() {
            assert!(mark.remove("audits").is_some(), "silver's manifest marks audits no more");
        }
        Self { files, manifest }
    }
}

#[track_caller]
fn assert_same(truth: &Layers, lake: &Path, which: &str) {
    for layer in LAYERS {
        assert!(
            truth.files.files().any(|name| name.starts_with(layer)),
            "there is no {layer} to compare with"
        );
    }
    let found = Layers::of(lake);
    let differences = truth.files.differences(&found.files);
    assert_eq!(differences, Vec::<String>::new(), "{which}: these files are not those of one process");
    assert_eq!(found.manifest, truth.manifest, "{which}: silver's manifest");
}

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

#[test]
fn a_divided_run_killed_anywhere_and_run_again_gives_the_bytes_of_one_process() {
    let wanted = from_environment("LENDLAKE_KILLS").map_or(A_FEW, |kills| kills.try_into().unwrap());
    let seed = from_environment("LENDLAKE_SEED").unwrap_or_else(|| RandomState::new().hash_one(0) >> 16);
    println!("LENDLAKE_SEED={seed} draws the same kills again");
    let began = Instant::now();

    let world = World::new();
    let one = world.setting.lake("one");
    ends_with(&extract(&world.run, &one, &world.providers, &[]), 0);
    ends_with(&transform(&world.run, &one), 0);
    ends_with(&panel(&world.run, &one), 0);
    let truth = Layers::of(&one);

    // Undisturbed, a divided run gives the same; and says how long its programs live.
    let divided = world.setting.lake("divided");
    let life = |programs: &[Who]| {
        let (requests, mut written) = (world.requests(), Written::since_now(&divided));
        let time = world.run_to_the_end(programs, &divided, Gaps::None);
        Life { time, requests: world.requests() - requests, files: written.count() }
    };
    let (shards, transform, panel) = (life(&shards()), life(&[Who::Transform]), life(&[Who::Panel]));
    assert_same(&truth, &divided, "a divided run");
    let lives = Lives { shards, transform, panel };
    println!("undisturbed: shards {shards:?}, transform {transform:?}, panel {panel:?}");

    let mut tally = Tally::default();
    while tally.total() < wanted {
        // Each lake has a seed of its own, so that one can be drawn again alone.
        let seed = seed + tally.lakes as u64;
        let before = tally.total();
        let lake = world.setting.lake(&format!("killed-{seed}"));
        let drawn = Drawn::from_seed(seed);
        let mut ground = Ground { world: &world, lives: &lives, lake: lake.clone(), drawn };
        ground.disturb((wanted - before).clamp(6, 15), &mut tally);
        println!("LENDLAKE_SEED={seed}: {} kills", tally.total() - before);
        assert_same(&truth, &lake, &format!("LENDLAKE_SEED={seed}"));
        tally.lakes += 1;
        std::fs::remove_dir_all(&lake).unwrap();
    }
    println!("{} kills in {:?}: {tally:?}", tally.total(), began.elapsed());
    if wanted >= MANY {
        // Of 100 kills each program had 14 and more, and 23 and more were while all shards were at work.
        assert_eq!(tally.kills.len(), SHARDS + 2, "some program was never killed");
        let beside_others = tally.at_work.get(&SHARDS).copied().unwrap_or(0);
        assert!(beside_others >= wanted / 20, "{beside_others} kills while {SHARDS} shards were at work");
    }
}
