"""The memory and the GPUs of this machine."""

from distributed.system import memory_limit

__all__ = ("gpus", "memory_limit")


def gpus() -> int:
    """Return the number of GPUs that torch can use on this machine."""
    import torch

    return torch.cuda.device_count()
