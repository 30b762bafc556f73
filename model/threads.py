"""One thread of torch: networks this small are slower on more, and rounding of sums depends on their number."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def one_thread() -> Iterator[None]:
    """Limit torch to one thread of this process while the context lasts.

    Measured on 2 cores: a second thread makes these networks 1.5 to 16 times slower, and more so on a busy machine.
    With one thread a result has the same bits whatever OMP_NUM_THREADS says.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
