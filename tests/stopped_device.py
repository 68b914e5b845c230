"""Two processes of which the second stands still: ``python tests/stopped_device.py``."""

import os
import signal
from datetime import timedelta

import torch

from cmlib.training import loop


def main() -> None:
    fabric = loop.launch("32-true", devices=2, timeout=timedelta(seconds=25))
    loop.across_devices(torch.ones(1), "sum", fabric, "epoch 1, batch 1 of 2")
    if fabric.global_rank == 1:
        print(f"stopped {os.getpid()}", flush=True)
        os.kill(os.getpid(), signal.SIGSTOP)
    try:
        loop.across_devices(torch.ones(1), "sum", fabric, "epoch 1, batch 2 of 2")
    except loop.TrainingError as error:
        print(error, flush=True)
        os._exit(3)


if __name__ == "__main__":
    main()
