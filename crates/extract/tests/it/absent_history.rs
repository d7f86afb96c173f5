//! Endpoints that answer with nothing what they do not hold: an empty list and `0x` are no evidence.

use crate::in_process::{
    Bronze, DAYS, Host, Shape, Site, Wish, World, assert_same, bronze, done, memory, paused,
};
use extract::collect::Collected;
use lake::Lake;
use lake::status::{Dataset, Reason};
use testkit::server::Policy;
use testkit::server::policy::{Absent, Archive, Start};

const SETS: [Dataset; 2] = [Dataset::Tvl, Dataset::Liquidations];

/// Two endpoints of two operators that do the same.
fn two_of(policy: &Policy) -> Vec<Host> {
    let host = |label: &str, window| Host::new(label, policy.clone()).window(window);
    vec![host("wide", 5_000), host("narrow", 400)]
}

fn empty(start: Start) -> Option<Archive> {
    Some(Archive { start, before: Absent::Empty })
}

/// Insists that nothing of the first day is called complete but these datasets, that everything else says why, and that
/// what was written is true.
#[track_caller]
fn assert_missing(
    world: &World,
    truth: &Bronze,
    collected: &Collected,
    written: &Bronze,
    but: &[Dataset],
    case: &str,
) {
    for set in SETS {
        let expected = if but.contains(&set) { world.csus(0).len() } else { 0 };
        assert_eq!(done(collected, set, 0), expected, "{case}: {set} of {}", DAYS[0]);
    }
    for outcome in collected.outcomes.iter().filter(|outcome| !outcome.is_done()) {
        assert!(outcome.reason.is_some() && !outcome.message.is_empty(), "{case}: {outcome:?}");
    }
    for (name, bytes) in written {
        assert_eq!(truth.get(name), Some(bytes), "{case}: {name}");
    }
}

async fn run(world: &World, lake: &Lake, policy: &Policy) -> Collected {
    world.collect(lake, &Site::open(world, two_of(policy)), &Wish::default()).await
}

/// A world whose deployments' state says that they were touched in the middle of the first day.
fn touched() -> World {
    World::new(Shape { touched: Some(0), ..Shape::default() })
}

#[test]
fn no_day_is_complete_by_the_word_of_those_who_hold_none_of_it() {
    let world = touched();
    let truth = world.truth();
    let (first, second) = (world.blocks(0), world.blocks(1));
    let depth = |block: u64| Start::Depth(world.chain().head() - block);
    let noon = first.first() + first.count() / 2;
    let honest = Policy::honest;
    let logs_and_state = |start| Policy { logs_from: empty(start), state_from: empty(start), ..honest() };
    for (case, policy, but) in [
        ("nothing before the second day", logs_and_state(Start::Block(second.first())), &[] as &[_]),
        ("nothing but the newest blocks", logs_and_state(depth(second.first())), &[]),
        ("nothing at all", logs_and_state(Start::Depth(0)), &[]),
        ("no state", Policy { state_from: empty(Start::Block(second.first())), ..honest() }, &[]),
        // What is said of state stands without logs.
        ("no logs", Policy { no_logs_before: Some(second.first()), ..honest() }, &[Dataset::Tvl]),
        ("no logs before dusk", Policy { no_logs_before: Some(noon + 10), ..honest() }, &[Dataset::Tvl]),
        (
            "logs of an archive that begins too late",
            Policy { logs_from: empty(depth(second.first())), ..honest() },
            &[Dataset::Tvl],
        ),
    ] {
        paused(async {
            let lake = memory();
            // What the first run remembers of them must not make the second believe them.
            for nth in ["first", "second"] {
                let collected = run(&world, &lake, &policy).await;
                assert_missing(
                    &world,
                    &truth,
                    &collected,
                    &bronze(&lake).await,
                    but,
                    &format!("{case}, {nth} run"),
                );
            }
        });
    }
}

#[test]
fn where_no_state_says_that_a_log_must_exist_a_header_does() {
    let world = World::new(Shape::default());
    let truth = world.truth();
    let policy = Policy { no_logs_before: Some(world.blocks(1).first()), ..Policy::honest() };
    paused(async {
        let lake = memory();
        let collected = run(&world, &lake, &policy).await;
        assert_missing(&world, &truth, &collected, &bronze(&lake).await, &[Dataset::Tvl], "no logs");
    });
}

#[test]
fn what_they_do_hold_is_collected_from_them() {
    let world = World::new(Shape::default());
    let truth = world.truth();
    let start = Start::Block(world.blocks(1).first());
    let policy = Policy { logs_from: empty(start), state_from: empty(start), ..Policy::honest() };
    paused(async {
        let lake = memory();
        let only_second_day = Wish { days: (1, 1), ..Wish::default() };
        let site = Site::open(&world, two_of(&policy));
        world.collect(&lake, &site, &only_second_day).await;
        let written = bronze(&lake).await;
        let of_day = truth.into_iter().filter(|(name, _)| name.contains(DAYS[1])).collect();
        assert_same(&of_day, &written);
    });
}

#[test]
fn the_reason_says_whether_state_or_logs_are_not_to_be_believed() {
    let world = touched();
    let second = world.blocks(1).first();
    let reason = |policy: Policy, set: Dataset| {
        paused(async {
            let collected = run(&world, &memory(), &policy).await;
            let of_first = |outcome: &&extract::ledger::Outcome| {
                outcome.dataset == set && outcome.date.to_string() == DAYS[0]
            };
            let outcome = collected.outcomes.into_iter().find(|outcome| of_first(&outcome)).unwrap();
            (outcome.reason.unwrap(), outcome.message)
        })
    };
    let (why, words) =
        reason(Policy { no_logs_before: Some(second), ..Policy::honest() }, Dataset::Liquidations);
    assert_eq!(why, Reason::BadAnswer, "{words}");
    assert!(words.contains("it does not hold these logs"), "{words}");
    let no_state = Policy { state_from: empty(Start::Block(second)), ..Policy::honest() };
    let (why, words) = reason(no_state, Dataset::Tvl);
    assert_eq!(why, Reason::BadAnswer, "{words}");
    assert!(words.contains("eth_call on simnet: no endpoint gave a usable answer"), "{words}");
}
