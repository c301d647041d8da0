from django.urls import path

from history import api, views

app_name = "history"

urlpatterns = [
    path("api/unified-history", api.UnifiedHistoryView.as_view(), name="unified-history"),
    path("history", views.page, name="page"),
    # Ids of imported tasks are their makers': they may hold anything.
    path("history/<str:source>/<path:entry_id>", views.entry, name="entry"),
]
