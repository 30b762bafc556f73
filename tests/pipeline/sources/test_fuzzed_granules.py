"""Damaged granules are read right or set aside: never read wrong, and never the end of the process.

Run as a program, this file is the child process that reads them, so that a crash or a hang is seen:
paths come in, one a line, and what became of each goes out.
"""

import select
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import h5py
import numpy as np
import pytest

from pipeline.base.errors import GranuleError
from pipeline.grid.sinusoidal import Tile
from pipeline.sources.simulated.granules import LAYERS, granule_name, write_granule
from pipeline.sources.viirs import granules as viirs

TILE, DAY = Tile(18, 4), date(2018, 7, 4)
LAYOUTS = ("collection 2", "version 1", "simulated")
SECONDS = 60  # for one file; it takes a tenth of a second
WINDOWS = ((slice(0, 3), slice(None)), (slice(777, 1203), slice(100, 1800)), (slice(2390, 2400), slice(2399, 2400)))
FIELDS = "HDFEOS/GRIDS/VNP_Grid_VNP15A2H/Data Fields"


def values_of(name: str) -> np.ndarray:
    """Return values that encode their row and layer, and pack well, so that most of a file is metadata."""
    rows, columns = np.mgrid[:2400, :2400]
    return ((rows * 7 + rows // 97 + columns // 300 + 17 * LAYERS.index(name)) % 101).astype(np.uint8)


def make(path: Path, layout: str) -> None:
    layers = {name: values_of(name) for name in LAYERS}
    if layout == "simulated":  # rows of fill are left out
        for layer in layers.values():
            layer[:500] = layer[900:1100] = 255
    write_granule(path, TILE, DAY, layers)
    if layout == "simulated":
        return
    chunks, level = ((1, 2400), 5) if layout == "collection 2" else ((100, 2400), 8)
    with h5py.File(path, "r+") as file:
        fields = file[FIELDS]
        for name, layer in layers.items():
            attributes = dict(fields[name].attrs)
            del fields[name]
            stored = fields.create_dataset(
                name, data=layer, chunks=chunks, compression="gzip", compression_opts=level, fillvalue=0
            )
            for key in ("long_name", "scale_factor", "_FillValue"):
                if key in attributes:
                    stored.attrs[key] = attributes[key]


# damage: all of them change `content`, given where metadata lie


def flip(content: bytearray, places: np.ndarray, rng: np.random.Generator) -> None:
    for place in rng.choice(places, rng.integers(1, 17)).tolist():
        content[place] = rng.integers(256)


def flip_one_bit(content: bytearray, places: np.ndarray, rng: np.random.Generator) -> None:
    content[rng.choice(places)] ^= 1 << rng.integers(8)


def flip_nearby(content: bytearray, places: np.ndarray, rng: np.random.Generator) -> None:
    start = rng.integers(len(places))
    flip(content, places[start : start + 256], rng)


def cut(content: bytearray, places: np.ndarray, rng: np.random.Generator) -> None:
    del content[rng.integers(len(content)) :]


def cut_a_little(content: bytearray, places: np.ndarray, rng: np.random.Generator) -> None:
    del content[-rng.integers(1, 4096) :]


def zero(content: bytearray, places: np.ndarray, rng: np.random.Generator) -> None:
    start, length = rng.choice(places), rng.integers(1, 4097)
    content[start : start + length] = bytes(len(content[start : start + length]))


def misplace(content: bytearray, places: np.ndarray, rng: np.random.Generator) -> None:
    """Overwrite a block with another one of the file, like a failing disk."""
    length = int(rng.choice([8, 24, 512, 4096]))
    source, target = rng.choice(places, 2) // 8 * 8
    block = content[source : source + length][: len(content) - target]
    content[target : target + len(block)] = block


DAMAGES: tuple[Callable[[bytearray, np.ndarray, np.random.Generator], None], ...] = (
    flip, flip_one_bit, flip_nearby, flip_one_bit, flip_nearby, cut, cut_a_little, zero, misplace,
)  # fmt: skip


class Specimen:
    """An undamaged granule, its values, and the places of its parts."""

    def __init__(self, path: Path, layout: str) -> None:
        make(path, layout)
        self.path, self.content = path, path.read_bytes()
        self.expected = path.with_suffix(".npz")
        data = np.zeros(len(self.content), bool)
        heads = np.zeros(len(self.content), bool)
        with h5py.File(path) as file:
            np.savez(self.expected, **{name: file[FIELDS][name][:] for name in viirs.LAYERS})
            for layer in file[FIELDS].values():
                head = h5py.h5o.get_info(layer.id).addr
                heads[head : head + 600] = True
                if layer.chunks:
                    layer.id.chunk_iter(lambda c: data.__setitem__(slice(c.byte_offset, c.byte_offset + c.size), True))
        trees = np.array([n for n in range(0, len(data), 8) if self.content[n : n + 4] in (b"TREE", b"SNOD", b"HEAP")])
        nodes = np.unique((trees[:, None] + np.arange(64)).ravel())
        everywhere = np.arange(len(data))
        self.regions = (everywhere, everywhere[~data], np.flatnonzero(heads & ~data), nodes[nodes < len(data)])

    def damaged(self, seed: int) -> bytes:
        rng = np.random.default_rng(seed)
        content = bytearray(self.content)
        places = self.regions[rng.integers(len(self.regions))]
        DAMAGES[rng.integers(len(DAMAGES))](content, places, rng)
        return bytes(content)


@pytest.fixture(scope="module", params=LAYOUTS)
def specimen(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Specimen:
    return Specimen(tmp_path_factory.mktemp("specimen") / granule_name(TILE, DAY), request.param)


class Child:
    """The process that reads damaged files, started again where it dies."""

    def __init__(self, expected: Path) -> None:
        self._expected = expected
        self._process: subprocess.Popen[str] | None = None

    def fate(self, path: Path) -> str:
        if self._process is None:
            command = [sys.executable, __file__, str(self._expected)]
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{path}\n")
        self._process.stdin.flush()
        ready, _, _ = select.select([self._process.stdout], [], [], SECONDS)
        line = self._process.stdout.readline().strip() if ready else ""
        if line:
            return line
        self.stop()
        return "crashed" if ready else "hung"

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


@pytest.fixture(scope="module")
def child(specimen: Specimen) -> Iterator[Child]:
    made = Child(specimen.expected)
    yield made
    made.stop()


def fates(specimen: Specimen, child: Child, seeds: range, folder: Path) -> Counter[str]:
    """Count files that were read right, set aside, or anything else; the latter by its seed."""
    path = folder / specimen.path.name
    met: Counter[str] = Counter()
    for seed in seeds:
        path.write_bytes(specimen.damaged(seed))
        fate = child.fate(path)
        met[fate if fate in ("right", "set aside") else f"{fate} (seed {seed})"] += 1
    return met


def test_undamaged_files_are_read_right(specimen: Specimen, child: Child) -> None:
    assert child.fate(specimen.path) == "right"


def test_damaged_files_are_read_right_or_set_aside(specimen: Specimen, child: Child, tmp_path: Path) -> None:
    met = fates(specimen, child, range(20), tmp_path)
    assert set(met) == {"right", "set aside"}, met


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_thousand_damaged_files_are_read_right_or_set_aside(specimen: Specimen, child: Child, tmp_path: Path) -> None:
    met = fates(specimen, child, range(1000, 2000), tmp_path)
    assert set(met) == {"right", "set aside"}, met


def main(expected: Path) -> None:
    with np.load(expected) as stored:
        wanted = {name: stored[name] for name in viirs.LAYERS}
    for line in sys.stdin:
        print(read(Path(line.strip()), wanted), flush=True)


def read(path: Path, wanted: dict[str, np.ndarray]) -> str:
    """Return the result of reading a file, in one line."""
    source = viirs.ViirsGranules(path.parent, 2018, "standard", viirs.policy_rules("standard"))
    checked = False
    try:
        (scene,) = source.check(path).scenes
        checked = True
        for rows, columns in (*WINDOWS, (slice(None), slice(None))):
            got = source.read(scene, rows, columns)
            for name, values in wanted.items():
                if not np.array_equal(got[name], values[rows, columns]):
                    return f"wrong values of {name}"
    except GranuleError as error:
        if not str(error).startswith(path.name):
            return f"a message without the file's name: {error!s:.200}"
        return "set aside"
    except BaseException as error:
        return f"{type(error).__name__} in {'read' if checked else 'check'}: {error}"[:200].replace("\n", " ")
    return "right"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
