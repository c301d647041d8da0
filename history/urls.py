from django.urls import path

from history import api, api_actions, views

app_name = "history"

urlpatterns = [
    path("api/unified-history", api.UnifiedHistoryView.as_view(), name="unified-history"),
    path("api/unified-history/marks", api_actions.MarksView.as_view(), name="api-marks"),
    path("history", views.page, name="page"),
    path("history/trash", views.trash, name="trash"),
    path("history/marks", views.mark, name="mark"),
    # Ids of imported tasks are their makers': they may hold anything.
    path("history/<str:source>/<path:entry_id>", views.entry, name="entry"),
]
