#!/usr/bin/env python3
"""What a journal costs when it is long: `journal.py FARAMESH STACK_DIR GROWN.jsonl PICTURE.svg`.

The stack's daemon is stopped. GROWN.jsonl is what `wire` printed while it filled the journal. Floors are measured here, on
the same bytes: SHA-256 of them by one core, and reading them. Prints Markdown; draws the curve of the rate.
"""

import hashlib
import json
import math
import pathlib
import subprocess
import sys
import tempfile
import time


def timed(args, ok=(0,)):
    began = time.perf_counter()
    done = subprocess.run(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    took = time.perf_counter() - began
    if done.returncode not in ok:
        sys.exit(f"{args}: {done.returncode}\n{done.stderr.decode()}")
    return took, done.stdout


def written(path):
    """Bytes up to the last that is not zero: a segment has its full size from the start."""
    data = path.read_bytes()
    return data.rstrip(b"\0")


def picture(points, path):
    """Rate as a share of an echo's, over the journal's length."""
    width, height, left, bottom = 640, 280, 56, 36
    x = lambda n: left + (math.log10(n) - 3) / 4 * (width - left - 16)
    y = lambda v: height - bottom - v * (height - bottom - 16)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for share in (0, 0.25, 0.5, 0.75, 1):
        parts.append(f'<line x1="{left}" x2="{width - 16}" y1="{y(share)}" y2="{y(share)}" stroke="#ddd"/>')
        parts.append(f'<text x="{left - 6}" y="{y(share) + 4}" text-anchor="end">{share:.0%}</text>')
    for power, name in ((3, "1 thousand"), (4, "10"), (5, "100"), (6, "1 million"), (7, "10")):
        parts.append(f'<text x="{x(10**power)}" y="{height - 14}" text-anchor="middle">{name}</text>')
    line = " ".join(f'{x(p["records"]):.1f},{y(p["of_echo"]):.1f}' for p in points)
    parts.append(f'<polyline points="{line}" fill="none" stroke="#0b5" stroke-width="2"/>')
    for p in points:
        parts.append(f'<circle cx="{x(p["records"]):.1f}" cy="{y(p["of_echo"]):.1f}" r="3" fill="#0b5"/>')
    parts.append(f'<text x="{left}" y="12">durable decisions a second, beside an echo with the same 64 callers on 4 connections</text>')
    path.write_text("\n".join(parts + ["</svg>\n"]))


def main():
    faramesh, stack, grown, svg = sys.argv[1], *map(pathlib.Path, sys.argv[2:5])
    base = [faramesh, "--development", "--dir", str(stack)]
    journal = stack / ".faramesh/state/journal"
    points = [json.loads(line) for line in grown.read_text().splitlines()]
    print("| records | p50 / p99 | thousand/s | of the echo |\n|---|---|---|---|")
    for p in points:
        print(f'| {p["records"]:,} | {p["p50_us"]:,} / {p["p99_us"]:,} µs | {p["per_second"] / 1000:.1f} | {p["of_echo"]:.0%} |')
    picture([{**p, "records": min(max(p["records"], 1000), 10**7)} for p in points], svg)

    segments = sorted(journal.glob("*.seg"))
    data = 0
    sha = read = 0.0
    for segment in segments:
        began = time.perf_counter()
        held = written(segment)
        read += time.perf_counter() - began
        began = time.perf_counter()
        hashlib.sha256(held).digest()
        sha += time.perf_counter() - began
        data += len(held)
    derived = {
        name: sum(f.stat().st_size for f in (journal / name).rglob("*") if f.is_file()) for name in ("tile", "snapshots")
    }

    print("\n| what | measured |\n|---|---|")
    row = lambda what, measured: print(f"| {what} | {measured} |", flush=True)
    began = time.perf_counter()
    daemon = subprocess.Popen(base + ["serve"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    while subprocess.run(base + ["status"], capture_output=True).returncode != 0:
        if daemon.poll() is not None:
            sys.exit(daemon.stderr.read().decode())
    row("start to READY, with `faramesh serve` and asking it", f"{time.perf_counter() - began:.2f} s")
    subprocess.run(base + ["stop"], check=True, capture_output=True)
    log = daemon.communicate()[1].decode()
    took = [word for line in log.splitlines() if "deciding" in line for word in line.split() if word.startswith("took_ms=")]
    row("of which the daemon, from its first line to READY", f"{' '.join(took) or '?'}")

    with tempfile.TemporaryDirectory(dir=stack) as memory:
        verify = base + ["audit", "verify", "--memory", memory, "--format", "json"]
        first, out = timed(verify)
        report = json.loads(out)
        second, _ = timed(verify)
        records = report["records"]
        row("records, bytes in segments", f"{records:,}, {data / 1e9:.2f} GB")
        row("on disk for a record: segments / tiles / snapshots in all", f"{data / records:.0f} B / {derived['tile'] / records:.1f} B / {derived['snapshots'] / 1e6:.2f} MB")
        row("SHA-256 of these bytes, one core", f"{sha:.1f} s")
        row("`audit verify`, both cores", f"{first:.1f} s, {first / sha:.2f} × SHA-256 of the bytes; a core {2 * first / sha:.2f} ×")
        row("`audit verify` again", f"{second:.2f} s")
    spread = [records * n // 7 for n in range(1, 7)] + [records - 1]
    proofs = []
    for seq in spread:
        took, bundle = timed(base + ["audit", "prove", str(seq)])
        proofs.append(took)
    row("`audit prove`, median / worst of seven records", f"{sorted(proofs)[3] * 1000:.0f} / {max(proofs) * 1000:.0f} ms")
    for form in ("jsonl", "csv", "ocsf", "cef"):
        out = stack / f"export.{form}"
        took, _ = timed(base + ["audit", "export", "--as", form, "--out", str(out)])
        row(f"`audit export --as {form}`", f"{took:.1f} s, {took / read:.1f} × reading the bytes, {out.stat().st_size / 1e9:.2f} GB")
        out.unlink()


main()
