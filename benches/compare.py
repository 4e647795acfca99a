#!/usr/bin/env python3
"""Time whole training steps of dash-nas and of a PyTorch peer in turn.

Both sides run the same networks on data of the same shapes, one process at a
time and alternating, so that a change of the machine's load meets both.  The
table holds, per task, the medians over the rounds, the largest resident memory,
and the ratios: speed is the peer's time over ours, fastest is the same of each
side's fastest step (where the two differ much, something else ran on the
machine), memory is ours over the peer's.  Below it are the geometric mean of
the speed ratios, and the range of the load average (this comparison itself is
about one per thread): ratios mean
something on an otherwise idle machine only.

The peer is a program that takes --task --stage --method --pattern --batch
--steps --warmup --threads and prints one JSON object per run with the fields of
`dash-nas bench --format json`.  It is run with --python, which needs PyTorch;
this script needs the standard library only.

Example, from the root of the repository:
  cargo build --release
  benches/compare.py --peer torch_peer.py --python venv/bin/python \\
      --tasks cifar100,ecg --stage retrain --pattern 3x1
"""
import argparse
import json
import math
import os
import statistics
import subprocess
import sys

# Batch sizes at which every task fits into a few GiB on both sides.
SMALL = {
    "cifar100": 16, "spherical": 8, "ninapro": 64, "fsd50k": 4, "darcy-flow": 2,
    "psicov": 1, "cosmic": 1, "ecg": 128, "satellite": 256, "deepsea": 16,
}
METHODS = ["fft-cropped", "fft", "mixed-weights", "mixed-results"]
HEADS = ["task", "batch", "peer, ms", "ours, ms", "speed", "fastest", "peer, MiB", "ours, MiB", "memory"]


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--peer", required=True, metavar="PATH", help="the peer's program")
    p.add_argument("--python", default=sys.executable, metavar="PATH", help="interpreter that runs the peer")
    p.add_argument("--ours", default="target/release/dash-nas", metavar="PATH", help="the binary dash-nas")
    p.add_argument("--tasks", default=",".join(SMALL), help="names, separated by commas; by default all ten")
    p.add_argument("--stage", choices=["search", "retrain"], default="search")
    p.add_argument("--method", choices=METHODS, default=METHODS[0], help="search: how the peer computes mixtures")
    p.add_argument("--pattern", choices=["spread", "3x1"], default="spread", help="retrain: the kernels")
    p.add_argument("--batches", choices=["small", "paper"], default="small")
    p.add_argument("--rounds", type=int, default=3, help="runs of each side per task")
    p.add_argument("--steps", type=int, default=5, help="timed steps per run")
    p.add_argument("--warmup", type=int, default=1, help="steps before them that are not timed")
    p.add_argument("--threads", type=int, default=2)
    a = p.parse_args()
    a.tasks = [t.strip() for t in a.tasks.split(",") if t.strip()]
    unknown = [t for t in a.tasks if t not in SMALL]
    if unknown or not a.tasks:
        p.error(f"--tasks: expected some of {', '.join(SMALL)}, found {', '.join(unknown) or 'none'}")
    if min(a.rounds, a.steps, a.threads) < 1 or a.warmup < 0:
        p.error("--rounds, --steps and --threads must be at least 1, --warmup at least 0")
    return a


LOADS = []


def load():
    """The load average of the last minute, remembered for the last line."""
    LOADS.append(os.getloadavg()[0])
    return LOADS[-1]


def measure(command):
    """The JSON object that one run prints."""
    try:
        ran = subprocess.run(command, capture_output=True, text=True)
    except OSError as e:
        raise RuntimeError(f"cannot start {command[0]}: {e.strerror}") from e
    if ran.returncode != 0:
        last = (ran.stderr.strip().splitlines() or ["no message"])[-1]
        raise RuntimeError(f"{' '.join(command)} ended with {ran.returncode}: {last}")
    return json.loads(ran.stdout)


def compare(a, task):
    """Alternating runs of one task: one row of the table."""
    options = ["--task", task, "--stage", a.stage, "--pattern", a.pattern, "--threads", str(a.threads),
               "--steps", str(a.steps), "--warmup", str(a.warmup)]
    if a.batches == "small":
        options += ["--batch", str(SMALL[task])]
    method = a.method if a.stage == "search" else "direct"
    commands = {
        "peer": [a.python, a.peer, *options, "--method", method],
        "ours": [a.ours, "bench", *options, "--format", "json"],
    }
    runs = {side: [] for side in commands}
    for number in range(a.rounds):
        for side, command in commands.items():
            runs[side].append(measure(command))
            print(f"{task}, round {number + 1} of {a.rounds}, {side}: {runs[side][-1]['ms_per_step']} ms, "
                  f"load {load():.1f}", file=sys.stderr)
    for field in ["batch", "threads", "params", "runs"]:
        found = {r[field] for side in runs.values() for r in side}
        if len(found) > 1:
            raise RuntimeError(f"{task}: the two sides differ in {field}: {sorted(found)}")
    ms = {side: statistics.median(r["ms_per_step"] for r in rs) for side, rs in runs.items()}
    mib = {side: max((r["peak_rss_mib"] or math.nan) for r in rs) for side, rs in runs.items()}
    best = {side: min(r["min_ms"] for r in rs) for side, rs in runs.items()}
    fastest = best["peer"] / best["ours"]
    speed, memory = ms["peer"] / ms["ours"], mib["ours"] / mib["peer"]
    row = [task, runs["ours"][0]["batch"], f"{ms['peer']:.1f}", f"{ms['ours']:.1f}", f"{speed:.2f}", f"{fastest:.2f}",
           f"{mib['peer']:.0f}", f"{mib['ours']:.0f}", f"{memory:.2f}"]
    return [str(cell) for cell in row], speed


def table(rows):
    """Markdown with aligned columns; names to the left, numbers to the right."""
    widths = [max(len(row[i]) for row in [HEADS, *rows]) for i in range(len(HEADS))]
    line = lambda row: "| " + " | ".join(
        cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths))) + " |"
    rule = "|" + "|".join("-" * (w + 1) + ("-" if i == 0 else ":") for i, w in enumerate(widths)) + "|"
    return "\n".join([line(HEADS), rule, *map(line, rows)])


def main():
    a = arguments()
    rows, speeds, failures = [], [], []
    for task in a.tasks:
        try:
            row, speed = compare(a, task)
        except RuntimeError as e:
            failures.append(str(e))
            print(f"error: {e}", file=sys.stderr)
            continue
        rows.append(row)
        speeds.append(speed)
    if rows:
        what = f"search, peer {a.method}" if a.stage == "search" else f"retrain, pattern {a.pattern}"
        print(f"{what}; {a.threads} threads, {a.rounds} rounds of {a.steps} steps\n")
        print(table(rows))
        mean = math.exp(statistics.fmean(map(math.log, speeds)))
        print(f"\ngeometric mean of the speed ratios: {mean:.2f}")
        print(f"load average after each run: {min(LOADS):.1f} to {max(LOADS):.1f}")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
