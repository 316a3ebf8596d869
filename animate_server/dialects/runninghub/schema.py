"""What RunningHub's calls take and answer: v2 the task itself, the older calls `code`, `msg` and `data`."""

from __future__ import annotations

from typing import Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

IMAGE, VIDEO = "299##image", "275##video"
LONGEST_S = 30.0
Data = TypeVar("Data")


class TransferRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    image: str = Field(alias="299##image", min_length=1, description="Who: a file name, URL or data URI.")
    video: str = Field(
        alias="275##video",
        min_length=1,
        description=f"How: a file name, URL or data URI. At most {LONGEST_S:g} s, unless the server lifts that.",
    )
    webhook: str | None = Field(
        None, alias="webhookUrl", max_length=2000, description="Called when the task has ended."
    )


class TaskRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    task_id: str = Field(alias="taskId", min_length=1, max_length=64)


class RetryRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    webhookId: str = Field(min_length=1, max_length=64)  # noqa: N815  theirs, as all names with capitals below
    webhookUrl: str | None = Field(None, max_length=2000)  # noqa: N815


class NodeInfo(BaseModel):
    model_config = ConfigDict(extra="forbid")

    nodeId: str  # noqa: N815
    fieldName: str  # noqa: N815
    fieldValue: str  # noqa: N815


class NodesRequest(BaseModel):
    """Values for the nodes of an app or a workflow."""

    model_config = ConfigDict(extra="forbid")

    nodeInfoList: list[NodeInfo] = Field(  # noqa: N815
        max_length=16, description="One value for the field `image` and one for `video`, of whatever nodes."
    )
    webhookUrl: str | None = Field(  # noqa: N815
        None, max_length=2000, description="Called when the task has ended."
    )
    instanceType: str | None = Field(None, max_length=64)  # noqa: N815
    usePersonalQueue: bool | str | None = None  # noqa: N815
    addMetadata: bool | None = None  # noqa: N815


class CreateRequest(NodesRequest):
    workflowId: str = Field(max_length=64)  # noqa: N815


class AppRequest(NodesRequest):
    webappId: str | int  # noqa: N815


class Output(BaseModel):
    url: str = Field(description="It needs no credentials.")
    nodeId: str  # noqa: N815
    outputType: str  # noqa: N815
    text: str | None


class Usage(BaseModel):
    """This server bills nobody."""

    consumeMoney: str | None  # noqa: N815
    consumeCoins: str  # noqa: N815
    taskCostTime: str = Field(description="Whole seconds.")  # noqa: N815
    thirdPartyConsumeMoney: str | None  # noqa: N815


class Task(BaseModel):
    taskId: str = Field(description="19 digits.")  # noqa: N815
    status: Literal["CREATE", "QUEUED", "RUNNING", "SUCCESS", "FAILED", "CANCEL"] = Field(
        description="CREATE: it waits for earlier tasks of the same key; QUEUED: for a worker."
    )
    errorCode: str = Field(description="Empty while all is well, as errorMessage.")  # noqa: N815
    errorMessage: str  # noqa: N815
    failedReason: dict[str, str]  # noqa: N815
    usage: Usage
    results: list[Output] | None
    warnings: list[str] = Field(description="What the caller should know of the video; these are ours.")


class SubmittedTask(Task):
    """status is RUNNING, whatever the task waits for; `query` tells."""

    clientId: str = Field(description="32 digits; it means nothing here.")  # noqa: N815
    promptTips: str = Field(description="JSON text: nothing is wrong with the task.")  # noqa: N815


class UploadedFile(BaseModel):
    type: str
    download_url: str
    fileName: str  # noqa: N815
    filename: str
    size: str


class Uploaded(BaseModel):
    code: int
    message: str
    data: UploadedFile


class Answer(BaseModel, Generic[Data]):
    """An older call's answer. code: 0 while all is well."""

    code: int
    msg: str
    data: Data


class CreatedTask(BaseModel):
    netWssUrl: None  # noqa: N815
    taskId: str  # noqa: N815
    clientId: str  # noqa: N815
    taskStatus: str  # noqa: N815
    promptTips: str  # noqa: N815


class OutputFile(BaseModel):
    fileUrl: str  # noqa: N815
    fileType: str  # noqa: N815
    taskCostTime: str  # noqa: N815
    nodeId: str  # noqa: N815
    consumeCoins: str  # noqa: N815


class FailedTask(BaseModel):
    failedReason: dict[str, str]  # noqa: N815


class StoredFile(BaseModel):
    fileName: str  # noqa: N815
    fileType: str  # noqa: N815


class WebhookDetail(BaseModel):
    """Times in milliseconds since the epoch."""

    id: str
    userApiKey: str = Field(description="Empty: no key is kept here.")  # noqa: N815
    taskId: str  # noqa: N815
    webhookUrl: str = Field(description="Without its query.")  # noqa: N815
    eventData: str | None  # noqa: N815
    callbackStatus: str  # noqa: N815
    callbackResponse: str | None  # noqa: N815
    retryCount: int  # noqa: N815
    createTime: str  # noqa: N815
    updateTime: str  # noqa: N815


class Account(BaseModel):
    remainCoins: str  # noqa: N815
    currentTaskCounts: str  # noqa: N815
    remainMoney: str | None  # noqa: N815
    currency: str | None
    apiType: str  # noqa: N815


class ErrorView(BaseModel):
    """With HTTP 200, in both the newer and the older calls' words."""

    errorCode: str  # noqa: N815
    errorMessage: str  # noqa: N815
    code: int
    msg: str
    data: None
    taskId: str  # noqa: N815
    status: str
    results: None
