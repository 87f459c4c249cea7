"""Spoken commands of shop floor and household with the JSON that they mean, made by a seeded grammar.

Wide wording, noise, and names that were never heard before.

Run by itself it prints a few: `commands.py [seed]`.
"""

import json
import random
import re
import sys
import zlib

import phrases as say
from figures import SMALL, words
from intents import INTENTS

KEYS = ["intent", "device", "quantity", "item", "name", "place", "value", "unit", "time", "day", "fault", "note", "person"]
"""The order of keys in an answer; those with nothing to say are left out."""

MARK = "\x01"
"""Stands before each word of a slot: noise leaves those alone, since they come back in the answer."""

RESERVED = 8
"""One slot value in so many is kept out of training, by its checksum."""

QUARTERS = {f"{hour:02}:{minute:02}" for hour in range(24) for minute in (0, 15, 30, 45)}

KNOWN = {*QUARTERS, *say.ROOMS, *say.FIRST_NAMES, *say.ITEMS, *say.MATERIALS, *say.MUSIC, *say.REASONS, *say.FAULTS}

MORE = {
    "set_alarm": 2.5,
    "cancel_alarm": 1.5,
    "unknown": 2.0,
    "set_temperature": 1.3,
    "stop_sound": 0.5,
    "cancel_timer": 0.7,
    "lock": 0.7,
    "unlock": 0.7,
}
WEIGHTS = [MORE.get(intent, 1.0) for intent in INTENTS]
"""How often training sees each intent: what is hard more often. The test takes all alike."""


ONSETS = "b br c ch d dr f fl g gr h j k kr l m n p pl qu r s sh st t tr v w z th cl y".split()
MIDDLES = "b c d f g k l ll m n p r rr s t v z nd st lt rk".split()
VOWELS = "a e i o u a e i o u ai ea oo".split()
CODAS = ["", "", "n", "r", "l", "m", "s", "k", "t", "nd", "x"]

WORDS = sorted({word for known in (say.ITEMS, say.MATERIALS, say.PARTS, say.ADJECTIVES, say.REASONS) for name in known for word in name.split()})


def reserved(value: str) -> bool:
    """Whether a slot value is kept for the test; what comes from a list is known to everybody."""
    return value not in KNOWN and zlib.crc32(value.encode()) % RESERVED == 0


class Maker:
    """Draws commands; `held_out` takes the wordings and, three times out of four, the slot values that training never sees."""

    def __init__(self, rng: random.Random, held_out: bool = False):
        self.rng, self.held_out = rng, held_out

    def either(self, usual: list, kept: list, share: float = 0.2):
        """One of the usual expressions or, in a test, now and then one kept for it."""
        return self.rng.choice(kept if self.held_out and self.rng.random() < share else usual)

    def value(self, draw):
        """A slot value by `draw() -> (said, meant)` from this side of the split."""
        want = self.held_out and self.rng.random() < 0.75
        for _ in range(60):
            said, meant = draw()
            if reserved(str(meant)) == want:
                break
            if self.held_out and not want:
                break
        return said, meant

    def made(self) -> str:
        """A made-up word of two or three syllables."""
        rng, word = self.rng, ""
        for i in range(rng.choice((2, 2, 2, 2, 3))):
            word += rng.choice(ONSETS if i == 0 else MIDDLES) + rng.choice(VOWELS)
        return word + rng.choice(CODAS)

    def word(self) -> str:
        """A word of the trade, in a role that is not its own: a name that has to be heard, not known."""
        return self.rng.choice(WORDS)

    def code(self) -> str:
        """A short code: b7, m12, 4c."""
        rng = self.rng
        letter = rng.choice("abcdefghklmnpqrstvwxz")
        return rng.choice([letter + str(rng.randint(1, 99)), letter + str(rng.randint(1, 9)), str(rng.randint(1, 40)) + letter])

    def figure(self, n: int) -> str:
        """A number in digits or words."""
        return words(n, self.rng) if self.rng.random() < 0.5 else str(n)

    def numbered(self, noun: str, most: int) -> tuple:
        """noun and number, letter or code."""
        rng = self.rng
        if rng.random() < 0.75:
            n = rng.randint(1, 9) if rng.random() < 0.6 else rng.randint(1, most)
            return noun + rng.choice([" ", " ", " ", " number "]) + self.figure(n), f"{noun} {n}"
        end = rng.choice("abcdefgh") if rng.random() < 0.4 else self.code()
        return f"{noun} {end}", f"{noun} {end}"

    # Places: (said without article, meant, preposition, article).
    def place(self) -> tuple:
        rng = self.rng

        def draw():
            kind = rng.random()
            if kind < 0.35:
                return self.numbered(rng.choice(say.NUMBERED_PLACES), 60)
            if kind < 0.5:
                room = rng.choice(say.ROOMS)
                return room, room
            if kind < 0.7:
                place = f"{self.word()} {rng.choice(say.PLACE_NOUNS)}"
                return place, place
            owner = rng.choice(say.FIRST_NAMES) if rng.random() < 0.5 else self.made()
            noun = rng.choice(say.PLACE_NOUNS)
            place = f"{owner}'s {noun}" if rng.random() < 0.4 else f"{self.made()} {noun}"
            return place, place

        said, meant = self.value(draw)
        bare = "'s" in meant or meant.split()[0] in say.NUMBERED_PLACES and " " in meant
        on = {"line": "on", "floor": "on", "station": "at", "dock": "at", "reception": "at"}.get(meant.split()[0], "in")
        return said, meant, on, "" if bare or rng.random() < 0.08 else "the "

    def device(self, names: dict, article: bool = True) -> tuple:
        rng = self.rng

        def draw():
            if rng.random() < 0.08 and "crane" in names:
                name = f"{self.made()} {rng.choice(['machine', 'unit', 'robot', 'tower'])}"
                return self.value(lambda: (name, name))
            name = rng.choice(list(names))
            if rng.random() < 0.22 and not name.endswith(("s", "ing", "volume")):
                return self.value(lambda: self.numbered(name, 40))
            return rng.choice(names[name]), name

        said, meant = draw()
        if not article or meant[-1].isdigit() or rng.random() < 0.12:
            return said, meant
        return f"{rng.choice(['the', 'the', 'the', 'the', 'our', 'that'])} {said}", meant

    def device_somewhere(self, names: dict) -> tuple:
        """(said, device, place or nothing)"""
        if self.rng.random() < 0.4:
            return *self.device(names), None
        said, place, on, article = self.place()
        if self.rng.random() < 0.55:
            device, meant = self.device(names)
            return f"{device} {on} {article}{said}", meant, place
        device, meant = self.device(names, article=False)
        owned = not article and "'s" not in said and self.rng.random() < 0.75
        owner = "'s" if owned else ""
        lead = "" if owned else article or self.rng.choice(["", "", "", "the "])
        return f"{lead}{said}{owner} {device}", meant, place

    def located(self) -> tuple:
        """(said, place), a place with its preposition."""
        said, meant, on, article = self.place()
        return f"{on} {article}{said}", meant

    def number(self, kind: str) -> tuple:
        """A number for a kind of unit."""
        rng = self.rng

        def draw():
            if kind in ("temperature", "pressure") and rng.random() < 0.2:
                n, part = rng.randint(0, 90), rng.randint(1, 9)
                if part == 5 and rng.random() < 0.3:
                    return f"{words(n, rng)} and a half", n + 0.5
                return (f"{words(n, rng)} point {SMALL[part]}" if rng.random() < 0.5 else f"{n}.{part}"), n + part / 10
            if kind == "temperature" and rng.random() < 0.06:
                n = rng.randint(1, 30)
                return f"{rng.choice(['minus', 'minus', 'negative'])} {self.figure(n)}" if rng.random() < 0.7 else f"-{n}", -n
            most = {
                "percent": 100,
                "speed": 100 if rng.random() < 0.6 else 3000,
                "temperature": 100 if rng.random() < 0.8 else 260,
                "duration": 90,
            }.get(kind, 100 if rng.random() < 0.6 else 900)
            n = rng.randint(1, most)
            if rng.random() < 0.3:
                n = max(5, n // 5 * 5)
            return self.figure(n), n

        return self.value(draw)

    def measure(self, kind: str, share: float) -> tuple:
        """(said, value, unit or nothing)"""
        rng = self.rng
        if kind == "duration" and rng.random() < 0.06:
            return rng.choice(
                [
                    ("half an hour", 30, "minutes"),
                    ("an hour", 1, "hours"),
                    ("a minute", 1, "minutes"),
                    ("one minute", 1, "minutes"),
                    ("1 hour", 1, "hours"),
                    ("half a minute", 30, "seconds"),
                ]
            )
        unit, spoken = rng.choice(list(say.UNITS[kind].items()))
        if kind == "speed" and rng.random() < 0.5 or kind == "temperature" and rng.random() < 0.6:
            unit, spoken = next(iter(say.UNITS[kind].items()))
        said, value = self.number(kind)
        about = rng.choice(["about ", "around ", "roughly ", "exactly "]) if rng.random() < 0.1 else ""
        if rng.random() >= share:
            return about + said, value, None
        name = rng.choice(spoken)
        if name in ("%", "kg", "rpm", "hz", "bar") and said[-1].isdigit() and (name == "%" or rng.random() < 0.3):
            return about + said + name, value, unit
        return f"{about}{said} {'percent' if name == '%' else name}", value, unit

    def time(self) -> tuple:
        """A time of day: (said, HH:MM)."""
        rng = self.rng

        def draw():
            hour, minute = rng.randint(0, 23), rng.choice([0, 0, 15, 30, 30, 45, rng.randint(1, 59)])
            kind, half, twelve = rng.random(), hour % 12 or 12, ""
            if kind < 0.3:
                return f"{hour}:{minute:02}", f"{hour:02}:{minute:02}"
            if kind < 0.36 and minute == 0:
                return rng.choice([("noon", "12:00"), ("midnight", "00:00")])
            if rng.random() < 0.5:
                twelve = rng.choice([" am", " a m"] if hour < 12 else [" pm", " p m"])
                if 4 <= hour < 12:
                    twelve = rng.choice([twelve, " in the morning"])
                elif 17 <= hour < 23:
                    twelve = rng.choice([twelve, " in the evening"])
            elif half != hour:
                half = hour
            meant = f"{hour:02}:{minute:02}"
            if kind > 0.75 and 0 < half < 13 and minute in (15, 30, 45):
                name, shown = {
                    15: ("quarter past", half),
                    30: ("half past", half),
                    45: ("quarter to", half % 12 + 1 if half < 12 or twelve else 13),
                }[minute]
                if shown < 13 and not (minute == 45 and half % 12 == 11):
                    return f"{name} {self.figure(shown)}{twelve}", meant
            if minute == 0:
                return self.figure(half) + (twelve or " o'clock"), meant
            if rng.random() < 0.5 and twelve:
                return f"{half}:{minute:02}{twelve}", meant
            past = "oh " if minute < 10 else ""
            return f"{words(half, rng)} {past}{words(minute, rng)}{twelve}", meant

        return self.value(draw)

    def title(self, known: list) -> tuple:
        """A name from a list or made up."""
        rng = self.rng

        def name():
            kind = rng.random()
            if kind < 0.3:
                return rng.choice(known)
            if kind < 0.5:
                return " ".join(self.word() for _ in range(rng.choice([1, 2])))
            return " ".join(self.made() for _ in range(rng.choice([1, 1, 1, 1, 1, 2])))

        return self.value(lambda: (name(),) * 2)

    def item(self) -> tuple:
        """Things that are counted."""
        rng = self.rng

        def draw():
            noun, kind = rng.choice(say.ITEMS) if rng.random() < 0.85 else self.made() + "s", rng.random()
            if kind < 0.25:
                noun = f"{rng.choice(say.ADJECTIVES)} {noun}"
            elif kind < 0.4:
                noun = f"{self.made()} {noun}"
            elif kind < 0.55:
                noun = f"{self.code()} {noun}"
            return noun, noun

        return self.value(draw)

    def material(self) -> tuple:
        """Stuff that is weighed or measured."""
        rng = self.rng

        def draw():
            kind = rng.random()
            name = rng.choice(say.MATERIALS)
            if kind < 0.15:
                name = f"{rng.choice(say.ADJECTIVES)} {name}"
            elif kind < 0.3:
                name = f"{self.made()} {name}"
            elif kind < 0.4:
                name = self.made()
            return name, name

        return self.value(draw)

    def fault(self) -> tuple:
        """What a machine is doing wrong."""
        rng = self.rng

        def draw():
            error = rng.choice([self.code(), str(rng.randint(1, 99))])
            part = rng.choice(say.PARTS) if rng.random() < 0.8 else self.made()
            fault = rng.choice(
                [
                    *say.FAULTS,
                    f"leaking {rng.choice(say.STUFF)}",
                    f"making a {rng.choice(say.NOISES)} noise",
                    f"showing error {error}",
                    f"losing {rng.choice(say.STUFF)}",
                    f"missing a {part}",
                    f"blocked by a {part}",
                    f"{rng.choice(say.NOISES)} at the {part}",
                    f"leaking at the {part}",
                    f"out of {rng.choice(say.STUFF)}",
                    f"{rng.choice(['running', 'turning'])} {rng.choice(['too fast', 'backwards', 'rough', 'hot'])}",
                ]
            )
            return fault, fault

        return self.value(draw)

    def gerund(self) -> tuple:
        """A fault that fits after "keeps" and after "report"."""
        for _ in range(20):
            fault = self.fault()
            if fault[1].split()[0].endswith("ing"):
                break
        return fault

    def note(self) -> tuple:
        """What was done."""
        rng = self.rng

        def draw():
            part = rng.choice(say.PARTS) if rng.random() < 0.75 else self.made()
            done, which = rng.choice(say.DONE), rng.choice(["the", "the", "a", "both", "all", "two"])
            note = f"{done} {which} {rng.choice(['', '', '', rng.choice(say.ADJECTIVES) + ' '])}{part}"
            return note, note

        return self.value(draw)

    def person(self) -> tuple:
        name = self.rng.choice(say.FIRST_NAMES) if self.rng.random() < 0.5 else self.made()
        return self.value(lambda: (name, name))

    def fill(self, slot: str, intent: dict, answer: dict, template: str) -> str:
        """What is said for a slot; what it means goes into `answer`."""
        names, unit = intent.get("devices", say.ALL), intent.get("unit")
        spoken = {
            "made": self.made,
            "digits": lambda: self.figure(self.rng.randint(0, 100)),
            "anyone": lambda: self.rng.choice(say.FIRST_NAMES),
            "anyday": lambda: self.rng.choice(say.DAYS),
        }
        if slot in spoken:
            return spoken[slot]()
        if slot == "dp":
            said, answer["device"], answer["place"] = self.device_somewhere(names)
        elif slot in "vV":
            said, answer["value"], answer["unit"] = self.measure(unit, 1.0 if slot == "V" else 0.75)
        elif slot == "pn":
            bare, answer["place"], _, article = self.place()
            said = article + bare
        elif slot == "q":
            answer["quantity"] = self.rng.choice(list(say.QUANTITIES))
            said = self.rng.choice(say.QUANTITIES[answer["quantity"]])
        elif slot == "fault":
            said, answer["fault"] = self.gerund() if "keeps {fault}" in template or "report {fault}" in template else self.fault()
        else:
            key = {"d": "device", "b": "device", "p": "place", "n": "value", "material": "item"}.get(slot, slot)
            said, answer[key] = {
                "d": lambda: self.device(names),
                "b": lambda: self.device(names, article=False),
                "p": self.located,
                "n": lambda: self.number("amount"),
                "item": self.item,
                "material": self.material,
                "name": lambda: self.title(say.REASONS if unit == "duration" or "time" in template or "alarm" in template else say.MUSIC),
                "time": self.time,
                "day": lambda: (self.rng.choice(say.DAYS),) * 2,
                "note": self.note,
                "person": self.person,
            }[slot]()
        return said

    def draw(self, intent: str | None = None) -> tuple[str, str]:
        """(what is said, the JSON that it means)"""
        rng = self.rng
        name = intent or rng.choices(list(INTENTS), None if self.held_out else WEIGHTS)[0]
        intent = INTENTS[name]
        template = rng.choice(intent["held" if self.held_out else "train"])
        imperative, text = template.startswith("!"), template.lstrip("!")
        for pattern, choose in (
            (r"\(([^()]*)\)", lambda m: rng.choice(m[1].split("|"))),
            (r"\[([^\[\]]*)\]", lambda m: m[1] if rng.random() < 0.5 else ""),
        ):
            text = re.sub(pattern, choose, text)
        # A place that a command may have need not be said, unless the words depend on it.
        if (
            text.endswith(" {p}")
            and name not in ("read_sensor",)
            and "that is" not in text
            and not re.search(r"it \{v\}|temperature \{p\}", text)
            and rng.random() < 0.35
        ):
            text = text[: -len(" {p}")]
        answer: dict = {"intent": name}
        text = re.sub(r"\{(\w+)\}", lambda m: MARK + self.fill(m[1], intent, answer, template).replace(" ", " " + MARK), text)
        if name == "unknown":
            answer = {"intent": name}
        return self.dressed(text.split(), imperative), canonical(answer)

    def dressed(self, said: list, imperative: bool) -> str:
        """Politeness, fillers, dropped words, slips of the tongue or the keyboard, capitals and full stops."""
        rng = self.rng
        if imperative and rng.random() < 0.45:
            said = self.either(say.ASK, say.ASK_HELD).split() + said
        if rng.random() < 0.12:
            said = self.either(say.WAKE, say.WAKE_HELD).split() + said
        if imperative and rng.random() < 0.25:
            said = said + self.either(say.AFTER, say.AFTER_HELD, 0.3).split()
        if rng.random() < 0.12:
            said = [w for w in said if w not in ("the", "a", "an")] or said
        if rng.random() < 0.15:
            for _ in range(rng.choice([1, 1, 2])):
                i = rng.randrange(len(said) + 1)
                # Not beside a name, of which nobody could tell it.
                if not any(word.startswith(MARK) for word in said[max(0, i - 1) : i + 1]):
                    said = said[:i] + rng.choice(say.FILLERS).split() + said[i:]
        if rng.random() < 0.05:
            i = rng.randrange(len(said))
            if not said[i].startswith(MARK):
                said = said[: i + 1] + said[i:]
        if rng.random() < 0.05:
            i = rng.randrange(len(said))
            if len(said[i]) > 4 and said[i].isalpha():
                said = said[:i] + [self.mistyped(said[i])] + said[i + 1 :]
        text = " ".join(said).replace(MARK, "")
        if rng.random() < 0.6:
            text = text.replace(",", "")
        if rng.random() < 0.25:
            text = text[0].upper() + text[1:]
        question = text.split()[0].lower() in (
            "what",
            "what's",
            "is",
            "how",
            "can",
            "could",
            "would",
            "will",
            "do",
            "did",
            "who",
            "why",
            "when",
        )
        return text + (("?" if question else rng.choice(".!.")) if rng.random() < 0.25 and not text.endswith("%") else "")

    def mistyped(self, word: str) -> str:
        """One slip inside a word."""
        i, kind = self.rng.randrange(1, len(word) - 1), self.rng.randrange(4)
        if kind == 0:
            return word[:i] + word[i + 1] + word[i] + word[i + 2 :]
        if kind == 1:
            return word[:i] + word[i + 1 :]
        return word[: i + 1] + (word[i] if kind == 2 else self.rng.choice("etaoinsr")) + word[i + 1 :]


def canonical(answer: dict) -> str:
    """Compact JSON, keys in the order of KEYS, what is not said left out."""
    return json.dumps({key: answer[key] for key in KEYS if answer.get(key) is not None}, ensure_ascii=False, separators=(",", ":"))


def main() -> None:
    rng = random.Random(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
    for held_out in (False, True):
        print("Held out:" if held_out else "To learn from:")
        for _ in range(20):
            print("  {}\n    {}".format(*Maker(rng, held_out).draw()))


if __name__ == "__main__":
    main()
