# Reads the panel in R. With CRAN, one of these is enough:
#
#   panel <- nanoparquet::read_parquet("panel_daily.parquet")
#   panel <- arrow::read_parquet("panel_daily.parquet")
#
# Without CRAN (as in CI), the `duckdb` command line (pip install duckdb-cli) hands the rows to data.table:
suppressPackageStartupMessages(library(data.table))

read_panel <- function(path) {
  query <- sprintf("SELECT * FROM '%s' ORDER BY csu, date", path)
  panel <- fread(cmd = paste("duckdb -csv -c", shQuote(query)), na.strings = c("", "NULL"))
  # A column without a value comes as logical; quality_flags is text, and empty where there is no remark.
  empty <- names(which(vapply(panel, is.logical, NA) & vapply(panel, function(x) all(is.na(x)), NA)))
  for (name in empty) set(panel, j = name, value = as.numeric(panel[[name]]))
  panel[, date := as.Date(date)][]
}
