"""A source of subjects for tests: things with numbers, of which those above 900 are gone."""

from __future__ import annotations

from credits.subjects import Subject


def things(*, user, ids):
    return {
        thing: Subject(
            title=f"thing {thing}",
            label="Maker",
            url=f"/things/{thing}",
            pictures=int(thing),
            thumb_url=f"/things/{thing}/320",
        )
        for thing in ids
        if int(thing) <= 900
    }
