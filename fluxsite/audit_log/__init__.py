"""What staff did, kept for good: who, when, to what, and what it was before and after.

Everything staff do in the admin passes through one place, the site that all model admins are
registered with (`admin_site.py`); log-ins and commands that move credits tell of themselves by
signals (`signals.py`). All of them write by `recording.py`, which alone decides what of a row
may be told. The rows are in `models.py`, and staff read them by `admin.py`.
"""
