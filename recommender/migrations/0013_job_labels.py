"""Label TrainingRun's job columns, which it now shares with IngestionRun; the database does not change."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("recommender", "0012_rename_model_classes"),
    ]

    operations = [
        migrations.AlterField(
            model_name="trainingrun",
            name="pid",
            field=models.PositiveIntegerField(verbose_name="process ID"),
        ),
        migrations.AlterField(
            model_name="trainingrun",
            name="process_started",
            field=models.FloatField(
                help_text="Start of the process in seconds since 1970; detects a reused process ID."
            ),
        ),
    ]
