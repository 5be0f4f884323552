"""The peer: one run of dlt over the same source.

Usage: python -m benchmarks._dlt URL DATABASE PIPELINES_DIR [keyed]. Keyed, its tables get primary keys, which
it does not give them by itself: without an index its merge compares every row with every row.

Its own REST source, rows merged by primary key. Nested values stay JSON columns, as ours do: tables for
them would be more work. The lists are read in parallel, as far as dlt can.
"""

import sys
import time
from typing import Any

import dlt
import orjson
from dlt.sources.rest_api import rest_api_source

KEYS: dict[str, Any] = {"tracks": "id", "users": "id", "listen_history": ["user_id", "created_at"]}


def main(base_url: str, database: str, pipelines_dir: str, keyed: str = "") -> None:
    destination = dlt.destinations.sqlalchemy(f"sqlite:///{database}", create_primary_keys=bool(keyed))
    pipeline = dlt.pipeline(
        "peer", pipelines_dir=pipelines_dir, dataset_name="music", destination=destination
    )
    before, cpu_before = time.perf_counter(), time.process_time()
    pipeline.run(_source(base_url))
    seconds, cpu = time.perf_counter() - before, time.process_time() - cpu_before
    with pipeline.sql_client() as client:
        counts = [client.execute_sql(f"SELECT COUNT(*) FROM {name}")[0][0] for name in KEYS]  # noqa: S608
    figures = {"seconds": seconds, "cpu": cpu, "rows": sum(counts)}
    sys.stdout.buffer.write(b"\n" + orjson.dumps(figures))


def _source(base_url: str) -> Any:
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
    source.max_table_nesting = 0
    return source


if __name__ == "__main__":
    main(*sys.argv[1:])
