#!/usr/bin/env python3
"""Is gold what its data package says? Frictionless (PyPI) reads gold/datapackage.json and every CSV that it names: types, ranges,
words, primary keys, sizes and digests. Of the Parquet files size and digest are compared.

    python3 crates/panel/checks/codebook.py data/demo/lake/gold
"""

import hashlib
import json
import pathlib
import sys

from frictionless import Package


def main(gold):
    descriptor = json.loads((gold / "datapackage.json").read_text(encoding="utf-8"))
    wrong = []
    for resource in descriptor["resources"]:
        content = (gold / resource["path"]).read_bytes()
        if (resource["bytes"], resource["hash"]) != (len(content), "sha256:" + hashlib.sha256(content).hexdigest()):
            wrong.append(f"{resource['path']}: not the bytes that the package names")
    tables = [resource for resource in descriptor["resources"] if resource["format"] == "csv"]
    package = Package.from_descriptor({**descriptor, "resources": tables}, basepath=str(gold))
    report = package.validate()
    for task in report.tasks:
        wrong += [f"{task.name}: {error.message}" for error in task.errors]
    for line in wrong[:50]:
        print(line)
    rows = sum(task.stats["rows"] for task in report.tasks)
    print(f"data package: {len(descriptor['resources'])} files, {rows} rows of CSV read, {len(wrong)} errors")
    return 0 if rows > 0 and not wrong and report.valid else 1


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1])))
