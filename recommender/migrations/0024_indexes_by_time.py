from django.db import migrations, models

from ingestion.concurrent_constraints import AddIndexBesideWriters


class Migration(migrations.Migration):
    # PostgreSQL builds indexes beside writers only outside transactions.
    atomic = False

    dependencies = [("recommender", "0023_unique_events_of_keys")]

    operations = [
        AddIndexBesideWriters(
            model_name="feedback", index=models.Index(fields=["at"], name="feedback_of_time")
        ),
        AddIndexBesideWriters(
            model_name="attributedlisten",
            index=models.Index(fields=["at"], name="attributed_listen_of_time"),
        ),
    ]
