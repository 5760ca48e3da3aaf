"""The package itself: its generated code is that of proto/, its types hold, its optional parts are optional."""

from __future__ import annotations

import importlib.util
import pathlib
import subprocess
import sys

import faramesh
import pytest

HERE = pathlib.Path(__file__).resolve().parent.parent


def test_the_generated_wire_is_that_of_proto(tmp_path: pathlib.Path) -> None:
    spec = importlib.util.spec_from_file_location("regenerate_wire", HERE / "regenerate_wire.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.generate(tmp_path)
    for name in ("agent_pb2.py", "agent_pb2.pyi"):
        committed = (HERE / "faramesh" / "_wire" / name).read_text()
        assert (tmp_path / name).read_text() == committed, f"run `python regenerate_wire.py`: {name} differs"


def test_the_package_type_checks() -> None:
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", "pyproject.toml"],
        cwd=HERE,
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout


def test_importing_the_package_needs_no_optional_dependency() -> None:
    code = (
        "import sys\n"
        "for name in ('langchain_core', 'cryptography'): sys.modules[name] = None\n"
        "import faramesh\n"
        "faramesh.governed\n"
        "try:\n"
        "    faramesh.GovernedToolSet\n"
        "except ImportError:\n"
        "    print('missing')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "missing\n"


@pytest.mark.parametrize("name", faramesh.__all__)
def test_every_public_name_is_there_and_documented(name: str) -> None:
    assert getattr(faramesh, name).__doc__
