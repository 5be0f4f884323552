from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('recommender', '0024_indexes_by_time'),
    ]

    operations = [
        migrations.AddField(
            model_name='experiment',
            name='tried_at',
            field=models.DateTimeField(blank=True, null=True, verbose_name='last hourly trial of the challenger'),
        ),
        migrations.AddField(
            model_name='experiment',
            name='tried_listeners',
            field=models.PositiveIntegerField(db_default=0, default=0, verbose_name='listeners in that trial'),
        ),
        migrations.AddField(
            model_name='experiment',
            name='failed_listeners',
            field=models.PositiveIntegerField(db_default=0, default=0, verbose_name='listeners for whom the challenger made no list in it'),
        ),
    ]
