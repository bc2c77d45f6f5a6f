"""README and docs stay true: links lead somewhere, names exist, commands parse, examples run."""

import importlib
import pkgutil
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import eftraind

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
MODULES = {module.name for module in pkgutil.iter_modules(eftraind.__path__)}
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
DOTTED = re.compile(r"[a-z_]\w*(\.[A-Za-z_]\w*)+")
PATH = re.compile(r"(eftraind|docs|scripts|tests|benchmarks|configs|examples)/[\w./-]+")
SOCKET = "ipc:///run/eftraind/eft.sock"
ELSEWHERE = {"pip", "sudo", "git", "cd", "systemctl", "curl", "python", "export"}


def blocks(language: str) -> Iterator[Any]:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for number, match in enumerate(BLOCK.finditer(text)):
            if match[1] == language:
                yield pytest.param(match[2], id=f"{page.name}-{number}")


def prose(page: Path) -> str:
    return BLOCK.sub("", page.read_text(encoding="utf-8"))


def exists(name: str) -> bool:
    """Whether `a.b.C.d` is a module, class, function, method or field of the package."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(["eftraind", *parts[:length]]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            fields = getattr(found, "__dataclass_fields__", {})
            if part in fields or part in getattr(found, "__annotations__", {}):
                return True
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True
    return False


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = prose(page)
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_paths_and_names_exist(page: Path) -> None:
    for word in re.findall(r"`([^`\n]+)`", prose(page)):
        if re.fullmatch(
            r"(eftraind|docs|scripts|tests|benchmarks|configs|examples)/[\w./-]+", word
        ):
            assert (ROOT / word).exists(), f"{page.name} mentions {word}"
        elif DOTTED.fullmatch(word.removesuffix("()")):
            name = word.removesuffix("()").removeprefix("eftraind.")
            if name.partition(".")[0] in MODULES and page.name in ("README.md", "overview.md"):
                assert exists(name), f"{page.name} mentions {word}"


def test_the_name_check_itself() -> None:
    assert exists("errors.EftraindError.code") and exists("clock.Clock.sleep")
    assert not exists("clock.Clock.fly") and not exists("nothing.here")


@pytest.mark.parametrize("code", list(blocks("bash")))
def test_commands_exist_and_take_their_flags(code: str) -> None:
    for line in code.splitlines():
        words = shlex.split(line, comments=True)
        if not words:
            continue
        if words[0].startswith("./"):
            script = ROOT / words[0]
            assert script.exists() and script.stat().st_mode & 0o111, line
            if script.name == "demo":
                check_command(["demo", *words[1:]], line)
        elif words[0] == "eftraind":
            check_command(words[1:], line)
        else:
            assert words[0] in ELSEWHERE, line


def check_command(words: list[str], line: str) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "eftraind", words[0], "--help"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == 0, line
    for flag in (word.partition("=")[0] for word in words if word.startswith("--")):
        assert flag in run.stdout, f"{line}: no flag {flag}"


@pytest.mark.parametrize("code", list(blocks("python")))
def test_examples_run(code: str) -> None:
    fake = pytest.importorskip("eftraind.client.fake")
    with fake.FakeDaemon(shape=(8, 8, 1), classes=10) as daemon:
        exec(compile(code.replace(SOCKET, daemon.endpoint), "example", "exec"), {})
