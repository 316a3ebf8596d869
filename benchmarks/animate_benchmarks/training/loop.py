"""A training run that can be cut at any time: seeded by step, saved every minute, resumed where it was."""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from animate_benchmarks.training.muon import Muon

_LOG_EVERY = 25
_WARM_UP_STEPS = 50


def stage_parser(description: str | None, *, steps: int) -> argparse.ArgumentParser:
    """Return a parser of the options that every stage takes.

    description: the stage's help.
    steps: default number of steps.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="a folder in which every stage keeps what it has")
    parser.add_argument("--steps", type=int, default=steps)
    parser.add_argument("--minutes", type=float, default=math.inf, help="after which it stops, if steps are left")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    return parser


def train(
    model: nn.Module,
    loss_of: Callable[[np.random.Generator, int], torch.Tensor],
    folder: Path,
    *,
    steps: int,
    learning_rate: float,
    weight_decay: float = 0.01,
    average: float = 0.0,
    seed: int = 0,
    minutes: float = math.inf,
    save_every_s: float = 60.0,
    boosts: Mapping[str, float] | None = None,
) -> None:
    """Minimise `loss_of(rng, step)` over the model's trainable parameters for `steps` steps, or until `minutes` pass.

    The learning rate warms up and falls along a cosine to a twentieth, reached with whichever of the two ends first.

    folder: takes `state.pt` and `log.jsonl`.
    average: above 0 keeps an exponential mean of the weights, which the model holds when this returns.
    boosts: factors of the learning rate, by the beginning of parameters' names.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = Muon(_groups(model, boosts or {}), lr=learning_rate, weight_decay=weight_decay)
    means = [p.detach().clone() for p in parameters] if average else []
    start = _resume(folder, model, optimizer, means)
    began = saved = time.monotonic()
    losses: list[float] = []
    step = start
    for step in range(start, steps):
        progress = max(step / steps, (time.monotonic() - began) / (minutes * 60))
        for group in optimizer.param_groups:
            group["lr"] = group["boost"] * learning_rate * _rate(step, progress)
        optimizer.zero_grad(set_to_none=True)
        torch.manual_seed(seed * 1_000_003 + step)
        loss = loss_of(np.random.default_rng([seed, step]), step)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        decay = min(average, (step + 1) / (step + 10))
        for mean, parameter in zip(means, parameters, strict=bool(means)):
            mean.lerp_(parameter.detach(), 1 - decay)
        losses.append(loss.item())
        now = time.monotonic()
        if len(losses) == _LOG_EVERY:
            _log(folder, step=step + 1, loss=float(np.mean(losses)), seconds=round(now - began, 1))
            losses = []
        if now - saved > save_every_s:
            _save(folder, model, optimizer, means, step + 1)
            saved = now
        if now - began > minutes * 60:
            break
    _save(folder, model, optimizer, means, min(step + 1, steps))
    for mean, parameter in zip(means, parameters, strict=bool(means)):
        parameter.data.copy_(mean)


def load_average(model: nn.Module, folder: Path) -> int:
    """Put a run's averaged weights (or its plain ones) into the model, and return the number of steps it had taken."""
    state = torch.load(folder / "state.pt", weights_only=True, map_location="cpu")
    model.load_state_dict(state["model"])
    parameters = [p for p in model.parameters() if p.requires_grad]
    for mean, parameter in zip(state["means"], parameters, strict=bool(state["means"])):
        parameter.data.copy_(mean)
    return int(state["step"])


def _groups(model: nn.Module, boosts: Mapping[str, float]) -> list[dict[str, Any]]:
    groups: dict[float, list[nn.Parameter]] = {1.0: []}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            boost = next((factor for prefix, factor in boosts.items() if name.startswith(prefix)), 1.0)
            groups.setdefault(boost, []).append(parameter)
    return [{"params": parameters, "boost": boost} for boost, parameters in groups.items() if parameters]


def _rate(step: int, progress: float) -> float:
    cosine = 0.525 + 0.475 * math.cos(math.pi * min(progress, 1.0))
    return min((step + 1) / _WARM_UP_STEPS, 1.0) * cosine


def _resume(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, means: list[torch.Tensor]) -> int:
    path = folder / "state.pt"
    if not path.is_file():
        return 0
    state = torch.load(path, weights_only=True, map_location="cpu")
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    for mean, saved in zip(means, state["means"], strict=True):
        mean.copy_(saved)
    return int(state["step"])


def _save(
    folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, means: list[torch.Tensor], step: int
) -> None:
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "means": means, "step": step}
    torch.save(state, folder / "state.pt.new")
    (folder / "state.pt.new").replace(folder / "state.pt")


def _log(folder: Path, **values: float) -> None:
    line = json.dumps(values)
    print(line, flush=True)
    with (folder / "log.jsonl").open("a") as log:
        log.write(line + "\n")
