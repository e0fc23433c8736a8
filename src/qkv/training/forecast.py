"""What a training will cost, measured on a few steps of a copy of the model."""

from __future__ import annotations

import copy
import statistics
import sys
import time

import torch

from qkv.progress import Forecast
from qkv.training.checkpoint import training_tensors
from qkv.training.loop import Stepper, Task
from qkv.training.recipe import TrainingSettings

# The first steps are slow: memory is touched for the first time and kernels are chosen.
WARM_STEPS, TIMED_STEPS = 10, 5
# Figures, predictions, log, record and card of a run.
FIXED_DISK_BYTES = 2 * 2**20


def forecast(task: Task, settings: TrainingSettings, device: torch.device) -> Forecast:
    """Time a few steps of a copy of the task's model; the training itself is not advanced.

    Evaluation is counted as the forward part, a third, of a training step for as many examples.
    """
    model = copy.deepcopy(task.model)
    stepper = Stepper(task, settings, seed=0, device=device, model=model)
    batches = stepper.epoch_batches(0)
    seconds_an_example = []
    for number in range(WARM_STEPS + TIMED_STEPS):
        indices = batches[number % len(batches)]
        started = time.monotonic()
        float(stepper.step(indices, number).loss)  # a number: an accelerator has finished
        seconds_an_example.append((time.monotonic() - started) / len(indices))
    pace = statistics.median(seconds_an_example[WARM_STEPS:])
    evaluated = task.split_examples("validation")
    if settings.test_each_epoch:
        evaluated += task.split_examples("test")
    position = training_tensors(model, stepper.optimizer, stepper.average)
    position_bytes = sum(tensor.nbytes for tensor in position.values())
    weights_bytes = sum(tensor.nbytes for tensor in model.state_dict().values())
    return Forecast(
        train_seconds=settings.epochs * pace * (task.train_examples + evaluated / 3),
        memory_bytes=_peak_memory_bytes(device),
        # A file is replaced by a complete new one, so for a moment there are two.
        disk_bytes=2 * (position_bytes + weights_bytes) + FIXED_DISK_BYTES,
        total_steps=stepper.total_steps,
    )


def _peak_memory_bytes(device: torch.device) -> int | None:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
