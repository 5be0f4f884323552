from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("recommender", "0027_charts")]

    operations = [
        migrations.AddField(
            model_name="modelversion",
            name="files_deleted_at",
            field=models.DateTimeField(
                blank=True, null=True,
                help_text="Retention deleted the files; the version can't serve any more.",
            ),
        ),
    ]
