"""Which processes are our engine's: their memory and processor time are ours, not "use by others"."""

from __future__ import annotations

from collections.abc import Callable

from core.engines import Engine
from core.host_meter import NamedProcesses


class EngineProcesses:
    """Pids of the engine in use. `look` blocks and belongs on a worker thread; `known` is its last answer."""

    def __init__(self, engine: Callable[[], Engine]) -> None:
        self._engine = engine
        # Its runners: a program of their own up to 0.5, `ollama` itself then, and llama.cpp's server from 0.30 on.
        self._ollama = NamedProcesses("ollama", "ollama_llama_server", helpers=("llama-server",))
        self._known: tuple[int, ...] = ()

    @property
    def known(self) -> tuple[int, ...]:
        return self._known

    def refresh(self) -> None:
        """Look again at the next sample: a model was loaded, perhaps in a new process."""
        self._ollama.refresh()

    def look(self) -> tuple[int, ...]:
        """An embedded engine's child by its pid; Ollama, which we didn't start, by its name.

        An OpenAI-compatible server may be any program, also on another machine: nothing is known of its processes.
        """
        engine = self._engine()
        if engine.name == "ollama":
            self._known = self._ollama()
        else:
            pid = getattr(engine, "worker_pid", None)
            self._known = () if pid is None else (pid,)
        return self._known
