"""Log TVL on utilization and log liquidations, with effects of CSU and day; and a plot.

usage: regression.py PANEL.parquet COEFFICIENTS.csv PLOT.png
"""

import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from linearmodels import PanelOLS


def read(path: str) -> pd.DataFrame:
    panel = pd.read_parquet(path)
    # The index is entity, then time; the time must be a timestamp or a number.
    panel = panel.assign(date=pd.to_datetime(panel["date"])).set_index(["csu", "date"])
    # Null is "not measured" and stays so. log1p, because a day without liquidations is a measured zero.
    panel["log_tvl"] = np.log(panel["tvl_usd"])
    panel["log_liq"] = np.log1p(panel["liq_debt_usd"])
    return panel


def main(path: str, coefficients: str, plot: str) -> None:
    panel = read(path)
    data = panel.dropna(subset=["log_tvl", "utilization", "log_liq"])
    dropped = panel.drop(data.index)["status"].value_counts()
    print(f"{len(data)} of {len(panel)} rows; dropped by status: {dropped.to_dict()}")
    fitted = PanelOLS(data["log_tvl"], data[["utilization", "log_liq"]], entity_effects=True, time_effects=True).fit(
        cov_type="clustered", cluster_entity=True
    )
    print(fitted.summary.tables[1])
    rows = pd.DataFrame({"estimate": fitted.params, "clustered_se": fitted.std_errors})
    rows["n"], rows["df_resid"], rows["k"] = int(fitted.nobs), int(fitted.df_resid), len(fitted.params)
    rows.to_csv(coefficients, index_label="name", float_format="%.17g")

    fig, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    for csu, of_csu in panel["utilization"].groupby(level="csu"):
        # A null breaks the line: no gap is drawn over.
        axes.plot(of_csu.index.get_level_values("date"), of_csu, linewidth=0.9, label=csu)
    axes.set(ylabel="utilization", title="Borrowed as a share of supplied")
    if panel.index.get_level_values("csu").nunique() <= 10:
        axes.legend(frameon=False)
    fig.savefig(plot, dpi=110)


if __name__ == "__main__":
    main(*sys.argv[1:])
