from django.db import migrations, models

from ingestion.concurrent_constraints import AddIndexBesideWriters


class Migration(migrations.Migration):
    # PostgreSQL builds indexes beside writers only outside transactions.
    atomic = False

    dependencies = [("recommender", "0029_listener_page_feedback")]

    operations = [
        AddIndexBesideWriters(
            model_name="attributedlisten",
            index=models.Index(
                condition=models.Q(("listener__isnull", False)), fields=["listener"],
                name="attributed_listen_without_list",
            ),
        ),
    ]
