"""Which option an answer chooses."""

# ruff: noqa: RUF001 (full-width and other look-alike characters are what models write)

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from string import ascii_lowercase, ascii_uppercase

from openo3.core.reading.final import final_answer
from openo3.core.reading.json_values import JsonObject, json_values
from openo3.core.reading.texts import MARKUP, SAME, shortened

_FENCE = re.compile(r"```[a-zA-Z]{0,10}")
_WORD = r"A-Za-z0-9À-ɏЀ-ӿ"
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
    r"(?:is|was|because|since|as it|as the|with|seems|—|–|-(?!>)|\(|ist|weil|da|est|car|parce|es|"
    r"porque|è|perché|é|pois|потому|так как|因为|なので|です|입니다|wählen|nehmen|sagen|"
    r"it is(?=[\s.!]{0,4}$))"
)
_AFTER = re.compile(
    rf"\s{{0,4}}(?:$|\n|[.:)\]、。,;!](?=\s|$|[^{_WORD}\s.])|[—–](?=\s)|-(?=\s)|\(|(?:{_SPACED})(?![{_WORD}])|[^\x00-\u2fff])",
    re.IGNORECASE,
)
_ALSO = re.compile(  # another letter beside it: "A or B", "A, B and C"
    r"\s{0,4}[.)]?\s{0,4}(?:/|,|&|、|or|and|und|oder|et|ou|o|y|e|и|или|和|或|또는|と|か)\s{0,4}"
    rf"(?:(?:or|and|maybe|perhaps|possibly)\s){{0,2}}(?:option\s)?\(?[A-Z](?![{_WORD}'])\)?(?!\s(?!(?:or|and|und|oder|et|ou|o|"
    rf"y|e)\s)[a-z])"
)
_DENIES = re.compile(
    r"\s{0,4}(?:is|are|was|seems|looks|ist|est|es|è|é|不|は)\s{0,4}(?:not|n't|wrong|incorrect|"
    r"false|unlikely|impossible|(?:the )?(?:least|less)|(?:ruled )?out|excluded|"
    r"nicht|falsch|pas|no |non |não|不|错)|"
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
    r"(?<![A-Za-zÀ-ɏЀ-ӿ])(?:answers?|ans\.?|conclusion|antwort|lösung|respuesta|réponse|reponse|"
    r"resposta|risposta|ответ)(?![A-Za-zÀ-ɏЀ-ӿ])"
    r"|정답|답변|답|答案|答え|正解|【答案】|解答|回答|答|应选|应该选|故选|選ぶ",
    re.IGNORECASE,
)
_OPTION = re.compile(
    r"(?<![A-Za-zÀ-ɏЀ-ӿ])(?:option|choice|letter|choose|select|pick|opción|opcion|opção|opcao|opzione|"
    r"вариант|выбираю|elijo|escolho|scelgo|choisis|wähle|nehme|würde|dirais|diría que|diria que|direi|"
    r"buchstabe|letra|lettre|lettera|go(?:ing)? (?:for|with)|went with|opt(?:ing)? for|vote(?: for)?|"
    r"settle on|stick(?:ing)? with|lean(?:ing)? towards?|would say|i['’]d say|"
    r"i (?:think|believe|guess|suspect)(?: that)?)"
    r"(?![A-Za-zÀ-ɏЀ-ӿ])"
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
    r"alternativa|réponse|it is|it['’]s|its|probably|perhaps|maybe)(?=[\s:=\-–—>→(\[{\"'*]|$)"
    r"|\(?[0-9]{1,2}[.):](?![0-9])"
    r"|[是为為はがも은는이가:选選应該该]|选项|選択肢|应该|옵션|选择|番",
    re.IGNORECASE,
)
_LAST = re.compile(
    rf"(?:[,:，→⇒]|[=-]>|\bis)(?:\s{{0,4}}(?:it is|it's|also|so))?"
    rf"\s{{0,4}}{_OPEN}([A-Z]){_CLOSE}[\s.!。]{{0,4}}"
)
_LEAD = re.compile(  # what stands before an answer and says nothing about it
    r"(?:[=\-–—]{1,2}>|[→⇒⟶➡∴✅✔☑👉•·●▪◦*+>]\ufe0f?)\s{0,4}"
    r"|\(?[0-9]{1,2}[.):]\)?(?![0-9])\s{0,4}(?=\S)"
    r"|(?:so|thus|hence|therefore|probably|most likely|likely|definitely|clearly|certainly|maybe|perhaps|"
    r"obviously|surely)[,:]?\s{1,4}",
    re.IGNORECASE,
)
_NUMBERED = re.compile(r"(?<!\S)\(?[0-9]{1,2}[.):](?![0-9])")
_NEGATED = re.compile(
    r"(?:\b(?:not|never|nicht|cannot|without|rule out|than)|n['’]t)\s{1,4}(?:[a-z]{1,12}\s{1,4}){0,2}$",
    re.IGNORECASE,
)
_TRAILING = re.compile(r"[(\[【]\s{0,2}([A-Z])\s{0,2}[)\]】][\s.!。]{0,4}")
_STANDING = re.compile(rf"(?<![{_WORD}_'’-])([A-Z])(?![{_WORD}_'’-])")
_DENIED = re.compile(
    r"(?i:\b(?:not|neither|nor|never|wrong|incorrect|except|unlikely|impossible|least)\b|n['’]t\b|不|ない|nicht|ningun|не\b)"
)
_LISTED = re.compile(r"^[ \t*(\-\[]{0,6}([A-Z])[ \t]{0,2}[.):、\]][ \t*]{0,4}(?=\S)", re.MULTILINE)
_MARKED = re.compile(r"(?<!\S)\(?([A-Z])[:)]\s")
_ANSWER_KEYS = frozenset(
    [
        "answer",
        "final_answer",
        "final",
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
    return _Options(options).read(shortened(final_answer(text)), 3)


class _Options:
    def __init__(self, options: Sequence[str]) -> None:
        self.plain = dict(zip(ascii_uppercase, map(_plain, options), strict=False))

    def read(self, text: str, depth: int) -> tuple[str, str]:
        said = unicodedata.normalize("NFKC", text).translate(SAME)
        while (bare := _COMMAND.sub(r"\1", said)) != said and len(bare) < len(said) and depth:
            said, depth = bare, depth - 1
        if boxed := _BOXED.findall(said):
            letter, _ = self.read(boxed[-1], depth - 1) if depth > 0 else ("", "")
            return (letter, "boxed") if letter else ("", "")
        values = list(_answers_of_json(said)) if depth > 0 else []
        if values:
            letter = self.read(values[-1], 0)[0]
            return (letter, "json") if letter else ("", "")
        said = MARKUP.sub("", _FENCE.sub("", said)).strip("|_\u200b\ufeff \t\r\n").removeprefix("- ")
        if alone := _ALONE.fullmatch(said):
            return self.known(alone[1].upper(), "alone")
        if worded := self.words(said):
            return worded, "words"
        bare = self.without_lead(said)
        if bare != said:
            if alone := _ALONE.fullmatch(bare):
                return self.known(alone[1].upper(), "alone")
            if worded := self.words(bare):
                return worded, "words"
            said = bare
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

    def without_lead(self, said: str) -> str:
        """The text without a number, an arrow, a bullet or an adverb before its answer."""
        if len(_NUMBERED.findall(said)) > 1:
            return said  # a list, in which the numbers may be those of the options
        for _ in range(4):
            found = _LEAD.match(said)
            if not found or not said[found.end() :].strip():
                break
            said = said[found.end() :]
        return said

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
            if _NEGATED.search(said, max(found.start() - 40, 0), found.start()):
                continue
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
        named = _TRAILING.search(said, max(len(said) - 12, 0))
        if named and named.end() == len(said) and letters == {named[1]} and not _DENIED.search(said):
            other = self.words(re.sub(_ANSWER.pattern + r"|[:：]", "", said[: named.start()], flags=re.I))
            return self.known(named[1], "last") if other in ("", named[1]) else ("", "")
        found = _LAST.search(said, max(len(said) - 60, 0))
        if found and found.end() == len(said) and letters == {found[1]} and not _DENIED.search(said):
            return self.known(found[1], "last")
        return "", ""


def _plain(text: str) -> str:
    """A text without what does not tell options apart: case, width, white space, the end of a sentence."""
    folded = unicodedata.normalize("NFKC", text).translate(SAME).casefold()
    return " ".join(folded.split()).strip(" .!\"'。,:()")


def _line(text: str, start: int) -> str:
    end = text.find("\n", start, start + 2000)
    return text[start : end if end >= 0 else start + 2000]


def _answers_of_json(text: str) -> Iterator[str]:
    for value in json_values(text):
        items = [value] if isinstance(value, JsonObject) else value
        for item in items:
            for key, said in item if isinstance(item, JsonObject) else ():
                if str(key).strip().lower() in _ANSWER_KEYS:
                    said = said[0] if isinstance(said, list) and len(said) == 1 else said
                    if isinstance(said, str):
                        yield said
