"""Rooms that can be called by their own name: ``eh.noise(image)``, ``eh.simulate("nand")``."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


def make_callable(module_name: str, function_name: str) -> None:
    """Let a call of the module call one of its functions.

    A sub-module takes the place of any attribute of the same name in its package as soon as
    it is imported, so a function ``everhart.noise`` beside a room ``everhart.noise`` would
    work or not by the order of imports. A callable module works always.

    Parameters
    ----------
    module_name
        ``__name__`` of the room.
    function_name
        Public function of the room that a call of the room stands for.
    """

    class CallableRoom(ModuleType):
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return getattr(self, function_name)(*args, **kwargs)

    room = sys.modules[module_name]
    room.__class__ = CallableRoom
