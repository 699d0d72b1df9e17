"""Parse Map states, inline and distributed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from legato.conductor._fields import Fields
from legato.conductor._flow import Shared, parse_common
from legato.conductor._model import ItemReader, Machine, Map, ResultWriter
from legato.conductor._path import parse_path
from legato.conductor._shown import shown
from legato.conductor._template import Template

_GET_OBJECT: Final = "arn:aws:states:::s3:getObject"
_PUT_OBJECT: Final = "arn:aws:states:::s3:putObject"
_LIST_OBJECTS: Final = "arn:aws:states:::s3:listObjectsV2"
_DELIMITERS: Final = {"COMMA": ",", "PIPE": "|", "SEMICOLON": ";", "SPACE": " ", "TAB": "\t"}
_MAX_ITEMS: Final = 100_000_000
_MAX_CONCURRENCY: Final = 10_000
_MAX_LABEL_CHARS: Final = 40

_SHARED: Final = (
    Shared.NEXT | Shared.PATHS | Shared.RESULT_SELECTOR | Shared.RESULT_PATH | Shared.ERRORS
)


def parse_map(name: str, fields: Fields, parse_states: Callable[[Fields], Machine]) -> Map:
    """Parse a Map state.

    Args:
        name: The state's name.
        fields: Its fields.
        parse_states: Parses the machine that runs for each item.

    Raises:
        WorkflowError: A field is malformed, or belongs to the other mode.
    """
    common = parse_common(name, fields, _SHARED)
    fields.only_one_of("ItemProcessor", "Iterator", required=True)
    fields.only_one_of("ItemSelector", "Parameters")
    fields.only_one_of("ItemsPath", "ItemReader")
    holder = "ItemProcessor" if fields.has("ItemProcessor") else "Iterator"
    processor = Fields(fields.take(holder), f"{fields.where}, {holder}")
    mode = _parse_mode(processor)
    return Map(
        **common,
        **mode,
        **(_parse_distributed(fields, name) if mode["distributed"] else {"label": name}),
        processor=parse_states(processor),
        items_path=fields.path("ItemsPath") or parse_path("$"),
        item_selector=fields.template("ItemSelector") or fields.template("Parameters"),
        max_concurrency=fields.integer("MaxConcurrency", low=0, high=_MAX_CONCURRENCY) or 0,
    )


def _parse_mode(processor: Fields) -> dict[str, Any]:
    if not processor.has("ProcessorConfig"):
        return {"distributed": False, "express": False}
    config = Fields(processor.take("ProcessorConfig"), f"{processor.where}, ProcessorConfig")
    distributed = config.choice("Mode", ("INLINE", "DISTRIBUTED"), "INLINE") == "DISTRIBUTED"
    express = False
    if distributed:
        config.text("ExecutionType")
        express = config.choice("ExecutionType", ("STANDARD", "EXPRESS"), "") == "EXPRESS"
    config.finish()
    return {"distributed": distributed, "express": express}


def _parse_distributed(fields: Fields, name: str) -> dict[str, Any]:
    label = fields.text("Label") if fields.has("Label") else name
    if fields.has("Label") and len(label) > _MAX_LABEL_CHARS:
        raise fields.error(f"Label {shown(label)} must have at most {_MAX_LABEL_CHARS} characters")
    reader = None
    if fields.has("ItemReader"):
        reader = _parse_reader(Fields(fields.take("ItemReader"), f"{fields.where}, ItemReader"))
    writer = None
    if fields.has("ResultWriter"):
        raw = fields.take("ResultWriter")
        writer = _parse_writer(Fields(raw, f"{fields.where}, ResultWriter"))
    return {
        "label": label,
        "item_reader": reader,
        "result_writer": writer,
        "tolerated_count": fields.integer("ToleratedFailureCount", low=0, high=_MAX_ITEMS),
        "tolerated_percentage": fields.number("ToleratedFailurePercentage", low=0, high=100),
    }


def _parse_reader(fields: Fields) -> ItemReader:
    resource = fields.text("Resource")
    if resource not in (_GET_OBJECT, _LIST_OBJECTS):
        raise fields.error(
            f"Resource {shown(resource)} is not supported; use {_GET_OBJECT} or {_LIST_OBJECTS}"
        )
    listing = resource == _LIST_OBJECTS
    parameters, bucket = _parse_place(fields, key="Prefix" if listing else "Key")
    raw_config = fields.take("ReaderConfig") if fields.has("ReaderConfig") else {}
    config = Fields(raw_config, f"{fields.where}, ReaderConfig")
    reader = ItemReader(
        operation="list" if listing else "get",
        parameters=parameters,
        static_bucket=bucket,
        max_items=config.integer("MaxItems", low=0, high=_MAX_ITEMS) or 0,
        **({} if listing else _parse_format(config)),
    )
    config.finish()
    fields.finish()
    return reader


def _parse_writer(fields: Fields) -> ResultWriter:
    fields.text("Resource")
    fields.choice("Resource", (_PUT_OBJECT,), "")
    parameters, bucket = _parse_place(fields, key="Prefix")
    fields.finish()
    return ResultWriter(parameters=parameters, static_bucket=bucket)


def _parse_place(fields: Fields, *, key: str) -> tuple[Template, str | None]:
    """Check where objects lie; return the template, and the bucket's name if it is fixed."""
    template = fields.template("Parameters")
    if template is None:
        raise fields.error("Parameters is missing")
    parameters = Fields(fields.take("Parameters"), f"{fields.where}, Parameters")
    parameters.only_one_of("Bucket", "Bucket.$", required=True)
    parameters.only_one_of(key, f"{key}.$", required=key == "Key")
    for name in ("Bucket.$", f"{key}.$"):
        parameters.take(name)
    parameters.optional_text(key)
    bucket = parameters.optional_text("Bucket")
    parameters.finish()
    return template, bucket


def _parse_format(config: Fields) -> dict[str, Any]:
    config.text("InputType")
    input_type = config.choice("InputType", ("CSV", "JSON", "JSONL"), "")
    if input_type != "CSV":
        return {"input_type": input_type}
    config.text("CSVHeaderLocation")
    location = config.choice("CSVHeaderLocation", ("FIRST_ROW", "GIVEN"), "")
    headers = None
    if location == "GIVEN":
        headers = config.take("CSVHeaders")
        if not isinstance(headers, list) or not all(isinstance(name, str) for name in headers):
            raise config.error("CSVHeaders must be a list of texts")
        headers = tuple(headers)
    delimiter = config.choice("CSVDelimiter", tuple(_DELIMITERS), "COMMA")
    return {
        "input_type": input_type,
        "csv_headers": headers,
        "csv_delimiter": _DELIMITERS[delimiter],
    }
