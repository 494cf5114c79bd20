"""The worker's log formats: text or JSON, without paths."""

import io
import json
import logging
import subprocess
import sys
from pathlib import Path

from worker.logs import JsonLines, TextLines, _Lines


def output_of(formatter: _Lines) -> str:
    """The output for one failed photo and one unexpected error whose text contains a path."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    log = logging.getLogger("tagger.test")
    log.setLevel(logging.INFO)
    log.handlers, log.propagate = [handler], False
    log.info("a photo failed", extra={"job": 7, "photo": 12, "kind": "corrupt"})
    file = Path("secret/b.jpg")  # a traceback shows the line that fails
    try:
        file.read_text()
    except OSError:
        log.exception("reading failed")
    return stream.getvalue()


def test_json_lines_are_documents_with_the_fields_of_the_record():
    output = output_of(JsonLines())
    assert "secret" not in output, "no path is logged"
    first, second = map(json.loads, output.splitlines())
    assert first.pop("time").endswith("+00:00")
    assert first == {
        "level": "info",
        "logger": "tagger.test",
        "message": "a photo failed",
        "job": 7,
        "photo": 12,
        "kind": "corrupt",
    }
    assert second["exception"].splitlines()[-1] == "FileNotFoundError"


def test_text_lines_have_the_fields_of_the_record_on_one_line():
    text = output_of(TextLines())
    assert "INFO a photo failed (job 7, photo 12, kind corrupt)" in text
    assert "ERROR reading failed\n" in text
    assert "FileNotFoundError" in text
    assert "secret" not in text, "no path is logged"
    record = logging.LogRecord("tagger", logging.INFO, "", 0, "%s failed", ("a\n\x1b[2J",), None)
    record.kind = "b\n2026-01-01 00:00:00 CRITICAL é\u2028\x9b.jpg"
    line = TextLines().format(record)
    assert line.endswith(r"INFO a\n\x1b[2J failed (kind b\n2026-01-01 00:00:00 CRITICAL é\u2028\x9b.jpg)")
    assert line.isprintable()


def test_a_returned_message_is_not_logged():
    returned = """
import celery, celery.exceptions
from worker.logs import set_up_logging

app = celery.Celery(set_as_current=False)

@app.task
def returned():
    raise celery.exceptions.Reject(requeue=True)

@app.task
def failed():
    raise ValueError

set_up_logging("text", 20)
returned.apply()
failed.apply()
"""
    ended = subprocess.run([sys.executable, "-c", returned], capture_output=True, text=True, check=True)
    assert (ended.stderr.count("WARNING"), ended.stderr.count("ERROR")) == (0, 1)
