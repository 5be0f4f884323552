"""Give three models the field's terms as names; their tables and columns stay as they are."""

import django.db.models.deletion
from django.db import migrations, models

RENAMED = {"Pulse": "Heartbeat", "TaskUse": "TaskUsage", "BandCheck": "AnomalyCheck", "BandReset": "BaselineReset"}


def rename_permissions(apps, schema_editor):
    """Rename the permissions, so that users keep theirs; `migrate` would add new ones and leave the old."""
    rename(apps, schema_editor, RENAMED)


def restore_permissions(apps, schema_editor):
    rename(apps, schema_editor, {new: old for old, new in RENAMED.items()})


def rename(apps, schema_editor, names):
    permissions = apps.get_model("auth", "Permission").objects.using(schema_editor.connection.alias)
    for old, new in names.items():
        for action in ("add", "change", "delete", "view"):
            permissions.filter(
                content_type__app_label="ingestion", codename=f"{action}_{old.lower()}"
            ).update(codename=f"{action}_{new.lower()}")


class Migration(migrations.Migration):
    dependencies = [
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
        ("ingestion", "0004_new_catalogue"),
    ]

    operations = [
        operation
        for old, new in RENAMED.items()
        for operation in (
            migrations.AlterModelTable(old, f"ingestion_{old.lower()}"),
            migrations.RenameModel(old, new),
        )
    ] + [
        migrations.AlterField(
            model_name="anomalycheck",
            name="run",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE,
                related_name="anomaly_checks",
                to="ingestion.ingestionrun",
            ),
        ),
        migrations.RunPython(rename_permissions, restore_permissions),
    ]
