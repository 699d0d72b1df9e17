"""The bucket of the store, and who may not use it."""

from __future__ import annotations

from typing import Any, Final

from legato.workflow._arns import BUCKET, STORE
from legato.workflow._grant import HAS_KMS
from legato.workflow._policy import VERSION, sub
from legato.workflow._template._parameters import HAS_BUCKET_NAME, if_given

UNCONDITIONAL: Final = ("inputs", "models", "runs")
"""Areas whose objects may be replaced; all others hold outputs, which are written once."""

ABANDONED_DAYS: Final = 7
"""Days after which the parts of an upload that nobody completed are removed."""


def storage(tags: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the bucket and its policy."""
    return {"Bucket": _bucket(tags), "BucketPolicy": _policy()}


def _bucket(tags: list[dict[str, Any]]) -> dict[str, Any]:
    kms = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": {"Ref": "KmsKeyArn"}}
    rule = {
        "ServerSideEncryptionByDefault": {"Fn::If": [HAS_KMS, kms, {"SSEAlgorithm": "AES256"}]},
        "BucketKeyEnabled": {"Fn::If": [HAS_KMS, True, False]},
    }
    return {
        "Type": "AWS::S3::Bucket",
        # The results are worth more than the stack.
        "DeletionPolicy": "Retain",
        "UpdateReplacePolicy": "Retain",
        "Properties": {
            "BucketName": if_given(HAS_BUCKET_NAME, {"Ref": "BucketName"}),
            "BucketEncryption": {"ServerSideEncryptionConfiguration": [rule]},
            "LifecycleConfiguration": {
                "Rules": [
                    {
                        "Id": "AbandonedUploads",
                        "Status": "Enabled",
                        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": ABANDONED_DAYS},
                    }
                ]
            },
            "NotificationConfiguration": {"EventBridgeConfiguration": {"EventBridgeEnabled": True}},
            "OwnershipControls": {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]},
            "PublicAccessBlockConfiguration": {
                "BlockPublicAcls": True,
                "BlockPublicPolicy": True,
                "IgnorePublicAcls": True,
                "RestrictPublicBuckets": True,
            },
            # References pin the version of their object.
            "VersioningConfiguration": {"Status": "Enabled"},
            "Tags": tags,
        },
    }


def _policy() -> dict[str, Any]:
    everything = [BUCKET, f"{BUCKET}/*"]
    statements = [
        _deny(
            "DenyInsecureTransport",
            "s3:*",
            {"Resource": everything},
            {"Bool": {"aws:SecureTransport": "false"}},
        ),
        _deny(
            "DenyOtherAccounts",
            "s3:*",
            {"Resource": everything},
            {
                "StringNotEquals": {"aws:PrincipalAccount": "${AWS::AccountId}"},
                "BoolIfExists": {"aws:PrincipalIsAWSService": "false"},
            },
        ),
        _deny(
            "DenyUnconditionalWrites",
            "s3:PutObject",
            {
                "NotResource": [
                    *(f"{STORE}/{area}/*" for area in UNCONDITIONAL),
                    # Sums of chunks, whose key says what they are of.
                    f"{STORE}/*.chunks",
                ]
            },
            {
                "Null": {"s3:if-none-match": "true"},
                # Only what makes an object: parts of an upload have no condition.
                "Bool": {"s3:ObjectCreationOperation": "true"},
            },
        ),
    ]
    document = {"Version": VERSION, "Statement": sub(statements)}
    properties = {"Bucket": {"Ref": "Bucket"}, "PolicyDocument": document}
    return {"Type": "AWS::S3::BucketPolicy", "Properties": properties}


def _deny(
    sid: str, action: str, resources: dict[str, Any], condition: dict[str, Any]
) -> dict[str, Any]:
    return {
        "Sid": sid,
        "Effect": "Deny",
        "Principal": "*",
        "Action": action,
        **resources,
        "Condition": condition,
    }
