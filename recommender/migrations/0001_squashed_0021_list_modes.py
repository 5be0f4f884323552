"""Create the tables of a new database in one step; an existing one keeps applying the replaced migrations."""

import django.db.models.deletion
import recommender.models.api_keys
import uuid
from importlib import import_module

from django.conf import settings
from django.db import migrations, models


make_roles = import_module("recommender.migrations.0018_roles").make_roles


class Migration(migrations.Migration):

    initial = True

    replaces = [
        ('recommender', '0001_initial'),
        ('recommender', '0002_loop'),
        ('recommender', '0003_lists_go_with_their_listener'),
        ('recommender', '0004_drift_season'),
        ('recommender', '0005_what_a_test_counts'),
        ('recommender', '0006_lists_of_a_time'),
        ('recommender', '0007_least_sure_songs'),
        ('recommender', '0008_plans_of_tests'),
        ('recommender', '0009_engaged_within_a_day'),
        ('recommender', '0010_time_of_challengers'),
        ('recommender', '0011_marks_of_histories'),
        ('recommender', '0012_rename_model_classes'),
        ('recommender', '0013_job_labels'),
        ('recommender', '0014_plain_labels'),
        ('recommender', '0015_feedback_is_a_state'),
        ('recommender', '0016_names'),
        ('recommender', '0017_impressions'),
        ('recommender', '0018_roles'),
        ('recommender', '0019_api_key_scopes'),
        ('recommender', '0020_requested_by'),
        ('recommender', '0021_list_modes'),
    ]

    dependencies = [
        ('auth', '0012_alter_user_first_name_max_length'),
        ('contenttypes', '0002_remove_content_type_name'),
        ('django_celery_beat', '0019_alter_periodictasks_options'),
        ('django_celery_results', '0014_alter_taskresult_status'),
        ('ingestion', '0001_squashed_0013_audit_trail'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='ApiKey',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(help_text="The app that uses the key, such as 'iOS app'.", max_length=100)),
                ('prefix', models.CharField(editable=False, help_text="The key's first characters.", max_length=8, verbose_name='key prefix')),
                ('digest', models.CharField(editable=False, max_length=64, unique=True)),
                ('scopes', models.JSONField(default=recommender.models.api_keys.default_scopes, help_text='What the key may do.')),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('expires_at', models.DateTimeField(blank=True, null=True)),
                ('revoked_at', models.DateTimeField(blank=True, null=True)),
                ('last_used_at', models.DateTimeField(blank=True, editable=False, help_text='To the minute; empty if it was never used.', null=True)),
                ('user', models.ForeignKey(help_text="The key has this user's permissions.", on_delete=django.db.models.deletion.CASCADE, related_name='api_keys', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'verbose_name': 'API key',
                'ordering': ['-id'],
            },
        ),
        migrations.CreateModel(
            name='ClusterNameRule',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('number', models.PositiveIntegerField(help_text='A cluster that persists keeps its ID.', verbose_name='cluster ID')),
                ('rule', models.CharField(choices=[('rename', 'rename: show this name'), ('pin', 'pin: keep this name in later versions'), ('veto', 'veto: never show this name')], max_length=6)),
                ('name', models.CharField(blank=True, help_text='At most 40 characters. Empty for a veto: show no name at all.', max_length=40)),
                ('changed_at', models.DateTimeField(auto_now=True)),
            ],
            options={
                'verbose_name': 'cluster name',
                'ordering': ['number', 'rule'],
                'constraints': [models.UniqueConstraint(condition=models.Q(('rule', 'veto'), _negated=True), fields=('number',), name='cluster_name_chosen_once', violation_error_message='This cluster has a name by staff already.'), models.UniqueConstraint(fields=('number', 'rule', 'name'), name='cluster_name_vetoed_once'), models.CheckConstraint(condition=models.Q(('rule', 'veto'), models.Q(('name', ''), _negated=True), _connector='OR'), name='cluster_name_is_given', violation_error_message='Enter the name to show.')],
            },
        ),
        migrations.CreateModel(
            name='GenreAlias',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('key', models.CharField(editable=False, max_length=100, unique=True)),
                ('alias', models.CharField(help_text="The source's name, in any spelling, such as “electronic dance music”.", max_length=100)),
                ('genre', models.CharField(help_text='The genre that it means, such as “EDM”.', max_length=100)),
            ],
            options={
                'verbose_name': 'genre alias',
                'verbose_name_plural': 'genre aliases',
                'ordering': ['genre', 'alias'],
                'constraints': [models.CheckConstraint(condition=models.Q(models.Q(('key', ''), _negated=True), models.Q(('genre', ''), _negated=True)), name='genre_alias_names_two')],
            },
        ),
        migrations.CreateModel(
            name='ModelVersion',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('label', models.CharField(help_text='Year, week and number, such as 2026w47.1.', max_length=20, unique=True)),
                ('role', models.CharField(choices=[('candidate', 'Candidate'), ('challenger', 'Challenger'), ('champion', 'Champion'), ('retired', 'Retired'), ('withdrawn', 'Withdrawn')], default='candidate', max_length=10)),
                ('method', models.CharField(choices=[('mix', 'mix (a blend of models ranks, the draw uses clusters)'), ('classic', 'classic (clusters only)')], max_length=10)),
                ('created_at', models.DateTimeField()),
                ('cut_off', models.DateTimeField(help_text='Listening after this time was not used for training.', verbose_name='data cut-off')),
                ('n_songs', models.PositiveIntegerField(verbose_name='songs')),
                ('n_listeners', models.PositiveIntegerField(verbose_name='listeners')),
                ('n_plays', models.PositiveBigIntegerField(verbose_name='plays')),
                ('n_clusters', models.PositiveIntegerField(verbose_name='clusters')),
                ('configuration', models.JSONField(default=dict)),
                ('seed', models.BigIntegerField()),
                ('metrics', models.JSONField(default=dict, help_text='Metrics on the held-out week, by model name.')),
                ('cohesion', models.JSONField(default=dict)),
                ('artifact_sha256', models.CharField(max_length=64, verbose_name='SHA-256 of the artifact')),
                ('artifact_bytes', models.PositiveBigIntegerField(default=0)),
                ('seconds', models.FloatField(verbose_name='duration in seconds')),
                ('cpu_seconds', models.FloatField(verbose_name='CPU seconds')),
                ('peak_memory', models.PositiveBigIntegerField(verbose_name='peak memory in bytes')),
                ('lineage', models.JSONField(blank=True, default=dict, help_text='Clusters that are new, split or retired since the parent; shares of songs and plays that changed cluster.')),
                ('parent', models.ForeignKey(blank=True, help_text='The version that the warm start continued: same features, scales and number of clusters.', null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='refreshes', to='recommender.modelversion')),
            ],
            options={
                'constraints': [
                    models.UniqueConstraint(condition=models.Q(('role', 'champion')), fields=('role',), name='model_version_one_champion'),
                ],
                'ordering': ['-id'],
            },
        ),
        migrations.CreateModel(
            name='Experiment',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('kind', models.CharField(choices=[('refresh', 'refresh'), ('change', 'change'), ('equals', 'A/A test'), ('anchor', 'holdback')], max_length=7)),
                ('status', models.CharField(choices=[('waiting', 'Waiting'), ('running', 'Running'), ('ended', 'Ended')], default='waiting', max_length=7)),
                ('list_share', models.FloatField(help_text='From 0, none, to 1, all.', verbose_name='share of lists that are interleaved')),
                ('split_share', models.FloatField(default=0.0, help_text='These listeners get lists from one of the two versions only; 0: no listener.', verbose_name='share of listeners in the A/B split')),
                ('planned_listeners', models.PositiveIntegerField(default=0, help_text='Number of listeners at which the confidence sequence is tightest; fixed at the start.')),
                ('created_at', models.DateTimeField()),
                ('started_at', models.DateTimeField(blank=True, null=True)),
                ('ended_at', models.DateTimeField(blank=True, null=True)),
                ('outcome', models.CharField(blank=True, choices=[('invalid', 'invalid'), ('rollback', 'rolled back'), ('promote', 'promoted'), ('reject', 'rejected'), ('inconclusive', 'inconclusive'), ('void', 'stopped')], max_length=12)),
                ('reason', models.TextField(blank=True, verbose_name='reason it ended')),
                ('by', models.CharField(help_text='A user name, or the part of the product that started it.', max_length=150, verbose_name='started by')),
                ('purpose', models.TextField(blank=True, verbose_name='reason it was started')),
                ('gates', models.JSONField(blank=True, default=dict, help_text='Offline metrics from before the first listener saw the challenger.', verbose_name='offline checks')),
                ('challenger', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='challenges', to='recommender.modelversion')),
                ('champion', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='defences', to='recommender.modelversion')),
            ],
            options={
                'constraints': [
                    models.UniqueConstraint(condition=models.Q(('status', 'running'), models.Q(('kind', 'anchor'), _negated=True)), fields=('status',), name='experiment_one_running'),
                    models.UniqueConstraint(condition=models.Q(('kind', 'anchor'), ('status', 'running')), fields=('kind', 'status'), name='experiment_one_anchor_running'),
                    models.CheckConstraint(condition=models.Q(models.Q(('ended_at__isnull', False), ('status', 'ended'), models.Q(('outcome', ''), _negated=True)), models.Q(models.Q(('status', 'ended'), _negated=True), ('ended_at', None), ('outcome', '')), _connector='OR'), name='experiment_ended_with_outcome'),
                    models.CheckConstraint(condition=models.Q(('kind', 'equals'), models.Q(('champion', models.F('challenger')), _negated=True), _connector='OR'), name='experiment_two_versions'),
                    models.CheckConstraint(condition=models.Q(('list_share__gte', 0), ('list_share__lte', 1), ('split_share__gte', 0), ('split_share__lte', 1)), name='experiment_shares'),
                ],
                'ordering': ['-id'],
                'permissions': [('decide_experiment', 'Can start, stop and decide experiments')],
            },
        ),
        migrations.CreateModel(
            name='EngagementDay',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('day', models.DateField(help_text='In UTC.')),
                ('lists', models.PositiveIntegerField(default=0, verbose_name='lists served')),
                ('listeners', models.PositiveIntegerField(default=0, verbose_name='listeners served')),
                ('engaged', models.FloatField(default=0.0, help_text='Mean over listeners.', verbose_name='engaged songs per list')),
                ('engaged_deviation', models.FloatField(default=0.0, verbose_name='standard deviation over listeners')),
                ('early', models.FloatField(blank=True, help_text='Empty until the listening of these hours was imported.', null=True, verbose_name='engaged songs per list within 24 hours')),
                ('early_deviation', models.FloatField(default=0.0, verbose_name='standard deviation within 24 hours')),
                ('likes', models.PositiveIntegerField(default=0)),
                ('skips', models.PositiveIntegerField(default=0)),
                ('dislikes', models.PositiveIntegerField(default=0)),
                ('listens', models.PositiveIntegerField(default=0, verbose_name='attributed listens')),
                ('recommended_plays', models.PositiveIntegerField(default=0)),
                ('organic_plays', models.PositiveIntegerField(default=0)),
                ('final', models.BooleanField(default=False, help_text='Seven days have passed; the counts no longer change.', verbose_name='complete')),
                ('version', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='engagement_days', to='recommender.modelversion')),
            ],
            options={
                'constraints': [
                    models.UniqueConstraint(fields=('version', 'day'), name='engagement_day_once_a_version'),
                ],
                'verbose_name': 'day of engagement',
                'verbose_name_plural': 'engagement by day',
                'ordering': ['-day', '-version'],
            },
        ),
        migrations.CreateModel(
            name='DriftReport',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('kind', models.CharField(choices=[('songs', 'new songs'), ('listening', 'organic listening'), ('recommended', 'recommended listening'), ('feedback', 'likes and skips'), ('feed', 'audio features of the source')], max_length=11)),
                ('week', models.DateField(help_text='Monday of the week that was checked.')),
                ('at', models.DateTimeField()),
                ('n', models.PositiveIntegerField(default=0, help_text='New songs or plays.', verbose_name='sample size')),
                ('listeners', models.PositiveIntegerField(default=0)),
                ('p', models.FloatField(blank=True, null=True, verbose_name='p-value')),
                ('effect', models.FloatField(default=0.0)),
                ('limit', models.FloatField(default=0.0, help_text='Smallest effect that counts as drift.')),
                ('drifted', models.BooleanField(default=False)),
                ('alarm', models.BooleanField(default=False, help_text='Two drifted weeks in a row, or one at twice the limit.')),
                ('causes', models.JSONField(blank=True, default=list, help_text='Clusters, songs or features that moved most.')),
                ('season', models.JSONField(blank=True, default=dict, verbose_name='same week a year ago')),
                ('version', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='drift_reports', to='recommender.modelversion')),
            ],
            options={
                'constraints': [
                    models.UniqueConstraint(fields=('version', 'kind', 'week'), name='drift_report_once_a_week'),
                ],
                'ordering': ['-week', 'kind'],
            },
        ),
        migrations.CreateModel(
            name='Cluster',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('number', models.PositiveIntegerField(help_text="The API calls it the cluster's id.")),
                ('position', models.PositiveIntegerField(help_text="Row of its center in the version's artifact.")),
                ('name', models.CharField(blank=True, help_text='Empty if nothing tells it apart.', max_length=120)),
                ('size', models.PositiveIntegerField(verbose_name='songs')),
                ('plays', models.PositiveBigIntegerField(default=0)),
                ('facts', models.JSONField(default=dict, help_text='Over-represented genres, decade, moods, example songs, the place on the map, the family of similar clusters, and the name before changes by staff.')),
                ('version', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='clusters', to='recommender.modelversion')),
            ],
            options={
                'constraints': [
                    models.UniqueConstraint(fields=('version', 'number'), name='cluster_number_once_a_version'),
                    models.UniqueConstraint(fields=('version', 'position'), name='cluster_position_once_a_version'),
                ],
                'ordering': ['version', 'number'],
            },
        ),
        migrations.CreateModel(
            name='CandidateList',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('made_at', models.DateTimeField()),
                ('live', models.BooleanField(default=False, help_text='Generated during a request, not by the scheduled task.')),
                ('history_at', models.DateTimeField(blank=True, null=True, verbose_name='newest session known')),
                ('history', models.CharField(blank=True, max_length=80, verbose_name='fingerprint of the known history')),
                ('run_id', models.BigIntegerField(default=0, verbose_name='newest ingestion run known')),
                ('feedback_id', models.BigIntegerField(default=0, verbose_name='newest feedback known')),
                ('candidates', models.BinaryField()),
                ('listener', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='candidate_lists', to='ingestion.listener')),
                ('version', models.ForeignKey(blank=True, help_text='Empty: popular songs, because no model could serve.', null=True, on_delete=django.db.models.deletion.CASCADE, to='recommender.modelversion', verbose_name='model version')),
            ],
            options={
                'indexes': [
                    models.Index(fields=['listener', '-id'], name='shelf_newest_of_listener'),
                ],
                'db_table': 'recommender_shelf',
                'ordering': ['-id'],
            },
        ),
        migrations.CreateModel(
            name='NameWord',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('key', models.CharField(editable=False, max_length=100, unique=True)),
                ('word', models.CharField(help_text='Such as “seen live”; in any spelling.', max_length=100, verbose_name='word or genre')),
                ('allowed', models.BooleanField(default=False, help_text='Allow it in names although the built-in list keeps it out.')),
            ],
            options={
                'verbose_name': 'word in cluster names',
                'verbose_name_plural': 'words in cluster names',
                'ordering': ['word'],
                'constraints': [models.CheckConstraint(condition=models.Q(('key', ''), _negated=True), name='name_word_is_not_empty')],
            },
        ),
        migrations.CreateModel(
            name='Promotion',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('rollback', models.BooleanField(default=False, help_text='The replaced version was withdrawn.')),
                ('reason', models.TextField()),
                ('by', models.CharField(help_text='A user name, or the part of the product that decided.', max_length=150, verbose_name='decided by')),
                ('at', models.DateTimeField(verbose_name='promoted at')),
                ('promoted', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='promotions', to='recommender.modelversion', verbose_name='new champion')),
                ('replaced', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='replacements', to='recommender.modelversion', verbose_name='replaced champion')),
            ],
            options={
                'constraints': [
                    models.CheckConstraint(condition=models.Q(('reason', ''), _negated=True), name='promotion_has_a_reason'),
                    models.CheckConstraint(condition=models.Q(('replaced', None), models.Q(('promoted', models.F('replaced')), _negated=True), _connector='OR'), name='promotion_changes_something'),
                ],
                'ordering': ['-id'],
            },
        ),
        migrations.CreateModel(
            name='Decision',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('at', models.DateTimeField(db_index=True, verbose_name='checked at')),
                ('evidence', models.JSONField(help_text='The counted numbers (ExperimentEvidence as JSON).')),
                ('rules', models.JSONField(help_text='The thresholds of that day (DecisionRules as JSON).')),
                ('verdict', models.JSONField(help_text='Outcome, reason and numbers.')),
                ('outcome', models.CharField(max_length=12)),
                ('code', models.CharField(max_length=64, verbose_name='SHA-256 of the rule code')),
                ('data_sha256', models.CharField(max_length=64, verbose_name='SHA-256 of the rows counted')),
                ('final', models.BooleanField(default=False, verbose_name='ended the experiment')),
                ('experiment', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='decisions', to='recommender.experiment')),
                ('promotion', models.OneToOneField(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='decision', to='recommender.promotion')),
            ],
            options={
                'ordering': ['-id'],
            },
        ),
        migrations.CreateModel(
            name='ServedList',
            fields=[
                ('id', models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ('arm', models.CharField(choices=[('champion', 'Champion'), ('challenger', 'Challenger'), ('interleaved', 'Interleaved'), ('fallback', 'Fallback')], max_length=11)),
                ('generated_at', models.DateTimeField()),
                ('stale', models.BooleanField(default=False, help_text='Drawn from a cached candidate list that could not be refreshed in time.')),
                ('discovery', models.FloatField(verbose_name='requested discovery')),
                ('mode', models.CharField(db_default='mix', default='mix', max_length=10)),
                ('repeats', models.FloatField(db_default=0.0, default=0.0, verbose_name='requested share of favourites')),
                ('temperature', models.FloatField()),
                ('artist_cap', models.PositiveIntegerField(blank=True, help_text='Empty: no limit.', null=True)),
                ('seed', models.CharField(max_length=64)),
                ('impressions', models.JSONField(blank=True, help_text='How often the listener had been shown each candidate lately, by song ID, for a replay.', null=True)),
                ('milliseconds', models.FloatField(blank=True, help_text="Duration of an experiment's list, including the challenger's part.", null=True)),
                ('challenger_milliseconds', models.FloatField(blank=True, help_text="The part of it that loading the challenger's candidates took.", null=True)),
                ('asked_by', models.CharField(blank=True, db_default='', default='', help_text='The API key, user or command that asked for the list; empty in older lists.', max_length=150, verbose_name='requested by')),
                ('pages', models.JSONField(help_text="Each page's number of songs and excluded songs.")),
                ('items', models.JSONField(help_text='Song, cluster, affinity, propensity, familiar and reason, in list order.')),
                ('candidate_list', models.ForeignKey(db_column='shelf_id', on_delete=django.db.models.deletion.RESTRICT, related_name='served_lists', to='recommender.candidatelist')),
                ('challenger_candidate_list', models.ForeignKey(blank=True, db_column='challenger_shelf_id', help_text="The challenger's candidates of an interleaved list.", null=True, on_delete=django.db.models.deletion.RESTRICT, related_name='+', to='recommender.candidatelist')),
                ('experiment', models.ForeignKey(blank=True, db_index=False, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='served_lists', to='recommender.experiment')),
                ('listener', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='served_lists', to='ingestion.listener')),
                ('version', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, to='recommender.modelversion', verbose_name='model version')),
            ],
            options={
                'indexes': [
                    models.Index(fields=['listener', '-generated_at'], name='served_list_of_listener'),
                    models.Index(fields=['generated_at', 'listener'], name='served_list_of_time'),
                    models.Index(fields=['experiment', 'arm', 'listener'], name='served_list_of_test'),
                ],
                'constraints': [
                    models.CheckConstraint(condition=models.Q(('discovery__gte', 0), ('discovery__lte', 1)), name='served_list_discovery_is_a_share'),
                    models.CheckConstraint(condition=models.Q(models.Q(('arm', 'fallback'), ('version', None)), ('version__isnull', False), _connector='OR'), name='served_list_fallback_iff_no_version'),
                ],
                'ordering': ['-generated_at'],
            },
        ),
        migrations.CreateModel(
            name='ScoredList',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('day', models.DateField(help_text='In UTC.')),
                ('first_picks', models.PositiveSmallIntegerField(default=0, verbose_name='rounds in which the challenger picked first')),
                ('rounds', models.PositiveSmallIntegerField(default=0)),
                ('closed_at', models.DateTimeField(blank=True, null=True)),
                ('wins', models.PositiveSmallIntegerField(default=0, help_text='Rounds that the challenger won.')),
                ('losses', models.PositiveSmallIntegerField(default=0)),
                ('experiment', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='scored_lists', to='recommender.experiment')),
                ('listener', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='ingestion.listener')),
                ('served_list', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, related_name='score', to='recommender.servedlist')),
            ],
            options={
                'indexes': [
                    models.Index(condition=models.Q(('closed_at', None)), fields=['day'], name='scored_list_open'),
                    models.Index(fields=['experiment', 'day', 'closed_at', 'wins', 'losses'], name='scored_list_of_test'),
                ],
                'constraints': [
                    models.UniqueConstraint(fields=('experiment', 'listener', 'day'), name='scored_list_first_of_a_day'),
                ],
                'ordering': ['id'],
            },
        ),
        migrations.CreateModel(
            name='Feedback',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('event_id', models.CharField(help_text='Chosen by the app; an event sent twice counts once.', max_length=64, verbose_name='event ID')),
                ('key_id', models.BigIntegerField(blank=True, help_text='The key that the app used; 0 for staff, empty for events of earlier releases.', null=True, verbose_name='API key ID')),
                ('kind', models.CharField(choices=[('like', 'Like'), ('dislike', 'Dislike'), ('skip', 'Skip'), ('listen', 'Listen'), ('wrong_style', 'wrong style'), ('clear', 'Clear')], max_length=11)),
                ('seconds', models.FloatField(blank=True, null=True, verbose_name='seconds listened')),
                ('at', models.DateTimeField(verbose_name='happened at')),
                ('received_at', models.DateTimeField()),
                ('withdrawn_at', models.DateTimeField(blank=True, help_text='When the app deleted the event; it no longer counts.', null=True)),
                ('listener', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='feedback', to='ingestion.listener')),
                ('song', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='feedback', to='ingestion.song')),
                ('served_list', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='feedback', to='recommender.servedlist')),
            ],
            options={
                'indexes': [
                    models.Index(fields=['listener', '-id'], name='feedback_newest_of_listener'),
                ],
                'constraints': [
                    models.UniqueConstraint(fields=('event_id', 'key_id'), name='feedback_event_id_of_key'),
                    models.CheckConstraint(condition=models.Q(models.Q(('kind', 'listen'), ('seconds__gte', 0)), models.Q(models.Q(('kind', 'listen'), _negated=True), ('seconds', None)), _connector='OR'), name='feedback_seconds_iff_listen'),
                ],
                'verbose_name_plural': 'feedback',
                'ordering': ['-id'],
            },
        ),
        migrations.CreateModel(
            name='EngagedList',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('at', models.DateTimeField(db_index=True, verbose_name='served at')),
                ('songs', models.PositiveSmallIntegerField()),
                ('engaged', models.PositiveSmallIntegerField(default=0, help_text='Songs liked or listened to, and not skipped or disliked.')),
                ('early', models.PositiveSmallIntegerField(blank=True, help_text='Empty until the first day was imported.', null=True, verbose_name='engaged within 24 hours')),
                ('likes', models.PositiveSmallIntegerField(default=0)),
                ('listens', models.PositiveSmallIntegerField(default=0, help_text='Reported by the app, or attributed from the history.')),
                ('skips', models.PositiveSmallIntegerField(default=0)),
                ('dislikes', models.PositiveSmallIntegerField(default=0)),
                ('final', models.BooleanField(default=False, help_text='Seven days have passed; the counts no longer change.', verbose_name='complete')),
                ('listener', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='ingestion.listener')),
                ('version', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='engaged_lists', to='recommender.modelversion')),
                ('served_list', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, related_name='engagement', to='recommender.servedlist')),
            ],
            options={
                'indexes': [
                    models.Index(fields=['listener', 'at'], name='engaged_list_of_listener'),
                    models.Index(condition=models.Q(('final', False)), fields=['at'], name='engaged_list_open'),
                ],
                'ordering': ['id'],
            },
        ),
        migrations.CreateModel(
            name='AttributedListen',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('at', models.DateTimeField(help_text='Start of the session.')),
                ('song', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='ingestion.song')),
                ('served_list', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='attributed', to='recommender.servedlist')),
            ],
            options={
                'constraints': [
                    models.UniqueConstraint(fields=('served_list', 'song'), name='attributed_listen_once_a_list'),
                ],
                'ordering': ['id'],
            },
        ),
        migrations.CreateModel(
            name='ServingError',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('kind', models.CharField(choices=[('artifact', "the challenger can't be loaded"), ('error', 'a list could not be drawn')], max_length=8)),
                ('detail', models.TextField(blank=True)),
                ('at', models.DateTimeField()),
                ('experiment', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='serving_errors', to='recommender.experiment')),
            ],
            options={
                'indexes': [
                    models.Index(fields=['experiment', 'at'], name='mishap_of_experiment'),
                ],
                'db_table': 'recommender_mishap',
                'ordering': ['-id'],
            },
        ),
        migrations.CreateModel(
            name='SongEvidence',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('before', models.PositiveIntegerField(help_text='A cluster number.', verbose_name='cluster without feedback')),
                ('after', models.PositiveIntegerField(help_text='A cluster number.', verbose_name='cluster with feedback')),
                ('listeners', models.PositiveIntegerField()),
                ('log_odds', models.FloatField(help_text='Natural logarithm of the odds of the cluster with feedback to the one without.', verbose_name='log odds')),
                ('margin', models.FloatField(help_text='Posterior of the best cluster minus that of the second best, 0 to 1.')),
                ('song', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='cluster_evidence', to='ingestion.song')),
                ('version', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='song_evidence', to='recommender.modelversion')),
            ],
            options={
                'indexes': [
                    models.Index(fields=['-version', 'margin', '-id'], name='song_evidence_least_sure'),
                ],
                'constraints': [
                    models.UniqueConstraint(fields=('version', 'song'), name='song_evidence_once_a_version'),
                ],
                'verbose_name': 'song evidence',
                'verbose_name_plural': 'song evidence',
                'ordering': ['version', 'margin'],
            },
        ),
        migrations.CreateModel(
            name='TrafficSplit',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('share', models.FloatField(help_text='From 0, no listener, to 1, all.')),
                ('at', models.DateTimeField()),
                ('by', models.CharField(max_length=150)),
                ('reason', models.TextField()),
            ],
            options={
                'db_table': 'recommender_splitshare',
                'ordering': ['-id'],
                'constraints': [models.CheckConstraint(condition=models.Q(('share__gte', 0), ('share__lte', 1)), name='split_share_of_all')],
            },
        ),
        migrations.CreateModel(
            name='TrainingRun',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('started_at', models.DateTimeField(db_index=True)),
                ('heartbeat_at', models.DateTimeField()),
                ('finished_at', models.DateTimeField(blank=True, null=True)),
                ('host', models.CharField(max_length=255)),
                ('pid', models.PositiveIntegerField(verbose_name='process ID')),
                ('process_started', models.FloatField(help_text='Start of the process in seconds since 1970; detects a reused process ID.')),
                ('cpu_seconds', models.FloatField(default=0.0, verbose_name='CPU seconds')),
                ('peak_memory', models.PositiveBigIntegerField(default=0, verbose_name='peak memory in bytes')),
                ('error_kind', models.CharField(blank=True, max_length=40)),
                ('error', models.TextField(blank=True)),
                ('trigger', models.CharField(choices=[('command', 'Command'), ('schedule', 'Schedule'), ('admin', 'Admin'), ('demo', 'Demo'), ('drift', 'Drift')], max_length=8)),
                ('status', models.CharField(choices=[('running', 'Running'), ('succeeded', 'Succeeded'), ('refused', 'Refused'), ('failed', 'Failed'), ('abandoned', 'Abandoned')], default='running', max_length=9)),
                ('full', models.BooleanField(default=False)),
                ('stage', models.CharField(blank=True, help_text='The step that a running training is at.', max_length=40)),
                ('summary', models.TextField(blank=True, help_text='The result in one sentence.')),
                ('version', models.OneToOneField(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='training', to='recommender.modelversion')),
            ],
            options={
                'constraints': [
                    models.CheckConstraint(condition=models.Q(models.Q(('finished_at', None), ('status', 'running')), models.Q(models.Q(('status', 'running'), _negated=True), ('finished_at__isnull', False)), _connector='OR'), name='training_run_finished_iff_not_running'),
                    models.UniqueConstraint(condition=models.Q(('status', 'running')), fields=('status',), name='training_run_only_one_running'),
                    models.CheckConstraint(condition=models.Q(('error', ''), models.Q(('error_kind', ''), _negated=True), _connector='OR'), name='training_run_error_needs_kind'),
                    models.CheckConstraint(condition=models.Q(('version', None), ('status', 'succeeded'), _connector='OR'), name='training_run_version_iff_succeeded'),
                ],
                'ordering': ['-id'],
            },
        ),
        migrations.CreateModel(
            name='Exposure',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('arm', models.CharField(choices=[('champion', 'Champion'), ('challenger', 'Challenger'), ('interleaved', 'Interleaved'), ('fallback', 'Fallback')], max_length=11)),
                ('first_at', models.DateTimeField()),
                ('experiment', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='exposures', to='recommender.experiment')),
                ('listener', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='ingestion.listener')),
            ],
            options={
                'ordering': ['id'],
                'constraints': [models.UniqueConstraint(fields=('experiment', 'listener', 'arm'), name='exposure_once_an_arm')],
            },
        ),
        migrations.RunPython(make_roles, migrations.RunPython.noop),
    ]
