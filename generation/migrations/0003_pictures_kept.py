import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
        ('generation', '0002_breaker_recovery_and_member_limit'),
    ]

    operations = [
        migrations.AddField(
            model_name='fluxtask',
            name='input_transport',
            field=models.CharField(blank=True, default='', help_text='How its reference pictures were sent last: as addresses or as data.', max_length=10),
        ),
        migrations.AddField(
            model_name='taskimage',
            name='lost_at',
            field=models.DateTimeField(blank=True, help_text='When it was given up, and its credits given back.', null=True),
        ),
        migrations.AddField(
            model_name='taskimage',
            name='thumbnails_size',
            field=models.PositiveIntegerField(blank=True, help_text='Bytes of its thumbnails together.', null=True),
        ),
        migrations.AddField(
            model_name='upload',
            name='thumbnails_size',
            field=models.PositiveIntegerField(blank=True, help_text='Bytes of its thumbnails together.', null=True),
        ),
        # What was called the file's hash has always been the hash of its pixels.
        migrations.RemoveConstraint(model_name='upload', name='flux_uploads_one_per_content'),
        migrations.RenameField(model_name='upload', old_name='sha256', new_name='pixel_hash'),
        migrations.AlterField(
            model_name='upload',
            name='pixel_hash',
            field=models.CharField(max_length=64),
        ),
        migrations.AddField(
            model_name='upload',
            name='sha256',
            field=models.CharField(blank=True, default='', max_length=64),
        ),
        migrations.AddConstraint(
            model_name='upload',
            constraint=models.UniqueConstraint(fields=('user', 'pixel_hash'), name='flux_uploads_one_per_content'),
        ),
        migrations.CreateModel(
            name='StorageUse',
            fields=[
                ('user', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, primary_key=True, related_name='+', serialize=False, to=settings.AUTH_USER_MODEL, verbose_name='member')),
                ('pictures', models.PositiveIntegerField(default=0, verbose_name='pictures')),
                ('uploads', models.PositiveIntegerField(default=0, verbose_name='uploads')),
                ('byte_size', models.PositiveBigIntegerField(default=0, verbose_name='bytes')),
                ('counted_at', models.DateTimeField(verbose_name='counted')),
            ],
            options={
                'verbose_name': 'storage used',
                'verbose_name_plural': 'storage used',
                'db_table': 'storage_use',
                'ordering': ['-byte_size'],
            },
        ),
        migrations.CreateModel(
            name='RateWindow',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('scope', models.CharField(max_length=30)),
                ('begins_at', models.DateTimeField()),
                ('count', models.PositiveIntegerField(default=0)),
                ('user', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'db_table': 'rate_windows',
                'constraints': [models.UniqueConstraint(fields=('user', 'scope', 'begins_at'), name='rate_windows_one_per_window')],
            },
        ),
    ]
