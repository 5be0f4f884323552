"""Make Django delete a listener's lists with the listener; the database itself has no such rule."""

from typing import ClassVar

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies: ClassVar = [("recommender", "0002_loop")]

    operations: ClassVar = [
        migrations.AlterField(
            model_name="servedlist",
            name="shelf",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.RESTRICT,
                related_name="served_lists",
                to="recommender.shelf",
            ),
        ),
        migrations.AlterField(
            model_name="servedlist",
            name="challenger_shelf",
            field=models.ForeignKey(
                blank=True,
                help_text="What the challenger's places of an interleaved list were drawn from.",
                null=True,
                on_delete=django.db.models.deletion.RESTRICT,
                related_name="+",
                to="recommender.shelf",
            ),
        ),
    ]
