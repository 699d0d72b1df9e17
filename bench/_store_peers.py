"""The contestants of the store benchmark: how each one reads and writes, by its users' ways.

What has several ways gets the one that is fastest here. All read the environment: endpoint,
region, credentials.
"""

from __future__ import annotations

import asyncio
import io
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from typing import Any, Final

import numpy as np

from bench import _store_data
from bench._store_client import Contestant
from bench._store_data import BUCKET, MIB, Bytes
from bench._store_floor import Curl, Sockets

PART: Final = 8 * MIB


class Legato(Contestant):
    """legato: every read is by reference, and verified."""

    tail = True

    def __init__(self) -> None:
        """Open the store."""
        super().__init__()
        import legato

        self.version = legato.__version__
        self._store: Any = legato.Store.open(f"s3://{BUCKET}/legato")
        self._refs: dict[str, Any] = {}
        self.small = {"": lambda key: self._store.get(self._refs[key])}
        self.put_small = {"": self._put}
        self.get = {"": self._get}
        self.put = {"": self._put}
        self.many = {"": lambda keys: self._store.get_many([self._refs[key] for key in keys])}

    def _put(self, key: str, value: Any) -> Any:
        return self._store.put(value, key)

    def _get(self, key: str, _: int) -> Bytes:
        array: Bytes = self._store.load(self._refs[key])
        return array

    def seed(self, keys: Sequence[str]) -> dict[str, str]:
        """Store arrays, and small objects as bytes."""
        for key in keys:
            data = _store_data.make(key)
            value = data if len(data) >= MIB else data.tobytes()
            self._refs[key] = self._put(key, value)
        return {key: ref.to_json() for key, ref in self._refs.items()}

    def adopt(self, refs: dict[str, str]) -> None:
        """Know the references that another process has made."""
        from legato import Ref

        self._refs |= {key: Ref.from_json(text) for key, text in refs.items()}


class Boto3(Contestant):
    """boto3; over plain HTTP it hashes bodies to sign them, unless told not to."""

    def __init__(self) -> None:
        """Make a client that signs bodies, and one that does not."""
        super().__init__()
        import boto3
        from boto3.s3.transfer import TransferConfig
        from botocore.config import Config

        self.version = boto3.__version__
        client = boto3.client("s3")
        unsigned = boto3.client("s3", config=Config(s3={"payload_signing_enabled": False}))
        self._threads = boto3.client("s3", config=Config(max_pool_connections=16))
        self._client = client
        self._parallel = TransferConfig(multipart_chunksize=PART, max_concurrency=4)
        self.small = {"": lambda key: client.get_object(Bucket=BUCKET, Key=key)["Body"].read()}
        self.get = {
            "read": self._read,
            "readinto": self._readinto,
            "download_fileobj": lambda key, _: self._download(key, TransferConfig()),
            "download_fileobj, 4 threads": lambda key, _: self._download(key, self._parallel),
        }
        for name, one in {"signed": client, "unsigned": unsigned}.items():
            self.put_small[name] = lambda key, data, one=one: one.put_object(
                Bucket=BUCKET, Key=key, Body=data
            )
            self.put[f"put_object, {name}"] = lambda key, array, one=one: one.put_object(
                Bucket=BUCKET, Key=key, Body=array.tobytes()
            )
            self.put[f"upload_fileobj, {name}"] = lambda key, array, one=one: one.upload_fileobj(
                io.BytesIO(array), BUCKET, key
            )
        self.many = {f"{threads} threads": self._many(threads) for threads in (1, 4, 16)}

    def _read(self, key: str, _: int) -> Bytes:
        body = self._client.get_object(Bucket=BUCKET, Key=key)["Body"]
        return np.frombuffer(body.read(), np.uint8)

    def _readinto(self, key: str, size: int) -> Bytes:
        array = np.empty(size, np.uint8)
        body, view, done = self._client.get_object(Bucket=BUCKET, Key=key)["Body"], array.data, 0
        while count := body.readinto(view[done:]):
            done += count
        return array

    def _download(self, key: str, config: Any) -> Bytes:
        file = io.BytesIO()
        self._client.download_fileobj(BUCKET, key, file, Config=config)
        return np.frombuffer(file.getbuffer(), np.uint8)

    def _many(self, threads: int) -> Callable[[list[str]], list[bytes]]:
        pool = ThreadPoolExecutor(threads)

        def one(key: str) -> bytes:
            data: bytes = self._threads.get_object(Bucket=BUCKET, Key=key)["Body"].read()
            return data

        return lambda keys: list(pool.map(one, keys))


class Obstore(Contestant):
    """obstore; it hashes bodies to sign them, unless told not to."""

    def __init__(self) -> None:
        """Make a store that signs bodies, and one that does not."""
        super().__init__()
        import obstore
        from obstore.store import S3Store

        self.version = version("obstore")
        options = {
            "endpoint": os.environ["AWS_ENDPOINT_URL_S3"],
            "virtual_hosted_style_request": False,
            "client_options": {"allow_http": True},
        }
        store = S3Store(BUCKET, **options)
        unsigned = S3Store(BUCKET, **options, unsigned_payload=True)
        self._store, self._obstore = store, obstore
        self.small = {"": lambda key: obstore.get(store, key).bytes()}
        self.get = {
            "get": lambda key, _: np.frombuffer(obstore.get(store, key).bytes(), np.uint8),
            "get, streamed": self._streamed,
            "get_ranges": self._ranges,
        }
        for name, one in {"signed": store, "unsigned": unsigned}.items():
            self.put_small[name] = lambda key, data, one=one: obstore.put(one, key, data)
            self.put[f"one request, {name}"] = lambda key, array, one=one: obstore.put(
                one, key, array.data, use_multipart=False
            )
            self.put[f"parts, {name}"] = lambda key, array, one=one: obstore.put(
                one, key, array.data, use_multipart=True, chunk_size=PART, max_concurrency=4
            )
        self.many = {f"{count} at once": self._many(count) for count in (4, 16, 64)}
        self.many |= {f"{count} threads": self._threaded(count) for count in (1, 4)}

    def _streamed(self, key: str, size: int) -> Bytes:
        array, done = np.empty(size, np.uint8), 0
        for piece in self._obstore.get(self._store, key).stream(min_chunk_size=MIB):
            view = np.frombuffer(piece, np.uint8)
            array[done : done + len(view)] = view
            done += len(view)
        return array

    def _ranges(self, key: str, size: int) -> Bytes:
        starts = list(range(0, size, PART))
        ends = [min(start + PART, size) for start in starts]
        array = np.empty(size, np.uint8)
        found = self._obstore.get_ranges(self._store, key, starts=starts, ends=ends)
        for start, end, piece in zip(starts, ends, found, strict=True):
            array[start:end] = np.frombuffer(piece, np.uint8)
        return array

    def _many(self, count: int) -> Callable[[list[str]], Any]:
        async def one(key: str, limit: asyncio.Semaphore) -> Any:
            async with limit:
                return await (await self._obstore.get_async(self._store, key)).bytes_async()

        async def everything(keys: list[str]) -> Any:
            limit = asyncio.Semaphore(count)
            return await asyncio.gather(*(one(key, limit) for key in keys))

        return lambda keys: asyncio.run(everything(keys))

    def _threaded(self, threads: int) -> Callable[[list[str]], list[Any]]:
        pool = ThreadPoolExecutor(threads)

        def one(key: str) -> Any:
            return self._obstore.get(self._store, key).bytes()

        return lambda keys: list(pool.map(one, keys))


class S3Torch(Contestant):
    """s3torchconnector's client, the C runtime; its outer package would import torch."""

    def __init__(self) -> None:
        """Make the client."""
        super().__init__()
        from s3torchconnectorclient._mountpoint_s3_client import MountpointS3Client

        self.version = version("s3torchconnectorclient")
        self._client = MountpointS3Client(
            region=os.environ["AWS_REGION"],
            endpoint=os.environ["AWS_ENDPOINT_URL_S3"],
            force_path_style=True,
        )
        self.small = {"": self._one}
        self.get = {
            "joined": lambda key, _: np.frombuffer(self._one(key), np.uint8),
            "copied": self._copied,
        }
        self.put_small = {"": self._put}
        self.put = {"": lambda key, array: self._put(key, array.tobytes())}
        self.many = {f"{threads} threads": self._many(threads) for threads in (1, 4, 16)}

    def _one(self, key: str) -> bytes:
        return b"".join(self._client.get_object(BUCKET, key))

    def _copied(self, key: str, size: int) -> Bytes:
        array, done = np.empty(size, np.uint8), 0
        for piece in self._client.get_object(BUCKET, key):
            array[done : done + len(piece)] = np.frombuffer(piece, np.uint8)
            done += len(piece)
        return array

    def _put(self, key: str, data: bytes) -> None:
        stream = self._client.put_object(BUCKET, key)
        stream.write(data)
        stream.close()

    def _many(self, threads: int) -> Callable[[list[str]], list[bytes]]:
        pool = ThreadPoolExecutor(threads)
        return lambda keys: list(pool.map(self._one, keys))


class Aiobotocore(Contestant):
    """aiobotocore, in one event loop."""

    def __init__(self) -> None:
        """Make the client."""
        super().__init__()
        from aiobotocore.config import AioConfig
        from aiobotocore.session import get_session

        self.version = version("aiobotocore")
        self._loop = asyncio.new_event_loop()
        config = AioConfig(max_pool_connections=16, s3={"payload_signing_enabled": False})
        context = get_session().create_client("s3", config=config)
        self._client = self._loop.run_until_complete(context.__aenter__())
        run = self._loop.run_until_complete
        self.small = {"": lambda key: run(self._one(key))}
        self.get = {
            "read": lambda key, _: np.frombuffer(run(self._one(key)), np.uint8),
            "4 ranges": lambda key, size: run(self._ranges(key, size, 4)),
        }
        self.put_small = {"": lambda key, data: run(self._put(key, data))}
        self.put = {"": lambda key, array: run(self._put(key, array.tobytes()))}
        self.many = {f"{count} at once": self._many(count) for count in (4, 16)}

    async def _one(self, key: str, **more: Any) -> bytes:
        answer = await self._client.get_object(Bucket=BUCKET, Key=key, **more)
        async with answer["Body"] as body:
            data: bytes = await body.read()
        return data

    async def _put(self, key: str, data: bytes) -> None:
        await self._client.put_object(Bucket=BUCKET, Key=key, Body=data)

    async def _ranges(self, key: str, size: int, count: int) -> Bytes:
        array = np.empty(size, np.uint8)

        async def part(start: int, end: int) -> None:
            data = await self._one(key, Range=f"bytes={start}-{end - 1}")
            array[start:end] = np.frombuffer(data, np.uint8)

        step = -(-size // count)
        parts = (part(start, min(start + step, size)) for start in range(0, size, step))
        await asyncio.gather(*parts)
        return array

    def _many(self, count: int) -> Callable[[list[str]], Any]:
        async def everything(keys: list[str]) -> Any:
            limit = asyncio.Semaphore(count)

            async def one(key: str) -> bytes:
                async with limit:
                    return await self._one(key)

            return await asyncio.gather(*(one(key) for key in keys))

        return lambda keys: self._loop.run_until_complete(everything(keys))


CONTESTANTS: Final[dict[str, type[Contestant]]] = {
    "legato": Legato,
    "boto3": Boto3,
    "obstore": Obstore,
    "s3torchconnector": S3Torch,
    "aiobotocore": Aiobotocore,
    "curl": Curl,
    "raw sockets": Sockets,
}
