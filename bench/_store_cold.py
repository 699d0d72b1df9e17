"""From the start of a process to the first 1 KiB object: a client a function.

Each is what a user's shortest program does; ``argv`` has the bucket, and the key or the reference.
"""

from __future__ import annotations

import os
import sys

_, BUCKET, GIVEN = sys.argv


def nothing() -> bytes:
    """Start Python alone."""
    return b""


def legato() -> bytes:
    """Read by reference, verified."""
    import legato

    store = legato.Store.open(f"s3://{BUCKET}/legato")
    return store.get(legato.Ref.from_json(GIVEN))


def boto3() -> bytes:
    """Read with boto3."""
    import boto3

    data: bytes = boto3.client("s3").get_object(Bucket=BUCKET, Key=GIVEN)["Body"].read()
    return data


def obstore() -> bytes:
    """Read with obstore."""
    import obstore
    from obstore.store import S3Store

    endpoint = os.environ["AWS_ENDPOINT_URL_S3"]
    store = S3Store(BUCKET, endpoint=endpoint, client_options={"allow_http": True})
    return bytes(obstore.get(store, GIVEN).bytes())


def s3torchconnector() -> bytes:
    """Read with s3torchconnector's client."""
    from s3torchconnectorclient._mountpoint_s3_client import MountpointS3Client

    client = MountpointS3Client(
        region=os.environ["AWS_REGION"],
        endpoint=os.environ["AWS_ENDPOINT_URL_S3"],
        force_path_style=True,
    )
    return b"".join(client.get_object(BUCKET, GIVEN))


def aiobotocore() -> bytes:
    """Read with aiobotocore."""
    import asyncio

    from aiobotocore.session import get_session

    async def read() -> bytes:
        async with get_session().create_client("s3") as client:
            answer = await client.get_object(Bucket=BUCKET, Key=GIVEN)
            async with answer["Body"] as body:
                data: bytes = await body.read()
        return data

    return asyncio.run(read())


def sockets() -> bytes:
    """Read with a socket."""
    import socket

    host, _, port = os.environ["AWS_ENDPOINT_URL_S3"].removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port))) as connection:
        request = f"GET /{BUCKET}/{GIVEN} HTTP/1.1\r\nhost: {host}\r\n\r\n"
        connection.sendall(request.encode())
        return connection.recv(64 << 10).partition(b"\r\n\r\n")[2]
