"""Give three models and two fields the field's terms as names; their tables and columns stay as they are."""

import django.db.models.deletion
from django.db import migrations, models

RENAMED = {"Shelf": "CandidateList", "Mishap": "ServingError", "SplitShare": "TrafficSplit"}


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
                content_type__app_label="recommender", codename=f"{action}_{old.lower()}"
            ).update(codename=f"{action}_{new.lower()}")


class Migration(migrations.Migration):
    dependencies = [
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
        ("ingestion", "0005_rename_model_classes"),
        ("recommender", "0011_marks_of_histories"),
    ]

    operations = [
        operation
        for old, new in RENAMED.items()
        for operation in (
            migrations.AlterModelTable(old, f"recommender_{old.lower()}"),
            migrations.RenameModel(old, new),
        )
    ] + [
        # The column first, so that the rename finds it as it stays.
        migrations.AlterField(
            model_name="servedlist",
            name="shelf",
            field=models.ForeignKey(
                db_column="shelf_id",
                on_delete=django.db.models.deletion.RESTRICT,
                related_name="served_lists",
                to="recommender.candidatelist",
            ),
        ),
        migrations.RenameField("servedlist", "shelf", "candidate_list"),
        migrations.AlterField(
            model_name="servedlist",
            name="challenger_shelf",
            field=models.ForeignKey(
                blank=True,
                db_column="challenger_shelf_id",
                help_text="What the challenger's places of an interleaved list were drawn from.",
                null=True,
                on_delete=django.db.models.deletion.RESTRICT,
                related_name="+",
                to="recommender.candidatelist",
            ),
        ),
        migrations.RenameField("servedlist", "challenger_shelf", "challenger_candidate_list"),
        migrations.AlterModelOptions("candidatelist", {"ordering": ["-id"]}),
        migrations.AlterField(
            model_name="candidatelist",
            name="listener",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="candidate_lists",
                to="ingestion.listener",
            ),
        ),
        migrations.AlterField(
            model_name="servingerror",
            name="experiment",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE,
                related_name="serving_errors",
                to="recommender.experiment",
            ),
        ),
        migrations.RunPython(rename_permissions, restore_permissions),
    ]
