"""Measure what Prefect costs: the flow `annual_map` against `sitscube run`, on a small country.

    python -m benchmarks.prefect_overhead [--rounds 3]

Both map the same 40 x 40 km from the beginning, on a local Dask cluster of one worker, each in processes of its own, in
turn. The flow runs as `python -m flows`, which starts Prefect's embedded server, and once more with a server that is
running already, as in a deployment. The output is the seconds of each round, and differences.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import requests

from tests.support.paths import ROOT
from tests.support.processes import free_port
from tests.support.small_country import flow_country


def seconds(folder: Path, command: list[str], environment: dict[str, str]) -> float:
    """Return the seconds of a command that maps the year into an empty folder."""
    out = folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    whole = [sys.executable, "-m", *command, "--config", "small.toml", "--out", "out", "--scheduler", "local"]
    started = time.perf_counter()
    done = subprocess.run(
        [*whole, "--workers", "1"], cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    if done.returncode or not (out / "small" / "2018" / "run.json").exists():
        raise SystemExit(f"{command} failed:\n{done.stdout}{done.stderr}")
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.prefect_overhead",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = flow_country(Path(name) / "country")
        port = free_port()
        common = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "DO_NOT_TRACK": "1"}
        home = {**common, "PREFECT_HOME": str(folder / "home"), "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
        served = {**home, "PREFECT_API_URL": f"http://127.0.0.1:{port}/api"}
        server = subprocess.Popen(
            [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)],
            env={**os.environ, **served}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            answers(f"{served['PREFECT_API_URL']}/health")
            ways = {
                "sitscube run": (["flows.cli", "run"], common),
                "flow, embedded server": (["flows"], {**common, "PREFECT_HOME": str(folder / "embedded")}),
                "flow, server is there": (["flows"], served),
            }
            found: dict[str, list[float]] = {way: [] for way in ways}
            for _ in range(options.rounds):
                for way, (command, environment) in ways.items():
                    found[way].append(seconds(folder, command, environment))
        finally:
            server.terminate()
            server.wait(60)
    plain = statistics.median(found["sitscube run"])
    for way, times in found.items():
        median = statistics.median(times)
        each = ", ".join(f"{one:.1f}" for one in times)
        print(f"{way:22}  {each} s; median {median:.1f} s, {median - plain:+.1f} s, {median / plain:.2f} times")


def answers(address: str) -> None:
    """Wait until a server answers."""
    for _ in range(240):
        try:
            if requests.get(address, timeout=2).ok:
                return
        except requests.RequestException:
            pass
        time.sleep(0.5)
    raise SystemExit(f"{address} does not answer")


if __name__ == "__main__":
    main()
