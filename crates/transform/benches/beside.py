#!/usr/bin/env python3
"""Silver of a synthetic lake by `transform`, and the part of it that needs no decoding by ourselves, DuckDB and Polars.

The part: read the JSON of bronze/tvl, type it, join each reserve's answers with its price, write Parquet. We do it with the reader
of `transform`, which checks every seal (testkit decode-free-part). `transform` itself reads all of bronze, decodes the ABI,
chooses prices and makes every table of silver.

Each runs as a process of its own, one after the other, on a lake that was read before. Seconds of the wall and of the processors,
and peak memory, are what the kernel says of the process. Needs duckdb and polars (make bench-transform puts them into target/venv).
"""

import argparse, glob, json, os, resource, shutil, subprocess, sys, time

DUCKDB = """
import duckdb, sys
c = duckdb.connect()
c.execute("SET enable_progress_bar = false")
c.execute("SET preserve_insertion_order = false")
c.execute("SET memory_limit = '8GB'")
c.execute(f"SET temp_directory = '{sys.argv[2]}.spill'")
c.execute(f'''
CREATE TEMP TABLE calls AS
SELECT csu, CAST(date AS DATE) AS date, chain_id::BIGINT AS chain_id, block.number::BIGINT AS block_number,
       unnest(calls, recursive := true)
FROM read_json('{sys.argv[1]}/lake/bronze/tvl/*/*.json', maximum_object_size = 134217728, columns = {{
  csu: 'VARCHAR', date: 'VARCHAR', chain_id: 'BIGINT', block: 'STRUCT(number BIGINT, hash VARCHAR, timestamp BIGINT)',
  calls: 'STRUCT(key VARCHAR, item VARCHAR, "to" VARCHAR, input VARCHAR, ok BOOLEAN, output VARCHAR)[]' }})
''')
c.execute(f'''
COPY (SELECT a.csu, a.date, a.chain_id, a.block_number, a.key, a.item, a.ok, a.output, p.output AS price
      FROM calls a LEFT JOIN calls p
        ON p.csu = a.csu AND p.date = a.date AND p.item = a.item AND p.key = 'oracle.getAssetPrice'
      WHERE a.key <> 'oracle.getAssetPrice' ORDER BY a.csu, a.date, a.item, a.key)
TO '{sys.argv[2]}' (FORMAT parquet, COMPRESSION zstd)
''')
print(c.execute(f"SELECT count(*) FROM '{sys.argv[2]}'").fetchall()[0][0])
"""

POLARS = """
import glob, polars as pl, sys
call = pl.Struct({"key": pl.String, "item": pl.String, "to": pl.String, "input": pl.String, "ok": pl.Boolean, "output": pl.String})
block = pl.Struct({"number": pl.Int64, "hash": pl.String, "timestamp": pl.Int64})
schema = {"csu": pl.String, "date": pl.String, "chain_id": pl.Int64, "block": block, "calls": pl.List(call)}
calls = (
    pl.scan_ndjson(sorted(glob.glob(sys.argv[1] + "/lake/bronze/tvl/*/*.json")), schema=schema)
    .select("csu", pl.col("date").str.to_date(), "chain_id",
            pl.col("block").struct.field("number").alias("block_number"), "calls")
    .explode("calls").unnest("calls").collect().lazy()
)
prices = calls.filter(pl.col("key") == "oracle.getAssetPrice").select("csu", "date", "item", pl.col("output").alias("price"))
out = (
    calls.filter(pl.col("key") != "oracle.getAssetPrice")
    .join(prices, on=["csu", "date", "item"], how="left")
    .select("csu", "date", "chain_id", "block_number", "key", "item", "ok", "output", "price")
    .sort("csu", "date", "item", "key").collect()
)
out.write_parquet(sys.argv[2], compression="zstd")
print(out.height)
"""


def timed(command):
    """Wall seconds, processor seconds, peak MB and stdout of a process."""
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    out = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"{command[0]} ended with {process.returncode}")
    return time.monotonic() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, out


def size(pattern):
    return sum(os.path.getsize(path) for path in glob.glob(pattern, recursive=True) if os.path.isfile(path))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", required=True, help="directory with transform and testkit")
    parser.add_argument("--scratch", required=True, help="directory for the lake")
    parser.add_argument("--csus", type=int, default=224)
    parser.add_argument("--days", type=int, default=366)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--without", action="append", default=[], choices=["duckdb", "polars"],
                        help="leave one out: a year of 224 CSUs would take polars some 15 GB")
    options = parser.parse_args()
    house = os.path.join(options.scratch, f"lake-{options.csus}x{options.days}-{options.seed}")
    if not os.path.exists(f"{house}/run.toml"):
        shutil.rmtree(house, ignore_errors=True)
        subprocess.run([f"{options.programs}/testkit", "synthetic-lake", "--out", house, "--csus", str(options.csus),
                        "--days", str(options.days), "--seed", str(options.seed)], check=True)
    tvl, bronze = size(f"{house}/lake/bronze/tvl/**"), size(f"{house}/lake/bronze/**")
    for layer in ("silver", "state", "checks"):
        shutil.rmtree(f"{house}/lake/{layer}", ignore_errors=True)
    run = [f"{options.programs}/transform", "run", "--run", f"{house}/run.toml", "--json"]
    parquet = f"{options.scratch}/beside.parquet"
    for path in glob.glob(f"{house}/lake/bronze/**", recursive=True):
        if os.path.isfile(path):
            with open(path, "rb") as file:
                file.read()
    lines = []
    *figures, out = timed(run)
    lines.append(("transform, all of silver", figures, sum(json.loads(out)["rows"].values()), bronze))
    *figures, out = timed(run)
    lines.append(("transform, nothing changed", figures, sum(json.loads(out)["rows"].values()), bronze))
    shutil.rmtree(f"{options.scratch}/part", ignore_errors=True)
    part = [f"{options.programs}/testkit", "decode-free-part", "--lake", f"{house}/lake", "--out", f"{options.scratch}/part"]
    others = [("duckdb", DUCKDB), ("polars", POLARS)]
    others = [(f"{name}, the part", program) for name, program in others if name not in options.without]
    commands = [("transform, the part", part)]
    commands += [(name, [sys.executable, "-c", program, house, parquet]) for name, program in others]
    rows_of_part = set()
    for name, command in commands:
        *figures, out = timed(command)
        rows_of_part.add(int(out))
        lines.append((name, figures, int(out), tvl))
    if len(rows_of_part) != 1:
        sys.exit(f"the three do not agree on the rows of the part: {sorted(rows_of_part)}")
    silver, ours = lines[0][1], lines[2][1]
    print(f"{options.csus} CSUs x {options.days} days: {bronze / 1e6:.1f} MB of bronze, {tvl / 1e6:.1f} MB of it in bronze/tvl")
    print(f"{'':28} {'seconds':>8} {'cpu s':>8} {'rows/s':>9} {'MB/s':>7} {'peak MB':>8} {'/ silver':>9} {'/ part':>7}")
    for name, (took, cpu, memory), rows, read in lines:
        print(f"{name:28} {took:8.2f} {cpu:8.2f} {rows / took:9.0f} {read / 1e6 / took:7.1f} {memory:8.0f} "
              f"{took / silver[0]:9.2f} {took / ours[0]:7.2f}")


main()
