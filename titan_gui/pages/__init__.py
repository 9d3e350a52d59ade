"""One page a file: `render(snapshot)` in, intents out as signals."""
