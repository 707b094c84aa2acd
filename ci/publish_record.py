"""Make the page of a run record for ``results``, without a place of this machine: ci/publish_record.py RECORD PAGE

Directories are named for what they are (the checkout, an environment, a temporary one). A path that is left ends it.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from pathlib import Path

from harness.records import load_record
from harness.report.page import write_page

ROOT = Path(__file__).resolve().parents[1]
NAMED = (
    (re.escape(str(ROOT)), "assay"),
    (r"/[^\s\"'\\]*?/(?=(?:bin/|lib/python3))", "environment/"),
    (re.escape(str(Path.home())) + r"(?=[/\"\s])", "home"),
    (re.escape(tempfile.gettempdir()) + r"/[^\s\"'\\:,)]*", "temporary"),
)
LEFT = re.compile(r"(?<![\w./:<])/(?:home|root|tmp|work|mnt|opt|usr|Users)/[^\s\"'<]*")


def publish(record: Path, page: Path) -> None:
    text = json.dumps(load_record(record))
    for pattern, name in NAMED:
        text = re.sub(pattern, name, text)
    write_page(json.loads(text), page)
    if left := LEFT.search(page.read_text(encoding="utf-8")):
        page.unlink()
        raise SystemExit(f"{page} is not written: {left[0]} of {record} is a place of this machine")


if __name__ == "__main__":
    publish(Path(sys.argv[1]), Path(sys.argv[2]))
