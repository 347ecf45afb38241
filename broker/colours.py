"""A vendor's colour made readable: WCAG contrast of 4.5 on the pages' light and dark grounds, whatever was chosen."""

from __future__ import annotations

LIGHT, DARK = "#ffffff", "#1d2126"  # the grounds of cards in static/broker/portal.css
ENOUGH = 4.5


def readable(colour: str, ground: str) -> str:
    """`colour`, moved towards black (on a light ground) or white (on a dark one) until it can be read there."""
    towards = 0.0 if luminance(ground) > 0.5 else 255.0
    channels = [float(value) for value in _channels(colour)]
    for _ in range(64):
        found = "#" + "".join(f"{round(value):02x}" for value in channels)
        if contrast(found, ground) >= ENOUGH:
            return found
        channels = [value + (towards - value) * 0.06 for value in channels]
    return "#000000" if towards == 0 else "#ffffff"


def contrast(one: str, other: str) -> float:
    """From 1 (the same) to 21 (black on white)."""
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def luminance(colour: str) -> float:
    red, green, blue = (_linear(value / 255) for value in _channels(colour))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _channels(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _linear(value: float) -> float:
    return value / 12.92 if value <= 0.04045 else float(((value + 0.055) / 1.055) ** 2.4)
