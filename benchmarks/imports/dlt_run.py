"""Import a source once with dlt, for comparison.

Usage: python -m benchmarks.imports.dlt_run URL DATABASE PIPELINES_DIR [tuned].

With dlt's defaults nested values become tables and nothing is indexed, so that a merge compares every row
with every row. Tuned: nested values are JSON columns and tables have primary keys, as in our import.
"""

import sys
import time
from typing import Any

import dlt
import orjson
from dlt.sources.rest_api import rest_api_source

KEYS: dict[str, Any] = {"tracks": "id", "users": "id", "listen_history": ["user_id", "created_at"]}


def main(base_url: str, database: str, pipelines_dir: str, tuned: str = "") -> None:
    destination = dlt.destinations.sqlalchemy(f"sqlite:///{database}", create_primary_keys=bool(tuned))
    pipeline = dlt.pipeline(
        "peer", pipelines_dir=pipelines_dir, dataset_name="music", destination=destination
    )
    before, cpu_before = time.perf_counter(), time.process_time()
    pipeline.run(_source(base_url, tuned=bool(tuned)))
    seconds, cpu = time.perf_counter() - before, time.process_time() - cpu_before
    with pipeline.sql_client() as client:
        counts = [client.execute_sql(f"SELECT COUNT(*) FROM {name}")[0][0] for name in KEYS]  # noqa: S608
    figures = {"seconds": seconds, "cpu": cpu, "rows": sum(counts)}
    sys.stdout.buffer.write(b"\n" + orjson.dumps(figures))


def _source(base_url: str, *, tuned: bool) -> Any:
    source = rest_api_source(
        {
            "client": {
                "base_url": base_url,
                "paginator": {"type": "page_number", "base_page": 1, "total_path": "pages"},
            },
            "resource_defaults": {
                "write_disposition": "merge",
                "parallelized": True,
                "endpoint": {"params": {"size": 100}, "data_selector": "items"},
            },
            "resources": [
                {"name": name, "primary_key": key, "endpoint": {"path": name}} for name, key in KEYS.items()
            ],
        }
    )
    if tuned:
        source.max_table_nesting = 0
    return source


if __name__ == "__main__":
    main(*sys.argv[1:])
