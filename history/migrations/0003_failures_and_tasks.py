import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    """Tells Django of what failed and of all tasks, as 0001 does of entries."""

    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
        ('history', '0002_feedback_and_exports'),
    ]

    operations = [
        migrations.CreateModel(
            name='HistoryFailure',
            fields=[
                ('key', models.TextField(primary_key=True, serialize=False)),
                ('source', models.TextField()),
                ('source_id', models.CharField(db_column='id', max_length=255)),
                ('model', models.CharField(max_length=100)),
                ('prompt', models.TextField()),
                ('image_url', models.TextField()),
                ('status', models.CharField(max_length=20)),
                ('created_at', models.DateTimeField()),
                ('is_favourite', models.BooleanField()),
                ('user', models.ForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'verbose_name': 'failure of the history',
                'verbose_name_plural': 'failures of the history',
                'db_table': 'unified_image_failures',
                'ordering': ['-created_at', '-source_id'],
                'managed': False,
                'default_permissions': (),
            },
        ),
        migrations.CreateModel(
            name='HistoryTask',
            fields=[
                ('key', models.TextField(primary_key=True, serialize=False)),
                ('source', models.TextField()),
                ('source_id', models.CharField(db_column='id', max_length=255)),
                ('model', models.CharField(max_length=100)),
                ('prompt', models.TextField()),
                ('image_url', models.TextField()),
                ('status', models.CharField(max_length=20)),
                ('created_at', models.DateTimeField()),
                ('is_favourite', models.BooleanField()),
                ('user', models.ForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'verbose_name': 'task of the history',
                'verbose_name_plural': 'tasks of the history',
                'db_table': 'unified_image_tasks',
                'ordering': ['-created_at', '-source_id'],
                'managed': False,
                'default_permissions': (),
            },
        ),
    ]
