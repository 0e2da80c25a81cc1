"""Messages that the guide quotes are messages of the programs: each ``quoted: `TEXT` `` is found in src/."""
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
GUIDES = sorted((ROOT / "docs" / "guide").glob("*.md"))
LITERAL = re.compile(r'"((?:[^"\\\n]|\\.)*)"')
BESIDE = re.compile(r'(?:"(?:[^"\\\n]|\\.)*"(?:\s|\\\n|PRI[a-z]+\d+)*)+')
SPEC = re.compile(r"%[-+ #0]*(?:\*|\d+)?(?:\.(?:\*|\d+))?(?:hh|h|ll|l|z|j|t)?[a-zA-Z]")


def messages():
    """All texts of the sources: string literals that stand beside each other are one; % forms become an ellipsis."""
    out = []
    for path in sorted((ROOT / "src").rglob("*.[ch]")):
        text = re.sub(r"'\\?\"'", "' '", path.read_text())  # the quote as a character begins no text
        for run in BESIDE.findall(text):
            out.append(SPEC.sub("...", "".join(LITERAL.findall(run)).replace('\\"', '"')))
    return "\n".join(out)


def quoted(text):
    return [q.replace('\\"', '"') for q in re.findall(r"quoted: `([^`]+)`", text)]


def missing(quotes, all_texts):
    return [q for q in quotes if not all(part in all_texts for part in q.split("...") if part.strip(" :'\""))]


@pytest.mark.parametrize("guide", GUIDES, ids=lambda p: p.name)
def test_quoted_messages_exist(guide):
    assert missing(quoted(guide.read_text()), messages()) == []


def test_the_guide_quotes_and_the_test_can_fail():
    assert len(quoted((ROOT / "docs/guide/troubleshooting.md").read_text())) > 25
    texts = messages()
    assert missing(["nobody ever wrote this message"], texts)
    assert missing(["cannot reach gantryd at ...: nobody ever wrote this"], texts)


def test_options_of_the_programs_exist():
    """Long options in the guide's examples are options of one of the programs."""
    told = set()
    others = re.compile(r"\buseradd\b|\bhermes\b")  # lines whose options are another program's
    for g in GUIDES:
        for line in g.read_text().splitlines():
            if not others.search(line):
                told |= set(re.findall(r"(?<![\w-])--([a-z][a-z-]+)", line))
    assert told
    src = "".join(p.read_text() for d in ("gantry", "gantryd", "gantry-agent") for p in (ROOT / "src" / d).glob("*.c"))
    assert not [o for o in sorted(told) if f'"--{o}"' not in src and f'"{o}"' not in src]
