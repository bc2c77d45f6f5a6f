"""The pragma lint: the kernel is clean, and each class of mistake is found when it is planted; and
the vector unit is one, of the operators that the planner counts."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

from eftraind.plan.design import VECTOR_FADDS, VECTOR_FMULS

HLS = Path(__file__).parents[2] / "hls"


def load() -> Any:
    spec = importlib.util.spec_from_file_location("hls_lint", HLS / "lint.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


lint = load()


def test_the_kernel_is_clean() -> None:
    assert lint.check(HLS / "src") == []


GOOD = """
static float big[8][4], two[2];
static void add(const float x[8][4],
                float y[8][4]) {
  HLS(INLINE off)
  HLS(ARRAY_PARTITION variable=big complete dim=2)
add_row:
  for (int i = 0; i < most(1, 8); ++i) {
    HLS(PIPELINE II=1)
    HLS(LOOP_TRIPCOUNT min=1 max=8)
    HLS(DEPENDENCE variable=y inter RAW distance=16 true)
  add_lane:
    for (int m = 0; m < 4; ++m) {
      HLS(UNROLL)
      y[i][m] = y[i][m] + x[i][m];
    }
  }
}
"""

PLANTED = {
    "misspelt name": ("HLS(UNROLL)", "HLS(UNROL)", "unknown pragma UNROL"),
    "misspelt option": ("PIPELINE II=1", "PIPELINE ii=1", "no option ii="),
    "misspelt word": ("complete", "compleet", "no option compleet"),
    "keyword spelling": (" complete dim", " type=complete dim", "no option type="),
    "expression": ("max=8)", "max=2*4)", "one name or number"),
    "missing option": ("min=1 max=8", "max=8", "needs min="),
    "missing variable": ("variable=big ", "", "needs variable="),
    "unknown variable": ("variable=y", "variable=z", "nothing here is called z"),
    "dimension": ("dim=2", "dim=3", "has 2 dimensions"),
    "dimension of the other": ("variable=big", "variable=two", "has 1 dimensions"),
    "pipeline before the loop": (
        "add_row:\n", "  HLS(PIPELINE II=1)\nadd_row:\n", "PIPELINE must be first inside"
    ),
    "unroll before the loop": (
        "    HLS(LOOP_TRIPCOUNT min=1 max=8)\n", "    HLS(UNROLL)\n", "UNROLL behind another"
    ),
    "not first": ("      HLS(UNROLL)\n", "      f();\n      HLS(UNROLL)\n", "UNROLL must be"),
    "bare pragma": ("    HLS(PIPELINE II=1)", "#pragma HLS PIPELINE II=1", "outside the HLS macro"),
    "no label": ("  add_lane:\n", "", "without a label"),
}  # fmt: skip


def findings(tmp_path: Path, source: str) -> str:
    (tmp_path / "a.h").write_text(source)
    return "\n".join(str(finding) for finding in lint.check(tmp_path))


def test_what_is_right_is_not_complained_about(tmp_path: Path) -> None:
    assert findings(tmp_path, GOOD) == ""
    assert findings(tmp_path, GOOD + "// HLS(UNROL)\n/* HLS(UNROL) */\n") == ""


@pytest.mark.parametrize("mistake", PLANTED)
def test_a_planted_mistake_is_found(tmp_path: Path, mistake: str) -> None:
    before, after, complaint = PLANTED[mistake]
    assert before in GOOD
    assert complaint in findings(tmp_path, GOOD.replace(before, after, 1))


def test_the_command_ends_with_1_if_there_is_a_finding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.h").write_text(GOOD.replace("UNROLL", "UNROL"))
    monkeypatch.setattr(sys, "argv", ["lint.py", str(tmp_path)])
    assert lint.main() == 1
    assert "a.h:14: unknown pragma UNROL" in capsys.readouterr().out


def test_the_vector_unit_is_called_once_and_has_the_operators_that_are_counted() -> None:
    sources = {path.name: path.read_text() for path in (HLS / "src").iterdir()}
    calls = {name: text.count(" unit(") for name, text in sources.items() if " unit(" in text}
    assert calls == {"unit.h": 1, "store.h": 1}  # where it is defined, and the one call
    assert "inline Made unit(" in sources["unit.h"]
    body = sources["unit.h"].split("inline Made unit(")[1]
    assert (body.count("op=fmul"), body.count("op=fadd")) == (VECTOR_FMULS, VECTOR_FADDS)
    code = "\n".join(line.split("//")[0] for line in body.splitlines() if "HLS(" not in line)
    assert (code.count(" * "), code.count(" + ")) == (VECTOR_FMULS, VECTOR_FADDS)
