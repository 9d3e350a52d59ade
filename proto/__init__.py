"""The generated wire contract. Regenerate with scripts/generate-proto; never edit the *_pb2 files."""
