from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("ingestion", "0015_listener_links_in_the_audit_trail")]

    operations = [
        migrations.CreateModel(
            name="Lease",
            fields=[
                ("name", models.CharField(max_length=60, primary_key=True, serialize=False)),
                (
                    "holder",
                    models.CharField(
                        help_text="Random, so that a process that lost the lease knows.", max_length=32
                    ),
                ),
                ("until", models.DateTimeField(help_text="From then on another process may take the work over.")),
            ],
            options={"ordering": ["name"]},
        ),
    ]
