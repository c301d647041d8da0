"""What those who run a site look at: probes, figures for Prometheus, the dashboard, alerts.

probes ─ is everything there that drawing needs; what /readyz answers
hours ─ what every hour brought, counted once and summed ever after
metrics ─ figures for Prometheus
incidents ─ what staff are told of by mail
statistics, charts, wording, dashboard ─ /admin/dashboard/
"""
