"""Changed settings reach a running agent: at once where that is declared, and named where it is not."""

from __future__ import annotations

import logging

import pytest

from core.config import DECLARATIONS
from core.config_edit import change_settings
from core.config_load import load_settings
from core.errors import ConfigError
from core.live_settings import LIVE, apply_settings_outcome
from core.paths import profile_paths
from tests.fakes.fake_engine import FakeEngine
from tests.fakes.small_agent import small_agent

CHANGES = {
    "supported_models": "tiny,other",
    "model_names": "third=tiny",
    "max_concurrent_jobs": "2",
    "queue_size": "3",
    "queue_wait_s": "4",
    "max_output_tokens": "55",
    "max_session_s": "66",
    "slow_client_s": "7",
    "first_token_timeout_s": "8",
    "token_gap_timeout_s": "9",
    "gpus": "RTX 4090,GPU-1",
    "ram_budget_mb": "5000",
    "vram_reserve_mb": "2000",
    "ram_reserve_mb": "3000",
    "drain_limit_s": "11",
    "finish_limit_s": "12",
    "unload_after_idle_s": "60",
    "preload_on_resume": "false",
    "preload_at_start": "true",
    "preload_models": "3",
    "keep_awake": "false",
    "notifications": "false",
    "update_index_url": "https://releases.example/index.json",
    "hub_endpoint": "https://hub.example",
    "download_limit_mb_s": "2.5",
    "models_disk_budget_gb": "50",
    "log_level": "warning",
    "pause_while_in_use": "true",
    "idle_minutes": "5",
    "in_use_effect": "finish, keep",
    "listed_apps": "steam,/opt/games",
    "listed_app_hold_s": "20",
    "listed_app_effect": "stop, unload",
    "pause_in_full_screen": "false",
    "full_screen_effect": "only tell",
    "gpu_others_percent": "30",
    "gpu_others_for_s": "5",
    "gpu_others_resume_percent": "15",
    "gpu_others_resume_s": "30",
    "gpu_look_after_s": "30",
    "gpu_in_use_effect": "off",
    "engine_used_by_owner_effect": "off",
    "pause_on_battery": "false",
    "on_battery_effect": "finish, unload",
    "battery_low_percent": "40",
    "battery_low_effect": "stop, keep",
    "gpu_max_c": "85",
    "gpu_resume_c": "70",
    "gpu_hot_effect": "stop, keep",
    "gpu_target_c": "72",
    "cpu_max_c": "95",
    "cpu_resume_c": "80",
    "cpu_hot_effect": "stop, keep",
    "cpu_target_c": "75",
    "gpu_lost_effect": "stop, keep",
    "vram_short_effect": "stop, unload",
    "ram_short_effect": "stop, unload",
    "memory_tight_effect": "only tell",
    "cpu_others_percent": "60",
    "cpu_others_for_s": "20",
    "cpu_others_resume_s": "90",
    "cpu_busy_effect": "only tell",
    "pause_on_metered": "false",
    "metered_effect": "only tell",
    "schedule": "daily 00-24",
    "schedule_effect": "finish, keep",
    "hours_per_day": "8",
    "kwh_per_day": "2.5",
    "budget_spent_effect": "finish, keep",
    "tariff_per_kwh": "0.31",
    "serving_power_w": "150",
}


def test_the_declarations_say_live_of_exactly_what_is_applied_live() -> None:
    assert {name for name, declaration in DECLARATIONS.items() if declaration.is_live} == set(LIVE)
    assert set(CHANGES) == set(LIVE)


async def test_every_live_setting_counts_at_once() -> None:
    async with small_agent(FakeEngine(models=("tiny:latest", "other:latest"))) as agent:
        level_before = logging.getLogger("core").level
        try:
            change_settings(CHANGES, {})
            outcome = await apply_settings_outcome(agent)
            assert logging.getLogger("core").level == logging.WARNING
        finally:
            logging.getLogger("core").setLevel(level_before)

        assert set(outcome.result["applied"]) == set(LIVE)  # type: ignore[call-overload]
        assert outcome.result["restart"] == []
        assert agent.store.current.offered_models == ("tiny", "other")
        assert (agent.admission.max_jobs, agent.admission.queue_size) == (2, 3)
        assert agent.store.current.max_jobs == 2
        limits = agent.admission.limits
        assert (limits.queue_wait_s, limits.max_session_s, limits.slow_client_s) == (4, 66, 7)
        assert (limits.first_token_timeout_s, limits.token_gap_timeout_s) == (8, 9)
        assert agent.public.service is not None
        assert agent.public.service.limits.max_output_tokens == 55
        assert agent.public.service.limits.context_tokens == 4096
        assert agent.store.current.capacity.total_mb == 5000
        assert (agent.drain_limit_s, agent.owner.finish_limit_s) == (11, 12)
        assert agent.keeper.unload_after_idle_s == 60
        again = await apply_settings_outcome(agent)
        assert again.message == "Nothing has changed."


async def test_a_setting_that_needs_a_restart_is_named_and_not_half_applied() -> None:
    async with small_agent(FakeEngine()) as agent:
        change_settings({"public_host": "gpu.example.com", "queue_size": "9"}, {})
        outcome = await apply_settings_outcome(agent)

        assert outcome.result == {"applied": ["queue_size"], "restart": ["public_host"]}
        assert agent.settings.public_host == "localhost"
        assert "gpu.example.com" not in agent.store.current.endpoint


async def test_the_embedded_engine_takes_more_sessions_only_after_a_restart() -> None:
    engine = FakeEngine(name="embedded")
    async with small_agent(engine, {"engine": "ollama"}) as agent:
        change_settings({"max_concurrent_jobs": "8"}, {})
        outcome = await apply_settings_outcome(agent)
        assert outcome.result["restart"] == ["max_concurrent_jobs"]
        assert agent.admission.max_jobs == 4
        change_settings({"max_concurrent_jobs": "1"}, {})
        await apply_settings_outcome(agent)
        assert agent.admission.max_jobs == 1


async def test_what_the_command_line_said_survives_a_changed_file() -> None:
    async with small_agent(FakeEngine(), {"max_concurrent_jobs": "3"}) as agent:
        change_settings({"max_concurrent_jobs": "7", "queue_size": "1"}, {})
        outcome = await apply_settings_outcome(agent)
        assert outcome.result["applied"] == ["queue_size"]
        assert agent.admission.max_jobs == 3


async def test_a_file_that_cannot_be_used_changes_nothing() -> None:
    async with small_agent(FakeEngine()) as agent:
        profile_paths(environ={}).config_file.write_text('queue_size = "many"\n')
        with pytest.raises(ConfigError, match="queue_size"):
            await apply_settings_outcome(agent)
        assert agent.admission.queue_size == 0


async def test_an_agent_of_other_folders_follows_no_file_of_this_process(tmp_path: object) -> None:
    from core.config_reload import reload_settings

    loaded = load_settings({"TITAN_HOME": str(tmp_path)})
    change_settings({"queue_size": "9"}, {})
    assert reload_settings(loaded) is loaded
