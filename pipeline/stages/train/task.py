"""The training itself, wherever it runs: in this process, or on a GPU worker of the cluster."""

import shutil
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from model import JointClustering, TrainingDiverged
from pipeline.base import locks
from pipeline.base.errors import UserError
from pipeline.base.files import write_text
from pipeline.base.locations import Location
from pipeline.runtime.executor import Listener
from pipeline.stages.train.sample import series_by_shard

_FINGERPRINT: Final = "fingerprint"


@dataclass(frozen=True, eq=False)
class TrainingTask:
    """A training and all that it needs; called with what takes its events, it gives the files of the trained model.

    Its state is kept in the folder `state` of the machine it runs on; where an earlier run of the same was killed, it
    goes on at the last target update.
    """

    parameters: dict[str, Any]  # of JointClustering
    series: np.ndarray  # (n, T, C)
    about: dict[str, Any]  # kept in the model: calendar, channels, ...
    state: Path
    mark: str  # fingerprint: a state with another one is of another training
    cube: Location
    population: bool  # whether cluster sizes are summed over all series of the cube

    def __call__(self, listener: Listener) -> dict[str, bytes]:
        """Train; the files of the model by name.

        Raises:
            UserError: training does not converge, or the state cannot be written.
            Cancelled: by the listener, where nobody waits for the result any more.
        """
        torch.set_num_threads(1)  # measured: on networks this small a second thread costs more than it brings
        # a worker whose run was killed ends its training at its next event: until then the state is still its own
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
        """Make the folder of the state; what a training with other inputs or settings left there is removed."""
        written = self.state / _FINGERPRINT
        try:
            if self.state.exists():
                if written.exists() and written.read_text() == self.mark:
                    return
                text = f"an unfinished training with other inputs or settings is discarded: {self.state}"
                listener({"message": text})
                written.unlink(missing_ok=True)  # first: a kill leaves nothing that looks like a state to go on from
                shutil.rmtree(self.state)
            write_text(written, self.mark)
        except OSError as error:
            raise self._cannot_write(error) from None

    def _cannot_write(self, error: OSError) -> UserError:
        return UserError(
            f"cannot write {self.state}: {error.strerror or error}. Free space, or choose another --out or local."
        )


def begun_with(state: Path) -> str | None:
    """The fingerprint of the unfinished training whose state lies in a folder, or None."""
    try:
        return (state / _FINGERPRINT).read_text()
    except (FileNotFoundError, NotADirectoryError):
        return None
