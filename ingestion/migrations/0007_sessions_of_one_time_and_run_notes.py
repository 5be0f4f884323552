"""Number sessions of one listener and time, note sessions that expired at the source, and what a run read."""


from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('ingestion', '0006_plain_labels'),
    ]

    operations = [
        migrations.AddField(
            model_name='listeninghistory',
            name='expired_at',
            field=models.DateTimeField(blank=True, help_text='When a source that only keeps recent sessions stopped sending it; it stays in use.', null=True, verbose_name='expired at the source at'),
        ),
        migrations.AddField(
            model_name='listeninghistory',
            name='occurrence',
            field=models.IntegerField(db_default=0, default=0, help_text='Number among different sessions of this listener that the source gives the same time.'),
        ),
        migrations.AddField(
            model_name='resourcereport',
            name='corrections',
            field=models.JSONField(blank=True, db_default=models.Value({}, models.JSONField()), default=dict, help_text='Values that were read in another form or left empty, with the number of rows.'),
        ),
        migrations.AddField(
            model_name='resourcereport',
            name='expired',
            field=models.PositiveBigIntegerField(db_default=0, default=0, help_text='Sessions that the source no longer keeps; they stay in use.', verbose_name='expired at the source'),
        ),
        migrations.AddField(
            model_name='resourcereport',
            name='future_times',
            field=models.PositiveBigIntegerField(db_default=0, default=0, help_text='Rows with a time after the run.'),
        ),
        migrations.AddField(
            model_name='resourcereport',
            name='rejection_reasons',
            field=models.JSONField(blank=True, db_default=models.Value([], models.JSONField()), default=list, help_text='Most frequent reasons of rejection: field, reason, rows.'),
        ),
        migrations.AddField(
            model_name='resourcereport',
            name='same_key',
            field=models.PositiveBigIntegerField(db_default=0, default=0, help_text='Different sessions kept although they share their listener and time with another.', verbose_name='sessions of the same time'),
        ),
    ]
