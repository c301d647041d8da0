from django.urls import path

from credits import api

app_name = "credits"

urlpatterns = [
    path("api/credits", api.CreditsView.as_view(), name="credits"),
    path("api/credits/redeem", api.RedeemView.as_view(), name="redeem"),
]
