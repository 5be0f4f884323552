"""Add genre aliases, words that cluster names must not contain, and names of clusters by staff."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('recommender', '0015_feedback_is_a_state'),
    ]

    operations = [
        migrations.CreateModel(
            name='GenreAlias',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('key', models.CharField(editable=False, max_length=100, unique=True)),
                ('alias', models.CharField(help_text='The source\'s name, in any spelling, such as “electronic dance music”.', max_length=100)),
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
        migrations.AlterField(
            model_name='cluster',
            name='name',
            field=models.CharField(blank=True, help_text='Empty if nothing tells it apart.', max_length=120),
        ),
        migrations.AlterField(
            model_name='cluster',
            name='facts',
            field=models.JSONField(default=dict, help_text='Over-represented genres, decade, moods, example songs, the place on the map, the family of similar clusters, and the name before changes by staff.'),
        ),
    ]
