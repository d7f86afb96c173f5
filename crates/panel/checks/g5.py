#!/usr/bin/env python3
"""G5 in DuckDB: does gold hold what silver adds up to? `make check-g5` runs this in a virtual environment of its own.

    python3 crates/panel/checks/g5.py data/demo/lake

Prints each figure that differs. Then one figure of a copy of gold is changed, and must be found: a check that cannot fail
checks nothing. Exit code 0 when gold holds and the change was found.
"""

import pathlib
import sys
import tempfile

import duckdb

HERE = pathlib.Path(__file__).parent


def compare(lake):
    """How many figures of how many columns were compared, and those that differ."""
    database = duckdb.connect()
    database.execute("SET VARIABLE lake = ?", [str(lake)])
    database.execute(f"CREATE TEMP VIEW key AS SELECT csu, date FROM '{lake}/gold/panel_daily.parquet'")
    for name in ("figures.sql", "g5.sql"):
        database.execute((HERE / name).read_text(encoding="utf-8"))
    compared = database.execute("SELECT count(*), count(DISTINCT name) FROM compared").fetchall()[0]
    wrong = database.execute(
        "SELECT csu, date, name, gold, silver FROM compared WHERE is_equal IS DISTINCT FROM true ORDER BY ALL"
    ).fetchall()
    return compared, wrong


def finds_a_change(lake):
    """Whether a figure that is a millionth too high is found."""
    with tempfile.TemporaryDirectory() as scratch:
        copy = pathlib.Path(scratch)
        (copy / "silver").symlink_to((lake / "silver").resolve())
        (copy / "gold").mkdir()
        panel = "gold/panel_daily.parquet"
        duckdb.execute(
            f"COPY (SELECT * REPLACE (borrowed_usd * 1.000001 AS borrowed_usd) FROM '{lake / panel}') TO '{copy / panel}'"
        )
        return {name for _, _, name, _, _ in compare(copy)[1]} == {"borrowed_usd"}


def main(lake):
    compared, wrong = compare(lake)
    for csu, date, name, gold, silver in wrong[:50]:
        print(f"{csu} {date} {name}: gold has {gold!r}, silver adds up to {silver!r}")
    print(f"G5 in DuckDB {duckdb.__version__}: {compared[0]} figures of {compared[1]} columns compared, {len(wrong)} differ")
    if wrong or compared[0] == 0:
        return 1
    if not finds_a_change(lake):
        print("a changed figure was not found, so the comparison proves nothing")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1])))
