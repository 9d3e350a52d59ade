"""A stand-in for core/engines/worker_main.py: keeps its contract with the parent, without llama.cpp.

Run as a script under `python -I`. The model's name says what it does: "steady" waits for its parent's end,
"crash-at-start" and "silent" never get ready, "damaged" reports a failed load, "babble" introduces itself wrongly.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

LAST_WORDS = (
    "0.00.003.000 W srv: got exception: CANARY from a template",
    "0.00.004.000 E srv: Failed to parse input at pos 0: CANARY of an answer",
    "CANARY in a line of its own",
    "0.00.005.000 E ggml_cuda: CUDA error: CANARY",
)


def main() -> int:
    request = json.loads(sys.stdin.readline())
    name = request["model_name"]
    with Path(request["model_path"]).with_suffix(".starts").open("a") as starts:
        starts.write(f"{os.getpid()}\n")
    if name == "silent":
        sys.stdin.read()
        return 0
    if name == "crash-at-start":
        print("0.00.001.000 E srv: ran into a wall", file=sys.stderr, flush=True)
        return 9
    if name == "damaged":  # the log last: a thread of llama.cpp's own writes it
        print(json.dumps({"error": "load", "detail": "llama.cpp could not load it", "hint": ""}), flush=True)
        print("0.00.001.000 E llama_model_load: error loading model: tensor is not within the file", file=sys.stderr)
        print("0.00.002.000 E srv: exiting due to model loading error", file=sys.stderr, flush=True)
        return 70
    if name == "babble":
        print("hello", flush=True)
    print("a line without an end " * 20_000, file=sys.stderr, flush=True)
    print(json.dumps({"ready": True, "port": 9, "device": "CPU (fake), 1 thread", "version": "0"}), flush=True)
    sys.stdin.read()
    for line in LAST_WORDS:
        print(line, file=sys.stderr, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
