"""The lenient reader of answers, used by evaluation; rewards use the strict grammar of `evidence`.

Every function takes any text, needs time linear in its length and never raises. An answer that cannot be
read for certain is not read: a missing letter or number is better than a wrong one.
"""

# ruff: noqa: RUF001 (full-width and other look-alike characters are what models write)

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Iterator, Sequence
from string import ascii_lowercase, ascii_uppercase
from typing import Any

from openo3.core.evidence import second_key
from openo3.core.geometry import NORMALISED, BoxSpace, Span
from openo3.core.schema import Box

_HEAD_CHARS = 10_000  # an answer is found at the start or at the end of a long text
_FAR_SECONDS = 1e9
_FAR_FRAMES = 1e6
_JSON_ATTEMPTS = 64
_JSON_START = re.compile(r"[{\[]")

# --- blocks -----------------------------------------------------------------------------------------------

_TAG = re.compile(r"<\s{0,4}(/?)\s{0,4}(think|thinking|answer)\s{0,4}>", re.IGNORECASE)
_END_TOKEN = re.compile(r"<\|[a-z_]{1,20}\|>")
_FENCE = re.compile(r"```[a-zA-Z]{0,10}")


def final_answer(text: str) -> str:
    """The answer of a completion, without its reasoning.

    The last complete `<answer>` after the reasoning, else an `<answer>` that is cut off, else the text after
    the last `</think>`, else the text. Reasoning that is cut off has no answer.

    >>> final_answer("<think>First <answer>A</answer>, but no</think><answer>B</answer>")
    'B'
    """
    tags = [(found.start(), found.end(), found[1] + found[2].lower()[:5]) for found in _TAG.finditer(text)]
    closed = max((index for index, tag in enumerate(tags) if tag[2] == "/think"), default=-1)
    after = tags[closed + 1 :]
    begin = tags[closed][1] if closed >= 0 else 0
    opened = next((index for index, tag in enumerate(after) if tag[2] == "think"), None)
    end = len(text)
    if opened is not None:
        unclosed = after[opened][0]
        if _has_answer(after[:opened]) or text[begin:unclosed].strip():
            end, after = unclosed, after[:opened]
        else:  # reasoning that is never closed: only an answer that ends the text is one
            said = _last_answer(text, after, end)
            last = after[-1]
            return said if last[2] == "/answe" and not _tidy(text[last[1] :]) else ""
    if closed >= 0 and not after and not _tidy(text[begin:end]):
        first = next((index for index, tag in enumerate(tags) if tag[2] == "think"), 0)
        return _last_answer(text, tags[:first], tags[first][0])  # the reasoning follows the answer
    said = _last_answer(text, after, end)
    if said or _has_answer(after):
        return said
    return _tidy(_TAG.sub("", text[begin:end]))


def _has_answer(tags: Sequence[tuple[int, int, str]]) -> bool:
    return any(name == "answe" for _, _, name in tags)


def _last_answer(text: str, tags: Sequence[tuple[int, int, str]], end: int) -> str:
    """The last complete block that is not empty, else the one that is cut off at `end`."""
    said, opened = "", None
    for start, stop, name in tags:
        if name == "answe":
            opened = stop
        elif name == "/answe" and opened is not None:
            said, opened = _tidy(text[opened:start]) or said, None
    return said or (_tidy(text[opened:end]) if opened is not None else "")


def _tidy(text: str) -> str:
    return _END_TOKEN.sub("", text).strip()


# --- choices ----------------------------------------------------------------------------------------------

_WORD = r"A-Za-z0-9À-ɏЀ-ӿ"
_MARKUP = re.compile(r"\*\*|__|`+|\$|\\[()\[\]]|^[ \t]{0,4}#{1,6}[ \t]|^[ \t]{0,4}>[ \t]", re.MULTILINE)
_COMMAND = re.compile(r"\\(?:text|textbf|textit|mathrm|mathbf|mathsf|mathbb|rm|bf)\s{0,4}\{([^{}]{0,500})\}")
_BOXED = re.compile(r"\\f?box(?:ed)?\s{0,4}\{([^{}]{0,500})\}")
_OPEN = r"[\s(\[{<\"'“”‘’«„*【「『〔]{0,6}"
_CLOSE = r"[\s)\]}>\"'“”‘’»*】」』〕]{0,6}"
_ALONE = re.compile(rf"{_OPEN}([A-Za-z]){_CLOSE}[\s.,:;!。、,]{{0,4}}{_CLOSE}")
_AT = re.compile(rf"({_OPEN})([A-Z])(?![{_WORD}_]|['’][A-Za-z])({_CLOSE})")
_AT_LOWER = re.compile(
    r"[(\[【]\s{0,2}([a-z])\s{0,2}[)\]】]|([a-z])\s{0,2}\)|([a-z])(?=\s{0,3}(?:[.。]?\s{0,3}$|[\n,;]))"
)
_SPACED = (
    r"(?:is|was|because|since|as it|as the|with|seems|—|–|-|\(|ist|weil|da|est|car|parce|es|"
    r"porque|è|perché|é|pois|потому|так как|因为|なので|です|입니다)"
)
_AFTER = re.compile(
    rf"\s{{0,4}}(?:$|\n|[.:)\]、。,;!](?=\s|$|[^{_WORD}\s.])|[—–](?=\s)|-(?=\s)|\({''}|(?:{_SPACED})(?![{_WORD}])|[^\x00-\u2fff])",
    re.IGNORECASE,
)
_ALSO = re.compile(  # another letter beside it: "A or B", "A, B and C"
    r"\s{0,4}[.)]?\s{0,4}(?:/|,|&|、|or|and|und|oder|et|ou|o|y|e|и|или|和|或|또는|と|か)\s{0,4}"
    rf"(?:(?:or|and|maybe|perhaps|possibly)\s){{0,2}}(?:option\s)?\(?[A-Z](?![{_WORD}'])\)?(?!\s(?!(?:or|and|und|oder|et|ou|o|"
    rf"y|e)\s)[a-z])"
)
_DENIES = re.compile(
    r"\s{0,4}(?:is|are|was|seems|looks|ist|est|es|è|é|不|は)\s{0,4}(?:not|n't|wrong|incorrect|"
    r"false|nicht|falsch|pas|no |non |não|不|错)|"
    r"\s{0,4}(?:isn't|isn’t|不是|不对|错误|(?:가|이|는|은)\s?아[니닙]|"
    r"では?(?:ない|なく|ありません)|でない|is definitely not|n'est pas|no es|не )",
    re.IGNORECASE,
)
_RIGHT = (
    r"(?:the |la |die |le |a |el |eine |una |une )?(?:most likely |bonne |best |"
    r"only )?(?:correct|right|best|answer|richtig|correcta|correcto|correcte|"
    r"corretta|corretto|correta|respuesta|réponse|resposta|risposta|certa|esatta|giusta|"
    r"korrekt|juste|exacte|antwort|правильн|верн)"
)
_IS_RIGHT = re.compile(
    rf"(?:^|[.!?\n,;:。，]|\b(?:so|thus|therefore|that|think|"
    rf"believe))\s{{0,4}}(?:(?:the )?(?:option|choice|answer|letter|die antwort|la opción|"
    rf"la réponse|вариант|选项|选择)\s)?"
    rf"{_OPEN}([A-Z])(?![{_WORD}_]){_CLOSE}\s{{0,4}}(?:"
    rf"(?:is|must be|would be|seems|ist|est|es|è|é|—|–|-)\s{{0,3}}{_RIGHT}"
    r"|(?:是|为|項|项)?(?:正确|對|对的|正確)|(?:が|は|が、)(?:正解|正しい|答え)|(?:가|이|는|은)\s{0,2}(?:정답|맞|답|옳))",
    re.IGNORECASE,
)
_ANSWER = re.compile(
    r"(?<![A-Za-zÀ-ɏЀ-ӿ])(?:answers?|ans|conclusion|antwort|lösung|respuesta|réponse|reponse|"
    r"resposta|risposta|ответ)(?![A-Za-zÀ-ɏЀ-ӿ])"
    r"|정답|답변|답|答案|答え|正解|【答案】|解答|回答|答|应选|应该选|故选|選ぶ",
    re.IGNORECASE,
)
_OPTION = re.compile(
    r"(?<![A-Za-zÀ-ɏЀ-ӿ])(?:option|choice|letter|choose|select|pick|opción|opcion|opção|opcao|opzione|"
    r"вариант|выбираю|elijo|escolho|scelgo|choisis|wähle|buchstabe|letra|lettre|lettera)(?![A-Za-zÀ-ɏЀ-ӿ])"
    r"|(?<![A-Za-zÀ-ɏЀ-ӿ])it(?: is|['’]s| must be| would be)(?![A-Za-z])"
    r"|选项|選択肢|选择|选|選|옵션|선택",
    re.IGNORECASE,
)
_LINK = re.compile(
    r"[\s:=\-–—>→]{1,6}|(?:is|was|are|would be|should be|must be|will be|be|to (?:the|this) question|here|"
    r"correct|right|best|final|final answer|definitely|likely|most likely|probably|clearly|therefore|thus|"
    r"the|option|choice|letter|"
    r"es|ist|lautet|wäre|est|é|è|foi|sería|serait|sarebbe|seria|la|le|die|der|das|el|il|lo|"
    r"a letra|a opção|a alternativa|die option|"
    r"correcta|correcto|correcte|correta|corretta|correct|richtige|finale|final|certa|esatta|giusta|bonne|"
    r"opción|opção|opzione|variante|letra|lettre|lettera|buchstabe|вариант|правильный|это|является|"
    r"alternativa|réponse)(?=[\s:=\-–—>→(\[{\"'*]|$)"
    r"|[是为為はがも은는이가:选選应該该]|选项|選択肢|应该|옵션|选择|番",
    re.IGNORECASE,
)
_LAST = re.compile(
    rf"(?:[,:，]|\bis)(?:\s{{0,4}}(?:it is|it's|also|so))?\s{{0,4}}{_OPEN}([A-Z]){_CLOSE}[\s.!。]{{0,4}}"
)
_STANDING = re.compile(rf"(?<![{_WORD}_'’-])([A-Z])(?![{_WORD}_'’-])")
_DENIED = re.compile(
    r"(?i:\b(?:not|neither|nor|never|wrong|incorrect|except)\b|n['’]t\b|不|ない|nicht|ningun|не\b)"
)
_LISTED = re.compile(r"^[ \t*(\-\[]{0,6}([A-Z])[ \t]{0,2}[.):、\]][ \t*]{0,4}(?=\S)", re.MULTILINE)
_MARKED = re.compile(r"(?<!\S)\(?([A-Z])[:)]\s")
_ANSWER_KEYS = frozenset(
    [
        "answer",
        "final_answer",
        "final",
        "answer",
        "choice",
        "option",
        "letter",
        "selected",
        "selected_option",
        "correct_option",
        "correct_answer",
        "prediction",
        "pred",
        "response",
        "result",
        "答案",
        "选项",
        "antwort",
        "respuesta",
        "réponse",
        "정답",
        "答え",
        "ответ",
        "resposta",
        "risposta",
    ]
) | {"final answer", "correct answer", "correct option", "best answer"}
_ARTICLE = re.compile(r"(?:a|an|the) ")


def read_choice(text: str, options: Sequence[str]) -> tuple[str, str]:
    """The letter that an answer chooses and the rule that read it: `("B", "called")`, or `("", "")`.

    Rules: `boxed`, `json`, `alone`, `called` (an answer or option is called by its letter), `led` (the
    letter starts the answer), `last` (the only letter, at the end), `words` (an option's own words). An
    explicit letter wins over words. An answer that names several options or none gives `("", "")`.

    >>> [read_choice(said, ["a cat", "a dog"])[0] for said in ("**B**", "Antwort: B", "A dog!", "A or B")]
    ['B', 'B', 'B', '']
    """
    return _Options(options).read(_shortened(final_answer(text)), 3)


class _Options:
    def __init__(self, options: Sequence[str]) -> None:
        self.plain = dict(zip(ascii_uppercase, map(_plain, options), strict=False))

    def read(self, text: str, depth: int) -> tuple[str, str]:
        said = unicodedata.normalize("NFKC", text).translate(_SAME)
        while (bare := _COMMAND.sub(r"\1", said)) != said and len(bare) < len(said) and depth:
            said, depth = bare, depth - 1
        if boxed := _BOXED.findall(said):
            letter, _ = self.read(boxed[-1], depth - 1) if depth > 0 else ("", "")
            return (letter, "boxed") if letter else ("", "")
        values = list(_answers_of_json(said)) if depth > 0 else []
        if values:
            letter = self.read(values[-1], 0)[0]
            return (letter, "json") if letter else ("", "")
        said = _MARKUP.sub("", _FENCE.sub("", said)).strip("|_\u200b\ufeff \t\r\n").removeprefix("- ")
        if alone := _ALONE.fullmatch(said):
            return self.known(alone[1].upper(), "alone")
        if worded := self.words(said):
            return worded, "words"
        called = self.called(said)
        if called is not None:
            led = self.led(said)
            if called and (not led or led == called or self.recited(said)):
                return self.known(called, "called")
            return "", ""
        if not self.recited(said):
            led = self.led(said)
            if led is not None:
                return self.known(led, "led")
        return self.closing(said)

    def known(self, letter: str, rule: str) -> tuple[str, str]:
        return (letter, rule) if letter in self.plain else ("", "")

    def words(self, phrase: str) -> str:
        """The letter of the one option with these words; its article may be missing."""
        own = _plain(phrase[:2000])
        if not own or own in ascii_lowercase:
            return ""
        named = [letter for letter, option in self.plain.items() if own == option]
        named = named or [
            key for key, option in self.plain.items() if own == _ARTICLE.sub("", option, count=1)
        ]
        return named[0] if len(named) == 1 else ""

    def called(self, said: str) -> str | None:
        """The letter that the text calls its answer, "" for several, `None` for none."""
        for found in reversed([*_ANSWER.finditer(said)][-50:]):
            letter = self.at(said, self.after_link(said, found.end()))
            if letter is not None:
                return letter
        right = {found[1] for found in _IS_RIGHT.finditer(said) if found[1].isupper()}
        if right:
            return right.pop() if len(right) == 1 else ""
        letters = set()
        for found in [*_OPTION.finditer(said)][-50:]:
            letter = self.at(said, self.after_link(said, found.end()))
            if letter is not None:
                letters.add(letter)
        return None if not letters else letters.pop() if len(letters) == 1 else ""

    def after_link(self, said: str, start: int) -> int:
        for _ in range(10):
            found = _LINK.match(said, start)
            if not found or self.starts_option(said, start):
                return start
            start = found.end()
        return start

    def starts_option(self, said: str, start: int) -> bool:
        return bool(self.words(_line(said, start)))

    def led(self, said: str) -> str | None:
        return self.at(said, 0)

    def at(self, said: str, start: int) -> str | None:
        """The letter or option that stands at `start`: "" for several or a denied one, `None` for none."""
        line = _line(said, start)
        if worded := self.words(line):
            return worded
        sentence = re.split(r"[.!?。](?:\s|$)|[;\n]", line, maxsplit=1)[0]
        if worded := self.words(sentence) if len(sentence) > 2 else "":
            return worded
        found = _AT.match(said, start)
        if not found:
            lower = _AT_LOWER.match(said, start)
            return next(group for group in lower.groups() if group).upper() if lower else None
        opening, letter, closing = found.groups()
        end = found.end()
        rest = said[found.end(2) : found.end(2) + 300]
        bracketed = bool(opening.strip(" \n\"'")) and bool(closing.strip())
        tail = _plain(re.sub(r"^[\s.:)\]\-–—、,>}\"'】]{1,6}", "", _line(said, found.end(2))))
        own = self.plain.get(letter, "")
        if (
            own
            and (tail == own or tail.startswith(own + " ") or tail.startswith((own + ".", own + ",")))
            and (len(own) > 1)
        ):
            return letter
        if _DENIES.match(rest.lstrip(")]}>\"' ")):
            return ""
        if _ALSO.match(rest) or (bracketed and _ALSO.match(said[end : end + 60])):
            return ""
        if bracketed:
            return letter
        if self.conflicts(letter, line):
            return None
        if letter == "I" and not re.match(r"\s*[.)。]?\s*(?:$|\n)", rest):
            return None
        return letter if _AFTER.match(rest) or re.match(r"[)\]}>\"'】」]", rest) else None

    def conflicts(self, letter: str, line: str) -> bool:
        """Whether the line starts with the words of another option that begins with this very letter."""
        plain = _plain(line)
        return any(
            len(option) > 1
            and key != letter
            and option.startswith(letter.lower())
            and plain.startswith(option)
            for key, option in self.plain.items()
        )

    def recited(self, said: str) -> bool:
        if len(set(_LISTED.findall(said))) > 1:
            return True
        if len(set(_MARKED.findall(said))) > 1:
            return True
        plain = _plain(said)
        told = sum(
            any(f"{key.lower()}{mark}{option}" in plain for mark in (". ", ") ", ": ", "、", "."))
            for key, option in self.plain.items()
            if option
        )
        return told > 1

    def closing(self, said: str) -> tuple[str, str]:
        lines = said.splitlines()
        if lines and (alone := _ALONE.fullmatch(lines[-1])) and alone[1].isupper():
            return self.known(alone[1], "last")
        letters = set(_STANDING.findall(said)) - ({"I"} if "I " in said else set())
        found = _LAST.search(said, max(len(said) - 60, 0))
        if found and found.end() == len(said) and letters == {found[1]} and not _DENIED.search(said):
            return self.known(found[1], "last")
        return "", ""


_SAME = str.maketrans("“”„«»‘’", '"""""\'\'')


def _plain(text: str) -> str:
    """A text without what does not tell options apart: case, width, white space, the end of a sentence."""
    folded = unicodedata.normalize("NFKC", text).translate(_SAME).casefold()
    return " ".join(folded.split()).strip(" .!\"'。,:()")


def _line(text: str, start: int) -> str:
    end = text.find("\n", start, start + 2000)
    return text[start : end if end >= 0 else start + 2000]


def _shortened(text: str) -> str:
    return text if len(text) <= 2 * _HEAD_CHARS else f"{text[:_HEAD_CHARS]}\n…\n{text[-_HEAD_CHARS:]}"


# --- JSON -------------------------------------------------------------------------------------------------


class _Object(list):
    """A JSON object as its (key, value) pairs, repeated keys included."""


_DECODER = json.JSONDecoder(object_pairs_hook=_Object)


def _json_values(text: str) -> Iterator[Any]:
    """Every JSON object or list of a text, of as many as a bounded number of attempts finds."""
    start = 0
    for _ in range(_JSON_ATTEMPTS):
        found = _JSON_START.search(text, start)
        if not found:
            return
        try:
            value, start = _DECODER.raw_decode(text, found.start())
        except (ValueError, RecursionError):
            start = found.end()
        else:
            yield value


def _answers_of_json(text: str) -> Iterator[str]:
    for value in _json_values(text):
        for pairs in [value] if isinstance(value, _Object) else [v for v in value if isinstance(v, _Object)]:
            for key, said in pairs:
                if str(key).strip().lower() in _ANSWER_KEYS:
                    said = said[0] if isinstance(said, list) and len(said) == 1 else said
                    if isinstance(said, str):
                        yield said


# --- times ------------------------------------------------------------------------------------------------

_UNITS = {
    0.001: r"ms|msecs?|milliseconds?|毫秒|ミリ秒|밀리초|мс",
    1.0: r"seconds?|secs?\.?|s|sekunden?|sek\.?|secondes?|segundos?|segs?\.?|secondi|secondo|"
    r"секунд[аыу]?|сек\.?|с|秒钟|秒鐘|秒|초",
    60.0: r"minutes?|mins?\.?|m|minuten?|minutos?|minuti|minuto|минут[аыу]?|мин\.?|分钟|分鐘|分|분",
    3600.0: r"hours?|hrs?|h|stunden?|heures?|horas?|ore|ora|час(?:а|ов)?|小时|小時|時間|时|시간",
}
_UNIT = "|".join(f"(?P<u{index}>{names})" for index, names in enumerate(_UNITS.values()))
_SCALES = dict(zip((f"u{index}" for index in range(len(_UNITS))), _UNITS, strict=True))
_TIME_TAG = re.compile(r"</?\s{0,4}(?:t|time)\s{0,4}>", re.IGNORECASE)
_CLAIMED = re.compile(r"<obj>[^<]*</obj>(?:\s{0,4}<box>[^<]*</box>){1,64}", re.IGNORECASE)
_JOINED = re.compile(
    r"(?<![A-Za-zÀ-ɏЀ-ӿ])(to|bis|a|à|до|until|till)(?=\s{0,4}\.?[0-9])|(?<=s)(to)(?=\s{0,4}[0-9])",
    re.IGNORECASE,
)
_ATTACHED = re.compile(r"(?<=[0-9])(h|min|m)(?=[0-9])", re.IGNORECASE)  # 1m05s
_DIGITS = r"(?:[0-9]{1,15}(?:\.[0-9]{0,20})?|\.[0-9]{1,20})"
_TIME = re.compile(
    rf""
    rf"(?<![A-Za-zÀ-ɏЀ-ӿ_.:0-9])(?:(?:(?P<h>[0-9]{{1,9}}):)?(?P<m>[0-9]{{1,9}}):(?P<s>[0-9]{{1,2}}(?:[.,][0-9]{{1,20}})?)"
    rf"|(?P<n>{_DIGITS}(?:e[+-]?[0-9]{{1,2}})?))(?!:?[0-9])"
    rf"(?:\s{{0,3}}(?:{_UNIT})(?![A-Za-zÀ-ɏЀ-ӿ_]))?",
    re.IGNORECASE,
)
_COUNTS = re.compile(
    r"(?:frames?|fps|scenes?|events?|steps?|shots?|clips?|segments?|images?|кадр\w{0,3}|帧|フレーム|프레임|场景|#)\s{0,3}#?\s{0,3}$",
    re.IGNORECASE,
)
_MINUTE_OF = re.compile(r"(?:minutes?|min|minuto|hours?|минута|minuta)\s{1,3}$", re.IGNORECASE)
_NOT_SECONDS = re.compile(
    r"\s{0,3}(?:%|°|px|percent|(?:km|cm|mm|kg|people|persons|men|women|times|years?|dollars|euros?|am|pm)\b|frames?(?![a-z])|fps|x\d|帧|个|個|フレーム|프레임|번째|番目|회)|\.[0-9]|[A-Za-zÀ-ɏЀ-ӿ_]|/\s?[0-9]",
    re.IGNORECASE,
)
_START_KEYS = frozenset(
    [
        "start",
        "start_time",
        "start_s",
        "start_sec",
        "start_second",
        "begin",
        "begin_time",
        "from",
        "t_start",
        "t0",
        "t1",
        "开始",
        "开始时间",
    ]
)
_END_KEYS = frozenset(
    ["end", "end_time", "end_s", "end_sec", "end_second", "stop", "finish", "to", "t_end", "结束", "结束时间"]
)
_DECIMAL_COMMA = re.compile(r"(?<![0-9.,:])([0-9]{1,9}),([0-9]{1,9})(?![0-9:]|[.,][0-9])")
_LENGTH = re.compile(r"(?:\(|\[|（|durations?|lasting|total|length|for|共|持续)[^0-9]{0,24}$", re.IGNORECASE)
_AND = re.compile(r"\s{0,3}(?:and|und|et|y|e|и)?\s{0,3}")
_GAP = re.compile(r"[\s\"'.)\]>–—−-]{0,12}")


def read_times(text: str) -> Span | None:
    """The span `(start_s, end_s)` that an answer names, `None` unless it names exactly two times.

    Numbers are seconds unless they have another unit or are clock times. A length that equals the span, as
    in "5 to 12 (7 seconds)", is left out. The span may be inverted.

    >>> read_times("from 0:05 to 1:10"), read_times("1m 5s - 2 min"), read_times("from 3 to 5 or 9")
    ((5.0, 70.0), (65.0, 120.0), None)
    """
    said = unicodedata.normalize("NFKC", _shortened(final_answer(text)))
    for value in _json_values(said):
        if span := _span_of_json(value):
            return span
    said = _JOINED.sub(r" \1\2 ", _TIME_TAG.sub(" ", _CLAIMED.sub(" ", _MARKUP.sub("", said))))
    said = _ATTACHED.sub(r"\1 ", said)
    said, commas = _without_decimal_commas(said)
    times = None if commas is None else _times(said)
    if times is None:
        return None
    if len(times) == 3 and _LENGTH.search(said[: times[2][1]][-40:]):
        length = times[1][0] - times[0][0]
        times = times[:2] if math.isclose(times[2][0], length, abs_tol=0.051) else times
    if len(times) == 4 and [time[0] for time in times[:2]] == [time[0] for time in times[2:]]:
        times = times[:2]
    return (times[0][0], times[1][0]) if len(times) == 2 else None


def _times(said: str) -> list[tuple[float, int]] | None:
    """Every time with its place, `None` if a number is negative or has a unit that is no time."""
    times: list[tuple[float, int]] = []
    parts: list[tuple[float, float | None, int]] = []  # value, scale, end
    for found in _TIME.finditer(said):
        start, end = found.span()
        before = said[max(start - 24, 0) : start]
        if found["n"] and found.lastgroup == "n" and (odd := _NOT_SECONDS.match(said, end)):
            if odd[0].strip().startswith(("%", "°", "/")) or "percent" in odd[0]:
                return None
            continue  # an ordinal, a count of frames, a number inside a word
        if _COUNTS.search(before):
            continue
        if _MINUTE_OF.search(before) and not (parts and parts[-1][2] > start - 4):
            return None
        if before.rstrip().endswith(("-", "−")):
            last = parts[-1][2] if parts else -1
            if last < 0 or not _GAP.fullmatch(said, last, start):
                return None
        scale = next((_SCALES[name] for name in _SCALES if found[name]), None)
        if found["n"]:
            value = float(found["n"]) * (scale or 1.0)
        else:
            value = int(found["h"] or 0) * 3600 + int(found["m"]) * 60 + float(found["s"].replace(",", "."))
            scale = scale or 1.0
        value = min(round(value, 6) if scale != 1.0 and scale else value, _FAR_SECONDS)
        smaller = bool(parts and scale and (parts[-1][1] or 0) > scale >= 1 and found["n"])
        if smaller and _AND.fullmatch(said, parts[-1][2], start):  # 1 minute 5 seconds
            times[-1] = (times[-1][0] + value, times[-1][1])
            parts.append((value, scale, end))
            continue
        times.append((value, start))
        parts.append((value, scale, end))
    if len(times) == len(parts) == 2 and parts[0][1] is None and parts[1][1] not in (None, 1.0):
        times[0] = (times[0][0] * parts[1][1], times[0][1])  # "2 to 3 minutes"
    return times


def _without_decimal_commas(said: str) -> tuple[str, bool | None]:
    """The text with decimal points for decimal commas; `None` where commas may separate thousands."""
    found = _DECIMAL_COMMA.findall(said)
    others = len(re.findall(r"[0-9]+", _DECIMAL_COMMA.sub(" ", said)))
    if not found or len(found) + others != 2:
        return said, False
    if all(len(part) == 3 for _, part in found):
        return said, None
    return _DECIMAL_COMMA.sub(r"\1.\2", said), True


def _span_of_json(value: Any) -> Span | None:
    if isinstance(value, list) and not isinstance(value, _Object):
        return _span_of_json(value[0]) if len(value) == 1 and isinstance(value[0], list) else None
    pairs = {str(key).lower(): item for key, item in value if isinstance(key, str)}
    starts = [_time_of_json(item) for key, item in pairs.items() if key in _START_KEYS]
    ends = [_time_of_json(item) for key, item in pairs.items() if key in _END_KEYS]
    if len(starts) == len(ends) == 1 and starts[0] is not None and ends[0] is not None:
        return starts[0], ends[0]
    return None


def _time_of_json(value: Any) -> float | None:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return min(float(value), _FAR_SECONDS) if 0 <= value < float("inf") else None
    times = _times(unicodedata.normalize("NFKC", value[:100])) if isinstance(value, str) else None
    return times[0][0] if times and len(times) == 1 else None


# --- where ------------------------------------------------------------------------------------------------

_SECOND_KEYS = frozenset(
    [
        "second",
        "seconds",
        "time",
        "timestamp",
        "t",
        "sec",
        "time_s",
        "timestamp_s",
        "frame_time",
        "秒",
        "时间",
    ]
)
_BOX_KEYS = frozenset(["bbox_2d", "bbox", "box", "boxes", "bboxes", "bbox2d", "bounding_box", "coordinates"])
_SIDE_KEYS = (
    ("x1", "y1", "x2", "y2"),
    ("xmin", "ymin", "xmax", "ymax"),
    ("left", "top", "right", "bottom"),
    ("x_min", "y_min", "x_max", "y_max"),
)
_NUMBER = re.compile(
    r"\s{0,9}[-+]?(?:[0-9]{1,320}(?:\.[0-9]{0,320})?|\.[0-9]{1,320})(?:e[-+]?[0-9]{1,3})?\s{0,9}",
    re.IGNORECASE,
)
_BRACKETS = re.compile(r"\[([^][]*)\]")
_KEY = re.compile(
    r"\s{0,3}(?:(?:at|second|seconds|sec|time|t|timestamp|第)\s{0,3}[:=]?\s{0,3})?"
    r"(?:([0-9]{1,9}):)?(?:([0-9]{1,9}):)?([0-9]{1,9}(?:\.[0-9]{1,9})?)\s{0,3}(?:s|secs?\.?|seconds?|秒|초)?\s{0,3}",
    re.IGNORECASE,
)
_WHERE = re.compile(
    r"(?<![\w.:-])(?:([0-9]{1,9}):)?(?:([0-9]{1,9}):)?([0-9]{1,9}(?:\.[0-9]{1,9})?)"
    r"(?:\s{0,3}(?:s|secs?|seconds?|秒|초))?[\"']?\s*[:：]\s*[\"']?(\[(?:[\s,]*\[[^][]*\])+|\[[^][]*\])",
    re.IGNORECASE,
)
_CLAIM = re.compile(
    r""
    r"<obj>[^<]*</obj>((?:\s{0,4}<box>[^<]*</box>)+)\s{0,4}at\s{0,4}<t>\s{0,4}([0-9]{1,9}(?:\.[0-9]{0,9})?)\s{0,2}s?\s{0,4}</t>"
)
_BOX_TAG = re.compile(r"</?\s{0,4}(?:box|t)\s{0,4}>", re.IGNORECASE)
_ROUND = re.compile(r"\(([-+0-9.,\s]{7,200})\)")


def read_where(text: str, space: BoxSpace = NORMALISED) -> dict[str, list[Box]]:
    """Boxes by second of a where-answer, written in `space`; normalised.

    JSON is read as JSON: an object by second, or objects that name their second and box. Claims of the
    evidence grammar are read too. Of everything else, `SECOND: [x1,y1,x2,y2]` is read wherever it stands.

    >>> read_where('Here: ```{"3": [0,0,500,500], "4s": [[0,0,9', BoxSpace("relative_1000"))
    {'3': [(0.0, 0.0, 0.5, 0.5)]}
    """
    said = final_answer(text)
    pairs: list[tuple[float, list[Box]]] = []
    for value in _json_values(said):
        pairs += _where_of_json(value, space)
    if not pairs:
        for boxes, second in _CLAIM.findall(said):
            pairs.append((float(second), _boxes_of_text(boxes, space)))
    if not pairs:
        plain = said.translate(_SAME).replace("**", "").replace("`", "")
        plain = _ROUND.sub(r"[\1]", _BOX_TAG.sub("", plain))
        for *clock, boxes in _WHERE.findall(plain):
            pairs.append((_clock_s(*clock), _boxes_of_text(boxes, space)))
    where: dict[str, list[Box]] = {}
    for second, boxes in pairs:
        if boxes:
            where.setdefault(second_key(second), []).extend(boxes)
    return where


def _where_of_json(value: Any, space: BoxSpace) -> list[tuple[float, list[Box]]]:
    if not isinstance(value, _Object):
        return [pair for item in value if isinstance(item, list) for pair in _object_where(item, space)]
    return _object_where(value, space)


def _object_where(value: list, space: BoxSpace) -> list[tuple[float, list[Box]]]:
    if not isinstance(value, _Object):
        return []
    seconds = [item for key, item in value if key.lower() in _SECOND_KEYS]
    boxes = [item for key, item in value if key.lower() in _BOX_KEYS]
    if len(seconds) == 1:
        second = _second(str(seconds[0]))
        named = boxes or [_Object(pair for pair in value if pair[0].lower() not in _SECOND_KEYS)]
        return [] if second is None else [(second, [b for item in named for b in _boxes(item, space, 4)])]
    return [(second, _boxes(item, space, 4)) for key, item in value if (second := _second(key)) is not None]


def _second(key: str) -> float | None:
    found = _KEY.fullmatch(key)
    return _clock_s(*found.groups()) if found else None


def _clock_s(hours: str | None, minutes: str | None, seconds: str) -> float:
    if hours and not minutes:
        hours, minutes = None, hours
    return min(int(hours or 0) * 3600 + int(minutes or 0) * 60 + float(seconds), _FAR_SECONDS)


def _boxes(value: Any, space: BoxSpace, depth: int) -> list[Box]:
    """Every box of a JSON value."""
    if depth == 0:
        return []
    if isinstance(value, str):
        return _boxes_of_text(value, space)
    if isinstance(value, _Object):
        named = {str(key).lower(): item for key, item in value}
        for sides in _SIDE_KEYS:
            if all(side in named for side in sides):
                return _box([named[side] for side in sides], space)
        return [
            box for key, item in named.items() if key in _BOX_KEYS for box in _boxes(item, space, depth - 1)
        ]
    if not isinstance(value, list):
        return []
    if len(value) == 4 and not any(isinstance(item, list) for item in value):
        return _box(value, space)
    corners = [
        isinstance(point, list) and len(point) == 2 and not isinstance(point, _Object) for point in value
    ]
    if len(corners) == 2 and all(corners):
        return _box([*value[0], *value[1]], space)
    return [box for item in value if isinstance(item, list) for box in _boxes(item, space, depth - 1)]


def _boxes_of_text(text: str, space: BoxSpace) -> list[Box]:
    return [box for content in _BRACKETS.findall(text) for box in _box(content.split(","), space)]


def _box(numbers: Sequence[Any], space: BoxSpace) -> list[Box]:
    """One box of four numbers or texts of numbers, else none."""
    plain = all(
        _NUMBER.fullmatch(number)
        if isinstance(number, str)
        else type(number) in (int, float) and abs(number) < 1e300
        for number in numbers
    )
    if len(numbers) != 4 or not plain:
        return []
    box = space.to_normalised(tuple(float(number) for number in numbers))
    return [tuple(min(max(value, -_FAR_FRAMES), _FAR_FRAMES) for value in box)]
