"""Label series and fill their gaps: from stored numbers to stored results, in the cube's layout (time, cell).

The numbers are decoded and encoded on the model's device, batch by batch.
"""

from collections.abc import Callable, Collection, Mapping

import numpy as np
import torch
from torch import Tensor

from model import DateInference, JointClustering
from model.series import select
from pipeline.base.channel import Channel
from pipeline.cube.channels import filled_name, spread_names, to_physical, whole_steps, width_channel
from pipeline.cube.layout import MISSING
from pipeline.cube.map_layers import CONFIDENCE, LABEL


@torch.inference_mode()
def label_series(
    estimator: JointClustering,
    numbers: Mapping[str, np.ndarray],
    channels: tuple[Channel, ...],
    batch: int,
    wanted: Collection[str],
) -> dict[str, np.ndarray]:
    """Return the wanted outputs of n cells as they are stored; cells without any observation are missing in all.

    No output depends on `batch`. Besides `numbers` and the results, one batch is in memory.

    Args:
        estimator: the trained model.
        numbers: of the cells, as the cube stores them, (T, n) by channel.
        channels: of the cube, in the order in which they go through the network.
        batch: cells that go through the network at once.
        wanted: names of outputs: "label", "confidence", and those of `filled_name` and `spread_names`.

    Returns:
        Arrays by name: label and confidence (n,), uint8; the others (T, n), of the channel's type.

    Raises:
        ValueError: there is no such output.
    """
    n_dates, n_cells = numbers[channels[0].name].shape
    stored = _empty_outputs(n_dates, n_cells, channels, wanted)
    device = estimator.model_.centres.device
    decoders = [decoder(channel, device) for channel in channels]
    for start in range(0, n_cells, batch):
        cells = slice(start, start + batch)
        given = [torch.from_numpy(numbers[channel.name][:, cells]).to(device) for channel in channels]
        dates = torch.stack([decode(part) for decode, part in zip(decoders, given, strict=True)], 1)
        found = estimator.infer_dates(dates)
        for name, values in _outputs(found, given, channels, set(stored)).items():
            stored[name][..., cells] = values.cpu().numpy()
    return stored


def _empty_outputs(
    n_dates: int, n_cells: int, channels: tuple[Channel, ...], wanted: Collection[str]
) -> dict[str, np.ndarray]:
    """Return an uninitialised array for every wanted output.

    Raises:
        ValueError: there is no such output.
    """
    forms: dict[str, tuple[tuple[int, ...], str]] = {LABEL: ((n_cells,), "uint8"), CONFIDENCE: ((n_cells,), "uint8")}
    for channel, spread in zip(channels, spread_names(channels), strict=True):
        forms[filled_name(channel)] = forms[spread] = ((n_dates, n_cells), channel.dtype)
    if unknown := sorted(set(wanted) - set(forms)):
        raise ValueError(f"there is no output {', '.join(unknown)}; there are {', '.join(forms)}")
    return {name: np.empty(*form) for name, form in forms.items() if name in wanted}


def _outputs(
    found: DateInference, given: list[Tensor], channels: tuple[Channel, ...], wanted: Collection[str]
) -> dict[str, Tensor]:
    """Return the wanted outputs of a batch as they are stored.

    Args:
        found: by the network.
        given: stored numbers (T, b) of every channel.
        channels: of the cube.
        wanted: names of the outputs.
    """
    outputs: dict[str, Tensor] = {}
    observed = [part != channel.missing for part, channel in zip(given, channels, strict=True)]
    if LABEL in wanted:
        outputs[LABEL] = found.q.argmax(1).to(torch.uint8)
    if CONFIDENCE in wanted:
        outputs[CONFIDENCE] = found.q.amax(1).mul_(100).round_().to(torch.uint8)
    names = spread_names(channels)
    estimates = found.estimates() if any(filled_name(channel) in wanted for channel in channels) else None
    spread = found.spread() if not set(names).isdisjoint(wanted) else None
    for c, (channel, name) in enumerate(zip(channels, names, strict=True)):
        if estimates is not None and filled_name(channel) in wanted:
            # observations stay as they are stored: float32 may not represent them exactly
            outputs[filled_name(channel)] = select(observed[c], given[c], encoded(estimates[:, c], channel))
        if spread is not None and name in wanted:
            width = encoded(spread[:, c], width_channel(channel))
            outputs[name] = select(observed[c], torch.zeros_like(width), width)
    empty = torch.stack([seen.view(torch.uint8).amax(0) for seen in observed]).amax(0) == 0
    if empty.any():
        fills = {LABEL: MISSING, CONFIDENCE: MISSING}
        for channel, name in zip(channels, names, strict=True):
            fills[filled_name(channel)] = fills[name] = channel.missing
        for name, values in list(outputs.items()):
            outputs[name] = torch.where(empty, torch.tensor(fills[name], dtype=values.dtype).to(values.device), values)
    return outputs


def decoder(channel: Channel, device: torch.device) -> Callable[[Tensor], Tensor]:
    """Return a function that decodes stored numbers on a device: float32, physical units, NaN = missing.

    Its results are those of `to_physical`, bit for bit. Numbers of one or two bytes are looked up in a table of all.
    """
    limits = np.iinfo(channel.dtype)
    if limits.bits > 16:
        return lambda stored: torch.from_numpy(to_physical(stored.cpu().numpy(), channel)).to(device)
    every = np.arange(limits.min, limits.max + 1).astype(channel.dtype)
    table = torch.from_numpy(to_physical(every, channel)).to(device)
    return lambda stored: table.index_select(0, stored.to(torch.int32).sub_(limits.min).flatten()).view(stored.shape)


def encoded(values: Tensor, channel: Channel) -> Tensor:
    """Encode finite physical numbers as they are stored, rounded half to even and clipped."""
    number = values.to(torch.float64).sub_(channel.offset)
    number = number.mul_(steps) if (steps := whole_steps(channel)) else number.div_(number.new_tensor(channel.scale))
    return number.round_().clamp_(*channel.valid_range).to(getattr(torch, channel.dtype))
