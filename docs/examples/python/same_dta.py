"""The Stata file holds the values of the Parquet file, as pandas reads both.

usage: same_dta.py PANEL.parquet PANEL.dta
"""

import sys

import numpy as np
import pandas as pd


def main(parquet: str, dta: str) -> None:
    panel = pd.read_parquet(parquet)
    with pd.read_stata(dta, iterator=True) as reader:
        labels = reader.variable_labels()
        stata = reader.read()
    assert list(stata.columns) == list(panel.columns)
    assert len(stata) == len(panel)
    for column in panel.columns:
        mine, theirs = panel[column], stata[column]
        assert 3 <= len(labels[column]) <= 80, (column, labels[column])
        if column == "date":
            same = pd.to_datetime(mine) == theirs
        elif column == "block_ts":
            same = mine.dt.tz_localize(None).dt.floor("s").eq(theirs) | (mine.isna() & theirs.isna())
        elif mine.dtype == bool:
            same = mine.astype("int8") == theirs
        elif mine.dtype.kind in "if":
            # Every float bit by bit; whole numbers are doubles or longs in Stata.
            same = (mine.astype(float).to_numpy() == theirs.astype(float).to_numpy()) | (mine.isna() & theirs.isna()).to_numpy()
        else:
            same = mine.fillna("") == theirs
        assert np.all(same), f"{column}: {int((~np.asarray(same)).sum())} cells differ"
    print(f"{len(panel)} rows and {len(panel.columns)} columns are the same in Parquet and .dta (pandas {pd.__version__})")

    # The reasons of the nulls, which pandas gives only when asked.
    tagged = pd.read_stata(dta, convert_missing=True, columns=["tvl_usd", "snap_status", "usd_status"])
    letters = {"archive_unavailable": ".a", "failed": ".f", "not_deployed": ".n", "not_attempted": ".t", "retired": ".r", "partial": ".p"}
    found = set()
    for row in tagged.itertuples():
        if isinstance(row.tvl_usd, pd.io.stata.StataMissingValue):
            wanted = letters.get(row.snap_status, ".x")
            assert row.tvl_usd.string == wanted, (row.tvl_usd.string, row.snap_status)
            found.add(wanted)
    print(f"nulls of tvl_usd say why: {sorted(found)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
