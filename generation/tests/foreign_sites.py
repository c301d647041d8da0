"""Databases of other sites, with the column types that were found in them."""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

from django.db import connection

from generation.ids import new_id

WEBUI = """
CREATE TABLE "user" (id VARCHAR(50) PRIMARY KEY, name VARCHAR(255), email VARCHAR(255),
    role VARCHAR(50), created_at BIGINT, phone VARCHAR(50));
CREATE TABLE auth (id VARCHAR(50) PRIMARY KEY, email VARCHAR(255), password TEXT);
CREATE TABLE mj_tasks (id VARCHAR(50) PRIMARY KEY, user_id VARCHAR(50), action VARCHAR(50),
    status VARCHAR(50) DEFAULT 'SUBMITTED', prompt TEXT, prompt_en TEXT, description TEXT,
    mode VARCHAR(50) DEFAULT 'fast', credits_cost INTEGER, submit_time DATETIME,
    start_time DATETIME, finish_time DATETIME, progress VARCHAR(20) DEFAULT '0%', image_url TEXT,
    cloud_image_url TEXT, fail_reason TEXT, properties JSON, buttons JSON,
    parent_task_id VARCHAR(50), created_at DATETIME, updated_at DATETIME);
CREATE TABLE dreamwork_tasks (id VARCHAR(50) PRIMARY KEY, user_id VARCHAR(50), action VARCHAR(50),
    status VARCHAR(50), prompt TEXT, model VARCHAR(100), size VARCHAR(50), guidance_scale FLOAT,
    seed BIGINT, watermark BOOLEAN, credits_cost INTEGER, submit_time DATETIME,
    start_time DATETIME, finish_time DATETIME, progress VARCHAR(20), image_url TEXT,
    cloud_image_url TEXT, fail_reason TEXT, input_image TEXT, properties JSON,
    created_at DATETIME, updated_at DATETIME);
CREATE TABLE flux_tasks (id VARCHAR(255) PRIMARY KEY, user_id VARCHAR(255),
    request_id VARCHAR(255), model VARCHAR(100), task_type VARCHAR(20), status VARCHAR(20),
    prompt TEXT, input_image_url TEXT, uploaded_image_url TEXT, input_image_urls JSON,
    num_images INTEGER DEFAULT 1, aspect_ratio VARCHAR(20) DEFAULT '1:1', image_size JSON,
    guidance_scale FLOAT DEFAULT 3.5, num_inference_steps INTEGER DEFAULT 28, seed BIGINT,
    safety_tolerance VARCHAR(10) DEFAULT '2', strength FLOAT DEFAULT 0.95, sync_mode BOOLEAN,
    output_format VARCHAR(10), enable_safety_checker BOOLEAN, image_url TEXT,
    cloud_image_url TEXT, generation_time FLOAT, queue_position INTEGER, error_message TEXT,
    retry_count INTEGER DEFAULT 0, flux_response JSON, created_at DATETIME, updated_at DATETIME,
    completed_at DATETIME);
"""
NEW_API = """
CREATE TABLE users (id INTEGER PRIMARY KEY, username VARCHAR(64), display_name VARCHAR(64),
    email VARCHAR(64), password TEXT);
CREATE TABLE midjourneys (id INTEGER PRIMARY KEY, code INTEGER, user_id INTEGER,
    action VARCHAR(40), mj_id VARCHAR(191), prompt TEXT, prompt_en TEXT, description TEXT,
    state TEXT, submit_time BIGINT, start_time BIGINT, finish_time BIGINT, image_url TEXT,
    video_url TEXT, status VARCHAR(20), progress VARCHAR(30), fail_reason TEXT,
    channel_id INTEGER, quota INTEGER, buttons TEXT, properties TEXT);
"""


class ForeignSite:
    """A site whose database is filled by a test. `source` is what the command is told."""

    source: str
    _placeholder = "?"

    def execute(self, statement: str, *values: Any) -> None:
        raise NotImplementedError

    def script(self, statements: str) -> None:
        for statement in statements.split(";"):
            if statement.strip():
                self.execute(self.typed(statement))

    def typed(self, statement: str) -> str:
        return statement

    def add(self, table: str, **values: Any) -> None:
        cells = [json.dumps(v) if isinstance(v, dict | list) else v for v in values.values()]
        columns = ", ".join(f'"{name}"' for name in values)
        marks = ", ".join([self._placeholder] * len(cells))
        self.execute(f'INSERT INTO "{table}" ({columns}) VALUES ({marks})', *cells)

    def close(self) -> None: ...


class SQLiteSite(ForeignSite):
    def __init__(self, path: Path) -> None:
        self.path = path
        self.source = str(path)

    def execute(self, statement: str, *values: Any) -> None:
        with closing(sqlite3.connect(self.path)) as own, own:
            own.execute(statement, values)


class PostgreSQLSite(ForeignSite):
    """A schema beside that of the tests, on a connection of its own."""

    _placeholder = "%s"

    def __init__(self) -> None:
        import psycopg

        self._schema = f"old_{new_id()}"
        told = connection.settings_dict
        user, password = quote(told["USER"]), quote(told["PASSWORD"])
        self._base = (
            f"postgresql://{user}{f':{password}' if password else ''}@{told['HOST']}"
            f":{told['PORT'] or 5432}/{told['NAME']}"
        )
        # As SQLAlchemy spells it.
        path = quote(f"-csearch_path={self._schema}")
        self.source = f"{self._base.replace('postgresql:', 'postgresql+psycopg2:')}?options={path}"
        self._own = psycopg.connect(self._base, autocommit=True)
        self._own.execute(f"CREATE SCHEMA {self._schema}")
        self._own.execute(f"SET search_path TO {self._schema}")

    def typed(self, statement: str) -> str:
        statement = re.sub(r"\bDATETIME\b", "TIMESTAMP", statement)
        return re.sub(r"\bFLOAT\b", "DOUBLE PRECISION", statement)

    def execute(self, statement: str, *values: Any) -> None:
        self._own.execute(statement, values or None)

    def close(self) -> None:
        self._own.execute(f"DROP SCHEMA {self._schema} CASCADE")
        self._own.close()
