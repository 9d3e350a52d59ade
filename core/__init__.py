"""The TitanCompute agent without windows: everything that serves, measures and decides. Imports no Qt."""

__version__ = "0.1.0"
