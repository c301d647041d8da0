from django.urls import path

from history import api, api_actions, views

app_name = "history"

urlpatterns = [
    path("api/unified-history", api.UnifiedHistoryView.as_view(), name="unified-history"),
    path("api/unified-history/marks", api_actions.MarksView.as_view(), name="api-marks"),
    path("api/unified-history/feedback", api_actions.FeedbackView.as_view(), name="api-feedback"),
    path("api/unified-history/exports", api_actions.ExportsView.as_view(), name="api-exports"),
    path(
        "api/unified-history/exports/<slug:export_id>",
        api_actions.ExportView.as_view(),
        name="api-export",
    ),
    path("history", views.page, name="page"),
    path("history/trash", views.trash, name="trash"),
    path("history/marks", views.mark, name="mark"),
    path("history/feedback", views.say, name="say"),
    path("history/exports", views.export_list, name="exports"),
    path("history/exports/<slug:export_id>/file", views.export_file, name="export-file"),
    # Ids of imported tasks are their makers': they may hold anything.
    path("history/<str:source>/<path:entry_id>", views.entry, name="entry"),
]
