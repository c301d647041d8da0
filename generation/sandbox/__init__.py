"""A stand-in for fal's queue API: a real HTTP server with real pictures and no bill.

It imports nothing of the product and nothing of Django, so that a test which passes
against it says something about the product rather than about shared code.
"""
