"""The stage: what it writes, that it can be killed and run again, and that equal configurations give equal bytes."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
import rasterio
from distributed import Client, LocalCluster
from shapely.geometry import box, mapping

from pipeline.base.errors import UserError
from pipeline.config.config import Config, load_config
from pipeline.runtime.dask.executor import OnDask
from pipeline.runtime.executor import InProcess
from pipeline.sources.viirs.names import GranuleName, parse_name
from pipeline.stages.simulate.stage import simulate
from pipeline.stages.sources import open_source
from tests.support.paths import ROOT


def small(folder: Path, out: str = "out", **overrides: object) -> Config:
    """A strip of the Po plain, 24 x 22 km."""
    outline = folder / "outline.geojson"
    outline.write_text(json.dumps(mapping(box(9.0, 45.0, 9.3, 45.2))))
    return load_config(out=folder / out, region__outline=outline, **overrides)


def copied(made: tuple[Config, dict[str, str]], folder: Path, **overrides: object) -> Config:
    """A finished simulation to change, in a folder of its own."""
    config = small(folder, **overrides)
    shutil.copytree(made[0].out, config.out)
    return config


def digests(config: Config) -> dict[str, str]:
    files = [path for path in sorted((config.out / "simulated").rglob("*")) if path.is_file()]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Config, dict[str, str]]:
    config = small(tmp_path_factory.mktemp("simulated"))
    result = simulate(config)
    assert result.fresh
    assert result.facts["written"] == 185
    assert result.outputs == (config.granules, config.reference_path)
    return config, digests(config)


def parsed(config: Config) -> dict[Path, GranuleName]:
    """The granules, and what their names say."""
    return {path: name for path in sorted(config.granules.iterdir()) if (name := parse_name(path))}


def test_writes_46_composites_of_four_tiles_that_the_reader_accepts(made: tuple[Config, dict[str, str]]) -> None:
    config, files = made
    granules = parsed(config)
    assert len(granules) == 184
    assert {str(name.tile) for name in granules.values()} == {"h18v04", "h18v05", "h19v04", "h19v05"}
    assert len(files) == 185  # nothing else, no scratch, no half file
    for path in list(granules)[::17]:
        assert open_source(config).check(path).simulated.startswith("yes")


def test_pixels_are_fill_outside_the_outline(made: tuple[Config, dict[str, str]]) -> None:
    config, _ = made
    source, names = open_source(config), parsed(config)
    first = next(path for path, name in names.items() if str(name.tile) == "h18v04")
    land = source.read(source.check(first).scenes[0], slice(None), slice(None))["FparLai_QC"] != 255
    assert 2300 < land.sum() < 2600  # 24 x 22 km of 463 m pixels
    elsewhere = next(path for path, name in names.items() if str(name.tile) == "h19v05")
    assert (source.read(source.check(elsewhere).scenes[0], slice(None), slice(None))["Fpar"] == 255).all()
    assert elsewhere.stat().st_size < 150_000


def test_map_is_written_in_the_layout_of_eucropmap(made: tuple[Config, dict[str, str]]) -> None:
    config, _ = made
    with rasterio.open(config.reference_path) as crop_map:
        assert crop_map.crs.to_epsg() == 3035
        assert (crop_map.res, crop_map.nodata, crop_map.dtypes) == ((100, 100), 0, ("int16",))
        assert (crop_map.bounds.left % 1000, crop_map.bounds.top % 1000) == (0, 0)
        assert crop_map.tags()["Simulated"].startswith("yes")
        codes = crop_map.read(1)
    assert {216, 217} < set(np.unique(codes).tolist())
    assert 50_000 < (codes > 0).sum() < 55_000


def test_a_second_call_does_nothing(made: tuple[Config, dict[str, str]]) -> None:
    config, files = made
    before = {path: path.stat().st_mtime_ns for path in config.granules.iterdir()}
    result = simulate(config)
    assert not result.fresh
    assert result.facts["written"] == 0
    assert {path: path.stat().st_mtime_ns for path in config.granules.iterdir()} == before
    assert digests(config) == files


def test_bytes_do_not_depend_on_the_executor(made: tuple[Config, dict[str, str]], tmp_path: Path) -> None:
    config = small(tmp_path)
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        simulate(config, OnDask(client))
    assert digests(config) == made[1]


def test_only_what_is_missing_or_damaged_is_written(made: tuple[Config, dict[str, str]], tmp_path: Path) -> None:
    config = copied(made, tmp_path)
    granules = sorted(config.granules.glob("*.h5"))
    granules[3].unlink()
    granules[90].write_bytes(granules[90].read_bytes()[:5000])
    config.reference_path.unlink()
    (config.granules / f".{granules[3].name}.partial").write_bytes(b"half")
    kept = {path: path.stat().st_mtime_ns for n, path in enumerate(granules) if n not in (3, 90)}
    assert simulate(config).facts["written"] == 3
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert digests(config) == made[1]


def test_a_killed_run_leaves_no_half_file_and_is_finished_by_the_next(
    made: tuple[Config, dict[str, str]], tmp_path: Path
) -> None:
    config = small(tmp_path)
    program = (
        "from pathlib import Path; from pipeline.config.config import load_config\n"
        "from pipeline.stages.simulate.stage import simulate\n"
        f"simulate(load_config(out=Path({str(config.out)!r}), region__outline=Path({str(config.region.outline)!r})))"
    )
    process = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT)
    try:
        end = time.monotonic() + 60
        while len(list(config.granules.glob("*.h5"))) < 20 and time.monotonic() < end:
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
    finished = sorted(config.granules.glob("*.h5"))
    assert 20 <= len(finished) < 184
    for path in finished:
        assert hashlib.sha256(path.read_bytes()).hexdigest() == made[1][path.name]
    assert simulate(config).facts["written"] == 185 - len(finished)
    assert digests(config) == made[1]


def test_another_seed_replaces_everything(made: tuple[Config, dict[str, str]], tmp_path: Path) -> None:
    config = copied(made, tmp_path, simulation__seed=7)
    result = simulate(config)
    assert result.facts["written"] == 185
    marks = set()
    for path in config.granules.glob("*.h5"):
        with h5py.File(path) as file:
            marks.add(file.attrs["SimulationFingerprint"].decode())
    assert marks == {result.facts["fingerprint"]}
    assert not set(digests(config).values()) & set(made[1].values())


def test_a_run_that_stops_early_leaves_no_file_of_the_other_simulation(
    made: tuple[Config, dict[str, str]], tmp_path: Path
) -> None:
    class Stopping(InProcess):
        def run(self, function, items, *, name):
            if name == "granules":
                raise KeyboardInterrupt
            yield from super().run(function, items, name=name)

    config = copied(made, tmp_path, simulation__seed=7)
    with pytest.raises(KeyboardInterrupt):
        simulate(config, Stopping())
    assert digests(config) == {}


def test_real_granules_are_never_touched(tmp_path: Path) -> None:
    config = small(tmp_path, ingest__granules=tmp_path / "real")
    with pytest.raises(UserError, match="never put among others"):
        simulate(config)
    assert not (tmp_path / "real").exists()


def test_a_map_of_the_users_own_is_left_alone(tmp_path: Path) -> None:
    config = small(tmp_path, reference__path=tmp_path / "mine.tif")
    result = simulate(config)
    assert result.outputs == (config.granules,)
    assert len(list(config.granules.glob("*.h5"))) == 184
    assert not (tmp_path / "mine.tif").exists()


def test_only_italy_is_simulated(tmp_path: Path) -> None:
    config = small(tmp_path)
    config.region.outline.write_text(json.dumps(mapping(box(2.0, 48.0, 3.0, 49.0))))
    with pytest.raises(UserError, match=r"longitudes 2\.0 to 3\.0"):
        simulate(config)
    assert not config.out.exists()


def test_a_full_disk_is_told_without_a_traceback(tmp_path: Path) -> None:
    """A limit on the size of files stands for the full disk: HDF5 must not turn it into an error of its own."""
    config = small(tmp_path)
    program = (
        "import resource, signal; from pathlib import Path\n"
        "from pipeline.config.config import load_config; from pipeline.base.errors import UserError\n"
        "from pipeline.stages.simulate.stage import simulate; \n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        f"config = load_config(out=Path({str(config.out)!r}), region__outline=Path({str(config.region.outline)!r}))\n"
        "try:\n    simulate(config)\nexcept UserError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert f"cannot write into {config.out / 'simulated'}" in done.stdout
    assert "File too large" in done.stdout
    assert all(path.stat().st_size < 100_000 for path in config.granules.iterdir())


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(UserError, match=r"taken.*another folder with --out"):
        simulate(small(tmp_path, out="taken"))
