"""Looks at the HLS pragmas of the kernel: what the vendor's front end takes silently and wrongly.

`python hls/lint.py hls/src` prints one line a finding and ends with 1 if there is any. A finding is
a pragma with an unknown name, an unknown or missing option, a variable that nothing around it
declares, a dimension that the array lacks, a loop pragma that is not first inside a loop's body, a
pragma outside the one macro, or a loop without a label. It knows the pragmas that this kernel may
use, no more.
"""

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# name -> (words without a value, options, options that must be there)
PRAGMAS: dict[str, tuple[set[str], set[str], set[str]]] = {
    "INTERFACE": (
        {"m_axi", "s_axilite", "ap_none"},
        {"port", "bundle", "offset", "depth", "latency", "max_read_burst_length"}
        | {"max_write_burst_length", "num_read_outstanding", "num_write_outstanding"},
        {"port"},
    ),
    "PIPELINE": ({"off"}, {"II"}, set()),
    "UNROLL": (set(), {"factor"}, set()),
    "INLINE": ({"off"}, set(), set()),
    "LOOP_TRIPCOUNT": (set(), {"min", "max", "avg"}, {"min", "max"}),
    "ARRAY_PARTITION": (
        {"complete", "cyclic", "block"},
        {"variable", "dim", "factor"},
        {"variable", "dim"},
    ),
    "DEPENDENCE": (
        {"inter", "intra", "RAW", "WAR", "WAW", "true", "false"},
        {"variable", "distance"},
        {"variable"},
    ),
    "BIND_OP": (set(), {"variable", "op", "impl", "latency"}, {"variable", "op"}),
    "BIND_STORAGE": (set(), {"variable", "type", "impl", "latency"}, {"variable", "type"}),
    "ALLOCATION": ({"function", "operation"}, {"instances", "limit"}, {"instances", "limit"}),
}
OF_LOOPS = {"PIPELINE", "UNROLL", "LOOP_TRIPCOUNT"}
MACRO = re.compile(r"\bHLS\((?P<text>[^()]*(?:\([^()]*\)[^()]*)*)\)")
LABEL = re.compile(r"^\s*\w+:\s*$")
FOR = re.compile(r"^\s*for \(")
_FUNCTION = ("static ", "inline ", "extern ", "template ")
"""How the line begins that opens a function of the kernel."""


@dataclass(frozen=True)
class Finding:
    path: Path
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.text}"


def code_of(source: str) -> list[str]:
    """Lines without comments."""
    blank = re.sub(r"/\*.*?\*/", lambda m: "\n" * m[0].count("\n"), source, flags=re.DOTALL)
    return [line.split("//")[0].rstrip() for line in blank.splitlines()]


def split(text: str) -> tuple[str, list[str], dict[str, str]]:
    """Name, words and options of a pragma."""
    name, *rest = text.split()
    words = [part for part in rest if "=" not in part]
    options = dict(part.split("=", 1) for part in rest if "=" in part)
    return name, words, options


def options_of(text: str) -> Iterator[str]:
    """What is wrong with a pragma by itself."""
    name, words, options = split(text)
    if name not in PRAGMAS:
        yield f"unknown pragma {name}"
        return
    allowed_words, allowed, needed = PRAGMAS[name]
    yield from (f"{name} has no option {word}" for word in words if word not in allowed_words)
    yield from (f"{name} has no option {key}=" for key in options if key not in allowed)
    yield from (f"{name} needs {key}=" for key in sorted(needed - options.keys()))
    yield from (
        f"{name}: {key}= must be one name or number, not {value!r}"
        for key, value in options.items()
        if not re.fullmatch(r"\w+", value)
    )


def opening(lines: list[str], at: int) -> int | None:
    """The line whose brace the pragma on line `at` stands in."""
    depth = 0
    for index in range(at - 1, -1, -1):
        depth += lines[index].count("}") - lines[index].count("{")
        if depth < 0:
            return index
    return None


def statement(lines: list[str], brace: int) -> int:
    """First line of the statement that a brace ends."""
    start, depth = brace, lines[brace].count(")") - lines[brace].count("(")
    while depth > 0 and start > 0:
        start -= 1
        depth += lines[start].count(")") - lines[start].count("(")
    return start


def first_inside(lines: list[str], at: int) -> bool:
    """Nothing but pragmas lies between a `for (..) {` and line `at`."""
    brace = opening(lines, at)
    if brace is None or not FOR.match(lines[statement(lines, brace)]):
        return False
    return all(not line.strip() or MACRO.search(line) for line in lines[brace + 1 : at])


def dimensions(lines: list[str], variable: str, at: int, everything: list[str]) -> int | None:
    """Array dimensions of a name declared in the function around line `at`, or at file scope of any
    file; None if nobody declares it."""
    start = at
    while start > 0 and not lines[start].startswith(_FUNCTION):
        start -= 1
    declared = re.compile(rf"[\w>&*]\s*[\s&*]\b{variable}\b\s*((?:\[[^\]]*\])*)\s*[,;)={{]")
    several = re.compile(
        rf"^\s*(?:static )?(?:float|int|Word) [^;()]*\b{variable}\b((?:\[[^\]]*\])*)\s*[,;]"
    )
    for line in [*reversed(lines[start : at + 1]), *everything]:
        if found := several.search(line) or declared.search(line):
            return found[1].count("[")
    return None


def place_of(lines: list[str], at: int, text: str, globals_: list[str]) -> Iterator[str]:
    """What is wrong with where a pragma stands, and with what it names."""
    name, _, options = split(text)
    if name in OF_LOOPS and not first_inside(lines, at):
        yield f"{name} must be first inside a loop's body"
    elif name in ("PIPELINE", "UNROLL") and re.search(r"HLS\((PIPELINE|UNROLL)", lines[at - 1]):
        yield f"{name} behind another: does it belong to the next loop?"
    for key in ("variable", "port"):
        if (variable := options.get(key)) and variable != "return":
            count = dimensions(lines, variable, at, globals_)
            dim = options.get("dim", "0")
            if count is None:
                yield f"{name}: nothing here is called {variable}"
            elif name == "ARRAY_PARTITION" and (not dim.isdigit() or not 1 <= int(dim) <= count):
                yield f"{name}: {variable} has {count} dimensions, not dim={dim}"


def findings_of(path: Path, source: str, globals_: list[str]) -> Iterator[Finding]:
    lines = code_of(source)
    bambu = False
    for at, line in enumerate(lines):
        bambu = line.startswith("#ifdef __BAMBU__") or (bambu and not line.startswith("#endif"))
        if line.lstrip().startswith("#define"):
            continue
        if re.match(r"\s*#\s*pragma HLS", line) and not bambu or "_Pragma" in line:
            yield Finding(path, at + 1, "a pragma outside the HLS macro")
        if FOR.match(line) and not LABEL.match(lines[at - 1]):
            yield Finding(path, at + 1, "a loop without a label")
        if "HLS" in line and line.lstrip().startswith("HLS"):
            match = MACRO.search(line)
            if match is None:
                yield Finding(path, at + 1, "a pragma that is not on one line")
                continue
            for text in (*options_of(match["text"]), *place_of(lines, at, match["text"], globals_)):
                yield Finding(path, at + 1, text)


def file_scope(source: str) -> list[str]:
    """Declarations outside all functions."""
    return [line for line in code_of(source) if re.match(r"(static|constexpr|const) [^()]*;", line)]


def check(folder: Path) -> list[Finding]:
    sources = {path: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.[hc]*"))}
    globals_ = [line for source in sources.values() for line in file_scope(source)]
    return [f for path, source in sources.items() for f in findings_of(path, source, globals_)]


def main() -> int:
    findings = check(Path(sys.argv[1]))
    for finding in findings:
        sys.stdout.write(f"{finding}\n")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
