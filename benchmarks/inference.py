"""Time the labelling of every cell: by the network alone, by `label_series`, and by plain PyTorch.

    python -m benchmarks.inference [--hidden 16] [--dates 46] [--batch 4096] [--repeats 40]

The three see the same series and the same weights; that they agree is checked first. They are timed turn about, one
batch at a time, and the fastest of the repeats counts: other work on the machine slows down the others.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from model import Generator, JointClustering, soft_assignment
from model.networks.joint import JointModel
from pipeline.base.channel import Channel
from pipeline.cube.channels import filled_name, spread_names, to_physical
from pipeline.stages.infer.labelling import CONFIDENCE, LABEL, label_series

FPAR = Channel("fpar", "FPAR", "1", 0.01, 0.0, "uint8", 255, (0, 100))
MAP_ONLY = (LABEL, CONFIDENCE)
EVERYTHING = (*MAP_ONLY, filled_name(FPAR), *spread_names((FPAR,)))


class PlainInference:
    """The method as in its equations: torch's own GRU cell, once a date and direction, on series (B, T, C)."""

    def __init__(self, estimator: JointClustering) -> None:
        model = estimator.model_
        assert isinstance(model, JointModel)
        assert isinstance(model.generator, Generator)
        self.generator, self.autoencoder, self.centres = model.generator, model.autoencoder, model.centres
        self.cells: list[torch.nn.GRUCell] = []
        generator = self.generator
        for d in range(2):
            cell = torch.nn.GRUCell(generator.n_channels, generator.hidden_size)
            own = (generator.weight_ih, generator.weight_hh, generator.bias_ih, generator.bias_hh)
            with torch.no_grad():
                for theirs, mine in zip(cell.parameters(), own, strict=True):
                    theirs.copy_(mine[d])
            self.cells.append(cell)

    def _direction(self, x: Tensor, m: Tensor, d: int) -> Tensor:
        generator = self.generator
        h = x.new_zeros(len(x), generator.hidden_size)
        estimates = []
        for t in range(x.shape[1]):
            e = torch.nn.functional.linear(h, generator.weight_imp[d], generator.bias_imp[d])
            h = self.cells[d](torch.where(m[:, t], x[:, t], e), h)
            estimates.append(e)
        return torch.stack(estimates, 1)

    def __call__(self, x: Tensor, m: Tensor) -> Tensor:
        """Return q (B, K) of Eq 6."""
        x_hat = (self._direction(x, m, 0) + self._direction(x.flip(1), m.flip(1), 1).flip(1)) / 2
        z = self.autoencoder.encode(torch.where(m, x, x_hat).flatten(1))
        return soft_assignment(z, self.centres)


def random_numbers(dates: int, cells: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    season = 50 + 40 * np.cos(np.linspace(0, 6, dates))[:, None] * rng.choice([-1, 1], cells)
    numbers = (season + rng.normal(0, 4, (dates, cells))).clip(0, 100).astype(np.uint8)
    numbers[rng.random(numbers.shape) < 0.3] = FPAR.missing
    return numbers


def processor_time(call: Callable[[], object]) -> float:
    start = time.process_time()  # of this process alone: what others take from the machine does not count
    call()
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hidden", type=int, default=16)
    parser.add_argument("--dates", type=int, default=46)
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--repeats", type=int, default=40)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    numbers = random_numbers(arguments.dates, arguments.batch)
    series = to_physical(numbers.T, FPAR)[:, :, None]
    estimator = JointClustering(
        hidden_size=arguments.hidden, n_iter=5, warm_up=5, preset="robust", w_gen=0, random_state=0, device="cpu"
    ).fit(series[:2000])
    scaled = torch.from_numpy(estimator.scaler_.transform(series))
    m = ~scaled.isnan()
    x = torch.where(m, scaled, 0)
    x_by_date, m_by_date = (part.permute(1, 2, 0).contiguous().permute(2, 0, 1) for part in (x, m))
    plain = PlainInference(estimator)

    def labelled(wanted: tuple[str, ...]) -> dict[str, np.ndarray]:
        return label_series(estimator, {FPAR.name: numbers}, (FPAR,), arguments.batch, wanted)

    calls: dict[str, Callable[[], object]] = {
        "network": lambda: estimator.model_(x_by_date, m_by_date),
        "label_series, label and confidence": lambda: labelled(MAP_ONLY),
        "label_series, everything": lambda: labelled(EVERYTHING),
        "plain PyTorch": lambda: plain(x, m),
    }
    with torch.inference_mode():
        difference = float((plain(x, m) - estimator.model_(x_by_date, m_by_date).q).abs().max())
        if difference > 1e-4:
            raise SystemExit(f"plain PyTorch and the model differ by {difference:g} in q")
        best = dict.fromkeys(calls, np.inf)
        for _ in range(arguments.repeats):
            for name, call in calls.items():
                best[name] = min(best[name], processor_time(call))
    print(f"H = {arguments.hidden}, T = {arguments.dates}, batch {arguments.batch}, one core")
    for name, seconds in best.items():
        rate = arguments.batch / seconds
        print(f"{name:36s} {rate:9,.0f} pixels a second   {seconds / best['network']:5.2f} of the network's time")


if __name__ == "__main__":
    main()
