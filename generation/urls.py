from __future__ import annotations

from django.urls import path

from generation import media, preset_views, views, webhooks

app_name = "generation"
urlpatterns = [
    path("", views.studio, name="studio"),
    path("studio/parameters", views.parameters, name="parameters"),
    path("studio/cards", views.cards, name="cards"),
    path("studio/events", views.events, name="events"),
    path("studio/pictures", views.pictures, name="pictures"),
    path("studio/status", views.status, name="status"),
    path("studio/prompts", views.prompts, name="prompts"),
    path("studio/ideas", views.ideas, name="ideas"),
    path("studio/presets", preset_views.listing, name="preset_list"),
    path("studio/presets/save", preset_views.save, name="preset_save"),
    path("presets", preset_views.page, name="presets"),
    path("presets/<slug:preset_id>/change", preset_views.change, name="preset_change"),
    path("presets/<slug:preset_id>/delete", preset_views.delete, name="preset_delete"),
    path("presets/<slug:preset_id>/restore", preset_views.restore, name="preset_restore"),
    path("studio/task/<slug:task_id>/cancel", views.cancel, name="cancel"),
    path("studio/task/<slug:task_id>/retry", views.retry, name="retry"),
    path("studio/task/<slug:task_id>/recover", views.recover, name="recover"),
    path("hooks/fal/<slug:task_id>/<slug:token>", webhooks.FalWebhook.as_view(), name="webhook"),
    path("media/<slug:picture_id>", media.media, name="media"),
    path("media/<slug:picture_id>/<int:width>", media.media, name="thumbnail"),
]
