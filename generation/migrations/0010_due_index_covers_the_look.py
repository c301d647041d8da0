from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    dependencies = [("generation", "0009_web_request_id")]

    operations = [
        migrations.RemoveIndex(model_name="fluxtask", name="idx_flux_tasks_due"),
        migrations.AddIndex(
            model_name="fluxtask",
            index=models.Index(
                fields=["next_action_at", "id", "user", "updated_at"],
                condition=Q(next_action_at__isnull=False),
                name="idx_flux_tasks_due",
            ),
        ),
    ]
