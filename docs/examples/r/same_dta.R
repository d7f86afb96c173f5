# The Stata file holds the values of the Parquet file, as haven and DuckDB read them.
#
# usage: Rscript same_dta.R PANEL.parquet PANEL.dta
arguments <- commandArgs(trailingOnly = TRUE)
here <- dirname(sub("^--file=", "", grep("^--file=", commandArgs(), value = TRUE)))
source(file.path(here, "read.R"))

panel <- read_panel(arguments[1])
stata <- as.data.table(haven::read_dta(arguments[2]))
stopifnot(identical(names(panel), names(stata)), nrow(panel) == nrow(stata))
for (name in names(panel)) {
  mine <- panel[[name]]
  theirs <- stata[[name]]
  if (inherits(theirs, "Date")) {
    same <- mine == theirs
  } else if (inherits(theirs, "POSIXct")) {
    same <- abs(as.numeric(mine) - as.numeric(theirs)) < 1
  } else if (is.character(theirs)) {
    same <- fifelse(is.na(mine), "", as.character(mine)) == theirs
  } else {
    # CSV has every digit; fread's fast parser may be off in the last bit.
    same <- abs(as.numeric(mine) - as.numeric(theirs)) <= 4e-16 * abs(as.numeric(theirs))
  }
  same[is.na(mine) & is.na(theirs)] <- TRUE
  if (!isTRUE(all(same))) stop(name, ": ", sum(!same | is.na(same)), " cells differ")
}
tags <- haven::na_tag(stata$tvl_usd)
stopifnot(all(tags[panel$snap_status == "not_deployed"] == "n"), all(tags[panel$snap_status == "failed"] == "f"))
cat(nrow(panel), "rows and", ncol(panel), "columns are the same in Parquet and .dta (haven", format(packageVersion("haven")), ")\n")
