"""Where an actor's model runs: on the GPU that Ray gave it a share of, or on processors."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from actors.errors import ActingError


def acting_device(gpus: float, given: Sequence[int | str]) -> torch.device:
    """The device for `acting.gpus`; `given` are the numbers of the GPUs that Ray lets one see.

    Ray shows its process that GPU alone, so that it is torch's first one. Ray counts shares of a
    GPU, nothing more: that those who share one fit into its memory together is the user's to see.
    Raises ActingError where a GPU is asked for and there is none.
    """
    if not gpus:
        return torch.device("cpu")
    if not given:
        raise ActingError(
            f"acting.gpus = {gpus:g}, but Ray gave no GPU to this process: give its host one "
            "(`ray start --num-gpus=1`), or set acting.gpus=0"
        )
    if not torch.cuda.is_available():
        build = f"for CUDA {torch.version.cuda}" if torch.version.cuda else "for processors only"
        raise ActingError(
            f"acting.gpus = {gpus:g} and Ray gave GPU {given[0]}, but torch {torch.__version__} "
            f"(built {build}) sees none: install a build of the same version that fits the host's "
            "driver on every host, or set acting.gpus=0"
        )
    return torch.device("cuda")
