"""Times to the first token in a model's row."""

from __future__ import annotations

from core.engines import EngineModel
from core.first_tokens import FirstToken
from core.snapshot import AgentSnapshot
from titan_gui.models_view import model_rows


def test_a_models_row_says_how_long_sessions_waited_for_their_first_token() -> None:
    snapshot = AgentSnapshot(
        models=(EngineModel(name="a:latest", size_bytes=4_900_000_000), EngineModel(name="b", size_bytes=1_000_000)),
        first_tokens=(FirstToken(model="a", warm_ms=213.0, warm_sessions=9, cold_ms=4100.0, cold_sessions=2),),
    )
    measured, other = model_rows(snapshot)
    assert measured.facts.endswith("First token after 0.21 s, 4.1 s when it is loaded first")
    assert "First token" not in other.facts
