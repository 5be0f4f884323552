import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("ingestion", "0013_audit_trail"),
        ("recommender", "0025_challenger_trial"),
    ]

    operations = [
        migrations.AlterField(
            model_name="attributedlisten",
            name="served_list",
            field=models.ForeignKey(
                blank=True, null=True, on_delete=django.db.models.deletion.CASCADE,
                related_name="attributed", to="recommender.servedlist",
            ),
        ),
        migrations.AddField(
            model_name="attributedlisten",
            name="listener",
            field=models.ForeignKey(
                blank=True, db_index=False,
                help_text="Set when the served list is deleted; until then the list names the listener.",
                null=True, on_delete=django.db.models.deletion.CASCADE, related_name="+", to="ingestion.listener",
            ),
        ),
        migrations.CreateModel(
            name="ExperimentSeal",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("sealed_at", models.DateTimeField()),
                ("sums", models.TextField(help_text="By day, by arm and at each decision, as JSON.")),
                ("sha256", models.CharField(max_length=64, verbose_name="SHA-256 of the sums")),
                (
                    "experiment",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE, related_name="seal",
                        to="recommender.experiment",
                    ),
                ),
            ],
            options={"ordering": ["-id"]},
        ),
    ]
