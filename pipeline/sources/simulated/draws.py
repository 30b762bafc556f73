"""Random numbers as pure functions of place and time: a field has the same numbers in every process."""

from collections.abc import Mapping
from typing import Final

import numpy as np
from scipy.special import ndtri

_GAMMA: Final = np.uint64(0x9E3779B97F4A7C15)
_FIRST: Final = np.uint64(0xBF58476D1CE4E5B9)
_SECOND: Final = np.uint64(0x94D049BB133111EB)
_TO_UNIT: Final = np.float32(2.0**-23)  # 23 bits, so that the middle between two draws is a float32 too

Key = np.ndarray  # uint64


def key(*parts: int | np.ndarray) -> Key:
    """Mix integers (negative ones too) into 64-bit keys with the finaliser of splitmix64.

    Args:
        parts: integers or integer arrays that broadcast.

    Returns:
        uint64 array of the broadcast shape.
    """
    state = np.zeros((1,), np.uint64)
    for part in parts:
        mixed = state + _GAMMA + np.asarray(part).astype(np.int64).view(np.uint64)
        mixed ^= mixed >> np.uint64(30)
        mixed *= _FIRST
        mixed ^= mixed >> np.uint64(27)
        mixed *= _SECOND
        state = mixed ^ (mixed >> np.uint64(31))
    return state


def uniform(keys: Key, stream: int) -> np.ndarray:
    """Draw uniform float32 in [0, 1): one number a key, independent between streams."""
    return (key(keys.view(np.int64), stream) >> np.uint64(41)).astype(np.float32) * _TO_UNIT


def normal(keys: Key, stream: int) -> np.ndarray:
    """Draw standard normal float32: one number a key, independent between streams."""
    return ndtri(uniform(keys, stream) + _TO_UNIT / 2)


def generator(*parts: int) -> np.random.Generator:
    """Return a generator for whole arrays of one seed, place and date."""
    return np.random.Generator(np.random.SFC64(parts))


def smooth_fields(
    rng: np.random.Generator, n: int, shape: tuple[int, int], scales: Mapping[float, float]
) -> np.ndarray:
    """Draw stationary Gaussian random fields, periodic at the edges.

    Args:
        rng: source of randomness.
        n: number of fields.
        shape: rows and columns.
        scales: weight of each correlation length, in cells.

    Returns:
        float32 (n, rows, columns) with mean 0 and variance 1.
    """
    ky, kx = np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None, :]
    k2 = (2 * np.pi) ** 2 * (ky**2 + kx**2)
    power = sum(weight**2 * scale**2 * np.exp(-k2 * scale**2) for scale, weight in scales.items())
    multiplicity = np.full(kx.shape, 2.0)  # rfft keeps one of each conjugate pair of columns
    multiplicity[0, 0] = 1.0
    if shape[1] % 2 == 0:
        multiplicity[0, -1] = 1.0
    amplitude = np.sqrt(power / (power * multiplicity).sum() * shape[0] * shape[1])
    white = rng.standard_normal((n, *shape), dtype=np.float32)
    return np.fft.irfft2(np.fft.rfft2(white) * amplitude, s=shape).astype(np.float32)
