"""The Qt tray application around the core."""
