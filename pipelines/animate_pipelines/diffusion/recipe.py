"""`Recipe`: one job's choices between noise and pictures; a whole process shares its `Execution`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from animate_kernels.sparsity import DENSE, Sparsity
from animate_pipelines.diffusion.schedule import DpmSolver, FlowEuler, Solver, UniPC

SolverName = Literal["unipc", "dpmpp", "euler"]
_SOLVERS: dict[SolverName, Callable[[int, float], Solver]] = {"unipc": UniPC, "dpmpp": DpmSolver, "euler": FlowEuler}


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """The choices that decide speed and quality of one job.

    name: "full" or "turbo"; more follow.
    num_steps, shift: of the schedule.
    solver: the official command line's default is UniPC, its class's DPM-Solver++; few-step models take Euler.
    few_steps: whether the transformer has the few-step LoRA merged in.
    guidance_scale: 1 is off.
    sparsity: how dense self-attention is, over steps and blocks.
    half_first_step: take the first step at half the width and height, where there is only noise to see.
    """

    name: str = "full"
    num_steps: int
    shift: float
    solver: SolverName = "unipc"
    few_steps: bool = False
    guidance_scale: float = 1.0
    sparsity: Sparsity = DENSE
    half_first_step: bool = False

    def new_solver(self) -> Solver:
        """Return a solver for one segment: multistep solvers remember."""
        return _SOLVERS[self.solver](self.num_steps, self.shift)

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)
