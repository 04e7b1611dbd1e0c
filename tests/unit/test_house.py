"""House rules that are tests: sizes, names, what must not be written down."""

from __future__ import annotations

import ast
import subprocess
from pathlib import Path

import pytest

from support.programs import may_skip, packages_asked

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
FUNCTION_LINES_MAX = 70
MODULE_LINES_MAX = 500
# Longer than the rule allows; this list only shrinks.
LONG_MODULES: frozenset[str] = frozenset()
LONG_FUNCTIONS: frozenset[str] = frozenset()


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_and_functions_stay_short(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    name = str(path.relative_to(ROOT / "src" / "ringroad"))
    lines = text.count("\n")
    assert lines <= MODULE_LINES_MAX or name in LONG_MODULES, f"{name} has {lines} lines: is it two rooms?"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= FUNCTION_LINES_MAX or f"{name}:{node.name}" in LONG_FUNCTIONS, (
                f"{name}:{node.lineno} {node.name} has {length} lines"
            )


def test_no_module_is_named_like_a_library_it_uses() -> None:
    assert not {path.stem for path in SOURCES} & {"nats", "nt", "tuf", "click", "httpx"}


def test_no_file_names_a_registry_or_a_path_of_one_machine() -> None:
    words = ("index" + "-url", '"resolved' + '"', "files.python" + "hosted.org", "registry.npm" + "js.org")
    here = {str(ROOT) + "/"} if len(ROOT.parts) > 2 else set()
    for path in tracked():
        if path.suffix in {".lock", ".toml", ".json", ".md", ".py", ".sh", ""} and "static/vendor" not in str(
            path
        ):
            text = path.read_text(encoding="utf-8", errors="replace")
            if path == Path(__file__):
                continue
            for word in words:
                assert word not in text or path.name in {"Makefile", "pyproject.toml"}, (
                    f"{path.name} names {word}"
                )
            for folder in here:
                assert folder not in text, f"{path.relative_to(ROOT)} names a path of this machine"


def test_every_exemption_is_still_needed() -> None:
    for name in LONG_MODULES:
        assert (ROOT / "src" / "ringroad" / name).read_text(encoding="utf-8").count("\n") > MODULE_LINES_MAX


def test_the_build_installs_every_program_for_want_of_which_a_test_would_be_skipped() -> None:
    installed = set((ROOT / ".ci" / "run").read_text(encoding="utf-8").replace(";", " ").split())
    asked = {
        package
        for path in (ROOT / "tests").rglob("*.py")
        if path.name != Path(__file__).name
        for package in packages_asked(path.read_text(encoding="utf-8"))
    }
    assert asked >= {"swupdate", "nginx", "chromium", "iproute2"}
    assert asked <= installed


@pytest.mark.parametrize(
    ("reason", "environment", "may"),
    [
        ("swupdate is not installed: apt install swupdate", {}, True),
        ("swupdate is not installed: apt install swupdate", {"FOREIGN_PROGRAMS": "required"}, False),
        ("the shared data is absent", {"FOREIGN_PROGRAMS": "required"}, True),
    ],
)
def test_only_where_programs_were_not_installed_is_a_test_skipped_for_want_of_one(
    reason: str, environment: dict[str, str], *, may: bool
) -> None:
    assert may_skip(reason, environment) is may
