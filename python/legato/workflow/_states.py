"""The names of states and placeholders, in one place."""

from __future__ import annotations

from typing import Final

INGESTION: Final = "Ingestion"
PREPROCESSING: Final = "Preprocessing"
INFERENCE: Final = "Inference"
VALIDATION: Final = "Validation"
STORAGE: Final = "Storage"

STAGES: Final = (INGESTION, PREPROCESSING, INFERENCE, VALIDATION, STORAGE)
"""The five stages, in the order of the data."""

SHARD_STAGES: Final = (PREPROCESSING, INFERENCE, VALIDATION)
"""The stages that run once for each shard, and for a prompt."""

BEGIN: Final = "Begin"
ROUTE: Final = "Route"
SHARDS: Final = "Shards"
SHARD_DONE: Final = "ShardDone"
PROMPT_PREFIX: Final = "Prompt"

STORE_BUCKET: Final = "StoreBucket"
"""The placeholder of the bucket that holds the manifest and takes the Map's results."""

JOB_DEFINITION: Final = "InferenceJobDefinitionArn"
JOB_QUEUE: Final = "InferenceJobQueueArn"
"""The placeholders of a document whose Inference runs on AWS Batch."""

CLUSTER: Final = "InferenceClusterArn"
TASK_DEFINITION: Final = "InferenceTaskDefinitionArn"
SUBNETS: Final = "InferenceSubnets"
SECURITY_GROUPS: Final = "InferenceSecurityGroups"
"""The placeholders of one whose Inference runs on ECS; the last two are ids joined by commas."""

JOB_PLACEHOLDERS: Final = (
    JOB_DEFINITION,
    JOB_QUEUE,
    CLUSTER,
    TASK_DEFINITION,
    SUBNETS,
    SECURITY_GROUPS,
)

CONTAINER: Final = "legato"
"""Name of the container in the task definition."""


def function_placeholder(stage: str) -> str:
    """Return the name of the placeholder that stands for a stage's function ARN."""
    return f"{stage}FunctionArn"
