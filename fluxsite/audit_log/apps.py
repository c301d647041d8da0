from __future__ import annotations

from django.contrib.admin.apps import AdminConfig


class AuditedAdminConfig(AdminConfig):
    """django.contrib.admin, with the site that writes down what is done as `admin.site`."""

    default_site = "fluxsite.audit_log.admin_site.AuditedAdminSite"
