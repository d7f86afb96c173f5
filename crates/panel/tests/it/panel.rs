use crate::small_lake::*;
use lake::schema::Row;
use lake::schema::gold::PanelDaily;
use lake::schema::silver::{Liquidation, ReserveDay};
use lake::status::{AuditLevel, Dataset, Role, Status};
use polars::prelude::*;
use std::io::Cursor;

const SAT: &str = DAYS[0];
const SUN: &str = DAYS[1];
const MON: &str = DAYS[2];

#[test]
fn the_frame_is_complete_and_says_why_a_day_is_missing() {
    let mut lake = SmallLake::collected();
    lake.reserves.push(reserve(ALPHA, SAT, 1, [100.0, 40.0, 60.0], Some(2.0)));
    lake.coverage.retain(|row| row.csu != BETA || row.date != day(SUN));
    let ran = lake.write().run("build", &["--json"]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(
        ran.stderr.contains("missing: aave_v3_beta 2024-11-03 (snapshot not_attempted"),
        "{}",
        ran.stderr
    );
    assert!(
        ran.stderr.ends_with("6 rows (2 CSUs, 2024-11-02 to 2024-11-04): collected 5, not_attempted 1\n")
    );
    let summary: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(summary["rows"], 6);
    assert_eq!(summary["by_status"]["not_attempted"], 1);
    assert_eq!(summary["missing"][0]["csu"], BETA);

    let panel = lake.read_panel();
    let keys: Vec<_> =
        panel.0.iter().map(|row| (row.text("csu").unwrap(), row.text("date").unwrap())).collect();
    assert_eq!(keys, [(ALPHA, SAT), (ALPHA, SUN), (ALPHA, MON), (BETA, SAT), (BETA, SUN), (BETA, MON)]);

    let row = panel.row(ALPHA, SAT);
    assert_eq!(row.text("status"), Some("collected"));
    assert_eq!(row.text("usd_status"), Some("complete"));
    assert_eq!(row.text("csu_num"), Some("1"));
    assert_eq!(row.text("day_num"), Some("20029"));
    assert_eq!(row.text("is_l2"), Some("true"));
    assert_eq!(row.text("age_days"), Some("1"));
    assert_eq!(row.text("snap_lag_s"), Some("12"));
    assert_eq!(row.text("block_ts"), Some("2024-11-03T03:59:48Z"));
    assert_eq!(row.number("supplied_usd"), Some(200.0));
    assert_eq!(row.number("tvl_usd"), Some(200.0));
    assert_eq!(row.number("tvl_net_usd"), Some(120.0));
    assert_eq!(row.number("utilization"), Some(0.4));
    assert_eq!(row.number("available_usd"), Some(120.0));
    assert_eq!(row.number("hhi_supply"), Some(1.0));
    assert_eq!(row.number("px_cov_share"), Some(1.0));
    assert_eq!(row.number("px_protocol_share"), Some(1.0));
    assert_eq!(row.number("log_cov_share"), Some(1.0));
    assert_eq!(row.text("deficit_usd"), None);
    assert_eq!(row.text("release"), Some("unreleased"));

    let row = panel.row(BETA, SUN);
    assert_eq!(row.text("status"), Some("not_attempted"));
    assert_eq!(row.text("usd_status"), Some("none"));
    assert_eq!(row.text("age_days"), None);
    assert_eq!(
        row.text("block_number"),
        panel.row(ALPHA, SUN).text("block_number"),
        "the chain's day is known"
    );
    for measure in [
        "supplied_usd",
        "tvl_usd",
        "tvl_priced_usd",
        "n_reserves",
        "liq_count",
        "liq_debt_usd",
        "px_cov_share",
    ] {
        assert_eq!(row.text(measure), None, "{measure}");
    }
}

#[test]
fn what_the_run_does_not_ask_for_is_not_missing() {
    let mut lake = SmallLake::collected();
    lake.coverage.retain(|row| row.dataset == Dataset::Tvl);
    lake.write();
    assert_eq!(lake.run("build", &[]).code, 1);
    let run = lake.root().join("run.toml");
    let text = std::fs::read_to_string(&run).unwrap();
    std::fs::write(&run, format!("datasets = [\"tvl\"]\n{text}")).unwrap();
    let ran = lake.run("build", &[]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(!ran.stderr.contains("missing"), "{}", ran.stderr);
    let panel = lake.read_panel();
    let row = panel.row(ALPHA, SAT);
    assert_eq!((row.text("snap_status"), row.text("liq_status")), (Some("collected"), Some("not_attempted")));
    assert_eq!(row.text("liq_count"), None);
}

#[test]
fn a_csu_that_silver_does_not_know_was_not_attempted() {
    let mut lake = SmallLake::collected();
    lake.coverage.retain(|row| row.csu != BETA);
    lake.csus.retain(|row| row.csu != BETA);
    let panel = lake.panel();
    assert_eq!(panel.0.len(), 6);
    assert_eq!(panel.row(BETA, MON).text("status"), Some("not_attempted"));
}

#[test]
fn the_autumn_day_has_25_hours() {
    let panel = SmallLake::collected().panel();
    assert_eq!(DAYS.map(|date| panel.row(ALPHA, date).text("day_hours").unwrap()), ["24", "25", "24"]);
}

#[test]
fn an_unpriced_reserve_makes_totals_null_and_keeps_what_could_be_priced() {
    let mut lake = SmallLake::collected();
    lake.reserves.push(reserve(ALPHA, SAT, 1, [100.0, 40.0, 60.0], Some(2.0)));
    lake.reserves.push(reserve(ALPHA, SAT, 2, [5.0, 0.0, 5.0], None));
    // Without a balance no price is needed.
    lake.reserves.push(reserve(ALPHA, SUN, 1, [100.0, 40.0, 60.0], Some(2.0)));
    lake.reserves.push(reserve(ALPHA, SUN, 2, [0.0, 0.0, 0.0], None));
    lake.reserves.push(reserve(ALPHA, MON, 2, [5.0, 0.0, 5.0], None));
    let panel = lake.panel();

    let row = panel.row(ALPHA, SAT);
    assert_eq!((row.text("status"), row.text("usd_status")), (Some("collected"), Some("partial")));
    assert_eq!(row.number("n_reserves"), Some(2.0));
    assert_eq!(row.number("n_reserves_unpriced"), Some(1.0));
    assert_eq!(row.number("tvl_priced_usd"), Some(200.0));
    assert_eq!(row.number("px_cov_share"), Some(0.5));
    for total in [
        "supplied_usd",
        "collateral_usd",
        "borrowed_usd",
        "minted_usd",
        "available_usd",
        "tvl_usd",
        "tvl_net_usd",
        "utilization",
        "hhi_supply",
        "supply_apr",
        "borrow_apr",
        "liq_threshold_wavg",
        "top1_supply_share",
    ] {
        assert_eq!(row.text(total), None, "{total}");
    }

    let row = panel.row(ALPHA, SUN);
    assert_eq!(row.text("usd_status"), Some("complete"));
    assert_eq!(row.number("tvl_usd"), Some(200.0));
    assert_eq!(row.number("n_reserves"), Some(2.0));

    let row = panel.row(ALPHA, MON);
    assert_eq!(row.text("usd_status"), Some("none"));
    assert_eq!(row.number("tvl_priced_usd"), Some(0.0));
    assert_eq!(row.text("px_protocol_share"), None);
}

#[test]
fn an_excluded_token_neither_counts_nor_blanks() {
    let mut lake = SmallLake::collected();
    lake.reserves.push(reserve(ALPHA, SAT, 1, [100.0, 40.0, 60.0], Some(2.0)));
    lake.reserves.push(reserve(ALPHA, SAT, 9, [1e9, 0.0, 1e9], None));
    lake.tokens.push(excluded(9));
    let panel = lake.panel();
    let row = panel.row(ALPHA, SAT);
    assert_eq!(row.text("usd_status"), Some("complete"));
    assert_eq!(row.number("tvl_usd"), Some(200.0));
    assert_eq!(row.number("n_reserves_unpriced"), Some(0.0));
    assert_eq!(row.number("px_cov_share"), Some(1.0));
    assert_eq!(row.text("quality_flags"), Some("excluded:1"));
}

#[test]
fn minted_debt_and_collateral_stand_apart() {
    let mut lake = SmallLake::collected();
    lake.reserves.push(reserve(ALPHA, SAT, 1, [100.0, 40.0, 60.0], Some(1.0)));
    lake.reserves.push(ReserveDay {
        role: Role::Minted,
        borrow_apr: Some(0.5),
        ..reserve(ALPHA, SAT, 2, [0.0, 1000.0, 0.0], Some(1.0))
    });
    lake.reserves.push(ReserveDay {
        role: Role::Collateral,
        borrowed_raw: None,
        borrowed_usd: None,
        ..reserve(ALPHA, SAT, 3, [10.0, 0.0, 0.0], Some(30.0))
    });
    let panel = lake.panel();
    let row = panel.row(ALPHA, SAT);
    assert_eq!(row.number("supplied_usd"), Some(100.0));
    assert_eq!(row.number("borrowed_usd"), Some(40.0));
    assert_eq!(row.number("minted_usd"), Some(1000.0));
    assert_eq!(row.number("collateral_usd"), Some(300.0));
    assert_eq!(row.number("tvl_usd"), Some(400.0));
    assert_eq!(row.number("tvl_net_usd"), Some(360.0));
    assert_eq!(row.number("utilization"), Some(0.4));
    assert_eq!(row.number("borrow_apr"), Some(0.05));
}

#[test]
fn a_rate_that_is_missing_where_it_weighs_makes_the_mean_null() {
    let mut lake = SmallLake::collected();
    let stable = |row: ReserveDay| ReserveDay { is_stablecoin: true, ..row };
    lake.reserves.push(stable(reserve(ALPHA, SAT, 1, [100.0, 50.0, 50.0], Some(1.0))));
    lake.reserves
        .push(ReserveDay { supply_apr: None, ..reserve(ALPHA, SAT, 2, [1.0, 0.0, 1.0], Some(100.0)) });
    lake.reserves
        .push(ReserveDay { supply_apr: None, ..reserve(ALPHA, SUN, 2, [0.0, 0.0, 0.0], Some(100.0)) });
    let panel = lake.panel();
    let row = panel.row(ALPHA, SAT);
    assert_eq!(row.text("supply_apr"), None);
    assert_eq!(row.number("supply_apr_stable"), Some(0.02));
    assert_eq!(row.number("borrow_apr"), Some(0.05));
    assert_eq!(row.number("stable_supply_share"), Some(0.5));
    assert_eq!(row.number("stable_borrow_share"), Some(1.0));
    let row = panel.row(ALPHA, SUN);
    assert_eq!(row.number("supplied_usd"), Some(0.0));
    for over_nothing in ["utilization", "supply_apr", "borrow_apr", "hhi_supply", "liq_threshold_wavg"] {
        assert_eq!(row.text(over_nothing), None, "{over_nothing}");
    }
}

#[test]
fn a_day_without_liquidations_is_zero_only_when_it_was_scanned() {
    let mut lake = SmallLake::collected();
    lake.set_status(ALPHA, SUN, Dataset::Liquidations, Status::Partial);
    lake.liquidations.push(liquidation(ALPHA, SUN, 1, 10.0, 11.0));
    lake.set_status(ALPHA, MON, Dataset::Tvl, Status::ArchiveUnavailable);
    lake.reserves.push(reserve(ALPHA, MON, 1, [1.0, 0.0, 1.0], Some(1.0)));
    let panel = lake.panel();

    let row = panel.row(ALPHA, SAT);
    for zero in [
        "liq_count",
        "liq_event_count",
        "liq_tx_count",
        "liq_borrowers",
        "liq_liquidators",
        "liq_debt_usd",
        "liq_coll_usd",
        "liq_bonus_usd",
    ] {
        assert_eq!(row.number(zero), Some(0.0), "{zero}");
    }
    for over_nothing in
        ["liq_max_usd", "hhi_liquidators", "top1_liquidator_share", "liq_priced_share", "bad_debt_usd"]
    {
        assert_eq!(row.text(over_nothing), None, "{over_nothing}");
    }

    let row = panel.row(ALPHA, SUN);
    assert_eq!((row.text("status"), row.text("liq_status")), (Some("partial"), Some("partial")));
    assert_eq!(row.number("log_cov_share"), Some(0.25));
    assert_eq!(row.number("n_reserves"), Some(0.0), "the snapshot stands on its own");
    for flow in ["liq_count", "liq_event_count", "liq_debt_usd", "liq_priced_share", "bad_debt_usd"] {
        assert_eq!(row.text(flow), None, "{flow}");
    }

    let row = panel.row(ALPHA, MON);
    assert_eq!(row.text("status"), Some("archive_unavailable"));
    assert_eq!(row.number("liq_count"), Some(0.0));
    assert_eq!(row.text("tvl_usd"), None);

    // BETA's contracts tell bad debt, so a day without any is a measured zero.
    assert_eq!(panel.row(BETA, SAT).number("bad_debt_usd"), Some(0.0));
}

#[test]
fn bad_debt_is_zero_only_where_the_contracts_of_that_day_book_it() {
    let mut lake = SmallLake::collected();
    lake.csus.retain(|csu| csu.csu != BETA);
    lake.csus.push(csu_row(BETA, true, "event_if_deficit"));
    lake.reserves.push(reserve(BETA, SAT, 1, [10.0, 4.0, 6.0], Some(1.0)));
    let mut upgraded = reserve(BETA, SUN, 1, [10.0, 4.0, 6.0], Some(1.0));
    (upgraded.deficit_raw, upgraded.deficit, upgraded.deficit_usd) = (Some("0".into()), Some(0.0), Some(0.0));
    lake.reserves.push(upgraded);
    let panel = lake.panel();
    assert_eq!(panel.row(BETA, SAT).text("bad_debt_usd"), None, "before the upgrade nothing books bad debt");
    assert_eq!(panel.row(BETA, SUN).number("bad_debt_usd"), Some(0.0));
}

#[test]
fn a_chain_without_blocks_had_no_liquidations() {
    let mut lake = SmallLake::collected();
    for csu in [ALPHA, BETA] {
        lake.set_status(csu, SUN, Dataset::Tvl, Status::NoBlock);
        lake.set_status(csu, SUN, Dataset::Liquidations, Status::NoBlock);
    }
    let block = lake.days.iter_mut().find(|row| row.date == day(SUN)).unwrap();
    (block.first_block, block.last_block, block.last_block_ts, block.n_blocks) = (None, None, None, Some(0));
    let ran = lake.write().run("build", &[]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let panel = lake.read_panel();
    let row = panel.row(ALPHA, SUN);
    assert_eq!(row.text("status"), Some("no_block"));
    assert_eq!(row.number("liq_count"), Some(0.0));
    assert_eq!(row.number("blocks_expected"), Some(0.0));
    assert_eq!(row.text("log_cov_share"), None);
    assert_eq!(row.text("tvl_usd"), None);
    assert_eq!(row.text("block_number"), None);
}

#[test]
fn gold_says_how_far_a_collected_scan_was_checked() {
    let mut lake = SmallLake::collected();
    lake.set_status(ALPHA, MON, Dataset::Liquidations, Status::Partial);
    for row in &mut lake.coverage {
        row.audit_level = match (row.csu.as_str(), row.dataset) {
            (ALPHA, Dataset::Liquidations) => Some(AuditLevel::Sampled),
            (_, Dataset::Liquidations) if row.date == day(SAT) => Some(AuditLevel::Receipts),
            _ => None,
        };
    }
    let panel = lake.panel();
    assert_eq!([SAT, SUN].map(|date| panel.row(ALPHA, date).text("liq_audit")), [Some("sampled"); 2]);
    // What was not scanned whole was not checked either, whatever silver says.
    assert_eq!(panel.row(ALPHA, MON).text("liq_audit"), None);
    assert_eq!(panel.row(BETA, SAT).text("liq_audit"), Some("receipts"));
    // Without an audit a scan is no less collected.
    let row = panel.row(BETA, SUN);
    assert_eq!((row.text("liq_audit"), row.text("liq_status")), (None, Some("collected")));
    assert_eq!(row.number("liq_count"), Some(0.0));

    let rows: serde_json::Value =
        serde_json::from_str(&lake.run("show", &["--json", "--csu", BETA]).stdout).unwrap();
    assert_eq!((&rows[0]["liq_audit"], rows[1]["liq_audit"].is_null()), (&"receipts".into(), true));
    assert!(lake.run("show", &[]).stdout.contains(" sampled "));
}

#[test]
fn liquidations_are_counted_by_debt_and_events_by_log() {
    let mut lake = SmallLake::collected();
    // Two legs of one liquidation in one log, another in a log of its own by the same liquidator, and bad debt.
    lake.liquidations.push(liquidation(BETA, SAT, 1, 60.0, 66.0));
    lake.liquidations.push(Liquidation {
        leg: 1,
        debt_raw: None,
        debt: None,
        debt_usd: None,
        ..liquidation(BETA, SAT, 1, 0.0, 4.0)
    });
    lake.liquidations.push(Liquidation {
        liquidator: Some(token(1)),
        tx_hash: "0xtx1".into(),
        ..liquidation(BETA, SAT, 2, 20.0, 22.0)
    });
    lake.liquidations.push(liquidation(BETA, SAT, 3, 20.0, 21.0));
    lake.liquidations.push(bad_debt(BETA, SAT, 4, 3.5));
    let panel = lake.panel();
    let row = panel.row(BETA, SAT);
    for (column, value) in [
        ("liq_count", 3.0),
        ("liq_event_count", 4.0),
        ("liq_tx_count", 2.0),
        ("liq_borrowers", 3.0),
        ("liq_liquidators", 2.0),
        ("liq_debt_usd", 100.0),
        ("liq_coll_usd", 113.0),
        ("liq_bonus_usd", 13.0),
        ("liq_max_usd", 60.0),
        ("bad_debt_usd", 3.5),
        ("top1_liquidator_share", 0.8),
        ("liq_priced_share", 1.0),
    ] {
        assert_eq!(row.number(column), Some(value), "{column}");
    }
    assert!((row.number("hhi_liquidators").unwrap() - 0.68).abs() < 1e-12);
}

#[test]
fn a_day_with_nothing_but_bad_debt_has_events_and_no_liquidation() {
    let mut lake = SmallLake::collected();
    lake.liquidations.push(bad_debt(BETA, SAT, 4, 3.5));
    let panel = lake.panel();
    let row = panel.row(BETA, SAT);
    assert_eq!((row.number("liq_count"), row.number("liq_event_count")), (Some(0.0), Some(1.0)));
    assert_eq!((row.number("liq_tx_count"), row.number("liq_borrowers")), (Some(0.0), Some(0.0)));
    assert_eq!((row.number("liq_debt_usd"), row.number("bad_debt_usd")), (Some(0.0), Some(3.5)));
    assert_eq!(row.text("liq_max_usd"), None);
}

#[test]
fn an_unpriced_leg_makes_usd_flows_null_but_not_the_counts() {
    let mut lake = SmallLake::collected();
    lake.liquidations.push(liquidation(ALPHA, SAT, 1, 60.0, 66.0));
    lake.liquidations.push(Liquidation { coll_usd: None, ..liquidation(ALPHA, SAT, 2, 20.0, 22.0) });
    let panel = lake.panel();
    let row = panel.row(ALPHA, SAT);
    assert_eq!(row.number("liq_count"), Some(2.0));
    assert_eq!(row.number("liq_priced_share"), Some(0.5));
    for usd in [
        "liq_debt_usd",
        "liq_coll_usd",
        "liq_bonus_usd",
        "liq_max_usd",
        "hhi_liquidators",
        "top1_liquidator_share",
    ] {
        assert_eq!(row.text(usd), None, "{usd}");
    }
}

#[test]
fn a_family_without_borrowers_has_none_rather_than_zero() {
    let mut lake = SmallLake::collected();
    lake.csus = vec![csu_row(ALPHA, false, "none"), csu_row(BETA, true, "none")];
    lake.liquidations.push(Liquidation { borrower: None, ..liquidation(ALPHA, SAT, 1, 60.0, 66.0) });
    let panel = lake.panel();
    assert_eq!(panel.row(ALPHA, SAT).text("liq_borrowers"), None);
    assert_eq!(panel.row(ALPHA, SUN).text("liq_borrowers"), None);
    assert_eq!(panel.row(BETA, SAT).text("liq_borrowers"), Some("0"));
}

#[test]
fn deficits_are_null_where_no_reserve_keeps_them() {
    let mut lake = SmallLake::collected();
    lake.reserves.push(reserve(ALPHA, SAT, 1, [100.0, 40.0, 60.0], Some(1.0)));
    lake.reserves.push(ReserveDay {
        deficit_raw: Some("0".into()),
        deficit: Some(0.0),
        deficit_usd: Some(0.0),
        ..reserve(BETA, SAT, 1, [100.0, 40.0, 60.0], Some(1.0))
    });
    lake.reserves.push(reserve(BETA, SAT, 2, [100.0, 40.0, 60.0], Some(1.0)));
    let panel = lake.panel();
    assert_eq!(panel.row(ALPHA, SAT).text("deficit_usd"), None);
    assert_eq!(panel.row(BETA, SAT).number("deficit_usd"), Some(0.0));
}

#[test]
fn flags_are_gathered_once_in_order_with_the_rejects_at_the_end() {
    let mut lake = SmallLake::collected();
    for (number, flags) in [(1, "stale_price;no_symbol"), (2, "no_symbol"), (3, "")] {
        let row = reserve(ALPHA, SAT, number, [1.0, 0.0, 1.0], Some(1.0));
        lake.reserves.push(ReserveDay { flags: flags.into(), ..row });
    }
    lake.liquidations
        .push(Liquidation { flags: "day_end_price".into(), ..liquidation(ALPHA, SAT, 1, 1.0, 1.0) });
    lake.rejects = vec![reject(ALPHA, SAT, 3), reject(ALPHA, SAT, 4)];
    let panel = lake.panel();
    assert_eq!(
        panel.row(ALPHA, SAT).text("quality_flags"),
        Some("day_end_price;no_symbol;stale_price;rejects:2")
    );
    assert_eq!(panel.row(ALPHA, SUN).text("quality_flags"), None);
}

/// Amounts whose sum depends on the order of addition.
fn rough_lake() -> SmallLake {
    let mut lake = SmallLake::collected();
    for date in DAYS {
        for number in 1..=60_u8 {
            let size = 10_f64.powi(i32::from(number % 17)) / 3.0;
            lake.reserves.push(reserve(ALPHA, date, number, [size, size / 7.0, size / 3.0], Some(1.0 / 9.0)));
            lake.liquidations.push(liquidation(BETA, date, i32::from(number), size, size * 1.07));
        }
    }
    lake
}

const GOLD: [&str; 3] = ["gold/panel_daily.parquet", "gold/panel_daily.csv", "gold/manifest.json"];

#[test]
fn the_same_silver_gives_the_same_bytes_whatever_the_order_and_the_threads() {
    let mut lake = rough_lake();
    lake.panel();
    let first = GOLD.map(|file| lake.file(file));
    let written = GOLD.map(|file| std::fs::metadata(lake.lake().join(file)).unwrap().modified().unwrap());

    for threads in ["1", "2", "7"] {
        let output = lake.command("build", &[]).env("POLARS_MAX_THREADS", threads).output().unwrap();
        assert!(output.status.success());
        assert_eq!(GOLD.map(|file| lake.file(file)), first, "{threads} threads");
    }
    let now = GOLD.map(|file| std::fs::metadata(lake.lake().join(file)).unwrap().modified().unwrap());
    assert_eq!(now, written, "files that would not change are left alone");

    // Rows written by a transform that did not sort them.
    lake.reserves.reverse();
    lake.liquidations.reverse();
    let part = |table: &str| format!("silver/{table}/month=2024-11/part.parquet");
    lake.put_listed(
        &part("reserve_day"),
        &crate::faults::written(&ReserveDay::to_batch(&lake.reserves).unwrap()),
    );
    lake.put_listed(
        &part("liquidation"),
        &crate::faults::written(&Liquidation::to_batch(&lake.liquidations).unwrap()),
    );
    assert_eq!(lake.run("build", &[]).code, 0);
    assert_eq!(lake.file(GOLD[0]), first[0]);
    assert_eq!(lake.file(GOLD[1]), first[1]);
}

#[test]
fn parquet_and_csv_say_the_same_and_neither_has_a_nan() {
    let mut lake = rough_lake();
    lake.set_status(ALPHA, SUN, Dataset::Tvl, Status::Failed);
    let panel = lake.panel();
    let parquet = ParquetReader::new(Cursor::new(lake.file(GOLD[0]))).finish().unwrap();
    assert_eq!(parquet.height(), panel.0.len());
    let names: Vec<_> = PanelDaily::TABLE.columns.iter().map(|column| column.name).collect();
    let found: Vec<_> = parquet.get_column_names().into_iter().map(|name| name.as_str()).collect();
    assert_eq!(found, names);
    let text = String::from_utf8(lake.file(GOLD[1])).unwrap();
    assert_eq!(text.lines().next().unwrap(), names.join(","));
    assert!(text.ends_with("\r\n"));
    for column in parquet.columns() {
        for (at, row) in panel.0.iter().enumerate() {
            let value = column.get(at).unwrap();
            let text = row.text(column.name());
            // An empty text and a null are one and the same in a CSV.
            assert_eq!(value.is_null() || value == AnyValue::String(""), text.is_none(), "{}", column.name());
            if let AnyValue::Float64(value) = value {
                assert!(value.is_finite());
                assert_eq!(text.unwrap().parse::<f64>().unwrap().to_bits(), value.to_bits());
            }
            assert!(!text.is_some_and(|text| ["NaN", "inf", "-inf"].contains(&text)));
        }
    }
}

#[test]
fn the_manifest_lists_what_was_read_and_written() {
    let lake = SmallLake::collected();
    lake.panel();
    let manifest: lake::manifest::Manifest = serde_json::from_slice(&lake.file(GOLD[2])).unwrap();
    assert_eq!(manifest.schema, "gold/1");
    let outputs: Vec<_> = manifest.outputs.keys().map(String::as_str).collect();
    assert_eq!(outputs, ["gold/panel_daily.csv", "gold/panel_daily.parquet"]);
    assert_eq!(manifest.inputs.len(), 7);
    for (path, digest) in manifest.inputs.iter().chain(&manifest.outputs) {
        assert_eq!(*digest, lake::digest::sha256_hex(&lake.file(path)), "{path}");
    }
}

#[test]
fn a_row_is_tied_to_its_bronze_and_to_its_content() {
    let mut lake = SmallLake::collected();
    lake.set_status(ALPHA, SUN, Dataset::Tvl, Status::Failed);
    let before = lake.panel();
    let expected = lake::digest::sha256_of_listing([
        ("bronze/blocks/testnet/2024-11-02.json", "blocks of 2024-11-02"),
        ("bronze/tvl/aave_v3_alpha/2024-11-02.json", "tvl of aave_v3_alpha on 2024-11-02"),
        ("bronze/liquidations/aave_v3_alpha/2024-11-02.json", "liquidations of aave_v3_alpha on 2024-11-02"),
    ]);
    assert_eq!(before.row(ALPHA, SAT).text("inputs_hash"), Some(expected.as_str()));

    // The price book of the chain is an input of all its rows, off-chain prices only of those that use one.
    lake.bronze = [
        ("bronze/prices/testnet/2024-11-02.json", "book"),
        ("bronze/prices/other/2024-11-02.json", "another chain's"),
        ("bronze/fills/defillama/2024-11-02.json", "fills"),
    ]
    .map(|(path, digest)| (path.to_owned(), digest.to_owned()))
    .into();
    let filled = |csu| ReserveDay {
        price_source: Some(lake::status::PriceSource::OffChain),
        ..reserve(csu, SAT, 1, [1.0, 0.0, 1.0], Some(1.0))
    };
    lake.reserves.push(filled(BETA));
    let with_prices = lake.panel();
    for (csu, fills) in [(ALPHA, None), (BETA, Some(("bronze/fills/defillama/2024-11-02.json", "fills")))] {
        let [blocks, tvl, logs] = [
            ("bronze/blocks/testnet/2024-11-02.json".to_owned(), "blocks of 2024-11-02".to_owned()),
            (format!("bronze/tvl/{csu}/2024-11-02.json"), format!("tvl of {csu} on 2024-11-02")),
            (
                format!("bronze/liquidations/{csu}/2024-11-02.json"),
                format!("liquidations of {csu} on 2024-11-02"),
            ),
        ];
        let objects = [blocks, tvl, logs];
        let objects = objects.iter().map(|(path, digest)| (path.as_str(), digest.as_str()));
        let expected = lake::digest::sha256_of_listing(
            objects.chain([("bronze/prices/testnet/2024-11-02.json", "book")]).chain(fills),
        );
        assert_eq!(with_prices.row(csu, SAT).text("inputs_hash"), Some(expected.as_str()), "{csu}");
    }
    lake.reserves.clear();
    lake.bronze.clear();

    // The row hash can be made again from the CSV alone.
    for row in &before.0 {
        let mut text = String::new();
        for column in PanelDaily::TABLE.columns.iter().filter(|column| column.name != "row_hash") {
            let value = row.text(column.name);
            match value.or_else(|| (!column.nullable).then_some("")) {
                Some(value) => text += &format!("{}={value}\n", column.name),
                None => text += &format!("{}\n", column.name),
            }
        }
        assert_eq!(row.text("row_hash"), Some(lake::digest::sha256_hex(text.as_bytes()).as_str()));
    }

    lake.reserves.push(reserve(ALPHA, SAT, 1, [1.0, 0.0, 1.0], Some(1.0)));
    let after = lake.panel();
    assert_ne!(before.row(ALPHA, SAT).text("row_hash"), after.row(ALPHA, SAT).text("row_hash"));
    assert_eq!(before.row(ALPHA, SUN).text("row_hash"), after.row(ALPHA, SUN).text("row_hash"));
}

#[test]
fn a_run_over_two_months_needs_only_one_of_them_in_silver() {
    let lake = SmallLake::collected();
    let ran = lake.write().run("build", &["--from", "2024-10-30", "--csu", ALPHA]);
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("note: no silver for 2024-10;"), "{}", ran.stderr);
    let panel = lake.read_panel();
    assert_eq!(panel.0.len(), 6);
    assert_eq!(panel.row(ALPHA, "2024-10-30").text("status"), Some("not_deployed"));
    assert_eq!(panel.row(ALPHA, "2024-10-31").text("status"), Some("not_attempted"));
    assert_eq!(panel.row(ALPHA, "2024-10-31").text("age_days"), Some("-1"));
}

#[test]
fn at_most_twenty_missing_rows_are_listed() {
    let mut lake = SmallLake::collected();
    lake.coverage.retain(|row| row.date == day(SAT));
    let ran = lake.write().run("build", &["--to", "2024-11-30"]);
    assert_eq!(ran.code, 1);
    assert_eq!(ran.stderr.matches("missing: ").count(), 21);
    assert!(ran.stderr.contains("missing: and 36 more rows"), "{}", ran.stderr);
}

#[test]
fn show_prints_the_panel_and_where_it_is() {
    let mut lake = SmallLake::collected();
    lake.reserves.push(reserve(ALPHA, SAT, 1, [1_234_567.0, 40.0, 60.0], Some(1.0)));
    lake.reserves.push(reserve(ALPHA, SUN, 1, [5.0, 0.0, 5.0], None));
    lake.panel();
    let ran = lake.run("show", &[]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    for part in ["1,234,567.00", "collected, usd none", "panel_daily.parquet", " 25 ", "tvl_net_usd"] {
        assert!(ran.stdout.contains(part), "{part} is not in\n{}", ran.stdout);
    }
    assert!(!ran.stdout.contains('\u{1b}'), "no colour in a pipe");
    let rows: serde_json::Value =
        serde_json::from_str(&lake.run("show", &["--json", "--csu", ALPHA]).stdout).unwrap();
    assert_eq!(rows.as_array().unwrap().len(), 3);
    assert_eq!(rows[0]["tvl_usd"], 1_234_567.0);
    assert!(rows[1]["tvl_usd"].is_null());
}

#[test]
fn summary_says_what_was_measured_and_what_it_comes_to() {
    let mut lake = SmallLake::collected();
    lake.reserves.push(reserve(ALPHA, SAT, 1, [1000.0, 400.0, 600.0], Some(1.0)));
    lake.reserves.push(reserve(ALPHA, SUN, 1, [3000.0, 400.0, 600.0], Some(1.0)));
    lake.set_status(ALPHA, MON, Dataset::Tvl, Status::Failed);
    lake.set_status(BETA, MON, Dataset::Liquidations, Status::Partial);
    lake.liquidations.push(liquidation(ALPHA, SAT, 1, 60.0, 66.0));
    lake.run("summary", &[]).failed_saying(&["no panel in the lake"]);
    lake.panel();
    let ran = lake.run("summary", &["--json"]);
    let summary: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    let alpha = &summary["csus"][0];
    assert_eq!((&alpha["csu"], &alpha["by_status"]["failed"]), (&ALPHA.into(), &1.into()));
    assert_eq!((&alpha["rows_with_tvl"], &alpha["mean_tvl_usd"]), (&2.into(), &2000.0.into()));
    assert_eq!((&alpha["last_day"], &alpha["last_tvl_usd"]), (&SUN.into(), &3000.0.into()));
    assert_eq!((&alpha["utilization"], &alpha["liquidations"]), (&0.2.into(), &1.into()));
    assert_eq!((&alpha["rows_scanned"], &alpha["liq_debt_usd"]), (&3.into(), &60.0.into()));
    assert_eq!((&summary["all"]["rows"], &summary["whole_days"]), (&6.into(), &2.into()));
    assert_eq!(summary["csus"][1]["utilization"], serde_json::Value::Null);
    let text = lake.run("summary", &[]).stdout;
    for part in [
        "failed 1",
        "3,000",
        "2,000",
        " 0.2000 ",
        "2 CSUs, 2024-11-02 to 2024-11-04: 4 of 6 rows collected, 2 days whole",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    lake.run("summary", &["--from", "2024-11-05", "--to", "2024-11-05"])
        .failed_saying(&["has no row of this run"]);
}

#[test]
fn the_unbalanced_panel_says_what_it_leaves_out() {
    let mut lake = SmallLake::collected();
    lake.set_status(ALPHA, SUN, Dataset::Tvl, Status::Partial);
    lake.coverage.retain(|row| row.csu != BETA);
    let ran = lake.write().run("build", &["--collected-only", "--json"]);
    assert_eq!(ran.code, 1);
    for part in [
        "collected only: 2 of 6 rows kept, 4 dropped: not_attempted 3, partial 1",
        "collected only: 0 CSUs have every day",
        "collected only: no row of aave_v3_beta",
    ] {
        assert!(ran.stderr.contains(part), "{part} is not in\n{}", ran.stderr);
    }
    let summary: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((&summary["dropped"]["kept"], &summary["rows"]), (&2.into(), &6.into()));

    // Its rows are the panel's, digests and all; the panel itself stays complete.
    let collected = String::from_utf8(lake.file("gold/panel_daily_collected.csv")).unwrap();
    let whole = String::from_utf8(lake.file("gold/panel_daily.csv")).unwrap();
    assert_eq!((collected.lines().count(), whole.lines().count()), (3, 7));
    assert!(collected.lines().all(|line| whole.lines().any(|of_whole| of_whole == line)));
    let manifest: lake::manifest::Manifest = serde_json::from_slice(&lake.file(GOLD[2])).unwrap();
    assert_eq!(manifest.outputs.len(), 4);

    // A later build that is not asked for it does not leave an old one behind.
    let ran = lake.run("build", &[]);
    assert!(ran.stderr.contains("removed gold/panel_daily_collected.parquet"), "{}", ran.stderr);
    assert!(!lake.lake().join("gold/panel_daily_collected.csv").exists());
}

#[test]
fn classes_of_assets_add_up_and_each_has_its_own_null_rule() {
    let mut lake = SmallLake::collected();
    let of = |class: &str, row: ReserveDay| ReserveDay { asset_class: class.into(), ..row };
    lake.reserves.push(of("stablecoin", reserve(ALPHA, SAT, 1, [100.0, 40.0, 60.0], Some(1.0))));
    lake.reserves.push(of("stablecoin", reserve(ALPHA, SAT, 2, [50.0, 0.0, 50.0], Some(1.0))));
    lake.reserves.push(of("eth", reserve(ALPHA, SAT, 3, [2.0, 1.0, 1.0], Some(3000.0))));
    // One class lacks a price; the others are known all the same.
    lake.reserves.push(of("stablecoin", reserve(ALPHA, SUN, 1, [100.0, 40.0, 60.0], Some(1.0))));
    lake.reserves.push(of("btc", reserve(ALPHA, SUN, 4, [1.0, 0.0, 1.0], None)));
    lake.set_status(ALPHA, MON, Dataset::Tvl, Status::Failed);
    assert!(lake.write().run("build", &["--by-asset"]).code < 2);
    let assets = lake.read_csv("gold/panel_daily_asset.csv");
    assert_eq!(assets.0.len(), 2 * 3 * 4);
    let row = |date: &str, class: &str| {
        let is_it = |row: &&PanelRow| {
            (row.text("csu"), row.text("date"), row.text("asset_class"))
                == (Some(ALPHA), Some(date), Some(class))
        };
        assets.0.iter().find(is_it).unwrap()
    };
    let stable = row(SAT, "stablecoin");
    assert_eq!((stable.number("supplied_usd"), stable.number("n_reserves")), (Some(150.0), Some(2.0)));
    assert_eq!((stable.number("utilization"), stable.number("borrow_apr")), (Some(40.0 / 150.0), Some(0.05)));
    assert_eq!(row(SAT, "eth").number("tvl_net_usd"), Some(3000.0));
    assert_eq!(row(SAT, "btc").number("supplied_usd"), Some(0.0), "none is a measurement");
    assert_eq!(row(SAT, "btc").text("utilization"), None);
    assert_eq!(
        (row(SUN, "btc").text("usd_status"), row(SUN, "btc").text("supplied_usd")),
        (Some("none"), None)
    );
    assert_eq!(row(SUN, "stablecoin").number("supplied_usd"), Some(100.0));
    assert_eq!(row(MON, "eth").text("supplied_usd"), None);
    let panel = lake.read_panel();
    for column in
        ["supplied_usd", "borrowed_usd", "available_usd", "tvl_usd", "tvl_net_usd", "tvl_priced_usd"]
    {
        let sum: f64 = ["btc", "eth", "other", "stablecoin"]
            .map(|class| row(SAT, class).number(column).unwrap())
            .iter()
            .sum();
        assert_eq!(Some(sum), panel.row(ALPHA, SAT).number(column), "{column}");
    }
}

#[test]
fn a_familys_liquidations_without_debt_are_counted_and_not_valued() {
    let mut lake = SmallLake::collected();
    lake.csus.retain(|csu| csu.csu != BETA);
    lake.csus.push(lake::schema::silver::CsuRow { has_debt_amount: false, ..csu_row(BETA, true, "event") });
    for log in [1, 2] {
        lake.liquidations.push(Liquidation {
            debt_raw: None,
            debt: None,
            debt_usd: None,
            ..liquidation(BETA, SAT, log, 0.0, 5.0)
        });
    }
    lake.liquidations.push(bad_debt(BETA, SAT, 3, 1.0));
    let panel = lake.panel();
    let row = panel.row(BETA, SAT);
    assert_eq!((row.number("liq_count"), row.number("liq_event_count")), (Some(2.0), Some(3.0)));
    assert_eq!((row.number("liq_coll_usd"), row.number("bad_debt_usd")), (Some(10.0), Some(1.0)));
    for debt in ["liq_debt_usd", "liq_bonus_usd", "liq_max_usd", "hhi_liquidators", "top1_liquidator_share"] {
        assert_eq!(row.text(debt), None, "{debt}");
        assert_eq!(panel.row(BETA, SUN).text(debt), None, "{debt} of a calm day");
    }
    assert_eq!(panel.row(BETA, SUN).number("liq_count"), Some(0.0));
}
