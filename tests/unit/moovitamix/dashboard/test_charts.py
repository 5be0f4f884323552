"""The HTML rows of a chart's table."""

from moovitamix.dashboard.charts import ChartTable, ChartTableRow


def test_table_rows_link_to_their_runs_and_escape_markup() -> None:
    rows = [ChartTableRow(7, "/runs/7/", "2026-11-23 02:00", ["12", "<b>3 & 4</b>"])]

    assert ChartTable(["Songs", "Users"], rows).body == (
        '<tr><th scope="row"><a class="mm-link" href="/runs/7/">7</a></th>'
        '<td class="mm-nowrap">2026-11-23 02:00</td>'
        '<td class="mm-number">12</td><td class="mm-number">&lt;b&gt;3 &amp; 4&lt;/b&gt;</td></tr>'
    )
