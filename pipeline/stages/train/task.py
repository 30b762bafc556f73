"""Train the network, in this process or on a GPU worker of the cluster."""

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from model import JointClustering, TrainingDiverged
from pipeline.base import locks
from pipeline.base.errors import UserError
from pipeline.base.files import write_text
from pipeline.base.fingerprint import Fingerprint
from pipeline.base.locations import Location
from pipeline.runtime.executor import Listener
from pipeline.stages.train.sample import series_by_shard

_FINGERPRINT: Final = "fingerprint"  # name of the file in the folder of the state


@dataclass(frozen=True, eq=False)
class TrainingTask:
    """A training and all that it needs. It is called with a listener to its events and returns the model's files.

    Its state is saved in the folder `state` of the machine that it runs on. Where an earlier run of the same training
    was killed, it goes on at the last target update.
    """

    parameters: Mapping[str, Any]  # of JointClustering
    series: np.ndarray  # (n, T, C)
    about: Mapping[str, object]  # saved in the model: calendar, channels, ...
    state: Path
    fingerprint: Fingerprint  # a state with another one is of another training
    cube: Location
    population: bool  # whether cluster sizes are summed over all series of the cube

    def __call__(self, listener: Listener) -> dict[str, bytes]:
        """Train, and return the content of the model's files by name.

        Raises:
            UserError: training does not converge, or the state cannot be written.
            Cancelled: raised by the listener where nobody waits for the result any more.
        """
        # a worker whose run was killed ends its training at its next event, and writes its state until then
        with locks.hold(self.state.with_name(f".{self.state.name}"), "training", wait=True):
            self._begin_state(listener)
            estimator = JointClustering(**self.parameters)
            try:
                estimator.fit(
                    self.series,
                    progress=listener,
                    checkpoint=self.state,
                    population=partial(series_by_shard, self.cube) if self.population else None,
                )
            except (ValueError, TrainingDiverged) as error:
                raise UserError(
                    f"training on {len(self.series)} sampled cells of {self.cube} failed: {error}"
                ) from error
            except OSError as error:
                raise self._cannot_write(error) from None
        with tempfile.TemporaryDirectory() as folder:
            estimator.save(Path(folder) / "model", about=self.about)
            return {path.name: path.read_bytes() for path in (Path(folder) / "model").iterdir()}

    def _begin_state(self, listener: Listener) -> None:
        """Make the folder of the state; the state of a training with other inputs or settings is removed."""
        written = self.state / _FINGERPRINT
        try:
            if self.state.exists():
                if written.exists() and written.read_text() == self.fingerprint:
                    return
                text = f"an unfinished training with other inputs or settings is discarded: {self.state}"
                listener({"message": text})
                written.unlink(missing_ok=True)  # first: after a kill nothing looks like a state to go on from
                shutil.rmtree(self.state)
            write_text(written, self.fingerprint)
        except OSError as error:
            raise self._cannot_write(error) from None

    def _cannot_write(self, error: OSError) -> UserError:
        return UserError(
            f"cannot write {self.state}: {error.strerror or error}. Free space, or choose another --out or local."
        )


def begun_with(state: Path) -> Fingerprint | None:
    """Return the fingerprint of the unfinished training whose state is in a folder; None where there is none."""
    try:
        return Fingerprint((state / _FINGERPRINT).read_text())
    except (FileNotFoundError, NotADirectoryError):
        return None
