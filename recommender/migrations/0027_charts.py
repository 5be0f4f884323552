from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("recommender", "0026_lists_expire")]

    operations = [
        migrations.CreateModel(
            name="Chart",
            fields=[
                (
                    "days",
                    models.PositiveIntegerField(
                        help_text="0: all days, a listener counts less the older their last play is.",
                        primary_key=True, serialize=False,
                    ),
                ),
                ("run_id", models.BigIntegerField(verbose_name="newest ingestion run known")),
                ("counted_at", models.DateTimeField()),
                (
                    "content",
                    models.BinaryField(help_text="ID, score, listeners and plays of each song, best first."),
                ),
            ],
            options={"ordering": ["days"]},
        ),
    ]
