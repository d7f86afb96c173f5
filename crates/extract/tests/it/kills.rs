//! The program itself, killed with SIGKILL wherever it is: run again to its end, it leaves the bytes of a run that nobody
//! disturbed, and has asked again for no more than what was under way.

use crate::in_process::{Bronze, Shape, World, assert_same, bronze};
use lake::Lake;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use testkit::drawn::Drawn;
use testkit::server::faults::Latency;
use testkit::server::{Policy, Server};
use testkit::setting::Endpoint;

/// Kills of the whole test.
const KILLS: usize = 200;
/// Kills of one lake at most.
const KILLS_OF_A_LAKE: usize = 12;
/// Requests under way at once: what a kill may lose.
const JOBS: usize = 4;
/// How long an answer takes.
const LATENCY: Duration = Duration::from_millis(4);
/// A run that has not ended by then hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// Two servers of two operators before one chain, and the file that says so.
struct Ground {
    servers: [Server; 2],
    providers: PathBuf,
}

impl Ground {
    fn open(world: &World, name: &str) -> Self {
        let latency = Latency { usual: LATENCY, ..Latency::default() };
        let serve = || Server::spawn(world.shared_chain(), Policy { latency, ..Policy::honest() }).unwrap();
        let servers = [serve(), serve()];
        let endpoint = |(nth, window): (usize, u64)| {
            Endpoint::new(&format!("s{nth}"), &world.registered().name, servers[nth].url(), window)
        };
        let endpoints: Vec<Endpoint> = [(0, 16), (1, 12)].map(endpoint).into();
        let providers = world.setting().providers(name, &endpoints).unwrap();
        Self { servers, providers }
    }

    fn start(&self, world: &World, lake: &Path) -> Child {
        Command::new(env!("CARGO_BIN_EXE_extract"))
            .args(["run", "--jobs", &JOBS.to_string(), "--run"])
            .arg(world.setting().path().join("run.toml"))
            .arg("--providers")
            .arg(&self.providers)
            .arg("--lake")
            .arg(lake)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    fn requests(&self) -> u64 {
        self.servers.iter().map(|server| server.provider().tally().requests).sum()
    }

    /// All that was asked so far, without what every run must ask before it goes on.
    fn questions(&self, world: &World) -> Vec<String> {
        let asked = self.servers.iter().enumerate().flat_map(|(nth, server)| {
            let question = move |body: String| {
                let call: serde_json::Value = serde_json::from_str(&body).unwrap();
                format!("s{nth}: {} {}", call["method"], call["params"])
            };
            server.bodies().into_iter().map(question)
        });
        asked.filter(|question| !world.is_introduction(question)).collect()
    }
}

/// When a run is killed.
#[derive(Debug, Clone, Copy)]
enum Moment {
    /// So long after it has made so many requests.
    After(u64, Duration),
    /// When it has made so many requests, and then none for so long: it is writing.
    Quiet(u64, Duration),
    Never,
}

/// Waits until a run has ended by itself, or kills it. Returns whether it was killed.
fn kill_at(ground: &Ground, mut run: Child, moment: Moment) -> bool {
    let (before, began) = (ground.requests(), Instant::now());
    let (mut reached, mut seen, mut last) = (None, before, Instant::now());
    loop {
        if let Some(status) = run.try_wait().unwrap() {
            assert_eq!(status.code(), Some(0), "a run ends well");
            return false;
        }
        let requests = ground.requests();
        if requests > seen {
            (seen, last) = (requests, Instant::now());
        }
        let is_time = match moment {
            Moment::After(wanted, pause) => {
                let has_made = requests >= before + wanted;
                has_made && reached.get_or_insert_with(Instant::now).elapsed() >= pause
            }
            Moment::Quiet(wanted, quiet) => requests > before + wanted && last.elapsed() >= quiet,
            Moment::Never => false,
        };
        if is_time {
            run.kill().unwrap();
            return !run.wait().unwrap().success();
        }
        assert!(began.elapsed() < PATIENCE, "it hangs");
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// The objects of bronze in a directory.
fn bronze_in(directory: &Path) -> Bronze {
    let lake = Lake::open(directory.to_str().unwrap()).unwrap();
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(bronze(&lake))
}

/// Files that a kill cut off while they were written, before they got their names.
fn cut_off(directory: &Path) -> usize {
    testkit::tree::Tree::of(&directory.join("state/writing")).unwrap().files().count()
}

/// What came of one lake.
#[derive(Debug, Default)]
struct Tally {
    lakes: usize,
    kills: usize,
    asked: usize,
    asked_again: usize,
    cut_off: usize,
}

/// Kills runs on lake after lake until there were so many kills. An undisturbed run makes `all` requests.
fn kill_until(world: &World, seed: u64, truth: &Bronze, all: u64, kills: usize) -> Tally {
    let (mut drawn, mut tally) = (Drawn::from_seed(seed), Tally::default());
    while tally.kills < kills {
        let name = format!("{seed}-{}", tally.lakes);
        let (ground, lake) = (Ground::open(world, &name), world.setting().lake(&name));
        let mut of_lake = 0;
        for _ in 0..KILLS_OF_A_LAKE {
            let requests = drawn.below(all / 5);
            let moment = match drawn.below(3) {
                0 => Moment::Quiet(requests, LATENCY + Duration::from_micros(500 + drawn.below(2_500))),
                _ => Moment::After(requests, Duration::from_micros(drawn.below(12_000))),
            };
            if !kill_at(&ground, ground.start(world, &lake), moment) {
                break;
            }
            of_lake += 1;
        }
        assert!(!kill_at(&ground, ground.start(world, &lake), Moment::Never));
        assert_same(truth, &bronze_in(&lake));

        let questions = ground.questions(world);
        let distinct: BTreeSet<&String> = questions.iter().collect();
        let again = questions.len() - distinct.len();
        assert!(again <= of_lake * JOBS, "lake {name}: {again} were asked again after {of_lake} kills");
        tally.lakes += 1;
        tally.kills += of_lake;
        tally.asked += questions.len();
        tally.asked_again += again;
        tally.cut_off += cut_off(&lake);
    }
    tally
}

#[test]
fn a_run_killed_at_any_moment_leaves_what_an_undisturbed_one_does_and_asks_again_for_what_was_under_way() {
    let shape = Shape { block_seconds: 900, liquidations: 6, touched: Some(0), ..Shape::default() };
    let world = World::new(shape);
    let (ground, lake) = (Ground::open(&world, "undisturbed"), world.setting().lake("undisturbed"));
    assert!(!kill_at(&ground, ground.start(&world, &lake), Moment::Never));
    let (truth, all) = (bronze_in(&lake), ground.requests());
    assert_eq!(truth.len(), 2 * (1 + 2 * 2), "blocks a day, two objects a CSU and day");

    let tallies: Vec<Tally> = std::thread::scope(|scope| {
        let kill = |seed| kill_until(&world, seed, &truth, all, KILLS / 2);
        let threads = [1, 2].map(|seed| scope.spawn(move || kill(seed)));
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let sum = |of: fn(&Tally) -> usize| tallies.iter().map(of).sum::<usize>();
    let kills = sum(|tally| tally.kills);
    println!(
        "{kills} kills on {} lakes, {} files cut off in writing; {} questions (an undisturbed run has {all} requests), \
         {} asked again",
        sum(|tally| tally.lakes),
        sum(|tally| tally.cut_off),
        sum(|tally| tally.asked),
        sum(|tally| tally.asked_again),
    );
    assert!(kills >= KILLS);
}
