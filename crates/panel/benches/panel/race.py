"""Runs `panel build`, DuckDB and Polars over one silver, in turn, each as a process of its own; prints times, memory, ratios.

Started by the bench (benches/panel/main.rs). The others read silver and write the panel's figures as Parquet; `panel build` besides
holds silver against its manifest, applies the null rules, makes row digests and the CSV twin.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

import duckdb
import polars

HERE = pathlib.Path(__file__).parent
THREADS = 2


def timed(command):
    """Seconds and peak megabytes of a process."""
    environment = {**os.environ, "POLARS_MAX_THREADS": str(THREADS)}
    began = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    errors = process.stderr.read().decode(errors="replace")
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    # panel says 1 where some days are missing, as some of the made-up ones are.
    if process.returncode not in (0, 1):
        sys.exit(f"{command[0]} ended with {process.returncode}:\n{errors}")
    return seconds, usage.ru_maxrss / 1024, usage.ru_utime + usage.ru_stime


def differences(lake, other):
    """Figures in which another's panel differs from gold, by column."""
    gold = f"{lake}/gold/panel_daily.parquet"
    names = [row[0] for row in duckdb.execute(f"DESCRIBE SELECT * FROM '{other}'").fetchall() if row[0] not in ("csu", "date")]
    database = duckdb.connect()
    counts = ", ".join(
        f"count(*) FILTER (g.{name} IS NOT NULL AND (o.{name} IS NULL OR "
        f"abs(g.{name} - o.{name}) > 1e-9 * greatest(abs(g.{name}), abs(o.{name}), 1e-3))) AS {name}"
        for name in names
    )
    row = database.execute(f"SELECT {counts} FROM '{gold}' g LEFT JOIN '{other}' o USING (csu, date)").fetchall()[0]
    compared = database.execute(f"SELECT count(*) FROM '{gold}' g JOIN '{other}' o USING (csu, date)").fetchall()[0][0]
    wrong = {name: count for name, count in zip(names, row) if count}
    return compared, len(names), wrong


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--panel", required=True)
    parser.add_argument("--run", required=True)
    parser.add_argument("--lake", required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--megabytes", type=float)
    parser.add_argument("--json")
    options = parser.parse_args()
    out = pathlib.Path(options.lake).parent
    contenders = {
        "panel build": [options.panel, "build", "--run", options.run],
        f"DuckDB {duckdb.__version__}": [sys.executable, str(HERE / "by_duckdb.py"), options.lake, str(out / "by_duckdb.parquet")],
        f"Polars {polars.__version__}": [sys.executable, str(HERE / "by_polars.py"), options.lake, str(out / "by_polars.parquet")],
    }
    # Gold is made anew in each round: what is there already would not be written again.
    gold = pathlib.Path(options.lake) / "gold"
    figures = {name: [] for name in contenders}
    for _ in range(options.rounds):
        for name, command in contenders.items():
            if name == "panel build" and gold.exists():
                for file in gold.iterdir():
                    file.unlink()
            figures[name].append(timed(command))
    best = {name: min(of, key=lambda run: run[0]) for name, of in figures.items()}
    ours = best["panel build"]
    print(f"{options.rounds} rounds, {THREADS} threads each; best of each, ratio to panel build")
    print(f"{'':18} {'seconds':>8} {'median':>8} {'cpu s':>8} {'MB':>8} {'ratio':>8}")
    for name, (seconds, megabytes, cpu) in best.items():
        median = statistics.median(run[0] for run in figures[name])
        print(f"{name:18} {seconds:8.3f} {median:8.3f} {cpu:8.2f} {megabytes:8.0f} {seconds / ours[0]:8.2f}")
    failed = False
    for name, file in (("DuckDB", "by_duckdb.parquet"), ("Polars", "by_polars.parquet")):
        rows, columns, wrong = differences(options.lake, out / file)
        print(f"{name} and gold: {rows} rows of {columns} figures compared, {wrong or 'none differs'}")
        failed |= bool(wrong) or rows == 0
    if options.seconds and ours[0] > options.seconds:
        print(f"panel build took {ours[0]:.3f} s, it may take {options.seconds} s")
        failed = True
    if options.megabytes and ours[1] > options.megabytes:
        print(f"panel build took {ours[1]:.0f} MB, it may take {options.megabytes:.0f} MB")
        failed = True
    if any(of[0] < ours[0] for of in best.values()):
        print("panel build is not the fastest")
        failed = True
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps({name: dict(zip(("seconds", "megabytes", "cpu"), of)) for name, of in best.items()}, indent=2))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
