from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("recommender", "0023_unique_events_of_keys")]

    operations = [
        migrations.AddIndex(
            model_name="feedback", index=models.Index(fields=["at"], name="feedback_of_time")
        ),
        migrations.AddIndex(
            model_name="attributedlisten",
            index=models.Index(fields=["at"], name="attributed_listen_of_time"),
        ),
    ]
