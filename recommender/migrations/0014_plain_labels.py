"""Write labels and help texts in plain words; the database does not change."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('recommender', '0013_job_labels'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AlterModelOptions(
            name='engagementday',
            options={'ordering': ['-day', '-version'], 'verbose_name': 'day of engagement', 'verbose_name_plural': 'engagement by day'},
        ),
        migrations.AlterModelOptions(
            name='songevidence',
            options={'ordering': ['version', 'margin'], 'verbose_name': 'song evidence', 'verbose_name_plural': 'song evidence'},
        ),
        migrations.AlterField(
            model_name='apikey',
            name='name',
            field=models.CharField(help_text="The app that uses the key, such as 'iOS app'.", max_length=100),
        ),
        migrations.AlterField(
            model_name='apikey',
            name='prefix',
            field=models.CharField(editable=False, help_text="The key's first characters.", max_length=8, verbose_name='key prefix'),
        ),
        migrations.AlterField(
            model_name='apikey',
            name='user',
            field=models.ForeignKey(help_text="The key has this user's permissions.", on_delete=django.db.models.deletion.CASCADE, related_name='api_keys', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AlterField(
            model_name='attributedlisten',
            name='at',
            field=models.DateTimeField(help_text='Start of the session.'),
        ),
        migrations.AlterField(
            model_name='candidatelist',
            name='history',
            field=models.CharField(blank=True, max_length=80, verbose_name='fingerprint of the known history'),
        ),
        migrations.AlterField(
            model_name='candidatelist',
            name='live',
            field=models.BooleanField(default=False, help_text='Generated during a request, not by the scheduled task.'),
        ),
        migrations.AlterField(
            model_name='candidatelist',
            name='run_id',
            field=models.BigIntegerField(default=0, verbose_name='newest ingestion run known'),
        ),
        migrations.AlterField(
            model_name='candidatelist',
            name='version',
            field=models.ForeignKey(blank=True, help_text='Empty: popular songs, because no model could serve.', null=True, on_delete=django.db.models.deletion.CASCADE, to='recommender.modelversion', verbose_name='model version'),
        ),
        migrations.AlterField(
            model_name='cluster',
            name='facts',
            field=models.JSONField(default=dict, help_text='Over-represented genres, decade, moods, example songs, and the place on the map.'),
        ),
        migrations.AlterField(
            model_name='cluster',
            name='number',
            field=models.PositiveIntegerField(help_text="The API calls it the cluster's id."),
        ),
        migrations.AlterField(
            model_name='cluster',
            name='position',
            field=models.PositiveIntegerField(help_text="Row of its center in the version's artifact."),
        ),
        migrations.AlterField(
            model_name='decision',
            name='at',
            field=models.DateTimeField(db_index=True, verbose_name='checked at'),
        ),
        migrations.AlterField(
            model_name='decision',
            name='code',
            field=models.CharField(max_length=64, verbose_name='SHA-256 of the rule code'),
        ),
        migrations.AlterField(
            model_name='decision',
            name='data_sha256',
            field=models.CharField(max_length=64, verbose_name='SHA-256 of the rows counted'),
        ),
        migrations.AlterField(
            model_name='decision',
            name='evidence',
            field=models.JSONField(help_text='The counted numbers (ExperimentEvidence as JSON).'),
        ),
        migrations.AlterField(
            model_name='decision',
            name='final',
            field=models.BooleanField(default=False, verbose_name='ended the experiment'),
        ),
        migrations.AlterField(
            model_name='decision',
            name='rules',
            field=models.JSONField(help_text='The thresholds of that day (DecisionRules as JSON).'),
        ),
        migrations.AlterField(
            model_name='driftreport',
            name='alarm',
            field=models.BooleanField(default=False, help_text='Two drifted weeks in a row, or one at twice the limit.'),
        ),
        migrations.AlterField(
            model_name='driftreport',
            name='causes',
            field=models.JSONField(blank=True, default=list, help_text='Clusters, songs or features that moved most.'),
        ),
        migrations.AlterField(
            model_name='driftreport',
            name='kind',
            field=models.CharField(choices=[('songs', 'new songs'), ('listening', 'organic listening'), ('recommended', 'recommended listening'), ('feedback', 'likes and skips'), ('feed', 'audio features of the source')], max_length=11),
        ),
        migrations.AlterField(
            model_name='driftreport',
            name='limit',
            field=models.FloatField(default=0.0, help_text='Smallest effect that counts as drift.'),
        ),
        migrations.AlterField(
            model_name='driftreport',
            name='n',
            field=models.PositiveIntegerField(default=0, help_text='New songs or plays.', verbose_name='sample size'),
        ),
        migrations.AlterField(
            model_name='driftreport',
            name='p',
            field=models.FloatField(blank=True, null=True, verbose_name='p-value'),
        ),
        migrations.AlterField(
            model_name='driftreport',
            name='season',
            field=models.JSONField(blank=True, default=dict, verbose_name='same week a year ago'),
        ),
        migrations.AlterField(
            model_name='driftreport',
            name='week',
            field=models.DateField(help_text='Monday of the week that was checked.'),
        ),
        migrations.AlterField(
            model_name='engagedlist',
            name='early',
            field=models.PositiveSmallIntegerField(blank=True, help_text='Empty until the first day was imported.', null=True, verbose_name='engaged within 24 hours'),
        ),
        migrations.AlterField(
            model_name='engagedlist',
            name='engaged',
            field=models.PositiveSmallIntegerField(default=0, help_text='Songs liked or listened to, and not skipped or disliked.'),
        ),
        migrations.AlterField(
            model_name='engagedlist',
            name='final',
            field=models.BooleanField(default=False, help_text='Seven days have passed; the counts no longer change.', verbose_name='complete'),
        ),
        migrations.AlterField(
            model_name='engagedlist',
            name='listens',
            field=models.PositiveSmallIntegerField(default=0, help_text='Reported by the app, or attributed from the history.'),
        ),
        migrations.AlterField(
            model_name='engagementday',
            name='early',
            field=models.FloatField(blank=True, help_text='Empty until the listening of these hours was imported.', null=True, verbose_name='engaged songs per list within 24 hours'),
        ),
        migrations.AlterField(
            model_name='engagementday',
            name='early_deviation',
            field=models.FloatField(default=0.0, verbose_name='standard deviation within 24 hours'),
        ),
        migrations.AlterField(
            model_name='engagementday',
            name='engaged',
            field=models.FloatField(default=0.0, help_text='Mean over listeners.', verbose_name='engaged songs per list'),
        ),
        migrations.AlterField(
            model_name='engagementday',
            name='final',
            field=models.BooleanField(default=False, help_text='Seven days have passed; the counts no longer change.', verbose_name='complete'),
        ),
        migrations.AlterField(
            model_name='engagementday',
            name='listeners',
            field=models.PositiveIntegerField(default=0, verbose_name='listeners served'),
        ),
        migrations.AlterField(
            model_name='engagementday',
            name='lists',
            field=models.PositiveIntegerField(default=0, verbose_name='lists served'),
        ),
        migrations.AlterField(
            model_name='experiment',
            name='by',
            field=models.CharField(help_text='A user name, or the part of the product that started it.', max_length=150, verbose_name='started by'),
        ),
        migrations.AlterField(
            model_name='experiment',
            name='gates',
            field=models.JSONField(blank=True, default=dict, help_text='Offline metrics from before the first listener saw the challenger.', verbose_name='offline checks'),
        ),
        migrations.AlterField(
            model_name='experiment',
            name='kind',
            field=models.CharField(choices=[('refresh', 'refresh'), ('change', 'change'), ('equals', 'A/A test'), ('anchor', 'holdback')], max_length=7),
        ),
        migrations.AlterField(
            model_name='experiment',
            name='list_share',
            field=models.FloatField(help_text='From 0, none, to 1, all.', verbose_name='share of lists that are interleaved'),
        ),
        migrations.AlterField(
            model_name='experiment',
            name='outcome',
            field=models.CharField(blank=True, choices=[('invalid', 'invalid'), ('rollback', 'rolled back'), ('promote', 'promoted'), ('reject', 'rejected'), ('inconclusive', 'inconclusive'), ('void', 'stopped')], max_length=12),
        ),
        migrations.AlterField(
            model_name='experiment',
            name='planned_listeners',
            field=models.PositiveIntegerField(default=0, help_text='Number of listeners at which the confidence sequence is tightest; fixed at the start.'),
        ),
        migrations.AlterField(
            model_name='experiment',
            name='purpose',
            field=models.TextField(blank=True, verbose_name='reason it was started'),
        ),
        migrations.AlterField(
            model_name='experiment',
            name='reason',
            field=models.TextField(blank=True, verbose_name='reason it ended'),
        ),
        migrations.AlterField(
            model_name='experiment',
            name='split_share',
            field=models.FloatField(default=0.0, help_text='These listeners get lists from one of the two versions only; 0: no listener.', verbose_name='share of listeners in the A/B split'),
        ),
        migrations.AlterField(
            model_name='feedback',
            name='event_id',
            field=models.CharField(help_text='Chosen by the app; an event sent twice counts once.', max_length=64, unique=True, verbose_name='event ID'),
        ),
        migrations.AlterField(
            model_name='feedback',
            name='seconds',
            field=models.FloatField(blank=True, null=True, verbose_name='seconds listened'),
        ),
        migrations.AlterField(
            model_name='modelversion',
            name='artifact_sha256',
            field=models.CharField(max_length=64, verbose_name='SHA-256 of the artifact'),
        ),
        migrations.AlterField(
            model_name='modelversion',
            name='cut_off',
            field=models.DateTimeField(help_text='Listening after this time was not used for training.', verbose_name='data cut-off'),
        ),
        migrations.AlterField(
            model_name='modelversion',
            name='label',
            field=models.CharField(help_text='Year, week and number, such as 2026w47.1.', max_length=20, unique=True),
        ),
        migrations.AlterField(
            model_name='modelversion',
            name='lineage',
            field=models.JSONField(blank=True, default=dict, help_text='Clusters that are new, split or retired since the parent; shares of songs and plays that changed cluster.'),
        ),
        migrations.AlterField(
            model_name='modelversion',
            name='method',
            field=models.CharField(choices=[('mix', 'mix (a blend of models ranks, the draw uses clusters)'), ('classic', 'classic (clusters only)')], max_length=10),
        ),
        migrations.AlterField(
            model_name='modelversion',
            name='metrics',
            field=models.JSONField(default=dict, help_text='Metrics on the held-out week, by model name.'),
        ),
        migrations.AlterField(
            model_name='modelversion',
            name='parent',
            field=models.ForeignKey(blank=True, help_text='The version that the warm start continued: same features, scales and number of clusters.', null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='refreshes', to='recommender.modelversion'),
        ),
        migrations.AlterField(
            model_name='promotion',
            name='at',
            field=models.DateTimeField(verbose_name='promoted at'),
        ),
        migrations.AlterField(
            model_name='promotion',
            name='by',
            field=models.CharField(help_text='A user name, or the part of the product that decided.', max_length=150, verbose_name='decided by'),
        ),
        migrations.AlterField(
            model_name='promotion',
            name='promoted',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='promotions', to='recommender.modelversion', verbose_name='new champion'),
        ),
        migrations.AlterField(
            model_name='promotion',
            name='replaced',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='replacements', to='recommender.modelversion', verbose_name='replaced champion'),
        ),
        migrations.AlterField(
            model_name='scoredlist',
            name='first_picks',
            field=models.PositiveSmallIntegerField(default=0, verbose_name='rounds in which the challenger picked first'),
        ),
        migrations.AlterField(
            model_name='servedlist',
            name='artist_cap',
            field=models.PositiveIntegerField(blank=True, help_text='Empty: no limit.', null=True),
        ),
        migrations.AlterField(
            model_name='servedlist',
            name='challenger_candidate_list',
            field=models.ForeignKey(blank=True, db_column='challenger_shelf_id', help_text="The challenger's candidates of an interleaved list.", null=True, on_delete=django.db.models.deletion.RESTRICT, related_name='+', to='recommender.candidatelist'),
        ),
        migrations.AlterField(
            model_name='servedlist',
            name='challenger_milliseconds',
            field=models.FloatField(blank=True, help_text="The part of it that loading the challenger's candidates took.", null=True),
        ),
        migrations.AlterField(
            model_name='servedlist',
            name='discovery',
            field=models.FloatField(verbose_name='requested discovery'),
        ),
        migrations.AlterField(
            model_name='servedlist',
            name='items',
            field=models.JSONField(help_text='Song, cluster, affinity, propensity, familiar and reason, in list order.'),
        ),
        migrations.AlterField(
            model_name='servedlist',
            name='milliseconds',
            field=models.FloatField(blank=True, help_text="Duration of an experiment's list, including the challenger's part.", null=True),
        ),
        migrations.AlterField(
            model_name='servedlist',
            name='pages',
            field=models.JSONField(help_text="Each page's number of songs and excluded songs."),
        ),
        migrations.AlterField(
            model_name='servedlist',
            name='stale',
            field=models.BooleanField(default=False, help_text='Drawn from a cached candidate list that could not be refreshed in time.'),
        ),
        migrations.AlterField(
            model_name='servedlist',
            name='version',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, to='recommender.modelversion', verbose_name='model version'),
        ),
        migrations.AlterField(
            model_name='songevidence',
            name='after',
            field=models.PositiveIntegerField(help_text='A cluster number.', verbose_name='cluster with feedback'),
        ),
        migrations.AlterField(
            model_name='songevidence',
            name='before',
            field=models.PositiveIntegerField(help_text='A cluster number.', verbose_name='cluster without feedback'),
        ),
        migrations.AlterField(
            model_name='songevidence',
            name='log_odds',
            field=models.FloatField(help_text='Natural logarithm of the odds of the cluster with feedback to the one without.', verbose_name='log odds'),
        ),
        migrations.AlterField(
            model_name='songevidence',
            name='margin',
            field=models.FloatField(help_text='Posterior of the best cluster minus that of the second best, 0 to 1.'),
        ),
        migrations.AlterField(
            model_name='trafficsplit',
            name='share',
            field=models.FloatField(help_text='From 0, no listener, to 1, all.'),
        ),
        migrations.AlterField(
            model_name='trainingrun',
            name='stage',
            field=models.CharField(blank=True, help_text='The step that a running training is at.', max_length=40),
        ),
        migrations.AlterField(
            model_name='trainingrun',
            name='summary',
            field=models.TextField(blank=True, help_text='The result in one sentence.'),
        ),
    ]
