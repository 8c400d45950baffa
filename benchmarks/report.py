"""How long a report on many stored verdicts takes, and how soon a browser shows it: `python -m benchmarks.report`.

A folder is made up on disk (not timed): comparisons of three models in both orders with what the judge wrote, and a yes or no
for each model and rule. Timed are reading the folder and writing the whole page, in a fresh process each round; then, with a
Chromium, opening the file until the explorer is ready, filtering all verdicts, and searching all texts while letters are typed.
Exit status 1 if the floor is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console

console = Console(highlight=False)
CHANGE = "s.dispatchEvent(new Event('change'))"
SEARCH = """(async () => {
  const sleep = (ms) => new Promise((go) => setTimeout(go, ms));
  const input = document.querySelector('#filters [name=text]'), words = %s, count = document.getElementById('count');
  let last = performance.now(), stall = 0;
  const timer = setInterval(() => { const now = performance.now(); stall = Math.max(stall, now - last - 5); last = now; }, 5);
  for (let n = 1; n <= words.length; n++) {
    input.value = words.slice(0, n);
    input.dispatchEvent(new Event('input'));
    await sleep(80);
  }
  const typed = performance.now(), wanted = new URLSearchParams({ text: words }).toString();
  while (!location.hash.includes(wanted)) await sleep(5);
  clearInterval(timer);
  return [performance.now() - typed, stall];
})()"""
"""Types a letter every 80 ms: milliseconds from the last one to the result, and the longest time in which nothing else ran."""

MOST = 20.0
"""Seconds that a report on 100,000 verdicts may take."""

TIMED = """
import json, sys, time
start = time.perf_counter()
from halign.reporting import report
loaded, cpu = time.perf_counter(), time.process_time()
report([sys.argv[1]]).save(sys.argv[2])
done = {"import": loaded - start, "report": time.perf_counter() - loaded, "report_cpu": time.process_time() - cpu}
print(json.dumps(done))
"""


def make(folder: Path, verdicts: int, words: int) -> None:
    """A folder of at least so many verdicts; every reply and the prompt hold about ``words`` words more than a sentence."""
    from tests.reporting.folders import judged_folder

    each = 12  # three comparisons, and three models by three rules
    judged_folder(folder, items=-(-verdicts // each), words=words)


def page(folder: Path, output: Path) -> dict[str, float]:
    """Seconds of importing Halign, and of reading the folder and writing the page (wall clock and CPU), in a fresh process."""
    said = subprocess.run(
        [sys.executable, "-c", TIMED, str(folder), str(output)], capture_output=True, text=True, check=True
    )
    found: dict[str, float] = json.loads(said.stdout.splitlines()[-1])
    return found


def browse(file: Path, profile: Path) -> dict[str, float]:
    """Seconds until the explorer is ready, of one filter over all verdicts, and of drawing one screen after a jump."""
    from tests.reporting.browser import Browser

    browser = Browser(profile)
    try:
        browser.send("Performance.enable", timeDomain="threadTicks")
        start = time.perf_counter()
        browser.open(file.as_uri())
        browser.until("document.getElementById('explorer').hidden === false")
        ready = time.perf_counter() - start
        choose = "const s = document.querySelector('#filters [name=model]'); s.value = 'tuned';"
        filtered = browser.run(f"(() => {{ {choose} {_timed(CHANGE)} }})()")
        jumped = "const l = document.getElementById('list'); l.scrollTop = l.scrollHeight / 2; "
        jumped += "l.dispatchEvent(new Event('scroll'))"
        used = _cpu(browser)
        first, first_lag = browser.run(SEARCH % '"this is tuned on item-7"')
        used = _cpu(browser) - used
        later, later_lag = browser.run(SEARCH % '"gladly, of course, this is start on item-1"')
        return {
            "first_search": first / 1e3,
            "first_search_cpu": used,
            "first_search_longest_stall": first_lag / 1e3,
            "search": later / 1e3,
            "search_longest_stall": later_lag / 1e3,
            "ready": ready,
            "filter": filtered / 1e3,
            "jump": browser.run(f"(() => {{ {_timed(jumped)} }})()") / 1e3,
        }
    finally:
        browser.close()


def _cpu(browser: Any) -> float:
    """Seconds of CPU that the page's own thread has used for tasks."""
    return float(
        next(
            m["value"]
            for m in browser.send("Performance.getMetrics")["metrics"]
            if m["name"] == "TaskDuration"
        )
    )


def _timed(statement: str) -> str:
    return f"const t = performance.now(); {statement}; return performance.now() - t;"


def measure(verdicts: int, words: int, rounds: int) -> dict[str, Any]:
    """Everything about one size: medians over rounds."""
    from tests.reporting.browser import BROWSER

    with tempfile.TemporaryDirectory(prefix="halign-report-") as scratch:
        folder, file = Path(scratch) / "judged", Path(scratch) / "report.html"
        make(folder, verdicts, words)
        stored = sum(f.stat().st_size for f in folder.iterdir())
        times = [page(folder, file) for _ in range(rounds)]
        found: dict[str, Any] = {k: statistics.median(t[k] for t in times) for k in times[0]}
        found |= {"verdicts": verdicts, "stored_mb": stored / 1e6, "page_mb": file.stat().st_size / 1e6}
        if BROWSER:
            found["browser"] = browse(file, Path(scratch) / "profile")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--verdicts", type=int, default=100_000)
    parser.add_argument("--words", type=int, default=60, help="about how long prompts and replies are")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    found = measure(args.verdicts, args.words, args.rounds)
    console.print_json(json.dumps({**found, "cores": os.cpu_count()}))
    if found["report"] > MOST * max(1.0, args.verdicts / 100_000):
        sys.exit(
            f"{found['report']:.1f} s for {args.verdicts:,} verdicts; at most {MOST:g} s per 100,000 wanted"
        )


if __name__ == "__main__":
    main()
