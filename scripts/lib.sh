# Shared by every script here: find a Python, make the virtual environment, install from the lock.
# Sourced, never run. Needs nothing but a POSIX userland and bash 3.2 (macOS ships that one).
#
# Messages go to stderr, so that `scripts/run status --json | jq .` gets the JSON and nothing else.

root="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)"
venv="$root/.venv"
venv_python="$venv/bin/python"

# Shared libraries by what needs them, as "soname:Debian package". Sonames are what we look for, so that a machine
# without dpkg is judged rightly too; package names are what we install or print.
libraries_engine="libgomp.so.1:libgomp1 libstdc++.so.6:libstdc++6"
libraries_qt="libglib-2.0.so.0:libglib2.0-0 libGL.so.1:libgl1 libEGL.so.1:libegl1 libxkbcommon.so.0:libxkbcommon0
libfreetype.so.6:libfreetype6 libfontconfig.so.1:libfontconfig1 libdbus-1.so.3:libdbus-1-3
libxkbcommon-x11.so.0:libxkbcommon-x11-0 libxcb-cursor.so.0:libxcb-cursor0 libxcb-icccm.so.4:libxcb-icccm4
libxcb-keysyms.so.1:libxcb-keysyms1 libxcb-shape.so.0:libxcb-shape0"
# The NVML test double is compiled by the tests that use it.
packages_compiler="gcc libc6-dev"

say() { printf '%s\n' "titan setup: $*" >&2; }

fail() {
    printf '%s\n' "titan setup: $1" >&2
    shift
    for line in "$@"; do printf '%s\n' "             $line" >&2; done
    exit 1
}

can_install_packages() { [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null 2>&1; }

# install_packages PACKAGE...: as root on a Debian-like system. The package lists are fetched only when an install
# without them fails: a fresh image has none, and a machine in use need not wait for them.
install_packages() {
    say "installing system packages: $*"
    local log status=0
    log="$(mktemp)"
    export DEBIAN_FRONTEND=noninteractive
    {
        apt-get install -y --no-install-recommends "$@" ||
            { apt-get update && apt-get install -y --no-install-recommends "$@"; }
    } </dev/null >"$log" 2>&1 || status=$?
    [ "$status" -eq 0 ] || tail -n 15 "$log" >&2
    rm -f "$log"
    return "$status"
}

# need_packages WHY PACKAGE...: installs them as root; otherwise prints the one command and returns 1.
need_packages() {
    local why="$1"
    shift
    if can_install_packages; then
        install_packages "$@" && return 0
        say "these packages could not be installed, and are needed for $why: $*"
        return 1
    fi
    say "needed for $why; on Debian or Ubuntu run this once:"
    printf '\n    sudo apt-get install -y --no-install-recommends %s\n\n' "$*" >&2
    return 1
}

# missing_libraries PYTHON "SONAME:PACKAGE ...": prints the packages whose library cannot be loaded.
missing_libraries() {
    [ "$(uname -s)" = Linux ] || return 0
    "$1" -I -S - $2 <<'PYTHON'
import ctypes, sys
for pair in sys.argv[1:]:
    soname, _, package = pair.partition(":")
    try:
        ctypes.CDLL(soname)
    except OSError:
        print(package)
PYTHON
}

is_usable_python() {
    "$1" -I -c 'import sys; sys.exit(not ((3, 11) <= sys.version_info < (3, 15) and sys.maxsize > 2**32))' \
        >/dev/null 2>&1
}

# find_python: prints the interpreter for a new environment. $PYTHON, when set, is the only candidate.
find_python() {
    local candidate
    for candidate in ${PYTHON:+"$PYTHON"} $([ -n "${PYTHON:-}" ] || echo python3 python3.11 python3.12 python3.13 python3.14 /usr/bin/python3); do
        if is_usable_python "$candidate"; then
            command -v "$candidate"
            return 0
        fi
    done
    return 1
}

require_python() {
    find_python && return 0
    [ -z "${PYTHON:-}" ] || fail "PYTHON=$PYTHON is not a 64-bit Python between 3.11 and 3.14." "Unset it, or name another."
    if can_install_packages && install_packages python3 python3-venv >&2; then
        find_python && return 0
    fi
    fail "no 64-bit Python between 3.11 and 3.14 was found." \
        "Debian 12 or later, Ubuntu 24.04 or later:  sudo apt-get install -y python3 python3-venv" \
        "elsewhere: install one from python.org, then  PYTHON=/path/to/python3 $0"
}

# make_venv: a new environment. Debian splits ensurepip off into python3-venv; without it `-m venv` fails halfway.
make_venv() {
    local python
    python="$(require_python)" || exit 1
    if ! "$python" -I -c 'import ensurepip, venv' >/dev/null 2>&1; then
        local version
        version="$("$python" -I -c 'import sys; print("%d.%d" % sys.version_info[:2])')"
        need_packages "the virtual environment" "python$version-venv" || exit 1
    fi
    say "making a virtual environment in $venv with $("$python" -V) ($python)"
    "$python" -m venv --clear "$venv" >&2 || fail "the virtual environment could not be made in $venv."
}

lock_file() { # LEVEL
    case "$1" in
    runtime) printf '%s\n' "$root/requirements/runtime.txt" ;;
    all) printf '%s\n' "$root/requirements/lock.txt" ;;
    *) fail "unknown level '$1': runtime or all" ;;
    esac
}

# An environment works only where it was made and with the interpreter it was made with.
venv_identity() { printf '%s\n' "$root" && readlink -f "$venv_python"; }

# What must be unchanged for an environment to be good, and to hold what was asked for.
stamp_text() { # LEVEL
    venv_identity
    cksum <"$(lock_file "$1")"
    cksum <"$root/pyproject.toml"
}

is_ready() { # LEVEL
    [ -x "$venv_python" ] && [ -x "$venv/bin/titan" ] && [ -f "$venv/.ready-$1" ] &&
        [ "$(cat "$venv/.ready-$1")" = "$(stamp_text "$1")" ]
}

pip_install() {
    "$venv_python" -m pip install --quiet --disable-pip-version-check --no-input --no-warn-script-location "$@" \
        </dev/null >&2
}

# install_level LEVEL: everything of the lock, then the project itself, editable and with nothing of its own resolved.
install_level() {
    local started="$SECONDS"
    if ! is_usable_python "$venv_python" || ! "$venv_python" -m pip --version >/dev/null 2>&1 ||
        { [ -f "$venv/.identity" ] && [ "$(cat "$venv/.identity")" != "$(venv_identity)" ]; }; then
        make_venv
    fi
    venv_identity >"$venv/.identity"
    rm -f "$venv/.ready-runtime" "$venv/.ready-all"
    say "installing the locked packages ($1); the first time this takes a minute or two"
    pip_install --require-hashes --only-binary :all: -r "$(lock_file "$1")" ||
        fail "the packages could not be installed from $(lock_file "$1")." \
            "Is the package index reachable? A proxy or mirror is set with pip's own settings (pip config)." \
            "Nothing is half done that a second try does not mend."
    pip_install --no-deps --no-build-isolation --editable "$root" ||
        fail "the project itself could not be installed into $venv."
    stamp_text "$1" >"$venv/.ready-$1"
    # The full lock holds the runtime lock's versions (tests/test_scripts.py): one install serves both.
    [ "$1" = runtime ] || stamp_text runtime >"$venv/.ready-runtime"
    say "ready after $((SECONDS - started)) s"
}

# ensure_level LEVEL: quick when nothing has changed; one at a time where the system has flock(1).
ensure_level() {
    is_ready "$1" && return 0
    if command -v flock >/dev/null 2>&1; then
        exec 9<"$root"
        flock 9
        is_ready "$1" || install_level "$1" 9<&-
        exec 9<&-
    else
        install_level "$1"
    fi
}

# ensure_libraries WHY "SONAME:PACKAGE ..." [PACKAGE...]: installs or asks for the packages of the libraries that are
# missing, and the packages given beside them, in one command. 0 when all are there in the end.
ensure_libraries() {
    local why="$1" missing
    missing="$(missing_libraries "$venv_python" "$2")"
    shift 2
    [ -z "$missing$*" ] || need_packages "$why" $missing "$@"
}
