# Log TVL on utilization and log liquidations, with effects of CSU and day; and a plot.
#
# usage: Rscript regression.R PANEL.parquet COEFFICIENTS.csv PLOT.png
suppressPackageStartupMessages(library(plm))
arguments <- commandArgs(trailingOnly = TRUE)
here <- dirname(sub("^--file=", "", grep("^--file=", commandArgs(), value = TRUE)))
source(file.path(here, "read.R"))

panel <- read_panel(arguments[1])
# Null is "not measured" and stays NA. log1p, because a day without liquidations is a measured zero.
panel[, log_tvl := log(tvl_usd)]
panel[, log_liq := log1p(liq_debt_usd)]
data <- panel[!is.na(log_tvl) & !is.na(utilization) & !is.na(log_liq)]
cat(nrow(data), "of", nrow(panel), "rows; dropped by status:\n")
print(panel[!data, on = c("csu", "date")][, .N, by = status])

fitted <- plm(log_tvl ~ utilization + log_liq,
  data = pdata.frame(as.data.frame(data), index = c("csu", "date")),
  model = "within", effect = "twoways"
)
# HC0 has no factor for small samples: compare.py tells how the programs' own factors differ.
clustered <- vcovHC(fitted, method = "arellano", type = "HC0", cluster = "group")
print(cbind(estimate = coef(fitted), clustered_se = sqrt(diag(clustered))))
fwrite(
  data.table(
    name = names(coef(fitted)),
    estimate = sprintf("%.17g", coef(fitted)),
    clustered_se = sprintf("%.17g", sqrt(diag(clustered))),
    n = nobs(fitted),
    df_resid = fitted$df.residual,
    k = length(coef(fitted))
  ),
  arguments[2]
)

png(arguments[3], width = 900, height = 500, type = "cairo")
shown <- dcast(panel, date ~ csu, value.var = "utilization")
matplot(shown$date, as.matrix(shown[, -1]),
  type = "l", lty = 1, xaxt = "n", xlab = "", ylab = "utilization",
  main = "Borrowed as a share of supplied"
)
axis.Date(1, shown$date)
invisible(dev.off())
