"""Test inference under random SIGKILLs: count what is lost, what is wrong, and repairs by hand.

    python -m benchmarks.kills --kills 50 --seed 0 [--json FILE]

A cluster of real processes labels a synthetic country. At random moments a worker, the scheduler or the client is
killed, in equal shares. A process that has ended is started again, as a supervisor of services does it; anything else
counts as a repair. A finished map is compared with that of an undisturbed run, object by object, and the next map
begins, until all kills have been carried out.
"""

import argparse
import json
import random
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks.synthetic_cube import make_cube, make_model
from pipeline.config.config import Config, load_config
from pipeline.stages.infer.stage import infer
from tests.support.processes import Cluster, Process
from tests.support.synthetic_country import Country, chunks, strays

YEAR = 2018
KINDS = ("worker", "scheduler", "client")
BETWEEN = 5.0  # s between two kills in the mean: about the time of a client to start and find its work
GIVEN_UP = 8  # ends of the client in a row without a kill, after which the benchmark stops
LOOK = 0.05  # s between two looks of the supervisor


@dataclass
class Tally:
    """Counts of the events."""

    kills: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    maps: int = 0  # finished and compared
    objects: int = 0  # compared
    lost: int = 0  # objects that are missing
    wrong: int = 0  # objects with other bytes
    strays: int = 0  # files left half-written in finished maps
    refusals: int = 0  # ends of the client with a message, after which it was started again
    tracebacks: int = 0  # of these, ends with a traceback
    repairs: int = 0
    seconds: float = 0.0


class Supervisor:
    """It starts the cluster and the client again, and kills them by plan."""

    def __init__(self, country: Country, cluster: Cluster, folder: Path, kills: int, seed: int) -> None:
        self.country, self.cluster, self.folder = country, cluster, folder
        self.random = random.Random(seed)
        self.plan = [KINDS[number % len(KINDS)] for number in range(kills)]
        self.random.shuffle(self.plan)
        self.tally = Tally()
        self.next_kill = self._moment()

    def run(self) -> Tally:
        """Label map after map until every kill has been carried out and the last map is finished."""
        started = time.monotonic()
        while self.plan or not self.tally.maps:
            config = self.country.again(self.folder / f"map-{self.tally.maps}")
            self._finish(config)
            self._compare(config)
        self.tally.seconds = round(time.monotonic() - started, 1)
        return self.tally

    def _moment(self) -> float:
        """Draw the time of the next kill."""
        return time.monotonic() + self.random.uniform(0, 2 * BETWEEN)

    def _finish(self, config: Config) -> None:
        """Supervise until the client ends by itself with status 0."""
        unexplained = 0
        client = self._start(config)
        while True:
            self.cluster.revive()
            if self.plan and time.monotonic() > self.next_kill:
                unexplained = 0
                self._kill(client)
                self.next_kill = self._moment()
            if client.alive:
                time.sleep(LOOK)
                continue
            status = client.wait()
            if status == 0:
                return
            if status > 0:
                unexplained += 1
                self.tally.refusals += 1
                self.tally.tracebacks += "Traceback" in client.output
                print(f"the client ended with status {status}: {client.output.strip()[-300:]}", flush=True)
            if unexplained == GIVEN_UP:
                self.tally.repairs += 1
                raise SystemExit(f"the map {config.map} does not get finished:\n{client.output[-3000:]}")
            client = self._start(config)

    def _start(self, config: Config) -> Process:
        arguments = ("infer", "--year", str(YEAR), "--out", str(config.out), "--scheduler", self.cluster.address)
        return self.cluster.run_command(*arguments)

    def _kill(self, client: Process) -> None:
        """Carry out the next kill of the plan, unless its victim has just ended by itself."""
        kind = self.plan[-1]
        if kind == "client" and client.alive:
            client.kill()
        elif kind == "scheduler":
            self.cluster.kill_scheduler()
        elif kind == "worker":
            self.cluster.kill_worker(self.random.choice(sorted(self.cluster.workers)))
        else:
            return
        self.plan.pop()
        self.tally.kills[kind] += 1
        print(f"{len(self.plan)} kills left; killed the {kind}", flush=True)

    def _compare(self, config: Config) -> None:
        found, expected = chunks(config.map), self.country.expected
        self.tally.maps += 1
        self.tally.objects += len(expected)
        self.tally.lost += len(expected.keys() - found.keys())
        self.tally.wrong += sum(found[name] != digest for name, digest in expected.items() if name in found)
        self.tally.wrong += len(found.keys() - expected.keys())
        self.tally.strays += len(strays(config.map))


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.kills", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0, help="of moments and victims")
    parser.add_argument("--shards", type=int, default=64)
    parser.add_argument("--shard", type=int, default=256, help="cells along y and x of a shard")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="for intermediate data; removed at the end")
    parser.add_argument("--json", type=Path, help="file for the figures")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        config = load_config(year=YEAR, out=Path(folder) / "undisturbed")
        make_cube(config, arguments.shards, arguments.shard, chunk=min(128, arguments.shard), mapped_share=0.5)
        make_model(config)
        started = time.monotonic()
        infer(config)
        print(f"undisturbed, in one process: {time.monotonic() - started:.1f} s", flush=True)
        with Cluster(Path(folder) / "cluster", n_workers=arguments.workers) as cluster:
            tally = Supervisor(Country(config), cluster, Path(folder), arguments.kills, arguments.seed).run()
    for name, value in asdict(tally).items():
        print(f"{name:>10}: {value}")
    if arguments.json:
        arguments.json.write_text(json.dumps({"seed": arguments.seed, **asdict(tally)}, indent=1) + "\n")
    raise SystemExit(bool(tally.lost or tally.wrong or tally.repairs))


if __name__ == "__main__":
    main()
