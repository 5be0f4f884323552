"""Writes the labels and help texts of the admin in plain English; changes no table."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('ingestion', '0005_rename_model_classes'),
    ]

    operations = [
        migrations.AlterModelOptions(
            name='listeninghistory',
            options={'ordering': ['id'], 'verbose_name': 'listening session', 'verbose_name_plural': 'listening history'},
        ),
        migrations.AlterModelOptions(
            name='taskusage',
            options={'ordering': ['-id'], 'verbose_name': 'task resource use', 'verbose_name_plural': 'task resource use'},
        ),
        migrations.AlterField(
            model_name='anomalycheck',
            name='high',
            field=models.FloatField(blank=True, null=True, verbose_name='expected maximum'),
        ),
        migrations.AlterField(
            model_name='anomalycheck',
            name='low',
            field=models.FloatField(blank=True, null=True, verbose_name='expected minimum'),
        ),
        migrations.AlterField(
            model_name='anomalycheck',
            name='measure',
            field=models.CharField(help_text='Such as received or duration.', max_length=40, verbose_name='metric'),
        ),
        migrations.AlterField(
            model_name='anomalycheck',
            name='n',
            field=models.PositiveIntegerField(default=0, verbose_name='runs compared'),
        ),
        migrations.AlterField(
            model_name='anomalycheck',
            name='resource',
            field=models.CharField(blank=True, choices=[('songs', 'songs'), ('users', 'listeners'), ('listening_history', 'listening sessions')], help_text='Empty for a metric of the whole run.', max_length=17),
        ),
        migrations.AlterField(
            model_name='anomalycheck',
            name='verdict',
            field=models.CharField(choices=[('learning', 'too few runs to judge'), ('usual', 'in the expected range'), ('low', 'below the expected range'), ('high', 'above the expected range')], max_length=8),
        ),
        migrations.AlterField(
            model_name='baselinereset',
            name='measure',
            field=models.CharField(max_length=40, verbose_name='metric'),
        ),
        migrations.AlterField(
            model_name='baselinereset',
            name='resource',
            field=models.CharField(blank=True, choices=[('songs', 'songs'), ('users', 'listeners'), ('listening_history', 'listening sessions')], max_length=17),
        ),
        migrations.AlterField(
            model_name='baselinereset',
            name='since',
            field=models.ForeignKey(help_text='First run from which the expected range is learned.', on_delete=django.db.models.deletion.CASCADE, related_name='+', to='ingestion.ingestionrun'),
        ),
        migrations.AlterField(
            model_name='heartbeat',
            name='at',
            field=models.DateTimeField(verbose_name='last heartbeat'),
        ),
        migrations.AlterField(
            model_name='heartbeat',
            name='since',
            field=models.DateTimeField(help_text='When this process sent its first heartbeat.'),
        ),
        migrations.AlterField(
            model_name='incident',
            name='end_told_at',
            field=models.DateTimeField(blank=True, help_text='When the notification that it is resolved was created.', null=True, verbose_name='resolution notified'),
        ),
        migrations.AlterField(
            model_name='incident',
            name='facts',
            field=models.JSONField(default=dict, help_text='The numbers that triggered it, as last seen.'),
        ),
        migrations.AlterField(
            model_name='incident',
            name='key',
            field=models.CharField(help_text='Kind and subject of the problem, such as data_stale:songs.', max_length=120),
        ),
        migrations.AlterField(
            model_name='incident',
            name='kind',
            field=models.CharField(help_text='Selects the message text.', max_length=40),
        ),
        migrations.AlterField(
            model_name='incident',
            name='link',
            field=models.CharField(blank=True, help_text='Path of the page with details.', max_length=200),
        ),
        migrations.AlterField(
            model_name='incident',
            name='resolution',
            field=models.JSONField(blank=True, default=dict, help_text='The numbers that resolved it.'),
        ),
        migrations.AlterField(
            model_name='incident',
            name='run',
            field=models.ForeignKey(blank=True, help_text='Run in which it was last seen.', null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='incidents', to='ingestion.ingestionrun'),
        ),
        migrations.AlterField(
            model_name='incident',
            name='told_at',
            field=models.DateTimeField(blank=True, help_text='When a notification about the open incident was last created.', null=True, verbose_name='last notified'),
        ),
        migrations.AlterField(
            model_name='ingestionrun',
            name='followed_up_at',
            field=models.DateTimeField(blank=True, editable=False, help_text='When the finished run was checked for anomalies and its incidents were updated.', null=True),
        ),
        migrations.AlterField(
            model_name='ingestionrun',
            name='new_catalogue',
            field=models.BooleanField(default=False, help_text='The source sent another catalogue and an operator accepted it.'),
        ),
        migrations.AlterField(
            model_name='ingestionrun',
            name='pid',
            field=models.PositiveIntegerField(verbose_name='process ID'),
        ),
        migrations.AlterField(
            model_name='ingestionrun',
            name='process_started',
            field=models.FloatField(help_text='Start of the process in seconds since 1970; detects a reused process ID.'),
        ),
        migrations.AlterField(
            model_name='ingestionrun',
            name='slot',
            field=models.CharField(blank=True, help_text='Schedule and day, such as daily 2026-11-23; empty for a run started by hand.', max_length=40),
        ),
        migrations.AlterField(
            model_name='ingestionrun',
            name='stage',
            field=models.CharField(blank=True, help_text='Current stage of a run in progress.', max_length=40),
        ),
        migrations.AlterField(
            model_name='ingestionrun',
            name='stage_done',
            field=models.PositiveBigIntegerField(default=0, help_text='Rows processed in the current stage.'),
        ),
        migrations.AlterField(
            model_name='ingestionrun',
            name='stage_total',
            field=models.PositiveBigIntegerField(default=0, help_text='Rows expected in the current stage; 0 if unknown.'),
        ),
        migrations.AlterField(
            model_name='ingestionrun',
            name='stages',
            field=models.JSONField(blank=True, default=list, help_text='Name, start and duration in seconds of each stage, in order.'),
        ),
        migrations.AlterField(
            model_name='ingestionrun',
            name='summary',
            field=models.TextField(blank=True, help_text='What this run did, in one sentence.'),
        ),
        migrations.AlterField(
            model_name='listener',
            name='favorite_genres',
            field=models.TextField(blank=True, help_text='As the source sent them, separated by commas.'),
        ),
        migrations.AlterField(
            model_name='listener',
            name='id',
            field=models.BigIntegerField(help_text='ID given by the source.', primary_key=True, serialize=False, verbose_name='ID'),
        ),
        migrations.AlterField(
            model_name='listener',
            name='missing_since',
            field=models.ForeignKey(blank=True, db_index=False, editable=False, help_text='First successful run in which the source no longer sent this row.', null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to='ingestion.ingestionrun'),
        ),
        migrations.AlterField(
            model_name='listeninghistory',
            name='items',
            field=models.JSONField(help_text='Song IDs in the order the source sent them.', verbose_name='songs'),
        ),
        migrations.AlterField(
            model_name='listeninghistory',
            name='missing_since',
            field=models.ForeignKey(blank=True, db_index=False, editable=False, help_text='First successful run in which the source no longer sent this row.', null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to='ingestion.ingestionrun'),
        ),
        migrations.AlterField(
            model_name='listeninghistory',
            name='user',
            field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='histories', to='ingestion.listener', verbose_name='listener'),
        ),
        migrations.AlterField(
            model_name='notification',
            name='claim',
            field=models.CharField(blank=True, editable=False, help_text='ID of the process that sends it.', max_length=36),
        ),
        migrations.AlterField(
            model_name='notification',
            name='content',
            field=models.JSONField(help_text='The message: sentences, numbers, what to do, link.'),
        ),
        migrations.AlterField(
            model_name='notification',
            name='due_at',
            field=models.DateTimeField(help_text='Earliest time of the next attempt.'),
        ),
        migrations.AlterField(
            model_name='notification',
            name='incident',
            field=models.ForeignKey(blank=True, help_text='Empty for a test notification.', null=True, on_delete=django.db.models.deletion.CASCADE, related_name='notifications', to='ingestion.incident'),
        ),
        migrations.AlterField(
            model_name='rejection',
            name='fingerprint',
            field=models.CharField(editable=False, help_text='BLAKE2b hash of the payload.', max_length=32),
        ),
        migrations.AlterField(
            model_name='rejection',
            name='last_run',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='ingestion.ingestionrun', verbose_name='last rejected in'),
        ),
        migrations.AlterField(
            model_name='rejection',
            name='resource',
            field=models.CharField(choices=[('songs', 'songs'), ('users', 'listeners'), ('listening_history', 'listening sessions')], max_length=17),
        ),
        migrations.AlterField(
            model_name='rejection',
            name='run',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='rejections', to='ingestion.ingestionrun', verbose_name='first rejected in'),
        ),
        migrations.AlterField(
            model_name='resourcereport',
            name='errors',
            field=models.JSONField(blank=True, default=dict, help_text='Number of failed attempts by kind of error.'),
        ),
        migrations.AlterField(
            model_name='resourcereport',
            name='incoherent_times',
            field=models.PositiveBigIntegerField(default=0, help_text='Rows whose updated_at is before created_at.'),
        ),
        migrations.AlterField(
            model_name='resourcereport',
            name='missing',
            field=models.PositiveBigIntegerField(default=0, help_text='Available rows that the source did not send.'),
        ),
        migrations.AlterField(
            model_name='resourcereport',
            name='resource',
            field=models.CharField(choices=[('songs', 'songs'), ('users', 'listeners'), ('listening_history', 'listening sessions')], max_length=17),
        ),
        migrations.AlterField(
            model_name='resourcereport',
            name='resumed',
            field=models.BooleanField(default=False, help_text='Continued from the staged pages of a run that died.'),
        ),
        migrations.AlterField(
            model_name='resourcereport',
            name='returned',
            field=models.PositiveBigIntegerField(default=0, help_text='Missing rows that the source sent again.'),
        ),
        migrations.AlterField(
            model_name='resourcereport',
            name='sample',
            field=models.JSONField(blank=True, default=list, help_text='Sample of the changed fields: key, field, old value, new value.'),
        ),
        migrations.AlterField(
            model_name='resourcereport',
            name='seconds',
            field=models.FloatField(blank=True, null=True, verbose_name='seconds spent reading and writing'),
        ),
        migrations.AlterField(
            model_name='resourcereport',
            name='shifts',
            field=models.PositiveIntegerField(default=0, help_text='Times that rows moved between pages during reading.'),
        ),
        migrations.AlterField(
            model_name='resourcereport',
            name='stable',
            field=models.BooleanField(default=True, help_text='No row moved during the last pass over the pages.'),
        ),
        migrations.AlterField(
            model_name='resourcereport',
            name='total',
            field=models.PositiveBigIntegerField(default=0, verbose_name='total reported by the source'),
        ),
        migrations.AlterField(
            model_name='resourcereport',
            name='unknown_fields',
            field=models.JSONField(blank=True, default=dict, help_text='Unknown field names with the number of rows that have them.'),
        ),
        migrations.AlterField(
            model_name='resourcereport',
            name='unknown_songs',
            field=models.PositiveBigIntegerField(default=0, help_text='Song IDs in listening sessions that match no song.'),
        ),
        migrations.AlterField(
            model_name='song',
            name='audio_features',
            field=models.JSONField(blank=True, help_text="Spotify's feature names: values from 0 to 1, except loudness (dB) and tempo (BPM).", null=True),
        ),
        migrations.AlterField(
            model_name='song',
            name='genres',
            field=models.TextField(blank=True, help_text='As the source sent them, separated by commas.'),
        ),
        migrations.AlterField(
            model_name='song',
            name='id',
            field=models.BigIntegerField(help_text='ID given by the source.', primary_key=True, serialize=False, verbose_name='ID'),
        ),
        migrations.AlterField(
            model_name='song',
            name='missing_since',
            field=models.ForeignKey(blank=True, db_index=False, editable=False, help_text='First successful run in which the source no longer sent this row.', null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to='ingestion.ingestionrun'),
        ),
    ]
