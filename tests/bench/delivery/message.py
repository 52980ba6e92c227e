"""The mail of the benchmark: 8 kB of Japanese in two parts, with a name and an unsubscribe link per person."""

from __future__ import annotations

_SENTENCE = "いつも格別のご高配を賜り、厚く御礼申し上げます。年末年始の営業日と新商品のご案内をお送りいたします。"
_ROW = '<tr><td style="padding:8px">{0}</td><td style="padding:8px"><a href="https://www.sakura.example/p/{1}">詳細</a></td></tr>'

SUBJECT = "{{氏名|お客様}}様へ 年末のご案内"
TEXT = (
    "{{氏名|お客様}} 様\n\n"
    + "\n".join(f"{number}. {_SENTENCE}" for number in range(13))
    + "\n\n{{氏名|お客様}}様のご利用をお待ちしております。\n配信停止: {{配信停止URL}}\n"
)
HTML = (
    "<!doctype html><html><body><p>{{氏名|お客様}} 様</p><table>"
    + "".join(_ROW.format(_SENTENCE, number) for number in range(21))
    + "</table><p>{{氏名|お客様}}様のご利用をお待ちしております。</p>"
    + '<a href="{{配信停止URL}}">配信停止</a></body></html>'
)
