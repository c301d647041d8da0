from django.urls import path

from credits import api, views

app_name = "credits"

urlpatterns = [
    path("api/credits", api.CreditsView.as_view(), name="credits"),
    path("api/credits/ledger", api.LedgerView.as_view(), name="ledger"),
    path("api/credits/redeem", api.RedeemView.as_view(), name="redeem"),
    path("credits", views.page, name="page"),
    path("credits/balance", views.balance, name="balance"),
]
