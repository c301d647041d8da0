from django.urls import path

from generation.api import presets, views

app_name = "flux_api"
urlpatterns = [
    path("text-to-image", views.TextToImageView.as_view(), name="text_to_image"),
    path("image-to-image", views.ImageToImageView.as_view(), name="image_to_image"),
    path("estimate", views.EstimateView.as_view(), name="estimate"),
    path("upload-image", views.UploadImageView.as_view(), name="upload_image"),
    path("task/<slug:task_id>", views.TaskView.as_view(), name="task"),
    path("task/<slug:task_id>/cancel", views.CancelView.as_view(), name="cancel"),
    path("task/<slug:task_id>/retry", views.RetryView.as_view(), name="retry"),
    path("task/<slug:task_id>/recover", views.RecoverView.as_view(), name="recover"),
    path("history", views.HistoryView.as_view(), name="history"),
    path("models", views.ModelsView.as_view(), name="models"),
    path("presets", presets.PresetsView.as_view(), name="presets"),
    path("presets/<slug:preset_id>", presets.PresetView.as_view(), name="preset"),
]
