"""docs/hardware.md: each claim has one of the words it defines, and a test that exists, or none."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "hardware.md").read_text(encoding="utf-8")
ROWS = [
    tuple(cell.strip() for cell in line.strip("|").split("|"))
    for line in TEXT.splitlines()
    if line.startswith("| ") and not line.startswith(("| ---", "| claim", "| word"))
]
WORDS = {row[0] for row in ROWS if len(row) == 2}
CLAIMS = [row for row in ROWS if len(row) == 3]


def faults(claim: tuple[str, ...]) -> list[str]:
    text, word, where = claim
    named = re.findall(r"`(tests/[\w/.-]+)`", where)
    out = [f"{text}: {word} is not a word of the table"] if word not in WORDS else []
    out += [f"{text}: there is no {path}" for path in named if not (ROOT / path).is_file()]
    out += [f"{text}: {path} tests nothing" for path in named if not _tests(ROOT / path)]
    if bool(named) == (word == "never run"):
        out.append(f"{text}: {'a test' if named else 'no test'} for {word}")
    return out


def _tests(path: Path) -> bool:
    return path.is_file() and re.search(r"^def test_", path.read_text(), re.MULTILINE) is not None


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim[0][:40])
def test_a_claim_is_established_as_it_says(claim: tuple[str, ...]) -> None:
    assert not faults(claim)


def test_the_page_is_read_whole() -> None:
    assert len(WORDS) == 7 and len(CLAIMS) > 30 and len(WORDS) + len(CLAIMS) == len(ROWS)


@pytest.mark.parametrize(
    "claim",
    [
        ("c", "proven", "`tests/docs/test_hardware_page.py`"),
        ("c", "contract", "`tests/docs/test_none.py`"),
        ("c", "contract", "`tests/hls/vendor_stub.tcl`"),
        ("c", "contract", ""),
        ("c", "never run", "`tests/docs/test_hardware_page.py`"),
    ],
)
def test_a_claim_that_is_not_is_found(claim: tuple[str, ...]) -> None:
    assert faults(claim)
