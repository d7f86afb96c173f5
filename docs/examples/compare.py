"""Python and R find the same: coefficients to 1e-9, and clustered errors to 1e-9 once each program's own factor is taken off.

usage: compare.py PYTHON.csv R.csv
"""

import csv
import math
import sys


def read(path: str) -> dict[str, dict[str, float]]:
    with open(path, newline="") as file:
        return {row.pop("name"): {key: float(value) for key, value in row.items()} for row in csv.DictReader(file)}


def main(python: str, r: str) -> int:
    one, other = read(python), read(r)
    assert set(one) == set(other) and one, (set(one), set(other))
    worst = 0.0
    for name in one:
        p, q = one[name], other[name]
        assert p["n"] == q["n"], f"{name}: {p['n']} rows in Python, {q['n']} in R"
        by = abs(p["estimate"] - q["estimate"])
        # linearmodels multiplies the clustered covariance by n / (n - all parameters, effects among them).
        bare = p["clustered_se"] * math.sqrt(p["df_resid"] / p["n"])
        by_se = abs(bare - q["clustered_se"])
        worst = max(worst, by, by_se)
        print(f"{name}: Python {p['estimate']:.12g}, R {q['estimate']:.12g}, differ by {by:.1e}; clustered errors without factors differ by {by_se:.1e}")
    n, k, df = p["n"], p["k"], p["df_resid"]
    print(
        f"the factors on the variance: linearmodels n/(n - all parameters) = {n / df:.5f}; plm HC1 n/(n - k) = {n / (n - k):.5f}; "
        "plm HC0 and the comparison above 1"
    )
    if worst > 1e-9:
        print(f"they differ by {worst:.1e}, more than 1e-9")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
