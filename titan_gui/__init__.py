"""The Qt tray application around the core."""

from titan_gui.constants_guard import make_constants_immortal

make_constants_immortal()
