"""Numbers of things in sentences: ``1 vehicle is``, ``2 vehicles are``. Pure."""

from __future__ import annotations

from typing import Final

_OF_ONE: Final = {"are": "is", "were": "was", "have": "has", "do": "does"}  # others get an s


def counted(number: int, noun: str, verb: str = "") -> str:
    """Return ``1 vehicle`` or ``2 vehicles``, with a verb ``1 vehicle is`` or ``2 vehicles are``.

    Args:
        number: of things.
        noun: what one of them is called; it gets an s.
        verb: what several of them do.
    """
    one = number == 1
    said = f"{number} {noun}{'' if one else 's'}"
    if not verb:
        return said
    return f"{said} {_OF_ONE.get(verb, f'{verb}s') if one else verb}"
