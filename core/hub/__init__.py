"""Models for the embedded engine from a model hub: only what the owner asked for, checked by its checksum."""
