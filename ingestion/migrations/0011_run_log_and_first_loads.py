"""Store the log lines of a run, and mark the first load of a resource."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('ingestion', '0010_stopped_runs'),
    ]

    operations = [
        migrations.AddField(
            model_name='resourcereport',
            name='is_backfill',
            field=models.BooleanField(db_default=False, default=False, help_text='Rows as old as the source: their latency says nothing about the service.', verbose_name='first load'),
        ),
        migrations.CreateModel(
            name='RunLogLine',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('at', models.DateTimeField()),
                ('level', models.CharField(max_length=8)),
                ('text', models.TextField()),
                ('run', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='log_lines', to='ingestion.ingestionrun')),
            ],
            options={
                'ordering': ['id'],
            },
        ),
    ]
