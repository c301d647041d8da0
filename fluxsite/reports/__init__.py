"""Reports for staff: the history, the ledger, and who used how much, as CSV or JSON lines.

A report yields its rows page by page, each page one short question that begins where the last
one ended (`history.py`, `ledger.py`, `usage.py`). So neither memory nor any transaction grows
with the number of rows. `index.py` lists the reports, `writing.py` turns pages into files, and
`views.py` and the command `export` hand them out.

Pictures that members pack for themselves are another thing: history/exports.py.
"""
