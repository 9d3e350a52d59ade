"""Where this program keeps its files: one set of folders per profile, so that several agents live in one home.

Nothing is created here except by `ProfilePaths.ensure`; nothing depends on the current directory.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from core.errors import StorageError

APP_NAME = "TitanCompute"
DEFAULT_PROFILE = "default"
# sun_path holds 104 bytes on macOS and 108 on Linux, a closing zero included; grpc adds none of its own.
MAX_SOCKET_PATH_BYTES = 99

_SOCKET_NAME = "control.sock"
_PLAIN_NAME = re.compile(r"[a-z0-9]([a-z0-9._-]{0,38}[a-z0-9])?")
_RESERVED_ON_WINDOWS = frozenset(
    {"con", "prn", "aux", "nul"} | {f"{name}{digit}" for name in ("com", "lpt") for digit in range(10)}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseFolders:
    """The folders that all profiles share, as the platform names them."""

    config: Path
    data: Path
    state: Path
    log: Path


def base_folders(environ: Mapping[str, str] | None = None) -> BaseFolders:
    """The platform's folders, or everything under TITAN_HOME where that is set (containers, portable installs).

    Raises StorageError when there is no home folder to put them in.
    """
    home = (os.environ if environ is None else environ).get("TITAN_HOME", "")
    if home:
        root = Path(home)
        bases = BaseFolders(config=root / "config", data=root / "data", state=root / "state", log=root / "log")
    else:
        from platformdirs import PlatformDirs  # 9 ms, and not needed with TITAN_HOME

        dirs = PlatformDirs(APP_NAME, appauthor=False)
        bases = BaseFolders(
            config=dirs.user_config_path, data=dirs.user_data_path, state=dirs.user_state_path, log=dirs.user_log_path
        )
    for folder in (bases.config, bases.data, bases.state, bases.log):
        if not folder.is_absolute() or "\0" in str(folder):
            raise StorageError(
                f"No usable folder for this program's files: {str(folder)!r} is not an absolute path",
                hint="Set HOME or TITAN_HOME to an absolute path.",
            )
    return bases


def folder_name(profile: str) -> str:
    """A safe folder name for any profile name; two different names never share one.

    Plain lower-case names stay as they are. Everything else (upper case too: some disks don't tell it apart) becomes a
    readable start, "~", which no plain name holds, and 64 bits of the name's SHA-256.
    """
    plain = _PLAIN_NAME.fullmatch(profile) and profile.split(".", 1)[0] not in _RESERVED_ON_WINDOWS
    if plain:
        return profile
    readable = re.sub(r"[^a-z0-9]+", "-", profile.lower()).strip("-")[:24]
    digest = hashlib.sha256(profile.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"{readable or 'profile'}~{digest}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfilePaths:
    """Every file and folder of one profile. All absolute; none needs to exist."""

    profile: str
    config_dir: Path
    data_dir: Path
    state_dir: Path
    log_dir: Path
    runtime_dir: Path  # 0700; holds the control socket, nothing that must survive a restart
    models_dir: Path  # shared by all profiles: model files are gigabytes, and only read

    @property
    def config_file(self) -> Path:
        return self.config_dir / "settings.toml"

    @property
    def secrets_dir(self) -> Path:
        """0700; one 0600 file per secret, used only where there is no system keyring."""
        return self.data_dir / "secrets"

    @property
    def tls_dir(self) -> Path:
        """0700; the self-signed certificate and its key."""
        return self.data_dir / "tls"

    @property
    def agent_id_file(self) -> Path:
        return self.data_dir / "agent-id"

    @property
    def pulled_models_file(self) -> Path:
        """Which models this program downloaded, and so may delete."""
        return self.data_dir / "pulled-models.json"

    @property
    def speeds_file(self) -> Path:
        """How fast models were here, as measured."""
        return self.data_dir / "speeds.json"

    @property
    def first_tokens_file(self) -> Path:
        """How long sessions waited for their first token, by model."""
        return self.data_dir / "first-tokens.json"

    @property
    def ledger_file(self) -> Path:
        return self.data_dir / "ledger.sqlite"

    @property
    def client_key_file(self) -> Path:
        """0600; the secret under which clients are hashed on this installation."""
        return self.data_dir / "client-key"

    @property
    def spent_tokens_file(self) -> Path:
        return self.state_dir / "spent-tokens"

    @property
    def updates_file(self) -> Path:
        """What was last heard of newer versions."""
        return self.state_dir / "updates.json"

    @property
    def lock_file(self) -> Path:
        """In the state folder: the runtime folder may differ between a desktop session and a service."""
        return self.state_dir / "lock"

    @property
    def control_address_file(self) -> Path:
        """Where the running instance says where its door is, for a command that sees another XDG_RUNTIME_DIR."""
        return self.state_dir / "control.json"

    @property
    def control_socket(self) -> Path:
        return self.runtime_dir / _SOCKET_NAME

    @property
    def log_file(self) -> Path:
        return self.log_dir / "agent.log"

    def ensure(self) -> None:
        """Create the folders that a running agent needs. Raises StorageError with the remedy."""
        for folder in (self.config_dir, self.data_dir, self.state_dir, self.log_dir):
            ensure_folder(folder)
        ensure_private_folder(self.runtime_dir)


def profile_paths(
    profile: str = DEFAULT_PROFILE,
    *,
    environ: Mapping[str, str] | None = None,
    bases: BaseFolders | None = None,
) -> ProfilePaths:
    """The paths of one profile. Raises StorageError when no usable place exists."""
    environ = os.environ if environ is None else environ
    bases = bases or base_folders(environ)
    # "profiles" keeps a profile called "log" apart from the log folder, which lies inside the state folder on Linux.
    part = Path("profiles", folder_name(profile))
    state_dir = bases.state / part
    return ProfilePaths(
        profile=profile,
        config_dir=bases.config / part,
        data_dir=bases.data / part,
        state_dir=state_dir,
        log_dir=bases.log / part,
        runtime_dir=_runtime_dir(folder_name(profile), state_dir, environ),
        models_dir=bases.data / "models",
    )


def ensure_folder(folder: Path) -> None:
    """Create a folder and its parents. Raises StorageError naming the folder and the remedy."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error("create", folder, error) from error


def ensure_private_folder(folder: Path) -> None:
    """Create a folder that is ours and 0700, or check that it is: a stranger's folder is refused.

    Raises StorageError. On Windows the user's own profile folder already keeps others out.
    """
    ensure_folder(folder.parent)
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        if sys.platform == "win32":
            return
        if not _is_ours(folder):
            raise StorageError(
                f"{folder} is a link or belongs to somebody else, so it can't hold private files",
                hint="Remove it, or set TITAN_HOME to a folder of your own.",
            )
        if stat.S_IMODE(folder.stat().st_mode) != 0o700:
            folder.chmod(0o700)
    except OSError as error:
        raise storage_error("create", folder, error) from error


def storage_error(verb: str, path: Path, error: OSError) -> StorageError:
    """Translate an OSError at our disk's edge: what could not be done, to what, why, and what to do next."""
    reason = error.strerror or type(error).__name__
    return StorageError(f"Cannot {verb} {path}: {reason}", hint=_remedy(path, error))


def _remedy(path: Path, error: OSError) -> str:
    import errno

    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return f"The disk is full: free some space on the disk that holds {path.parent}."
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return f"Make {path.parent} writable for this user, or set TITAN_HOME to a folder that is."
    if error.errno in {errno.ENOTDIR, errno.EEXIST, errno.EISDIR}:
        return f"Something else has that name: move it away, or set TITAN_HOME to another folder ({path.parent})."
    return f"Check {path.parent}, or set TITAN_HOME to another folder."


def _runtime_dir(name: str, state_dir: Path, environ: Mapping[str, str]) -> Path:
    """The first place whose socket path fits; which places are offered depends on the machine, not on what exists."""
    if sys.platform == "win32":
        return state_dir / "run"
    digest = hashlib.sha256(os.fsencode(state_dir)).hexdigest()[:12]
    candidates = [state_dir / "run"]
    xdg = environ.get("XDG_RUNTIME_DIR", "")
    if xdg and not environ.get("TITAN_HOME") and _is_private(Path(xdg)):
        # With the digest: the same profile in two homes of one user has two doors.
        candidates.insert(0, Path(xdg) / APP_NAME.lower() / f"{name}-{digest[:8]}")
    private_name = f"titancompute-{os.getuid()}-{digest}"
    candidates += [Path(tempfile.gettempdir()) / private_name, Path("/tmp") / private_name]  # noqa: S108 - owner-checked
    for folder in candidates:
        if len(os.fsencode(folder / _SOCKET_NAME)) <= MAX_SOCKET_PATH_BYTES:
            return folder
    raise AssertionError("a path under /tmp always fits")


def _is_private(folder: Path) -> bool:
    """An absolute, real folder (no link) that is ours and 0700, as the XDG base directory specification demands."""
    try:
        return folder.is_absolute() and _is_ours(folder) and stat.S_IMODE(folder.stat().st_mode) == 0o700
    except (OSError, ValueError):  # missing, unreadable, or text that can't be a path
        return False


def _is_ours(folder: Path) -> bool:
    found = folder.lstat()
    return stat.S_ISDIR(found.st_mode) and (sys.platform == "win32" or found.st_uid == os.getuid())
