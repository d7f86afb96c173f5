//! No decoder and no reader panics, whatever a chain or a file says; and what a family reads of logs is conserved.
//!
//! `make fuzz` runs a million cases and more (`FUZZ_CASES` a family and reader); `make test` a few of each. A failure
//! names seed and size: the same two give the same case.

use crate::arbitrary::{Tape, ask};
use lake::bronze::{
    Audit, CsuOfDay, DayBlocks, DayOfChain, Fill, LiquidationLogs, PriceBook, Record, TvlSnapshot,
};
use lake::digest::sha256_hex;
use lake::registry::{Csu, Registry};
use lake::span::{BlockSpan, Coverage};
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use protocols::oracle::{chainlink, defillama};
use protocols::{Answers, BlockPace, DayStart, FAMILIES, Family, LogReading};
use std::collections::BTreeSet;
use std::path::Path;

/// Cases of each test where nobody says otherwise.
const CASES: u32 = 1_000;

fn runner() -> TestRunner {
    let cases = std::env::var("FUZZ_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(CASES);
    TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() })
}

fn registry() -> Registry {
    Registry::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pipelines/registry")).unwrap()
}

fn each_case(test: impl Fn(u64, u32) -> Result<(), TestCaseError>) {
    let strategy = (proptest::num::u64::ANY, 0_u32..2_000);
    runner().run(&strategy, |(seed, size)| test(seed, size)).unwrap();
}

fn decodes_anything(name: &str) {
    let family: &dyn Family = protocols::family(name).unwrap();
    let registry = registry();
    let csus: Vec<&Csu> = registry.csus().filter(|csu| csu.family == name).collect();
    assert!(!csus.is_empty(), "the registry has no CSU of {name}");
    each_case(|seed, size| {
        let mut tape = Tape::new(seed, size);
        let csu = csus[tape.below(csus.len())];
        decode(family, csu, &registry, &mut tape)
    });
}

fn decode(family: &dyn Family, csu: &Csu, registry: &Registry, tape: &mut Tape) -> Result<(), TestCaseError> {
    let said = ask(family, csu, tape);
    let answers = Answers::new(&said.snapshot.calls);
    let _: Result<_, _> = family.confirm(csu, &said.layout, &answers);
    let pace = BlockPace { blocks: tape.below(50_000) as u64, seconds: tape.below(90_000) as u64 };
    if let Ok(snapshot) = family.read_snapshot(csu, &said.snapshot, pace) {
        for reserve in &snapshot.reserves {
            let floats = [
                reserve.supply_apr,
                reserve.borrow_apr,
                reserve.borrow_apr_stable_mode,
                reserve.ltv,
                reserve.liq_threshold,
                reserve.liq_bonus,
                reserve.reserve_factor,
                reserve.supply_cap,
                reserve.borrow_cap,
            ];
            for float in floats.into_iter().flatten() {
                proptest::prop_assert!(float.is_finite(), "{float} in {reserve:?}");
            }
        }
    }
    let since = DayStart { block: tape.header().number, timestamp: tape.header().timestamp };
    let _: Option<_> = family.witness(csu, &said.snapshot, since);
    for reads in &said.reads {
        let _: (_, _) = family.read_event_prices(csu, reads);
        let _: Vec<_> = chainlink::readings(registry.feeds(&csu.chain), &Answers::new(&reads.calls));
    }
    // Logs in = logs with legs, rejects and context, each exactly once.
    let readings = family.read_logs(csu, &said.logs, &said.reads);
    let (mut legs, mut others) = (BTreeSet::new(), BTreeSet::new());
    for reading in &readings {
        let (log, is_new) = match reading {
            LogReading::Leg(leg) => {
                let log = (leg.block_number, leg.log_index);
                (log, legs.insert((log, leg.leg)))
            }
            LogReading::Reject { block_number, log_index, .. }
            | LogReading::Context { block_number, log_index } => {
                let log = (*block_number, *log_index);
                (log, others.insert(log))
            }
        };
        proptest::prop_assert!(is_new, "{log:?} is read twice: {readings:?}");
    }
    let with_legs: BTreeSet<(u64, u64)> = legs.iter().map(|(log, _)| *log).collect();
    proptest::prop_assert!(with_legs.is_disjoint(&others), "a log is a leg and none: {readings:?}");
    let read: BTreeSet<(u64, u64)> = with_legs.union(&others).copied().collect();
    let there: BTreeSet<(u64, u64)> = said.logs.iter().map(|log| (log.block_number, log.log_index)).collect();
    proptest::prop_assert_eq!(read, there);
    Ok(())
}

macro_rules! families {
    ($($name:ident),+) => {
        $(#[test] fn $name() { decodes_anything(stringify!($name)); })+

        #[test]
        fn every_family_is_fuzzed() {
            let here = [$(stringify!($name)),+];
            let there: Vec<&str> = FAMILIES.iter().map(|family| family.name()).collect();
            assert_eq!(here.as_slice(), there);
        }
    };
}
families!(aave_v3, cap, compound_v2, compound_v3, fluid, gearbox, morpho_blue);

/// Reads bytes as every kind of bronze record.
fn read_as_all(bytes: &[u8]) {
    fn read<R: Record>(bytes: &[u8]) {
        // What is read must be writable again, or be refused: never a panic.
        if let Ok(record) = R::from_bytes(bytes) {
            assert!(record.to_bytes().is_ok());
        }
    }
    read::<DayBlocks>(bytes);
    read::<TvlSnapshot>(bytes);
    read::<LiquidationLogs>(bytes);
    read::<PriceBook>(bytes);
    read::<Audit>(bytes);
    read::<Fill>(bytes);
    let _: Result<lake::ledger::LedgerEntry, _> = serde_json::from_slice(bytes);
}

/// Records with a change somewhere, most of them sealed again so that what is behind the seal is reached.
#[test]
fn readers_of_bronze() {
    let registry = registry();
    let csus: Vec<&Csu> = registry.csus().collect();
    each_case(|seed, size| {
        let mut tape = Tape::new(seed, size);
        let csu = csus[tape.below(csus.len())];
        let family = protocols::family(&csu.family).unwrap();
        let day = DayOfChain {
            chain: csu.chain.clone(),
            chain_id: 1,
            date: "2024-12-01".parse().unwrap(),
            zone: "America/New_York".into(),
            day_start: 1_733_000_000,
            day_end: 1_733_100_000,
        };
        let of = CsuOfDay { csu: csu.id.clone(), family: csu.family.clone(), entry: csu.entry, day };
        let said = ask(family, csu, &mut tape);
        let text = if tape.once_in(2) {
            let span = BlockSpan::new(0, 50_000_010).unwrap();
            serde_json::to_string(&LiquidationLogs {
                of,
                blocks: Some(span),
                filter: family.filter(csu, &[&said.layout]),
                scanned: Coverage::try_from(vec![span]).unwrap(),
                logs: said.logs,
                reads: said.reads,
            })
        } else {
            let mut reads = said.snapshot;
            reads.calls.truncate(6);
            serde_json::to_string(&TvlSnapshot { of, reads })
        };
        let kinds = ["blocks", "tvl", "liquidations", "prices", "audit", "fill"];
        let kind = kinds[tape.below(kinds.len())];
        let text = text.unwrap();
        let mut body = format!("{{\"schema\":\"bronze.{kind}/1\",{}", &text[1..]).into_bytes();
        for _ in 0..tape.below(4) {
            let at = tape.below(body.len());
            match tape.below(4) {
                0 => body[at] = tape.below(256) as u8,
                1 => body[at] = b"0123456789\"{}[],:-enut"[tape.below(22)],
                2 => body.truncate(at.max(1)),
                _ => {
                    let from = tape.below(body.len());
                    let piece: Vec<u8> = body[from..].iter().take(tape.below(200)).copied().collect();
                    body.splice(at..at, piece);
                }
            }
        }
        if !tape.once_in(8) {
            let seal = sha256_hex(&body);
            body.pop();
            body.extend(format!(",\"sha256\":\"{seal}\"}}\n").bytes());
        }
        read_as_all(&body);
        Ok(())
    });
}

#[test]
fn answers_of_an_off_chain_service() {
    let sound = r#"{"coins":{"ethereum:0x01":{"decimals":18,"symbol":"X","price":4.03,"timestamp":1733000000,"confidence":0.99}}}"#;
    each_case(|seed, size| {
        let mut tape = Tape::new(seed, size);
        let mut text = sound.to_owned().into_bytes();
        for _ in 0..tape.below(6) {
            let at = tape.below(text.len());
            text[at] = b"0123456789\"{}[],:-.eE+ntf"[tape.below(25)];
        }
        let text = String::from_utf8(text).unwrap();
        if let Ok(answers) = defillama::read_response(&text) {
            for answer in answers.values() {
                if let Ok(coin) = defillama::read_answer(answer) {
                    let _: Option<_> = lake::amount::exact(&coin.price);
                }
            }
        }
        let _: Result<_, _> = defillama::read_answer(&text);
        Ok(())
    });
}
