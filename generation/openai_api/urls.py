from django.urls import path

from generation.openai_api import views

app_name = "openai"
urlpatterns = [
    path("models", views.ModelsView.as_view(), name="models"),
    path("models/<path:model_id>", views.ModelView.as_view(), name="model"),
    path("images/generations", views.GenerationsView.as_view(), name="generations"),
    path("images/edits", views.EditsView.as_view(), name="edits"),
    path("pictures/<slug:picture_id>/<str:signature>", views.picture, name="picture"),
]
