"""Every error this program raises on purpose, as one tree.

AgentError                    title (fits a tray balloon), hint (what to do next)
├── ConfigError               settings that cannot be used; gathers every problem
├── AlreadyRunningError       another process serves this profile
├── ControlError              the running agent's local door: it doesn't answer, or refuses us
│   ├── AgentNotRunning       nobody is behind the door
│   └── CommandRefused        the agent answered and said no
├── StorageError              a file or folder of ours cannot be read or written
├── PortTakenError            the agent's port cannot be listened on
├── UpdateError               the release index can't be read, or can't be believed
├── CoordinatorError
│   ├── CoordinatorUnreachable
│   └── RegistrationRefused
├── TokenError                → UNAUTHENTICATED
│   ├── NoKeyError            no coordinator key yet: refuse
│   ├── TokenExpired
│   ├── BadSignature          also triggers a (rate-limited) key refresh
│   ├── TokenReplayed
│   ├── ReplayStoreFull       → RESOURCE_EXHAUSTED
│   └── TokenForbidden        → PERMISSION_DENIED
│       ├── OtherAgent
│       └── OtherModel
├── AdmissionError
│   ├── AtCapacity            → RESOURCE_EXHAUSTED
│   └── NotServing            paused, draining, stopping → UNAVAILABLE
├── RequestError              → INVALID_ARGUMENT
│   ├── PromptTooLong
│   └── EngineRefusedRequest  the engine called the request wrong, in a way that we know
├── SessionEnded              ended by us mid-answer: the reason decides the status
├── ModelError
│   ├── ModelNotOffered       → NOT_FOUND
│   ├── ModelNotFound         → NOT_FOUND
│   └── NotEnoughMemory       → RESOURCE_EXHAUSTED
└── EngineError               → UNAVAILABLE; counts as a fault for the circuit breaker
    ├── EngineUnreachable
    ├── EngineFailed          error line, crash, or an early end, before or in the middle of an answer → INTERNAL
    ├── EngineProtocolError   an answer that is not what the protocol promises → INTERNAL
    ├── EngineTimeout         → DEADLINE_EXCEEDED
    └── EngineNeedsAttention  failed too often; waits for the owner → UNAVAILABLE

Foreign errors (aiohttp, grpc, pynvml, OSError ...) are translated once, where they enter.
The gRPC codes live in one table in core/agent_server.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar


class AgentError(Exception):
    """Raised on purpose. `title` fits a tray balloon; `hint` says what to do next."""

    title: ClassVar[str] = "Agent error"
    category: str = ""  # for logs: one of a closed list (core/engines/engine_errors.py), never an engine's own words
    engine_status: int | None = None  # the HTTP status behind it; None where there was none
    is_logged = False  # set where it was written to the log, for whoever would say it a second time

    def __init__(self, detail: str, *, hint: str = "") -> None:
        super().__init__(detail)
        self.hint = hint

    @property
    def detail(self) -> str:
        return str(self.args[0])


class ConfigError(AgentError):
    """Settings that cannot be used. `problems` holds every one found, one sentence each."""

    title = "Settings need attention"

    def __init__(self, problems: Sequence[str], *, hint: str = "") -> None:
        super().__init__("\n".join(problems), hint=hint)
        self.problems = tuple(problems)


class AlreadyRunningError(AgentError):
    """Another process already serves this profile. The command line exits 3 on it."""

    title = "Already running"


class ControlError(AgentError):
    """The running agent doesn't answer through its local door as it should."""

    title = "Cannot talk to the agent"


class AgentNotRunning(ControlError):
    """No agent runs for this profile."""

    title = "Not running"


class CommandRefused(ControlError):
    """The running agent answered a command with a no."""

    title = "Not done"


class StorageError(AgentError):
    """A file or folder of ours cannot be read or written."""

    title = "Cannot use a file"


class PortTakenError(AgentError):
    """The agent's port cannot be listened on."""

    title = "Port not available"


class UpdateError(AgentError):
    """The release index cannot be read, or is not to be believed. Nothing else is affected."""

    title = "Update check failed"


class CoordinatorError(AgentError):
    title = "Coordinator trouble"


class CoordinatorUnreachable(CoordinatorError):
    """No answer from the coordinator within the call's limit."""

    title = "Coordinator connection failed"


class RegistrationRefused(CoordinatorError):
    """The coordinator answered and said no."""

    title = "Registration refused"


class TokenError(AgentError):
    """The caller's session token is missing, malformed, expired, replayed, or not for this agent."""

    title = "Request refused"


class NoKeyError(TokenError):
    """No coordinator key is held yet, so nothing can be checked, so everything is refused."""


class TokenExpired(TokenError):
    pass


class BadSignature(TokenError):
    pass


class TokenReplayed(TokenError):
    pass


class ReplayStoreFull(TokenError):
    """Too many live tokens were spent: refusing is safer than forgetting one."""


class TokenForbidden(TokenError):
    """A genuine token that allows something else than what was asked."""


class OtherAgent(TokenForbidden):
    pass


class OtherModel(TokenForbidden):
    pass


class AdmissionError(AgentError):
    title = "Not now"


class AtCapacity(AdmissionError):
    """Every slot is taken and the queue is full."""


class NotServing(AdmissionError):
    """At least one reason not to serve holds: paused, draining, stopping ..."""


class RequestError(AgentError):
    """The request itself is wrong: an unknown option, a value out of range, a prompt over the limit."""

    title = "Bad request"


class PromptTooLong(RequestError):
    """The prompt does not fit the model's context; never cut silently."""


class EngineRefusedRequest(RequestError):
    """The engine called the request wrong, in a way that we know. The detail is our sentence for it, never its own."""


class SessionEnded(AgentError):
    """We ended a running session; `reason` is a core.sessions.EndReason value."""

    title = "Session ended"

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class ModelError(AgentError):
    title = "Model trouble"


class ModelNotOffered(ModelError):
    pass


class ModelNotFound(ModelError):
    """The engine does not have the model."""

    category = "model not found"
    title = "Model not found"


class NotEnoughMemory(ModelError):
    category = "out of memory"
    title = "Not enough memory"


class EngineError(AgentError):
    """The local engine is at fault. Every subclass counts as a fault for the circuit breaker."""

    title = "Engine trouble"


class EngineUnreachable(EngineError):
    category = "unreachable"
    title = "Engine connection failed"


class EngineFailed(EngineError):
    """The engine reported an error, crashed, or ended an answer early."""

    category = "failed"


class EngineProtocolError(EngineError):
    """The engine sent something that its protocol does not allow."""

    category = "protocol broken"


class EngineTimeout(EngineError):
    """No first token, or no next token, within the owner's limits."""

    category = "silent"


class EngineNeedsAttention(EngineError):
    """The engine failed too often in a row; it is not started again until the owner acts."""

    category = "needs attention"
    title = "Engine needs attention"
