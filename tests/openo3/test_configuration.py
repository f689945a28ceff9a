"""Any file of parameters, prompts or sources gives its values or one line, in little time and memory."""

import string
import time
from contextlib import suppress
from pathlib import Path

import pytest

from openo3.annotations.catalogue import table
from openo3.configuration import ConfigurationError
from openo3.prompt_file import prompts_path, read_prompts

BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n"
    for before, name in zip(string.ascii_lowercase, string.ascii_lowercase[1:9], strict=False)
)
FILES = {
    "ten billion values": f"{BOMB}catalogue: *i\nanswer: *i\n",
    "a list inside itself": "catalogue: &a [*a]\nanswer: &b {inside: *b}\n",
    "a day that is none": "catalogue: 2001-99-99\nanswer: 1\n",
    "a number that is none": "catalogue: !!int x\n",
    "a number of 5,000 digits": f"catalogue: {'9' * 5000}\n",
    "a number of 5,000 hexadecimal digits": f"catalogue: 0x{'f' * 5000}\nanswer: 1\n",
    "bytes that are none": "catalogue: !!binary '###'\n",
    "an object of Python": "catalogue: !!python/object/apply:os.system ['true']\n",
    "a list as a key": "catalogue: {? [a, b] : c}\nanswer: {? [a, b] : c}\n",
    "an object as a key": "catalogue: {? {a: b} : c}\n",
    "a key twice": "catalogue: 1\ncatalogue: 2\n",
    "another encoding": b"catalogue: \xe9\xff\n",
    "two bytes a letter": "catalogue: 1".encode("utf-16"),
    "a zero": "catalogue: \x00",
    "3,000 nested lists": f"catalogue: {'[' * 3000}{']' * 3000}\n",
    "half a character": 'catalogue: "\\ud800"\nanswer: "\\ud800"\n',
    "an anchor that is not there": "catalogue: *none\n",
    "a list": "[]",
    "5,000 unknown keys": f"catalogue: {{{', '.join(f'key{n}: 1' for n in range(5000))}}}\n",
}


@pytest.mark.parametrize("content", FILES.values(), ids=list(FILES))
def test_any_file_gives_its_values_or_one_line(tmp_path: Path, content: str | bytes) -> None:
    file = tmp_path / "file.yaml"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    begun = time.process_time()
    for read in (table.read, read_prompts):
        with pytest.raises(ConfigurationError) as error:
            read(file)
        said = str(error.value)
        assert said.startswith(f"{file}: ")
        assert len(said.splitlines()) == 1
        assert len(said) < 2000
    with suppress(ConfigurationError):  # a file that is YAML may name no prompts
        prompts_path(file)
    assert time.process_time() - begun < 10
