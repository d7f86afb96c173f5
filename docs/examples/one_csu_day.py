#!/usr/bin/env python3
"""One row of gold, worked out by hand.

Takes aave_v3_devnet_a on 2024-11-02 from data/demo/expected.json: plain eth_calls, headers and receipts that the recorder
got without lendlake's code. What is not in that file is taken from raw words of the bronze objects, the registry or the
calendar. Figures are exact fractions until they are compared.

    python3 docs/examples/one_csu_day.py            # print the table (after `make demo`)
    python3 docs/examples/one_csu_day.py --check    # compare with gold and with docs/one-csu-day.md
    python3 docs/examples/one_csu_day.py --write    # write the table into docs/one-csu-day.md
"""

import csv
import datetime
import hashlib
import json
import pathlib
import sys
import tomllib
from fractions import Fraction

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEMO = ROOT / "data/demo"
PAGE = ROOT / "docs/one-csu-day.md"
CSU, CHAIN, DAY = "aave_v3_devnet_a", "devnet_a", "2024-11-02"
BEGIN, END = "<!-- the table: written by docs/examples/one_csu_day.py -->", "<!-- end of the table -->"
RAY = 10**27


def read_json(path):
    return json.loads(path.read_text(encoding="utf-8"))


def registry():
    """The CSU's row, its chain's row, and the asset class of each token."""
    toml = lambda name: tomllib.loads((DEMO / "registry" / name).read_text(encoding="utf-8"))
    csu = next(row for row in toml("csus/aave_v3.toml")["csu"] if row["id"] == CSU)
    chain = next(row for row in toml("chains.toml")["chain"] if row["name"] == CHAIN)
    classes = {row["address"].lower(): row for row in toml("tokens.toml")["token"] if row["chain"] == CHAIN}
    return csu, chain, classes


def words_of_bronze():
    """getReserveData and getReserveNormalizedIncome of each reserve, as 32-byte words."""
    calls = read_json(DEMO / f"lake/bronze/tvl/{CSU}/{DAY}.json")["calls"]
    words = {}
    for call in calls:
        if call["key"] in ("pool.getReserveData", "pool.getReserveNormalizedIncome"):
            output = call["output"][2:]
            words[call["key"], call["item"]] = [int(output[at : at + 64], 16) for at in range(0, len(output), 64)]
    return words


def work_out():
    """Every column of the row: (name, value, how)."""
    expected = read_json(DEMO / "expected.json")
    chain_of = next(chain for chain in expected["chains"] if chain["csu"] == CSU)
    day = next(day for day in chain_of["days"] if day["day"] == DAY)
    csu, chain, classes = registry()
    words = words_of_bronze()

    reserves = []
    for read in day["reserves"]:
        token = read["token"].lower()
        unit = 10 ** int(read["decimals"])
        price = Fraction(int(read["price"]), 10**8)
        usd = lambda raw: Fraction(int(raw), unit) * price
        data = words["pool.getReserveData", token]
        income = words["pool.getReserveNormalizedIncome", token][0]
        configuration, accrued_to_treasury = data[0], data[12]
        reserves.append(
            {
                "token": token,
                "stable": classes[token]["is_stablecoin"],
                "supplied": usd(read["a_token_supply"]),
                "borrowed": usd(int(read["stable_debt"]) + int(read["variable_debt"])),
                "available": usd(read["cash"]),
                "reserves": usd(accrued_to_treasury * income // RAY),
                "supply_rate": Fraction(int(read["liquidity_rate"]), RAY),
                "borrow_rate": Fraction(int(read["variable_borrow_rate"]), RAY),
                "threshold": Fraction(int(read["liquidation_threshold"]), 10**4),
                # Bits 32 to 47 of the configuration: 10500 is a bonus of 5 per cent.
                "bonus": Fraction((configuration >> 32) % 2**16 - 10**4, 10**4),
            }
        )
    total = lambda name, keep=lambda of: True: sum((of[name] for of in reserves if keep(of)), Fraction())
    mean = lambda rate, weight, keep=lambda of: True: (
        sum((of[rate] * of[weight] for of in reserves if keep(of)), Fraction()) / total(weight, keep)
    )
    is_stable = lambda of: of["stable"]
    backs = lambda of: of["threshold"] > 0
    supplied, borrowed = total("supplied"), total("borrowed")
    hhi = lambda parts: sum((part / sum(parts)) ** 2 for part in parts)

    events = day["liquidations"]
    debts = [Fraction(event["debt_usd"]) for event in events]
    collateral = sum((Fraction(event["collateral_usd"]) for event in events), Fraction())
    by_liquidator = {}
    for event, debt in zip(events, debts):
        by_liquidator[event["liquidator"]] = by_liquidator.get(event["liquidator"], Fraction()) + debt
    distinct = lambda name: len({event[name] for event in events})

    date = datetime.date.fromisoformat(DAY)
    day_num = (date - datetime.date(1970, 1, 1)).days
    deployed = datetime.date.fromisoformat(csu["deployed_date"])
    start, end, last = int(day["day_start"]), int(day["day_end"]), day["last_block"]
    block_ts = datetime.datetime.fromtimestamp(int(last["timestamp"]), datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    first, blocks = int(day["first_block"]["number"]), int(day["blocks"])
    names = " + ".join(f"{float(of['supplied']):,.2f}" for of in reserves)
    debt_names = " + ".join(f"{float(of['borrowed']):,.2f}" for of in reserves)

    return [
        ("csu", CSU, "registry"),
        ("csu_num", csu["num"], "registry"),
        ("date", DAY, "the day"),
        ("day_num", day_num, "days from 1970-01-01"),
        ("protocol", csu["protocol"], "registry"),
        ("version", csu["version"], "registry"),
        ("family", "aave_v3", "registry: the file's name"),
        ("chain", CHAIN, "registry"),
        ("chain_id", chain["chain_id"], "registry"),
        ("is_l2", chain["is_l2"], "registry"),
        ("status", "collected", "both parts below"),
        ("snap_status", "collected", "every call of the snapshot was answered"),
        ("usd_status", "complete", "every reserve has a price"),
        ("liq_status", "collected", "every block was scanned"),
        ("liq_audit", "one_source", "the recording stands in for one operator"),
        ("quality_flags", "available_by_balance;receive_a_token", "cash is a balance (3.0); one liquidator took aTokens"),
        ("day_hours", (end - start) // 3600, f"({end} - {start}) / 3600"),
        ("block_number", int(last["number"]), "last header before the day's end"),
        ("block_ts", block_ts, f"its timestamp, {last['timestamp']}"),
        ("snap_lag_s", end - int(last["timestamp"]), f"{end} - {last['timestamp']}"),
        ("age_days", (date - deployed).days, f"since {deployed}"),
        ("n_markets", 1, "one pool"),
        ("n_reserves", len(reserves), "getReservesList"),
        ("n_reserves_unpriced", 0, "getAssetPrice answers for all"),
        ("supplied_usd", supplied, f"aToken.totalSupply x price: {names}"),
        ("collateral_usd", Fraction(), "Aave lends all it takes"),
        ("borrowed_usd", borrowed, f"debt tokens' totalSupply x price: {debt_names}"),
        ("minted_usd", Fraction(), "no GHO"),
        ("available_usd", total("available"), "balanceOf(aToken) x price"),
        ("tvl_usd", supplied, "supplied + collateral"),
        ("tvl_net_usd", supplied - borrowed, "tvl - borrowed"),
        ("tvl_priced_usd", supplied, "all are priced"),
        ("reserves_usd", total("reserves"), "accruedToTreasury x normalized income x price (words of bronze)"),
        ("deficit_usd", None, "3.0 keeps none"),
        ("utilization", borrowed / supplied, "borrowed / supplied"),
        ("stable_supply_share", total("supplied", is_stable) / supplied, "USDC / supplied"),
        ("stable_borrow_share", total("borrowed", is_stable) / borrowed, "USDC / borrowed"),
        ("hhi_supply", hhi([of["supplied"] for of in reserves]), "sum of squared shares of three tokens"),
        ("hhi_borrow", hhi([of["borrowed"] for of in reserves]), "the same of debt"),
        ("top1_supply_share", max(of["supplied"] for of in reserves) / supplied, "largest token / supplied"),
        ("supply_apr", mean("supply_rate", "supplied"), "currentLiquidityRate / 1e27, weighted by supply"),
        ("borrow_apr", mean("borrow_rate", "borrowed"), "currentVariableBorrowRate / 1e27, weighted by debt"),
        ("supply_apr_stable", mean("supply_rate", "supplied", is_stable), "USDC's"),
        ("borrow_apr_stable", mean("borrow_rate", "borrowed", is_stable), "USDC's"),
        ("liq_threshold_wavg", mean("threshold", "supplied", backs), "thresholds, weighted by supply"),
        ("liq_bonus_wavg", mean("bonus", "supplied", backs), "bonus in the configuration word, weighted by supply"),
        ("liq_count", int(day["liquidations_count"]), "receipts"),
        ("liq_event_count", len(events), "one log each"),
        ("liq_tx_count", distinct("tx_hash"), "receipts"),
        ("liq_borrowers", distinct("user"), "receipts"),
        ("liq_liquidators", distinct("liquidator"), "receipts"),
        ("liq_debt_usd", sum(debts), " + ".join(f"{float(debt):,.2f}" for debt in debts)),
        ("liq_coll_usd", collateral, "collateral x price at the liquidation's block"),
        ("liq_bonus_usd", collateral - sum(debts), "collateral - debt"),
        ("liq_max_usd", max(debts), "the larger of the two"),
        ("bad_debt_usd", None, "3.0 books none"),
        ("hhi_liquidators", hhi(list(by_liquidator.values())), "squared shares of two liquidators"),
        ("top1_liquidator_share", max(by_liquidator.values()) / sum(debts), "larger share"),
        ("liq_priced_share", Fraction(1), "both have both prices"),
        ("px_cov_share", Fraction(1), "three of three"),
        ("px_protocol_share", Fraction(1), "all by Aave's oracle"),
        ("px_chainlink_share", Fraction(), "none"),
        ("px_other_share", Fraction(), "none"),
        ("px_max_age_s", None, "Aave's oracle does not tell its rounds"),
        ("blocks_expected", blocks, f"{last['number']} - {first} + 1"),
        ("blocks_scanned", int(last["number"]) - first + 1, "all of them"),
        ("log_cov_share", Fraction(1), "scanned / expected"),
    ]


def lineage(row):
    """The digests, as the codebook defines them: (name, value, how)."""
    listing = []
    for path in (f"bronze/blocks/{CHAIN}/{DAY}.json", f"bronze/liquidations/{CSU}/{DAY}.json", f"bronze/tvl/{CSU}/{DAY}.json"):
        listing.append(f"{path} {hashlib.sha256((DEMO / 'lake' / path).read_bytes()).hexdigest()}\n")
    # Endpoints are no facts: providers.toml is left out.
    files = [path.relative_to(DEMO / "registry").as_posix() for path in (DEMO / "registry").rglob("*.toml") if path.name != "providers.toml"]
    of_registry = sorted(f"{name} {hashlib.sha256((DEMO / 'registry' / name).read_bytes()).hexdigest()}\n" for name in files)
    never_null = {"quality_flags"}
    cells = [name if value == "" and name not in never_null else f"{name}={value}" for name, value in row.items() if name != "row_hash"]
    digest = lambda text: hashlib.sha256(text.encode()).hexdigest()
    return [
        ("registry_hash", digest("".join(of_registry)), "`file sha256` of each registry file, in order"),
        ("inputs_hash", digest("".join(sorted(listing))), "`path sha256` of the three bronze objects, in order"),
        ("row_hash", digest("".join(f"{cell}\n" for cell in cells)), "`name=value` of every other column, in order"),
    ]


def text(value):
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{float(value):.15g}" if isinstance(value, Fraction) else str(value)


def table(rows):
    lines = ["| column | by hand | how |", "|---|---:|---|"]
    lines += [f"| `{name}` | {text(value) or 'null'} | {how} |" for name, value, how in rows]
    return "\n".join(lines)


def differences(rows, row):
    """Figures that are not gold's: floats within 1e-12, all others exactly."""
    found = []
    for name, value, _ in rows:
        have = row[name]
        if isinstance(value, Fraction) and have != "":
            same = abs(Fraction(have) - value) <= abs(value) * Fraction(1, 10**12)
        else:
            same = have == text(value)
        if not same:
            found.append(f"{name}: gold has {have or 'null'}, by hand it is {text(value) or 'null'}")
    missing = set(row) - {name for name, _, _ in rows} - {"schema_version", "release", "code_version"}
    return found + [f"{name}: not worked out" for name in sorted(missing)]


def main(arguments):
    with open(DEMO / "lake/gold/panel_daily.csv", newline="", encoding="utf-8") as file:
        row = next(row for row in csv.DictReader(file) if (row["csu"], row["date"]) == (CSU, DAY))
    rows = work_out() + lineage(row)
    # Digests of the program's own words are gold's business; the page shows figures.
    shown = table(rows[: -3])
    wrong = differences(rows, row)
    if "--check" in arguments or "--write" in arguments:
        page = PAGE.read_text(encoding="utf-8")
        before, rest = page.split(BEGIN)
        _, after = rest.split(END)
        wanted = f"{before}{BEGIN}\n\n{shown}\n\n{END}{after}"
        if "--write" in arguments:
            PAGE.write_text(wanted, encoding="utf-8")
        elif page != wanted:
            wrong.append(f"{PAGE.relative_to(ROOT)} is stale: run docs/examples/one_csu_day.py --write")
    else:
        print(shown)
    for line in wrong:
        print(line, file=sys.stderr)
    print(f"{CSU} {DAY}: {len(rows) - len(wrong)} of {len(rows)} columns equal gold's", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
