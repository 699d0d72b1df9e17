"""Stores that settings open, and those that references find by themselves."""

from __future__ import annotations

import functools
from typing import Any

from legato._native import Store
from legato.errors import AccessDeniedError, InputError
from legato.settings import Settings


def open_store(url: str, settings: Settings) -> Store:
    """Open a store with the settings of stores; nothing is asked of S3 yet.

    Args:
        url: ``s3://bucket/prefix``, ``file:///folder`` or ``memory://name``.
        settings: Where bucket owner, KMS key, request payer, addressing and timeout are from.

    Raises:
        InputError: The URL is of no such form.
    """
    options: dict[str, Any] = {
        "bucket_owner": settings.bucket_owner,
        "kms_key": settings.kms_key,
        "request_payer": settings.request_payer == "requester",
        "addressing": settings.s3_addressing,
        "timeout_s": settings.store_timeout_s,
    }
    return _open(url, tuple(options.items()))


def allowed_stores(settings: Settings) -> list[Store]:
    """Open the stores besides the run's own that references may point to."""
    return [open_store(url, settings) for url in settings.allowed_stores]


def store_of(uri: str) -> Store:
    """Open the store of a reference that is bound to none; :meth:`legato.Ref.load` asks for it.

    With LEGATO_STORE or LEGATO_ALLOWED_STORES set it is one of these. Without them it is the
    bucket, the folder or the memory store of the URI.

    Raises:
        AccessDeniedError: The URI lies outside of the stores that the settings name.
        InputError: The URI has no bucket and no folder.
    """
    settings = Settings.from_env()
    own = [settings.store] if settings.store is not None else []
    stores = [open_store(url, settings) for url in (*own, *settings.allowed_stores)]
    found = next((store for store in stores if uri.startswith(f"{store.url}/")), None)
    if found is not None:
        return found
    if stores:
        msg = (
            f"{uri} lies outside of the stores of LEGATO_STORE and LEGATO_ALLOWED_STORES "
            f"({', '.join(store.url for store in stores)}); add its store to LEGATO_ALLOWED_STORES"
        )
        raise AccessDeniedError(msg)
    return open_store(_whole(uri), settings)


def _whole(uri: str) -> str:
    scheme, _, rest = uri.partition("://")
    name = rest.rpartition("/")[0] if scheme == "file" else rest.partition("/")[0]
    if not name:
        msg = f"the reference points to {uri}, which names no store; give one: ref.load(store)"
        raise InputError(msg)
    return f"{scheme}://{name}"


@functools.lru_cache(maxsize=64)
def _open(url: str, options: tuple[tuple[str, Any], ...]) -> Store:
    # Opening a folder looks into it, and a store of S3 keeps its connections.
    return Store.open(url, **dict(options))
