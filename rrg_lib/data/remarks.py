"""What is wrong with a collection as a whole, though each of its studies can be read: told when it is prepared, and by
the doctor."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from rrg_lib.data.text.vocabulary import Vocabulary

#: Letters of scripts that put no blank between words: Thai to Khmer, kana, Chinese characters.
_NO_BLANKS = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]")
_DECIMAL, _JOINED = re.compile(r"\d\.\d"), re.compile(r"[a-z]{2}/[a-z]{2}", re.IGNORECASE)
#: The share of words that a vocabulary may not know.
MOST_UNKNOWN = 0.5


class Remark(NamedTuple):
    """How many, of what ("report is …|reports are …"), and what to do."""

    count: int
    subject: str
    advice: str

    def __str__(self) -> str:
        return f"{counted(self.count, self.subject)}. {self.advice}"


def counted(count: int, subject: str) -> str:
    """ "1 image", "2,000 images" for what is "image|images"."""
    return f"{count:,} {subject.partition('|')[0] if count == 1 else subject.rpartition('|')[2]}"


def remarks_on_reports(reports: Sequence[str], vocabulary: Vocabulary) -> list[Remark]:
    """What cleaning and vocabulary make of one's own training reports that nobody would want."""
    remarks, protocol = [], vocabulary.protocol
    words = Counter(word for report in reports for word in protocol.clean(report).split() if word != ".")
    total, known = sum(words.values()), set(vocabulary.tokens)
    unknown = sum(count for word, count in words.items() if word not in known)
    if unblanked := sum(len(_NO_BLANKS.findall(report)) > len(report) / 5 for report in reports):
        remarks.append(
            Remark(
                unblanked,
                "report has no blanks between its words, by which words are told|reports have no blanks between their "
                "words, by which words are told",
                "Put blanks there first, by a segmenter of that language.",
            )
        )
    if total and unknown > MOST_UNKNOWN * total:
        remarks.append(
            Remark(
                unknown,
                f"of {total:,} words of the training reports is too rare to be learnt, and stands as <unk>|of "
                f"{total:,} words of the training reports are too rare to be learnt, and stand as <unk>",
                f"A word is learnt that occurs {protocol.threshold} times: more reports, or another cleaning.",
            )
        )
    if protocol.cleaning != "clinical":
        for pattern, subject in (
            (_DECIMAL, "a decimal number, whose point goes: 1.5 cm becomes 15 cm"),
            (_JOINED, "words with a slash between them, which become one: effusion/edema, effusionedema"),
        ):
            if many := sum(bool(pattern.search(report)) for report in reports):
                remarks.append(
                    Remark(
                        many,
                        f"report has {subject}|reports have {subject}",
                        f"That is how {protocol.name} was published; for reports of your own: --protocol clinical.",
                    )
                )
    return remarks
