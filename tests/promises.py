#!/usr/bin/env python3
"""Writes the promise table of SECURITY.md from docs/promises.toml, and checks that every test that it or the table of
tamperings names exists.

`--write` writes; without it a page that says something else, or a test that is not there, fails.
"""
import pathlib
import re
import subprocess
import sys
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- promises: begin -->", "<!-- promises: end -->"
TAMPERING = ("<!-- tampering: begin -->", "<!-- tampering: end -->")


def test_names() -> set[str]:
    """Every test function in the tree: Rust functions under `#[test]` or a macro of that name, and pytest's."""
    files = subprocess.run(["git", "ls-files", "*.rs", "*.py"], cwd=ROOT, capture_output=True, text=True,
                           check=True).stdout.split()
    names = set()
    for file in files:
        text = (ROOT / file).read_text()
        names |= set(re.findall(r"#\[(?:tokio::)?test[^\]]*\]\s*(?:#\[[^\]]*\]\s*)*(?:async )?fn (\w+)", text))
        names |= set(re.findall(r"^\s*(?:async )?def (test_\w+)", text, re.M))
        names |= set(re.findall(r"^\s*fn (\w+)\([^)]*\) ?\{", text, re.M)) if "proptest!" in text else set()
    return names


def tampering(page: str, known: set[str]) -> list[str]:
    """The tests of the table of tamperings that do not exist, and its rows without one. Tests stand in the last column."""
    rows = page.split(TAMPERING[0])[1].split(TAMPERING[1])[0].strip().splitlines()[2:]
    wrong = [] if rows else ["the table is empty"]
    for row in rows:
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        tests = re.findall(r"`(\w+)`", cells[-1])
        if not tests:
            wrong.append(f"`{cells[0]}` names no test")
        wrong += [f"`{cells[0]}` names the test `{test}`, which does not exist" for test in tests if test not in known]
    return wrong


def main() -> int:
    promises = tomllib.loads((ROOT / "docs/promises.toml").read_text())["promise"]
    known = test_names()
    missing = [(p["id"], t) for p in promises for t in p.get("tests", []) if t not in known]
    for promise, test in missing:
        print(f"docs/promises.toml: {promise} names the test `{test}`, which does not exist", file=sys.stderr)
    lines = ["| | promise, as far as it is kept | boundary | door, tier | held by | limit |", "|---|---|---|---|---|---|"]
    for p in promises:
        held = "<br>".join(f"`{t}`" for t in p.get("tests", [])) or "not yet"
        lines.append(f"| {p['id']} | {p['promise']} | {p['boundary']} | {p['where']} | {held} | {p['limit']} |")
    page = ROOT / "SECURITY.md"
    text = page.read_text()
    unknown = tampering(text, known)
    for wrong in unknown:
        print(f"SECURITY.md: {wrong}", file=sys.stderr)
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    new = f"{before}{BEGIN}\n" + "\n".join(lines) + f"\n{END}{after}"
    if "--write" in sys.argv:
        page.write_text(new)
    elif new != text:
        print("SECURITY.md: the promise table is out of date; run `python3 tests/promises.py --write`", file=sys.stderr)
        return 1
    return 1 if missing or unknown else 0


if __name__ == "__main__":
    sys.exit(main())
