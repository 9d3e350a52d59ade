"""Hearing of new versions: a signed index is read once a day where the owner gave its address. Nothing is installed."""
