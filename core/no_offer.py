"""Why no model is offered, and what to do about it, in words. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from core.engines import EngineModel
from core.unloadable import Failure


def why_unloadable(name: str, failure: Failure) -> tuple[str, str]:
    """The sentence and the remedy where a model is here and has failed."""
    sentence = f"{name} cannot be served: {failure.why}"
    if failure.is_of_memory:
        hint = failure.hint or "Close other programs, or offer a smaller one: titan models"
        return f"{sentence.removesuffix('.')}; it is tried again as soon as there is room", hint
    return sentence, failure.hint or "It is tried again in 10 minutes; offer another one meanwhile: titan models"


def why_none_is_here(
    engine: str, supported: Sequence[str], for_tests: Iterable[str], models: Sequence[EngineModel]
) -> tuple[str, str]:
    """The same where the engine has none of the `supported` names but those that are `for_tests` alone."""
    if not supported:
        hint = "Tick one on the Models page, or: titan config set supported_models NAME"
        return "no model is named to be offered", hint
    tests_only = tuple(for_tests)
    missing = [name for name in supported if name not in tests_only]
    parts = [f"the engine {engine} has none of: {', '.join(missing)}"] if missing else []
    if tests_only:
        names = ", ".join(tests_only)
        parts.append(f"{names} is only for tests on this machine, never offered to a coordinator elsewhere")
    return "; ".join(parts), _remedy(engine, missing[0] if missing else "MODEL", models)


def _remedy(engine: str, wanted: str, have: Sequence[EngineModel]) -> str:
    if engine == "ollama":
        return f"Get it: titan pull {wanted}. Or offer one that is there: titan config set supported_models NAME"
    names = ", ".join(model.name for model in have if not model.is_selftest)
    if names:
        how = "; or get what is wanted: titan models says how" if engine == "embedded" else ""
        return f"Offer one that is there ({names}): titan config set supported_models NAME{how}"
    if engine == "embedded":
        return (
            "Put a GGUF file into the models folder (titan config path) and tick it on the Models page, "
            "or: titan config set supported_models NAME. Or get it from the hub: titan models says how"
        )
    return "Load a model in that server and tick it on the Models page, or: titan config set supported_models NAME"
