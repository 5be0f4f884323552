from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("ingestion", "0017_webhooks")]

    operations = [
        migrations.AlterField(
            model_name="incident",
            name="severity",
            field=models.CharField(
                choices=[("warning", "Warning"), ("critical", "Critical"), ("notice", "Notice")], max_length=8
            ),
        ),
    ]
