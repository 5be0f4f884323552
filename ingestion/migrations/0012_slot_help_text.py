"""Show in the help text of a slot how slots are named: with their due time."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('ingestion', '0011_run_log_and_first_loads'),
    ]

    operations = [
        migrations.AlterField(
            model_name='ingestionrun',
            name='slot',
            field=models.CharField(blank=True, help_text='Due time of the schedule, such as 2026-11-23 02:00 UTC; empty for a run started by hand.', max_length=40),
        ),
    ]
