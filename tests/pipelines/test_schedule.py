"""Noise levels and solver steps equal the official ones (recorded values)."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from golden_weights import GOLDEN, read_json
from safetensors.torch import load_file

from animate_pipelines.diffusion.schedule import DpmSolver, FlowEuler, UniPC, euler_sigmas, unipc_sigmas
from animate_weights.random_weights import uniform


@pytest.mark.parametrize(("steps", "shift"), [(20, 5.0), (4, 5.0), (6, 5.0), (4, 8.0)])
def test_unipc_tables_are_the_official_ones(steps: int, shift: float) -> None:
    golden = read_json("schedules.json")[f"official_unipc_{steps}_{shift}"]
    assert unipc_sigmas(steps, shift).tolist() == golden["sigmas"]
    assert UniPC(steps, shift).timesteps.tolist() == golden["timesteps"]


@pytest.mark.parametrize("steps", [4, 20])
def test_euler_levels_are_those_of_the_few_step_models(steps: int) -> None:
    golden = read_json("schedules.json")[f"official_dpmpp_{steps}_5.0"]
    assert euler_sigmas(steps, 5.0).tolist() == pytest.approx(golden["sigmas"], abs=1e-7)
    assert FlowEuler(4, 5.0).timesteps.tolist() == pytest.approx([1000.0, 937.5, 833.3333, 625.0])


@pytest.mark.parametrize("steps", [4, 6, 20])
@pytest.mark.parametrize(("name", "kind"), [("unipc", UniPC), ("dpmpp", DpmSolver)])
def test_solvers_walk_as_the_official_ones(name: str, kind: type[UniPC] | type[DpmSolver], steps: int) -> None:
    golden = load_file(GOLDEN / "solver_trace.safetensors")
    solver = kind(steps, 5.0)
    assert solver.timesteps.tolist() == golden[f"{name}_{steps}.timesteps"].tolist()
    latents = golden["x_init"]
    for index in range(steps):
        velocity = 0.3 * latents + torch.tanh(uniform(f"sv.{index}", (1, 4, 5, 6))[0] * 1.5)
        latents = solver.step(velocity, index, latents)
        wanted = golden[f"{name}_{steps}.latents_after_step"][index]
        assert float((latents - wanted).norm() / wanted.norm()) < 1e-6


@pytest.mark.parametrize("shift", ["1", "3", "5", "8"])
def test_timesteps_of_dpm_are_cut_off_from_exact_levels(shift: str) -> None:
    """Computed in fractions; where a whole number is hit exactly float64 decides, as in the official code."""
    for steps in range(1, 61):
        for index, timestep in enumerate(DpmSolver(steps, float(shift)).timesteps.tolist()):
            base = 1 - Fraction(index, steps)
            exact = 1000 * Fraction(shift) * base / (1 + (Fraction(shift) - 1) * base)
            near = round(exact)
            assert timestep == int(exact) or (exact == near and timestep == near - 1), (steps, index)
    assert DpmSolver(40, 3.0).timesteps.tolist()[:6] == [1000, 991, 982, 973, 964, 954]


def test_flow_euler_reaches_the_sample_of_a_constant_velocity() -> None:
    noise, sample = uniform("noise", (3, 3)), uniform("sample", (3, 3))
    solver, latents = FlowEuler(4, 5.0), noise
    for index in range(4):
        latents = solver.step(noise - sample, index, latents)
    torch.testing.assert_close(latents, sample)
