"""Make the engine that the settings name. Nothing is started or imported before it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from core.config import Settings
from core.engines import Engine, EngineFactory
from core.logs import get_logger
from core.model_names import named_files, parse_model_names
from core.paths import ProfilePaths
from core.secrets import SecretStore

engine_log = get_logger("core.engine")


@dataclass(slots=True)
class EngineSecrets:
    """What an engine needs from the keyring, read before the engine is made: a keyring may take 3 s to say no."""

    openai_api_key: str = field(default="", repr=False)

    def read(self, settings: Settings, paths: ProfilePaths) -> None:
        """Blocks: on a loop use asyncio.to_thread. Raises ConfigError and StorageError."""
        if settings.engine == "openai":
            secret = SecretStore(paths.secrets_dir, settings.profile).get("openai_api_key")
            self.openai_api_key = secret.value if secret else ""


def engine_factories(
    settings: Settings,
    paths: ProfilePaths,
    engine_secrets: EngineSecrets | None = None,
    *,
    current: Callable[[], Settings] | None = None,
) -> Mapping[str, EngineFactory]:
    """By name: how to make each engine with the owner's settings.

    Without `engine_secrets` they are read here, which blocks. `current` gives the settings as they are later: what is
    lent of the memory may change.
    """
    if engine_secrets is None:
        engine_secrets = EngineSecrets()
        engine_secrets.read(settings, paths)

    def ollama() -> Engine:
        from core.engines.ollama import OllamaEngine

        return OllamaEngine(
            settings.ollama_host,
            context_tokens=settings.context_tokens,
            keep_alive=f"{settings.unload_after_idle_s:g}s",
        )

    def openai() -> Engine:
        from core.engines.openai import OpenAIEngine

        return OpenAIEngine(
            settings.openai_base_url,
            api_key=engine_secrets.openai_api_key,
            context_tokens=settings.context_tokens,
        )

    def embedded() -> Engine:
        from core.assets_path import selftest_model_path
        from core.engines.embedded import EmbeddedEngine
        from core.engines.load_room import lendable_ram_mb

        return EmbeddedEngine(
            settings.models_dir,
            extra_model_files=(selftest_model_path(), *named_files(parse_model_names(settings.model_names))),
            context_tokens=settings.context_tokens,
            slots=settings.max_concurrent_jobs,
            free_ram_mb=lendable_ram_mb(current or (lambda: settings)),
            on_log=lambda line: engine_log.debug("engine says", line=line),
        )

    return {"ollama": ollama, "openai": openai, "embedded": embedded}
