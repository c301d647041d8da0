"""Tasks and pictures of other sites, brought into the history: once, and never twice.

    databases, files ─ read what is there, and write nothing
    values ─ a cell of theirs, made into what a column of ours takes
    links ─ addresses of pictures: which can be shown, which are dead
    mapping ─ a row of theirs, made into a task of ours
    members ─ whose it is
    engine ─ batch by batch into the database

What was brought over has an `origin`, and is known again by that and by the id it had there.
It has ended, is never sent or asked about, and costs nothing. What a member made here has no
origin, and is not looked at.
"""
