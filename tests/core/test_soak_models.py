"""Ten small trials of scripts/soak-models: random models, contexts, sessions and budgets in the real engine."""

from __future__ import annotations

import pytest

from benchmarks.soak_models import LARGEST_MB, run_trial, summary, trial_of

SMALL_MB = 24.0


@pytest.mark.slow
@pytest.mark.parametrize("number", range(10))
async def test_a_random_model_is_served_stepped_down_or_refused(
    number: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    result = await run_trial(trial_of(number, SMALL_MB), tmp_path_factory.mktemp("soak"))
    assert result["outcome"] in ("as wanted", "stepped down", "refused"), result
    if result["outcome"] == "refused":
        assert result["need_mb"] > result["budget_mb"]
        return
    assert result["restarts"] == 0
    assert result["planned_mb"] <= result["budget_mb"]
    assert result["peak_mb"] is None or result["peak_mb"] <= result["budget_mb"]
    assert result["tokens"] > 0


def test_the_ten_trials_are_not_all_alike() -> None:
    trials = [trial_of(number, SMALL_MB) for number in range(10)]
    assert len({trial.model.architecture for trial in trials}) == 3
    assert {trial.budget_share > 1 for trial in trials} == {True, False}
    assert trials == [trial_of(number, SMALL_MB) for number in range(10)]
    assert max(trial.sessions for trial in (trial_of(number, LARGEST_MB) for number in range(200))) == 8


def test_a_kill_is_counted_in_the_summary() -> None:
    killed = {"trial": 1, "outcome": "failed", "budget_mb": 10, "oom_kills": 1, "is_limited": True}
    assert "killed for want of memory: 1" in summary([killed])
