"""A chart's rows, as they are written without a template."""

from moovitamix.dashboard.charts import ChartTable, ChartTableRow


def test_a_table_s_rows_lead_to_their_runs_and_hold_no_markup_of_others() -> None:
    rows = [ChartTableRow(7, "/runs/7/", "2026-11-23 02:00", ["12", "<b>3 & 4</b>"])]

    assert ChartTable(["Songs", "Users"], rows).body == (
        '<tr><th scope="row"><a class="mm-link" href="/runs/7/">7</a></th>'
        '<td class="mm-nowrap">2026-11-23 02:00</td>'
        '<td class="mm-number">12</td><td class="mm-number">&lt;b&gt;3 &amp; 4&lt;/b&gt;</td></tr>'
    )
