"""What those who run a site look at: probes, figures for Prometheus, the dashboard, alerts.

probes ─ is everything there that drawing needs; what /readyz answers
"""
