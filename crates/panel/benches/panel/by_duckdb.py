"""The panel's figures from silver, by DuckDB: the query of checks/figures.sql, written as Parquet."""

import pathlib
import sys

import duckdb

lake, out = sys.argv[1:]
figures = pathlib.Path(__file__).parents[2] / "checks/figures.sql"
database = duckdb.connect()
database.execute("SET threads = 2")
database.execute("SET VARIABLE lake = ?", [lake])
database.execute(
    f"CREATE TEMP VIEW key AS SELECT DISTINCT csu, date FROM read_parquet('{lake}/silver/coverage/*/*.parquet', hive_partitioning = false)"
)
database.execute(figures.read_text(encoding="utf-8"))
database.execute(f"COPY (SELECT * FROM wanted ORDER BY csu, date) TO '{out}' (FORMAT parquet, COMPRESSION zstd)")
