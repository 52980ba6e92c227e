"""Mails to a tenant's contacts about its cancellation: which are due, and what they say. Pure.

One mail says all that is known at its time: of several that are due the last one is sent, and the others count as told.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Final

from elink_operator import naming
from elink_operator.api import ElinkTenant
from elink_operator.api.tenant import Language, State
from elink_operator.jst import JST

CANCELLED: Final = "Cancelled"
UNDONE: Final = "Undone"
DAYS_LEFT: Final = {"DaysLeft7": timedelta(days=7), "DaysLeft1": timedelta(days=1)}
"""Letter → how long before the erasure it is due."""

_SUBJECTS: Final = {
    Language.JA: {
        CANCELLED: "【elink】解約を承りました",
        UNDONE: "【elink】解約を取り消しました",
        "DaysLeft7": "【elink】データ消去の7日前のお知らせ",
        "DaysLeft1": "【elink】データ消去の前日のお知らせ",
    },
    Language.EN: {
        CANCELLED: "[elink] Your contract has been cancelled",
        UNDONE: "[elink] The cancellation has been undone",
        "DaysLeft7": "[elink] Your data will be erased in 7 days",
        "DaysLeft1": "[elink] Your data will be erased tomorrow",
    },
}
_GREETING: Final = {Language.JA: "{name} 様\n\n", Language.EN: "Dear {name},\n\n"}
_OPENING: Final = {
    Language.JA: {
        CANCELLED: "elink の解約を承りました。サービスは停止しています。\n\n",
        "DaysLeft7": "解約された elink のデータの消去が近づいています。\n\n",
        "DaysLeft1": "解約された elink のデータをまもなく消去します。\n\n",
    },
    Language.EN: {
        CANCELLED: "Your contract for elink has been cancelled. The service has stopped.\n\n",
        "DaysLeft7": "You cancelled elink, and the day on which your data is erased comes closer.\n\n",
        "DaysLeft1": "You cancelled elink, and your data is about to be erased.\n\n",
    },
}
_DEADLINE: Final = {
    Language.JA: (
        "対象: {url}\n消去の開始: {date}(日本時間)\n\n"
        "この日時を過ぎると、アドレス帳、配信の記録、ファイル、バックアップのすべてを消去します。\n"
        "消去したデータは元に戻せません。それまでは解約を取り消すことができ、データはそのまま戻ります。\n"
        "取り消しをご希望の場合は、担当窓口までご連絡ください。\n"
    ),
    Language.EN: (
        "Concerned: {url}\nErasure begins: {date} (Japan time)\n\n"
        "After that, address book, records of deliveries, files and all backups are erased.\n"
        "Erased data cannot be brought back. Until then the cancellation can be undone, and everything comes back as "
        "it was.\nIf you wish so, please tell your contact at elink.\n"
    ),
}
_BACK: Final = {
    Language.JA: "elink の解約を取り消しました。データは消去されていません。\n\n対象: {url}\n",
    Language.EN: "The cancellation of elink has been undone. Nothing was erased.\n\nConcerned: {url}\n",
}
_FOOT: Final = {
    Language.JA: "\n-- \nこのメールは elink から自動で送信しています。\n",
    Language.EN: "\n-- \nThis mail was sent by elink automatically.\n",
}


def told_so_far(tenant: ElinkTenant) -> tuple[str, ...]:
    """Letters that contacts have of the present cancellation, or of the one that was just undone."""
    known, since = tenant.status.cancellation, tenant.status.cancelled_at
    if known is None or (since is not None and known.at != since):
        return ()
    return known.told


def letters_due(tenant: ElinkTenant, now: datetime) -> list[str]:
    """Letters that contacts should have and do not, in order; of the undoing only who heard of the cancellation."""
    since, until = tenant.status.cancelled_at, tenant.status.erase_after
    told = told_so_far(tenant)
    if tenant.spec.state is not State.CANCELLED:
        return [UNDONE] if since is None and CANCELLED in told else []
    if since is None or until is None or now >= until:
        return []
    lead = [name for name, before in DAYS_LEFT.items() if until - since > before and now >= until - before]
    return [name for name in (CANCELLED, *lead) if name not in told]


def recipients(tenant: ElinkTenant) -> Sequence[str]:
    """The contacts; without any the master account."""
    return tenant.spec.contacts.emails or (tenant.spec.master_account.email,)


def build_letter(tenant: ElinkTenant, letter: str, *, sender: str, to: str, now: datetime) -> EmailMessage:
    """One mail to one contact. The same letter has the same Message-ID: a second copy is known as such."""
    language, until = tenant.spec.language, tenant.status.erase_after
    facts = {
        "name": tenant.spec.display_name,
        "url": tenant.status.url,
        "date": _date(language, until) if until else "",
    }
    text = _BACK[language] if letter == UNDONE else _OPENING[language][letter] + _DEADLINE[language]
    mail = EmailMessage()
    mail["From"] = Address("elink", addr_spec=sender)
    mail["To"] = Address(addr_spec=to)
    mail["Subject"] = _SUBJECTS[language][letter]
    mail["Date"] = format_datetime(now.astimezone(JST))
    cycle = tenant.status.cancellation.at if letter == UNDONE and tenant.status.cancellation else until
    identity = naming.digest(f"{tenant.metadata.uid} {letter} {cycle} {to}", 32)
    mail["Message-ID"] = f"<{identity}@{sender.rpartition('@')[2]}>"
    mail["Auto-Submitted"] = "auto-generated"
    mail["Content-Language"] = language.value
    mail.set_content((_GREETING[language] + text + _FOOT[language]).format_map(facts), cte="base64")
    return mail


def _date(language: Language, moment: datetime) -> str:
    local = moment.astimezone(JST)
    return f"{local:%Y年%m月%d日 %H:%M}" if language is Language.JA else f"{local:%Y-%m-%d %H:%M}"
