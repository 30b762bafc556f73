import os
import shutil
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from pipeline.cli.commands import app, main
from pipeline.config.config import key_paths
from pipeline.runtime.stage import StageResult
from pipeline.stages.run import STAGES


def sitscube(monkeypatch, capsys, *arguments) -> tuple[int, str]:
    """Run the command in this process: exit status, and all that it said."""
    monkeypatch.setattr(sys, "argv", ["sitscube", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    captured = capsys.readouterr()
    return int(ended.value.code or 0), captured.out + captured.err


@pytest.fixture
def toml(country, tmp_path):
    path = tmp_path / "small.toml"
    path.write_text(
        f'year = 2018\n[region]\nname = "small"\noutline = "{country}/outline.geojson"\n[training]\niterations = 20\n'
        "warm_up = 30\npretrain_epochs = 20\nbatch_size = 200\nw_gen = 0.0\n"
    )
    return path


def test_help_fits_a_page_and_names_every_stage():
    shown = CliRunner().invoke(app, ["--help"], terminal_width=120)
    assert shown.exit_code == 0
    assert len(shown.output.splitlines()) < 60
    for word in ("simulate", "ingest", "prepare", "train", "infer", "evaluate", "publish", "config", "cube.zarr"):
        assert word in shown.output


NO_DEFAULT = {
    "ingest.granules", "raster.folder", "raster.band_date", "raster.crs", "reference.path", "reference.classes",
    "reference.year", "cluster.scheduler", "evaluation.regions", "evaluation.region_name", "local",
    "inference.batch_pixels", "inference.model_year", "ingest.as_of", "cluster.tls_ca_file", "cluster.tls_cert",
    "cluster.tls_key",
    *(f"training.{key}" for key in ("start", "adversarial_interval", "w_clu", "w_gen", "learning_rate", "clip_norm")),
}  # fmt: skip


def test_config_show_prints_every_key_that_has_a_value():
    shown = CliRunner().invoke(app, ["config", "show"])
    for key in key_paths():
        if key not in NO_DEFAULT:
            assert key.rpartition(".")[2] in shown.output


def test_the_whole_job_and_the_second_run_does_nothing(country, toml, tmp_path, monkeypatch, capsys):
    job = ("run", "--config", toml, "--granules", country / "granules", "--reference", country / "reference.tif")
    code, said = sitscube(monkeypatch, capsys, *job, "--out", tmp_path / "out")
    assert code == 0, said
    assert "overall accuracy" in said
    assert "k-means on mean-filled series" in said
    assert str(tmp_path / "out" / "small" / "2018" / "report" / "index.html") in said
    code, said = sitscube(monkeypatch, capsys, *job, "--out", tmp_path / "out")
    assert code == 0
    assert "Nothing to do" in said
    assert said.count("nothing to do, ") == 6


def test_stages_one_by_one_give_what_run_gives(country, toml, tmp_path, monkeypatch, capsys):
    out = ("--config", toml, "--out", tmp_path / "out")
    maps = ("--reference", country / "reference.tif")
    steps = [
        ("ingest", *out, "--granules", country / "granules"),
        ("prepare", *out, *maps),
        ("train", *out),
        ("infer", *out),
        ("evaluate", *out),
        ("publish", *out),
    ]
    for step in steps:
        code, said = sitscube(monkeypatch, capsys, *step)
        assert code == 0, said
    whole = ("run", *out, "--granules", country / "granules", *maps)
    code, said = sitscube(monkeypatch, capsys, *whole)
    assert code == 0
    assert [line.split(":")[0] for line in said.splitlines() if ": done in" in line] in ([], ["publish"])


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--granules", "{tmp}/none"), "none"),
        (("--granules", "{tmp}"), "none of 2018"),
        (("--config", "{tmp}/bad.toml"), "colour"),
        (("--config", "{tmp}/none.toml"), "none.toml"),
        (("--granules", "{granules}", "--reference", "{tmp}/none.tif"), "none.tif"),
        (("--year", "1812"), "1812"),
        (("--grid", "epsg4326"), "epsg3035-1km"),
        (("--granules", "{granules}", "--out", "{tmp}/bad.toml"), "bad.toml"),
    ],
)
def test_bad_input_is_one_message_and_status_1(country, toml, tmp_path, monkeypatch, capsys, arguments, named):
    (tmp_path / "bad.toml").write_text("colour = 'red'")
    filled = [argument.format(tmp=tmp_path, granules=country / "granules") for argument in arguments]
    defaults = ["--config", str(toml)] if "--config" not in filled else []
    defaults += ["--out", str(tmp_path / "out")] if "--out" not in filled else []
    code, said = sitscube(monkeypatch, capsys, "run", *filled, *defaults)
    assert code == 1
    assert named in said
    assert "Traceback" not in said


def test_no_hdf5_files_at_all_stop_the_job_by_name(country, toml, tmp_path, monkeypatch, capsys):
    shutil.copytree(country / "granules", tmp_path / "granules")
    for path in (tmp_path / "granules").iterdir():
        path.write_text("<html>login required</html>")
    job = ("run", "--config", toml, "--granules", tmp_path / "granules", "--out", tmp_path / "out")
    code, said = sitscube(monkeypatch, capsys, *job)
    assert code == 1
    assert "no HDF5 file" in said
    assert "46 of the 46" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(os.name != "posix", reason="limits of a process are POSIX")
def test_a_full_disk_is_one_message_and_the_next_run_goes_on(country, toml, tmp_path):
    """A limit on file size stands in for a full disk: writes beyond it fail in the middle."""
    command = [sys.executable, "-m", "pipeline", "ingest", "--config", str(toml), "--out", str(tmp_path / "out")]
    command += ["--granules", str(country / "granules")]
    limited = ["bash", "-c", 'ulimit -f 8; trap "" XFSZ; exec "$@"', "bash", *command]
    failed = subprocess.run(limited, capture_output=True, text=True, check=False)
    assert failed.returncode == 1, failed.stderr
    assert "Traceback" not in failed.stderr
    assert "File too large" in failed.stderr
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert "ingest: done" in again.stderr


def test_download_asks_for_the_product_and_says_how_to_go_on(tmp_path, monkeypatch, capsys):
    asked = []

    def fetch(config, executor, reporter):
        asked.append((config.download.enabled, config.download.product, config.granules))
        return StageResult("download", True, (config.granules,))

    monkeypatch.setitem(STAGES, "download", fetch)
    options = ("--year", "2020", "--out", tmp_path, "--product", "VJ115A2H")
    code, said = sitscube(monkeypatch, capsys, "download", *options)
    folder = tmp_path / "archive" / "VJ115A2H.002" / "2020"
    assert (code, asked) == (0, [(True, "VJ115A2H", folder)])
    assert f"sitscube run --year 2020 --granules {folder}" in said
