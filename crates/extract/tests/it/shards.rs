//! A run divided among processes, some of which die or are stopped. Deaths at random moments, up to gold, are in testkit
//! (`make test-kills`).

use crate::in_process::{
    Bronze, DAYS, Host, Shape, Site, Wish, World, assert_same, bronze, memory, paused, unfinished,
};
use crate::said;
use extract::shard::Shard;
use lake::Lake;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use testkit::server::faults::Latency;
use testkit::server::{Policy, Server};
use testkit::tree::Tree;

fn world() -> World {
    World::new(Shape { chains: 2, days: 3, ..Shape::default() })
}

fn shard(number: u32, of: u32) -> Option<Shard> {
    Some(Shard::new(number, of).unwrap())
}

fn honest() -> Vec<Host> {
    (0..2).map(|chain| Host::new(&format!("e{chain}"), Policy::honest()).on(chain).window(50)).collect()
}

#[test]
fn shards_side_by_side_give_the_bytes_of_one_process() {
    let world = world();
    let truth = world.truth();
    for of in [2, 3, 7] {
        paused(async {
            let lake = memory();
            let sites: Vec<Site> = (0..of).map(|_| Site::open(&world, honest())).collect();
            let wishes: Vec<Wish> =
                (1..=of).map(|number| Wish { shard: shard(number, of), ..Wish::default() }).collect();
            let parts = sites.iter().zip(&wishes).map(|(site, wish)| world.collect(&lake, site, wish));
            let parts = futures::future::join_all(parts).await;
            for part in &parts {
                assert_eq!(unfinished(part), Vec::<String>::new());
            }
            let at_work = parts.iter().filter(|part| !part.asked.is_empty()).count();
            assert!(at_work >= 2, "{at_work} of {of} shards asked anything");
            assert_same(&truth, &bronze(&lake).await);
        });
    }
}

#[test]
fn a_shard_alone_does_the_days_that_nobody_began() {
    let world = world();
    let truth = world.truth();
    paused(async {
        let (lake, site) = (memory(), Site::open(&world, honest()));
        let wish = Wish { shard: shard(2, 5), ..Wish::default() };
        let collected = world.collect(&lake, &site, &wish).await;
        assert_eq!((unfinished(&collected), collected.elsewhere), (Vec::new(), Vec::new()));
        assert_same(&truth, &bronze(&lake).await);
    });
}

#[test]
fn days_that_a_living_shard_holds_are_told_and_are_no_gap() {
    let world = world();
    paused(async {
        let (lake, site) = (memory(), Site::open(&world, honest()));
        let held = lake::path::claim("simnet", DAYS[1].parse().unwrap());
        let theirs = r#"{"shard":"9/9","process":"another","renewals":0}"#;
        lake.overwrite(&held, theirs).await.unwrap();
        let wish = Wish { shard: shard(1, 2), ..Wish::default() };
        let collected = world.collect(&lake, &site, &wish).await;
        assert_eq!(unfinished(&collected), Vec::<String>::new());
        let [told] = collected.elsewhere.as_slice() else { panic!("{:?}", collected.elsewhere) };
        assert_eq!((told.chain.as_str(), told.date.to_string().as_str()), ("simnet", DAYS[1]));
        assert_eq!(told.shard, "9/9");
        let claim = lake.get(&held).await.unwrap().unwrap();
        assert_eq!(claim, theirs, "another's claim was touched");
    });
}

/// Servers that are slow enough for a process to be caught at work.
struct Slow {
    world: World,
    servers: Vec<Server>,
    providers: PathBuf,
    truth: Bronze,
}

impl Slow {
    fn new() -> Self {
        let world = world();
        let latency = Latency { usual: Duration::from_millis(60), ..Latency::default() };
        let policy = || Policy { latency, ..Policy::honest() };
        let serve = |chain| Server::spawn(chain, policy()).unwrap();
        let servers: Vec<Server> = world.chains().iter().map(serve).collect();
        let urls: Vec<String> = servers.iter().map(Server::url).collect();
        let providers = world.providers_file(&urls, 40);
        let truth = world.truth();
        Self { world, servers, providers, truth }
    }

    fn start(&self, lake: &Path, more: &[&str]) -> Child {
        Command::new(env!("CARGO_BIN_EXE_extract"))
            .args(["run", "--jobs", "2", "--run"])
            .arg(self.world.run_file())
            .arg("--providers")
            .arg(&self.providers)
            .arg("--lake")
            .arg(lake)
            .args(more)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    fn run(&self, lake: &Path, more: &[&str]) -> Output {
        self.start(lake, more).wait_with_output().unwrap()
    }

    fn scans(&self) -> u64 {
        self.servers.iter().map(|server| server.count("eth_getLogs")).sum()
    }

    /// Waits until so many more scans were asked for.
    fn wait_for_scans(&self, before: u64, more: u64) {
        let began = Instant::now();
        while self.scans() < before + more {
            assert!(began.elapsed() < Duration::from_secs(60), "nothing is asked");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn assert_true(&self, lake: &Path) {
        let lake = Lake::open(lake.to_str().unwrap()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        assert_same(&self.truth, &runtime.block_on(bronze(&lake)));
    }
}

#[test]
fn a_killed_shards_days_are_taken_over() {
    let slow = Slow::new();
    let directory = tempfile::tempdir().unwrap();
    let mut one = slow.start(directory.path(), &["--shard", "1/2"]);
    slow.wait_for_scans(0, 10);
    one.kill().unwrap();
    one.wait().unwrap();
    let claims = directory.path().join("state/claims");
    assert!(claims.exists(), "a shard at work says so");
    // The dead shard's word is fresh: its days are told, and the others are done.
    let told = slow.run(directory.path(), &["--shard", "2/2"]);
    assert_eq!(told.status.code(), Some(0), "{}", said(&told));
    assert!(said(&told).contains("are with shard 1/2"), "{}", said(&told));
    std::thread::sleep(Duration::from_millis(1_100));
    let taken = slow.run(directory.path(), &["--shard", "2/2", "--abandoned-after", "1"]);
    assert_eq!(taken.status.code(), Some(0), "{}", said(&taken));
    assert!(!said(&taken).contains("elsewhere"), "{}", said(&taken));
    slow.assert_true(directory.path());
}

#[test]
fn a_run_that_is_told_to_stop_waits_for_what_is_paid_for_and_goes_on_later() {
    let slow = Slow::new();
    let (whole, cut) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    assert!(slow.run(whole.path(), &[]).status.success());
    let alone = slow.scans();

    for signal in ["-TERM", "-INT"] {
        let before = slow.scans();
        let child = slow.start(cut.path(), &["--shard", "1/1"]);
        slow.wait_for_scans(before, 9);
        let began = Instant::now();
        let id = child.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(75), "{}", said(&output));
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
        let told = said(&output);
        assert!(told.contains("run the same command again to go on"), "{told}");
        // The run file names another lake than the one that was written to.
        assert!(told.contains(&format!(" --lake {}`", cut.path().display())), "{told}");
        let claims = Tree::of(&cut.path().join("state/claims")).unwrap();
        assert_eq!(
            claims.files().filter(|name| name.ends_with(".json")).count(),
            0,
            "a claim outlives a clean stop"
        );
    }
    let rest = slow.run(cut.path(), &["--shard", "1/1"]);
    assert_eq!(rest.status.code(), Some(0), "{}", said(&rest));
    slow.assert_true(cut.path());
    assert_eq!(slow.scans() - alone, alone, "what was answered is not asked for again");
}

#[test]
fn nonsense_on_the_command_line_is_refused_with_a_way_out() {
    let slow = Slow::new();
    let directory = tempfile::tempdir().unwrap();
    for (arguments, why) in [
        (["--shard", "0/0"], "a run cannot be divided into 0 shards"),
        (["--shard", "6/5"], "there is no shard 6 of 5"),
        (["--shard", "two"], "`two` is no shard K/N"),
        (["--keys", "0"], "keys are numbered from 1 to 100"),
        (["--rate-share", "2"], "`2` is no share"),
    ] {
        let output = slow.run(directory.path(), &arguments);
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        assert!(said(&output).contains(why) && said(&output).contains("hint: "), "{}", said(&output));
    }
    assert_eq!(slow.scans(), 0);
}
