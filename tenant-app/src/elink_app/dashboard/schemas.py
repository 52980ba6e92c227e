"""What comes out of the dashboard."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Verdict = Literal["unlimited", "good", "near", "full"]


class LimitOutput(BaseModel):
    """How much of something the plan holds is used. `near` from 80 %, `full` from 100 %."""

    used: int
    limit: int | None
    verdict: Verdict


class DeliveryUnderWay(BaseModel):
    """A delivery that was ordered and is not over; `ended`: mails of which the result is known."""

    id: int
    name: str
    state: str
    total: int
    ended: int


class HealthOutput(BaseModel):
    """Mails of the last 30 days that came to an end.

    For an account from which labels hide recipients: those it may see, in the newest of these deliveries, as many as
    have 100,000 mails together.
    """

    accepted: int
    failed: int
    percent: float | None
    verdict: Literal["none", "good", "doubtful", "bad"]


class RecentAddress(BaseModel):
    """An address that was saved lately."""

    id: int
    name: str
    company: str
    updated_at: datetime


class DashboardOutput(BaseModel):
    """The first page; null is what the caller may not see."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "notices": 1,
                    "addresses": {"used": 820, "limit": 1000, "verdict": "near"},
                    "storage_bytes": {"used": 52_428_800, "limit": 5_368_709_120, "verdict": "good"},
                    "mails_last_hour": {"used": 300, "limit": None, "verdict": "unlimited"},
                    "recently_deleted": 3,
                    "recent": [
                        {"id": 1, "name": "山田 太郎", "company": "", "updated_at": "2026-04-01T09:00:00+09:00"}
                    ],
                    "under_way": [{"id": 7, "name": "春の案内", "state": "sending", "total": 100, "ended": 45}],
                    "health": {"accepted": 980, "failed": 20, "percent": 2.0, "verdict": "good"},
                }
            ]
        }
    )

    notices: Annotated[int | None, Field(description="Notices still to be seen; null while that cannot be known")]
    addresses: LimitOutput | None
    storage_bytes: Annotated[LimitOutput | None, Field(description="Files and database; at most ten minutes old")]
    mails_last_hour: Annotated[LimitOutput | None, Field(description="About; counted while the plan has a limit")]
    recently_deleted: int | None
    recent: list[RecentAddress] | None
    under_way: list[DeliveryUnderWay] | None
    health: HealthOutput | None
