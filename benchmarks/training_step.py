"""Time one training iteration: the recurrences of `model` against the same networks in plain PyTorch.

    python -m benchmarks.training_step [--batch 1000] [--dates 46] [--repeats 10] [--threads 1]

Both start from the same weights and see the same batches. That they end with the same weights is checked first, then
the two are timed turn about, with the adversarial term and without it.
"""

import argparse
import copy
import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from model import JointClustering
from model.networks.joint import JointModel
from model.networks.networks import Discriminator, Generator
from model.parameters import training_options
from model.training.algorithm import JointTraining


class PlainGenerator(nn.Module):
    """The generator as in its equations: a loop over dates in each direction, differentiated by autograd."""

    def __init__(self, fast: Generator) -> None:
        super().__init__()
        for name, parameter in fast.named_parameters():
            self.register_parameter(name, nn.Parameter(parameter.detach().clone()))

    def _direction(self, x: Tensor, m: Tensor, d: int) -> Tensor:
        h = x.new_zeros(x.shape[0], self.weight_hh.shape[2])
        estimates = []
        for t in range(x.shape[1]):
            e = torch.nn.functional.linear(h, self.weight_imp[d], self.bias_imp[d])
            u = torch.where(m[:, t], x[:, t], e)
            h = torch.gru_cell(u, h, self.weight_ih[d], self.weight_hh[d], self.bias_ih[d], self.bias_hh[d])
            estimates.append(e)
        return torch.stack(estimates, 1)

    def estimates(self, x: Tensor, m: Tensor) -> tuple[Tensor, Tensor]:
        return self._direction(x, m, 0), self._direction(x.flip(1), m.flip(1), 1).flip(1)


class PlainDiscriminator(nn.Module):
    """The discriminator from torch's own GRU layers."""

    def __init__(self, fast: Discriminator) -> None:
        super().__init__()
        self.layers = nn.ModuleList()
        for layer in fast.layers:
            gru = nn.GRU(layer.weight_ih.shape[1], layer.weight_hh.shape[1], batch_first=True)
            with torch.no_grad():
                for theirs, mine in zip(gru.parameters(), layer.parameters(), strict=True):
                    theirs.copy_(mine)
            self.layers.append(gru)
        self.output = copy.deepcopy(fast.output)

    def forward(self, x_hat: Tensor) -> Tensor:
        hidden = x_hat
        for layer in self.layers:
            hidden = layer(hidden)[0]
        return self.output(hidden)


def plain(model: JointModel) -> JointModel:
    """Return the same model with plain recurrences in the place of its own, and the same weights."""
    twin = copy.deepcopy(model)
    twin.generator = PlainGenerator(model.generator)
    if model.discriminator is not None:
        twin.discriminator = PlainDiscriminator(model.discriminator)
    return twin


def trainings(batch: int, dates: int, w_gen: float) -> tuple[JointTraining, JointTraining]:
    parameters = JointClustering(batch_size=batch, w_gen=w_gen, clip_norm=1).get_params()
    options = training_options(parameters | {"masked_reconstruction": True})
    rng = torch.Generator().manual_seed(0)
    model = JointModel(dates, 1, 2, 5, 5, adversarial=w_gen > 0, rng=rng)
    x = torch.rand(batch, dates, 1, generator=rng)
    m = torch.rand(x.shape, generator=rng) < 0.6
    with torch.no_grad():
        model.centres.copy_(model.autoencoder.encode(x[:2].flatten(1)))

    def train(chosen: JointModel) -> JointTraining:
        return JointTraining(chosen, torch.where(m, x, 0), m, options, torch.Generator(), lambda report: None)

    return train(model), train(plain(model))


def difference(fast: JointTraining, reference: JointTraining) -> float:
    pairs = zip(fast.model.parameters(), reference.model.parameters(), strict=True)
    return max(float((p - q).detach().abs().max()) for p, q in pairs)


def timed(step: Callable[[], object]) -> float:
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=1000)
    parser.add_argument("--dates", type=int, default=46)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(
        f"batch {arguments.batch}, {arguments.dates} dates, {torch.get_num_threads()} thread(s), milliseconds (median)"
    )
    for w_gen, name in ((1.0, "with discriminator"), (0.0, "without (w_gen = 0)")):
        fast, reference = trainings(arguments.batch, arguments.dates, w_gen)
        rows, targets = torch.arange(arguments.batch), [run.renew_target(None) for run in (fast, reference)]
        for run, target in zip((fast, reference), targets, strict=True):
            run.iterate(rows, target)
        largest = difference(fast, reference)
        # Adam divides by the gradient's own size, so rounding in a gradient near 0 shows in full.
        if largest > 1e-4:
            raise SystemExit(f"after one iteration the weights differ by {largest:g}")
        times: tuple[list[float], list[float]] = ([], [])
        for _ in range(arguments.repeats):
            for spent, run, target in zip(times, (fast, reference), targets, strict=True):
                spent.append(timed(partial(run.iterate, rows, target)))
        own, theirs = (1e3 * statistics.median(spent) for spent in times)
        print(
            f"{name}: model {own:.1f}, plain PyTorch {theirs:.1f}, ratio {theirs / own:.2f}; "
            f"largest difference of a weight after one iteration {largest:.1e}"
        )


if __name__ == "__main__":
    main()
