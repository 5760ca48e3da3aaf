#!/usr/bin/env python3
"""Measures the trusted base: lines without tests, comments and blanks; `unsafe`; direct dependencies.

`--write` puts the table between the markers in ARCHITECTURE.md; `--check` fails when the page says something else.
"""
import pathlib
import re
import subprocess
import sys
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- tcb: begin -->", "<!-- tcb: end -->"
# (folder, what a mistake in it can do)
PARTS = [
    ("core", "decides; a mistake here can permit"),
    ("daemon", "carries calls to the core and records to the disk; parses HTTP/2 from agents"),
    ("signer", "holds the log key"),
    ("agent-shim", "confines the agent; starts as root"),
    ("proto", "generated code of the wire"),
]
OUTSIDE = [
    ("policy-compiler", "its output is checked again by the core when it is loaded"),
    ("cli", "runs as the operator; holds the policy key while it applies"),
    ("index", "reads the journal and nothing else; links RocksDB; what it answers is no evidence"),
]


def code_lines(text: str) -> tuple[int, int]:
    """(lines of code, places of `unsafe`) of one Rust file, without its tests."""
    text = re.split(r"\n#\[cfg\(test\)\]\n", text)[0]
    lines = [line.strip() for line in text.splitlines()]
    code = [line for line in lines if line and not line.startswith("//")]
    unsafe = sum(1 for line in code if re.search(r"\bunsafe\s*(\{|fn|impl|extern)", line))
    return len(code), unsafe


def row(folder: str, why: str) -> str:
    files = sorted((ROOT / folder / "src").rglob("*.rs"))
    files = [f for f in files if f.name != "tests.rs" and not {"tests", "simulation"} & set(f.relative_to(ROOT / folder / "src").parts)]
    counts = [code_lines(f.read_text()) for f in files]
    manifest = tomllib.loads((ROOT / folder / "Cargo.toml").read_text())
    direct = len(manifest.get("dependencies", {}))
    tree = subprocess.run(
        ["cargo", "tree", "--locked", "--offline", "-e", "normal", "--prefix", "none", "-p", f"faramesh-{folder}"],
        cwd=ROOT, capture_output=True, text=True, check=True).stdout
    crates = {line.split()[0] for line in tree.splitlines() if line.strip()} - {f"faramesh-{folder}"}
    return (f"| `{folder}/` | {sum(c for c, _ in counts):,} | {sum(u for _, u in counts)} | {direct} "
            f"| {len(crates)} | {why} |")


def table() -> str:
    head = ["| folder | lines | `unsafe` | direct dependencies | crates in all | what a mistake in it can do |",
            "|---|---|---|---|---|---|"]
    inside = [row(*part) for part in PARTS]
    outside = [row(*part) for part in OUTSIDE]
    return "\n".join(["Inside the trusted base:", "", *head, *inside, "", "Outside it:", "", *head, *outside])


def main() -> int:
    page = ROOT / "ARCHITECTURE.md"
    text = page.read_text()
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    new = f"{before}{BEGIN}\n{table()}\n{END}{after}"
    if "--write" in sys.argv:
        page.write_text(new)
        print(table())
        return 0
    if new != text:
        print("ARCHITECTURE.md: the trusted base's table is out of date; run `make tcb`", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
