"""What credits tell to whoever wants to know, without knowing who that is."""

from __future__ import annotations

from django.dispatch import Signal

#: A command moved credits, or made codes that will; sent in the same transaction. `command` is
#: its name, `on` a member or the model of what was made, `moved` the figures, `reason` words.
moved_by_command = Signal()
