"""Reads the panel with pandas, polars and DuckDB, whichever are there, and says that they agree.

usage: read.py PANEL.parquet [PANEL.csv]
"""

import importlib.util
import sys


def with_pandas(path: str):
    import pandas as pd

    panel = pd.read_parquet(path)
    # Days arrive as Python dates; panel programs want timestamps.
    return panel.assign(date=pd.to_datetime(panel["date"])).set_index(["csu", "date"])


def with_polars(path: str):
    import polars as pl

    return pl.read_parquet(path).sort("csu", "date")


def with_duckdb(path: str):
    import duckdb

    return duckdb.connect().execute("SELECT csu, date, status, tvl_usd, liq_count FROM read_parquet(?) ORDER BY csu, date", [path])


def is_there(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def main(path: str, csv: str | None = None) -> None:
    import pandas as pd

    panel = with_pandas(path)
    print(panel[["status", "tvl_usd", "utilization", "liq_count"]].head(8).to_string())
    tvl = [None if pd.isna(value) else float(value) for value in panel["tvl_usd"]]
    readers = ["pandas"]
    if is_there("polars"):
        frame = with_polars(path)
        assert frame["tvl_usd"].to_list() == tvl, "polars reads other figures"
        assert frame["status"].to_list() == panel["status"].to_list()
        assert not frame["tvl_usd"].is_nan().any(), "a NaN: what is unknown must be null"
        readers.append("polars")
    if is_there("duckdb"):
        rows = with_duckdb(path).fetchall()
        assert [row[3] for row in rows] == tvl, "DuckDB reads other figures"
        readers.append("DuckDB")
    if csv:
        # The CSV has every digit of a float. Before pandas 3 the usual parser rounds the last ones.
        exact = {} if int(pd.__version__.split(".")[0]) >= 3 else {"float_precision": "round_trip"}
        other = pd.read_csv(csv, parse_dates=["date", "block_ts"], **exact).set_index(["csu", "date"])
        assert list(other.columns) == list(panel.columns)
        for column in panel.columns:
            mine, theirs = panel[column], other[column]
            if mine.dtype.kind in "iuf":
                same = (mine.astype(float) - theirs.astype(float)).abs() <= 1e-15 * mine.astype(float).abs()
            elif mine.dtype.kind == "M":
                same = mine == theirs
            else:
                # An empty text and a null are one in CSV.
                same = mine.astype(object).fillna("").astype(str) == theirs.astype(object).fillna("").astype(str)
            same |= mine.isna() & theirs.isna()
            assert same.all(), f"{column}: {int((~same).sum())} cells of the CSV differ"
        readers.append("the CSV")
    versions = [f"{name} {importlib.import_module(name).__version__}" for name in ("pyarrow", "pandas", "polars") if is_there(name)]
    print(f"{len(panel)} rows, the same to {', '.join(readers)} ({', '.join(versions)})")


if __name__ == "__main__":
    main(*sys.argv[1:])
