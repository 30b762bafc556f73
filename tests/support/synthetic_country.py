"""A synthetic cube and its model for tests of failure, with the map that an undisturbed run makes of them."""

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

from benchmarks.synthetic_cube import make_cube, make_model
from pipeline.config.config import Config, load_config
from pipeline.stages.infer.stage import infer

YEAR = 2018
SIDE = 5  # shards along y and x
SHARD, CHUNK = 64, 32
N_OUTPUTS = 4  # label, confidence, filled series, spread


def chunks(store: Path) -> dict[str, str]:
    """Digest of every chunk object of the arrays of a store."""
    return {
        str(path.relative_to(store)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in store.glob("*/c/**/*")
        if path.is_file()
    }


def strays(store: Path) -> list[Path]:
    """What writers that were killed have left."""
    return list(store.rglob("*.partial"))


@dataclass(frozen=True)
class Country:
    """The finished run that others are compared with."""

    config: Config

    @classmethod
    def make(cls, out: Path, *, seed: int = 0) -> "Country":
        """Make cube and model below `out` and label them in this process; the seed is the model's."""
        config = load_config(year=YEAR, out=out)
        make_cube(config, SIDE**2, SHARD, chunk=CHUNK, mapped_share=0.3)
        make_model(config, seed=seed)
        infer(config)
        return cls(config)

    @property
    def expected(self) -> dict[str, str]:
        """Digest of every chunk object of the map."""
        return chunks(self.config.map)

    def again(self, out: Path, *, own_cube: bool = False) -> Config:
        """A configuration with the same cube and model, linked, or the cube copied, and without a map."""
        config = load_config(year=YEAR, out=out)
        config.year_folder.mkdir(parents=True)
        if own_cube:
            shutil.copytree(self.config.cube, config.cube)
        else:
            config.cube.symlink_to(self.config.cube)
        config.model.symlink_to(self.config.model)
        return config


def spoil(path: Path) -> bytes:
    """Overwrite the middle of a file, as a bad disk would; returns what it held."""
    content = path.read_bytes()
    start, n = len(content) // 2, min(256, len(content) // 4)
    wrong = bytes(byte ^ 0xFF for byte in content[start : start + n])
    path.write_bytes(content[:start] + wrong + content[start + n :])
    return content
